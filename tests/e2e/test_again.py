"""Tries after a failed one, fallbacks and the breaker, against an upstream that does what a script says."""
import http.server, json, threading, time, unittest

import openai
from world import World, wait_for

ASK = [{"role": "user", "content": "Say hello."}]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *a):
        pass

    def event(self, delta, finish=None):
        data = b"data: " + json.dumps({"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        s = self.server
        s.seen.append(time.monotonic())
        what = s.script.pop(0) if s.script else "ok"
        if isinstance(what, tuple):
            status, fields = what
            data = json.dumps({"error": {"message": f"scripted {status}", "type": "t", "code": None}}).encode()
            self.send_response(status)
            for k, v in {"Content-Type": "application/json", "Content-Length": str(len(data)), **fields}.items():
                self.send_header(k, v)
            self.end_headers()
            self.wfile.write(data)
        elif what == "half":            # of a reply: the connection ends before the rest
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"id":')
            self.close_connection = True
            self.connection.shutdown(2)
        elif what == "close":
            self.close_connection = True
            self.connection.shutdown(2)
        elif body.get("stream"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if what.startswith("says "):    # an error of this type in place of an answer
                data = b"data: " + json.dumps({"error": {"message": "scripted", "type": what[5:], "code": None}}).encode() + b"\n\n"
                self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
                return
            self.event({"role": "assistant", "content": ""})
            if what != "cut early":
                self.event({"content": "hello"})
            if what.startswith("cut"):
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self.event({}, "stop")
            self.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        else:
            data = json.dumps({"id": "up", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
                               "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


class Again(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ups = {}
        for name in ("a", "b", "c", "broken"):
            cls.ups[name] = s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
            s.daemon_threads, s.seen, s.script = True, [], []
            threading.Thread(target=s.serve_forever, daemon=True).start()
        at = {n: f"http://127.0.0.1:{s.server_address[1]}/v1" for n, s in cls.ups.items()}
        cls.w = World({"providers": f"  pa: {{ api: openai, url: {at['a']}, zone: machine }}\n  pb: {{ api: openai, url: {at['b']}, zone: machine }}\n"
                                    f"  pc: {{ api: openai, url: {at['c']}, zone: cloud }}\n  px: {{ api: openai, url: {at['broken']}, zone: machine }}",
                       "models": "  alone: { provider: pa }\n  chained: { provider: pa, fallback: second }\n  second: { provider: pb, fallback: third }\n  third: { provider: pc }\n"
                                 "  once: { provider: px, retries: 0 }\n  saved: { provider: px, fallback: tiny }"}).start()
        cls.client = openai.OpenAI(base_url=f"http://127.0.0.1:{cls.w.port}/v1", api_key="none", max_retries=0, timeout=60)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def setUp(self):
        for s in self.ups.values():
            s.seen.clear()
            s.script.clear()

    def ask(self, model, **more):
        return self.client.chat.completions.with_raw_response.create(model=model, messages=ASK, max_tokens=8, **more)

    def rows(self, call):
        return sorted((r for r in self.w.rows() if r["call_id"] == call), key=lambda r: r["attempt"])

    def counts(self):
        return {n: len(s.seen) for n, s in self.ups.items() if s.seen}

    def test_a_client_that_asks_again_is_known(self):
        sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{self.w.port}/v1", api_key="none", max_retries=2, timeout=60)
        self.ups["broken"].script[:] = [(500, {}), (503, {}), "ok"]
        self.assertEqual(sdk.chat.completions.create(model="once", messages=[{"role": "user", "content": "again and again"}]).choices[0].message.content, "hello")
        rows = [r for r in self.w.rows("-n", "3")][::-1]
        self.assertEqual([(r["outcome"], r.get("client_retry")) for r in rows], [("error", None), ("error", 1), ("ok", 2)])
        self.assertEqual([r.get("parent_call") for r in rows], [None, rows[0]["call_id"], rows[1]["call_id"]])
        shown = self.w.hearth("show", rows[2]["call_id"]).stdout
        self.assertRegex(shown, rf"belongs to +{rows[1]['call_id']}")
        self.assertRegex(shown, "asked again +the client's retry number 2")

    def test_a_passing_failure_is_tried_again(self):
        self.ups["a"].script[:] = [(503, {}), "half"]
        raw = self.ask("alone")
        self.assertEqual(raw.parse().choices[0].message.content, "hello")
        rows = self.rows(raw.headers["x-hearth-call"])
        self.assertEqual([(r["attempt"], r["outcome"]) for r in rows], [(1, "error"), (2, "cut"), (3, "ok")])
        self.assertEqual(rows[0]["http_status"], 503)
        self.assertEqual(self.counts(), {"a": 3})

    def test_a_stream_that_only_says_that_the_server_failed_is_tried_again(self):
        self.ups["a"].script[:] = ["says server_error", "says overloaded_error"]
        said = list(self.client.chat.completions.create(model="alone", messages=ASK, max_tokens=8, stream=True))
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in said), "hello")
        self.assertEqual(self.counts(), {"a": 3})
        self.setUp()
        self.ups["a"].script[:] = ["says invalid_request_error"]
        with self.assertRaises(openai.APIStatusError) as e:
            list(self.client.chat.completions.create(model="alone", messages=ASK, max_tokens=8, stream=True))
        self.assertIn("scripted", str(e.exception))
        self.assertEqual(self.counts(), {"a": 1})

    def test_tries_end(self):
        self.ups["a"].script[:] = [(503, {})] * 9
        with self.assertRaises(openai.InternalServerError) as e:
            self.ask("alone")
        self.assertEqual((e.exception.status_code, "scripted 503" in str(e.exception)), (503, True))
        self.assertEqual(self.counts(), {"a": 3})
        self.ups["a"].script[:] = []
        self.ask("alone")               # the breaker has not opened: three are not five

    def test_a_wrong_request_is_not_tried_again(self):
        for status, error in ((400, openai.BadRequestError), (404, openai.NotFoundError), (422, openai.UnprocessableEntityError), (401, openai.AuthenticationError)):
            self.setUp()
            self.ups["a"].script[:] = [(status, {})]
            with self.assertRaises(error):
                self.ask("alone")
            self.assertEqual(self.counts(), {"a": 1})

    def test_retry_after_is_honoured(self):
        self.ups["a"].script[:] = [(429, {"retry-after": "1"})]
        self.ask("alone")
        seen = self.ups["a"].seen
        self.assertEqual(len(seen), 2)
        self.assertGreaterEqual(seen[1] - seen[0], 0.99)
        self.setUp()
        self.ups["a"].script[:] = [(429, {})]
        with self.assertRaises(openai.RateLimitError):      # it may be the month's end of the money
            self.ask("alone")
        self.assertEqual(self.counts(), {"a": 1})
        self.ups["a"].script[:] = [(503, {"retry-after": "600"})]
        with self.assertRaises(openai.InternalServerError) as e:
            self.ask("alone")
        self.assertEqual(e.exception.response.headers["retry-after"], "600")
        self.assertEqual(self.counts(), {"a": 2})

    def test_the_next_model_takes_over(self):
        for failure in ((500, {}), (429, {}), (401, {}), "half"):
            self.setUp()
            self.ups["a"].script[:] = [failure]
            raw = self.ask("chained")
            self.assertEqual((raw.headers["x-hearth-model"], raw.headers["x-hearth-route"]), ("second", "fallback"))
            rows = self.rows(raw.headers["x-hearth-call"])
            self.assertEqual([(r["model"], r["decision"]) for r in rows], [("chained", "model"), ("second", "fallback")])
            self.assertEqual({r["model_asked"] for r in rows}, {"chained"})

    def test_a_private_call_does_not_fall_back_into_a_cloud(self):
        self.ups["a"].script[:] = [(500, {})]
        self.ups["b"].script[:] = [(500, {})] * 3
        with self.assertRaises(openai.InternalServerError):
            self.ask("chained", extra_headers={"x-hearth-data": "private"})
        self.assertNotIn("c", self.counts())
        self.setUp()
        self.ups["a"].script[:] = [(500, {})]
        self.ups["b"].script[:] = [(500, {})]
        self.assertEqual(self.ask("chained").headers["x-hearth-model"], "third")

    def test_a_stream_that_showed_nothing_is_tried_again(self):
        self.ups["a"].script[:] = ["cut early"]
        chunks = list(self.client.chat.completions.create(model="alone", messages=ASK, stream=True))
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), "hello")
        self.assertEqual(sum(1 for c in chunks if c.choices and c.choices[0].delta.role), 1, "of the first try nothing was seen")
        self.assertEqual(self.counts(), {"a": 2})

    def test_a_stream_that_was_seen_is_not(self):
        self.ups["a"].script[:] = ["cut late"]
        got = []
        with self.assertRaises(openai.APIError):
            for c in self.client.chat.completions.create(model="alone", messages=ASK, stream=True):
                got.append(c.choices[0].delta.content)
        self.assertIn("hello", got)
        self.assertEqual(self.counts(), {"a": 1})

    def test_a_client_that_leaves_while_waiting_ends_it(self):
        self.ups["a"].script[:] = [(503, {"retry-after": "5"})]
        n = len([r for r in self.w.rows() if r["outcome"] == "cancelled"])
        with self.assertRaises(openai.APITimeoutError):
            self.client.with_options(timeout=0.5).chat.completions.create(model="alone", messages=ASK)
        wait_for(lambda: len([r for r in self.w.rows() if r["outcome"] == "cancelled"]) == n + 1, 5)
        self.assertEqual(self.counts(), {"a": 1})

    def test_z_the_breaker(self):
        self.ups["broken"].script[:] = [(500, {})] * 5
        for _ in range(5):
            with self.assertRaises(openai.InternalServerError):
                self.ask("once")
        with self.assertRaises(openai.InternalServerError) as e:
            self.ask("once")
        self.assertEqual((e.exception.status_code, e.exception.code), (503, "upstream_unavailable"))
        self.assertTrue(1 <= int(e.exception.response.headers["retry-after"]) <= 10)
        self.assertEqual(self.counts(), {"broken": 5}, "the sixth did not reach it")
        self.assertEqual(self.ask("saved").headers["x-hearth-model"], "tiny", "its fallback answers at once")
        def back():
            try:
                return self.ask("once").parse().choices[0].message.content == "hello"
            except openai.InternalServerError:
                return False
        wait_for(back, 30)
        self.ask("once")

    def test_zz_the_chain_is_sound(self):
        self.assertTrue(self.w.verify())
        self.assertEqual([r for r in self.w.rows() if r["kind"] == "intent"], [], "no intent is left without its end")


if __name__ == "__main__":
    unittest.main(argv=["test_again"], verbosity=2)
