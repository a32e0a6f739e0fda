"""What every reply carries, in every dialect, streamed or not, good or bad; and what a stream says while nothing comes."""
import http.client, json, os, socket, threading, time, unittest

import anthropic, ollama, openai
from fakes import Fake, TEXT, USAGE
from world import World, wait_for

os.environ["HEARTH_TEST_KEY"] = "sk-ant-test"
COST = "0.000138"                       # of one call: 120 tokens in at 1, 9 out at 2 dollars a million
ID = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
BODIES = {                              # path: the body that asks for `text`
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/v1/responses": lambda text: {"input": text},
    "/v1/messages": lambda text: {"max_tokens": 64, "messages": [{"role": "user", "content": text}]},
    "/api/chat": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/api/generate": lambda text: {"prompt": text},
}
PROVIDERS = ("gpt", "claude", "lama")


class World3(World):
    def __init__(self, up, quiet="15s", more=""):
        at = f"http://127.0.0.1:{up.port}"
        price = "price: { input: 1, output: 2 }"
        super().__init__({"providers": f"  ant: {{ api: anthropic, url: {at}, key: '${{HEARTH_TEST_KEY}}', zone: machine }}\n  oai: {{ api: openai, url: {at}/v1, zone: machine }}\n"
                                       f"  oll: {{ api: ollama, url: {at}, zone: machine }}\n  far: {{ api: openai, url: {at}/v1, zone: cloud }}",
                          "models": f"  gpt: {{ provider: oai, id: gpt-x, retries: 0, {price} }}\n  claude: {{ provider: ant, id: claude-x, retries: 0, {price} }}\n"
                                    f"  lama: {{ provider: oll, id: llama-x, retries: 0, {price} }}\n  cloudy: {{ provider: far, id: x }}\n  again: {{ provider: oai, id: gpt-x, retries: 2 }}"})
        self.config.write_text(self.config.read_text().replace("default: tiny", "default: gpt") + f"streams: {{ quiet: {quiet}{more} }}\n")

    def post(self, path, body, **fields):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        c.request("POST", path, json.dumps(body) if isinstance(body, dict) else body, {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in fields.items()}})
        return c.getresponse()


class Replies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.up = Fake()
        cls.w = World3(cls.up).start()

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def check(self, r, status, model=None, cost=None, route="model", fingerprint="unknown"):
        body = r.read()
        self.assertEqual(r.status, status, body)
        self.assertRegex(r.headers["x-request-id"], ID)
        self.assertEqual(r.headers["request-id"], r.headers["x-request-id"])
        if model is None:
            self.assertIsNone(r.headers["x-hearth-model"])
            return body
        self.assertEqual(r.headers["x-hearth-call"], r.headers["x-request-id"])
        self.assertEqual((r.headers["x-hearth-model"], r.headers["x-hearth-route"], r.headers["x-hearth-cost"]), (model, route, cost))
        self.assertRegex(r.headers["x-hearth-fingerprint"], "^" + fingerprint + "$")
        self.assertTrue(0 <= int(r.headers["x-hearth-overhead-us"]) < 60_000_000)
        return body

    def test_answers(self):
        for path, body in BODIES.items():
            for model in PROVIDERS:
                for stream in (False, True):
                    with self.subTest(path=path, model=model, stream=stream):
                        self.check(self.w.post(path, {**body("plain"), "model": model, "stream": stream}), 200, model, None if stream else COST)
        for path, text in (("/v1/completions", {"prompt": "Hi"}), ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}), ("/v1/embeddings", {"input": "Hi"})):
            for stream in (False, True) if "embed" not in path else (False,):
                self.check(self.w.post(path, {**text, "model": "tiny", "max_tokens": 4, "stream": stream}), 200, "tiny", fingerprint="[0-9a-f]{64}")
        self.check(self.w.post("/v1/messages/count_tokens", {**BODIES["/v1/messages"]("plain"), "model": "claude"}), 200, "claude")

    def test_errors(self):
        for path, body in BODIES.items():
            for stream in (False, True):
                with self.subTest(path=path, stream=stream):
                    for model in PROVIDERS:
                        if path != "/api/generate" or model != "lama":         # whose fake knows no such wish
                            self.check(self.w.post(path, {**body("error 403"), "model": model, "stream": stream}), 403, model)
                    self.check(self.w.post(path, {**body("plain"), "model": "cloudy", "stream": stream}, x_hearth_data="private"), 403, "cloudy")
                    r = self.w.post(path, {**body("plain"), "model": "nobody", "stream": stream})
                    self.assertEqual(r.headers["x-hearth-call"], r.headers["x-request-id"])
                    self.check(r, 404)
                    self.check(self.w.post(path, "{", ), 400)
                    self.check(self.w.post(path, body("plain"), Host="evil.example"), 403)
        said = json.loads(self.check(self.w.post("/v1/messages", {**BODIES["/v1/messages"]("plain"), "model": "nobody"}), 404))
        self.assertRegex(said["request_id"], ID)

    def test_what_is_no_call(self):
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=30)
        for method, path, status in (("GET", "/v1/models", 200), ("GET", "/v1/models/gpt", 200), ("GET", "/v1/models/zed", 404), ("GET", "/health", 200), ("GET", "/ready", 200),
                                     ("GET", "/metrics", 200), ("GET", "/api/tags", 200), ("GET", "/api/ps", 200), ("GET", "/api/version", 200), ("GET", "/", 200),
                                     ("GET", "/nothing", 404), ("DELETE", "/v1/chat/completions", 405), ("POST", "/api/show", 400)):
            with self.subTest(path=path):
                c.request(method, path, headers={"anthropic-version": "2023-06-01"} if path.endswith("zed") else {})
                r = c.getresponse()
                body = self.check(r, status)
                if path.endswith("zed"):
                    self.assertEqual(json.loads(body)["request_id"], r.headers["request-id"])

    def test_the_cost_of_a_stream_follows_its_end(self):
        for path, body in BODIES.items():
            for text, fields, want in (("plain", "TE: trailers\r\nConnection: TE, close\r\n", b"0\r\nx-hearth-cost: " + COST.encode() + b"\r\n\r\n"), ("plain", "Connection: close\r\n", b"0\r\n\r\n"),
                                       ("cut", "TE: trailers\r\nConnection: close\r\n", b"0\r\n\r\n")):
                if text == "cut" and path == "/api/generate":
                    continue
                data = json.dumps({**body(text), "model": "gpt", "stream": True})
                with self.subTest(path=path, fields=fields), socket.create_connection(("127.0.0.1", self.w.port), timeout=30) as s:
                    s.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost:{self.w.port}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{fields}\r\n{data}".encode())
                    got = b"".join(iter(lambda: s.recv(65536), b""))
                    self.assertTrue(got.endswith(want), got[-200:])
                    self.assertEqual(b"\r\nTrailer: x-hearth-cost\r\n" in got, "TE:" in fields)
        row = self.w.rows("--model", "gpt", "--outcome", "ok")[0]
        self.assertEqual(row["cost_micros"], 138)
        self.assertIn("$0.000138", self.w.hearth("show", row["call_id"]).stdout)

    def test_when_to_ask_again_is_handed_on(self):
        self.up.more = {"retry-after": "1.5", "retry-after-ms": "1500", "x-should-retry": "false"}
        try:
            for path, body in BODIES.items():
                if path != "/api/generate":
                    r = self.w.post(path, {**body("error 429"), "model": "gpt"})
                    self.check(r, 429, "gpt")
                    self.assertEqual([r.headers[k] for k in self.up.more], list(self.up.more.values()))
            self.up.more = {"retry-after": "9", "retry-after-ms": "20"}
            began, n = time.monotonic(), len(self.up.seen)
            self.check(self.w.post("/v1/chat/completions", {**BODIES["/api/chat"]("error 429"), "model": "again"}), 429, "again")
            self.assertEqual(len(self.up.seen) - n, 3, "20 ms are worth a wait, nine seconds are not")
            self.assertLess(time.monotonic() - began, 8)
        finally:
            self.up.more = {}


class Quiet(unittest.TestCase):
    """An upstream that says 200 and then nothing until the test lets it go on."""
    def setUp(self):
        self.up = Fake()
        self.go, self.die = threading.Event(), False

        def hold(h):
            self.go.wait(60)
            if self.die:
                h.cut()
                raise BrokenPipeError
        self.up.hold = hold

    def world(self, more=""):
        self.w = World3(self.up, "50ms", more).start()
        self.addCleanup(self.w.close)
        self.addCleanup(self.go.set)

    def ask(self, path, model, seconds=None):
        """What has come so far: until something is there, or for so long as nothing may come."""
        s = socket.create_connection(("127.0.0.1", self.w.port), timeout=30)
        self.addCleanup(s.close)
        data = json.dumps({**BODIES[path]("plain"), "model": model, "stream": True})
        s.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost:{self.w.port}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n{data}".encode())
        got = b""
        if seconds:
            s.settimeout(seconds)
            try:
                got = s.recv(65536)
            except TimeoutError:
                pass
            s.settimeout(30)
            return s, got
        while got.count(b"ping" if path == "/v1/messages" else b": waiting") < 3:
            more = s.recv(65536)
            assert more, got
            got += more
        return s, got

    def rest(self, s):
        got = b""
        while not got.endswith(b"0\r\n\r\n"):
            more = s.recv(65536)
            assert more, got
            got += more
        return got

    def test_anthropic_clients_get_pings(self):
        self.world()
        for model in PROVIDERS:
            with self.subTest(model=model):
                self.go.clear()
                s, got = self.ask("/v1/messages", model)
                self.assertIn(b"x-hearth-model: " + model.encode(), got)
                self.assertIn(b'event: ping\ndata: {"type": "ping"}\n\n', got)
                self.go.set()
                self.assertIn(b"event: message_stop", self.rest(s))
        row = self.w.rows("--outcome", "ok")[0]
        self.assertIn(TEXT.splitlines()[0], self.w.hearth("show", row["call_id"]).stdout)

    def test_the_sdk_reads_on(self):
        self.world()
        sdk = anthropic.Anthropic(base_url=f"http://127.0.0.1:{self.w.port}", api_key="none", max_retries=0)
        threading.Timer(0.5, self.go.set).start()
        with sdk.messages.stream(model="gpt", max_tokens=64, messages=[{"role": "user", "content": "plain"}]) as s:
            self.assertEqual(s.get_final_text(), TEXT)

    def test_others_get_nothing_unless_it_is_asked_for(self):
        self.world()
        for path in ("/v1/chat/completions", "/v1/responses", "/api/chat", "/api/generate"):
            s, got = self.ask(path, "gpt", 0.5)
            self.assertEqual(got, b"", path)

    def test_comments(self):
        self.world(", comments: true, pings: false")
        for path in ("/v1/chat/completions", "/v1/responses"):
            self.go.clear()
            s, got = self.ask(path, "claude")
            self.go.set()
            self.assertIn(b"completed" if "responses" in path else b"[DONE]", self.rest(s))
        self.go.clear()
        self.assertEqual([self.ask(path, "gpt", 0.4)[1] for path in ("/v1/messages", "/api/chat")], [b"", b""])
        sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{self.w.port}/v1", api_key="none", max_retries=0)
        threading.Timer(0.5, self.go.set).start()
        said = sdk.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "plain"}], stream=True)
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in said if c.choices), TEXT)

    def test_a_ping_commits_and_without_one_another_try_is_possible(self):
        self.world()
        self.die = True
        s, got = self.ask("/v1/messages", "again")
        self.go.set()
        self.assertIn(b"event: error", self.rest(s))
        self.assertEqual(self.asked(), 1, "200 was said: no other try")
        self.go.clear()
        s, got = self.ask("/v1/chat/completions", "again", 0.4)
        self.assertEqual(got, b"")
        self.go.set()
        self.assertIn(b"HTTP/1.1 502", s.recv(65536))
        self.assertEqual(self.asked(), 4)
        self.assertEqual([r["outcome"] for r in self.w.rows()], ["cut"] * 4)

    def asked(self):
        """How often for an answer: an Ollama is also asked what its models are."""
        return sum(not path.startswith("/api/show") and not path.startswith("/api/tags") for path, *_ in self.up.seen)


if __name__ == "__main__":
    unittest.main(argv=["test_replies"], verbosity=2)
