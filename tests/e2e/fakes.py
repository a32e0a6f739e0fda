"""Upstreams that answer by the providers' public API references, for what a real model cannot be made to do on demand.

One server speaks three APIs: OpenAI (/v1/chat/completions), Anthropic (/v1/messages), Ollama (/api/chat). What it answers is asked for by the last
text of the user: "plain", "tools", "think", "schema", "image", "error 429", "cut", "slow". It keeps what it was sent in `seen`, and answers 400 in its
dialect to a body that the provider would refuse."""
import http.server, json, re, threading, time

TEXT = "Grüße, 世界 🦙: it \"works\"\nwell."
TOOLS = [("call_a", "weather", {"city": "Zürich", "days": 2}), ("call_b", "add", {"a": 1, "b": [2, 3]})]
SCHEMA_TEXT = '{"city": "Bern"}'
USAGE = {"prompt": 120, "cached": 100, "completion": 9}


def pieces(text, n=3):
    return [text[i:i + n] for i in range(0, len(text), n)]


class Refused(Exception):
    def __init__(self, status, message):
        self.status, self.message = status, message


def need(ok, message):
    if not ok:
        raise Refused(400, message)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *a):
        pass

    def chunk(self, data):
        data = data.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def start(self, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.server.hold:            # the status is said, and nothing else yet
            self.server.hold(self)

    def reply(self, status, body, **fields):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for k, v in {**{k.replace("_", "-"): v for k, v in fields.items()}, **(self.server.more if status != 200 else {})}.items():
            self.send_header(k, v)
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), body))
        api = {"/v1/chat/completions": OpenAI, "/v1/messages": Anthropic, "/v1/messages/count_tokens": Anthropic, "/api/chat": Ollama, "/api/generate": Generate}.get(self.path)
        if not api:
            return self.reply(404, {"error": {"message": f"no such path {self.path}", "type": "not_found_error"}})
        if api in (Ollama, Generate) and not body.get("messages" if api is Ollama else "prompt"):
            return self.reply(200, {**api.whole(body, "plain"), "message" if api is Ollama else "response": {"role": "assistant", "content": ""} if api is Ollama else "",
                                    "done_reason": "unload" if body.get("keep_alive") == 0 else "load"})
        try:
            api.check(self, body)
            want = api.wanted(body)
            if want.startswith("error "):
                raise Refused(int(want[6:]), f"provider says {want[6:]}")
            if self.path.endswith("count_tokens"):
                return self.reply(200, {"input_tokens": 42})
            if want == "slow":
                time.sleep(0.6)
            if api.streams(body):
                api.stream(self, body, want)
            else:
                self.reply(200, api.whole(body, want))
        except Refused as e:
            self.reply(e.status, api.error(e), **({"retry_after": "7"} if e.status == 429 else {}))
        except (BrokenPipeError, ConnectionResetError):
            self.server.gone.append(time.monotonic())
            self.close_connection = True

    def cut(self):
        """The connection ends in the middle: no last chunk."""
        self.close_connection = True
        self.connection.shutdown(2)


class OpenAI:
    @staticmethod
    def check(h, b):
        need(isinstance(b.get("messages"), list) and b["messages"], "messages is missing")
        open_calls = set()
        for m in b["messages"]:
            need(m.get("role") in ("system", "developer", "user", "assistant", "tool"), f"bad role {m.get('role')}")
            if m["role"] == "tool":
                need(m.get("tool_call_id") in open_calls, "a tool message must follow its call")
                need(isinstance(m["content"], (str, list)), "content")
            for c in m.get("tool_calls") or []:
                need(c["type"] == "function" and isinstance(c["function"]["arguments"], str), "tool_calls")
                json.loads(c["function"]["arguments"])
                open_calls.add(c["id"])
            for p in m["content"] if isinstance(m.get("content"), list) else []:
                need(p["type"] in ("text", "image_url"), f"part {p['type']}")
        for t in b.get("tools") or []:
            need(t["type"] == "function" and t["function"]["name"], "tools")
        for k in b:
            need(k in ("model", "messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "temperature", "top_p", "max_tokens", "seed", "n", "stop", "stream",
                       "stream_options", "logprobs", "top_logprobs", "logit_bias", "user", "metadata", "reasoning_effort", "frequency_penalty", "presence_penalty", "future_field"), f"unknown field {k}")

    @staticmethod
    def wanted(b):
        c = b["messages"][-1]["content"]
        return c if isinstance(c, str) else next(p["text"] for p in reversed(c) if p["type"] == "text")

    @staticmethod
    def streams(b):
        return b.get("stream", False)

    @staticmethod
    def error(e):
        return {"error": {"message": e.message, "type": "provider_type", "param": None, "code": "context_length_exceeded" if "context" in e.message else None}}

    @staticmethod
    def usage():
        return {"prompt_tokens": USAGE["prompt"], "completion_tokens": USAGE["completion"], "total_tokens": USAGE["prompt"] + USAGE["completion"],
                "prompt_tokens_details": {"cached_tokens": USAGE["cached"]}, "completion_tokens_details": {"reasoning_tokens": 4}}

    @staticmethod
    def whole(b, want):
        m = {"role": "assistant", "content": SCHEMA_TEXT if want == "schema" else TEXT}
        if want == "tools":
            m = {"role": "assistant", "content": None, "tool_calls": [{"id": i, "type": "function", "function": {"name": n, "arguments": json.dumps(a, ensure_ascii=False)}} for i, n, a in TOOLS]}
        if want == "think":
            m["reasoning_content"] = "let me think"
        return {"id": "chatcmpl-up", "object": "chat.completion", "created": 1, "model": "served-openai", "system_fingerprint": "fp_1",
                "choices": [{"index": 0, "message": m, "logprobs": None, "finish_reason": "tool_calls" if want == "tools" else "stop"}], "usage": OpenAI.usage()}

    @staticmethod
    def stream(h, b, want):
        def send(delta, finish=None, **more):
            h.chunk("data: " + json.dumps({"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1, "model": "served-openai",
                                           "choices": [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}], **more}, ensure_ascii=False) + "\n\n")
        h.start("text/event-stream")
        send({"role": "assistant", "content": ""})
        h.chunk(": keep-alive\n\n")
        if want == "think":
            for p in pieces("let me think"):
                send({"reasoning_content": p})
        if want == "tools":
            for k, (i, n, a) in enumerate(TOOLS):
                send({"tool_calls": [{"index": k, "id": i, "type": "function", "function": {"name": n, "arguments": ""}}]})
                for p in pieces(json.dumps(a, ensure_ascii=False)):
                    send({"tool_calls": [{"index": k, "function": {"arguments": p}}]})
            send({}, "tool_calls")
        else:
            text = pieces(SCHEMA_TEXT if want == "schema" else TEXT)
            for p in text[:2] if want == "cut" else text:
                send({"content": p})
            if want == "cut":
                return h.cut()
            send({}, "stop")
        if (b.get("stream_options") or {}).get("include_usage"):
            send(None, usage=OpenAI.usage())
        h.chunk("data: [DONE]\n\n")
        h.chunk("")


class Anthropic:
    @staticmethod
    def check(h, b):
        need(h.headers.get("x-api-key") == "sk-ant-test" and re.fullmatch(r"\d{4}-\d\d-\d\d", h.headers.get("anthropic-version", "")), "credentials or version are missing")
        need(isinstance(b.get("max_tokens"), int) or h.path.endswith("count_tokens"), "max_tokens: field required")
        need(b.get("messages") and b["messages"][0]["role"] == "user", "messages: first message must be user")
        uses = set()
        for m in b["messages"]:
            need(m["role"] in ("user", "assistant"), "role")
            results = set()
            for c in m["content"] if isinstance(m["content"], list) else []:
                if c["type"] == "text":
                    need(c["text"], "text content blocks must be non-empty")
                elif c["type"] == "tool_use":
                    need(m["role"] == "assistant" and isinstance(c["input"], dict), "tool_use.input: must be an object")
                    uses.add(c["id"])
                elif c["type"] == "tool_result":
                    need(m["role"] == "user" and c["tool_use_id"] in uses, "tool_result without its tool_use")
                    results.add(c["tool_use_id"])
                elif c["type"] == "image":
                    need(c["source"]["type"] in ("base64", "url"), "image source")
                elif c["type"] == "thinking":
                    need(c["signature"] == "sig-1", "thinking needs its signature")
                else:
                    raise Refused(400, f"unknown block {c['type']}")
            need(not uses or m["role"] == "assistant" or results == uses, "tool_use ids were found without tool_result blocks immediately after")
            if m["role"] == "user":
                uses = set()
        need(0 <= b.get("temperature", 0) <= 1, "temperature: range")
        for t in b.get("tools", []):
            need(t["name"] and t["input_schema"]["type"] == "object", "tools")
        for k in b:
            need(k in ("model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "tools", "tool_choice", "thinking", "metadata",
                       "output_config", "future_field"), f"{k}: Extra inputs are not permitted")

    @staticmethod
    def wanted(b):
        c = b["messages"][-1]["content"]
        return c if isinstance(c, str) else next(p["text"] for p in reversed(c) if p["type"] == "text")

    streams = OpenAI.streams

    @staticmethod
    def error(e):
        kind = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}.get(e.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": e.message}, "request_id": "req_1"}

    @staticmethod
    def usage(output):
        return {"input_tokens": USAGE["prompt"] - USAGE["cached"], "cache_creation_input_tokens": 0, "cache_read_input_tokens": USAGE["cached"], "output_tokens": output}

    @staticmethod
    def whole(b, want):
        content = [{"type": "text", "text": SCHEMA_TEXT if want == "schema" else TEXT}]
        if want == "tools":
            content = [{"type": "tool_use", "id": i, "name": n, "input": a} for i, n, a in TOOLS]
        if want == "think":
            content.insert(0, {"type": "thinking", "thinking": "let me think", "signature": "sig-1"})
        return {"id": "msg_up", "type": "message", "role": "assistant", "model": "served-anthropic", "content": content,
                "stop_reason": "tool_use" if want == "tools" else "end_turn", "stop_sequence": None, "usage": Anthropic.usage(USAGE["completion"])}

    @staticmethod
    def stream(h, b, want):
        def send(kind, **data):
            h.chunk(f"event: {kind}\ndata: " + json.dumps({"type": kind, **data}, ensure_ascii=False) + "\n\n")
        def block(i, start, kind, field, text):
            send("content_block_start", index=i, content_block=start)
            for p in pieces(text):
                send("content_block_delta", index=i, delta={"type": kind, field: p})
        h.start("text/event-stream")
        whole = Anthropic.whole(b, want)
        send("message_start", message={**whole, "content": [], "stop_reason": None, "usage": Anthropic.usage(1)})
        send("ping")
        for i, c in enumerate(whole["content"]):
            if c["type"] == "tool_use":
                block(i, {**c, "input": {}}, "input_json_delta", "partial_json", json.dumps(c["input"], ensure_ascii=False))
            elif c["type"] == "thinking":
                block(i, {"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking", c["thinking"])
                send("content_block_delta", index=i, delta={"type": "signature_delta", "signature": "sig-1"})
            else:
                block(i, {"type": "text", "text": ""}, "text_delta", "text", c["text"][:6] if want == "cut" else c["text"])
            if want == "cut":
                return h.cut()
            send("content_block_stop", index=i)
        send("message_delta", delta={"stop_reason": whole["stop_reason"], "stop_sequence": None}, usage={"output_tokens": USAGE["completion"]})
        send("message_stop")
        h.chunk("")


class Ollama:
    @staticmethod
    def check(h, b):
        need(b.get("messages"), "messages is missing")
        for m in b["messages"]:
            need(m["role"] in ("system", "user", "assistant", "tool") and isinstance(m.get("content", ""), str), "message")
            for c in m.get("tool_calls") or []:
                need(isinstance(c["function"]["arguments"], dict), "arguments must be an object")
            for i in m.get("images") or []:
                need(not i.startswith("data:"), "illegal base64 data")
        for k in b:
            need(k in ("model", "messages", "tools", "format", "options", "stream", "keep_alive", "think", "logprobs", "top_logprobs", "future_field"), f"unknown field {k}")

    @staticmethod
    def wanted(b):
        return b["messages"][-1]["content"]

    @staticmethod
    def streams(b):
        return b.get("stream", True)

    @staticmethod
    def error(e):
        return {"error": e.message}

    @staticmethod
    def last(want):
        return {"model": "served-ollama", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop",
                "total_duration": 5, "load_duration": 1, "prompt_eval_count": USAGE["prompt"], "prompt_eval_duration": 2, "eval_count": USAGE["completion"], "eval_duration": 2}

    @staticmethod
    def message(want):
        m = {"role": "assistant", "content": SCHEMA_TEXT if want == "schema" else TEXT}
        if want == "tools":
            m = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": n, "arguments": a}} for _, n, a in TOOLS]}
        if want == "think":
            m["thinking"] = "let me think"
        return m

    @staticmethod
    def whole(b, want):
        return {**Ollama.last(want), "message": Ollama.message(want)}

    @staticmethod
    def stream(h, b, want):
        def send(**message):
            h.chunk(json.dumps({"model": "served-ollama", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "", **message}, "done": False}, ensure_ascii=False) + "\n")
        h.start("application/x-ndjson")
        m = Ollama.message(want)
        for p in pieces(m.get("thinking", "")):
            send(thinking=p)
        for c in m.get("tool_calls", []):
            send(tool_calls=[c])
        for p in pieces(m["content"]):
            send(content=p)
            if want == "cut":
                return h.cut()
        h.chunk(json.dumps(Ollama.last(want)) + "\n")
        h.chunk("")


class Generate(Ollama):
    @staticmethod
    def check(h, b):
        need(isinstance(b.get("prompt"), str), "prompt is missing")

    @staticmethod
    def wanted(b):
        return b["prompt"]

    @staticmethod
    def whole(b, want):
        last = Ollama.last(want)
        del last["message"]
        return {**last, "response": TEXT}

    @staticmethod
    def stream(h, b, want):
        h.start("application/x-ndjson")
        for p in pieces(TEXT):
            h.chunk(json.dumps({"model": "served-ollama", "created_at": "2026-01-01T00:00:00Z", "response": p, "done": False}, ensure_ascii=False) + "\n")
        h.chunk(json.dumps({**Generate.whole(b, want), "response": ""}) + "\n")
        h.chunk("")


class Fake(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.gone = [], []
        self.hold, self.more = None, {}         # called at the start of a stream; fields of an error's reply
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def last(self):
        return self.seen[-1][2]
