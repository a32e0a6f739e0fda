"""What tests of faults share: a hearth before one upstream that does what a script says, and what it must come back to after each of them."""
import http.client, json, os, pathlib, signal, socket, struct, threading, time, unittest

from scripted import Raw, chunk, event, reply, sse, whole
from world import World, memory, wait_for

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat", "responses": "/v1/responses"}
ENDS = {"openai": b"[DONE]", "anthropic": b"message_stop", "ollama": b'"done":true', "responses": b"response.completed"}     # of a stream that is whole


def body_of(api, stream, text="x", model="m"):
    body = {"model": model, "stream": stream}
    if api == "responses":
        return {**body, "input": text}
    body["messages"] = [{"role": "user", "content": text}]
    return {**body, "max_tokens": 50} if api == "anthropic" else body


def rst(conn):
    """The connection ends by a reset and not in order."""
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


def answer(conn, body):
    """A whole reply at once, a stream within a second."""
    if not body.get("stream"):
        return reply(conn, whole(usage={"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}))
    sse(conn)
    for _ in range(20):
        chunk(conn, event({"content": "x"}))
        time.sleep(0.03)
    chunk(conn, event({}, "stop") + b"data: [DONE]\n\n")
    conn.sendall(b"0\r\n\r\n")
    return True


class Faulty(unittest.TestCase):
    base = None

    def world(self, script, provider="first_byte: 2s, gap: 2s", more="", model="retries: 0", port=None, threads=2, env=None, wrap=()):
        self.up = Raw(script)
        self.w = World({"providers": f"  up: {{ api: openai, url: http://127.0.0.1:{port or self.up.port}/v1, zone: machine, {provider} }}", "models": f"  m: {{ provider: up, id: x, {model} }}"})
        self.w.config.write_text(self.w.config.read_text().replace("default: tiny", "default: m") + f"threads: {threads}\n" + more)
        self.w.start(env=env, wrap=wrap)
        self.addCleanup(self.w.close)
        self.proc = f"/proc/{self.w.server.pid}"
        for _ in range(20):
            self.get("/v1/models")
        self.base = self.memory(), self.descriptors()

    def tearDown(self):
        """It lives, it answers at once, and it has the descriptors and, but for what the allocator keeps, the memory that it had before."""
        if self.base is None:
            return
        self.assertIsNone(self.w.server.poll(), (self.w.dir / "serve.log").read_text()[-3000:])
        self.assertEqual(self.get("/v1/models")[0], 200)
        wait_for(lambda: self.descriptors() <= self.base[1] + 7, 20)        # libcurl's two for each loop that has asked the upstream; a client that just left
        wait_for(lambda: self.memory() < self.base[0] + 40, 20)

    def memory(self):
        return memory(self.w.server.pid)[0] / 1024

    def descriptors(self):
        """Without the connections that it keeps to its upstream for the next call."""
        return len(os.listdir(self.proc + "/fd")) - self.up.open

    def cpu(self):
        """Seconds of CPU so far."""
        return sum(int(x) for x in pathlib.Path(self.proc, "stat").read_text().rsplit(")", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=10)
        c.request("GET", path)
        r = c.getresponse()
        text = r.read()
        c.close()
        return r.status, text

    def ask(self, api="openai", stream=False, text="x", timeout=20, model="m"):
        """(status, what came, the connection ended as it should, fields); status 0: nothing came of it."""
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=timeout)
        got, whole, fields, status = b"", True, {}, 0
        try:
            c.request("POST", PATHS[api], json.dumps(body_of(api, stream, text, model)), {"Content-Type": "application/json"})
            r = c.getresponse()
            status, fields = r.status, dict(r.headers.items())
            while piece := r.read1(65536):
                got += piece
        except (http.client.HTTPException, OSError):
            whole = False
        c.close()
        return status, got, whole, fields

    def log(self, word):
        """How often hearth has said so."""
        return (self.w.dir / "serve.log").read_text().count(word)

    def renew(self):
        """The configuration again, so that the breaker begins anew."""
        n = self.log("config_loaded")
        self.w.server.send_signal(signal.SIGHUP)
        wait_for(lambda: self.log("config_loaded") > n, 10)
        self.get("/v1/models")

    def outcomes(self, n):
        """Of the `n` newest calls, when their rows are there: (kind, outcome) of each call's rows."""
        def rows():
            calls = {}
            for r in self.w.rows():
                calls.setdefault(r["call_id"], []).append((r["kind"], r.get("outcome")))
            return calls if len(calls) >= n else None
        return list(wait_for(rows, 15).values())[:n]

    def check(self, ok):
        """Each answer that came whole is on record, once, and the chain is sound."""
        ends = [r["call_id"] for r in self.w.rows("--outcome", "ok")]
        self.assertEqual([c for c in ok if ends.count(c) != 1], [])
        self.w.verify()

    def until_unrecorded(self, times):
        """So many calls to a ledger that soon cannot be written: those that were answered; the others were refused for that, more than 20 of them."""
        ok, refused = [], 0
        for _ in range(times):
            status, got, _, fields = self.ask()
            self.assertIn(status, (200, 503))
            if status == 200:
                ok.append(fields["x-hearth-call"])
                continue
            refused += 1
            self.assertEqual(json.loads(got)["error"]["code"], "ledger_unavailable")
        self.assertGreater(refused, 20)
        return ok

    def served(self):
        return self.ask(timeout=10)[0] == 200


class Load:
    """Clients that call until told to stop; `ok` holds the ids of the answers that came whole, `bad` all else."""

    def __init__(self, test, n=6, stream=False, pause=0.0):
        self.test, self.stream, self.pause, self.over, self.ok, self.bad, self.lock = test, stream, pause, False, [], [], threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(i,), daemon=True) for i in range(n)]
        for t in self.threads:
            t.start()

    def work(self, i):
        while not self.over:
            stream = self.stream and i % 2 == 0
            status, got, ended, fields = self.test.ask(stream=stream, timeout=60)
            whole = status == 200 and ended and (not stream or ENDS["openai"] in got)
            with self.lock:
                self.ok.append(fields["x-hearth-call"]) if whole else self.bad.append((status, got[-300:]))
            time.sleep(self.pause)

    def end(self):
        self.over = True
        for t in self.threads:
            t.join(90)
        return self.ok, self.bad
