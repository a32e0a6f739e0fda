"""A disk that is full, really: everything of hearth lies on a small file system of its own (in a mount namespace), which is filled and emptied.
A call is refused, or answered and recorded; when there is space again, it goes on by itself."""
import json, os, random, sqlite3, subprocess, sys, tempfile, time, unittest

SIZE = 24 << 20
SEED = int(os.environ.get("SEED", time.time_ns() % 1_000_000))


def inside():
    """This program again, in a namespace where $TMPDIR is the small disk."""
    own = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    if subprocess.run([*own, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode:
        print("Ran 1 test in 0 s\n\nOK (skipped=1): this machine allows no mount namespaces")
        return 0
    d = tempfile.mkdtemp(prefix="hearth-disk-")
    mount = f'mount -t tmpfs -o size={SIZE} tmpfs "$0" && TMPDIR="$0" HEARTH_SMALL_DISK="$0" exec "$@"'
    code = subprocess.run([*own, "sh", "-c", mount, d, sys.executable, *(["-W", "ignore"] if sys.warnoptions else []), *sys.argv]).returncode
    os.rmdir(d)
    return code


if "HEARTH_SMALL_DISK" not in os.environ:
    sys.exit(inside())

from faulty import Faulty, Load, answer     # noqa: E402: the small disk must be TMPDIR before anything makes a file
from world import HEARTH, wait_for

DISK = os.environ["HEARTH_SMALL_DISK"]


def free():
    s = os.statvfs(DISK)
    return s.f_bavail * s.f_frsize


def fill(leave=0):
    """Leaves so many bytes."""
    with open(DISK + "/filler", "ab") as f:
        try:
            while (n := free() - leave) > 0:
                f.write(b"x" * min(n, 1 << 20))
                f.flush()
        except OSError:
            pass


def empty():
    os.unlink(DISK + "/filler")


class Disk(Faulty):
    def test_a_full_disk_refuses_calls_and_hearth_recovers(self):
        self.world(answer)
        ok = [self.ask()[3]["x-hearth-call"] for _ in range(5)]
        fill(60000)
        ok += self.until_unrecorded(60)
        asked = len(self.up.bodies)
        self.assertEqual(self.ask()[0], 503)
        self.assertEqual(len(self.up.bodies), asked, "while it cannot be recorded, nobody is asked")
        self.assertEqual((self.get("/ready")[0], self.get("/v1/models")[0]), (503, 200))
        busy = self.cpu()
        time.sleep(1)
        self.assertLess(self.cpu() - busy, 0.5, "no busy loop")
        self.assertEqual(self.w.hearth("verify").returncode, 0, "it can be read all the time")
        empty()
        wait_for(self.served, 15)
        self.check(ok)
        db = sqlite3.connect(self.w.dir / "hearth.db")
        self.assertGreaterEqual(db.execute("SELECT count(*) FROM row WHERE event = 'ledger_outage_over'").fetchone()[0], 1, "the record says that it was away")
        db.close()

    def test_a_disk_that_fills_and_empties_under_load(self):
        print(f"seed {SEED}", flush=True)
        rng = random.Random(SEED)
        self.world(answer)
        load = Load(self, 6, stream=True, pause=0.01)
        for _ in range(8):
            time.sleep(rng.uniform(0, 0.3))
            fill(rng.choice((0, 5000, 40000, 300000)))
            n = len(load.bad)
            try:
                wait_for(lambda: len(load.bad) > n + 3, 5)
            except AssertionError:
                pass                        # what was left was enough for as long
            empty()
            n = len(load.ok)
            wait_for(lambda: len(load.ok) > n + 3, 20)
        ok, bad = load.end()
        self.assertTrue(bad)
        for status, got in bad:             # refused; or, in a stream that had begun, its end replaced by an error
            self.assertTrue(status == 503 or (status == 200 and b"ledger_unavailable" in got), (status, got))
        self.check(ok)

    def test_a_start_on_a_full_disk_says_why_it_does_not(self):
        self.world(answer)
        self.ask()
        self.w.stop()
        self.base = None
        fill()
        out = subprocess.run([HEARTH, "serve", "-c", str(self.w.config)], capture_output=True, text=True, timeout=30)
        self.assertIn(out.returncode, (1, 4), out)
        self.assertIn("ledger", out.stderr)
        empty()
        self.w.start()
        self.assertTrue(self.served())
        self.w.verify()

    def test_the_log_of_changes_ends_with_the_disk_and_not_before(self):
        """Checkpoints cannot be written either: the log grows until the disk ends, and shrinks when there is space."""
        self.world(answer)
        fill(6 << 20)
        text = "x" * 200000
        n = 0
        while self.ask(text=text + str(n) * 1000)[0] == 200 and n < 5000:
            n += 1
        self.assertGreater(n, 20)
        empty()
        wait_for(self.served, 15)
        self.w.verify()


if __name__ == "__main__":
    unittest.main(argv=["test_disk"], verbosity=2)
