"""Names that stand for others, the rules of `auto`, deadlines, what a call costs, and the explanation of all that."""
import collections, json, os, time, unittest

import openai
from fakes import Fake, USAGE
from world import World

os.environ["HEARTH_TEST_KEY"] = "sk-ant-test"
ROUTES = """
aliases:
  gpt-4o: claude
  "gpt-4o-*": task/quick
  smart: auto
  both: { gpt: 1, claude: 1 }
auto:
  docs: { words: [docstring, "write docs"], to: task/quick }
  code: { language: python, to: claude }
  tools: { tools: true, to: claude }
  long: { min_bytes: 20KB, to: claude }
"""


class Routes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.up = Fake()
        at = f"http://127.0.0.1:{cls.up.port}"
        cls.w = World({"providers": f"  oai: {{ api: openai, url: {at}/v1, zone: machine }}\n  ant: {{ api: anthropic, url: {at}, key: '${{HEARTH_TEST_KEY}}', zone: machine }}\n"
                                    f"  far: {{ api: openai, url: {at}/v1, zone: cloud }}",
                       "models": "  gpt: { provider: oai, id: gpt-x, price: { input: 2.5, output: 10 }, fallback: claude }\n  claude: { provider: ant, id: claude-x }\n"
                                 "  cloudy: { provider: far, id: c }",
                       "tasks": "  quick: { model: gpt, deadline: 300ms, risk: low }"})
        cls.w.config.write_text(cls.w.config.read_text().replace("default: tiny", "default: gpt") + ROUTES)
        cls.w.start()
        cls.sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{cls.w.port}/v1", api_key="none", max_retries=0, timeout=30)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def ask(self, model, text="plain", **kw):
        r = self.sdk.chat.completions.with_raw_response.create(model=model, messages=[{"role": "user", "content": text}], **kw)
        return r.headers

    def row(self, headers):
        return json.loads(self.w.hearth("show", headers["x-hearth-call"], "--json").stdout)

    def test_names_and_rules(self):
        tool = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
        for model, text, more, served, route in [
            ("gpt-4o", "plain", {}, "claude", "alias gpt-4o; model"), ("gpt-4o-mini", "plain", {}, "gpt", "alias gpt-4o-*; task-fixed"),
            ("auto", "a Docstring please", {}, "gpt", "auto docs (the word docstring); task-fixed"), ("auto", "see\n```python\nx\n```", {}, "claude", "auto code (code in python); model"),
            ("smart", "plain", {"tools": tool}, "claude", "auto tools; model"), ("auto", "plain", {}, "gpt", "auto: no rule holds; default"), ("default", "plain", {}, "gpt", "default"),
        ]:
            with self.subTest(model=model, text=text):
                h = self.ask(model, text, **more)
                self.assertEqual((h["x-hearth-model"], h["x-hearth-route"]), (served, route))
        rows = [r for r in self.w.rows() if r.get("model_asked") == "gpt-4o"]
        self.assertEqual((rows[0]["model"], rows[0]["decision"]), ("claude", "alias gpt-4o; model"), "asked and served stand side by side")

    def test_weights(self):
        n = collections.Counter(self.ask("both")["x-hearth-model"] for _ in range(60))
        self.assertTrue(10 < n["gpt"] < 50 and n["gpt"] + n["claude"] == 60, n)

    def test_cost(self):
        want = USAGE["prompt"] * 2.5 + USAGE["completion"] * 10
        self.assertAlmostEqual(float(self.ask("gpt")["x-hearth-cost"]) * 1e6, want, delta=1)
        self.assertNotIn("x-hearth-cost", self.ask("claude"), "no price is known")

    def test_a_deadline_ends_the_call_whatever_it_waits_for(self):
        for stream in (False, True):
            begin = time.monotonic()
            with self.assertRaises(openai.APIStatusError) as e:
                list(self.sdk.chat.completions.create(model="task/quick", messages=[{"role": "user", "content": "slow"}], stream=stream))
            self.assertEqual(e.exception.status_code, 504)
            self.assertIn("the deadline of task quick (300 ms) has passed", str(e.exception))
            self.assertTrue(0.25 < time.monotonic() - begin < 3)
        rows = [r for r in self.w.rows() if r.get("task") == "quick" and r.get("outcome") != "ok"]
        self.assertEqual(len([r for r in rows if r["kind"] == "end"]), 2)
        self.assertEqual(self.w.hearth("verify").returncode, 0)

    def test_explain(self):
        before = len(self.w.rows())
        asked = len(self.up.seen)
        x = json.loads(self.w.hearth("explain", "--json", "--model", "auto", "write docs for me").stdout)
        self.assertEqual((x["rule"], x["because"], x["task"], x["model"], x["zone"], x["fallbacks"], x["request"], x["refused"]),
                         ("auto docs (the word write docs)", "task-fixed", "quick", "gpt", "machine", ["claude"], "forwarded", None))
        r = self.w.hearth("explain", "--private", "--model", "cloudy", "hello")
        self.assertEqual(r.returncode, 3)
        self.assertIn("this call is private, and model cloudy is in the cloud zone", r.stdout)
        body = json.dumps({"model": "claude", "messages": [{"role": "user", "content": "x"}], "seed": 3})
        x = json.loads(self.w.hearth("explain", "--json", "-", input=body).stdout)
        self.assertEqual((x["model"], x["request"], x["dropped"]), ("claude", "translated", "seed"))
        x = json.loads(self.w.hearth("explain", "--json", "--model", "nobody", "x").stdout)
        self.assertEqual(x["status"], 404)
        self.assertEqual((len(self.w.rows()), len(self.up.seen)), (before, asked), "nothing was sent, nothing was recorded")


if __name__ == "__main__":
    unittest.main(argv=["test_route"], verbosity=2)
