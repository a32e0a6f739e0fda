"""What a gateway with keys and a record owes its owner: where a request may go, who may what, and what of it may lie about."""
import hashlib, http.client, json, os, pathlib, re, socket, stat, subprocess, sys, threading, time, unittest

from faulty import Faulty, PATHS, body_of
from scripted import ASK, Raw, reply, whole
from world import MODEL, World, wait_for

SECRET = "hk-upstream-secret-4711"
PERSON = "Ada Lovelace, ada@example.org, +41 44 000 00 00"
ROOT = pathlib.Path(__file__).resolve().parents[2]
KNOCK = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
s.connect(sys.argv[1])
try:
    s.sendall(b"GET /health HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    print(s.recv(100)[:12].decode())
except OSError:
    pass
"""
HOSTILE = ["x'); DROP TABLE row; --", "' OR '1'='1", 'x" OR 1=1 --', "?1", ":a", "%n%s%n", "\\x00", "x\u0000y", "../../etc/passwd", "$(id)", "`id`", "\u202e\u2028", "a" * 5000]


class Listener:
    """Counts who comes."""

    def __init__(self):
        self.s, self.n, self.seen = socket.create_server(("127.0.0.1", 0)), 0, b""
        self.port = self.s.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            c, _ = self.s.accept()
            self.n += 1
            c.settimeout(2)
            try:
                self.seen += c.recv(65536)
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                pass
            c.close()


class Requirements(Faulty):
    def world_with_key(self, script):
        os.environ["HEARTH_TEST_UPSTREAM_KEY"] = SECRET
        self.world(script, provider='first_byte: 5s, gap: 5s, key: "${HEARTH_TEST_UPSTREAM_KEY}"')

    def post(self, body, path="/v1/chat/completions", **headers):
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=60)
        c.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}})
        r = c.getresponse()
        text = r.read()
        c.close()
        return r.status, text

    # ---- where a request may go ----

    def test_a_body_never_chooses_the_upstream_and_images_are_not_fetched(self):
        self.world_with_key(lambda conn, body: reply(conn, whole()))
        trap = Listener()
        url = f"http://127.0.0.1:{trap.port}/v1"
        for field in ("api_base", "base_url", "api_url", "url", "endpoint", "proxy", "host", "custom_llm_provider", "litellm_params", "extra_body", "provider", "hearth", "hearth_url"):
            for value in (url, {"api_base": url, "base_url": url}):
                self.assertEqual(self.post({"model": "m", "messages": ASK, field: value})[0], 200)
        image = {"type": "image_url", "image_url": {"url": url + "/cat.png"}}
        for api, content in (("openai", [{"type": "text", "text": "x"}, image]), ("anthropic", [{"type": "image", "source": {"type": "url", "url": url + "/cat.png"}}, {"type": "text", "text": "x"}])):
            self.post({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": content}]}, PATHS[api])
        self.post({"model": url, "messages": ASK})
        self.post({"model": "m", "messages": ASK}, X_Forwarded_Host=f"127.0.0.1:{trap.port}", X_Api_Base=url, Forwarded=f"host=127.0.0.1:{trap.port}")
        self.post({"model": "m", "messages": ASK}, path=f"http://127.0.0.1:{trap.port}/v1/chat/completions")
        time.sleep(0.3)
        self.assertEqual(trap.n, 0)

    def test_redirects_and_challenges_take_the_key_nowhere(self):
        trap = Listener()
        answers = {"301": (301, f"Location: http://127.0.0.1:{trap.port}/v1/chat/completions\r\n"), "302": (302, f"Location: http://127.0.0.1:{trap.port}/\r\n"), "307": (307, f"Location: http://127.0.0.1:{trap.port}/\r\n"),
                   "308": (308, f"Location: //127.0.0.1:{trap.port}/\r\n"), "401": (401, f'WWW-Authenticate: Bearer realm="http://127.0.0.1:{trap.port}/token",service="x"\r\n'),
                   "407": (407, f'Proxy-Authenticate: Basic realm="http://127.0.0.1:{trap.port}/"\r\n'), "refresh": (503, f"Refresh: 0; url=http://127.0.0.1:{trap.port}/\r\nretry-after: 600\r\n")}
        self.world_with_key(lambda conn, body: reply(conn, b'{"error":{"message":"go there"}}', answers[body["messages"][0]["content"]][0], fields=answers[body["messages"][0]["content"]][1]))
        for name, (status, _) in answers.items():
            got, body, _, _ = self.ask(text=name)
            self.assertEqual(got, 502 if status < 400 else status)
            self.assertNotIn(SECRET.encode(), body)
        time.sleep(0.3)
        self.assertEqual((trap.n, trap.seen), (0, b""))
        self.assertEqual(len(self.up.bodies), len(answers), "each was asked once")

    # ---- what callers write, and where it ends ----

    def test_texts_of_callers_are_texts_in_the_record(self):
        self.world(lambda conn, body: reply(conn, whole(model=body["messages"][0]["content"])))
        n = 0
        for text in HOSTILE:
            header = "".join(c for c in text if 32 <= ord(c) < 127) or "x"
            self.post({"model": "m", "messages": [{"role": "user", "content": text}], "user": text, "metadata": {"k": text}, "stop": [text]}, x_hearth_conversation=header, x_hearth_parent=header, User_Agent=header, traceparent=header)
            self.post({"model": text, "messages": ASK}, x_hearth_conversation=header)
            self.post({"model": "m", "messages": ASK}, x_hearth_task=header)
            n += 3
        rows = wait_for(lambda: [r for r in [self.w.rows()] if len(r) == n], 15)[0]
        self.assertEqual(sum(r["outcome"] == "ok" for r in rows), len(HOSTILE))
        for text in HOSTILE:
            header = "".join(c for c in text if 32 <= ord(c) < 127) or "x"
            self.assertEqual(sum(r.get("conversation") == header.strip() for r in rows), 2, "as it was written")
            self.w.hearth("log", "--task", text.replace("\0", ""), "--model", "x' OR '1'='1")
            self.assertNotEqual(self.w.hearth("show", text.replace("\0", "")).returncode, 0)
        self.assertEqual(self.w.rows("--task", "' OR '1'='1"), [])
        self.assertEqual(len(self.w.rows()), n)
        self.w.verify()

    def test_names_of_callers_are_no_paths(self):
        self.world(lambda conn, body: reply(conn, whole()))
        before = {p for p in self.w.dir.rglob("*")}
        for name in ("../../etc/passwd", "/etc/passwd", "..%2f..%2fetc", "....//", "file:///etc/passwd", "m/../../x", "\\\\host\\share"):
            for path in ("/api/show", "/v1/chat/completions", "/api/chat"):
                status, text = self.post({"model": name, "name": name, "messages": ASK}, path)
                self.assertEqual(status, 404)
                self.assertNotIn(b"root:", text)
            self.assertIn(self.get("/v1/models/" + name.replace("\\", "%5c"))[0], (400, 404))
            self.assertIn(self.post({"model": "m", "messages": ASK}, x_hearth_prompt=name)[0], (400, 404))
        self.assertEqual({p for p in self.w.dir.rglob("*")} - before, set(), "and nothing was made")

    # ---- who may what ----

    def test_what_is_the_owners_is_not_there_for_others(self):
        self.world(lambda conn, body: reply(conn, whole()))
        self.base = None
        admin = self.w.hearth("key", "add", "boss", "--admin").stdout.strip()
        plain = self.w.hearth("key", "add", "alice", "--models", "m", "--zone", "machine").stdout.strip()
        self.renew()
        for key in (admin, plain):
            for path in ("/hearth/erase", "/hearth/reload", "/hearth/keys"):        # the admin key's, whether they are there or not
                self.assertEqual(self.post({"call": "x", "name": "m", "role": "admin"}, path, Authorization="Bearer " + key)[0], 403, path)
            for path in ("/key/generate", "/user/update", "/api/pull", "/api/delete", "/api/create", "/api/push", "/api/copy"):
                self.assertEqual(self.post({"call": "x", "name": "m", "role": "admin"}, path, Authorization="Bearer " + key)[0], 404, path)
        self.assertEqual(self.post({}, "/hearth/erase")[0], 401, "and whoever has no key learns nothing")
        for extra in ({"role": "admin"}, {"hearth_key": "boss"}, {"user": "boss"}, {"key_id": "boss"}, {"zone": "cloud"}, {"hearth_zone": "cloud"}):
            self.assertEqual(self.post({"model": "m", "messages": ASK, **extra}, Authorization="Bearer " + plain)[0], 200)
        self.assertEqual(self.post({"model": "tiny", "messages": ASK, "role": "admin"}, Authorization="Bearer " + plain, X_Hearth_Key="boss", X_Hearth_Admin="1")[0], 403)
        self.assertEqual({r["key_id"] for r in self.w.rows()}, {"alice"}, "whose call it is does not follow from what it says")
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=10)
        c.request("GET", "/metrics", headers={"Authorization": "Bearer " + plain, "X-Hearth-Admin": "1"})
        self.assertEqual(c.getresponse().status, 403)

    # ---- what lies about ----

    def test_no_key_and_no_prompt_in_logs_errors_metrics_and_titles(self):
        state = {"n": 0}

        def script(conn, body):
            state["n"] += 1
            if state["n"] % 3 == 0:
                return reply(conn, json.dumps({"error": {"message": "quoting: " + body["messages"][0]["content"], "type": PERSON, "code": PERSON}}).encode(), 400)
            if state["n"] % 3 == 1:
                conn.sendall(b"HTTP/1.1 200 " + PERSON.encode() + b"\r\n\r\n{")
                return False
            return reply(conn, whole())
        self.world_with_key(script)
        self.base = None
        key = self.w.hearth("key", "add", "alice").stdout.strip()
        self.renew()
        for api in PATHS:
            for stream in (False, True):
                for text in (PERSON,) * 3:
                    self.post(body_of(api, stream, text), PATHS[api], Authorization="Bearer " + key, x_api_key=key)
        self.post({"model": PERSON, "messages": ASK}, Authorization="Bearer " + key)
        self.post({"model": "m", "messages": [{"role": PERSON, "content": 1}]}, Authorization="Bearer " + key)
        status, wrong = self.post({"model": "m", "messages": ASK}, Authorization="Bearer " + key + "x")
        self.assertEqual(status, 401)
        self.assertNotIn(key.encode(), wrong)
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=10)
        c.request("GET", "/metrics", headers={"Authorization": "Bearer " + self.w.hearth("key", "add", "boss", "--admin").stdout.strip()})
        self.renew()
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=10)
        c.request("GET", "/metrics", headers={"Authorization": "Bearer " + self.w.hearth("key", "rotate", "boss").stdout.strip()})
        places = {"the log": (self.w.dir / "serve.log").read_bytes(), "the title": pathlib.Path(self.proc, "cmdline").read_bytes(), "rows": json.dumps(self.w.rows()).encode(), "config show": self.w.hearth("config", "show").stdout.encode(),
                  "keys": (self.w.dir / "keys.yaml").read_bytes(), "doctor": self.w.hearth("doctor").stdout.encode(), "the database": (self.w.dir / "hearth.db").read_bytes() + (self.w.dir / "hearth.db-wal").read_bytes()}

        def metrics():
            self.renew()
            boss = self.w.hearth("key", "rotate", "boss").stdout.strip()
            self.renew()
            c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=10)
            c.request("GET", "/metrics", headers={"Authorization": "Bearer " + boss})
            r = c.getresponse()
            return r.read() if r.status == 200 else None
        places["metrics"] = wait_for(metrics, 20)
        for name, text in places.items():
            self.assertNotIn(SECRET.encode(), text, name)
            self.assertNotIn(key.encode(), text, name)
            if name not in ("rows", "the database"):        # the model that was asked for is on record, as it was asked for
                self.assertNotIn(b"Lovelace", text, name)
        self.assertFalse([r for r in self.w.rows() if "Lovelace" in json.dumps({k: v for k, v in r.items() if k != "model_asked"})], "no row quotes a prompt or an upstream's words")

    def test_files_are_for_their_owner_alone(self):
        os.umask(0)
        self.addCleanup(os.umask, 0o022)
        self.world(lambda conn, body: reply(conn, whole()))
        self.base = None
        self.w.dir.chmod(0o755)
        self.w.hearth("key", "add", "alice")
        self.w.hearth("prompt", "add", "p", str(ROOT / "README.md"))
        self.post({"model": "m", "messages": ASK}, x_hearth_data="private")
        self.w.hearth("backup", str(self.w.dir / "copy.db"))
        ours = {"hearth.yaml", "serve.log"}             # made by the test
        seen = {}
        for p in self.w.dir.rglob("*"):
            if p.name not in ours:
                seen[p.name] = stat.S_IMODE(p.lstat().st_mode)
        for name in ("hearth.db", "hearth.db-wal", "hearth.db-shm", "hearth.db.lock", "hearth.db.key", "hearth.db.sock", "keys.yaml", "copy.db", "run"):
            self.assertIn(name, seen)
        self.assertEqual({n: oct(m) for n, m in seen.items() if m & 0o077}, {}, "whatever the umask says")

    @unittest.skipIf(os.geteuid(), "only root can be somebody else")
    def test_sockets_answer_their_owner_alone(self):
        """Also when their modes were opened to everybody: who asks is what counts."""
        self.world(lambda conn, body: reply(conn, whole()))
        self.base = None
        self.assertEqual(self.post({"model": "tiny", "messages": ASK, "max_tokens": 2})[0], 200)
        sockets = [p for p in self.w.dir.rglob("*") if p.is_socket()]
        self.assertEqual(len(sockets), 2, sockets)             # that of hearth and that of the engine
        for p in [self.w.dir, self.w.dir / "run", *sockets]:
            p.chmod(0o777)
        for p in sockets:
            for user, want in ((0, "HTTP/1.1 200\n"), (65534, "")):
                out = subprocess.run([os.path.realpath(sys.executable), "-S", "-c", KNOCK, str(p)], user=user, cwd="/", capture_output=True, text=True, timeout=30)
                self.assertEqual((out.stdout.strip("\n"), out.returncode), (want.strip("\n"), 0), (p.name, user, out.stderr))

    # ---- engines ----

    def test_an_engine_has_nothing_that_hearth_has_open(self):
        """Not the connections to upstreams, not the ledger, not what hearth itself was started with."""
        self.up = Raw(lambda conn, body: reply(conn, whole()))
        w = self.w = World({"providers": f"  up: {{ api: openai, url: http://127.0.0.1:{self.up.port}/v1, zone: machine }}", "models": "  m: { provider: up, id: x }"})
        self.addCleanup(w.close)
        w.config.write_text(w.config.read_text().replace("default: tiny", "default: m"))
        r, inherited = os.pipe()
        os.set_inheritable(inherited, True)
        w.start(close_fds=False)
        os.close(r)
        threads = [threading.Thread(target=self.ask) for _ in range(100)]       # many kept connections
        [t.start() for t in threads]
        [t.join() for t in threads]
        self.assertEqual(self.post({"model": "tiny", "messages": ASK, "max_tokens": 2})[0], 200)

        def open_in(pid):
            found = {}
            for f in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                try:
                    found[int(f.name)] = os.readlink(f)
                except OSError:
                    pass
            return found
        ours, theirs = open_in(w.server.pid), open_in(w.engines()[0])
        pipe = os.readlink(f"/proc/self/fd/{inherited}")
        os.close(inherited)
        self.assertIn(pipe, ours.values(), "hearth was started with it")
        shared = {name for fd, name in theirs.items() if name in ours.values() and not name.startswith(("anon_inode:", "/dev/null")) and fd > 2}
        self.assertLessEqual({n for n in shared if not n.startswith("socket:")}, {str(MODEL)})
        self.assertLessEqual(len([n for n in shared if n.startswith("socket:")]), 1, "the one it is asked through")
        tcp = {f"socket:[{line.split()[9]}]" for table in ("tcp", "tcp6") for line in open(f"/proc/{w.server.pid}/net/{table}").read().splitlines()[1:]}
        self.assertEqual(tcp & set(theirs.values()), set())
        self.assertGreater(len(tcp & set(ours.values())), 3)

    # ---- weights ----

    def test_what_is_recorded_are_the_weights_that_were_loaded(self):
        """The file is opened once: another one in its place is neither loaded nor recorded, until the engine is started again."""
        d = pathlib.Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True).stdout.strip())
        self.addCleanup(subprocess.run, ["rm", "-rf", str(d)])
        sums = []
        for seed in ("1", "2"):
            made = subprocess.run([sys.executable, ROOT / "tools/make-tiny-gguf", d / f"{seed}.gguf", "--seed", seed], capture_output=True, text=True)
            self.assertEqual(made.returncode, 0, made.stderr)
            sums.append(hashlib.sha256((d / f"{seed}.gguf").read_bytes()).hexdigest())
        os.rename(d / "1.gguf", d / "model.gguf")
        w = World()
        self.addCleanup(w.close)
        w.config.write_text(re.sub(r"(tiny: \{ provider: here, file: )[^,]+", rf"\g<1>{d}/model.gguf", w.config.read_text()).replace("context: 2048", "context: 256"))
        w.start()

        def ask():
            c = http.client.HTTPConnection("127.0.0.1", w.port, timeout=60)
            c.request("POST", "/v1/chat/completions", json.dumps({"model": "tiny", "messages": ASK, "max_tokens": 3}), {"Content-Type": "application/json"})
            r = c.getresponse()
            text = r.read()
            self.assertEqual(r.status, 200, text)
            return re.search("weights_sha256 +([0-9a-f]{64})", w.hearth("show", r.headers["x-hearth-call"]).stdout).group(1)
        self.assertEqual(ask(), sums[0])
        os.rename(d / "2.gguf", d / "model.gguf")
        self.assertEqual(ask(), sums[0])
        for pid in w.engines():
            os.kill(pid, 9)
        wait_for(lambda: not w.engines() or ask() == sums[1], 60)
        self.assertEqual(ask(), sums[1])


if __name__ == "__main__":
    unittest.main(argv=["test_requirements"], verbosity=2)
