"""A second real server, python -m llama_cpp.server, plays the cloud: what passes through, what is recorded, what is refused.

HEARTH_CLOUD_MODEL=FILE.gguf gives the cloud another model than the one here; `make test` does not load it."""
import http.client, json, os, subprocess, sys, time, unittest

import openai

from world import HEARTH, MODEL, World, free_port, wait_for

ASK = [{"role": "user", "content": "Count from one to twenty in words."}]


class Cloud(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.up = free_port()
        cls.peer = subprocess.Popen([sys.executable, "-m", "llama_cpp.server", "--model", os.environ.get("HEARTH_CLOUD_MODEL", str(MODEL)), "--model_alias", "frontier", "--host", "127.0.0.1",
                                     "--port", str(cls.up), "--n_threads", "1", "--n_ctx", "2048"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cls.w = World({"providers": f"  sky: {{ api: openai, url: http://127.0.0.1:{cls.up}/v1, zone: cloud }}\n  near: {{ api: openai, url: http://127.0.0.1:{cls.up}/v1 }}\n"
                                    f"  gone: {{ api: openai, url: http://127.0.0.1:{free_port()}/v1, zone: machine }}",
                       "models": "  frontier: { provider: sky, id: frontier, price: { input: 5, output: 25 } }\n  guessed: { provider: near, id: frontier }\n"
                                 "  absent: { provider: gone }",
                       "tasks": "  plan: { model: frontier, risk: high }\n  both: { reference: frontier, candidate: tiny }\n  pii: { model: tiny, data: private }"}).start()
        cls.client = openai.OpenAI(base_url=f"http://127.0.0.1:{cls.w.port}/v1", api_key="none", max_retries=0, timeout=120)
        wait_for(cls.answers, 60)

    @classmethod
    def answers(cls):
        try:
            c = http.client.HTTPConnection("127.0.0.1", cls.up, timeout=2)
            c.request("GET", "/v1/models")
            return c.getresponse().status == 200
        except OSError:
            return False

    @classmethod
    def tearDownClass(cls):
        cls.w.close()
        cls.peer.kill()
        cls.peer.wait()

    def row(self, call_id):
        rows = [r for r in self.w.rows() if r["call_id"] == call_id]
        self.assertEqual(len(rows), 1)
        return rows[0]

    def test_a_stream_passes_token_by_token(self):
        raw = self.client.chat.completions.with_raw_response.create(model="frontier", messages=ASK, max_tokens=24, stream=True, temperature=0)
        at = [time.monotonic() for c in raw.parse() if c.choices and c.choices[0].delta.content]
        self.assertGreater(len(at), 10)
        self.assertGreater(at[-1] - at[0], 0.05, "the tokens came one after the other, not in one piece")
        row = self.row(raw.headers["x-hearth-call"])
        self.assertEqual((row["zone"], row["outcome"], row["model_served"]), ("cloud", "ok", "frontier"))
        self.assertNotIn("fingerprint", row, "which weights answered is unknown, and is not invented")

    def test_a_reply_is_handed_on_and_priced(self):
        raw = self.client.chat.completions.with_raw_response.create(model="task/plan", messages=ASK, max_tokens=8)
        usage = raw.parse().usage
        row = self.row(raw.headers["x-hearth-call"])
        self.assertEqual(row["cost_micros"], usage.prompt_tokens * 5 + usage.completion_tokens * 25)
        self.assertEqual((row["task"], row["risk"], row["decision"]), ("plan", "high", "task-fixed"))

    def test_private_calls_never_reach_the_cloud(self):
        for model in ("frontier", "task/plan", "guessed"):
            with self.assertRaises(openai.PermissionDeniedError) as e:
                self.client.chat.completions.create(model=model, messages=ASK, extra_headers={"x-hearth-data": "private"})
            self.assertEqual(e.exception.code, "private_data")
        self.assertEqual(len([r for r in self.w.rows("--outcome", "refused") if r["error_type"] == "private_data"]), 3)

    def test_a_private_call_goes_to_the_candidate(self):
        raw = self.client.chat.completions.with_raw_response.create(model="task/both", messages=ASK, max_tokens=4, extra_headers={"x-hearth-data": "private"})
        self.assertEqual(raw.headers["x-hearth-model"], "tiny")
        self.assertEqual(self.row(raw.headers["x-hearth-call"])["decision"], "task-candidate")

    def test_upstream_errors_keep_their_class(self):
        with self.assertRaises(openai.InternalServerError) as e:
            self.client.chat.completions.create(model="absent", messages=ASK)
        self.assertEqual((e.exception.status_code, e.exception.code), (502, "upstream_unreachable"))

    def test_a_cut_upstream_never_looks_complete(self):
        import socket, threading
        listener = socket.create_server(("127.0.0.1", 0))
        def cut():
            s, _ = listener.accept()
            s.recv(65536)
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            chunk = b'data: {"choices":[{"index":0,"delta":{"content":"half"},"finish_reason":null}]}\n\n'
            s.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            s.close()
        threading.Thread(target=cut, daemon=True).start()
        w = World({"providers": f"  odd: {{ api: openai, url: http://127.0.0.1:{listener.getsockname()[1]}/v1, zone: machine }}", "models": "  odd: { provider: odd }"}).start()
        try:
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{w.port}/v1", api_key="none", max_retries=0, timeout=20)
            with self.assertRaises(openai.APIError):
                for _ in client.chat.completions.create(model="odd", messages=ASK, stream=True):
                    pass
            self.assertEqual([r["outcome"] for r in w.rows()], ["cut"])
        finally:
            w.close()

    def test_without_a_vault_the_cloud_is_shut(self):
        w = World({"providers": f"  sky: {{ api: openai, url: http://127.0.0.1:{self.up}/v1, zone: cloud }}", "models": "  frontier: { provider: sky }"},
                  guard="guard: { vault: missing/guard.db }").start()
        try:
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{w.port}/v1", api_key="none", max_retries=0)
            with self.assertRaises(openai.PermissionDeniedError) as e:
                client.chat.completions.create(model="frontier", messages=ASK)
            self.assertEqual(e.exception.code, "guard_failed")
        finally:
            w.close()

    def test_a_private_task_in_the_cloud_is_refused_at_load(self):
        bad = self.w.dir / "bad.yaml"
        bad.write_text("providers:\n  sky: { api: openai, zone: cloud }\nmodels:\n  f: { provider: sky }\ntasks:\n  pii: { model: f, data: private }\n")
        out = subprocess.run([HEARTH, "config", "check", "-c", str(bad)], capture_output=True, text=True)
        self.assertEqual(out.returncode, 1)
        self.assertIn("task pii is private, but its model f is in the cloud zone", out.stderr)

    def test_zz_the_chain_is_sound(self):
        self.w.verify()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
