"""bench/instructions: reads callgrind's format, and finds a rise."""
import importlib.machinery, importlib.util, pathlib, unittest

PATH = pathlib.Path(__file__).resolve().parents[2] / "bench/instructions"
loader = importlib.machinery.SourceFileLoader("instructions", str(PATH))
instructions = importlib.util.module_from_spec(importlib.util.spec_from_loader("instructions", loader))
loader.exec_module(instructions)

OUT = """# callgrind format
version: 1
positions: line
events: Ir
summary: 1000

ob=(1) /x/bin/hearth
fl=(1) a.c
fn=(1) main
10 5
+1 7
cob=(2) /lib/libz.so
cfn=(2) deflate
calls=3 0
* 600
-2
fn=(3) other
3 1

ob=(2)
fn=(2)
0 600
ob=(1)
fn=(1)
9 2

totals: 615
"""


def kept(hearth, library, build="b1", compiler="gcc 12"):
    return {"compiler": [compiler], "builds": {"libz.so": build}, "instructions": {"forwarded": {"hearth": hearth, "libz.so": library}}}


class Instructions(unittest.TestCase):
    def test_the_cost_of_a_callee_counts_once_and_for_its_own_object(self):
        self.assertEqual(dict(instructions.by_object(OUT)), {"/x/bin/hearth": 15, "/lib/libz.so": 600})

    def test_three_percent_more_is_a_rise(self):
        for now, want in ((kept(1029, 5000), False), (kept(1030, 5000), True), (kept(1000, 5149), False), (kept(1000, 5150), True), (kept(500, 100), False)):
            lines, bad = instructions.compare(now, kept(1000, 5000))
            self.assertEqual(bad, want, lines)
            self.assertEqual(any("RISEN" in line for line in lines), want)

    def test_a_library_of_another_build_is_not_compared_and_that_is_said(self):
        lines, bad = instructions.compare(kept(1000, 9000, build="b2"), kept(1000, 5000))
        self.assertFalse(bad)
        self.assertTrue(any("not compared" in line and "libz.so" in line for line in lines), lines)


unittest.main()
