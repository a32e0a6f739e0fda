"""Virtual keys: who may call what, how often and for how much, in each API's own words; and addresses that others can reach."""
import http.client, json, os, subprocess, threading, time, unittest

import anthropic, ollama, openai
from fakes import Fake, USAGE
from world import HEARTH, World, wait_for

os.environ["HEARTH_TEST_KEY"] = "sk-ant-test"
ASK = [{"role": "user", "content": "plain"}]
COST = (USAGE["prompt"] * 1 + USAGE["completion"] * 2) / 1e6     # of one call of gpt, in dollars


class Keys(unittest.TestCase):
    def setUp(self):
        self.up = Fake()
        at = f"http://127.0.0.1:{self.up.port}"
        self.w = World({"providers": f"  oai: {{ api: openai, url: {at}/v1, zone: machine }}\n  far: {{ api: openai, url: {at}/v1, zone: cloud }}",
                        "models": "  gpt: { provider: oai, id: gpt-x, retries: 0, price: { input: 1, output: 2 } }\n  cloudy: { provider: far, id: c, fallback: gpt }\n"
                                  "  broken: { provider: oai, id: b, fallback: cloudy }",
                        "tasks": "  docs: { model: gpt }\n  plan: { model: cloudy }"})
        self.w.config.write_text(self.w.config.read_text().replace("default: tiny", "default: gpt"))

    def tearDown(self):
        self.w.close()

    def key(self, name, *flags):
        r = self.w.hearth("key", "add", name, *flags)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertRegex(r.stdout, r"^hk-[A-Za-z0-9_-]{43}\n$")
        return r.stdout.strip()

    def sdk(self, key):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.w.port}/v1", api_key=key, max_retries=0, timeout=20)

    def ask(self, key, model="gpt", **kw):
        return self.sdk(key).chat.completions.with_raw_response.create(model=model, messages=ASK, **kw).headers

    def refused(self, status, key, model="gpt", **kw):
        with self.assertRaises(openai.APIStatusError) as e:
            self.ask(key, model, **kw)
        self.assertEqual(e.exception.status_code, status, e.exception)
        return e.exception

    def test_no_key_no_answer_in_three_apis(self):
        good = self.key("alice")
        self.w.start()
        at = f"http://127.0.0.1:{self.w.port}"
        for bad in ("none", "", good[:-1], good + "x", good[:-1] + ("A" if good[-1] != "A" else "B")):
            self.assertEqual(self.refused(401, bad or "x").code, "invalid_api_key")
        with self.assertRaises(anthropic.AuthenticationError) as e:
            anthropic.Anthropic(base_url=at, api_key="none", max_retries=0).messages.create(model="gpt", max_tokens=5, messages=ASK)
        self.assertEqual(e.exception.body["error"]["type"], "authentication_error")
        with self.assertRaises(ollama.ResponseError) as e:
            ollama.Client(host=at).chat(model="gpt", messages=ASK)
        self.assertEqual(e.exception.status_code, 401)
        self.ask(good)
        anthropic.Anthropic(base_url=at, api_key=good).messages.create(model="gpt", max_tokens=5, messages=ASK)
        ollama.Client(host=at, headers={"Authorization": "Bearer " + good}).chat(model="gpt", messages=ASK)
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=5)
        c.request("POST", "/v1/chat/completions?api-version=2024-06-01", json.dumps({"model": "gpt", "messages": ASK}), {"Content-Type": "application/json", "api-key": good})
        self.assertEqual(c.getresponse().status, 200, "Azure's way to send it")
        rows = self.w.rows()
        self.assertEqual([r["key_id"] for r in rows], ["alice"] * 4, "who is nobody leaves no rows")
        kept = self.w.dir.joinpath("keys.yaml").read_text()
        self.assertNotIn(good, kept + self.w.dir.joinpath("serve.log").read_text() + json.dumps(rows))
        self.assertEqual(self.w.dir.joinpath("keys.yaml").stat().st_mode & 0o777, 0o600)
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=5)     # the head alone is enough for a refusal
        c.putrequest("POST", "/v1/chat/completions")
        c.putheader("Content-Length", str(50 << 20))
        c.endheaders()
        self.assertEqual(c.getresponse().status, 401)
        self.assertEqual(self.w.hearth("run", "--model", "gpt", "plain").returncode, 0, "the owner's own commands need none")

    def test_what_a_key_opens(self):
        docs, near, coder = self.key("docs", "--tasks", "docs", "--task", "docs"), self.key("near", "--zone", "machine"), self.key("coder", "--models", "gpt")
        self.w.start()
        self.assertEqual(self.ask(docs, "task/docs")["x-hearth-model"], "gpt")
        self.assertEqual(self.ask(docs, "default")["x-hearth-route"], "task-fixed")
        for model in ("gpt", "task/plan", "cloudy"):
            self.assertIn("does not open", str(self.refused(403, docs, model)))
        self.ask(near, "gpt")
        self.refused(403, near, "cloudy")
        self.refused(403, near, "task/plan")
        self.ask(coder, "task/docs")
        self.refused(403, coder, "cloudy")
        self.assertEqual([m.id for m in self.sdk(coder).models.list()], ["gpt"])
        self.assertEqual([m.id for m in self.sdk(docs).models.list()], ["task/docs"])
        with self.assertRaises(openai.APIStatusError):          # the fallback of a model that fails is not a way around
            self.sdk(near).chat.completions.create(model="broken", messages=[{"role": "user", "content": "error 500"}])
        self.assertEqual({r["model"] for r in self.w.rows() if r["key_id"] == "near" and r["outcome"] == "error"}, {"broken", "gpt"}, "never cloudy")

    def test_rates(self):
        few, tokens = self.key("few", "--requests", "3"), self.key("tokens", "--tokens", "1000")
        self.w.start()
        for _ in range(3):
            self.ask(few)
        e = self.refused(429, few)
        self.assertEqual((e.code, e.type), ("rate_limit_exceeded", "rate_limit_error"))
        self.assertTrue(1 <= int(e.response.headers["retry-after"]) <= 20)
        self.ask(tokens, max_tokens=300)                        # takes 129 in the end, not 300 and the prompt
        self.ask(tokens, max_tokens=500)
        results = []

        def one():
            try:
                self.ask(tokens, max_tokens=400)
                results.append(200)
            except openai.APIStatusError as x:
                results.append(x.status_code)
        threads = [threading.Thread(target=one) for _ in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertLessEqual(results.count(200), 5, "all at once cannot overrun the limit")
        self.assertIn(429, results)

    def test_budgets_outlive_the_process(self):
        poor = self.key("poor", "--per-day", f"{COST * 3.1:.7f}")
        self.w.start()
        for _ in range(2):
            self.ask(poor, max_tokens=9)
        self.w.stop()
        self.w.start()
        self.ask(poor, max_tokens=9)
        e = self.refused(429, poor, max_tokens=9)
        self.assertEqual((e.code, e.response.headers["x-should-retry"], e.response.headers.get("retry-after")), ("insufficient_quota", "false", None))
        self.assertIn("has spent its budget for the day", str(e))

    def test_revoke_rotate_and_list_reach_a_running_hearth(self):
        a, b = self.key("a"), self.key("b", "--expires", "2020-01-01")
        self.w.start()
        self.ask(a)
        self.refused(401, b)
        self.assertEqual(self.w.hearth("key", "revoke", "a").returncode, 0)

        def gone():
            try:
                self.ask(a)
            except openai.AuthenticationError:
                return True
        wait_for(gone, 10)
        new = self.w.hearth("key", "rotate", "a").stdout.strip()

        def back():
            try:
                return self.ask(new)
            except openai.AuthenticationError:
                return False
        wait_for(back, 10)
        self.refused(401, a)
        out = self.w.hearth("key", "list").stdout
        self.assertRegex(out, r"a +open +cloud +everything")
        self.assertEqual(json.loads(self.w.hearth("key", "list", "--json").stdout)["b"]["expires"], "2020-01-01")
        self.assertEqual(self.w.hearth("key", "add", "a").returncode, 2)
        self.assertEqual(self.w.hearth("key", "revoke", "zed").returncode, 4)
        self.assertIn("there is no task nope", self.w.hearth("key", "add", "x", "--tasks", "nope").stderr)
        self.assertNotIn("x", json.loads(self.w.hearth("key", "list", "--json").stdout))

    def test_every_dialect_says_no_in_its_own_words(self):
        key = self.key("poor", "--per-day", "0.00001")       # an amount that is printed with an exponent would not be read again
        self.w.start()
        for path, body, words in (("/v1/chat/completions", {"messages": ASK}, ("insufficient_quota", "invalid_api_key")), ("/v1/responses", {"input": "plain"}, ("insufficient_quota", "invalid_api_key")),
                                  ("/v1/messages", {"messages": ASK, "max_tokens": 9}, ("rate_limit_error", "authentication_error")), ("/api/chat", {"messages": ASK}, ("has spent its budget", "no valid key"))):
            for k, status, word in ((key, 429, words[0]), ("hk-none", 401, words[1])):
                c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=30)
                c.request("POST", path, json.dumps({"model": "gpt", **body}), {"Content-Type": "application/json", "api-key": k})
                r = c.getresponse()
                self.assertEqual((r.status, word in r.read().decode()), (status, True), (path, k))
                self.assertEqual((r.headers["x-should-retry"], r.headers["www-authenticate"]), ("false", None) if status == 429 else (None, "Bearer"))
        with self.assertRaises(anthropic.AuthenticationError) as e:
            anthropic.Anthropic(base_url=f"http://127.0.0.1:{self.w.port}", api_key="hk-none", max_retries=0).models.list()
        self.assertEqual(e.exception.body["error"]["type"], "authentication_error")

    def test_metrics_are_for_admins_and_health_for_all(self):
        plain, admin = self.key("plain"), self.key("admin", "--admin")
        self.w.start()

        def get(path, key=None):
            c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=5)
            c.request("GET", path, headers={"Authorization": "Bearer " + key} if key else {})
            return c.getresponse().status
        self.assertEqual([get("/metrics"), get("/metrics", plain), get("/metrics", admin), get("/health"), get("/ready"), get("/v1/models")], [401, 403, 200, 200, 200, 401])

    def test_an_address_that_others_reach_needs_keys(self):
        open_config = self.w.config.read_text().replace(f"127.0.0.1:{self.w.port}", f"0.0.0.0:{self.w.port}")
        self.w.config.write_text(open_config)
        r = self.w.hearth("config", "check")
        self.assertEqual(r.returncode, 1)
        self.assertIn("hearth key add NAME", r.stderr)
        self.assertIn("others can reach", self.w.hearth("serve").stderr)
        self.w.config.write_text(open_config + "keys: { listen_open: true }\n")
        r = self.w.hearth("config", "check")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.w.config.write_text(open_config)
        key = self.key("k")
        self.w.config.write_text(open_config + "hosts: [models.example]\n")
        self.w.start()
        for host, status in (("models.example", 200), (f"models.example:{self.w.port}", 200), ("evil.example", 403), ("models.example.evil", 403)):
            c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=5)
            c.request("GET", "/v1/models", headers={"Host": host, "Authorization": "Bearer " + key})
            self.assertEqual(c.getresponse().status, status, host)


if __name__ == "__main__":
    unittest.main(argv=["test_keys"], verbosity=2)
