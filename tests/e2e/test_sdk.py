"""The official OpenAI SDK against hearth with the real starter model: each answer, each exception, each row."""
import concurrent.futures, subprocess, sys, unittest

import openai

from world import HEARTH, World, wait_for

ASK = [{"role": "user", "content": "Count from one to twenty in words."}]


class Sdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = World().start()
        cls.client = openai.OpenAI(base_url=f"http://127.0.0.1:{cls.w.port}/v1", api_key="none", max_retries=0, timeout=120)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def row(self, call_id):
        rows = [r for r in self.w.rows() if r["call_id"] == call_id]
        self.assertEqual(len(rows), 1, "exactly one row tells how a call ended")
        return rows[0]

    def test_chat(self):
        r = self.client.chat.completions.with_raw_response.create(model="tiny", messages=ASK, max_tokens=12, temperature=0)
        reply = r.parse()
        self.assertTrue(reply.choices[0].message.content)
        row = self.row(r.headers["x-hearth-call"])
        self.assertEqual((row["outcome"], row["output_tokens"], row["input_tokens"]), ("ok", reply.usage.completion_tokens, reply.usage.prompt_tokens))
        self.assertEqual(len(row["fingerprint"]), 64)

    def test_stream_with_usage(self):
        chunks = list(self.client.chat.completions.create(model="default", messages=ASK, max_tokens=10, temperature=0, stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, 10)
        self.assertEqual([c.choices[0].finish_reason for c in chunks[:-1] if c.choices[0].finish_reason], ["length"])

    def test_usage_is_recorded_and_not_sent_when_nobody_asked(self):
        stream = self.client.chat.completions.with_raw_response.create(model="tiny", messages=ASK, max_tokens=5, temperature=0, stream=True)
        chunks = list(stream.parse())
        self.assertTrue(all(c.choices for c in chunks))
        self.assertEqual(self.row(stream.headers["x-hearth-call"])["output_tokens"], 5)

    def test_32_parallel_streams(self):
        def one(i):
            raw = self.client.chat.completions.with_raw_response.create(model="tiny", messages=ASK, max_tokens=12, stream=True, seed=i)
            finish = [c.choices[0].finish_reason for c in raw.parse()][-1]
            return raw.headers["x-hearth-call"], finish
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            done = list(pool.map(one, range(32)))
        self.assertEqual({f for _, f in done} - {"length", "stop"}, set())
        ids = [r["call_id"] for r in self.w.rows() if r["outcome"] == "ok"]
        for call, _ in done:
            self.assertEqual(ids.count(call), 1)

    def test_cancel_in_the_middle_stops_the_work(self):
        raw = self.client.chat.completions.with_raw_response.create(model="tiny", messages=ASK, max_tokens=1500, stream=True, temperature=1.5)
        stream = raw.parse()
        for _ in range(3):
            next(iter(stream))
        stream.close()
        row = wait_for(lambda: [r for r in self.w.rows("--outcome", "cancelled") if r["call_id"] == raw.headers["x-hearth-call"]], 5)[0]
        self.assertLess(row["total_us"], 30_000_000)

    def test_exceptions_have_the_right_class(self):
        create = self.client.chat.completions.create
        with self.assertRaises(openai.NotFoundError) as e:
            create(model="nobody", messages=ASK)
        self.assertEqual(e.exception.code, "model_not_found")
        for bad in ({"temperature": 9}, {"max_tokens": 0}, {"messages": []}, {"messages": [{"role": "king", "content": "x"}]}, {"stop": [""]}):
            with self.assertRaises(openai.BadRequestError, msg=str(bad)):
                create(**{"model": "tiny", "messages": ASK, **bad})
        with self.assertRaises(openai.BadRequestError) as e:
            create(model="tiny", messages=[{"role": "user", "content": "word " * 9000}])
        self.assertEqual(e.exception.code, "context_length_exceeded")
        refused = [r["outcome"] for r in self.w.rows() if r["outcome"] in ("refused", "error")]
        self.assertGreaterEqual(len(refused), 7)

    def test_models(self):
        self.assertIn("tiny", [m.id for m in self.client.models.list()])
        self.assertEqual(self.client.models.retrieve("tiny").owned_by, "here")

    def test_foreign_pages_are_not_served(self):
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
            with self.assertRaises(openai.PermissionDeniedError):
                self.client.chat.completions.create(model="tiny", messages=ASK, extra_headers=headers)

    def test_run_goes_through_the_running_serve(self):
        before = len(self.w.rows())
        out = self.w.hearth("run", "--max-tokens", "5", "Say hi")
        self.assertEqual(out.returncode, 0, out.stderr)
        self.assertTrue(out.stdout.strip())
        rows = self.w.rows()
        self.assertEqual(len(rows), before + 1)
        self.assertTrue(rows[0]["client"].startswith("unix:"))
        show = self.w.hearth("show", rows[0]["call_id"])
        self.assertIn("Say hi", show.stdout)
        self.assertIn("fingerprint", show.stdout)

    def test_a_second_serve_says_why_it_does_not_start(self):
        out = subprocess.run([HEARTH, "serve", "-c", str(self.w.config)], capture_output=True, text=True, timeout=20)
        self.assertEqual(out.returncode, 4)
        self.assertIn(f"in use by another hearth (process {self.w.server.pid})", out.stderr)

    def test_zz_the_chain_is_sound(self):
        self.assertEqual(self.w.verify()["cut"], 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
