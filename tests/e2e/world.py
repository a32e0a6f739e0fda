"""A hearth in a folder of its own, on a free port, with the real starter model; and what its ledger says."""
import http.client, json, os, pathlib, shutil, signal, socket, subprocess, sys, tempfile, time

HEARTH = os.path.abspath(sys.argv[1])
SANITIZED = b"__asan_init" in pathlib.Path(HEARTH).read_bytes()
MODEL = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "hearth/models/SmolLM2-135M-Instruct.Q4_1.gguf"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


def memory(pid):
    """Resident KiB, and open descriptors. A sanitizer keeps what is freed for a while, so its build takes 0 KiB, and the release build is measured."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:"))
    return 0 if SANITIZED else rss, len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


class World:
    def __init__(self, extra="", guard="guard: { cloud: off }", slots=4):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hearth-e2e-"))
        self.port = free_port()
        self.server = None
        self.config = self.dir / "hearth.yaml"
        self.write(extra, guard, slots)

    def write(self, extra, guard, slots=4):
        self.config.write_text(f"""
listen: 127.0.0.1:{self.port}
ledger: {{ path: hearth.db }}
engine: {{ run_dir: {self.dir}/run, log_dir: {self.dir}/log, digests: {self.dir}/digests }}
{guard}
providers:
  here: {{ api: embedded }}
{extra.get("providers", "") if extra else ""}
models:
  tiny: {{ provider: here, file: {MODEL}, slots: {slots}, context: 2048 }}
{extra.get("models", "") if extra else ""}
{("tasks:" + chr(10) + extra["tasks"]) if extra and "tasks" in extra else ""}
default: tiny
""")

    def start(self, env=None, wrap=(), **popen):
        with open(self.dir / "serve.log", "ab") as log:
            self.server = subprocess.Popen([*wrap, HEARTH, "serve", "-c", str(self.config)], stdout=log, stderr=log, env=env and {**os.environ, **env}, **popen)
        wait_for(self.health, 30)
        return self

    def health(self):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            c.request("GET", "/health")
            return c.getresponse().status == 200
        except OSError:
            assert self.server.poll() is None, (self.dir / "serve.log").read_text()
            return False
        finally:
            c.close()

    def stop(self, signum=signal.SIGTERM):
        if self.server and self.server.poll() is None:
            self.server.send_signal(signum)
            code = self.server.wait(60)
            assert code != 66, "a sanitizer spoke:\n" + (self.dir / "serve.log").read_text()[-6000:]
            return code

    def close(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def hearth(self, *args, **kw):
        return subprocess.run([HEARTH, *args, "-c", str(self.config)], capture_output=True, text=True, timeout=120, **kw)

    def rows(self, *args):
        out = self.hearth("log", "--json", "-n", "100000", *args)
        assert out.returncode == 0, out.stderr
        return [json.loads(line) for line in out.stdout.split("\n") if line]     # a text may hold other line ends

    def verify(self):
        out = self.hearth("verify", "--json")
        verdict = json.loads(out.stdout)
        assert out.returncode == 0 and verdict["ok"], out.stdout
        return verdict

    def engines(self):
        out = subprocess.run(["pgrep", "-f", f"hearth-engine.*--name tiny"], capture_output=True, text=True).stdout.split()
        return [int(p) for p in out if str(self.server.pid) == subprocess.run(["ps", "-o", "ppid=", "-p", p], capture_output=True, text=True).stdout.strip()]
