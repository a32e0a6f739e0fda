"""Slow: clients that people use beside the official SDKs for Python: those for Node, LangChain's three packages, LiteLLM, Aider, and an older major of OpenAI's.
Run by the Python of .deps/clients (tools/setup clients)."""
import http.server, json, os, pathlib, subprocess, threading, unittest

import litellm, openai
from langchain_anthropic import ChatAnthropic
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from fakes import Fake, TEXT, TOOLS
from world import HEARTH, World

os.environ["HEARTH_TEST_KEY"] = "sk-ant-test"
ROOT = pathlib.Path(__file__).resolve().parents[2]
WANT = [[n, a] for _, n, a in TOOLS]
EDIT = """calc.py
```python
<<<<<<< SEARCH
def add(a, b):
    return a - b
=======
def add(a, b):
    return a + b
>>>>>>> REPLACE
```
"""


class Editor(http.server.BaseHTTPRequestHandler):
    """A model that always proposes the same change, streamed in small pieces."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *a):
        pass

    def event(self, delta, finish=None):
        data = b"data: " + json.dumps({"id": "u", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(0, len(EDIT), 7):
            self.event({"content": EDIT[i:i + 7]})
        self.event({}, "stop")
        self.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.up = Fake()
        at = f"http://127.0.0.1:{cls.up.port}"
        cls.w = World({"providers": f"  ant: {{ api: anthropic, url: {at}, key: '${{HEARTH_TEST_KEY}}', zone: machine }}\n  oai: {{ api: openai, url: {at}/v1, zone: machine }}\n  oll: {{ api: ollama, url: {at}, zone: machine }}",
                       "models": "  gpt: { provider: oai, id: g, retries: 0 }\n  claude: { provider: ant, id: c, retries: 0 }\n  lama: { provider: oll, id: l, retries: 0 }"}).start()
        cls.at = f"http://127.0.0.1:{cls.w.port}"

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def test_the_sdks_for_node(self):
        env = {**os.environ, "HEARTH_BASE": self.at, "HEARTH_NODE": str(ROOT / ".deps/node")}
        r = subprocess.run(["node", ROOT / "tests/e2e/clients/ask.mjs"], capture_output=True, text=True, timeout=120, env=env)
        self.assertEqual(r.returncode, 0, r.stderr)
        out = json.loads(r.stdout)
        for name, got in out.items():
            with self.subTest(name):
                self.assertEqual((got["text"], got["stream"], got["tools"]), (TEXT, TEXT, WANT))
        self.assertEqual([out[n]["status"] for n in ("openai", "openai-4", "anthropic")], [429, 429, 529])
        self.assertEqual([out[n]["vector"] for n in ("openai", "openai-4", "ollama")], [576] * 3)
        self.assertEqual((out["openai"]["response"], out["openai-4"]["response"]), (TEXT, TEXT))
        self.assertTrue({"gpt", "claude", "lama", "tiny"} <= set(out["openai"]["models"]) & set(out["ollama"]["models"]))
        self.assertGreater(out["anthropic"]["count"], 5)

    def test_langchain(self):
        weather = {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
        for model, chat in [("claude", ChatOpenAI(model="claude", base_url=self.at + "/v1", api_key="none", max_retries=0)),
                            ("gpt", ChatAnthropic(model="gpt", base_url=self.at, api_key="none", max_retries=0, max_tokens=64)), ("gpt", ChatOllama(model="gpt", base_url=self.at))]:
            with self.subTest(type(chat).__name__):
                text = lambda m: m.content if isinstance(m.content, str) else "".join(p.get("text", "") for p in m.content)
                self.assertEqual(text(chat.invoke("plain")), TEXT)
                self.assertEqual("".join(text(c) for c in chat.stream("plain")), TEXT)
                called = chat.bind_tools([{"type": "function", "function": weather}]).invoke("tools")
                self.assertEqual([[c["name"], c["args"]] for c in called.tool_calls], WANT)
        vectors = OpenAIEmbeddings(model="tiny", base_url=self.at + "/v1", api_key="none", check_embedding_ctx_length=False).embed_documents(["a", "b"])
        self.assertEqual([len(v) for v in vectors], [576, 576])

    def test_litellm_as_a_client(self):
        for model, base in (("openai/claude", self.at + "/v1"), ("anthropic/gpt", self.at), ("ollama_chat/gpt", self.at)):
            with self.subTest(model):
                ask = dict(model=model, api_base=base, api_key="none", messages=[{"role": "user", "content": "plain"}], num_retries=0)
                self.assertEqual(litellm.completion(**ask).choices[0].message.content, TEXT)
                self.assertEqual("".join(c.choices[0].delta.content or "" for c in litellm.completion(stream=True, **ask)), TEXT)

    def test_aider_edits_a_file_through_hearth_exec(self):
        up = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Editor)
        threading.Thread(target=up.serve_forever, daemon=True).start()
        w = World({"providers": f"  up: {{ api: openai, url: http://127.0.0.1:{up.server_address[1]}/v1, zone: machine }}", "models": "  coder: { provider: up, id: c }"})
        self.addCleanup(w.close)
        self.addCleanup(up.shutdown)
        project = w.dir / "project"
        project.mkdir()
        (project / "calc.py").write_text("def add(a, b):\n    return a - b\n")
        r = subprocess.run([HEARTH, "exec", "-c", str(w.config), "--model", "coder", "--", str(ROOT / ".deps/aider/bin/aider"), "--yes-always", "--no-check-update", "--no-analytics",
                            "--no-show-model-warnings", "--no-git", "--edit-format", "diff", "--message", "add must add", "calc.py"],
                           cwd=project, capture_output=True, text=True, timeout=180, env={**os.environ, "HOME": str(w.dir)})
        self.assertEqual(r.returncode, 0, r.stdout[-2000:] + r.stderr[-2000:])
        self.assertEqual((project / "calc.py").read_text(), "def add(a, b):\n    return a + b\n")
        self.assertEqual([(x["model"], x["outcome"], x["dialect"]) for x in w.rows()], [("coder", "ok", "openai")])

    def test_the_sdk_of_openai_before_its_second_major(self):
        self.assertTrue(openai.__version__.startswith("1."))
        sdk = openai.OpenAI(base_url=self.at + "/v1", api_key="none", max_retries=0)
        ask = dict(model="claude", messages=[{"role": "user", "content": "plain"}])
        self.assertEqual(sdk.chat.completions.create(**ask).choices[0].message.content, TEXT)
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in sdk.chat.completions.create(stream=True, **ask) if c.choices), TEXT)
        self.assertEqual(sdk.responses.create(model="gpt", input="plain").output_text, TEXT)


if __name__ == "__main__":
    unittest.main(argv=["test_clients"], verbosity=2)
