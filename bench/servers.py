"""The programs of bench/gateway: a fast upstream, hearth in several configurations, and the proxies beside it, each on a core of its own choice."""
import json, os, pathlib, re, shutil, socket, sqlite3, subprocess, sys, time, urllib.error, urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOAD_CORE, GATE_CORE = "0", "1"     # load and upstream share one core, so that the gateway has the other for itself
TOKENS, RATE = 250, 50              # of a stream: five seconds
# Text as people write it: what is compressed and hashed must be worth it. With the rest of its body a prompt is 2 KB.
PROMPT = (ROOT / "bench/prompt.txt").read_text()
REPLY = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {"role": "assistant",
         "content": (ROOT / "bench/reply.txt").read_text().strip()}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 480, "completion_tokens": 90, "total_tokens": 570}}


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A process with all its children, its CPU time to the nanosecond."""

    def __init__(self, name, to, command, core, env=None, log=None):
        self.name, self.port = name, to
        self.process = subprocess.Popen(["taskset", "-c", core, *map(str, command)], stdout=log or subprocess.DEVNULL, stderr=subprocess.STDOUT if log else subprocess.DEVNULL,
                                        env={**os.environ, **(env or {})})

    def pids(self, of=None):
        of = of or self.process.pid
        children = [int(c) for t in pathlib.Path(f"/proc/{of}/task").iterdir() for c in (t / "children").read_text().split()]
        return [of] + [p for c in children for p in self.pids(c)]

    def cpu_us(self):
        return sum(time.clock_gettime_ns((~p << 3) | 2) for p in self.pids()) / 1000     # the clock that clock_getcpuclockid(3) names

    def memory_mib(self, what="VmRSS"):
        return sum(int(re.search(what + r":\s+(\d+)", pathlib.Path(f"/proc/{p}/status").read_text())[1]) for p in self.pids()) / 1024

    def wait(self, path, seconds):
        for _ in range(seconds * 20):
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as r:
                    return r.read()
            except urllib.error.HTTPError:
                return b""              # it answers
            except OSError:
                time.sleep(0.05)
        sys.exit(f"error: {self.name} did not come up")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Servers:
    """Everything that one run needs; `stop()` ends what was started, and only that."""

    def __init__(self, d, hearth, programs, litellm):
        self.d, self.program, self.running = d, hearth, []
        (d / "reply.json").write_text(json.dumps(REPLY))
        self.bodies = {}
        for model in ("m", "c"):
            for stream in (False, True):
                body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 100, **({"stream": True} if stream else {})}
                self.bodies[model, stream] = d / f"body-{model}{'-stream' * stream}.json"
                self.bodies[model, stream].write_text(json.dumps(body))
        to = port()
        self.upstream = self.start("upstream", to, [programs / "upstream", to, d / "reply.json", TOKENS, RATE], LOAD_CORE)
        self.upstream.wait("/count", 5)
        self.nginx = self.make_nginx()
        self.haproxy = self.make_haproxy()
        self.hearth = self.make_hearth("hearth", path="/recorded/v1")
        self.off = self.make_hearth("off", env={"HEARTH_BENCH_NO_RECORD": "1"})
        self.rows = self.make_hearth("rows", "keep_bodies: false")
        self.full = self.make_hearth("full", "sync: full")
        self.litellm_program = litellm

    def start(self, *args, **kw):
        s = Server(*args, **kw)
        self.running.append(s)
        return s

    def make_nginx(self):
        d, to = self.d, port()
        (d / "nginx.conf").write_text(f"""worker_processes 1; daemon off; pid {d}/nginx.pid; error_log {d}/nginx.err;
events {{ worker_connections 4096; }}
http {{ client_body_temp_path {d}; proxy_temp_path {d}; fastcgi_temp_path {d}; uwsgi_temp_path {d}; scgi_temp_path {d};
  keepalive_requests 100000000; client_body_buffer_size 64k; access_log {d}/access.log;
  upstream u {{ server 127.0.0.1:{self.upstream.port}; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{to}; location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ''; }} }} }}""")
        s = self.start("nginx", to, ["nginx", "-p", d, "-c", d / "nginx.conf"], GATE_CORE)
        s.wait("/count", 5)
        return s

    def make_haproxy(self):
        d, to = self.d, port()
        (d / "haproxy.cfg").write_text(f"""global
  nbthread 1
  maxconn 4096
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  option http-no-delay
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend f
  bind 127.0.0.1:{to}
  default_backend b
backend b
  server u 127.0.0.1:{self.upstream.port}
""")
        with open(d / "haproxy.log", "wb") as log:
            s = self.start("HAProxy", to, ["haproxy", "-db", "-f", d / "haproxy.cfg"], GATE_CORE, log=log)
        s.wait("/count", 5)
        return s

    def make_hearth(self, name, ledger="", env=None, path="/v1"):
        """Model m is of zone machine, model c of zone cloud: same upstream, but its calls wait until their intent is on disk."""
        d, to = self.d, port()
        (d / f"{name}.yaml").write_text(
            f"listen: 127.0.0.1:{to}\nthreads: 1\nguard: {{ cloud: off }}\nlog: {{ level: error }}\nledger: {{ path: {d}/{name}.db, {ledger} }}\n"
            f"engine: {{ run_dir: {d}/{name}.run, log_dir: {d}/{name}.log }}\nproviders:\n"
            + "".join(f"  {zone}: {{ api: openai, url: 'http://127.0.0.1:{self.upstream.port}{path}', zone: {zone} }}\n" for zone in ("machine", "cloud"))
            + "models: { m: { provider: machine }, c: { provider: cloud } }\n")
        s = self.start(name, to, [self.program, "serve", "-c", d / f"{name}.yaml"], GATE_CORE, env=env)
        s.wait("/health", 10)
        return s

    def make_litellm(self):
        d, to = self.d, port()
        (d / "litellm.yaml").write_text(f"model_list:\n- model_name: m\n  litellm_params: {{ model: openai/m, api_base: 'http://127.0.0.1:{self.upstream.port}/v1', api_key: none }}\n")
        env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}        # nothing is asked of the network
        with open(d / "litellm.log", "wb") as log:
            s = self.start("LiteLLM", to, [self.litellm_program, "--config", d / "litellm.yaml", "--host", "127.0.0.1", "--port", to, "--num_workers", 1], GATE_CORE, env=env, log=log)
        s.wait("/health/liveliness", 120)
        return s

    def settle(self):
        """Ends the recording hearth; what its ledger holds, checked, beside what the upstream was asked by it."""
        self.hearth.stop()
        self.running.remove(self.hearth)
        out = subprocess.run([self.program, "verify", "-c", self.d / "hearth.yaml", "--json"], capture_output=True, text=True)
        assert out.returncode == 0, out.stdout + out.stderr
        with sqlite3.connect(self.d / "hearth.db") as db:
            intents, size = db.execute("SELECT count(*) FROM row WHERE kind = 0").fetchone()[0], (self.d / "hearth.db").stat().st_size
        return {"upstream_calls": json.loads(self.upstream.wait("/count", 5))["calls"], "intents": intents, "bytes": size, "verify": json.loads(out.stdout)}

    def stop(self):
        for s in reversed(self.running):
            s.stop()
        shutil.rmtree(self.d, ignore_errors=True)
