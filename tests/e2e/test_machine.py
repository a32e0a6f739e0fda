"""Faults of the machine: files that may not grow, a ledger that others lock, clocks that jump, memory that ends, processes that are stopped, started twice
and told to read their configuration again. Calls fail only where they cannot be recorded, nothing that was answered is lost, and it recovers by itself."""
import http.client, json, os, pathlib, resource, signal, sqlite3, struct, subprocess, sys, tempfile, threading, time, unittest

from faulty import Faulty, Load, answer
from world import HEARTH, SANITIZED, wait_for

DAY = 86400
LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute(sys.argv[2])
db.execute("SELECT count(*) FROM row").fetchone()
print("held", flush=True)
sys.stdin.read()
"""


class Machine(Faulty):
    # ---- the ledger cannot be written ----

    def test_a_file_that_may_not_grow(self):
        self.world(answer)
        ok = [self.ask()[3]["x-hearth-call"] for _ in range(5)]
        hard = resource.prlimit(self.w.server.pid, resource.RLIMIT_FSIZE)[1]
        size = os.path.getsize(self.w.dir / "hearth.db-wal")
        resource.prlimit(self.w.server.pid, resource.RLIMIT_FSIZE, (size + 30000, hard))
        ok += self.until_unrecorded(40)
        self.assertEqual((self.get("/ready")[0], self.get("/v1/models")[0]), (503, 200))
        resource.prlimit(self.w.server.pid, resource.RLIMIT_FSIZE, (hard, hard))
        wait_for(self.served, 15)
        self.check(ok)

    def holder(self, sql):
        """Another process that does this to the ledger and stays in it."""
        p = subprocess.Popen([sys.executable, "-c", LOCK, str(self.w.dir / "hearth.db"), sql], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.assertEqual(p.stdout.readline(), "held\n")
        return p

    def test_a_ledger_that_another_process_locks(self):
        self.world(answer)
        load = Load(self, 4)
        wait_for(lambda: load.ok, 10)
        p = self.holder("BEGIN IMMEDIATE")
        wait_for(lambda: load.bad, 20)
        p.communicate("")
        n = len(load.ok)
        wait_for(lambda: len(load.ok) > n + 20, 20)
        ok, bad = load.end()
        self.assertEqual({status for status, _ in bad}, {503}, bad[:3])
        self.check(ok)

    def test_a_reader_that_never_ends_stops_nobody(self):
        self.world(answer)
        p = self.holder("BEGIN")
        load = Load(self, 4)
        wait_for(lambda: len(load.ok) > 500, 60)
        ok, bad = load.end()
        self.assertEqual(bad, [])
        p.communicate("")
        self.check(ok)

    # ---- clocks ----

    def clock(self):
        d = pathlib.Path(tempfile.mkdtemp(prefix="hearth-clock-"))
        self.addCleanup(subprocess.run, ["rm", "-rf", str(d)])
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", d / "wallclock.so", pathlib.Path(__file__).with_name("wallclock.c")], check=True)
        self.offset = d / "offset"
        self.jump(0)
        before = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip() + " " if SANITIZED else ""
        return {"LD_PRELOAD": before + str(d / "wallclock.so"), "WALLCLOCK": str(self.offset)}

    def jump(self, days):
        with open(self.offset, "r+b" if self.offset.exists() else "wb") as f:
            f.write(struct.pack("q", int(days * DAY)))

    def test_a_clock_that_jumps_fails_no_call(self):
        env = self.clock()
        self.world(answer, env=env)
        load = Load(self, 4, stream=True)
        for days in (1, -1, 400, -4000, 0.5, 0):
            self.jump(days)
            n = len(load.ok)
            wait_for(lambda: len(load.ok) > n + 20, 20)
        ok, bad = load.end()
        self.assertEqual(bad, [])
        self.check(ok)
        at = [r["at_us"] for r in self.w.rows()]
        self.assertGreater(max(at) - min(at), 4000 * DAY * 1e6, "the rows say what the clock said")

    def key(self, *flags):
        out = self.w.hearth("key", "add", *flags)
        self.assertEqual(out.returncode, 0, out.stderr)
        return out.stdout.strip()

    def ask_with(self, key):
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=20)
        c.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}),
                  {"Content-Type": "application/json", "Authorization": "Bearer " + key})
        r = c.getresponse()
        r.read()
        c.close()
        return r.status

    def test_a_clock_that_steps_back_reopens_no_budget(self):
        env = self.clock()
        self.world(answer, model="retries: 0, price: { input: 1, output: 1 }", env=env)     # a call costs 0.001 dollars
        self.base = None                    # with keys, nobody else is answered
        poor, slow = self.key("poor", "--per-day", "0.003"), self.key("slow", "--requests", "2")
        self.w.server.send_signal(signal.SIGHUP)
        wait_for(lambda: self.ask_with("none") == 401, 10)
        self.assertEqual([self.ask_with(poor) for _ in range(4)], [200, 200, 200, 429])
        self.assertEqual([self.ask_with(slow) for _ in range(3)], [200, 200, 429])
        for days in (-1, -40, -4000):
            self.jump(days)
            self.assertEqual((days, self.ask_with(poor)), (days, 429))
        self.jump(0.04)                     # an hour: no day, and no minute of the monotonic clock
        self.assertEqual(self.ask_with(slow), 429)
        for days in (-1, -40):              # nor does a process that begins with such a clock, and counts what is on record
            self.jump(days)
            self.w.stop()
            self.w.start(env=env)
            self.assertEqual((days, self.ask_with(poor)), (days, 429))
        self.jump(1)
        self.assertEqual([self.ask_with(poor) for _ in range(4)], [200, 200, 200, 429], "a new day")
        self.jump(0)
        self.assertEqual(self.ask_with(poor), 429, "what the next day has spent does not come back with this one")

    def test_a_clock_that_steps_back_erases_nothing_and_brings_nothing_back(self):
        env = self.clock()
        self.world(answer, env=env)
        self.w.stop()
        self.w.config.write_text(self.w.config.read_text().replace("path: hearth.db", "path: hearth.db, retain_bodies: 10d"))

        def kept(days):
            """The calls whose bodies are there, after a start `days` from now, which looks for what is too old."""
            self.jump(days)
            self.w.start(env=env)
            calls.append(self.ask()[3]["x-hearth-call"])
            self.w.stop()
            self.w.verify()
            db = sqlite3.connect(self.w.dir / "hearth.db")
            found = [c for c in calls if db.execute("SELECT count(*) FROM row JOIN body ON id = request_body WHERE call_id = ?", (c,)).fetchone()[0]]
            db.close()
            return [calls.index(c) for c in found]
        calls = []
        self.assertEqual(kept(0), [0])
        self.assertEqual(kept(-30), [0, 1], "made in the past, and not at once too old by the clock that it was made by")
        self.assertEqual(kept(0), [0, 2], "that one is 30 days old now")
        self.assertEqual(kept(11), [3])
        self.assertEqual(kept(-30), [3, 4], "what is gone is gone, what is from the future stays")
        self.base = None

    # ---- memory ----

    @unittest.skipIf(SANITIZED, "a sanitizer takes terabytes of it")
    def test_an_address_space_that_ends(self):
        self.world(answer, provider="first_byte: 60s, gap: 60s")
        self.ask()
        size = int(next(line for line in open(self.proc + "/status") if line.startswith("VmSize")).split()[1]) * 1024
        hard = resource.prlimit(self.w.server.pid, resource.RLIMIT_AS)[1]
        resource.prlimit(self.w.server.pid, resource.RLIMIT_AS, (size + (24 << 20), hard))
        seen, lock = [], threading.Lock()

        def large():
            for _ in range(4):
                status = self.ask(text="x" * (20 << 20), timeout=60)[0]
                with lock:
                    seen.append(status)
        threads = [threading.Thread(target=large) for _ in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertTrue(set(seen) & {0, 413, 500, 503}, f"memory did not end: {seen}")
        self.assertLessEqual(set(seen), {0, 200, 413, 500, 503})
        wait_for(self.served, 15)
        busy = self.cpu()
        time.sleep(1)
        self.assertLess(self.cpu() - busy, 0.5, "no busy loop")
        resource.prlimit(self.w.server.pid, resource.RLIMIT_AS, (hard, hard))
        self.assertEqual(self.ask(text="x" * (20 << 20), timeout=60)[0], 200, "as soon as there is memory again")
        self.w.verify()

    @unittest.skipIf(SANITIZED, "a sanitizer takes terabytes of it")
    def test_an_address_space_that_is_small_from_the_start(self):
        self.world(answer, wrap=("sh", "-c", 'ulimit -v 700000; exec "$0" "$@"'))
        load = Load(self, 8, stream=True)
        wait_for(lambda: len(load.ok) > 100, 60)
        ok, bad = load.end()
        self.assertEqual(bad, [])
        self.check(ok)

    # ---- the process ----

    def test_a_pause_that_is_longer_than_every_deadline(self):
        self.world(answer, provider="connect: 10s, first_byte: 1s, gap: 1s", more="limits: { head_time: 1s, body_time: 1s, idle_time: 1s, write_time: 1s }\n")
        load = Load(self, 12, stream=True, pause=0.05)
        for _ in range(3):
            n = len(load.ok)
            wait_for(lambda: len(load.ok) > n + 20, 20)
            os.kill(self.w.server.pid, signal.SIGSTOP)
            time.sleep(2.5)
            os.kill(self.w.server.pid, signal.SIGCONT)
        n = len(load.ok)
        wait_for(lambda: len(load.ok) > n + 20, 20)
        ok, bad = load.end()
        self.assertEqual(bad, [])
        self.check(ok)

    def test_a_reload_under_load_fails_no_call(self):
        self.world(answer)
        load = Load(self, 6, stream=True)
        for _ in range(20):
            self.renew()
            time.sleep(0.05)
        wait_for(lambda: len(load.ok) > 100, 20)
        ok, bad = load.end()
        self.assertEqual(bad, [])
        self.check(ok)

    def test_a_second_instance_says_why_it_does_not_start_and_harms_nobody(self):
        self.world(answer)
        load = Load(self, 4, stream=True)
        for _ in range(5):
            out = subprocess.run([HEARTH, "serve", "-c", str(self.w.config)], capture_output=True, text=True, timeout=30)
            self.assertEqual(out.returncode, 4)
            self.assertIn(f"in use by another hearth (process {self.w.server.pid})", out.stderr)
        n = len(load.ok)
        wait_for(lambda: len(load.ok) > n + 20, 20)
        ok, bad = load.end()
        self.assertEqual(bad, [])
        self.check(ok)

    def test_a_stop_lets_every_call_end(self):
        self.world(answer)
        self.base = None
        load = Load(self, 6, stream=True)
        wait_for(lambda: len(load.ok) > 20, 20)
        load.over = True                    # no new calls; those that run are answered
        self.assertEqual(self.w.stop(), 0)
        ok, bad = load.end()
        self.assertEqual([b for b in bad if b != (0, b"")], [], "a client may still have asked when nobody listened any more …")
        self.check(ok)
        self.assertEqual(len(self.w.rows()), len(ok), "… but whoever was heard was answered")
        self.assertEqual(self.w.verify()["cut"], 0)


if __name__ == "__main__":
    unittest.main(argv=["test_machine"], verbosity=2)
