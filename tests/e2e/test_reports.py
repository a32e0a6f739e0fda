"""What broke in other gateways, each as a test named after its report (issue and pull-request numbers of those projects)."""
import http.client, json, os, socket, sqlite3, time, unittest

import anthropic, openai
from fakes import Fake, TEXT, USAGE
from scripted import ASK, Raw, chunk, event, reply, sse, whole
from world import World, wait_for

os.environ["HEARTH_TEST_KEY"] = "sk-ant-test"


class Reports(unittest.TestCase):
    def world(self, script, models="  m: { provider: up, id: x, retries: 0 }", **more):
        self.up = Raw(script)
        self.fake = Fake()
        self.w = World({"providers": f"  up: {{ api: openai, url: http://127.0.0.1:{self.up.port}/v1, zone: machine }}\n  ant: {{ api: anthropic, url: http://127.0.0.1:{self.fake.port}, key: '${{HEARTH_TEST_KEY}}', zone: machine }}\n"
                                     f"  oai: {{ api: openai, url: http://127.0.0.1:{self.fake.port}/v1, zone: machine }}",
                        "models": models + "\n  claude: { provider: ant, id: c, retries: 0 }\n  gpt: { provider: oai, id: g, retries: 0 }", **more}).start()
        self.addCleanup(self.w.close)
        at = f"http://127.0.0.1:{self.w.port}"
        self.sdk = openai.OpenAI(base_url=at + "/v1", api_key="none", max_retries=0, timeout=20)
        self.ant = anthropic.Anthropic(base_url=at, api_key="none", max_retries=0, timeout=20)

    def leave(self, stream, until=None):
        """A client that goes away; how long the upstream connection stays after that."""
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=20)
        c.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": ASK, "stream": stream}), {"Content-Type": "application/json"})
        if until:
            r = c.getresponse()
            while until not in r.readline():
                pass
        else:
            wait_for(lambda: self.up.bodies, 5)
            time.sleep(0.1)
        left = time.monotonic()
        c.sock.shutdown(socket.SHUT_RDWR)
        c.close()
        wait_for(lambda: self.up.closed, 5)
        print(f"measured: the upstream is closed {1000 * (self.up.closed[0] - left):.1f} ms after the client has left", flush=True)
        return self.up.closed[0] - left

    def test_litellm_30244_a_client_gone_in_the_stream_closes_the_upstream(self):
        def script(conn, body):
            sse(conn)
            chunk(conn, event({"role": "assistant", "content": "first"}))
            self.up.wait_closed(conn)
        self.world(script)
        self.assertLess(self.leave(True, b"first"), 1)

    def test_litellm_31499_a_client_gone_before_the_first_token_closes_it_too(self):
        self.world(lambda conn, body: self.up.wait_closed(conn))
        self.assertLess(self.leave(True), 1)

    def test_lemonade_3133_and_one_that_waits_for_a_whole_reply(self):
        self.world(lambda conn, body: self.up.wait_closed(conn))
        self.assertLess(self.leave(False), 1)
        wait_for(lambda: [r["outcome"] for r in self.w.rows()] == ["cancelled"], 5)

    def test_portkey_1797_267_a_cut_answer_is_no_answer(self):
        def script(conn, body):
            sse(conn)
            chunk(conn, event({"role": "assistant", "content": "half"}))
        self.world(script)
        r = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=20)
        r.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": ASK, "stream": True}), {"Content-Type": "application/json"})
        text = r.getresponse().read().decode()
        self.assertIn('"error"', text)
        self.assertNotIn("[DONE]", text)
        self.assertEqual([r["outcome"] for r in self.w.rows()], ["cut"])

    def test_portkey_722_an_error_event_is_an_error_not_a_crash(self):
        def script(conn, body):
            sse(conn)
            chunk(conn, event({"role": "assistant", "content": "half"}))
            chunk(conn, b'event: error\ndata: {"error": {"message": "overloaded", "type": "overloaded_error"}}\n\n')
        self.world(script)
        with self.assertRaises(openai.APIError) as e:
            list(self.sdk.chat.completions.create(model="m", messages=ASK, stream=True))
        self.assertIn("overloaded", str(e.exception))
        self.assertEqual(self.w.rows()[0]["outcome"], "error")

    def test_litellm_25321_arguments_of_tools_are_whole_in_an_anthropic_stream(self):
        self.world(lambda conn, body: False)
        tools = [{"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}}}]
        with self.ant.messages.stream(model="gpt", max_tokens=50, messages=[{"role": "user", "content": "tools"}], tools=tools) as s:
            message = s.get_final_message()
        self.assertEqual([(b.name, b.input) for b in message.content if b.type == "tool_use"], [("weather", {"city": "Zürich", "days": 2}), ("add", {"a": 1, "b": [2, 3]})])

    def test_litellm_41406_the_first_event_of_an_anthropic_stream_counts_the_prompt(self):
        self.world(lambda conn, body: False)
        with self.ant.messages.stream(model="gpt", max_tokens=50, messages=ASK) as s:
            start = next(e for e in s if e.type == "message_start")
            s.until_done()
        self.assertGreater(start.message.usage.input_tokens, 0)
        self.assertEqual(s.get_final_message().usage.input_tokens + s.get_final_message().usage.cache_read_input_tokens, USAGE["prompt"])

    def test_bifrost_1305_a_kept_connection_that_is_stale_is_not_an_error(self):
        def script(conn, body):
            reply(conn, whole())            # and then it closes, though it said nothing of the kind
        self.world(script)
        for _ in range(20):
            self.sdk.chat.completions.create(model="m", messages=ASK)
        self.assertEqual(self.up.connections, 20)

    def test_gpustack_4874_usage_is_asked_for_and_only_given_to_who_asked(self):
        self.world(lambda conn, body: False)
        chunks = list(self.sdk.chat.completions.create(model="gpt", messages=ASK, stream=True))
        self.assertEqual(self.fake.last()["stream_options"], {"include_usage": True})
        self.assertTrue(all(not c.usage for c in chunks))
        self.assertEqual(self.w.rows()[0]["output_tokens"], USAGE["completion"])

    def test_gpustack_5476_no_events_for_who_did_not_ask_for_a_stream(self):
        def script(conn, body):
            sse(conn)
            chunk(conn, event({"role": "assistant", "content": "x"}))
            chunk(conn, b"")
        self.world(script)
        with self.assertRaises(openai.APIStatusError) as e:
            self.sdk.chat.completions.create(model="m", messages=ASK)
        self.assertEqual(e.exception.status_code, 502)

    def test_gpustack_4535_4815_the_fallback_is_used_when_the_first_answers_503_or_is_not_there(self):
        self.world(lambda conn, body: reply(conn, b'{"error":"busy"}', 503), "  m: { provider: up, id: x, fallback: gpt, retries: 1 }")
        self.assertEqual(self.sdk.chat.completions.create(model="m", messages=ASK).choices[0].message.content, TEXT)
        self.up.listener.close()
        self.assertEqual(self.sdk.chat.completions.create(model="m", messages=ASK).choices[0].message.content, TEXT)

    def test_claude_code_router_1799_the_words_of_a_prompt_that_is_too_long_arrive(self):
        words = "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens."
        self.world(lambda conn, body: reply(conn, json.dumps({"error": {"message": words, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}).encode(), 400),
                   "  m: { provider: up, id: x, fallback: gpt }")
        with self.assertRaises(openai.BadRequestError) as e:
            self.sdk.chat.completions.create(model="m", messages=ASK)
        self.assertEqual((e.exception.body["message"], e.exception.code), (words, "context_length_exceeded"))
        with self.assertRaises(anthropic.BadRequestError) as e:
            self.ant.messages.create(model="m", max_tokens=5, messages=ASK)
        self.assertIn("prompt is too long", e.exception.body["error"]["message"])
        self.assertEqual(len(self.fake.seen), 0, "another model would not help")

    def test_litellm_38318_the_status_of_a_refusal_stays_what_it_is(self):
        self.world(lambda conn, body: reply(conn, b'{"error":{"message":"no"}}', int(body["messages"][0]["content"])))
        for status in (400, 401, 403, 404, 409, 413, 422, 429):
            with self.assertRaises(openai.APIStatusError) as e:
                self.sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": str(status)}])
            self.assertEqual(e.exception.status_code, status)

    def test_litellm_15740_39455_one_call_one_id_whatever_it_takes(self):
        state = []

        def script(conn, body):
            state.append(1)
            return reply(conn, b"{}", 500) if len(state) == 1 else reply(conn, whole())
        self.world(script, "  m: { provider: up, id: x, retries: 2, price: { input: 1, output: 1 } }")
        self.ant.messages.create(model="m", max_tokens=5, messages=ASK)      # bridged, and tried twice
        rows = self.w.rows()
        self.assertEqual((len({r["call_id"] for r in rows}), sorted(r["attempt"] for r in rows), [r["outcome"] for r in rows].count("ok")), (1, [1, 2], 1))
        self.assertEqual(sum(r.get("cost_micros") or 0 for r in rows), 4, "billed once")

    def test_tensorzero_475_what_a_failed_stream_used_is_on_record(self):
        def script(conn, body):
            sse(conn)
            for word in ("one", " two"):
                chunk(conn, event({"content": word}, usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}))
        self.world(script)
        with self.assertRaises(openai.APIError):
            list(self.sdk.chat.completions.create(model="m", messages=ASK, stream=True))
        row = self.w.rows()[0]
        self.assertEqual((row["outcome"], row["input_tokens"], row["output_tokens"]), ("cut", 7, 2))
        self.assertIn("one two", self.w.hearth("show", row["call_id"]).stdout)

    def test_litellm_38121_a_ledger_that_cannot_be_written_is_no_wrong_key_and_recovers(self):
        self.world(lambda conn, body: reply(conn, whole()))
        db = sqlite3.connect(self.w.dir / "hearth.db", timeout=0.1, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        with self.assertRaises(openai.APIStatusError) as e:
            for _ in range(3):
                self.sdk.chat.completions.create(model="m", messages=ASK)
        self.assertEqual((e.exception.status_code, e.exception.code), (503, "ledger_unavailable"))
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=10)
        c.request("GET", "/ready")
        self.assertEqual(c.getresponse().status, 503, "readiness says so")
        db.execute("ROLLBACK")

        def back():
            try:
                return self.sdk.chat.completions.create(model="m", messages=ASK)
            except openai.APIStatusError:
                return False
        wait_for(back, 15)
        self.assertEqual(self.w.hearth("verify").returncode, 0)

    def test_litellm_22821_events_split_anywhere_are_the_same_events(self):
        stream = event({"role": "assistant", "content": ""}) + event({"content": "Grüße 🦙 \"x\""}) + event({}, "stop") + b"data: [DONE]\n\n"

        def script(conn, body):
            at = int(body["messages"][0]["content"])
            sse(conn)
            for part in (stream[:at], stream[at:]):
                if part:
                    chunk(conn, part)
                    time.sleep(0.001)
            conn.sendall(b"0\r\n\r\n")
            return True
        self.world(script)
        for at in range(0, len(stream) + 1, 3):
            for client in (0, 1):
                ask = [{"role": "user", "content": str(at)}]
                if client:
                    with self.ant.messages.stream(model="m", max_tokens=9, messages=ask) as s:
                        text = s.get_final_text()
                else:
                    text = "".join(c.choices[0].delta.content or "" for c in self.sdk.chat.completions.create(model="m", messages=ask, stream=True) if c.choices)
                self.assertEqual(text, 'Grüße 🦙 "x"', at)

    def test_daimon_458_asked_and_served_are_both_on_record(self):
        self.world(lambda conn, body: reply(conn, whole(model="really-this")))
        self.sdk.chat.completions.create(model="m", messages=ASK)
        row = self.w.rows()[0]
        self.assertEqual((row["model_asked"], row["model_id"], row["model_served"]), ("m", "x", "really-this"))


if __name__ == "__main__":
    unittest.main(argv=["test_reports"], verbosity=2)
