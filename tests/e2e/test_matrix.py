"""Every client API with every provider API, driven by the official SDKs: what a cell cannot do is a clear refusal, never a loss in silence.

The upstreams follow the providers' public references (fakes.py); `tiny` is the real engine with the starter model."""
import base64, gc, http.client, json, os, time, unittest

import anthropic, ollama, openai, pydantic
from openai.types.responses import ResponseStreamEvent
from world import World, wait_for
from fakes import SCHEMA_TEXT, TEXT, TOOLS, USAGE, Fake

os.environ["HEARTH_TEST_KEY"] = "sk-ant-test"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
WANT_TOOLS = [(n, a) for _, n, a in TOOLS]
STREAM_EVENT = pydantic.TypeAdapter(ResponseStreamEvent)
PROVIDERS = ("gpt", "claude", "lama")


class Said:
    """What a client understood, whatever its API."""
    def __init__(self, text="", tools=(), thinking="", finish=None, prompt=None, completion=None):
        self.text, self.tools, self.thinking, self.finish, self.prompt, self.completion = text, list(tools), thinking, finish, prompt, completion


class OpenAIClient:
    name = "openai"
    finish = {"stop": "stop", "tools": "tool_calls"}

    def __init__(self, port):
        self.sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=30)
        self.error, self.status = openai.APIStatusError, lambda e: e.status_code

    def ask(self, model, text, stream=False, tools=False, schema=False, image=False, history=None, **more):
        content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + PNG}}] if image else text
        kw = dict(model=model, messages=(history or []) + [{"role": "user", "content": content}], max_tokens=64, **more)
        if tools:
            kw["tools"] = [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": PARAMETERS}}]
        if schema:
            kw["response_format"] = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
        if not stream:
            r = self.sdk.chat.completions.create(**kw)
            m = r.choices[0].message
            return Said(m.content or "", [(c.function.name, json.loads(c.function.arguments)) for c in m.tool_calls or []], getattr(m, "reasoning_content", "") or "",
                        r.choices[0].finish_reason, r.usage.prompt_tokens, r.usage.completion_tokens)
        out, calls = Said(), {}
        for c in self.sdk.chat.completions.create(stream=True, stream_options={"include_usage": True}, **kw):
            if c.usage:
                out.prompt, out.completion = c.usage.prompt_tokens, c.usage.completion_tokens
            for k in c.choices:
                out.text += k.delta.content or ""
                out.thinking += getattr(k.delta, "reasoning_content", "") or ""
                out.finish = k.finish_reason or out.finish
                for t in k.delta.tool_calls or []:
                    call = calls.setdefault(t.index, ["", ""])
                    call[0] += t.function.name or ""
                    call[1] += t.function.arguments or ""
        out.tools = [(n, json.loads(a)) for n, a in calls.values()]
        return out

    def history(self):
        return [{"role": "system", "content": "S"}, {"role": "user", "content": "tools"},
                {"role": "assistant", "content": None, "tool_calls": [{"id": i, "type": "function", "function": {"name": n, "arguments": json.dumps(a)}} for i, n, a in TOOLS]},
                *({"role": "tool", "tool_call_id": i, "content": f"result of {n}"} for i, n, _ in TOOLS)]


class ResponsesClient:
    name = "responses"
    finish = {"stop": "completed", "tools": "completed"}

    def __init__(self, port):
        self.sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=30)
        self.error, self.status = openai.APIStatusError, lambda e: e.status_code

    def ask(self, model, text, stream=False, tools=False, schema=False, image=False, history=None, **more):
        content = [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": "data:image/png;base64," + PNG, "detail": "auto"}] if image else text
        kw = dict(model=model, input=(history or []) + [{"role": "user", "content": content}], max_output_tokens=64, store=False, **more)
        if history:
            kw["instructions"] = "S"
        if tools:
            kw["tools"] = [{"type": "function", "name": "weather", "description": "d", "parameters": PARAMETERS, "strict": False}]
        if schema:
            kw["text"] = {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}
        if stream:
            r = self.follow(self.sdk.responses.create(stream=True, **kw))
        else:
            r = self.sdk.responses.create(**kw)
        return Said(r.output_text, [(i.name, json.loads(i.arguments)) for i in r.output if i.type == "function_call"],
                    "".join(p.text for i in r.output if i.type == "reasoning" for p in i.summary), r.status, r.usage.input_tokens, r.usage.output_tokens)

    def follow(self, events):
        """What the events said must be what the response at the end repeats; each event is of the SDK's types, in order, without a gap."""
        texts, items, last = {}, {}, -1
        for e in events:
            STREAM_EVENT.validate_python(e.model_dump(by_alias=True))
            assert e.sequence_number == last + 1, (last, e)
            last = e.sequence_number
            if e.type in ("response.output_text.delta", "response.function_call_arguments.delta", "response.reasoning_summary_text.delta"):
                texts[e.output_index] = texts.get(e.output_index, "") + e.delta
            elif e.type in ("response.output_text.done", "response.reasoning_summary_text.done"):
                assert texts[e.output_index] == e.text
            elif e.type == "response.output_item.done":
                items[e.output_index] = e.item
            elif e.type == "response.failed":
                raise RuntimeError(e.response.error.message)
            elif e.type in ("response.completed", "response.incomplete"):
                assert [i.model_dump() for i in e.response.output] == [items[k].model_dump() for k in sorted(items)]
                return e.response
        raise AssertionError("no end")

    def history(self):
        return [{"role": "user", "content": "tools"}, *({"type": "function_call", "call_id": i, "name": n, "arguments": json.dumps(a)} for i, n, a in TOOLS),
                *({"type": "function_call_output", "call_id": i, "output": f"result of {n}"} for i, n, _ in TOOLS)]


class AnthropicClient:
    name = "anthropic"
    finish = {"stop": "end_turn", "tools": "tool_use"}

    def __init__(self, port):
        self.sdk = anthropic.Anthropic(base_url=f"http://127.0.0.1:{port}", api_key="none", max_retries=0, timeout=30)
        self.error, self.status = anthropic.APIStatusError, lambda e: e.status_code

    def ask(self, model, text, stream=False, tools=False, schema=False, image=False, history=None, **more):
        content = [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}, {"type": "text", "text": text}] if image else text
        kw = dict(model=model, messages=(history or []) + [{"role": "user", "content": content}], max_tokens=64, **more)
        if history:
            kw["system"] = "S"
        if "temperature" in kw:         # the SDK has no argument for it since its models of 2026
            kw["extra_body"] = {"temperature": kw.pop("temperature")}
        if tools:
            kw["tools"] = [{"name": "weather", "description": "d", "input_schema": PARAMETERS}]
        if schema:
            kw["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        if stream:
            with self.sdk.messages.stream(**kw) as s:
                kinds = [e.type for e in s]
                m = s.get_final_message()
            assert kinds[0] == "message_start" and kinds[-1] == "message_stop", kinds
        else:
            m = self.sdk.messages.create(**kw)
        u = m.usage
        return Said("".join(b.text for b in m.content if b.type == "text"), [(b.name, b.input) for b in m.content if b.type == "tool_use"],
                    "".join(b.thinking for b in m.content if b.type == "thinking"), m.stop_reason,
                    u.input_tokens + (u.cache_read_input_tokens or 0) + (u.cache_creation_input_tokens or 0), u.output_tokens)

    def history(self):
        return [{"role": "user", "content": "tools"}, {"role": "assistant", "content": [{"type": "tool_use", "id": i, "name": n, "input": a} for i, n, a in TOOLS]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": i, "content": f"result of {n}"} for i, n, _ in TOOLS]}]


class OllamaClient:
    name = "ollama"
    finish = {"stop": "stop", "tools": "stop"}

    def __init__(self, port):
        self.sdk = ollama.Client(f"http://127.0.0.1:{port}", timeout=30)
        self.error, self.status = ollama.ResponseError, lambda e: e.status_code

    def ask(self, model, text, stream=False, tools=False, schema=False, image=False, history=None, **more):
        m = {"role": "user", "content": text, **({"images": [PNG]} if image else {})}
        kw = dict(model=model, messages=(history or []) + [m], options={"num_predict": 64, **more})
        if tools:
            kw["tools"] = [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": PARAMETERS}}]
        if schema:
            kw["format"] = SCHEMA
        parts = list(self.sdk.chat(stream=True, **kw)) if stream else [self.sdk.chat(**kw)]
        last = parts[-1]
        assert last.done, "the last line says done"
        return Said("".join(p.message.content or "" for p in parts), [(c.function.name, dict(c.function.arguments)) for p in parts for c in p.message.tool_calls or []],
                    "".join(p.message.thinking or "" for p in parts), last.done_reason, last.prompt_eval_count, last.eval_count)

    def history(self):
        return [{"role": "system", "content": "S"}, {"role": "user", "content": "tools"},
                {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": n, "arguments": a}} for _, n, a in TOOLS]},
                *({"role": "tool", "tool_name": n, "content": f"result of {n}"} for _, n, _ in TOOLS)]


class Matrix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # A stream that a test has left is closed when it is collected. In the middle of another request httpcore's pool then waits for a lock that it holds itself.
        gc.disable()
        cls.up = Fake()
        at = f"http://127.0.0.1:{cls.up.port}"
        cls.w = World({"providers": f"  ant: {{ api: anthropic, url: {at}, key: '${{HEARTH_TEST_KEY}}', zone: machine }}\n  oai: {{ api: openai, url: {at}/v1, zone: machine }}\n"
                                    f"  oll: {{ api: ollama, url: {at}, zone: machine }}",
                       "models": "  gpt: { provider: oai, id: gpt-x, retries: 0 }\n  claude: { provider: ant, id: claude-x, retries: 0 }\n  lama: { provider: oll, id: llama-x, retries: 0 }"}).start()
        cls.clients = [c(cls.w.port) for c in (OpenAIClient, AnthropicClient, OllamaClient, ResponsesClient)]

    def tearDown(self):
        gc.collect()

    @classmethod
    def tearDownClass(cls):
        gc.enable()
        cls.w.close()

    def each(self, cell, providers=PROVIDERS):
        for c in self.clients:
            for model in providers:
                for stream in (False, True):
                    with self.subTest(client=c.name, model=model, stream=stream):
                        cell(c, model, stream)

    def refused(self, c, status, *args, **kw):
        with self.assertRaises(c.error) as e:
            c.ask(*args, **kw)
        self.assertEqual(c.status(e.exception), status, e.exception)
        return str(e.exception)

    def test_plain(self):
        def cell(c, model, stream):
            s = c.ask(model, "plain", stream)
            self.assertEqual((s.text, s.tools, s.finish), (TEXT, [], c.finish["stop"]))
            self.assertEqual((s.prompt, s.completion), (USAGE["prompt"], USAGE["completion"]), "cached tokens are counted once, by each API's rule")
        self.each(cell)

    def test_tools(self):
        def cell(c, model, stream):
            s = c.ask(model, "tools", stream, tools=True)
            self.assertEqual((s.tools, s.finish), (WANT_TOOLS, c.finish["tools"]))
            sent = self.up.last()["tools"][0]
            self.assertEqual(sent.get("input_schema") or sent["function"]["parameters"], PARAMETERS)
        self.each(cell)

    def test_results_of_tools_go_back(self):
        def cell(c, model, stream):
            s = c.ask(model, "plain", stream, tools=True, history=c.history())
            self.assertEqual(s.text, TEXT)
            sent = json.dumps(self.up.last())
            self.assertTrue(all(f"result of {n}" in sent for n in ("weather", "add")) and '"S"' in sent)
        self.each(cell)

    def test_thinking(self):
        def cell(c, model, stream):
            s = c.ask(model, "think", stream)
            self.assertEqual((s.thinking, s.text), ("let me think", TEXT))
        self.each(cell)

    def test_json_schema(self):
        def cell(c, model, stream):
            s = c.ask(model, "schema", stream, schema=True)
            self.assertEqual(json.loads(s.text), {"city": "Bern"})
            b = self.up.last()
            sent = b.get("format") or (b.get("output_config") or {}).get("format", {}).get("schema") or b["response_format"]["json_schema"]["schema"]
            self.assertEqual(sent, SCHEMA)
        self.each(cell)

    def test_image(self):
        def cell(c, model, stream):
            self.assertEqual(c.ask(model, "plain", stream, image=True).text, TEXT)
            self.assertIn(PNG, json.dumps(self.up.last()))
        self.each(cell)

    def test_errors_keep_status_and_words(self):
        def cell(c, model, stream):
            for status in (400, 401, 403, 404, 429, 500, 529):
                self.assertIn(f"provider says {status}", self.refused(c, status, model, f"error {status}", stream))
                c.ask(model, "plain")       # five failures in a row would open the breaker
        self.each(cell)

    def test_a_cut_upstream_never_ends_well(self):
        for c in self.clients:
            for model in PROVIDERS:
                with self.subTest(client=c.name, model=model):
                    with self.assertRaises(Exception) as e:
                        c.ask(model, "cut", True)
                    self.assertNotIsInstance(e.exception, AssertionError)
                    c.ask(model, "plain")

    def test_a_client_that_leaves_ends_the_upstream(self):
        for model in PROVIDERS:
            n = len([r for r in self.w.rows() if r.get("outcome") == "cancelled"])
            with self.assertRaises(openai.APITimeoutError):
                self.clients[0].sdk.with_options(timeout=0.2).chat.completions.create(model=model, messages=[{"role": "user", "content": "slow"}])
            wait_for(lambda: len([r for r in self.w.rows() if r.get("outcome") == "cancelled"]) == n + 1, 5)

    def test_what_cannot_be_said_is_refused_or_announced(self):
        o, a = self.clients[0], self.clients[1]
        for field, value in (("n", 2), ("logprobs", True), ("logit_bias", {"5": 1})):
            for model in ("claude", "lama"):
                self.assertIn(field, self.refused(o, 400, model, "plain", **{field: value}))
        self.assertIn("tool_choice", self.refused(o, 400, "lama", "plain", tools=True, tool_choice="required"))
        message = self.refused(a, 400, "gpt", "x", tools=False, extra_body={"tools": [{"type": "web_search_20250305", "name": "web_search"}]})
        self.assertIn("tools.0: this model", message)
        self.assertNotIn("tools.0: tools.0", message)
        self.assertIn("mcp_servers", self.refused(a, 400, "gpt", "x", extra_body={"mcp_servers": [{"type": "url", "url": "https://x.example", "name": "y"}]}))
        self.assertIn("document", self.refused(a, 400, "gpt", "x", history=[{"role": "user", "content": [{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}]}]))
        raw = o.sdk.chat.completions.with_raw_response.create(model="claude", messages=[{"role": "user", "content": "plain"}], seed=7, extra_body={"future_field": 1})
        self.assertEqual(raw.headers["x-hearth-dropped"], "future_field, seed")
        raw = a.sdk.messages.with_raw_response.create(model="gpt", max_tokens=9, extra_body={"top_k": 5}, messages=[{"role": "user", "content": [
            {"type": "text", "text": "plain", "cache_control": {"type": "ephemeral"}}]}])
        self.assertEqual(raw.headers["x-hearth-dropped"], "cache_control, top_k")

    def test_what_needs_a_kept_response_is_refused(self):
        r = self.clients[3]
        for field, value in (("previous_response_id", "resp_1"), ("background", True), ("truncation", "auto"), ("extra_body", {"tools": [{"type": "web_search"}]})):
            with self.subTest(field=field):
                self.assertIn(field.replace("extra_body", "tools"), self.refused(r, 400, "gpt", "plain", **{field: value}))

    def test_an_answer_that_is_cut_short_says_so(self):
        events = list(self.clients[3].sdk.responses.create(model="tiny", input="Count to one hundred.", temperature=0, max_output_tokens=4, stream=True))
        self.assertEqual((events[-1].type, events[-1].response.incomplete_details.reason), ("response.incomplete", "max_output_tokens"))
        self.assertEqual((events[-1].response.output[-1].status, [e.item.status for e in events if e.type == "response.output_item.done"]), ("incomplete", ["incomplete"]))
        self.assertEqual([o.status for o in self.clients[3].sdk.responses.create(model="tiny", input="Count to one hundred.", temperature=0, max_output_tokens=4).output], ["incomplete"])
        with self.clients[1].sdk.messages.stream(model="tiny", max_tokens=4, extra_body={"temperature": 0}, messages=[{"role": "user", "content": "Count to one hundred."}]) as s:
            self.assertEqual(s.get_final_message().stop_reason, "max_tokens")

    def test_forwards_are_untouched(self):
        self.clients[1].sdk.messages.create(model="claude", max_tokens=9, messages=[{"role": "user", "content": "plain"}], extra_body={"future_field": {"a": [1.50, 1e3]}, "hearth_note": 1})
        self.assertEqual(self.up.last(), {"max_tokens": 9, "messages": [{"role": "user", "content": "plain"}], "model": "claude-x", "future_field": {"a": [1.5, 1000.0]}})
        self.assertEqual(self.clients[1].sdk.messages.count_tokens(model="claude", messages=[{"role": "user", "content": "plain"}]).input_tokens, 42)

    def test_azure(self):
        for kw in ({"azure_endpoint": f"http://127.0.0.1:{self.w.port}"}, {"azure_endpoint": f"http://127.0.0.1:{self.w.port}", "azure_deployment": "claude"}):
            sdk = openai.AzureOpenAI(api_key="none", api_version="2024-10-21", max_retries=0, **kw)
            want = kw.get("azure_deployment", "gpt")
            for stream in (False, True):
                r = sdk.chat.completions.with_raw_response.create(model="gpt", messages=[{"role": "user", "content": "plain"}], stream=stream)
                self.assertEqual(r.headers["x-hearth-model"], want, "the deployment in the path is the model")
                said = r.parse()
                self.assertEqual("".join(c.choices[0].delta.content or "" for c in said if c.choices) if stream else said.choices[0].message.content, TEXT)
        self.assertIn("gpt", {m.id for m in openai.AzureOpenAI(api_key="none", api_version="2024-10-21", azure_endpoint=f"http://127.0.0.1:{self.w.port}").models.list()})
        self.assertEqual(openai.OpenAI(base_url=f"http://127.0.0.1:{self.w.port}/openai/v1", api_key="none").responses.create(model="gpt", input="plain").output_text, TEXT)
        with self.assertRaises(openai.NotFoundError):
            openai.AzureOpenAI(api_key="none", api_version="2024-10-21", azure_endpoint=f"http://127.0.0.1:{self.w.port}", azure_deployment="no/body").chat.completions.create(model="gpt", messages=[])

    def test_betas_in_several_fields_all_arrive(self):
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=30)
        body = json.dumps({"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "plain"}]})
        c.putrequest("POST", "/v1/messages?beta=true")
        for k, v in (("Content-Type", "application/json"), ("anthropic-beta", "one-1, two-2"), ("Anthropic-Beta", "three-3"), ("Content-Length", str(len(body)))):
            c.putheader(k, v)
        c.endheaders(body.encode())
        self.assertEqual(c.getresponse().status, 200)
        self.assertEqual({k.lower(): v for k, v in self.up.seen[-1][1].items()}["anthropic-beta"], "one-1, two-2, three-3")

    def test_a_name_with_ollamas_tag(self):
        sdk = self.clients[2].sdk
        self.assertEqual(sdk.chat(model="gpt:latest", messages=[{"role": "user", "content": "plain"}]).message.content, TEXT)
        self.assertEqual(sdk.show("tiny:latest").modelinfo["general.context_length"], 2048)
        self.refused(self.clients[2], 404, "gpt:7b", "plain")
        self.refused(self.clients[0], 404, "gpt:latest", "plain")

    def test_tool_choice_and_names_cross(self):
        o, a = self.clients[0], self.clients[1]
        o.ask("claude", "plain", tools=True, tool_choice={"type": "function", "function": {"name": "weather"}}, parallel_tool_calls=False)
        self.assertEqual(self.up.last()["tool_choice"], {"type": "tool", "name": "weather", "disable_parallel_tool_use": True})
        a.ask("gpt", "plain", tools=True, tool_choice={"type": "any"}, stop_sequences=["END"], temperature=0.5)
        b = self.up.last()
        self.assertEqual((b["tool_choice"], b["stop"], b["temperature"], b["max_tokens"]), ("required", ["END"], 0.5, 64))
        o.ask("claude", "plain", reasoning_effort="low")
        self.assertNotIn("thinking", self.up.last(), "64 tokens are too few for thinking: dropped by name")

    def test_the_engine_answers_all_three(self):
        def cell(c, model, stream):
            s = c.ask(model, "Say hello.", stream, temperature=0)
            self.assertTrue(s.text and s.prompt > 5 and s.completion > 0)
            self.refused(c, 400, model, "what is this?", stream, image=True)
        self.each(cell, ("tiny",))
        self.assertEqual(len({c.ask("tiny", "Say hello.", temperature=0).text for c in self.clients}), 1, "one prompt, one answer")

    def test_generate(self):
        sdk = self.clients[2].sdk
        for model in PROVIDERS:
            self.assertEqual(sdk.generate(model, "plain").response, TEXT)
            self.assertEqual("".join(p.response for p in sdk.generate(model, "plain", stream=True)), TEXT)
        with self.assertRaises(ollama.ResponseError):
            sdk.generate("gpt", "plain", suffix="x")

    def test_lists_of_models(self):
        names = {"tiny", "gpt", "claude", "lama"}
        self.assertLessEqual(names, {m.id for m in self.clients[0].sdk.models.list()})
        self.assertLessEqual(names, {m.id for m in self.clients[1].sdk.models.list()})
        self.assertEqual(names, {m.model for m in self.clients[2].sdk.list().models})
        self.assertEqual(self.clients[1].sdk.models.retrieve("gpt").id, "gpt")
        self.clients[2].ask("tiny", "Hi.")
        self.assertEqual([m.model for m in self.clients[2].sdk.ps().models], ["tiny"], "what has an engine running")
        with self.assertRaises(anthropic.NotFoundError):
            self.clients[1].sdk.models.retrieve("nobody")

    def test_zz_the_record(self):
        rows = [r for r in self.w.rows() if r.get("kind") == "end"] or self.w.rows()
        self.assertEqual({r["dialect"] for r in rows if "dialect" in r}, {"openai", "anthropic", "ollama", "openai-responses"})
        for served, model in (("served-openai", "gpt"), ("served-anthropic", "claude"), ("served-ollama", "lama")):
            self.assertTrue(any(r.get("model_served") == served and r.get("model") == model for r in rows))
        self.assertTrue(self.w.verify())


if __name__ == "__main__":
    unittest.main(argv=["test_matrix"], verbosity=2)
