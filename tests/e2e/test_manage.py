"""What is asked of hearth itself over HTTP: who may, and that the answers are those of the commands."""
import concurrent.futures, http.client, json, os, re, signal, socket, time, unittest

from fakes import Fake
from world import World, wait_for

os.environ["HEARTH_TEST_KEY"] = "sk-very-secret-4711"
SECRET = "Zyxomma petiolatum 4711"


class Manage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.up = Fake()
        at = f"http://127.0.0.1:{cls.up.port}"
        cls.w = World({"providers": f"  oai: {{ api: openai, url: {at}/v1, zone: machine, key: '${{HEARTH_TEST_KEY}}' }}",
                       "models": "  gpt: { provider: oai, id: gpt-x, retries: 0 }", "tasks": "  mine: { model: gpt, data: private }\n  docs: { model: gpt }"})
        cls.w.config.write_text(cls.w.config.read_text().replace("default: tiny", "default: gpt"))
        cls.w.start()

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def admin(self, *args):
        r = self.w.hearth("key", "admin", *args)
        self.assertEqual(r.returncode, 0, r.stderr)
        return r.stdout.strip()

    def ask(self, path, key=None, method="GET", port=None, **fields):
        c = http.client.HTTPConnection("127.0.0.1", port or self.w.port, timeout=60)
        c.request(method, "/hearth/" + path, headers={**({"Authorization": "Bearer " + key} if key else {}), **fields})
        r = c.getresponse()
        body = r.read().decode()
        self.assertRegex(r.headers["x-request-id"], "^[0-9a-f-]{36}$")
        return r.status, body, r.headers

    def known(self, key):
        wait_for(lambda: self.ask("config", key)[0] == 200, 20)
        return key

    def call(self, text, model="gpt", status=200, **fields):
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=60)
        c.request("POST", "/v1/chat/completions", json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}), {"Content-Type": "application/json", **fields})
        r = c.getresponse()
        r.read()
        self.assertEqual(r.status, status)
        return r.headers["x-hearth-call"]

    def lines(self, path, key):
        status, body, h = self.ask(path, key)
        self.assertEqual((status, h["content-type"]), (200, "application/x-ndjson"), body)
        return [json.loads(line) for line in body.splitlines()]

    def test_1_nobody_may_without_the_key(self):
        key_file = self.w.dir / "admin.key"
        self.assertFalse(key_file.exists(), "made on first need")
        for path in ("calls", "calls/0123456789", "config", "keys", "nothing"):
            status, body, h = self.ask(path)
            self.assertEqual((status, h["www-authenticate"]), (401, "Bearer"), "loopback, and no keys needed for calls")
            self.assertIn("admin key", json.loads(body)["error"])
            self.assertEqual(self.ask(path, "hk-" + "A" * 43)[0], 401)
        self.assertEqual(self.ask("reload", method="POST")[0], 401)
        key = self.known(self.admin())
        self.assertEqual((key, oct(key_file.stat().st_mode & 0o777)), (self.admin(), "0o600"))
        for wrong in (key[:-1], key + "A", key[:20] + "A" * 26, key.lower(), "", " "):
            self.assertEqual(self.ask("config", wrong)[0], 401)
        self.assertEqual(self.ask("config", None, **{"x-api-key": key})[0], 200)
        self.assertEqual(self.ask("config", key, Host="evil.example")[0], 403)
        self.assertEqual(self.ask("config", key, Origin="http://evil.example")[0], 403)
        other = self.admin("new")
        self.assertNotEqual(other, key)
        self.known(other)
        self.assertEqual(self.ask("config", key)[0], 401, "the old one opens nothing")
        key_file.chmod(0o644)
        self.assertIn("others can read the admin key", self.w.hearth("config", "check").stderr)
        key_file.chmod(0o600)
        self.assertEqual(self.w.hearth("config", "check").returncode, 0)
        self.assertNotIn(other, (self.w.dir / "serve.log").read_text())

    def test_2_calls_are_those_of_log(self):
        key = self.known(self.admin())
        calls = [self.call(f"plain {i}", "task/docs" if i % 2 else "gpt", **{"x-hearth-conversation": "c1"}) for i in range(6)]
        self.call("error 500", status=500)
        for query, args in (("", ()), ("?limit=3", ("-n", "3")), ("?task=docs", ("--task", "docs")), ("?outcome=error&model=gpt", ("--outcome", "error", "--model", "gpt")),
                            ("?since=1h&until=1ms&limit=50", ("--since", "1h", "--until", "1ms", "-n", "50")), ("?provider=nope", ("--provider", "nope")), ("?zone=machine&all=1&limit=999", ("--zone", "machine", "--all", "-n", "999"))):
            self.assertEqual(self.ask("calls" + query, key)[1], self.w.hearth("log", "--json", *args).stdout, query)
        self.assertEqual([r["call_id"] for r in self.lines("calls?conversation=c1&limit=100", key)], calls[::-1])
        rows = self.lines("calls?all=1&limit=1000&after=0", key)
        self.assertEqual([r["seq"] for r in rows], sorted(r["seq"] for r in rows), "for following: in order")
        self.assertEqual(self.lines(f"calls?after={rows[-1]['seq']}", key), [])
        for bad in ("?limit=0", "?limit=1001", "?limit=x", "?since=yesterday", "?color=red", "?task=%zz", "?after=-1"):
            status, body, _ = self.ask("calls" + bad, key)
            self.assertEqual((status, list(json.loads(body))), (400, ["error"]), bad)

    def test_3_a_call_is_that_of_show(self):
        key = self.known(self.admin())
        call, hidden = self.call(SECRET), self.call(SECRET, "task/mine")
        self.assertEqual(self.ask("calls/" + call, key)[1], self.w.hearth("show", call, "--json").stdout)
        self.assertEqual(self.ask("calls/" + call[-8:], key)[1], self.w.hearth("show", call, "--json").stdout)
        self.assertNotIn(SECRET, self.ask("calls/" + call, key)[1])
        end = self.lines(f"calls/{call}?bodies=1", key)[0]
        self.assertEqual((end["request"]["messages"][0]["content"], end["response"]["object"]), (SECRET, "chat.completion"))
        end = self.lines(f"calls/{hidden}?bodies=1", key)[0]
        self.assertEqual((end["request"], end["response"], end["data_class"]), (None, None, "private"), "bodies of private calls do not leave by this way")
        self.assertIn(SECRET, self.w.hearth("show", hidden).stdout)
        self.assertEqual([self.ask("calls/" + x, key)[0] for x in ("ffffffff-0000", "abc", "%2e%2e/x", "a%00b" + call)], [404, 404, 400, 400])

    def test_4_the_configuration_without_its_secrets(self):
        key = self.known(self.admin())
        status, body, h = self.ask("config", key)
        self.assertEqual(body + "\n", self.w.hearth("config", "show", "--json").stdout)
        self.assertEqual(json.loads(body)["providers"]["oai"]["key"], "${HEARTH_TEST_KEY}")
        self.assertNotIn(os.environ["HEARTH_TEST_KEY"], body)
        self.assertEqual(h["x-hearth-config"], self.w.rows("-n", "1")[0]["policy"])

    def test_5_reload(self):
        key = self.known(self.admin())
        text = self.w.config.read_text()
        loads = lambda: (self.w.dir / "serve.log").read_text().count("config_loaded")
        self.w.config.write_text(text + "watch: false\naliases: { other: gpt }\n")
        wait_for(lambda: "other" in json.loads(self.ask("config", key)[1]).get("aliases", {}), 20)
        self.w.config.write_text(text + "watch: false\naliases: { third: gpt }\n")
        n = loads()
        status, body, h = self.ask("reload", key, "POST")
        self.assertEqual((status, json.loads(body)), (202, {"accepted": True, "needs_restart": ""}))
        wait_for(lambda: self.ask("config", key)[2]["x-hearth-config"] == h["x-hearth-config"], 20)
        self.assertGreater(loads(), n)
        self.call("plain", "third")
        self.w.config.write_text(text + "aliases: { third: nobody }\n")
        status, body, _ = self.ask("reload", key, "POST")
        self.assertEqual(status, 400)
        self.assertRegex(json.loads(body)["error"], r"(?s)stays in force: .*hearth.yaml:\d+:\d+: .*nobody")
        self.call("plain", "third")
        self.w.config.write_text(text + "limits: { body: 1MiB }\nthreads: 7\n")
        self.assertEqual(json.loads(self.ask("reload", key, "POST")[1])["needs_restart"], "limits, threads")
        wait_for(lambda: 'config_needs_restart what="limits, threads"' in (self.w.dir / "serve.log").read_text(), 20)
        self.w.config.write_text(text)
        self.assertEqual(self.ask("reload", key, "POST")[0], 202)
        self.assertEqual([self.ask("reload", key)[0], self.ask("calls", key, "POST")[0], self.ask("zed", key)[0]], [405, 405, 404])

    def test_6_keys_and_what_they_do_not_open(self):
        key = self.known(self.admin())
        self.assertEqual(json.loads(self.ask("keys", key)[1]), {})
        made = [self.w.hearth("key", "add", *a).stdout.strip() for a in (("alice", "--models", "gpt"), ("ops", "--admin"))]
        wait_for(lambda: all(self.ask("config", k)[0] == 403 for k in made), 20)
        self.assertEqual(self.ask("keys", key)[1] + "\n", self.w.hearth("key", "list", "--json").stdout)
        self.assertEqual([self.ask("calls", k)[0] for k in made], [403, 403], "known, but not for this")
        self.assertEqual(self.ask("calls")[0], 401)
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=60)
        for k, want in ((key, [200, 401]), (made[0], [403, 200]), (made[1], [200, 200])):
            got = []
            for path in ("/metrics", "/v1/models"):
                c.request("GET", path, headers={"Authorization": "Bearer " + k})
                r = c.getresponse()
                r.read()
                got.append(r.status)
            self.assertEqual(got, want)
        self.assertNotIn(made[0], self.ask("keys", key)[1])

    def test_7_many_at_once_and_clients_that_leave(self):
        key = self.known(self.admin())
        for _ in range(40):
            s = socket.create_connection(("127.0.0.1", self.w.port))
            s.sendall(f"GET /hearth/calls?all=1&limit=1000 HTTP/1.1\r\nHost: localhost:{self.w.port}\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
            s.close()
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            got = [r[0] for r in pool.map(lambda _: self.ask("calls?all=1&limit=1000", key), range(96))]
        self.assertLessEqual(set(got), {200, 429})
        wait_for(lambda: self.ask("calls", key)[0] == 200, 20)

    def test_8_a_stop_waits_for_no_question(self):
        w = World()
        w.config.write_text(self.w.config.read_text().replace(str(self.w.port), str(w.port)))
        w.start()
        try:
            c = http.client.HTTPConnection("127.0.0.1", w.port, timeout=30)
            key = w.hearth("key", "admin").stdout.strip()
            wait_for(lambda: (c.request("GET", "/hearth/calls", headers={"Authorization": "Bearer " + key}), r := c.getresponse(), r.read())[1].status == 200, 20)
            for _ in range(8):
                s = socket.create_connection(("127.0.0.1", w.port))
                self.addCleanup(s.close)
                s.sendall(f"GET /hearth/calls HTTP/1.1\r\nHost: localhost:{w.port}\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
            self.assertEqual(w.stop(), 0)
        finally:
            w.close()


if __name__ == "__main__":
    unittest.main(argv=["test_manage"], verbosity=2)
