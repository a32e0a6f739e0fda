"""How long a prompt is, for Anthropic's clients: asked of servers that can count (vLLM, llama-server), guessed and announced for the others.
The upstreams answer as the real ones did (test_peers.py talks to those)."""
import http.client, http.server, json, threading, unittest

import anthropic, ollama, openai

from world import World, wait_for

ASK = [{"role": "user", "content": "Hello"}]
TOOL = {"name": "pick", "description": "d", "input_schema": {"type": "object", "properties": {}}}
N = 17


class Handler(http.server.BaseHTTPRequestHandler):
    """vLLM 0.32 below /vllm/v1 and /vllm, llama-server 0.6 below /llama, one that counts nothing anywhere else below /plain and /old."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body, kind="application/json"):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body))
        if body.get("model") == "nobody":
            return self.reply(404, {"error": {"message": "The model `nobody` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}})
        if self.path == "/llama/tokenize" or (self.path == "/vllm/tokenize" and "prompt" in body):
            return self.reply(200, {"tokens": [5, 6]})
        if self.path in ("/llama/detokenize", "/vllm/detokenize"):
            return self.reply(200, {"content" if "llama" in self.path else "prompt": "5 6"})
        if self.path == "/vllm/tokenize":
            return self.reply(200, {"count": N, "max_model_len": 1024, "tokens": [1] * N, "token_strs": None})
        if self.path == "/llama/v1/chat/completions/input_tokens":
            return self.reply(200, {"object": "response.input_tokens", "input_tokens": N})
        if self.path == "/old/v1/chat/completions/input_tokens":
            return self.reply(404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}})
        if not self.path.endswith("/v1/chat/completions"):
            return self.reply(404, {"detail": "Not Found"})
        if not body.get("stream"):
            return self.reply(200, {"id": "x", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]})
        self.reply(200, "".join("data: " + json.dumps(e) + "\n\n" for e in self.events(body)) + "data: [DONE]\n\n", "text/event-stream")

    def events(self, body):
        def event(delta, finish=None, **more):
            return {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
        told, options = {}, body.get("stream_options") or {}
        if "vllm" in self.path and options.get("continuous_usage_stats"):
            told = {"usage": {"prompt_tokens": N, "completion_tokens": 0, "total_tokens": N}}
        yield event({"role": "assistant", "content": ""}, **told)
        if "llama" in self.path and body.get("return_progress"):
            yield event({}, prompt_progress={"total": N, "cache": 0, "processed": N, "time_ms": 1})
        yield event({"content": "Hi"}, **told)
        yield event({}, "stop")
        if options.get("include_usage") and ("vllm" in self.path or "llama" in self.path):       # llama-cpp-python does not count its streams
            yield {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": {"prompt_tokens": N, "completion_tokens": 1, "total_tokens": N + 1}}


class Count(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.up = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        cls.up.seen = []
        threading.Thread(target=cls.up.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{cls.up.server_address[1]}"
        apis = {"vllm": "vllm", "llama": "llamacpp", "old": "llamacpp", "bare": "vllm", "plain": "openai", "lama": "ollama"}
        cls.w = World({"providers": "".join(f"  p{n}: {{ api: {api}, url: {at}/{n}/v1, zone: machine }}\n" for n, api in apis.items()),
                       "models": "".join(f"  {n}: {{ provider: p{n}, id: served, retries: 0 }}\n" for n in apis) + "  ghost: { provider: pvllm, id: nobody, retries: 0 }\n"})
        cls.addClassCleanup(cls.up.shutdown)
        cls.addClassCleanup(cls.w.close)
        cls.w.start()
        cls.sdk = anthropic.Anthropic(base_url=f"http://127.0.0.1:{cls.w.port}", api_key="none", max_retries=0, timeout=60)

    def count(self, model):
        raw = self.sdk.messages.with_raw_response.count_tokens(model=model, messages=ASK, system="Be short.", tools=[TOOL])
        row = next(r for r in self.w.rows() if r["call_id"] == raw.headers["x-hearth-call"])
        self.assertEqual((row["operation"], row["outcome"], row["model"]), ("count_tokens", "ok", model))
        return raw.parse().input_tokens, raw.headers["x-hearth-count"], row.get("input_tokens")

    def test_servers_that_can_count_are_asked_with_what_the_model_would_be_given(self):
        for model, path in (("vllm", "/vllm/tokenize"), ("llama", "/llama/v1/chat/completions/input_tokens")):
            with self.subTest(model=model):
                self.assertEqual(self.count(model), (N, "exact", N))
                got, body = self.up.seen[-1]
                self.assertEqual((got, body["model"], [m["role"] for m in body["messages"]], body["tools"][0]["function"]["name"]), (path, "served", ["system", "user"], "pick"))

    def test_a_guess_is_called_one(self):
        for model in ("old", "bare", "plain", "lama"):          # no such path in two of them; no way to ask in the others, which are not asked
            with self.subTest(model=model):
                before = len(self.up.seen)
                n, how, recorded = self.count(model)
                self.assertTrue(n > 1 and how == "estimate" and recorded is None)
                self.assertEqual(len(self.up.seen) - before, 1 if model in ("old", "bare") else 0)

    def test_a_model_that_is_not_there_is_no_reason_to_guess(self):
        with self.assertRaises(anthropic.NotFoundError) as e:
            self.sdk.messages.count_tokens(model="ghost", messages=ASK)
        self.assertIn("`nobody` does not exist", str(e.exception))

    def test_the_first_event_of_a_stream_has_the_count_where_the_server_tells_it(self):
        for model, how in (("vllm", "exact"), ("llama", "exact"), ("plain", "estimate"), ("lama", "estimate")):
            with self.subTest(model=model), self.sdk.messages.stream(model=model, max_tokens=5, messages=ASK) as s:
                start = next(e for e in s if e.type == "message_start").message.usage.input_tokens
                m = s.get_final_message()
                self.assertEqual((m.content[0].text, s.response.headers["x-hearth-count"]), ("Hi", how))
                if how == "exact":
                    self.assertEqual((start, m.usage.input_tokens, m.usage.output_tokens), (N, N, 1))
                else:
                    self.assertGreater(start, 1)
        self.assertNotIn("return_progress", self.up.seen[-1][1])
        self.sdk.messages.create(model="vllm", max_tokens=5, messages=ASK)
        self.assertNotIn("stream_options", self.up.seen[-1][1])

    def test_what_the_server_does_not_count_is_not_zero(self):
        at = f"http://127.0.0.1:{self.w.port}"
        last = list(ollama.Client(at).chat(model="plain", messages=ASK, stream=True))[-1]
        self.assertEqual((last.done, last.prompt_eval_count, last.eval_count), (True, None, None))
        sdk = openai.OpenAI(base_url=at + "/v1", api_key="none", max_retries=0, timeout=60)
        events = list(sdk.responses.create(model="plain", input="Hello", stream=True))
        self.assertEqual((events[-1].type, events[-1].response.usage), ("response.completed", None))

    def post(self, path, body):
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=60)
        c.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        r = c.getresponse()
        return r.status, json.loads(r.read()), r.headers

    def test_texts_and_tokens_are_asked_of_servers_that_know_them(self):
        for model, path, asked, said in (("vllm", "/vllm", {"prompt": "a b", "add_special_tokens": False}, {"prompt": "5 6"}), ("llama", "/llama", {"content": "a b"}, {"content": "5 6"})):
            with self.subTest(model=model):
                status, body, headers = self.post("/tokenize", {"model": model, **asked})
                self.assertEqual((status, body, self.up.seen[-1]), (200, {"tokens": [5, 6]}, (path + "/tokenize", {"model": "served", **asked})))
                row = next(r for r in self.w.rows() if r["call_id"] == headers["x-hearth-call"])
                self.assertEqual((row["operation"], row["outcome"], row["model"], row.get("input_tokens")), ("tokenize", "ok", model, None))
                status, body, headers = self.post("/detokenize", {"model": model, "tokens": [5, 6]})
                self.assertEqual((status, body, self.up.seen[-1][0]), (200, said, path + "/detokenize"))
        before = len(self.up.seen)
        for model in ("plain", "lama"):
            status, body, _ = self.post("/tokenize", {"model": model, "content": "a b"})
            self.assertEqual((status, body["error"]["code"]), (400, "unsupported_parameter"))
            self.assertIn("cannot be asked for tokens", body["error"]["message"])
        self.assertEqual(len(self.up.seen), before)

    def test_an_explained_count_asks_nobody(self):
        before = len(self.up.seen)
        raw = self.sdk.messages.with_raw_response.count_tokens(model="plain", messages=ASK, extra_headers={"x-hearth-explain": "1"})
        self.assertEqual((json.loads(raw.text() if callable(raw.text) else raw.text)["refused"], len(self.up.seen)), (None, before))


if __name__ == "__main__":
    unittest.main(argv=["test_count"], verbosity=2)
