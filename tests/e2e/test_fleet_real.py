"""Real servers, managed: Ollama, vLLM on the CPU, llama_cpp.server, llama-server. First call, crash, hang, idleness, swaps, sleep, what stands behind a name, and nothing
left behind. Slow: `tools/setup ollama`, `vllm` and `llama-server` make them the first time.

    test_fleet_real.py HEARTH [Ollama|Vllm|LlamaPython|LlamaServer …]"""
import http.client, json, os, pathlib, shutil, signal, statistics, subprocess, sys, tempfile, threading, time, unittest

import openai
from test_fleet import Fleet, alive, below
from world import MODEL, free_port, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
ASK = [{"role": "user", "content": "Say hello."}]
WEIGHTS = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LONG = 600


def setup(what):
    return pathlib.Path(subprocess.run([ROOT / "tools/setup", "--quiet", what], check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1])


def get(port, path, method="GET", body=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request(method, path, json.dumps(body) if body is not None else None, {"content-type": "application/json"})
    r = c.getresponse()
    data = r.read()
    c.close()
    return r.status, json.loads(data) if data.startswith((b"{", b"[")) else data


class Managed(Fleet):
    """A world whose providers and models are written out."""

    def __init__(self, providers, models, more="", hang=60):
        super().__init__({}, hang=hang, more=more)
        self.config.write_text(self.config.read_text().replace("providers:\n", "providers:\n" + providers, 1).replace("models:\n", "models:\n" + models, 1).replace("default: tiny", "default: m")
                               .replace(f"  tiny: {{ provider: here", "  tiny: { provider: here"))

    def sdk(self, **kw):
        return super().sdk(**{"timeout": LONG, **kw})

    def port_of(self, model="m"):
        pid = next(m["pid"] for m in self.ps() if m["model"] == model)
        for p in [pid, *below(pid)]:
            try:
                words = pathlib.Path(f"/proc/{p}/cmdline").read_text().split("\0")
                env = pathlib.Path(f"/proc/{p}/environ").read_text().split("\0")
            except OSError:
                continue
            if "--ward" in words:
                continue
            if "--port" in words:
                return int(words[words.index("--port") + 1])
            for e in env:
                if e.startswith("OLLAMA_HOST="):
                    return int(e.rsplit(":", 1)[1])

    def ps(self):
        return json.loads(self.hearth("ps", "--json").stdout)["models"]

    def entry(self, model="m"):
        return next(m for m in self.ps() if m["model"] == model)

    def leader(self, model="m"):
        """The server itself, below its ward."""
        return below(self.entry(model)["pid"])[0]


class Base(unittest.TestCase):
    w = None

    def tearDown(self):
        if self.w:
            self.w.close()

    def hello(self, model="m", **kw):
        return self.w.sdk().chat.completions.create(model=model, messages=ASK, **{"max_tokens": 4, **kw}).choices[0].message.content

    def assert_nothing_is_left_after_sigkill(self):
        everything = below(self.w.server.pid)
        self.assertTrue(everything)
        self.w.server.send_signal(signal.SIGKILL)
        self.w.server.wait(60)
        wait_for(lambda: not any(alive(p) for p in everything), 60)
        return len(everything)

    def stream_and_kill(self, model="m"):
        """Kills the server in the middle of a stream; what the client sees must not look complete. A model may end its answer before it is hit: then once more."""
        for _ in range(8):
            reasons = []
            stream = iter(self.w.sdk().chat.completions.create(model=model, messages=[{"role": "user", "content": "Count to five hundred, one number a line."}], max_tokens=400, stream=True))
            wait_for(lambda: next(stream).choices[0].delta.content, LONG)
            os.kill(self.w.leader(model), signal.SIGKILL)
            try:
                for chunk in stream:
                    reasons += [c.finish_reason for c in chunk.choices if c.finish_reason]
            except openai.APIError:
                self.assertEqual(reasons, [])
                return
            self.assertEqual(len(reasons), 1, "cut, and nobody was told")
            self.hello(model)           # it comes again
        self.fail("every answer had ended before its server did")


class Ollama(Base):
    @classmethod
    def setUpClass(cls):
        cls.program = setup("ollama")
        cls.store = pathlib.Path(tempfile.mkdtemp(prefix="hearth-ollama-"))
        cls.run_alone(lambda port: cls.create(port, "one", ""))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.store, ignore_errors=True)

    @classmethod
    def env(cls, port):
        return {**os.environ, "OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_MODELS": str(cls.store), "OLLAMA_NO_CLOUD": "1", "HOME": str(cls.store)}

    @classmethod
    def run_alone(cls, then):
        port = free_port()
        server = subprocess.Popen([cls.program, "serve"], env=cls.env(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            def up():
                try:
                    return get(port, "/api/version")[0] == 200
                except OSError:
                    return False
            wait_for(up, 60)
            return then(port)
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()

    @classmethod
    def create(cls, port, name, more):
        f = cls.store / f"{name}.modelfile"
        f.write_text(f"FROM {MODEL}\nPARAMETER num_thread 1\nPARAMETER num_ctx 1024\n{more}")
        subprocess.run([cls.program, "create", name, "-f", f], env=cls.env(port), check=True, capture_output=True)

    def start(self, options="", more=""):
        self.w = Managed(f"  o: {{ start: ollama, program: {self.program}, env: ['OLLAMA_MODELS={self.store}', 'HOME={self.store}']{options} }}\n", "  m: { provider: o, id: one }\n", more).start()

    def test_first_call_crash_hang_unload_and_end(self):
        self.start()
        self.assertEqual(self.w.entry()["state"], "off")
        began = time.monotonic()
        self.assertTrue(self.hello())
        print(f"measured: Ollama's first answer after {time.monotonic() - began:.1f} s")
        row = self.w.rows("--model", "m")[0]
        shown = self.w.hearth("show", row["call_id"]).stdout
        self.assertIn(WEIGHTS, shown, "the weights by their digest, as Ollama names the blob")
        self.assertIn("Q4_1", shown)
        self.assertEqual(row["zone"], "machine")
        self.stream_and_kill()
        self.assertTrue(self.hello(), "started again")
        os.kill(self.w.leader(), signal.SIGKILL)            # and before a call: the call finds another, or waits for it
        self.assertTrue(self.hello())
        port = self.w.port_of()
        self.assertEqual([m["name"] for m in get(port, "/api/ps")[1]["models"]], ["one:latest"])
        self.assertEqual(self.w.hearth("unload", "m").returncode, 0)
        wait_for(lambda: get(port, "/api/ps")[1]["models"] == [], 60)
        self.assertTrue(self.hello())
        runners = [p for p in below(self.w.server.pid) if "runner" in pathlib.Path(f"/proc/{p}/cmdline").read_text()]
        self.assertTrue(runners, "Ollama's runner is a process of its own")
        n = self.assert_nothing_is_left_after_sigkill()
        print(f"measured: {n} processes below hearth, none left after SIGKILL")

    def test_one_that_hangs(self):
        self.start()
        self.w.config.write_text(self.w.config.read_text().replace("hang_time: 60s", "hang_time: 5s"))
        self.w.stop()
        self.w.start()
        self.hello()
        os.kill(self.w.leader(), signal.SIGSTOP)
        self.assertTrue(self.hello())
        self.assertIn("does not answer", json.loads(self.w.events("server_crash")[0]["detail"])["why"])

    def test_idle_stop_and_sigterm(self):
        self.start(", idle: 2s")
        self.hello()
        everything = below(self.w.entry()["pid"])
        wait_for(lambda: not any(alive(p) for p in everything), 60)
        self.assertEqual(wait_for(lambda: self.w.entry()["state"] == "off" and "off", 30), "off")
        self.hello()
        everything = below(self.w.server.pid)
        self.assertEqual(self.w.stop(), 0)
        wait_for(lambda: not any(alive(p) for p in everything), 60)

    def test_a_digest_changed_in_a_running_ollama_and_what_the_check_costs(self):
        def run(port):
            self.w = Managed(f"  o: {{ api: ollama, url: 'http://127.0.0.1:{port}', zone: machine }}\n", "  m: { provider: o, id: one }\n").start()
            self.hello()
            before = self.w.rows("--model", "m")[0]["fingerprint"]
            self.create(port, "one", "PARAMETER temperature 0.1\n")
            self.hello()
            after = self.w.rows("--model", "m")[0]["fingerprint"]
            self.assertNotEqual(before, after)
            self.assertIn("manifest_sha256", json.loads(self.w.events("model_changed")[0]["detail"])["what"])
            took = []
            for _ in range(200):
                began = time.perf_counter()
                get(port, "/api/tags")
                took.append(time.perf_counter() - began)
            for _ in range(30):
                self.hello(max_tokens=1)
            rows = self.w.rows("--model", "m")[:30]
            print(f"measured: /api/tags {statistics.median(took) * 1000:.2f} ms from Python; a call waits {statistics.median(r['queue_us'] for r in rows) / 1000:.2f} ms for its check, "
                  f"of {statistics.median(r['total_us'] for r in rows) / 1000:.1f} ms in all")
            self.create(port, "one", "")
        self.run_alone(run)


class Vllm(Base):
    def start(self, more=""):
        folder = setup("vllm")
        command = f"{folder}/bin/python -m vllm.entrypoints.openai.api_server --model {{model}} --served-model-name {{name}} --host {{host}} --port {{port}} --max-model-len 1024 --enforce-eager --load-format dummy"
        env = "[HF_HUB_OFFLINE=1, VLLM_NO_USAGE_STATS=1, DO_NOT_TRACK=1, VLLM_CPU_KVCACHE_SPACE=1, VLLM_CPU_OMP_THREADS_BIND=nobind, OMP_NUM_THREADS=1, VLLM_SERVER_DEV_MODE=1]"
        self.w = Managed(f"  v: {{ api: vllm, start: '{command}', env: {env}, load_time: 10m }}\n", f"  m: {{ provider: v, file: {folder}/tiny, retries: 2 }}\n", more).start()

    def test_first_call_sleep_crash_and_end(self):
        self.start()
        began = time.monotonic()
        self.assertIsInstance(self.hello(), str)
        print(f"measured: vLLM's first answer after {time.monotonic() - began:.1f} s")
        row = self.w.rows("--model", "m")[0]
        self.assertIn("0.32", self.w.hearth("show", row["call_id"]).stdout)
        port = self.w.port_of()
        self.assertEqual(get(port, "/sleep?level=1", "POST")[0], 200)
        self.assertEqual(get(port, "/is_sleeping")[1], {"is_sleeping": True})
        began = time.monotonic()
        self.assertIsInstance(self.hello(), str)
        print(f"measured: a call to a vLLM that slept was answered after {time.monotonic() - began:.2f} s")
        self.assertEqual(get(port, "/is_sleeping")[1], {"is_sleeping": False})
        self.assertEqual(len(self.w.events("server_wake")), 1)
        wait_for(lambda: self.w.entry()["server"]["running"] is not None, 30)
        measured = wait_for(lambda: [json.loads(e["detail"]) for e in self.w.events("model_measured") if json.loads(e["detail"])["model"] == "m"], 60)[0]
        print(f"measured: its processes have {measured['host'] / 1e6:.0f} MB, loaded in {measured['load_ms'] / 1000:.1f} s")
        self.stream_and_kill()
        self.assertIsInstance(self.hello(), str, "started again")
        n = self.assert_nothing_is_left_after_sigkill()
        print(f"measured: {n} processes below hearth, none left after SIGKILL")


class LlamaPython(Base):
    def test_two_models_swapped_under_a_cap(self):
        window, lasts, answered = 6.0, 30.0, {"m": 0, "n": 0}
        self.w = Managed(f"  py: {{ start: llama-cpp-python, program: '{sys.executable}' }}\n",
                         "".join(f"  {n}: {{ provider: py, file: {MODEL}, context: 512, threads: 1, memory: 200MB }}\n" for n in "mn"), "fleet: { memory: 300MB, window: 6s, stay: 2s }\n").start()
        failed = []

        def client(model):
            while time.monotonic() - began < lasts:
                try:
                    self.hello(model)
                    answered[model] += 1
                except Exception as e:
                    failed.append((model, e))
                time.sleep(0.1)
        began = time.monotonic()
        threads = [threading.Thread(target=client, args=(m,)) for m in ("m", "n", "m", "n")]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        took = time.monotonic() - began
        self.assertEqual(failed, [])
        starts = [r["at_us"] / 1e6 for r in self.w.events("server_start")][::-1]
        self.assertGreaterEqual(len(starts), 4)
        self.assertGreater(min(answered.values()), 0)
        self.assertLessEqual(len(starts) - 1, took / window + 1)
        for a, b in zip(starts[1:], starts[2:]):
            self.assertGreater(b - a, window * 0.8)
        waits = sorted(r["queue_us"] / 1e6 for n in "mn" for r in self.w.rows("--model", n) if r.get("queue_us"))
        print(f"measured: {len(starts) - 1} swaps of two real models in {took:.1f} s (window {window:.0f} s), answered {answered}, none failed, the longest wait {waits[-1]:.1f} s")

    def test_crash_hang_and_crash_loop(self):
        self.w = Managed(f"  py: {{ start: llama-cpp-python, program: '{sys.executable}' }}\n  bad: {{ start: llama-cpp-python, program: '{sys.executable}', args: [--no-such-option] }}\n",
                         f"  m: {{ provider: py, file: {MODEL}, context: 512, threads: 1 }}\n  bad: {{ provider: bad, file: {MODEL} }}\n", hang=8).start()
        self.assertTrue(self.hello())
        self.stream_and_kill()
        self.assertTrue(self.hello())
        os.kill(self.w.leader(), signal.SIGSTOP)
        self.assertTrue(self.hello())
        with self.assertRaises(openai.APIStatusError) as e:
            self.hello("bad")
        self.assertRegex(str(e.exception), "3 times in a row.*unrecognized arguments: --no-such-option")
        self.assertEqual(self.w.entry("bad")["state"], "failed")
        self.assert_nothing_is_left_after_sigkill()


class LlamaServer(Base):
    def test_first_call_identity_load_and_end(self):
        program = setup("llama-server")
        tiny = self.enterContext(tempfile.TemporaryDirectory())
        subprocess.run([sys.executable, ROOT / "tools/make-tiny-gguf", f"{tiny}/tiny.gguf", "--tokenizer", "spm"], check=True)    # this program dies of byte-level BPE
        self.w = Managed(f"  ls: {{ start: llama-server, program: {program}, args: ['-fit', 'off'] }}\n", f"  m: {{ provider: ls, file: {tiny}/tiny.gguf, context: 256, threads: 1, slots: 2 }}\n").start()
        try:
            self.assertIsInstance(self.hello(), str)
        finally:
            print((self.w.dir / "log" / "llama-server-m.log").read_text()[-1500:] if not self.w.events("server_ready") else "", end="")
        shown = self.w.hearth("show", self.w.rows("--model", "m")[0]["call_id"]).stdout
        self.assertRegex(shown, "engine +llama-server")
        self.assertRegex(shown, "weights_sha256 +[0-9a-f]{64}")
        wait_for(lambda: self.hello() is not None and self.w.entry()["server"]["running"] is not None, 30)
        self.assert_nothing_is_left_after_sigkill()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
