"""tools/check-docs finds each breach, and nothing in the tree as it is: a copy of what it reads, with one change at a time."""
import pathlib, shutil, subprocess, sys, tempfile, unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BREACHES = {    # name: (file, what is there, what stands there instead, what is said)
    "a field that the page has not": ("src/ledger/row.h", "#define ROW_NULL_I", '    X(I, brand_new, "", "what is new")\n#define ROW_NULL_I', "its table of fields is not that of src/ledger/row.h"),
    "another meaning of a field": ("docs/ledger.md", "| millionths of a dollar;", "| cents;", "its table of fields is not that of src/ledger/row.h"),
    "a kind that is not explained": ("docs/ledger.md", "| `score` | 2 |", "| 2 |", "rows of the kind ROW_SCORE are not explained"),
    "an event of the process": ("src/cmd/app.c", 'ledger_note_event(a->ledger, "stop"', 'ledger_note_event(a->ledger, "halt"', "the event halt is not explained"),
    "the second event of a line": ("src/fleet/server.c", '"engine_crash" }', '"engine_gone" }', "the event engine_gone is not explained"),
    "an event by its field": ("src/ledger/erase.c", 'event = S("bodies_erased")', 'event = S("bodies_gone")', "the event bodies_gone is not explained"),
    "a test in Python that went": ("tests/e2e/test_security.py", "def test_sizes(", "def test_lengths(", "there is no tests/e2e/test_security.py: test_sizes"),
    "a test in C that is not run": ("tests/http/test_head.c", "cmocka_unit_test(heads_have_limits)", "", "there is no tests/http/test_head.c: heads_have_limits"),
    "a suite that is not run": ("tests/e2e/CMakeLists.txt", " faults disk ", " faults ", "test_a_full_disk_refuses_calls_and_hearth_recovers is in no CMakeLists.txt"),
    "a line without a test": ("docs/security.md", "`tests/e2e/test_faults.py: test_few_descriptors`", "of course", "names no test"),
    "a package without its hash": ("tools/requirements-build.txt", "--hash=sha256:", "--hash=md5:", "not pinned with its hash: packaging=="),
    "a package of any version": ("tools/requirements-test.txt", "openai==", "openai>=", "not pinned with its hash: openai>="),
}


class Docs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.tree = pathlib.Path(tempfile.mkdtemp(prefix="check-docs-"))
        for name in ("docs", "src", "tests", "fuzz", "tools"):
            shutil.copytree(ROOT / name, cls.tree / name, ignore=shutil.ignore_patterns("corpus", "golden", "__pycache__"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.tree)

    def check(self):
        run = subprocess.run([sys.executable, ROOT / "tools/check-docs", self.tree], capture_output=True, text=True)
        self.assertEqual(run.stderr, "")
        return run.returncode, run.stdout

    def test_the_tree_is_sound(self):
        self.assertEqual(self.check(), (0, ""))

    def test_each_breach_is_found(self):
        for name, (file, there, instead, says) in BREACHES.items():
            with self.subTest(name):
                path = self.tree / file
                text = path.read_text()
                self.assertIn(there, text)
                path.write_text(text.replace(there, instead))
                code, out = self.check()
                path.write_text(text)
                self.assertEqual(code, 1)
                self.assertIn(says, out)


if __name__ == "__main__":
    unittest.main()
