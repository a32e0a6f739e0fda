"""Files and bodies made to crash or stall: a GGUF is loaded in a process of its own, so the worst that one can do is an error for its own calls; what
the fuzzers keep of JSON, sent by clients and by upstreams, is answered. Meanwhile others are served, and descriptors and memory are as before.

    test_hostile.py HEARTH [--models N] [--bodies N]      N changed models, N inputs of each corpus at most
"""
import json, os, pathlib, random, re, socket, struct, subprocess, sys, threading, time, unittest

from faulty import ENDS, Faulty, PATHS
from scripted import chunk, reply, sse, whole
from world import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT / "fuzz/corpus"
SEED = int(os.environ.get("SEED", time.time_ns() % 1_000_000))


def option(name, otherwise):
    return int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else otherwise


def value_at(data, key):
    """Where the value of this key of a GGUF begins: behind its name and type."""
    name = struct.pack("<Q", len(key)) + key.encode()
    return data.index(name) + len(name) + 4


def lies(good):
    """Models whose header says what is not so, by name."""
    def put(key, fmt, value):
        at = value_at(good, key)
        return good[:at] + struct.pack(fmt, value) + good[at + struct.calcsize(fmt):]
    u32 = {"llama.context_length": (0, 1, 0x7FFFFFFF, 0xFFFFFFFF), "llama.embedding_length": (0, 1, 63, 0x7FFFFFFF, 0xFFFFFFFF), "llama.block_count": (0, 1, 3, 1000, 0x7FFFFFFF, 0xFFFFFFFF),
           "llama.feed_forward_length": (0, 1, 0xFFFFFFFF), "llama.attention.head_count": (0, 1, 3, 0xFFFFFFFF), "llama.attention.head_count_kv": (0, 3, 0xFFFFFFFF), "llama.rope.dimension_count": (0, 1, 7, 0xFFFFFFFF),
           "tokenizer.ggml.bos_token_id": (0x7FFFFFFF, 0xFFFFFFFF), "tokenizer.ggml.eos_token_id": (0x7FFFFFFF, 0xFFFFFFFF)}
    for key, values in u32.items():
        if key.encode() in good:
            for v in values:
                yield f"{key} {v}", put(key, "<I", v)
    for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"):
        at = value_at(good, key) + 4        # an array: the type of its elements, then how many
        for v in (0, 1, 1 << 20, 1 << 62, (1 << 64) - 1):
            yield f"{key} of {v}", good[:at] + struct.pack("<Q", v) + good[at + 8:]
    for at, what in ((8, "tensors"), (16, "keys")):
        for v in (0, 1, 1 << 20, 1 << 62, (1 << 64) - 1):
            yield f"{v} {what}", good[:at] + struct.pack("<Q", v) + good[at + 8:]


def changed(good, rng, n):
    """Cut somewhere, or some bytes of it changed: more of them where the header is."""
    header = good.index(b"output_norm.weight")
    for i in range(n):
        if i % 3 == 0:
            yield f"cut {i}", good[:rng.randrange(len(good))]
            continue
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(header if rng.random() < 0.9 else len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        yield f"changed {i}", bytes(data)


class Hostile(Faulty):
    def setUp(self):
        print(f"seed {SEED}", flush=True)
        self.rng = random.Random(SEED)

    def served(self):
        """Somebody else, all the time: how long the slowest waited."""
        self.over, self.slowest, self.served_n = False, 0.0, 0

        def work():
            while not self.over:
                begin = time.monotonic()
                if self.ask(timeout=30)[0] == 200:
                    self.served_n += 1
                self.slowest = max(self.slowest, time.monotonic() - begin)
                time.sleep(0.02)
        t = threading.Thread(target=work, daemon=True)
        t.start()
        return t

    def test_models_that_lie(self):
        self.world(lambda conn, body: reply(conn, whole()))
        d = self.w.dir / "models"
        d.mkdir()
        good = self.w.dir / "good.gguf"
        made = subprocess.run([sys.executable, ROOT / "tools/make-tiny-gguf", good, "--tokenizer", "bpe", "--template", "chatml"], capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        files = {f"corpus {f.name}": f.read_bytes() for f in sorted((CORPUS / "gguf").iterdir())}
        files = dict(self.rng.sample(sorted(files.items()), min(len(files), option("--models", 12))))
        data = good.read_bytes()
        files |= dict(self.rng.sample(sorted(lies(data)), min(50, option("--models", 12) * 2))) | dict(changed(data, self.rng, option("--models", 12))) | {"good": data}
        names = {}
        for i, (name, content) in enumerate(files.items()):
            names[name] = f"h{i}"
            (d / f"h{i}.gguf").write_bytes(content)
        plain = self.w.config.read_text()
        models = "".join(f"  {m}: {{ provider: here, file: {d}/{m}.gguf, slots: 1, context: 256, retries: 0 }}\n" for m in names.values())
        self.w.config.write_text(plain.replace("models:\n", "models:\n" + models, 1))
        self.renew()
        others, answered, refused = self.served(), 0, 0
        for name, m in names.items():
            with self.subTest(name):
                begin = time.monotonic()
                status, got, _, _ = self.ask(model=m, timeout=120)
                took = time.monotonic() - begin
                self.assertLess(took, 90)
                self.assertIsNone(self.w.server.poll())
                if status == 200:
                    answered += 1
                    self.assertNotIn("corpus", name)
                else:
                    refused += 1
                    self.assertIn(status, (400, 500, 502, 503, 504), got)
                    message = json.loads(got)["error"]["message"]
                    self.assertGreater(len(message), 20, "a sentence that says what it is")
                    self.assertNotIn("Traceback", message)
        self.assertEqual(self.ask(model=names["good"])[0], 200)
        self.over = True
        others.join(60)
        print(f"measured: {len(names)} hostile models: {refused} refused, {answered} loaded; meanwhile {self.served_n} calls of others, the slowest {1000 * self.slowest:.0f} ms", flush=True)
        self.assertGreater(refused, len(names) / 3)
        self.assertGreater(self.served_n, 10)
        self.assertLess(self.slowest, 15)
        self.w.config.write_text(plain)     # without them their processes end
        self.renew()
        wait_for(lambda: subprocess.run(["pgrep", "-P", str(self.w.server.pid)], capture_output=True).returncode, 60)
        self.assertTrue(self.w.verify())

    def inputs(self, *corpora):
        for c in corpora:
            files = sorted((CORPUS / c).iterdir())
            for f in self.rng.sample(files, min(len(files), option("--bodies", 30))):
                data = f.read_bytes()
                yield f"{c}/{f.name}", data
                if c in ("dialects", "answers", "embed"):
                    yield f"{c}/{f.name} without its first bytes", data[2 if c == "answers" else 1:]

    def test_bodies_of_clients(self):
        self.world(lambda conn, body: reply(conn, whole()))
        paths = [*PATHS.values(), "/v1/completions", "/v1/embeddings", "/v1/messages/count_tokens", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"]
        others, n = self.served(), 0
        for name, data in self.inputs("json", "openai", "dialects", "embed", "prompt"):
            head = "".join(f"POST {p} HTTP/1.1\r\nHost: 127.0.0.1:{self.w.port}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n\0" for p in paths)
            with self.subTest(name), socket.create_connection(("127.0.0.1", self.w.port), timeout=30) as s:
                s.sendall(b"".join(h.encode() + data for h in head.split("\0")[:-1]))      # pipelined: one after the other
                got = b""
                while len(re.findall(rb"HTTP/1\.1 \d{3} ", got)) < len(paths):
                    more = s.recv(65536)
                    self.assertTrue(more, got[-500:])
                    got += more
                for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", got):
                    self.assertIn(int(status), (200, 400, 404, 413, 422, 502), got[-500:])
                n += len(paths)
        self.over = True
        others.join(60)
        print(f"measured: {n} hostile bodies of clients; the slowest call of others {1000 * self.slowest:.0f} ms", flush=True)
        self.assertLess(self.slowest, 10)
        self.w.verify()

    def test_replies_of_upstreams(self):
        """As a whole reply, and as a stream of events cut at some place: an error or an answer, and what is handed on is JSON."""
        case = {}

        def script(conn, body):
            if body["messages"][0]["content"] == "x":
                return reply(conn, whole())
            data = case["data"]
            if not body.get("stream"):
                return reply(conn, data)
            sse(conn)
            at = case["cut"]
            for part in (data[:at], data[at:]):
                if part:
                    chunk(conn, part)
            conn.sendall(b"0\r\n\r\n")
            return True
        self.world(script)
        others, n = self.served(), 0
        for name, data in self.inputs("answers", "openai", "json", "sse"):
            case.update(data=data, cut=self.rng.randrange(len(data) + 1))
            for api in PATHS:
                for stream in (False, True):
                    with self.subTest(name, api=api, stream=stream):
                        status, got, ended, _ = self.ask(api, stream, text="hostile")
                        self.assertIn(status, (200, 502, 503), got[-300:])
                        n += 1
                        if status != 200 or not stream:
                            json.loads(got)
                            continue
                        for line in got.replace(b"\r", b"").split(b"\n"):
                            text = line if api == "ollama" else line[6:] if line.startswith(b"data: ") else b""
                            if text and text != b"[DONE]" and (api != "openai" or ended):
                                json.loads(text)
                        self.assertTrue(ENDS[api] in got or b"error" in got or b"response.failed" in got or not ended, got[-300:])
            if n % 40 == 0:
                self.renew()                # the breaker, which such an upstream opens
        self.over = True
        others.join(60)
        print(f"measured: {n} hostile replies of upstreams; the slowest call of others {1000 * self.slowest:.0f} ms", flush=True)
        self.w.verify()


if __name__ == "__main__":
    unittest.main(argv=["test_hostile"], verbosity=2)
