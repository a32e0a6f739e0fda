"""What one can do with the record: calls again, calls beside each other, taken out, erased."""
import http.client, json, os, re, sqlite3, subprocess, unittest

import anthropic, ollama, openai
from fakes import Fake, TEXT
from world import MODEL, World, wait_for

os.environ["HEARTH_TEST_KEY"] = "sk-ant-test"
ASK = [{"role": "user", "content": "Name three colours of the rainbow."}]
SECRET = "Zyxomma petiolatum 4711"


class Record(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.up = Fake()
        at = f"http://127.0.0.1:{cls.up.port}"
        cls.w = World({"providers": f"  ant: {{ api: anthropic, url: {at}, key: '${{HEARTH_TEST_KEY}}', zone: machine }}\n  oai: {{ api: openai, url: {at}/v1, zone: machine }}",
                       "models": "  claude: { provider: ant, id: claude-x, retries: 0 }\n  gpt: { provider: oai, id: gpt-x, retries: 0 }", "tasks": "  mine: { model: tiny, data: private }\n  local: { model: tiny }"})
        cls.w.config.write_text(cls.w.config.read_text() + "watch: false\n")       # a test changes the file, for the commands alone
        cls.w.start()
        at = f"http://127.0.0.1:{cls.w.port}"
        cls.sdk = openai.OpenAI(base_url=at + "/v1", api_key="none", max_retries=0, timeout=60)
        cls.ant = anthropic.Anthropic(base_url=at, api_key="none", max_retries=0)
        cls.oll = ollama.Client(host=at)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def last(self):
        return self.w.rows("-n", "1")[0]["call_id"]

    def chat(self, **kw):
        r = self.sdk.chat.completions.create(**{"model": "tiny", "messages": ASK, "max_tokens": 24, "temperature": 0, **kw})
        if kw.get("stream"):
            list(r)
        return self.last()

    def replay(self, call):
        r = self.w.hearth("replay", call, "--json")
        return r.returncode, json.loads(r.stdout) if r.stdout else r.stderr

    def test_replay_of_the_engine_is_bit_exact(self):
        for call in (self.chat(), self.chat(stream=True), self.chat(model="task/local"), self.chat(temperature=0.9, seed=11),
                     (self.ant.messages.create(model="tiny", max_tokens=20, extra_body={"temperature": 0}, messages=ASK), self.last())[1],
                     (list(self.oll.chat(model="tiny", messages=ASK, stream=True, options={"temperature": 0, "num_predict": 20})), self.last())[1],
                     (self.oll.generate(model="tiny", prompt="Hello", options={"temperature": 0, "num_predict": 20}), self.last())[1],
                     (self.sdk.responses.create(model="tiny", input="Hello", max_output_tokens=20, temperature=0), self.last())[1],
                     (self.sdk.completions.create(model="tiny", prompt="1 2 3", max_tokens=10, temperature=0), self.last())[1]):
            code, r = self.replay(call)
            self.assertEqual((code, r["class"], r["fingerprint"], r["first_difference"]), (0, "bit-exact", "same", None), r)
            row = json.loads(self.w.hearth("show", r["replay"], "--json").stdout.splitlines()[0])
            self.assertEqual((row["parent_call"], row["model"]), (call, "tiny"))

    def test_replay_says_what_differs_and_what_cannot_be_known(self):
        call = self.chat(temperature=1.5, max_tokens=40)
        code, r = self.replay(call)
        self.assertEqual((code, r["class"], r["fingerprint"]), (3, "different", "same"))
        self.assertIn("no seed was given", self.w.hearth("replay", call).stdout)
        code, r = self.replay(self.chat(model="claude", messages=[{"role": "user", "content": "plain"}], temperature=1))
        self.assertEqual((code, r["class"], r["fingerprint"]), (0, "token-exact", "unknown"))

    def test_replay_refuses_with_the_reason(self):
        with self.assertRaises(openai.APIStatusError):
            self.sdk.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "error 500"}])
        self.assertIn("did not end well", self.replay(self.last())[1])
        call = self.chat()
        config = self.w.config.read_text()
        try:
            self.w.config.write_text(config.replace("tiny:", "small:").replace("model: tiny", "model: small").replace("default: tiny", "default: small"))
            code, why = self.replay(call)
            self.assertEqual(code, 4)
            self.assertIn("there is no model tiny here any more", why)
            other = self.w.dir / "other.gguf"
            other.write_bytes(MODEL.read_bytes() + b"\0")
            self.w.config.write_text(config.replace(str(MODEL), str(other)))
            code, why = self.replay(call)
            self.assertEqual(code, 4)
            self.assertIn("the file has others now", why)
        finally:
            self.w.config.write_text(config)
        self.assertEqual(self.w.hearth("erase", "--call", call, "--yes").returncode, 0)
        self.assertIn("not kept, or erased by now", self.replay(call)[1])

    def test_private_calls_stay_private_when_they_are_replayed(self):
        call = self.chat(model="task/mine")
        code, r = self.replay(call)
        self.assertEqual((code, r["class"]), (0, "bit-exact"))
        self.assertEqual(json.loads(self.w.hearth("show", r["replay"], "--json").stdout.splitlines()[0])["data_class"], "private")

    def test_diff(self):
        a = self.chat()
        b = self.chat(messages=[{"role": "system", "content": "Be brief."}] + ASK, max_tokens=30, temperature=0.5, seed=3)
        r = self.w.hearth("diff", a, b)
        self.assertEqual(r.returncode, 3)
        self.assertRegex(r.stdout, r"max_tokens +24 +30")
        self.assertRegex(r.stdout, r"temperature +0 +0.5")
        self.assertIn("+ system: Be brief.", r.stdout)
        self.assertIn("… 1 line the same", r.stdout)
        c = (self.ant.messages.create(model="claude", max_tokens=24, messages=[{"role": "user", "content": "plain"}]), self.last())[1]
        d = json.loads(self.w.hearth("diff", a, c, "--json").stdout)
        self.assertEqual((d["model"], d["dialect"], d["identity.quantization"]), (["tiny", "claude"], ["openai", "anthropic"], ['"Q4_1"', "-"]))
        self.assertEqual(d["response"][1], TEXT)
        same = self.w.hearth("diff", a, a)
        self.assertEqual((same.returncode, "the same" in same.stdout), (0, True))

    def test_export(self):
        self.chat(extra_headers={"x-hearth-conversation": "c-1"})
        self.chat(extra_headers={"x-hearth-conversation": "c-1"}, stream=True)
        out = self.w.hearth("export", "--conversation", "c-1", "--bodies").stdout
        rows = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([r["request"]["messages"] for r in rows], [ASK, ASK])
        self.assertEqual(rows[0]["response"]["object"], "chat.completion")
        self.assertIn("data: [DONE]", rows[1]["response"])
        self.assertLess(rows[0]["seq"], rows[1]["seq"])
        self.assertNotIn("request", json.loads(self.w.hearth("export", "--conversation", "c-1").stdout.splitlines()[0]))
        every = [json.loads(line) for line in self.w.hearth("export", "--all").stdout.splitlines()]
        self.assertEqual([r["seq"] for r in every], list(range(1, len(every) + 1)), "all rows, in order, none twice")

    def test_erase_leaves_the_chain_and_nothing_of_the_text(self):
        for n in range(3):
            self.chat(messages=[{"role": "user", "content": f"{SECRET} {n}"}], extra_headers={"x-hearth-conversation": "subject"})
        kept = self.chat(messages=[{"role": "user", "content": "stays"}])
        r = self.w.hearth("erase", "--conversation", "subject")
        self.assertEqual((r.returncode, "was not confirmed" in r.stderr), (2, True))
        r = self.w.hearth("erase", "--conversation", "subject", "--yes", "--json")
        self.assertEqual(json.loads(r.stdout), {"bodies": 6}, r.stderr)
        self.assertEqual(self.w.hearth("verify").returncode, 0)
        rows = [json.loads(line) for line in self.w.hearth("export", "--conversation", "subject", "--bodies").stdout.splitlines()]
        self.assertEqual([(r["request"], r["response"]) for r in rows], [(None, None)] * 3)
        self.assertTrue(all(r["request_hash"] for r in rows), "the rows are as they were")
        self.assertIn("stays", self.w.hearth("show", kept).stdout)
        with sqlite3.connect(self.w.dir / "hearth.db") as db:
            self.assertEqual(db.execute("PRAGMA secure_delete").fetchone()[0] >= 0, True)
            events = [json.loads(d) for (d,) in db.execute("SELECT detail FROM row WHERE event = 'bodies_erased'")]
        self.assertEqual([e["bodies"] for e in events if e.get("conversation") == "subject"], [6])
        self.assertEqual(self.w.hearth("erase", "--yes").returncode, 2)

    def test_erase_without_a_running_hearth(self):
        w = World().start()
        try:
            sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{w.port}/v1", api_key="none")
            sdk.chat.completions.create(model="tiny", messages=ASK, max_tokens=3)
            w.stop()
            self.assertEqual(json.loads(w.hearth("erase", "--until", "1ms", "--yes", "--json").stdout)["bodies"], 2)
            self.assertEqual(w.hearth("verify").returncode, 0)
        finally:
            w.close()

    def test_what_could_not_be_read_might_have_been_private(self):
        for body in (b'{"messages": "' + SECRET.encode() + b'"}', SECRET.encode(), b'{"model": "task/mine", "messages": [{"role": "nobody", "content": "x"}]}'):
            c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=30)
            c.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json", "x-hearth-data": "private"})
            self.assertEqual(c.getresponse().status, 400)
        self.ant.messages.create(model="claude", max_tokens=9, messages=[{"role": "user", "content": "plain"}])
        with sqlite3.connect(self.w.dir / "hearth.db") as db:
            kinds = [k for (k,) in db.execute("SELECT b.kind FROM row r JOIN body b ON b.id = r.request_body WHERE r.kind = 1 ORDER BY seq DESC LIMIT 4")]
        self.assertEqual(kinds[1:], [kinds[1]] * 3)
        self.assertNotEqual(kinds[0], kinds[1], "sealed, since nobody knows what it was")

    def test_show_reads_every_api(self):
        self.ant.messages.create(model="gpt", max_tokens=24, messages=[{"role": "user", "content": "think"}])
        out = self.w.hearth("show", self.last()).stdout
        self.assertIn("let me think", out)
        self.assertIn(TEXT.splitlines()[0], out)
        list(self.oll.chat(model="claude", messages=[{"role": "user", "content": "tools"}], stream=True, tools=[{"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}}]))
        self.assertIn("weather(", self.w.hearth("show", self.last()).stdout)


if __name__ == "__main__":
    unittest.main(argv=["test_record"], verbosity=2)
