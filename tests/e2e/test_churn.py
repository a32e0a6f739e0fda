"""Short calls by the thousand, cancelled at any moment, while models are swapped: afterwards every sequence is free, every page of the KV cache is accounted
for, memory and descriptors are as they were, and what was answered whole is on record once.

    test_churn.py HEARTH [--calls N]

Two engines of tiny models: `each` has a room for each call, `pool` one room for all that is too small for what comes, so that calls are put off. A third, `swap`,
has now this file and now that one.
"""
import argparse, collections, http.client, json, os, pathlib, random, signal, socket, subprocess, sys, threading, time

from world import HEARTH, World, memory, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
CLIENTS, KEYS = 8, 3
KEPT_MIB = {"each": 8, "pool": 2, "swap": 8}
HEADS = ["You are one who answers in a word, as they do it at this place. " * n for n in (1, 2, 3)]
BOUND = [{"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"enum": ["the", "of"]}}, "required": ["a"]}}}},
         {"guided_regex": "(the|of|and){1,3}"}, {"guided_choice": ["the one", "the other"]}, {"grammar": 'root ::= "a" root | "b"'}]


def make_model(path, seed):
    made = subprocess.run([sys.executable, ROOT / "tools/make-tiny-gguf", path, "--seed", str(seed)], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr


class Left(Exception):
    """The client has left, as it meant to."""


class Churn:
    def __init__(self):
        self.w = World()
        self.lock, self.done, self.whole, self.counts = threading.Lock(), 0, {}, collections.Counter()
        for seed in (1, 2):
            make_model(self.w.dir / f"m{seed}.gguf", seed)
        engine = pathlib.Path(HEARTH).parent.parent / "libexec/hearth/hearth-engine"
        program = self.w.dir / "engine"
        program.write_text(f'#!/bin/sh\ncase "$*" in *"--name pool"*) exec {engine} "$@" --kv-tokens 800 --kv-memory {KEPT_MIB["pool"]};; esac\n'
                           f'exec {engine} "$@" --kv-memory {KEPT_MIB["each"]}\n')
        program.chmod(0o700)
        self.write(1)
        self.keys = [self.w.hearth("key", "add", f"caller{i}").stdout.strip() for i in range(KEYS)]
        self.w.start()

    def write(self, swap):
        """The configuration, in which `swap` has this file."""
        d = self.w.dir
        model = "{ provider: here, slots: 4, context: 320, threads: 1, retries: 2, file: "
        self.w.config.write_text(f"""
listen: 127.0.0.1:{self.w.port}
ledger: {{ path: hearth.db }}
engine: {{ program: {d}/engine, run_dir: {d}/run, log_dir: {d}/log, digests: {d}/digests }}
keys: {{ required: true }}
guard: {{ cloud: off }}
providers:
  here: {{ api: embedded }}
models:
  each: {model}{d}/m1.gguf }}
  pool: {model}{d}/m2.gguf }}
  swap: {model}{d}/m{swap}.gguf }}
default: each
""")

    # ---- one call ----

    def body(self, rng):
        messages = [{"role": "system", "content": rng.choice(HEADS)}] if rng.random() < 0.7 else []
        messages.append({"role": "user", "content": " ".join(rng.choice(("the", "of", "and", "to", "in", "is", "you")) for _ in range(rng.choice((2, 5, 20, 60))))})
        body = {"model": rng.choice(("each", "pool", "pool", "swap")), "messages": messages, "max_tokens": rng.choice((1, 2, 4, 8, 24)), "seed": rng.randrange(1 << 30),
                "stream": rng.random() < 0.6, "temperature": rng.choice((0, 0.7, 1.5))}
        dice = rng.random()
        if dice < 0.06:
            body |= rng.choice(BOUND)
        elif dice < 0.10:
            body["deterministic"] = True
        elif dice < 0.14:
            body["n"] = rng.randrange(2, 4)
        elif dice < 0.17:
            body |= {"logprobs": True, "top_logprobs": 2}
        elif dice < 0.20:
            body["stop"] = ["e", "the"]
        elif dice < 0.22:
            body["messages"] += [{"role": "user", "content": "too long " * 400}]
        return body

    def call(self, rng):
        """One call over a connection of its own: read to its end, or left at some moment."""
        embeds = rng.random() < 0.05
        body = {"model": rng.choice(("each", "pool")), "input": ["the one", "of two"]} if embeds else self.body(rng)
        fields = {"Content-Type": "application/json", "Authorization": "Bearer " + rng.choice(self.keys)}
        if rng.random() < 0.2:
            fields["x-hearth-priority"] = "batch"
        leaves = rng.choice((None, None, None, "at once", "soon", "in the middle"))
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=120)
        try:
            c.request("POST", "/v1/embeddings" if embeds else "/v1/chat/completions", json.dumps(body), fields)
            if leaves == "at once":
                raise Left
            if leaves == "soon":
                time.sleep(rng.random() * 0.03)
                raise Left
            r = c.getresponse()
            if leaves == "in the middle":
                r.read1(rng.randrange(1, 600))
                raise Left
            data, call = r.read(), r.headers["x-hearth-call"]
            whole = r.status == 200 and (data.endswith(b"data: [DONE]\n\n") if body.get("stream") else True)
            self.note("whole" if whole else f"status {r.status}", call if whole else None, data)
        except Left:
            if leaves != "in the middle" and rng.random() < 0.5:        # with a reset in place of an end
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.note("left " + leaves)
        except (OSError, http.client.HTTPException) as e:
            self.note(f"failed: {type(e).__name__}")
        finally:
            c.close()

    def note(self, what, call=None, data=b""):
        with self.lock:
            self.counts[what] += 1
            if call:
                self.whole[call] = 1
            elif what.startswith("status") and b"context" not in data and b"being loaded" not in data:
                self.counts[what + ", unexpected"] += 1
                print(what, data[:300], flush=True)

    # ---- many ----

    def work(self, i, until):
        rng = random.Random(f"{SEED} {i} {until}")
        while True:
            with self.lock:
                if self.done >= until:
                    return
                self.done += 1
            self.call(rng)

    def swap(self, file):
        self.write(file)
        n = (self.w.dir / "serve.log").read_text().count("config_loaded")
        self.w.server.send_signal(signal.SIGHUP)
        wait_for(lambda: (self.w.dir / "serve.log").read_text().count("config_loaded") > n, 60)

    def run(self, calls, swaps):
        """So many calls, and so many times another file behind `swap` meanwhile."""
        first, until = self.done, self.done + calls
        threads = [threading.Thread(target=self.work, args=(i, until), daemon=True) for i in range(CLIENTS)]
        [t.start() for t in threads]
        for i in range(swaps):
            wait_for(lambda: self.done >= first + calls * (i + 1) // (swaps + 1), 3600)
            self.swap(2 - i % 2)
        [t.join() for t in threads]

    # ---- what is left ----

    def engine_pids(self):
        """By model: pid of each running engine."""
        found = {}
        for pid in subprocess.run(["pgrep", "-P", str(self.w.server.pid)], capture_output=True, text=True).stdout.split():
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"--name" in words:
                found.setdefault(words[words.index(b"--name") + 1].decode(), []).append(int(pid))
        return found

    def health(self):
        """What each engine says of itself, by model."""
        found = {}
        for path in (self.w.dir / "run").glob("*.sock"):
            c = http.client.HTTPConnection("localhost", timeout=30)
            c.sock = socket.socket(socket.AF_UNIX)
            try:
                c.sock.connect(str(path))
                c.request("GET", "/props")
                name = json.loads(c.getresponse().read())["id"]
                c.request("GET", "/health")
                found[name] = json.loads(c.getresponse().read())
            except OSError:
                continue                # of one that has ended
            finally:
                c.close()
        return found

    def quiet(self):
        """Waits until all have come to rest, and says how: {model: (health, KiB, descriptors)}; and the gateway's."""
        def rest():
            pids, health = self.engine_pids(), self.health()
            if set(pids) != set(health) or any(len(p) != 1 for p in pids.values()) or any(h.get("busy", 1) or h["waiting"] or h["idle"]["open"] for h in health.values()):
                return None
            return {m: (health[m], *memory(pids[m][0])) for m in pids}
        return wait_for(rest, 120), memory(self.w.server.pid)

    def check_caches(self, engines):
        for model, (h, _, _) in engines.items():
            idle = h["idle"]
            assert idle["open"] == 0 and idle["astray"] == 0, f"{model}: sequences that are neither free nor kept: {idle}"
            assert idle["kept"] <= h["kept"] <= 512 and h["kept_bytes"] <= KEPT_MIB[model] << 20, f"{model}: more is kept than may be: {h}"
            assert idle["lost"] == 0, f"{model}: pages that are nobody's: {idle}"
            assert (idle["room"] > 0) == (model == "pool") and idle["left"] <= idle["room"], f"{model}: {idle}"
            if not idle["kept"]:
                assert idle["left"] == idle["room"], f"{model}: nothing is kept, and something is taken: {idle}"

    def check_record(self):
        on_record = collections.Counter(r["call_id"] for r in self.w.rows("--outcome", "ok"))
        missing = [c for c in self.whole if on_record[c] != 1]
        assert not missing, f"{len(missing)} answers came whole and are not on record once: {missing[:3]}"
        return self.w.verify()


def check_memory(what, before, after, allowed_kib, fds):
    assert after[0] <= before[0] + allowed_kib, f"{what}: {before[0]} KiB after the first calls, {after[0]} at the end"
    assert after[1] <= before[1] + fds, f"{what}: {before[1]} descriptors after the first calls, {after[1]} at the end"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("hearth")
    p.add_argument("--calls", type=int, default=2000)
    a = p.parse_args()
    print(f"seed {SEED}", flush=True)
    c = Churn()
    try:
        begin = time.monotonic()
        warm = a.calls // 2
        c.run(warm, 2)
        engines, gate = c.quiet()
        c.check_caches(engines)
        c.run(a.calls - warm, 2 if a.calls < 10000 else 12)
        took = time.monotonic() - begin
        after, gate_after = c.quiet()
        c.check_caches(after)
        check_memory("the gateway", gate, gate_after, 4 << 10, 2 * CLIENTS)
        for m in ("each", "pool"):      # `swap` is another process by now
            (h, kib, fds), (h2, kib2, fds2) = engines[m], after[m]
            check_memory(m, (kib, fds), (kib2, fds2), (3 << 10) + max(0, h2["kept_bytes"] - h["kept_bytes"]) // 1024, 2 * CLIENTS)
            print(f"measured: {m}: {kib / 1024:.1f} MiB and {fds} descriptors after {warm} calls, {kib2 / 1024:.1f} and {fds2} after {a.calls}; {h2['tokens']} tokens made, "
                  f"{h2['prompt_tokens_reused']} of prompts reused, {h2['preempted']} times put off; KV {h2['idle']}")
        v = c.check_record()
        print(f"measured: the gateway: {gate[0] / 1024:.1f} MiB and {gate[1]} descriptors, {gate_after[0] / 1024:.1f} and {gate_after[1]} at the end")
        print(f"measured: {a.calls} calls in {took:.1f} s: {dict(sorted(c.counts.items()))}; {len(c.whole)} whole answers on record once each, {v['rows']} rows verified")
        assert after["pool"][0]["preempted"] > 0, "the shared room was never too small"
        assert len(c.whole) > a.calls / 4 and sum(n for what, n in c.counts.items() if what.startswith("left")) > a.calls / 4
        assert not [what for what in c.counts if "unexpected" in what], c.counts
    finally:
        c.w.close()


if __name__ == "__main__":
    main()
