"""Everything at once, from one seed: upstreams that stall, reset at some byte, send garbage, drip and fail in bursts; clients of four APIs that leave at
some moment; configurations that change; a hearth that is killed. What each client saw is held against the ledger.

    test_chaos.py HEARTH [--scenarios N] [--seconds S]        SEED=… repeats one
"""
import argparse, http.client, json, os, random, signal, socket, struct, threading, time

from faulty import ENDS, PATHS, body_of
from scripted import Raw, event, whole
from world import World, free_port, wait_for

SEED = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
HABITS = ("fine", "slow", "drip", "cut", "reset", "stall", "status", "garbage", "html", "lie", "gone")
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def framed(body, kind=b"application/json", status=200, more=b""):
    return b"HTTP/1.1 %d X\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, kind, more, len(body), body)


def good(stream):
    if not stream:
        return framed(whole())
    events = [event({"role": "assistant", "content": ""}), *(event({"content": w}) for w in ("all ", "of ", "it")), event({}, "stop"), b"data: [DONE]\n\n"]
    return STREAM + b"".join(b"%x\r\n%s\r\n" % (len(e), e) for e in events) + b"0\r\n\r\n"


class Chaos:
    """One scenario: which habits its upstream has, how often, and what else happens."""

    def __init__(self, w, up, seed, seconds, kills):
        self.w, self.up, self.rng, self.over = w, up, random.Random(seed), False
        self.lock, self.calls, self.kills = threading.Lock(), [], 0
        self.habits = self.rng.sample(HABITS[1:], self.rng.randrange(1, len(HABITS)))
        self.rate, self.leave = self.rng.choice((0.1, 0.3, 0.6)), self.rng.choice((0, 0.1, 0.4))
        self.may_kill, self.seconds = kills and self.rng.random() < 0.7, seconds
        self.seed = seed

    # ---- the upstream ----

    def script(self, conn, body):
        with self.lock:
            rng = random.Random(self.rng.random())
        habit = rng.choice(self.habits) if rng.random() < self.rate else "fine"
        data = good(body.get("stream"))
        if habit == "status":
            status = rng.choice((500, 503, 429, 400, 404, 529))
            data = framed(b'{"error":{"message":"scripted","type":"t","code":null}}', status=status, more=rng.choice((b"", b"retry-after: 0\r\n", b"retry-after: 1\r\n")))
        elif habit == "html":
            data = framed(b"<html>busy</html>", b"text/html")
        elif habit == "lie":
            data = framed(b'{"choices":[') if not body.get("stream") else STREAM + b"f\r\ndata: {\"choices\r\n0\r\n\r\n"
        elif habit == "garbage":
            data = bytearray(data)
            for _ in range(rng.randrange(1, 40)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        if habit == "gone":
            return False
        if habit == "slow":
            time.sleep(rng.uniform(0, 0.6))
        if habit in ("cut", "reset", "stall"):
            data = data[:rng.randrange(len(data))]
        step = rng.randrange(1, 120) if habit == "drip" else len(data) or 1
        for at in range(0, len(data), step):
            conn.sendall(data[at:at + step])
            if habit == "drip":
                time.sleep(0.005)
        if habit == "stall":
            conn.settimeout(3)
            self.up.wait_closed(conn)
        if habit == "reset":
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return habit in ("fine", "slow", "drip", "status", "html", "lie")

    # ---- clients ----

    def one(self, rng):
        api, stream = rng.choice(list(PATHS)), rng.random() < 0.5
        leaves = rng.uniform(0, 0.3) if rng.random() < self.leave else None
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=leaves or 60)
        call, got, seen, status = None, b"", "broken", 0
        try:
            c.request("POST", PATHS[api], json.dumps(body_of(api, stream, "x", rng.choice(("plain", "tried-again", "few")))), {"Content-Type": "application/json"})
            r = c.getresponse()
            call, status = r.headers["x-hearth-call"], r.status
            until = time.monotonic() + leaves if leaves else None
            while piece := r.read1(65536):
                got += piece
                if until and time.monotonic() > until:
                    seen = "left"
                    break
            else:
                seen = "whole" if status == 200 and (ENDS[api] in got if stream else b"hello" in got) else "error"
        except TimeoutError:
            seen = "left"
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
        if rng.random() < 0.5 and c.sock:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
        with self.lock:
            self.calls.append((call, seen, status, api, stream, got[-200:]))

    def client(self, i):
        rng = random.Random(self.seed * 1000 + i)
        while not self.over:
            self.one(rng)

    # ---- what else happens ----

    def trouble(self):
        what = self.rng.choice(("nothing", "reload", "reload", "kill"))
        if what == "reload":
            self.w.config.write_text(self.w.config.read_text().split("# again")[0] + f"# again {self.rng.random()}\n")
            self.w.server.send_signal(signal.SIGHUP)
        elif what == "kill" and self.may_kill:
            self.w.server.kill()
            self.w.server.wait()
            self.kills += 1
            self.w.start()

    def run(self):
        self.up.script = self.script
        threads = [threading.Thread(target=self.client, args=(i,), daemon=True) for i in range(12)]
        [t.start() for t in threads]
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            time.sleep(self.rng.uniform(0.1, 1))
            assert self.w.server.poll() is None, (self.w.dir / "serve.log").read_text()[-3000:]
            self.trouble()
        self.over = True
        [t.join(90) for t in threads]


def check(w, s, killed):
    """The scenario's calls against the rows, when all that runs has ended."""
    wait_for(lambda: b"hearth_calls_running 0\n" in metrics(w), 30)
    rows = {}
    for r in w.rows("--all"):
        if r["kind"] in ("intent", "end"):
            rows.setdefault(r["call_id"], []).append(r)
    verdict = w.verify()
    for call, seen, status, api, stream, got in s.calls:
        what = f"seed {s.seed}: call {call} of {api}, stream {stream}: {seen} {status} {got!r}"
        if not call:
            assert seen not in ("whole", "error"), what
            continue
        mine = rows.get(call, [])
        ends = [r for r in mine if r["kind"] == "end"]
        ok = sum(r["outcome"] == "ok" for r in ends)
        what += f" {[(r['kind'], r['attempt'], r.get('outcome')) for r in mine]}"
        assert len({r["attempt"] for r in ends}) == len(ends) and ok <= 1, what
        if seen == "whole":
            assert ok == 1, what
        if seen == "error":
            assert ok == 0 and ends, what
        if not s.kills:
            assert {r["attempt"] for r in mine if r["kind"] == "intent"} <= {r["attempt"] for r in ends}, what
    assert verdict["cut"] == 0 or killed, verdict
    return verdict


def metrics(w):
    c = http.client.HTTPConnection("127.0.0.1", w.port, timeout=10)
    c.request("GET", "/metrics")
    return c.getresponse().read()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("hearth")
    p.add_argument("--scenarios", type=int, default=5)
    p.add_argument("--seconds", type=float, default=3)
    a = p.parse_args()
    print(f"seed {SEED}", flush=True)
    up = Raw(None)
    provider = f"{{ api: openai, url: http://127.0.0.1:{up.port}/v1, zone: machine, first_byte: 1s, gap: 1s }}"
    w = World({"providers": f"  up: {provider}\n  other: {provider}\n  nobody: {{ api: openai, url: http://127.0.0.1:{free_port()}/v1, zone: machine }}",
               "models": "  plain: { provider: up, id: x, retries: 0 }\n  tried-again: { provider: nobody, id: x, retries: 3, fallback: spare }\n  spare: { provider: other, id: x, fallback: plain }\n"
                         "  few: { provider: up, id: x, concurrency: 2, queue: 4, queue_time: 1s, retries: 1 }"})
    w.config.write_text(w.config.read_text().replace("default: tiny", "default: plain"))
    w.start()
    try:
        killed, answered = 0, 0
        for i in range(a.scenarios):
            s = Chaos(w, up, SEED + i, a.seconds, kills=i > 0)
            s.run()
            killed += s.kills
            v = check(w, s, killed)
            n = {k: sum(c[1] == k for c in s.calls) for k in ("whole", "error", "broken", "left")}
            print(f"measured: seed {s.seed}: {n} of {len(s.calls)} calls, {s.kills} kills, {', '.join(s.habits)} at {s.rate}; {v['rows']} rows, {v['cut']} cut, chain sound", flush=True)
            answered += n["whole"]
        assert answered > 50
    finally:
        w.close()


main()
