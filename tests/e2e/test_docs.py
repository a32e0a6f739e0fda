"""What docs/ledger.md says can be done by hand, done: its program over a ledger that hearth has written, and over one that somebody has changed."""
import http.client, json, os, pathlib, re, sqlite3, subprocess, sys, unittest

from faulty import Faulty, PATHS, body_of
from scripted import chunk, event, reply, sse, whole

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/ledger.md").read_text()


class Docs(Faulty):
    def verify_by_hand(self, path=None):
        return subprocess.run([sys.executable, "-c", re.search(r"```python\n(.*?)```", PAGE, re.S).group(1), str(path or self.w.dir / "hearth.db")], capture_output=True, text=True, timeout=60)

    def change(self, sql):
        copy = self.w.dir / "changed.db"
        copy.unlink(missing_ok=True)
        self.assertEqual(self.w.hearth("backup", str(copy)).returncode, 0)
        db = sqlite3.connect(copy)
        db.execute(sql)
        db.commit()
        db.close()
        return self.verify_by_hand(copy).stderr

    def test_the_ledger_is_verified_by_hand(self):
        def script(conn, body):
            if not body.get("stream"):
                return reply(conn, whole(model='ü "quoted" \\ \n\u2028\x7f'))
            sse(conn)
            chunk(conn, event({"content": "Grüße 🦙"}) + event({}, "stop") + b"data: [DONE]\n\n")
            conn.sendall(b"0\r\n\r\n")
            return True
        self.world(script)
        for api in PATHS:
            for stream in (False, True):
                self.ask(api, stream, text="Grüße 🦙 \u0007\t")
        for temperature in (0.1, 1, 1e-7, 0.30000000000000004, 1.7):
            self.post({**body_of("openai", False), "temperature": temperature, "seed": 2**60, "stop": ["a\"", "\n"]})
        self.post(body_of("openai", False, "secret"), x_hearth_data="private")
        self.post({"model": "none"})
        verdict = self.w.verify()
        out = self.verify_by_hand()
        self.assertEqual(out.returncode, 0, out.stderr)
        rows, bodies, head = re.match(r"(\d+) rows and (\d+) bodies are sound; head ([0-9a-f]{64})\n$", out.stdout).groups()
        self.assertEqual((int(rows), head), (verdict["rows"], verdict["head"]))
        self.assertEqual(int(bodies), verdict["bodies"] - 4, "all but the private call's and those of the one that was refused: it might have been private")
        self.assertIn("row 5 was changed", self.change("UPDATE row SET outcome = 'error', at_us = at_us + 1 WHERE seq = 5"))
        self.assertIn("row 4 is missing", self.change("DELETE FROM row WHERE seq = 4"))
        self.assertIn("was changed", self.change("UPDATE body SET salt = zeroblob(16) WHERE id = 3"))

    def test_a_file_of_the_schema_before_is_brought_up_to_date_and_a_copy_stays(self):
        self.world(lambda conn, body: reply(conn, whole()))
        self.ask()
        self.w.stop()
        db = sqlite3.connect(self.w.dir / "hearth.db")
        for name in ("accepted_tokens", "rejected_tokens", "deterministic"):
            db.execute(f"ALTER TABLE row DROP COLUMN {name}")
        db.execute("DROP TABLE footprint")
        db.execute("PRAGMA user_version = 1")
        db.commit()
        db.close()
        self.w.start()
        self.proc = f"/proc/{self.w.server.pid}"
        self.ask()
        verdict = self.w.verify()
        out = self.verify_by_hand()
        self.assertIn(f"{verdict['rows']} rows and 4 bodies are sound; head {verdict['head']}", out.stdout, out.stderr)
        copy = self.w.dir / "hearth.db.v1.bak"
        self.assertEqual(oct(copy.stat().st_mode & 0o777), "0o600")
        self.assertIn(" rows and 2 bodies are sound", self.verify_by_hand(copy).stdout)

    def post(self, body, **headers):
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=20)
        c.request("POST", PATHS["openai"], json.dumps(body), {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}})
        c.getresponse().read()
        c.close()

    def test_the_files_are_those_that_the_page_names(self):
        self.world(lambda conn, body: reply(conn, whole()))
        self.ask()
        named = set(re.findall(r"^\| `(hearth\.db[.\w-]*)`", PAGE, re.M)) | {"hearth.db-shm"}
        there = {p.name for p in self.w.dir.iterdir() if p.name.startswith("hearth.db")}
        self.assertLessEqual(there, named)
        self.assertLessEqual(named - {"hearth.db.vN.bak"}, there)
        self.assertEqual({oct(os.stat(self.w.dir / n).st_mode & 0o777) for n in there}, {"0o600"})
        db = sqlite3.connect(self.w.dir / "hearth.db")
        self.assertEqual(hex(db.execute("PRAGMA application_id").fetchone()[0]), re.search(r"`application_id` (0x[0-9a-f]+)", PAGE).group(1))
        db.close()


if __name__ == "__main__":
    unittest.main(argv=["test_docs"], verbosity=2)
