"""bench/guard over programs that are made up: what it asks them, what it makes of their numbers, and what it says when they are missing. No time decides anything.

    test_bench.py GUARD_RAW
"""
import importlib.machinery
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench" / "guard"
GUARD_RAW = sys.argv.pop(1)
loader = importlib.machinery.SourceFileLoader("guard", str(BENCH))
guard = importlib.util.module_from_spec(importlib.util.spec_from_loader("guard", loader))
loader.exec_module(guard)

PRESIDIO = """#!/usr/bin/env python3
import json, sys
for line in sys.stdin:
    job = json.loads(line)
    assert open(job["file"]).read() and job["kib"] == 16, job
    print(json.dumps({"mb": 1, "spans": 1, "mb_s": 0.5 if job["names"] else 4}), flush=True)
"""
FINDER = """#!/bin/sh
[ "$1" = --no-tagger ] && shift
row() { printf '%-28.28s %8.2f MB %8d spans %8.1f MB/s %8.1f MB/s plain\\n' "$@"; }
case $1 in
speed) row dense 1 2 40 30; row source 20 2 200 100 ;;
worst) row 1 1 0 300 100; row @ 1 0 100 90; row a. 1 0 900 90; row '{' 1 0 900 90; row 'AB12 ' 1 0 20 19 ;;
*) exit 2 ;;
esac
"""
HYPERSCAN = """#!/bin/sh
[ "$#" = 4 ] || exit 2
printf '%-28.28s %8.2f MB %8d matches %8.1f MB/s\\n' dense 1 2 80 source 1 2 400
"""


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


class Bench(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        program(self.folder / "gitleaks", "#!/bin/sh\n[ \"$1\" = dir ]\n")
        program(self.folder / "presidio/bin/python", PRESIDIO)
        program(self.folder / "hyperscan_raw", HYPERSCAN)
        program(self.folder / "guard_raw", FINDER)

    def bench(self, *more):
        return subprocess.run([BENCH, self.folder / "guard_raw", "--rounds", "2", "--seconds", "0.01", "--mb", "0.3", *more], capture_output=True, text=True, timeout=100)

    def test_everybody_is_in_the_table_of_each_text(self):
        out = self.bench("--peers", self.folder, "--hyperscan", self.folder / "hyperscan_raw", "--json")
        self.assertEqual(out.returncode, 0, out.stderr)
        s = json.loads(out.stdout)
        for text, matching in (("dense", 80), ("source", 400)):
            engines = s["texts"][text]
            self.assertEqual(sorted(engines), ["Hyperscan, 40 patterns, matching only", "Presidio, patterns", "Presidio, patterns and names", "gitleaks, secrets only", "hearth", "hearth, no tagger", "hearth, no tagger, plain loop", "hearth, plain loop"])
            self.assertEqual(engines["Hyperscan, 40 patterns, matching only"]["mb_s"], matching)
            self.assertEqual([engines["Presidio, patterns"]["mb_s"], engines["Presidio, patterns and names"]["mb_s"]], [4, 0.5])
            self.assertEqual(engines["hearth"]["hearth_is"], 1)
            self.assertEqual(engines["Hyperscan, 40 patterns, matching only"]["hearth_is"], 0.5)
        self.assertLessEqual({"1", "@", "a.", "{"}, set(s["worst"]))

    def test_people_get_a_table_and_the_finder_alone_needs_no_peers(self):
        out = self.bench()
        self.assertEqual(out.returncode, 0, out.stderr)
        for words in ("hearth, plain loop", "worst cases", "braces", "the slowest: 'AB12'"):
            self.assertIn(words, out.stdout)
        self.assertNotIn("Presidio", out.stdout)

    def test_a_missing_peer_is_named_with_what_brings_it(self):
        for option, need in (("--peers", "tools/setup guard-peers"), ("--hyperscan", "tools/build release hyperscan_raw")):
            out = self.bench(option, self.folder / "nothing")
            self.assertEqual(out.returncode, 1)
            self.assertIn(need, out.stderr)

    def test_the_finder_writes_what_is_read(self):
        (self.folder / "dense").write_text("write to ada@analytical.co.uk\n" * 100)
        rates = guard.finder(GUARD_RAW, "speed", 0.01, 16, self.folder / "dense")
        self.assertEqual((set(rates), set(rates["dense"])), ({"dense"}, {"AVX2", "plain"}))

    def test_ratios_are_taken_within_a_round_and_their_median_counts(self):
        rounds = [({"dense": {"hearth": h, "other": o}, "source": {"hearth": 10, "other": 1}}, {"1": 5}) for h, o in ((10, 1), (100, 2), (20, 1))]
        other = guard.summary(rounds)["texts"]["dense"]["other"]
        self.assertEqual(other, {"mb_s": 1, "least": 1, "most": 2, "hearth_is": 20})
        self.assertEqual(guard.summary(rounds)["worst"]["1"]["of_dense"], 0.25)

    def test_a_part_of_a_text_is_whole_lines_from_all_over_it(self):
        text = "".join(f"line {i:04}\n" for i in range(1000))
        part = guard.spread(text, 1000, 100)
        self.assertTrue(set(part.splitlines()) <= set(text.splitlines()))
        self.assertGreater(max(int(line[5:]) for line in part.splitlines()), 890)
        self.assertLess(len(part), 1300)
        self.assertEqual(guard.spread("short", 1000, 100), "short")


if __name__ == "__main__":
    unittest.main()
