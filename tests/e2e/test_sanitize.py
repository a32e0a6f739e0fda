"""Files without personal data, and back: every kind of file, folders, kills in the middle, and files larger than memory may be.

    test_sanitize.py HEARTH [--bytes N] [--kills N]
"""
import argparse, csv, io, json, os, pathlib, pty, random, re, select, shutil, signal, subprocess, sys, tempfile, time, unittest

from world import HEARTH, SANITIZED

LIMIT = 200 << 20
DEV = pathlib.Path("../shared/pii/dev.jsonl")
TOKEN = re.compile(r"\[[A-Z_]+_[a-z2-7]{5,26}(-[a-z2-7]+)?\]")

TEXT = """From: Maria Keller <maria.keller@quarzwerk.de>
Dear Mr. Tomasz Nowak,

call me at +49 151 23456789, or write to maria.keller@quarzwerk.de. My IBAN is DE89370400440532013000.
Commit 506442b8e1c549c056de14c3c5a487a114d9f00b and 192.0.2.1 are nobody's.
Best regards,
Maria Keller
"""
CODE = 'contact = "maria.keller@quarzwerk.de\\n+49 151 23456789"\nauthor = "Ren\\u00e9e Lindqvist <renee.lindqvist@quarzwerk.de>"\nregex = r"\\d+\\.\\w"\n'
TABLE = 'id;name;email;phone\n1;Maria Keller;maria.keller@quarzwerk.de;+49 151 23456789\n2;"Nowak, Tomasz";tomasz.nowak@quarzwerk.de;+48 601 234 567\n'
OBJECT = {"name": "Maria Keller", "email": "maria.keller@quarzwerk.de", "phone": "+49 151 23456789", "ok": True, "score": 0.5, "none": None, "card": 4111111111111111,
          "note": "Zeile eins\nIBAN DE89370400440532013000 \"quoted\" \u00e9\u5f20\u4f1f"}
BOOK = {"cells": [{"cell_type": "code", "metadata": {}, "execution_count": 1, "source": ["mail = 'maria.keller@quarzwerk.de'\n", "print(\"+49 151 23456789\")"],
                   "outputs": [{"output_type": "stream", "name": "stdout", "text": ["Maria Keller <maria.keller@quarzwerk.de>\n"]}]}],
        "metadata": {"kernelspec": {"name": "python3"}}, "nbformat": 4, "nbformat_minor": 5}


def watch(proc, terminal, seconds=120):
    """What a program writes to a terminal until it ends."""
    seen, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        over = proc.poll() is not None
        while select.select([terminal], [], [], 0.05)[0]:
            try:
                piece = os.read(terminal, 65536)
            except OSError:
                break
            if not piece:
                break
            seen += piece
        if over:
            os.close(terminal)
            return seen
    proc.kill()
    raise AssertionError(f"it did not end: {seen[-500:]}")


class Folder(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hearth-sanitize-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.vault = ["--vault", str(self.dir / "vault/guard.db"), "--key", str(self.dir / "vault/guard.key")]
        self.data = self.dir / "data"
        self.data.mkdir()

    def write(self, name, text):
        p = self.data / name
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_bytes(text if isinstance(text, bytes) else text.encode())
        return p

    def hearth(self, *args, vault=True, code=None, **kw):
        out = subprocess.run([HEARTH, "sanitize", *map(str, args), *(self.vault if vault else [])], capture_output=True, timeout=600, **kw)
        if code is not None:
            self.assertEqual(out.returncode, code, (out.stdout[-2000:], out.stderr[-2000:]))
        return out

    def round_trip(self, name, text):
        p = self.write(name, text)
        out = self.hearth(p, "--keep-secrets")
        self.assertIn(out.returncode, (0, 3), out.stderr)
        masked = self.write("masked-" + name, out.stdout)
        back = self.hearth(masked, "--restore", code=0)
        self.assertEqual(back.stdout, p.read_bytes(), name)
        return out.stdout


class Kinds(Folder):
    def test_text_keeps_its_lines_and_comes_back(self):
        masked = self.round_trip("a.txt", TEXT).decode()
        self.assertEqual(masked.count("\n"), TEXT.count("\n"))
        for secret in ("keller@", "Keller", "23456789", "DE893704", "Nowak"):
            self.assertNotIn(secret, masked)
        for kept in ("506442b8e1c549c056de14c3c5a487a114d9f00b", "192.0.2.1", "Best regards"):
            self.assertIn(kept, masked)

    def test_a_value_has_one_placeholder_in_all_files(self):
        a = self.hearth(self.write("a.txt", "mail maria.keller@quarzwerk.de now\n"), code=3).stdout
        b = self.hearth(self.write("b.json", '{"x": "maria.keller@quarzwerk.de"}'), code=3).stdout
        self.assertEqual(TOKEN.search(a.decode())[0], TOKEN.search(b.decode())[0])

    def test_what_was_sanitized_stays_as_it_is(self):
        once = self.hearth(self.write("a.txt", TEXT), code=3).stdout
        self.assertEqual(self.hearth(self.write("b.txt", once), code=0).stdout, once)

    def test_code_keeps_its_escapes(self):
        masked = self.round_trip("a.py", CODE).decode()
        self.assertNotIn("keller@", masked)
        self.assertNotIn("23456789", masked)
        self.assertNotIn("lindqvist", masked.lower())
        self.assertIn('\\n', masked)
        compile(masked, "a.py", "exec")

    def test_tables_keep_their_columns(self):
        masked = self.round_trip("a.csv", TABLE).decode()
        rows = list(csv.reader(io.StringIO(masked), delimiter=";"))
        self.assertEqual([len(r) for r in rows], [4, 4, 4])
        self.assertEqual(rows[0], ["id", "name", "email", "phone"])
        for secret in ("keller", "nowak", "23456789", "601 234"):
            self.assertNotIn(secret, masked.lower())

    def test_json_stays_json(self):
        for name, text in (("a.json", json.dumps(OBJECT, indent=2)), ("b.json", json.dumps(OBJECT, ensure_ascii=False)), ("c.jsonl", (json.dumps(OBJECT) + "\n") * 3)):
            masked = self.round_trip(name, text).decode()
            for line in masked.splitlines() if name.endswith("l") else [masked]:
                v = json.loads(line)
                self.assertEqual(set(v), set(OBJECT))
                self.assertEqual((v["ok"], v["score"], v["none"]), (True, 0.5, None))
                self.assertRegex(str(v["email"]), TOKEN)
                self.assertNotIn("4111111111111111", line)
                self.assertNotIn("DE8937", line)
                self.assertIn('"quoted"', v["note"])

    def test_a_name_in_escapes_is_no_name_left_over(self):
        masked = self.round_trip("a.json", json.dumps({"first_name": "René", "last_name": "Lindqvist", "name": "張偉", "email": "x.y@quarzwerk.de"})).decode()
        self.assertNotIn("\\u00e9", masked)
        self.assertNotIn("Lindqvist", masked)
        json.loads(masked)

    def test_notebooks_stay_notebooks(self):
        masked = json.loads(self.round_trip("a.ipynb", json.dumps(BOOK, indent=1)))
        self.assertEqual(masked["cells"][0]["execution_count"], 1)
        self.assertEqual(len(masked["cells"][0]["source"]), 2)
        self.assertTrue(masked["cells"][0]["source"][0].endswith("'\n"))
        self.assertNotIn("keller", json.dumps(masked).lower())

    def test_bytes_that_are_no_text_stay(self):
        raw = b"Jos\xe9 wrote to maria.keller@quarzwerk.de\n\xff\xfe tail\n"
        out = self.hearth(self.write("latin.log", raw), code=3)
        self.assertIn(b"Jos\xe9 wrote", out.stdout)
        self.assertNotIn(b"keller@", out.stdout)
        self.assertIn(b"3 bytes are no UTF-8", out.stderr)
        self.round_trip("latin.log", raw)

    def test_secrets_come_back_only_when_they_are_kept(self):
        text = "export API_TOKEN=ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8" + "\n"
        out = self.hearth(self.write("a.sh", text), code=3)
        self.assertIn(b"1 secrets have no way back", out.stderr)
        back = self.hearth(self.write("b.sh", out.stdout), "--restore", code=0)
        self.assertEqual(back.stdout, out.stdout)
        self.round_trip("c.sh", text)

    def test_a_private_key_keeps_its_lines(self):
        body = "\n".join("".join(random.Random(i).choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", k=64)) for i in range(20))
        text = f"before\n-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\nafter\n"
        masked = self.round_trip("key.txt", text).decode()
        self.assertEqual(masked.count("\n"), text.count("\n"))
        for line in body.split("\n"):
            self.assertNotIn(line, masked)

    def test_labelled_documents_come_back(self):
        if not DEV.exists():
            self.skipTest("no labelled documents here")
        lines = DEV.read_text().splitlines()
        masked = self.round_trip("dev.jsonl", DEV.read_bytes()).decode()
        for line in masked.splitlines():
            json.loads(line)
        self.assertEqual(masked.count("\n"), DEV.read_text().count("\n"))
        texts = "\n".join(json.loads(line)["text"] for line in lines)
        self.round_trip("dev.txt", texts)


class Commands(Folder):
    def test_exit_codes(self):
        clean, found = self.write("clean.txt", "nothing here\n"), self.write("found.txt", TEXT)
        self.hearth(clean, code=0)
        self.hearth(found, code=3)
        self.hearth(found, clean, "--dry-run", code=3)
        self.hearth(self.data / "none.txt", code=1)
        self.hearth(self.data, code=2)
        self.hearth(found, "--in-place", "--out", self.dir / "x", code=2)
        self.hearth("-", "--in-place", code=2)
        self.hearth(code=2)

    def test_without_a_vault_there_is_no_way_back(self):
        out = self.hearth(self.write("a.txt", "x"), "--restore", code=4)
        self.assertIn(b"cannot be opened", out.stderr)
        self.assertFalse((self.dir / "vault").exists())

    def test_another_key_opens_nothing(self):
        masked = self.write("m.txt", self.hearth(self.write("a.txt", TEXT), code=3).stdout)
        out = self.hearth(masked, "--restore", vault=False, env={**os.environ, "HEARTH_GUARD_KEY": "ab" * 32, "HOME": str(self.dir)})
        self.assertNotEqual(out.returncode, 0)
        vault = ["--vault", self.dir / "vault/guard.db", "--key", self.dir / "other.key"]
        (self.dir / "other.key").write_bytes(b"\1" * 32)
        os.chmod(self.dir / "other.key", 0o600)
        out = self.hearth(masked, "--restore", *vault, vault=False, code=1)
        self.assertIn(b"another key", out.stderr)
        self.assertEqual(out.stdout, b"")

    def test_dry_run_writes_nothing(self):
        p = self.write("a.txt", TEXT)
        out = self.hearth(p, "--dry-run", "--json", code=3)
        self.assertEqual(p.read_text(), TEXT)
        self.assertFalse((self.dir / "vault").exists())
        v = json.loads(out.stdout)
        self.assertEqual((v["state"], v["kind"], v["found"]["IBAN"], v["found"]["EMAIL"]), ("found", "text", 1, 2))

    def test_standard_input(self):
        out = self.hearth("-", code=3, input=TEXT.encode())
        self.assertEqual(out.stdout.count(b"\n"), TEXT.count("\n"))
        self.assertNotIn(b"keller@", out.stdout)
        back = self.hearth("-", "--restore", code=0, input=out.stdout)
        self.assertEqual(back.stdout.decode(), TEXT)
        self.assertEqual(self.hearth("-", code=0, input=b"").stdout, b"")

    def test_in_place_keeps_mode_and_times(self):
        p = self.write("run.sh", TEXT)
        os.chmod(p, 0o750)
        os.utime(p, (1000000000, 1000000001))
        clean = self.write("clean.txt", "nothing\n")
        before = os.stat(clean)
        self.hearth(p, clean, "--in-place", code=3)
        st = os.stat(p)
        self.assertEqual((st.st_mode & 0o7777, st.st_mtime), (0o750, 1000000001))
        self.assertNotIn("keller@", p.read_text())
        self.assertEqual(os.stat(clean).st_ino, before.st_ino)
        self.hearth(p, "--in-place", "--restore", code=0)
        self.assertEqual(p.read_text(), TEXT)
        self.assertEqual(sorted(os.listdir(self.data)), ["clean.txt", "run.sh"])

    def test_a_link_stays_a_link(self):
        p = self.write("real/a.txt", TEXT)
        link = self.data / "link.txt"
        link.symlink_to(p)
        self.hearth(link, "--in-place", code=3)
        self.assertTrue(link.is_symlink())
        self.assertNotIn("keller@", p.read_text())

    def tree(self):
        self.write("a/one.txt", TEXT)
        self.write("a/two.json", json.dumps(OBJECT))
        self.write("clean.md", "nothing\n")
        self.write("image.png", b"\x89PNG\0\0maria.keller@quarzwerk.de")
        self.write("build/out.log", TEXT)
        self.write("keys.env", TEXT)
        self.write(".gitignore", "build/\n*.env\n")

    def test_folders_and_their_report(self):
        self.tree()
        out, page = self.dir / "out", self.dir / "report.html"
        said = self.hearth(self.data, "--out", out, "--report", self.dir / "r.json", "--jobs", 4, code=3)
        self.assertIn(b"image.png: binary, skipped", said.stdout)
        self.assertFalse((out / "image.png").exists())
        for name in ("a/one.txt", "a/two.json", "build/out.log", "keys.env"):
            self.assertNotIn("keller@", (out / name).read_text())
        self.assertEqual((out / "clean.md").read_text(), "nothing\n")
        text = (self.dir / "r.json").read_text()
        r = json.loads(text)
        self.assertEqual(r["files"], {"clean": 2, "found": 4, "binary": 1, "skipped": 0, "failed": 0})
        self.assertEqual(r["found"]["IBAN"], 4)
        self.assertGreaterEqual(r["rules"]["email"], 4)
        self.assertNotIn("keller", text.lower())
        self.hearth(self.data, "--dry-run", "--report", page, code=3)
        self.assertIn("<td>EMAIL", page.read_text())
        self.assertNotIn("keller", page.read_text().lower())

    def test_git_says_what_is_looked_at(self):
        self.tree()
        subprocess.run(["git", "init", "-q", self.data], check=True, env={**os.environ, "HOME": str(self.dir)})
        hook = self.dir / "hook"
        hook.write_text(f"#!/bin/sh\ntouch {self.dir}/ran\n")
        hook.chmod(0o755)
        subprocess.run(["git", "-C", self.data, "config", "core.fsmonitor", str(hook)], check=True)
        self.hearth(self.data, "--in-place", code=3)
        self.assertFalse((self.dir / "ran").exists(), "a program that a repository names was run")
        self.assertEqual((self.data / "build/out.log").read_text(), TEXT)
        self.assertEqual((self.data / "keys.env").read_text(), TEXT)
        self.assertNotIn("keller@", (self.data / "a/one.txt").read_text())
        json.loads((self.data / "a/two.json").read_text())

    def test_beside_the_ledger(self):
        config = self.dir / "hearth.yaml"
        config.write_text(f"ledger: {{ path: {self.dir}/state/hearth.db }}\n")
        self.hearth(self.write("a.txt", TEXT), "-c", config, vault=False, code=3)
        for name in ("guard.db", "guard.key"):
            self.assertEqual(os.stat(self.dir / "state" / name).st_mode & 0o777, 0o600)
        self.assertNotIn(b"quarzwerk", (self.dir / "state/guard.db").read_bytes())

    def test_types_of_the_owner(self):
        config = self.dir / "hearth.yaml"
        config.write_text(f"ledger: {{ path: {self.dir}/state/hearth.db }}\nguard:\n  cloud: 'off'\n  types:\n    PROJECT: {{ words: [Nachtfalke, 'Blue Heron'] }}\n"
                          "    EMPLOYEE: { pattern: 'E-\\d{6}', context: [employee] }\n  deny: [Kranich]\n  allow: ['*@quarzwerk.de']\n  leave: [IBAN]\n")
        text = 'name = "employee E-123456"  # Nachtfalke, BLUE\\x20HERON; Kranich; ' + '-' * 80 + ' E-654321 by maria.keller@quarzwerk.de, DE89370400440532013000\n'
        p = self.write("a.py", text)
        report = self.dir / "report.json"
        self.hearth(p, "-c", config, "--in-place", "--report", report, vault=False, code=3)
        out = p.read_text()
        self.assertRegex(out, r'"employee \[EMPLOYEE_[a-z2-7]{5}\]"  # \[PROJECT_[a-z2-7]{5}\], \[PROJECT_[a-z2-7]{5}\]; \[CUSTOM_[a-z2-7]{5}\]; -+ E-\d+ by maria.keller@quarzwerk.de, DE89\d+\n')
        self.assertEqual(json.loads(report.read_text())["found"], {"CUSTOM": 1, "PROJECT": 2, "EMPLOYEE": 1})
        self.assertEqual(json.loads(report.read_text())["rules"], {"custom": 1, "own_word": 2, "own_pattern": 1})
        self.hearth(p, "-c", config, "--in-place", vault=False, code=0)         # what has been sanitized stays
        self.assertEqual(p.read_text(), out)
        config.write_text(f"ledger: {{ path: {self.dir}/state/hearth.db }}\n")  # the way back needs the vault, and no type
        self.hearth(p, "-c", config, "--in-place", "--restore", vault=False, code=0)
        self.assertEqual(p.read_text(), text)
        config.write_text("guard: { types: { PROJECT: { pattern: '(x' } } }\n")
        self.hearth(p, "-c", config, vault=False, code=1)

    def test_a_terminal_gets_a_bar(self):
        p = self.write("big.log", TEXT * 20000)
        main, end = pty.openpty()
        proc = subprocess.Popen([HEARTH, "sanitize", str(p), "--in-place", *self.vault], stdout=subprocess.PIPE, stderr=end)
        os.close(end)
        seen = watch(proc, main)
        proc.stdout.close()
        self.assertIn(b"sanitizing", seen)
        self.assertEqual(proc.returncode, 3)


class Explain(Folder):
    def explain(self, *args, code=3, **kw):
        out = subprocess.run([HEARTH, "guard", "explain", *map(str, args)], capture_output=True, timeout=120, **kw)
        self.assertEqual(out.returncode, code, out.stderr)
        return out.stdout.decode()

    def test_says_where_and_why_and_shows_no_value(self):
        out = self.explain(self.write("a.txt", TEXT))
        self.assertRegex(out, r"1:21 +EMAIL +email +\d+ ")
        self.assertRegex(out, r"4:\d+ +IBAN +iban +\d+ .*\[IBAN\]")
        for secret in ("keller", "Nowak", "23456789", "DE8937"):
            self.assertNotIn(secret, out)

    def test_json(self):
        rows = [json.loads(line) for line in self.explain("-", "--json", input=TEXT.encode()).splitlines()]
        lines = TEXT.splitlines()
        for r in rows[:-1]:
            self.assertEqual(sorted(r), ["column", "context", "line", "rule", "score", "type"])
        iban = next(r for r in rows if r.get("type") == "IBAN")
        self.assertEqual(iban["column"] - 1, lines[iban["line"] - 1].index("DE89"))
        self.assertEqual(rows[-1]["found"]["IBAN"], 1)

    def test_columns_are_characters(self):
        rows = [json.loads(line) for line in self.explain("-", "--json", input="äöü x@y\nÄÖ maria.keller@quarzwerk.de\n".encode()).splitlines()]
        self.assertEqual((rows[0]["line"], rows[0]["column"]), (2, 4))

    def test_values_only_on_a_terminal(self):
        p = self.write("a.txt", TEXT)
        self.assertNotIn("keller", self.explain(p, "--show-values", code=2))
        main, end = pty.openpty()
        proc = subprocess.Popen([HEARTH, "guard", "explain", str(p), "--show-values"], stdout=end, stderr=subprocess.DEVNULL)
        os.close(end)
        seen = watch(proc, main)
        self.assertEqual(proc.wait(60), 3)
        self.assertIn(b"maria.keller@quarzwerk.de", seen)

    def test_types_of_the_owner(self):
        config = self.dir / "hearth.yaml"
        config.write_text("guard: { types: { PROJECT: { words: [Nachtfalke] }, EMPLOYEE: { pattern: 'E-\\d{6}' } } }\n")
        out = self.explain(self.write("a.txt", "E-123456 knows Nachtfalke\n"), "-c", config)
        self.assertRegex(out, r"1:1 +EMPLOYEE +own_pattern +90 +\[EMPLOYEE\] knows \[PROJECT\]\n1:16 +PROJECT +own_word +100 ")
        self.assertIn(": 1 PROJECT, 1 EMPLOYEE\n", out)

    def test_thresholds_and_lists_by_type(self):
        config = self.dir / "hearth.yaml"
        p = self.write("a.txt", "maria@quarzwerk.de and tom@quarzwerk.de, 10.20.30.40, E-123456, Zugvogel\n")
        types = "types: { EMPLOYEE: { pattern: 'E-\\d{6}', context: [staff] } }"
        for words, found in (("allow: { EMAIL: ['maria@*'], PERSON: ['tom@*'] }", {"EMAIL": 1, "IP_ADDRESS": 1}), ("threshold: { IP_ADDRESS: 100, EMPLOYEE: 40 }", {"EMAIL": 2, "EMPLOYEE": 1}),
                             ("deny: { PERSON: zugvogel, EMPLOYEE: e-123456 }", {"EMAIL": 2, "IP_ADDRESS": 1, "PERSON": 1, "EMPLOYEE": 1})):
            config.write_text(f"guard: {{ {words}, {types} }}\n")
            self.assertEqual(json.loads(self.explain(p, "-c", config, "--json").splitlines()[-1])["found"], found, words)

    def test_nothing(self):
        self.assertIn("nothing was found", self.explain(self.write("a.txt", "x\n"), code=0))
        self.assertEqual(self.explain(self.write("b.bin", b"\0\1"), code=1), "")


class Kills(Folder):
    def test_killed_in_the_middle_every_file_is_old_or_new(self):
        rng = random.Random(7)
        old = {}
        for i in range(24):
            old[f"f{i:02}.log"] = "".join(f"{k} login user{rng.randrange(10**6)}.x@quarzwerk.de from +49 151 {rng.randrange(10**7, 10**8)}\n" for k in range(400)).encode()
        for name, text in old.items():
            self.write(name, text)
        copy = self.dir / "copy"
        shutil.copytree(self.data, copy)
        self.hearth(copy, "--in-place", code=3)
        new = {name: (copy / name).read_bytes() for name in old}
        killed = mixed = 0
        for i in range(ARGS.kills):
            for name, text in old.items():
                (self.data / name).write_bytes(text)
            proc = subprocess.Popen([HEARTH, "sanitize", str(self.data), "--in-place", *self.vault], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.005, 0.25))
            killed += proc.poll() is None
            proc.send_signal(signal.SIGKILL)
            proc.wait()
            states = set()
            for name in old:
                is_new = (self.data / name).read_bytes() == new[name]
                self.assertTrue(is_new or (self.data / name).read_bytes() == old[name], f"{name} is torn after kill {i}")
                states.add(is_new)
            mixed += len(states) == 2
        self.assertGreater(killed, 0)
        self.hearth(self.data, "--in-place")
        self.assertEqual({p.name: p.read_bytes() for p in self.data.iterdir()}, new, "what a killed one left is taken over")
        self.hearth(self.data, "--in-place", "--restore", code=0)
        self.assertEqual({p.name: p.read_bytes() for p in self.data.iterdir()}, old)
        print(f"{ARGS.kills} kills, {killed} while it ran, {mixed} with old and new files", file=sys.stderr)


class Large(Folder):
    def block(self):
        rng = random.Random(3)
        texts = [json.loads(line)["text"] for line in DEV.read_text().splitlines()] if DEV.exists() else [TEXT] * 3000
        rng.shuffle(texts)
        return ("\n".join(texts) + "\n").encode()

    def peak(self, *args):
        start = time.monotonic()
        pid = os.posix_spawn(HEARTH, [HEARTH, "sanitize", *map(str, args), *self.vault], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
        _, status, usage = os.wait4(pid, 0)
        return os.waitstatus_to_exitcode(status), 0 if SANITIZED else usage.ru_maxrss * 1024, time.monotonic() - start

    def large(self, name, block, size):
        p = self.data / name
        with open(p, "wb") as f:
            left = size
            while left > 0:
                f.write(block[:left])
                left -= len(block)
        out = self.dir / "out"
        code, peak, seconds = self.peak(p, "--out", out, "--quiet", "--keep-secrets")
        self.assertEqual(code, 3)
        print(f"{name}: {size / 1e6:.0f} MB, peak {peak / 2**20:.1f} MiB, {seconds:.1f} s", file=sys.stderr)
        self.assertLess(peak, LIMIT)
        back = self.dir / "back"
        code, peak, seconds = self.peak(out / name, "--restore", "--out", back, "--quiet")
        self.assertEqual(code, 0)
        self.assertLess(peak, LIMIT)
        self.assertEqual(subprocess.run(["cmp", p, back / name]).returncode, 0, "what comes back is what was there")
        return p, out / name

    @unittest.skipIf(SANITIZED, "measures memory")
    def test_64_mb_at_once(self):
        self.large("whole.log", self.block(), 64_000_000)

    @unittest.skipIf(SANITIZED, "measures memory")
    def test_64_mb_of_json_lines(self):
        line = (json.dumps(OBJECT) + "\n").encode()
        _, out = self.large("whole.jsonl", line * 4000, 64_000_000 // len(line) * len(line))
        with open(out) as f:
            for i, text in zip(range(1000), f):
                json.loads(text)

    def test_more_than_is_looked_at_at_once(self):
        _, out = self.large("pieces.log", self.block(), ARGS.bytes)
        with open(out, "rb") as f:
            self.assertNotIn(b"BEGIN RSA", f.read(1 << 24))

    def test_one_line_without_an_end(self):
        block = json.dumps([OBJECT] * 2000)[1:-1].encode() + b", "
        p = self.data / "line.json"
        with open(p, "wb") as f:
            f.write(b"[" + block * (68_000_000 // len(block)) + b"0]")
        out = self.dir / "out"
        code, peak, _ = self.peak(p, "--out", out, "--quiet")
        self.assertEqual(code, 3)
        self.assertLess(peak, LIMIT)
        text = (out / "line.json").read_text()
        self.assertNotIn("keller@", text)
        self.assertEqual(len(json.loads(text)), 2000 * (68_000_000 // len(block)) + 1)

    @unittest.skipIf(SANITIZED, "measures memory")
    def test_many_at_once_share_the_memory(self):
        block = self.block()
        for i in range(6):
            self.write(f"{i}.log", block * (30_000_000 // len(block)))
        code, peak, _ = self.peak(self.data, "--out", self.dir / "out", "--quiet", "--jobs", 6)
        self.assertEqual(code, 3)
        print(f"6 files of 30 MB, 6 at once: peak {peak / 2**20:.1f} MiB", file=sys.stderr)
        self.assertLess(peak, LIMIT)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("hearth")
    parser.add_argument("--bytes", type=int, default=80_000_000)
    parser.add_argument("--kills", type=int, default=12)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
