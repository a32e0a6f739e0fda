"""What calls cost and where they went: hearth report says what its rows say, to the token and to the millionth of a dollar."""
import html.parser, json, unittest

import openai
from fakes import Fake, USAGE
from world import World

IN, OUT = USAGE["prompt"], USAGE["completion"]


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.up = Fake()
        at = f"http://127.0.0.1:{cls.up.port}/v1"
        cls.w = World({"providers": f"  near: {{ api: openai, url: {at}, zone: machine }}\n  far: {{ api: openai, url: {at}, zone: cloud }}\n  dead: {{ api: openai, url: http://127.0.0.1:9/v1, zone: cloud }}",
                       "models": "  local: { provider: near, id: l }\n  frontier: { provider: far, id: f, price: { input: 3, output: 15 } }\n  unpriced: { provider: far, id: u }\n"
                                 "  failing: { provider: dead, id: d, price: { input: 1, output: 1 }, retries: 1 }",
                       "tasks": "  docs: { model: local }\n  plan: { model: frontier }"})
        cls.w.start()
        sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{cls.w.port}/v1", api_key="none", max_retries=0, timeout=30)

        def ask(model, n):
            for _ in range(n):
                sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": "plain"}])
        ask("task/plan", 4)
        ask("task/docs", 5)
        ask("local", 2)
        ask("unpriced", 1)
        for _ in range(3):
            try:
                ask("failing", 1)
                raise AssertionError("nobody listens there")
            except openai.APIStatusError:
                pass

        # What it is compared with is written down now: the calls are older than these words.
        cls.w.config.write_text(cls.w.config.read_text().replace("docs: { model: local }", "docs: { risk: low, reference: frontier, candidate: local }"))

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def report(self, *args, code=0):
        r = self.w.hearth("report", *args)
        self.assertEqual(r.returncode, code, r.stderr)
        return json.loads(r.stdout) if "--json" in args else r.stdout if code == 0 else r.stderr

    def test_the_sums(self):
        now = self.report("--json")["now"]
        price = 3 * IN + 15 * OUT
        self.assertEqual({k: now[k] for k in ("calls", "ok", "local", "failed_tries", "unpriced", "incomparable", "input_tokens", "output_tokens", "cost_micros", "elsewhere_micros")},
                         {"calls": 15, "ok": 12, "local": 7, "failed_tries": 3, "unpriced": 1, "incomparable": 2, "input_tokens": 12 * IN, "output_tokens": 12 * OUT, "cost_micros": 4 * price,
                          "elsewhere_micros": 5 * price})
        self.assertEqual(self.report("--json")["other_prices"], 5)
        rows = sorted(r["total_us"] for r in self.w.rows("--outcome", "ok"))
        self.assertLess(abs(now["p50_us"] / rows[len(rows) // 2 - 1] - 1), 0.05, "a class of durations is 4.4 % wide")

    def test_each_table_adds_up_to_the_whole(self):
        r = self.report("--json")
        for table in ("tasks", "models", "keys"):
            for field in ("calls", "ok", "local", "input_tokens", "output_tokens", "cost_micros", "elsewhere_micros", "unpriced", "incomparable"):
                self.assertEqual(sum(line["now"][field] for line in r[table]), r["now"][field], (table, field))
        self.assertEqual({line["name"]: line["now"]["calls"] for line in r["models"]}, {"local": 7, "frontier": 4, "unpriced": 1, "failing": 3})
        self.assertEqual([line["now"]["calls"] for line in r["tasks"]], [6, 5, 4], "most calls first")
        self.assertEqual(sum(b["local"] + b["cloud"] + b["failed"] for b in r["buckets"]), 15)
        self.assertEqual(sum(b["elsewhere_micros"] for b in r["buckets"]), r["now"]["elsewhere_micros"])

    def test_filters_and_another_reference(self):
        self.assertEqual(self.report("--json", "--model", "local")["now"]["calls"], 7)
        self.assertEqual(self.report("--json", "--task", "docs")["now"]["calls"], 5)
        now = self.report("--json", "--reference", "frontier")["now"]
        self.assertEqual((now["incomparable"], now["elsewhere_micros"]), (0, 7 * (3 * IN + 15 * OUT)))
        self.assertIn("no model unpriced with a price", self.report("--reference", "unpriced", code=2))

    def test_the_time_before(self):
        r = self.report("--json", "--since", "2s", "--until", "1s")
        self.assertEqual((r["until_us"] - r["since_us"]) // 100000, 10)
        self.assertIn("longer ago", self.report("--since", "1s", "--until", "2s", code=2))
        self.assertIn("how long ago", self.report("--since", "yesterday", code=2))

    def test_for_people(self):
        out = self.report()
        self.assertIn("15 calls (new), 80.0 % ok; 58.3 % of the answers local", out)
        self.assertIn("1 answers of a cloud have no price", out)
        self.assertIn("2 local answers cannot be compared", out)
        self.assertNotIn("\x1b", out, "plain in a pipe")

    def test_the_page(self):
        page = self.w.dir / "report.html"
        self.report("--html", str(page))
        text = page.read_text()
        tags = []

        class Parser(html.parser.HTMLParser):
            def handle_starttag(self, tag, attrs):
                tags.append(tag)
        Parser().feed(text)
        self.assertEqual((tags.count("svg"), tags.count("table"), tags.count("script"), tags.count("link")), (2, 3, 0, 0))
        self.assertNotIn("http", text, "it needs nothing else")


if __name__ == "__main__":
    unittest.main(argv=["x"], verbosity=2)
