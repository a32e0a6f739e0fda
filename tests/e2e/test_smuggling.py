"""What reaches an upstream is what a strict parser reads of the client's bytes: as many requests, and the same ones.

    test_smuggling.py HEARTH [--generated N]

Every input of the fuzz corpora (whole requests, chunked bodies, JSON) and seeded variants of heads that two parsers could read differently are sent
to a hearth before a recording upstream, each with a second request behind it. The oracle is h11 for HTTP and Python's json, made strict, for bodies.
hearth may be stricter than the oracle, never more lenient: what the oracle refuses is answered with 4xx or 5xx and the end of the connection, and
nothing of it goes upstream."""
import argparse, json, os, pathlib, random, re, socket, threading, time

import h11
from scripted import event, whole
from world import World

CORPUS = pathlib.Path(__file__).resolve().parents[2] / "fuzz/corpus"
SEED = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
CALLS = {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/api/chat", "/api/generate"}
OURS = {"host", "user-agent", "content-type", "accept", "content-length"}       # the fields of a request that hearth makes, and no other


# ---- the oracle ----

def read_one(data):
    """The first request of these bytes: (method, target, body, stays open, rest), None where more is needed; h11's exception where it is none."""
    c = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 22)
    c.receive_data(data)
    head, body = None, b""
    while True:
        e = c.next_event()
        if e is h11.NEED_DATA:
            return None
        if isinstance(e, h11.Request):
            head = e
        elif isinstance(e, h11.Data):
            body += bytes(e.data)
        elif isinstance(e, h11.EndOfMessage):
            break
        else:
            raise h11.RemoteProtocolError(f"unexpected {e}")
    tokens = {t.strip().lower() for k, v in head.headers if k == b"connection" for t in v.split(b",")}
    stays = b"close" not in tokens and (head.http_version == b"1.1" or b"keep-alive" in tokens) and head.method != b"CONNECT"
    return head.method, head.target.decode("latin-1"), body, stays, c.trailing_data[0]


def read_all(data):
    """(requests, how it ends): done, more is needed, refused, closed."""
    requests = []
    while data:
        try:
            one = read_one(data)
        except h11.RemoteProtocolError:
            return requests, "refused"
        if one is None:
            return requests, "needs more"
        requests.append(one[:3])
        data = one[4]
        if not one[3]:
            return requests, "closed"
    return requests, "done"


def strict_json(data):
    """The value, or ValueError."""
    def pairs(items):
        if len({k for k, _ in items}) != len(items):
            raise ValueError("a key twice")
        return dict(items)

    def constant(word):
        raise ValueError(word)
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError:
        raise ValueError("too deep") from None


# ---- the upstream ----

class Upstream:
    """Reads as strictly as the oracle, keeps every request that it was sent, and everything that was none."""

    def __init__(self):
        self.requests, self.wrong, self.lock = [], [], threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            s, _ = self.listener.accept()
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        data = b""
        try:
            while got := s.recv(1 << 16):
                data += got
                while data and (one := read_one(data)):
                    data = self.answer(s, data, one)
        except h11.RemoteProtocolError as e:
            with self.lock:
                self.wrong.append((str(e), data))
        except OSError:
            pass
        if data:
            with self.lock:
                self.wrong.append(("bytes that are no whole request", data))
        s.close()

    def answer(self, s, data, one):
        method, target, body, _, rest = one
        raw = data[:len(data) - len(rest)]
        with self.lock:
            self.requests.append((method, target, body, raw))
        if b"\r\nAccept: text/event-stream\r\n" in raw:
            text = event({"role": "assistant", "content": "x"}) + event({}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}) + b"data: [DONE]\n\n"
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(text), text))
        else:
            text = json.dumps({"object": "text_completion", "choices": [{"index": 0, "text": "x", "finish_reason": "stop"}], "model": "m", "id": "i", "created": 1}).encode() if target.endswith("/completions") and "chat" not in target else whole()
            s.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        return rest


# ---- hearth's answers ----

class Answers:
    """Final replies of one connection, in order, as their statuses."""

    def __init__(self, s, methods):
        self.s, self.methods, self.data, self.statuses, self.closed = s, methods, b"", [], False

    def more(self):
        try:
            got = self.s.recv(1 << 16)
        except OSError:
            got = b""
        self.closed |= not got
        self.data += got
        return bool(got)

    def next(self):
        """False: the connection has ended."""
        while b"\r\n\r\n" not in self.data:
            if not self.more():
                assert not self.data, f"a reply without an end: {self.data[:200]}"
                return False
        head, self.data = self.data.split(b"\r\n\r\n", 1)
        status = int(head.split(b" ", 2)[1])
        if status < 200:
            return True
        fields = {k.lower(): v.strip() for k, v in (line.split(b":", 1) for line in head.split(b"\r\n")[1:])}
        n = len(self.statuses)
        if n < len(self.methods) and self.methods[n] == b"HEAD" and not self.data.startswith(b"{"):
            pass                        # a head that could not be read was not known to be of a HEAD: its refusal has a body
        elif b"transfer-encoding" in fields:
            while True:
                while b"\r\n" not in self.data:
                    assert self.more(), "a reply without an end"
                size, self.data = self.data.split(b"\r\n", 1)
                while len(self.data) < int(size, 16) + 2:
                    assert self.more(), "a reply without an end"
                self.data = self.data[int(size, 16) + 2:]
                if not int(size, 16):
                    break
        else:
            while len(self.data) < int(fields[b"content-length"]):
                if not self.more():
                    break               # a refusal whose end was lost with the connection
            self.data = self.data[int(fields[b"content-length"]):]
        self.statuses.append(status)
        return True


def only_loads(path, body):
    """Ollama's way to have a model loaded: a request that asks nothing. Nobody need be asked for it."""
    if not path.startswith("/api/"):
        return False
    asks = json.loads(body).get("messages" if path == "/api/chat" else "prompt")
    return not asks


class Differential:
    def __init__(self):
        self.up = Upstream()
        self.w = World({"providers": f"  up: {{ api: openai, url: http://127.0.0.1:{self.up.port}/v1, zone: machine }}", "models": "  m: { provider: up, id: m, retries: 0 }"})
        self.w.config.write_text(self.w.config.read_text().replace("default: tiny", "default: m") + 'aliases: { "*": m }\nlimits: { head_time: 5s, body_time: 5s, idle_time: 5s }\n')
        self.w.start()
        self.host = b"127.0.0.1:%d" % self.w.port
        self.cases = self.passed = self.loads = self.calls = self.refused = self.stricter = 0

    def exchange(self, data, requests, end, rng):
        with socket.create_connection(("127.0.0.1", self.w.port), timeout=10) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            cuts = [0, *sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 0, 1, 3)))), len(data)]
            answers = Answers(s, [r[0] for r in requests])
            try:
                for a, b in zip(cuts, cuts[1:]):
                    if a and a != b:
                        time.sleep(0.002)
                    s.sendall(data[a:b])
            except OSError:
                pass                    # refused before all of it was sent
            while len(answers.statuses) < len(requests) + (end == "refused") and answers.next():
                pass
            try:
                s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            while answers.next():       # nothing that was not asked for
                pass
            return answers.statuses

    def check(self, name, data, rng):
        """One connection: what came back and what went upstream, against the oracle."""
        requests, end = read_all(data)
        before = len(self.up.requests)
        statuses = self.exchange(data, requests, end, rng)
        seen = self.up.requests[before:]

        def need(ok, what):
            assert ok, f"{name}: {what}\n  bytes     {data!r}\n  oracle    {requests} {end}\n  statuses  {statuses}\n  upstream  {seen} {self.up.wrong}"
        need(not self.up.wrong, "the upstream was sent what is no request")
        need(len(statuses) <= len(requests) + 1, "more answers than requests")
        if len(statuses) == len(requests) + 1:
            need(statuses[-1] >= 400, "an answer to what the oracle refuses or waits for")
        if end == "refused":
            need(len(statuses) > len(requests) or statuses and statuses[-1] >= 400, "what is refused is answered")
        left = list(seen)
        for (method, target, body), status in zip(requests, statuses):
            if method != b"POST" or target.split("?")[0] not in CALLS or status != 200:
                need(status == 200 or status >= 400, "a status that none of this has")
                continue
            if only_loads(target.split("?")[0], body):
                self.loads += 1
                continue
            need(left, "a call was answered and nobody was asked")
            self.same(need, target.split("?")[0], body, left.pop(0))
            self.calls += 1
        need(not left, "the upstream was asked for what was not answered as a call")
        self.cases += 1
        self.passed += len(statuses) and statuses[-1] == 200
        self.refused += end == "refused"
        self.stricter += len(statuses) <= len(requests) and bool(statuses) and statuses[-1] in (400, 501, 505) and end != "refused"

    def same(self, need, path, body, asked):
        method, target, sent, raw = asked
        head = raw.split(b"\r\n\r\n")[0].split(b"\r\n")
        need((method, head[0].count(b" ")) == (b"POST", 2), "the request line upstream")
        names = [line.split(b":")[0].decode().lower() for line in head[1:]]
        need(len(set(names)) == len(names) and set(names) == OURS, f"fields upstream: {names}")
        try:
            mine, theirs = strict_json(body), strict_json(sent)
        except ValueError as e:
            need(False, f"JSON that a strict parser refuses: {e}")
        if path not in ("/v1/chat/completions", "/v1/completions"):
            return                      # translated: that it is whole and one is all that can be said
        for k in [k for k in mine if k.startswith("hearth")]:
            del mine[k]
        mine["model"] = "m"
        if mine.get("stream"):
            mine["stream_options"] = {**(mine.get("stream_options") or {}), "include_usage": True}
        need(mine == theirs, "another request upstream")
        need(target == "/v1" + path[3:], "another path upstream")


# ---- inputs ----

BODY = b'{"model":"m","messages":[{"role":"user","content":"one"}]}'
SECOND = b'{"model":"m","messages":[{"role":"user","content":"two"}]}'


def post(host, body, path=b"/v1/chat/completions", extra=b""):
    return b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s" % (path, host, extra, len(body), body)


def chunked(host, data, path=b"/v1/chat/completions"):
    return b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%s" % (path, host, data)


def in_chunks(body, rng):
    out, at = b"", 0
    while at < len(body):
        n = rng.randrange(1, len(body) - at + 1)
        out += b"%x\r\n%s\r\n" % (n, body[at:at + n])
        at += n
    return out + b"0\r\n\r\n"


def corpus(host, rng):
    second = post(host, SECOND)
    files = {d: sorted((CORPUS / d).iterdir()) for d in ("http_head", "http_chunks", "json", "openai", "dialects")}
    for f in files["http_head"]:
        data = f.read_bytes()
        ours = re.sub(rb"(?im)^host:[^\r\n]*", lambda m: b"Host: " + host, data)
        for variant in {data, ours, re.sub(rb"^(\S+ )\S+", lambda m: m.group(1) + b"/v1/chat/completions", ours)}:
            yield f"http_head/{f.name}", variant + second
            yield f"http_head/{f.name} with a body", variant + BODY + second
    for f in files["http_chunks"]:
        yield f"http_chunks/{f.name}", chunked(host, f.read_bytes()) + second
    paths = (b"/v1/chat/completions", b"/v1/messages", b"/api/chat", b"/api/generate", b"/v1/responses")
    for d in ("json", "openai"):
        for f in files[d]:
            for path in (b"/v1/chat/completions", b"/v1/completions") if d == "openai" else (b"/v1/chat/completions",):
                yield f"{d}/{f.name}", post(host, f.read_bytes(), path) + second
                yield f"{d}/{f.name} in chunks", chunked(host, in_chunks(f.read_bytes(), rng), path) + second
            inside = b'{"model":"m","messages":[{"role":"user","content":"x"}],"x":%s}' % f.read_bytes()
            yield f"{d}/{f.name} inside", post(host, inside) + second
    for f in files["dialects"]:
        data = f.read_bytes()
        if data:
            yield f"dialects/{f.name}", post(host, data[1:], paths[data[0] % 5]) + second
            yield f"dialects/{f.name} in chunks", chunked(host, in_chunks(data[1:], rng), paths[data[0] % 5]) + second


LENGTHS = (b"%d", b"%d", b"+%d", b"0%d", b"%d ", b" %d", b"\t%d", b"%d, %d", b"%d,%d", b"%d;", b"0x%x", b"%d.0", b"-%d", b"", b"\x0b%d", b"%d\x0c", b"1844674407370955%d", b"%d\x00", b"99999999999999999999", b"'%d'")
CODINGS = (b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"chunked ", b"\tchunked", b"xchunked", b"chunked, chunked", b"identity", b"gzip, chunked", b"chunked;q=1", b"\x0bchunked", b"chunked\x00", b"chunked,", b",chunked", b"identity, chunked", b"")
NAMES = (b"%s", b"%s ", b"%s\t", b" %s", b"\t%s", b"X: y\r%s", b"X: y\n%s", b"X%s", b"%s\x00", b"\x00%s", b"%s:", b"X: y\r\n %s", b"\xef\xbb\xbf%s")
ENDS = (b"\r\n",) * 40 + (b"\n", b"\r", b"\r\r\n", b"\n\r")
LINES = (b"POST %s HTTP/1.1", b"POST %s HTTP/1.0", b"POST  %s HTTP/1.1", b"POST %s  HTTP/1.1", b"POST\t%s\tHTTP/1.1", b"POST %s HTTP/1.2", b"POST %s", b"POST %s HTTP/1.1 ", b" POST %s HTTP/1.1", b"GET %s HTTP/1.1", b"HEAD %s HTTP/1.1",
                                           b"POST http://evil.example%s HTTP/1.1", b"POST %s HTTP/11", b"post %s HTTP/1.1", b"POST %s\x00 HTTP/1.1", b"POST %s?a b HTTP/1.1", b"PUT %s HTTP/1.1", b"OPTIONS %s HTTP/1.1", b"POST %s HTTP/2.0")
OTHERS = (b"Connection: keep-alive", b"Connection: close", b"Connection: content-length", b"Connection: transfer-encoding", b"Expect: 100-continue", b"Expect: 200", b"Content-Encoding: gzip", b"TE: trailers", b"Trailer: content-length",
          b"Upgrade: h2c", b"X-HTTP-Method-Override: GET", b"Host: evil.example", b"Content-Type: text/plain", b"X-Forwarded-Host: evil.example", b"Proxy-Connection: close", b"Keep-Alive: 1", b": x", b"X", b"X: " + b"y" * 300)
SIZES = (b"%x", b"%X", b"0%x", b"%x;a=b", b"%x ;a", b"0x%x", b"+%x", b"-%x", b"%x\x00", b" %x", b"%x\t", b"%x,", b"%xg", b"f%x", b"0000000000000000000%x", b"%x;" + b"a" * 200, b"")
TAILS = (b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\nContent-Length: 9\r\n\r\n", b"0\n\n", b"0\r\n", b"", b"00\r\n\r\n", b"0;a\r\n\r\n", b"0\r\nX: y\n\r\n", b"0\r\n\r", b"0\r\nHTTP/1.1\r\n\r\n", b"0\r\n : x\r\n\r\n")


def fill(template, *values):
    return template % values[:template.count(b"%")] if b"%" in template else template


def generated(host, rng):
    """A head that says how long its body is in some of the ways there are, a body, and another request behind it. Most of it is in order, mostly."""
    def pick(those):
        return those[0] if rng.random() < 0.9 else rng.choice(those)
    body = BODY if rng.random() < 0.9 else BODY[:rng.randrange(len(BODY))]
    as_chunks = rng.random() < 0.5
    sent = body
    if as_chunks:
        cut = rng.randrange(1, len(body)) if rng.random() < 0.5 and len(body) > 1 else len(body)
        sent = b"".join(fill(pick(SIZES), len(part)) + pick(ENDS) + part + pick(ENDS) for part in (body[:cut], body[cut:]) if part) + pick(TAILS)
    fields = [b"Host: " + host, b"Content-Type: application/json"]
    for what in [("chunked" if as_chunks else "length")] + [rng.choice(("length", "chunked"))] * (rng.random() < 0.15):
        n = pick((len(body), len(sent), 0, 5))
        value = pick(CODINGS) if what == "chunked" else fill(pick(LENGTHS), n, n)
        fields.append(fill(pick(NAMES), pick((b"Transfer-Encoding", b"transfer-encoding", b"Transfer_Encoding") if what == "chunked" else (b"Content-Length", b"content-length", b"Content_Length"))) + b": " + value)
    fields += [rng.choice(OTHERS) for _ in range(pick((0, 1, 2)))]
    rng.shuffle(fields)
    data = fill(pick(LINES), b"/v1/chat/completions") + pick(ENDS) + b"".join(f + pick(ENDS) for f in fields) + pick(ENDS) + sent
    data += pick((post(host, SECOND), b"GET /v1/models HTTP/1.1\r\nHost: %s\r\n\r\n" % host, post(host, SECOND) * 2, b"\r\n" + post(host, SECOND), b""))
    for _ in range(pick((0, 1, 1, 2))):
        at = rng.randrange(len(data))
        how = rng.randrange(4)
        data = (data[:at] + bytes([rng.randrange(256)]) + data[at + 1:] if how == 0 else data[:at] + data[at + 1:] if how == 1 else
                data[:at] + rng.choice((b"\r", b"\n", b"\r\n", b" ", b"\x00", b"\t", b":", b",", b"0")) + data[at:] if how == 2 else data[:at] + data[at:at + 20] + data[at:])
    return data


def main():
    p = argparse.ArgumentParser()
    p.add_argument("hearth")
    p.add_argument("--generated", type=int, default=1500)
    a = p.parse_args()
    print(f"seed {SEED}", flush=True)
    rng, d = random.Random(SEED), Differential()
    try:
        for name, data in corpus(d.host, rng):
            d.check(name, data, rng)
        of_corpus, passed = d.cases, d.passed
        assert of_corpus > 30 and passed > 10, (of_corpus, passed)
        for i in range(a.generated):
            d.check(f"generated {i} of seed {SEED}", generated(d.host, rng), rng)
        rows = [r for r in d.w.rows() if r["outcome"] == "ok"]
        assert len(rows) == d.calls + d.loads, "each call is on record"
        d.w.verify()
        print(f"measured: {of_corpus} inputs of the corpora and {a.generated} generated: {d.calls} calls upstream, each as a strict parser reads it; {d.refused} refused by both, {d.stricter} by hearth alone")
        assert d.calls > a.generated / 20 and d.refused > a.generated / 10, "the generator makes both kinds"
    finally:
        d.w.close()


main()
