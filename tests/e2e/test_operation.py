"""What those who run it look at and do: readiness, metrics, a changed configuration, a new process in place of the old one; none of it loses a call."""
import http.client, json, os, re, signal, socket, subprocess, threading, time, unittest

import openai
from fakes import Fake, USAGE
from world import HEARTH, World, wait_for

ASK = [{"role": "user", "content": "plain"}]
LINE = re.compile(r'^([a-z_]+)(\{([a-z_]+="[^"\\]*",?)*\})? (\S+)$')


class Load:
    """Clients that ask without a pause, each on a connection of its own every time, and count what went wrong."""
    def __init__(self, port, n=6):
        self.ok, self.bad, self.stop = 0, [], False
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(port,), daemon=True) for _ in range(n)]
        for t in self.threads:
            t.start()

    def run(self, port):
        body = json.dumps({"model": "gpt", "messages": ASK})
        while not self.stop:
            try:
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                c.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
                r = c.getresponse()
                text = r.read()
                with self.lock:
                    if r.status == 200:
                        self.ok += 1
                    else:
                        self.bad.append((r.status, text))
                c.close()
            except OSError as e:
                with self.lock:
                    self.bad.append(repr(e))

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join(30)
        return self.ok, self.bad


class Operation(unittest.TestCase):
    def setUp(self):
        self.up = Fake()
        self.w = World({"providers": f"  oai: {{ api: openai, url: http://127.0.0.1:{self.up.port}/v1, zone: machine }}",
                        "models": "  gpt: { provider: oai, id: gpt-x, retries: 0, price: { input: 1, output: 2 } }"})
        self.w.config.write_text(self.w.config.read_text().replace("default: tiny", "default: gpt"))

    def tearDown(self):
        self.w.close()

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=10)
        c.request("GET", path)
        r = c.getresponse()
        return r.status, r.read().decode()

    def metrics(self):
        status, text = self.get("/metrics")
        self.assertEqual(status, 200)
        out, kinds = {}, {}
        for line in text.splitlines():
            if line.startswith("#"):
                _, word, name, rest = line.split(" ", 3)
                self.assertFalse(word == "TYPE" and name in kinds, f"{name} is declared once")
                kinds.setdefault(name, rest) if word == "TYPE" else None
                continue
            m = LINE.match(line)
            self.assertTrue(m, line)
            self.assertTrue(any(m[1] == k or m[1].startswith(k + "_") for k in kinds), line)
            out[m[1] + (m[2] or "")] = float(m[4])
        return out

    def test_metrics_count_what_happened(self):
        self.w.start()
        sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{self.w.port}/v1", api_key="none", max_retries=0)
        for stream in (False, True, True):
            list(sdk.chat.completions.create(model="gpt", messages=ASK, stream=stream))
        for model, text in (("gpt", "error 500"), ("nobody", "plain")):
            with self.assertRaises(openai.APIStatusError):
                sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
        m = self.metrics()
        gpt = '{gen_ai_provider_name="oai",gen_ai_request_model="gpt"'
        self.assertEqual([m[f'hearth_calls_total{gpt},outcome="{o}"}}'] for o in ("ok", "error", "cut", "refused", "cancelled")], [3, 1, 0, 0, 0])
        self.assertEqual(m['hearth_calls_total{gen_ai_provider_name="",gen_ai_request_model="",outcome="refused"}'], 1)
        self.assertEqual(m[f"gen_ai_client_operation_duration_seconds_count{gpt}}}"], 4)
        self.assertEqual(m[f'gen_ai_client_token_usage_sum{gpt},gen_ai_token_type="input"}}'], 3 * USAGE["prompt"])
        self.assertAlmostEqual(m[f"hearth_cost_dollars_total{gpt}}}"], 3e-6 * (USAGE["prompt"] + 2 * USAGE["completion"]))
        bounds = [v for k, v in m.items() if k.startswith("gen_ai_client_operation_duration_seconds_bucket" + gpt)]
        self.assertEqual((len(bounds), bounds[-1], sorted(bounds)), (15, 4, bounds))
        self.assertEqual((m["hearth_ledger_healthy"], m["hearth_calls_running"]), (1, 0))
        self.assertGreaterEqual(m["hearth_ledger_rows_total"], 9)

    def test_ready_is_not_the_same_as_alive(self):
        self.w.start()
        self.assertEqual(self.get("/ready"), (200, '{"ready":true,"why":null}'))
        self.w.config.write_text(self.w.config.read_text().replace("default: gpt", "default: tiny").replace("slots: 4", "slots: 4, chat_template: none-such"))
        self.assertTrue(wait_for(lambda: "chat_template" in self.w.hearth("config", "show").stdout and "config_loaded" in (self.w.dir / "serve.log").read_text(), 10))
        sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{self.w.port}/v1", api_key="none", max_retries=0)
        with self.assertRaises(openai.APIStatusError):
            sdk.chat.completions.create(model="tiny", messages=ASK)
        self.assertEqual(self.get("/ready")[0], 503)
        self.assertEqual(self.get("/health")[0], 200)

    def test_a_changed_file_is_read_and_no_call_fails(self):
        self.w.start()
        load = Load(self.w.port)
        text = self.w.config.read_text()
        for i in range(3):
            self.w.config.write_text(text + f"aliases: {{ new-{i}: gpt }}\n")
            wait_for(lambda: (self.w.dir / "serve.log").read_text().count("config_loaded") == i + 1, 10)
        self.w.config.write_text(text + "alias: {\n")
        wait_for(lambda: "config_kept" in (self.w.dir / "serve.log").read_text(), 10)
        for _ in range(5):
            self.w.server.send_signal(signal.SIGHUP)
            time.sleep(0.05)
        sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{self.w.port}/v1", api_key="none", max_retries=0)
        self.assertEqual(sdk.chat.completions.create(model="new-2", messages=ASK).choices[0].finish_reason, "stop", "the last good one is in force")
        ok, bad = load.end()
        self.assertEqual(bad, [])
        self.assertGreater(ok, 100)

    def test_a_new_process_takes_over_and_no_connection_is_refused(self):
        self.w.start()
        pid = self.w.server.pid
        load = Load(self.w.port)
        for i in range(3):
            time.sleep(0.4)
            self.w.server.send_signal(signal.SIGUSR2)
            wait_for(lambda: (self.w.dir / "serve.log").read_text().count("serves on") == i + 2, 30)
        time.sleep(0.3)
        ok, bad = load.end()
        self.assertEqual(bad, [])
        self.assertGreater(ok, 100)
        self.assertIsNone(self.w.server.poll())
        self.assertEqual(self.w.server.pid, pid)
        self.assertEqual(len([r for r in self.w.rows() if r["kind"] == "end" and r["outcome"] == "ok"]), ok, "each answer is on record once")
        self.w.config.write_text("models: [\n")
        self.w.server.send_signal(signal.SIGUSR2)
        wait_for(lambda: "restart_refused" in (self.w.dir / "serve.log").read_text(), 10)
        self.assertEqual(self.get("/ready")[0], 200)

    def test_a_socket_that_was_handed_over_is_served(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
            run = f'LISTEN_FDS=1 LISTEN_PID=$$ exec "{HEARTH}" serve -c "{self.w.config}" 3<&{s.fileno()}'
            self.w.server = subprocess.Popen(["bash", "-c", run], pass_fds=[s.fileno()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        c.request("GET", "/health")
        self.assertEqual(json.loads(c.getresponse().read())["port"], port)


if __name__ == "__main__":
    unittest.main(argv=["test_operation"], verbosity=2)
