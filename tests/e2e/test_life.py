"""Kills, reloads and stops: what a client was told is complete is on record exactly once.

    test_life.py HEARTH [--kills N] [--engine-kills N]
"""
import argparse, http.client, json, os, random, signal, sys, threading, time

from world import World, wait_for

SEED = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
BODY = {"model": "tiny", "messages": [{"role": "user", "content": "Name a colour and say why you like it."}], "max_tokens": 24}


class Clients:
    """32 threads that ask until told to stop; `complete` holds the ids of the answers that came whole."""

    def __init__(self, w, n=32):
        self.w, self.over, self.complete, self.errors, self.lock = w, False, [], 0, threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(i,), daemon=True) for i in range(n)]
        for t in self.threads:
            t.start()

    def work(self, i):
        rng = random.Random(SEED * 100 + i)
        while not self.over:
            try:
                self.ask(rng.random() < 0.6, rng)
                continue
            except (OSError, http.client.HTTPException, ValueError):
                pass
            with self.lock:
                self.errors += 1
            time.sleep(0.05)

    def ask(self, stream, rng):
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=60)
        body = dict(BODY, stream=stream, seed=rng.randrange(1 << 30), max_tokens=rng.randrange(2, 24))
        c.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        r = c.getresponse()
        data = r.read()
        call = r.headers["x-hearth-call"]
        finish = any(json.loads(e[6:])["choices"][:1] and json.loads(e[6:])["choices"][0]["finish_reason"]
                     for e in data.split(b"\n\n") if e.startswith(b"data: {") and b'"choices"' in e) if stream else None
        whole = r.status == 200 and bool(finish if stream else json.loads(data)["choices"][0]["finish_reason"])
        with self.lock:
            if whole:
                self.complete.append(call)
        c.close()
        if not whole:
            raise ValueError("not a whole answer")

    def stop(self):
        self.over = True
        for t in self.threads:
            t.join(90)


def check(w, clients, what):
    ends = [r["call_id"] for r in w.rows("--outcome", "ok")]
    missing = [c for c in clients.complete if ends.count(c) != 1]
    assert not missing, f"{what}: {len(missing)} answers were received whole and are not on record exactly once: {missing[:3]}"
    v = w.verify()
    print(f"measured: {what}: {len(clients.complete)} whole answers, each on record once; {v['rows']} rows, {v['cut']} cut, chain sound")
    return v


def kill_hearth(w, times, rng):
    clients = Clients(w)
    for _ in range(times):
        if rng.random() < 0.7:          # while answers come; else while it starts
            had = len(clients.complete)
            wait_for(lambda: len(clients.complete) > had)
        time.sleep(rng.uniform(0.05, 1.5))
        os.kill(w.server.pid, signal.SIGKILL)
        w.server.wait()
        w.start()
    time.sleep(3)
    clients.stop()
    v = check(w, clients, f"{times} kills of hearth under 32 clients")
    assert clients.complete and v["cut"] > 0


def kill_engine(w, times, rng):
    clients = Clients(w)
    for _ in range(times):
        if rng.random() < 0.8:          # while answers come; else while it loads, or just after
            had = len(clients.complete)
            wait_for(lambda: len(clients.complete) > had)
        wait_for(w.engines, 60)
        time.sleep(rng.uniform(0, 1))
        for pid in w.engines():
            os.kill(pid, signal.SIGKILL)
    time.sleep(5)
    clients.stop()
    check(w, clients, f"{times} kills of the engine under 32 clients")
    assert len(clients.complete) > times / 2 and clients.errors


def reload(w):
    def models():
        c = http.client.HTTPConnection("127.0.0.1", w.port, timeout=5)
        c.request("GET", "/v1/models")
        return [m["id"] for m in json.loads(c.getresponse().read())["data"]]
    good = w.config.read_text()
    w.config.write_text(good.replace("default: tiny", "default: tiny\nlisen: x"))
    w.server.send_signal(signal.SIGHUP)
    wait_for(lambda: "did you mean listen?" in (w.dir / "serve.log").read_text(), 5)
    assert models() == ["tiny"]
    w.config.write_text(good.replace("models:\n", "models:\n  other: { provider: gone }\n", 1).replace("providers:\n", "providers:\n  gone: { api: openai, url: http://127.0.0.1:9/v1 }\n", 1))
    w.server.send_signal(signal.SIGHUP)
    wait_for(lambda: "other" in models(), 5)
    w.config.write_text(good)
    print("measured: a wrong file kept the old configuration, a right one came into force without a restart")


def drain(w):
    clients = Clients(w, 8)
    time.sleep(2)
    assert w.stop() == 0
    clients.stop()
    v = check(w, clients, "SIGTERM under 8 clients")
    out = w.hearth("run", "--max-tokens", "4", "Hello")
    assert out.returncode == 0 and out.stdout.strip(), out.stderr
    assert len(w.rows("--outcome", "ok")) > len(clients.complete)
    print("measured: without a serve, run answers by itself and is on record")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("hearth")
    p.add_argument("--kills", type=int, default=4)
    p.add_argument("--engine-kills", type=int, default=3)
    a = p.parse_args()
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    w = World().start()
    try:
        reload(w)
        kill_hearth(w, a.kills, rng)
        kill_engine(w, a.engine_kills, rng)
        drain(w)
    finally:
        w.close()


main()
