"""`hearth pull`: from a hub, a registry, an address and a file; what is cut, wrong, slow, hostile or done twice; and that the fake hub is one, by the hub's own client."""
import contextlib, http.client, json, os, pathlib, pty, re, resource, select, shutil, signal, subprocess, sys, tempfile, time, unittest

from hub import COMMIT, Cdn, Handler, Hub, Server, gguf, sha256, split
from world import HEARTH, MODEL, free_port, wait_for

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MiB = 1 << 20


def certificate(d):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", d / "key.pem", "-out", d / "cert.pem", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return d / "cert.pem", d / "key.pem"


class Pulls(unittest.TestCase):
    """A hub with a content network at another port, and a folder of models of our own."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hearth-pull-"))
        self.models = self.dir / "models"
        self.cdn = Cdn()
        self.hub = Hub(self.cdn)
        self.configure()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "OLLAMA", "LLAMA_", "XDG_", "http", "HTTP", "all_proxy", "ALL_PROXY"))} | {"HOME": str(self.dir / "home")}

    def tearDown(self):
        self.cdn.release.set()
        for s in (self.hub, self.cdn):
            s.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def configure(self, more="", hub=None):
        (self.dir / "hearth.yaml").write_text(f"""
models_dir: {self.models}
ledger: {{ path: hearth.db }}
engine: {{ digests: {self.dir}/digests, run_dir: {self.dir}/run, log_dir: {self.dir}/log }}
pull: {{ hub: {hub or self.hub.url}, registry: {self.hub.url}, tries: 3, stall: 1s, connect: 2s{more} }}
""")

    def start(self, *args, env=None, **kw):
        return subprocess.Popen([HEARTH, "pull", *args, "-c", str(self.dir / "hearth.yaml")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**self.env, **(env or {})}, **kw)

    def pull(self, *args, env=None, **kw):
        p = self.start(*args, env=env, **kw)
        out, err = p.communicate(timeout=120)
        return subprocess.CompletedProcess(args, p.returncode, out, err)

    def good(self, *args, **kw):
        r = self.pull(*args, **kw)
        self.assertEqual(r.returncode, 0, r.stderr)
        return r

    def bad(self, code, *args, says=(), **kw):
        r = self.pull(*args, **kw)
        self.assertEqual(r.returncode, code, r.stdout + r.stderr)
        for s in [says] if isinstance(says, str) else says:
            self.assertIn(s, r.stderr)
        self.assertNotIn("hf_secret", r.stdout + r.stderr)
        self.assertNotIn("X-Amz-Signature", r.stdout + r.stderr)
        self.assertFalse(list(self.models.glob("*.gguf")) if self.models.exists() else [])
        return r

    def hearth(self, *args, **kw):
        return subprocess.run([HEARTH, *args, "-c", str(self.dir / "hearth.yaml")], capture_output=True, text=True, timeout=120, env=self.env, **kw)

    def is_there(self, name, data):
        self.assertEqual((self.models / name).read_bytes(), data)
        self.assertEqual([p.name for p in self.models.iterdir() if ".part" in p.name or p.name.endswith(".new")], [])

    def repo(self, size=1 * MiB, path="m-Q4_K_M.gguf", **kw):
        data = gguf(size, **kw)
        self.hub.repos["org/repo"] = {path: data, "README.md": b"# hello"}
        return data


class FromAHub(Pulls):
    def test_a_file_is_fetched_checked_recorded_and_found(self):
        data = self.repo(9 * MiB)
        r = self.good("hf:org/repo:Q4_K_M")
        self.is_there("m-Q4_K_M.gguf", data)
        self.assertIn("m-q4-k-m: { file: m-Q4_K_M.gguf }", r.stdout)
        self.assertIn(f"hearth run --model {self.models}/m-Q4_K_M.gguf", r.stdout)
        self.assertIn("as announced", r.stdout)
        record = json.loads((self.models / "m-Q4_K_M.gguf.json").read_text())
        self.assertEqual((record["sha256"], record["size"], record["source"], record["commit"], record["announced"]), (sha256(data), len(data), "hf:org/repo:Q4_K_M", COMMIT, True))
        self.assertEqual((self.models / "m-Q4_K_M.gguf").stat().st_mode & 0o777, 0o644)
        self.assertIn(sha256(data), (self.dir / "digests").read_text())      # loading it need not hash it again
        listed = [json.loads(x) for x in self.hearth("models", "--all", "--json").stdout.splitlines()]
        self.assertEqual([(m["name"], m["from"], m["sha256"], m["quantization"], m["context"], m["state"]) for m in listed],
                         [("m-q4-k-m", "hearth", sha256(data), "Q4_K_M", 2048, "on disk")])

    def test_what_is_there_is_not_fetched_again_and_what_is_new_replaces_it(self):
        self.repo()
        self.good("org/repo")
        self.cdn.calm()
        r = self.good("org/repo")
        self.assertIn("is here already", r.stderr)
        self.assertEqual(self.cdn.served, 0)
        newer = self.repo(seed=2)
        self.good("org/repo")
        self.is_there("m-Q4_K_M.gguf", newer)
        # Another repository's file of the same name is another model: it is not overwritten.
        self.hub.repos["other/repo"] = {"m-Q4_K_M.gguf": gguf(seed=3)}
        r = self.pull("other/repo")
        self.assertEqual(r.returncode, 1)
        self.assertIn("--name", r.stderr)
        self.is_there("m-Q4_K_M.gguf", newer)
        self.good("other/repo", "--name", "theirs")
        self.assertTrue((self.models / "theirs.gguf").exists())

    def test_the_right_file_is_chosen_or_all_are_named(self):
        files = {n: gguf(4096, seed=i) for i, n in enumerate(("a-Q4_K_M.gguf", "a-IQ4_K_M.gguf", "sub/a-Q8_0.gguf", "b-Q8_0.gguf", "mmproj-Q4_K_M.gguf"))}
        self.hub.repos["org/repo"] = files
        self.hub.page = 2                   # a listing in pages
        self.good("org/repo")
        self.is_there("a-Q4_K_M.gguf", files["a-Q4_K_M.gguf"])
        self.good("org/repo:iq4_k_m")
        self.good("org/repo:sub/a-Q8_0.gguf")
        self.is_there("a-Q8_0.gguf", files["sub/a-Q8_0.gguf"])
        for want, code, says in (("Q8_0", 2, "sub/a-Q8_0.gguf, b-Q8_0.gguf"), ("Q2_K", 4, "there is no Q2_K"), ("x.gguf", 4, "a-Q4_K_M.gguf")):
            r = self.pull("org/repo:" + want)
            self.assertEqual(r.returncode, code, r.stderr)
            self.assertIn(says, r.stderr)

    def test_a_split_model_is_fetched_whole_and_joined(self):
        """A model in three files becomes that model again: the same keys, tensors and answers."""
        original = self.dir / "original.gguf"
        subprocess.run([sys.executable, ROOT / "tools/make-tiny-gguf", original, "--tokenizer", "bpe", "--template", "chatml"], check=True, capture_output=True)
        data = original.read_bytes()
        parts = dict(zip((f"x/m-Q4_1-{i:05}-of-00003.gguf" for i in (1, 2, 3)), split(data, 3)))
        self.hub.repos["org/repo"] = parts
        r = self.good("org/repo:q4_1")
        self.assertIn("of the 3 files that it was split over, each checked", r.stdout)
        self.assertEqual(sorted(p.name for p in self.models.iterdir()), ["m-Q4_1.gguf", "m-Q4_1.gguf.json"])
        import gguf as package
        ours, theirs = package.GGUFReader(self.models / "m-Q4_1.gguf"), package.GGUFReader(original)
        self.assertEqual([k for k in ours.fields if not k.startswith("GGUF.")], [k for k in theirs.fields if not k.startswith("GGUF.")])
        for a, b in zip(ours.tensors, theirs.tensors, strict=True):
            self.assertEqual((a.name, list(a.shape), a.tensor_type), (b.name, list(b.shape), b.tensor_type))
            self.assertTrue((a.data == b.data).all(), a.name)
        ask = lambda model: subprocess.run([HEARTH, "run", "--model", str(model), "The sky is", "--temperature", "0", "--max-tokens", "12", "-q", "--ledger", str(self.dir / "l.db")], capture_output=True, text=True,
                                           timeout=120, env={**self.env, "XDG_RUNTIME_DIR": str(self.dir / "run")}).stdout
        self.assertEqual(ask(self.models / "m-Q4_1.gguf"), ask(original))
        self.assertTrue(ask(original).strip())
        # It is the same model the next time, though its files are gone; and another one when one of them changed.
        self.cdn.calm()
        r = self.good("org/repo:q4_1", "--json")
        done = json.loads(r.stdout.splitlines()[-1])
        self.assertEqual((done["fetched"], done["files"], done["parameters"], self.cdn.served), (False, 1, sum(int(t.n_elements) for t in theirs.tensors), 0))
        self.assertIn("is gone", self.hearth("rm", "m-q4-1").stdout)
        self.assertEqual(list(self.models.iterdir()), [])

    def test_files_that_do_not_belong_together_are_not_joined(self):
        parts = split(gguf(4096), 1) * 2
        self.hub.repos["org/repo"] = {f"m-{i:05}-of-00002.gguf": d for i, d in enumerate(parts, 1)}
        r = self.pull("org/repo")
        self.assertEqual(r.returncode, 1)
        self.assertIn("not the one that its name says", r.stderr)
        self.assertFalse((self.models / "m.gguf").exists())
        del self.hub.repos["org/repo"]["m-00002-of-00002.gguf"]
        self.assertIn("only 1 of the model's 2 files", self.pull("org/repo").stderr)

    def test_ranges_come_in_parallel_but_not_more_than_allowed(self):
        data = self.repo(40 * MiB)
        self.cdn.pace_s = 0.002
        self.good("org/repo")
        self.is_there("m-Q4_K_M.gguf", data)
        self.assertTrue(2 <= self.cdn.most <= 4, self.cdn.most)
        self.assertEqual(self.cdn.served, len(data))
        # Of the hub itself only the list and one way to the file were asked for.
        self.assertLessEqual(len(self.hub.seen), 3)

    def test_the_token_goes_to_the_hub_alone(self):
        data = self.repo(5 * MiB)
        self.hub.gated.add("org/repo")
        self.bad(4, "org/repo", says=("is gated: accept its terms at " + self.hub.url + "/org/repo", "set HF_TOKEN"))
        self.bad(4, "org/repo", env={"HF_TOKEN": "hf_secret_but_wrong"}, says="HF_TOKEN may not read it")
        self.good("org/repo", env={"HF_TOKEN": "hf_secret"})
        self.is_there("m-Q4_K_M.gguf", data)
        self.assertTrue(all("Authorization" in h for _, p, h in self.hub.seen[-2:]))
        self.assertEqual([h for _, _, h in self.cdn.seen if "Authorization" in h], [])
        self.assertNotIn("hf_secret", "".join(p.read_text(errors="replace") for p in self.models.glob("*.json")))
        self.assertEqual(self.pull("org/repo", env={"HF_TOKEN": "hf_secret\r\nX-Evil: 1"}).returncode, 2)

    def test_a_mirror_by_environment_or_configuration(self):
        data = self.repo()
        other = Hub(self.cdn)
        try:
            self.configure(hub=other.url)
            self.bad(4, "org/repo", env={"HF_ENDPOINT": self.hub.url}, says="has no repository org/repo")      # what is written comes first
            (self.dir / "hearth.yaml").write_text(f"models_dir: {self.models}\nengine: {{ digests: {self.dir}/digests }}\n")
            self.good("org/repo", env={"HF_ENDPOINT": self.hub.url + "/"})
            self.is_there("m-Q4_K_M.gguf", data)
        finally:
            other.close()

    def test_what_is_not_there_is_said(self):
        self.repo()
        self.bad(4, "org/other", says="has no repository org/other, or it is private")
        self.bad(4, "org/repo@v9:Q4_K_M", says="has no revision v9")
        self.hub.fail(200, "/tree/", body=b"<html>")
        self.bad(1, "org/repo", says="cannot be read")
        self.hub.fail(404, "/resolve/")
        self.bad(4, "org/repo", says="404")
        self.configure(hub="http://127.0.0.1:9")
        self.bad(1, "org/repo", says="127.0.0.1")

    def test_the_hubs_own_client_gets_the_same_from_this_hub(self):
        data = self.repo(3 * MiB)
        code = ("import sys, huggingface_hub as h; api = h.HfApi()\n"
                "print([(f.path, f.size, f.lfs.sha256 if f.lfs else None) for f in api.list_repo_tree('org/repo', recursive=True)])\n"
                "print(h.hf_hub_download('org/repo', 'm-Q4_K_M.gguf'))")
        env = {**self.env, "HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.dir / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
        r = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn(str(("m-Q4_K_M.gguf", len(data), sha256(data))), r.stdout)
        path = pathlib.Path(r.stdout.split()[-1])
        self.assertEqual(path.read_bytes(), data)
        # And hearth finds what it has put into its cache, with the digest that its names promise.
        listed = subprocess.run([HEARTH, "models", "--all", "--json", "-c", str(self.dir / "hearth.yaml")], capture_output=True, text=True, env=env)
        m = json.loads(listed.stdout)
        self.assertEqual((m["name"], m["from"], m["sha256"], m["file"]), ("hf:org/repo:m-q4-k-m", "hf", sha256(data), str(path)))


class Faults(Pulls):
    def test_a_pull_that_was_killed_goes_on_where_it_stood(self):
        data = self.repo(48 * MiB)
        self.cdn.pace_s = 0.01
        p = self.start("org/repo")
        # A second's worth is on disk, and the state says so.
        state = self.models / "m-Q4_K_M.gguf.part.json"
        wait_for(lambda: state.exists() and sum(json.loads(state.read_text())["done"]) > 6 * MiB, 60)
        p.kill()
        p.communicate()
        self.assertFalse((self.models / "m-Q4_K_M.gguf").exists())
        self.assertEqual((self.models / "m-Q4_K_M.gguf.part").stat().st_mode & 0o777, 0o600)
        wait_for(lambda: self.cdn.running == 0)
        promised = sum(json.loads(state.read_text())["done"])
        self.cdn.calm()
        r = self.good("org/repo")
        self.is_there("m-Q4_K_M.gguf", data)
        self.assertIn("are here already", r.stderr)
        self.assertEqual(self.cdn.served, len(data) - promised)

    def test_ctrl_c_keeps_what_has_come(self):
        data = self.repo(48 * MiB)
        self.cdn.pace_s = 0.01
        p = self.start("org/repo")
        wait_for(lambda: self.cdn.served > 6 * MiB, 60)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 1)
        self.assertIn("the same command goes on from here", err)
        wait_for(lambda: self.cdn.running == 0)
        self.cdn.calm()
        self.good("org/repo")
        self.is_there("m-Q4_K_M.gguf", data)
        self.assertLess(self.cdn.served, len(data) - 5 * MiB)

    def test_cut_transfers_go_on_without_fetching_twice(self):
        data = self.repo(20 * MiB)
        self.cdn.cut_after, self.cdn.cut_requests = 1 * MiB, 9
        r = self.good("org/repo")
        self.is_there("m-Q4_K_M.gguf", data)
        self.assertIn("trying again", r.stderr)
        # What was on its way when a connection was cut may be lost; no more than that comes twice.
        self.assertLess(self.cdn.served, len(data) + 4 * MiB)

    def test_a_server_that_keeps_cutting_is_given_up_and_the_part_stays(self):
        data = self.repo(8 * MiB)
        self.cdn.cut_after, self.cdn.cut_requests = 0, 1000
        self.bad(1, "org/repo")
        self.cdn.calm()
        self.cdn.cut_after, self.cdn.cut_requests = 128 << 10, 1000
        self.bad(1, "org/repo")
        self.cdn.calm()
        self.good("org/repo")
        self.is_there("m-Q4_K_M.gguf", data)
        self.assertLess(self.cdn.served, len(data))

    def test_a_server_without_ranges_sends_all_of_it_from_the_start(self):
        data = self.repo(6 * MiB)
        self.cdn.ranges = False
        self.cdn.cut_after, self.cdn.cut_requests = 2 * MiB, 1
        self.good("org/repo")
        self.is_there("m-Q4_K_M.gguf", data)
        self.assertEqual(self.cdn.most, 1)
        self.assertEqual(self.cdn.served, len(data) + 2 * MiB)

    def test_wrong_bytes_never_get_the_name(self):
        data = self.repo(6 * MiB)
        real, wrong = sha256(data), bytearray(data)
        wrong[5 * MiB] ^= 1
        self.cdn.blobs["/" + real] = bytes(wrong)
        self.bad(1, "org/repo", says=(real, sha256(bytes(wrong)), "thrown away"))
        self.assertEqual(list(self.models.iterdir()), [])
        # The list and the way to the file disagree: nothing is fetched.
        self.cdn.calm()
        self.hub.said["m-Q4_K_M.gguf"] = "1" * 64
        self.bad(1, "org/repo", says="another SHA-256 at the hub now")
        self.assertLess(self.cdn.served, 5 * MiB)

    def test_a_file_that_is_no_model_never_gets_the_name(self):
        for data, says in ((b"<html>not found</html>" * 100, "this is not a GGUF file"), (gguf(1 * MiB)[:-100], "shorter than its tensors"), (gguf(4096, kind="adapter"), "its general.type is adapter")):
            self.hub.repos["org/repo"] = {"m-Q4_K_M.gguf": data}
            self.bad(1, "org/repo", says=says)
            self.assertEqual(list(self.models.iterdir()), [])

    def test_lengths_that_are_lies_are_noticed(self):
        self.repo(6 * MiB)
        self.cdn.longer = 10
        self.bad(1, "org/repo", says="were announced")
        self.cdn.calm()
        self.cdn.shift = 1
        self.bad(1, "org/repo", says="another range")
        self.cdn.calm()
        self.cdn.extra = 65536
        self.bad(1, "org/repo", says="more than was asked for")
        self.cdn.calm()
        self.cdn.ranges, self.cdn.length = False, False
        self.bad(1, "org/repo", says="does not say how long")
        self.cdn.calm()
        self.cdn.fields = {"Content-Encoding": "gzip"}
        self.bad(1, "org/repo", says="encoding")

    def test_a_transfer_that_stalls_is_begun_again(self):
        data = self.repo(6 * MiB)
        self.cdn.stall_after, self.cdn.stall_requests = 1 * MiB, 1
        r = self.good("org/repo")
        self.is_there("m-Q4_K_M.gguf", data)
        self.assertIn("sent nothing for 1 s", r.stderr)
        self.cdn.calm()
        self.cdn.stall_after, self.cdn.stall_requests = 0, 1000
        (self.models / "m-Q4_K_M.gguf").unlink()
        self.bad(1, "org/repo", says="sent nothing for 1 s")

    def test_busy_servers_are_asked_again_when_they_say(self):
        data = self.repo()
        self.hub.fail(429, "/tree/", Retry_After="1")
        self.hub.fail(429, "/resolve/", RateLimit='"api";r=0;t=1')
        self.cdn.fail(503)
        began = time.monotonic()
        r = self.good("org/repo")
        self.is_there("m-Q4_K_M.gguf", data)
        self.assertGreaterEqual(time.monotonic() - began, 2)
        self.assertGreaterEqual(r.stderr.count("trying again"), 3)
        self.hub.fail(429, "/tree/", Retry_After="86400")
        r = self.pull("org/repo")
        self.assertEqual(r.returncode, 1)
        self.assertIn("wants to be left alone for 86400 s", r.stderr)
        self.hub.fail(500, "/tree/", times=3)
        self.assertEqual(self.pull("org/repo").returncode, 1)

    def test_a_signed_address_that_ran_out_is_asked_for_anew(self):
        data = self.repo(20 * MiB)
        self.cdn.expires, self.cdn.pace_s = True, 0.005
        p = self.start("org/repo")
        wait_for(lambda: self.cdn.served > 5 * MiB, 60)
        self.cdn.signature = "2"
        out, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 0, err)
        self.is_there("m-Q4_K_M.gguf", data)

    def test_two_pulls_of_one_file_fetch_it_once(self):
        data = self.repo(24 * MiB)
        self.cdn.pace_s = 0.01
        first = self.start("org/repo")
        wait_for(lambda: self.cdn.served > 0)
        second = self.start("org/repo")
        for p in (first, second):
            out, err = p.communicate(timeout=120)
            self.assertEqual(p.returncode, 0, err)
        self.assertIn("another hearth fetches m-Q4_K_M.gguf: waiting for it", err)
        self.is_there("m-Q4_K_M.gguf", data)
        self.assertEqual(self.cdn.served, len(data))

    def test_a_full_disk_is_said_and_what_came_is_kept(self):
        data = self.repo(12 * MiB)
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6 * MiB, 6 * MiB))
        self.bad(1, "org/repo", says="m-Q4_K_M.gguf.part", preexec_fn=limit)
        self.cdn.calm()
        self.good("org/repo")
        self.is_there("m-Q4_K_M.gguf", data)
        self.assertLess(self.cdn.served, len(data))
        # More than the disk has is refused before a byte of it is asked for.
        self.hub.listing["org/repo"] = [{"type": "file", "oid": "x", "size": 10**17, "path": "huge-Q8_0.gguf", "lfs": {"oid": "2" * 64, "size": 10**17, "pointerSize": 1}}]
        self.cdn.calm()
        r = self.pull("org/repo:Q8_0")
        self.assertEqual(r.returncode, 1)
        self.assertIn("make room", r.stderr)
        self.assertEqual(self.cdn.requests, 0)
        self.assertEqual([p.name for p in self.models.iterdir() if "huge" in p.name], [])


class Redirects(Pulls):
    def test_loops_foreign_schemes_and_other_machines_are_not_followed(self):
        self.repo()
        for location, says in ((self.hub.url + "/org/repo/resolve/main/m-Q4_K_M.gguf", "redirects too often"), ("http://198.51.100.7/x", "only https is used"), ("file:///etc/passwd", "not followed"),
                               ("ftp://127.0.0.1/x", "not followed"), ("http://user:pass@127.0.0.1/x", "a name or a password"), ("//", "not followed"), ("http://127.0.0.1.example.com/x", "only https is used")):
            with self.subTest(location):
                self.hub.location = location
                self.bad(1, "org/repo", env={"HF_TOKEN": "hf_secret"}, says=says)
                self.assertLess(len(self.hub.seen), 40)
                self.hub.seen.clear()

    def test_https_stays_https_and_certificates_are_checked(self):
        tls = certificate(self.dir)
        data = self.repo(5 * MiB)
        secure_cdn = Cdn(tls)
        secure = Hub(secure_cdn, tls)
        secure.repos, secure.gated = self.hub.repos, {"org/repo"}
        try:
            self.configure(hub=secure.url)
            self.bad(1, "org/repo", says="localhost")
            self.configure(more=f", ca_file: {tls[0]}", hub=secure.url)
            secure.location = self.cdn.put(data)                # from https to http, though on this very machine
            self.bad(1, "org/repo", env={"HF_TOKEN": "hf_secret"}, says="redirects from https to http")
            self.assertEqual(self.cdn.seen, [])
            secure.location = ""
            self.good("org/repo", env={"HF_TOKEN": "hf_secret"})
            self.is_there("m-Q4_K_M.gguf", data)
            self.assertEqual([h for _, _, h in secure_cdn.seen if "Authorization" in h], [])
        finally:
            secure.close(), secure_cdn.close()

    def test_the_token_is_dropped_on_the_way_even_when_it_comes_back(self):
        data = self.repo()
        target = self.cdn.put(data)

        class Back(Handler):
            def answer(self, path, query):
                self.reply(302, Location=target)
        back = Server(Back)
        try:
            self.hub.location = back.url + "/x"
            self.good("org/repo", env={"HF_TOKEN": "hf_secret"})
            self.assertEqual([h for s in (back, self.cdn) for _, _, h in s.seen if "Authorization" in h], [])
            self.assertIn("Authorization", self.hub.seen[-1][2])
        finally:
            back.close()


class Hostile(Pulls):
    def test_names_never_leave_the_folder(self):
        data = gguf(4096)
        for path in ("../../evil-Q4_K_M.gguf", "/etc/evil-Q4_K_M.gguf", "a/../../evil-Q4_K_M.gguf", "evil\0-Q4_K_M.gguf", "x" * 300 + "-Q4_K_M.gguf", "a//evil-Q4_K_M.gguf", "..\\evil-Q4_K_M.gguf",
                     "evil\n-Q4_K_M.gguf", "./evil-Q4_K_M.gguf"):
            with self.subTest(path):
                self.hub.repos["org/repo"] = {path: data}
                self.hub.listing["org/repo"] = [self.hub.entry(path, data)]
                self.bad(4, "org/repo", says="no GGUF file")
        for path, name in (("dir with space/-rf $(x)-Q4_K_M.gguf", "_rf---x--Q4_K_M.gguf"), (".hidden-Q4_K_M.gguf", "_hidden-Q4_K_M.gguf"), ("ü-Q4_K_M.gguf", None)):
            self.hub.repos["org/repo"] = {path: data}
            self.hub.listing["org/repo"] = [self.hub.entry(path, data)]
            self.good("org/repo")
            made = [p.name for p in self.models.glob("*.gguf")]
            self.assertEqual(made, [name] if name else made)
            self.assertTrue(all(re.fullmatch(r"\w[\w.+-]*", n) for n in made), made)
            shutil.rmtree(self.models)
        self.assertEqual([p for p in self.dir.rglob("*evil*")], [])

    def test_sources_are_taken_only_as_they_are_written(self):
        for source in ("", "x", "qwen3:4b", "hf:", "hf:org", "hf:../x", "hf:org/repo/x", "hf:org/..", "hf:org/repo:../x.gguf", "hf:org/repo@../x", "ollama:", "ollama:../x", "ollama:a/b/c/d", "ollama:x:../y",
                       "ollama:x:" + "y" * 81, "hf:" + "o" * 90 + "/repo123", "hf:org/re po", "hf:org/repo:Q4 K", "file:", "hf:org--x/repo"):
            with self.subTest(source):
                self.bad(2, source, says="See: hearth pull --help")
        self.bad(1, "http://example.com/m.gguf", says="only https")
        self.bad(1, "https://user:pw@example.com/m.gguf", says="a name or a password")
        self.bad(2, "hf:org/repo", "--sha256", "12", says="64")
        self.repo()
        for name in ("../x", "a b", "-x", "default", "x" * 200, "task/x", ""):
            with self.subTest(name):
                self.assertIn(self.pull("org/repo", "--name=" + name).returncode, (1, 2))
        self.assertEqual(list(self.models.glob("*.gguf")) if self.models.exists() else [], [])

    def test_listings_and_manifests_that_lie_are_refused(self):
        data = self.repo()
        for entries in ({}, [1, "x", None], [{"type": "file", "path": 7}], [{"type": "file", "path": "m-Q4_K_M.gguf", "size": -1}], [{"type": "file", "path": "m-Q4_K_M.gguf", "size": 1e99}]):
            self.hub.listing["org/repo"] = entries if entries else [{}]
            self.bad(4, "org/repo", says="no GGUF file")
        self.hub.fail(200, "/tree/", body=b"[" * 100000)
        self.bad(1, "org/repo", says="is too large")
        self.hub.page, self.hub.listing["org/repo"] = 1, [{"type": "directory", "path": f"d{i}", "size": 0} for i in range(100)]
        self.bad(1, "org/repo", says="does not end")
        layer = self.hub.layer("model", data)
        for layers, says in (([], "no layer"), ([layer, layer], "several files"), ([{**layer, "digest": "sha256:../../etc/passwd"}], "digest"), ([{**layer, "digest": "md5:" + "0" * 32}], "digest"),
                             ([{**layer, "size": -5}], "size"), ([{**layer, "size": len(data) + 1}], "were announced"), ([{**layer, "mediaType": "application/vnd.ollama.image.tensor"}], "not a GGUF")):
            self.hub.manifests["library/x:latest"] = {"layers": layers}
            self.bad(1, "ollama:x", says=says)

    def test_links_in_the_folder_are_not_followed(self):
        data = self.repo()
        victim = self.dir / "victim"
        victim.write_text("precious")
        self.models.mkdir()
        for name in ("m-Q4_K_M.gguf.part", "m-Q4_K_M.gguf.part.json.new"):
            (self.models / name).symlink_to(victim)
        r = self.pull("org/repo")
        self.assertEqual(r.returncode, 1)
        self.assertIn("this is a link", r.stderr)
        (self.models / "m-Q4_K_M.gguf.part").unlink()
        self.good("org/repo")
        self.assertEqual(victim.read_text(), "precious")
        self.assertEqual((self.models / "m-Q4_K_M.gguf").read_bytes(), data)
        # A second name for somebody's file as the part: not ours to write into.
        os.link(victim, self.models / "n-Q4_K_M.gguf.part")
        self.repo(path="n-Q4_K_M.gguf", seed=4)
        self.assertEqual(self.pull("org/repo").returncode, 1)
        self.assertEqual(victim.read_text(), "precious")
        os.mkfifo(self.models / "o-Q4_K_M.gguf.part")
        self.repo(path="o-Q4_K_M.gguf", seed=5)
        self.assertEqual(self.pull("org/repo").returncode, 1)

    def test_a_state_that_is_not_true_starts_from_the_beginning(self):
        data = self.repo(6 * MiB)
        self.models.mkdir()
        state = {"part": 1, "source": "org/repo", "size": len(data), "tag": "", "sha256": sha256(data), "done": [4 * MiB, 0]}
        for change, refetched in (({"done": [4 * MiB, 9 * MiB]}, True), ({"done": [1]}, True), ({"done": [-1, 0]}, True), ({"size": 1}, True), ({"source": "other/repo"}, True), ({"sha256": "0" * 64}, True), ({}, False)):
            (self.models / "m-Q4_K_M.gguf.part").write_bytes(data[:4 * MiB])
            (self.models / "m-Q4_K_M.gguf.part").chmod(0o600)
            (self.models / "m-Q4_K_M.gguf.part.json").write_text(json.dumps({**state, **change}))
            self.cdn.calm()
            self.good("org/repo")
            self.is_there("m-Q4_K_M.gguf", data)
            self.assertEqual(self.cdn.served == len(data), refetched, change)
            (self.models / "m-Q4_K_M.gguf").unlink()
        for garbage in (b"", b"{", b"\0" * 70000, b'{"size":1e400}'):
            (self.models / "m-Q4_K_M.gguf.part").write_bytes(b"x" * 100)
            (self.models / "m-Q4_K_M.gguf.part.json").write_bytes(garbage)
            self.good("org/repo")
            self.is_there("m-Q4_K_M.gguf", data)
            (self.models / "m-Q4_K_M.gguf").unlink()
        # Bytes that are not those the state promises: the digest tells, and the next try is clean.
        (self.models / "m-Q4_K_M.gguf.part").write_bytes(b"x" * 4 * MiB)
        (self.models / "m-Q4_K_M.gguf.part.json").write_text(json.dumps(state))
        self.bad(1, "org/repo", says="thrown away")
        self.good("org/repo")
        self.is_there("m-Q4_K_M.gguf", data)


class OtherSources(Pulls):
    def test_a_registry_gives_the_weights_and_what_goes_with_them(self):
        data = gguf(5 * MiB, template="")
        template, params = "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>{{ end }}", '{"stop":["<|im_end|>"],"num_ctx":4096}'
        self.hub.add_model("library/tiny:1b", data, template=template, params=params, system="Be brief.", license="MIT", projector="x" * 100)
        r = self.good("ollama:tiny:1b")
        self.is_there("tiny-1b.gguf", data)
        record = json.loads((self.models / "tiny-1b.gguf.json").read_text())
        self.assertEqual((record["name"], record["template"], record["params"], record["system"], record["sha256"]), ("tiny:1b", template, params, "Be brief.", sha256(data)))
        self.assertIn("tiny:1b: { file: tiny-1b.gguf, chat_template: chatml }", r.stdout)
        self.assertIn("projector is not fetched", r.stdout)
        self.assertEqual(self.hub.seen[0][2]["Accept"], "application/vnd.docker.distribution.manifest.v2+json")
        self.hub.add_model("someone/other:latest", gguf(4096, seed=7))
        self.good("ollama:someone/other")
        self.assertEqual(sorted(json.loads(x)["name"] for x in self.hearth("models", "--all", "--json").stdout.splitlines()), ["someone/other:latest", "tiny:1b"])
        self.assertIn("is gone", self.hearth("rm", "someone/other:latest").stdout)
        r = self.pull("ollama:absent")
        self.assertEqual(r.returncode, 4)
        self.assertIn("has no model ollama:absent", r.stderr)
        # A layer of text with other bytes than its digest.
        self.hub.add_model("library/bad:latest", gguf(4096, seed=8), template="right")
        digest = self.hub.manifests["library/bad:latest"]["layers"][1]["digest"][7:]
        self.cdn.blobs["/" + digest] = b"wrong"
        r = self.pull("ollama:bad")
        self.assertEqual(r.returncode, 1)
        self.assertIn(digest, r.stderr)

    def test_an_address_with_and_without_a_digest(self):
        data = gguf(6 * MiB)
        url = self.cdn.put(data) + "/../" + sha256(data) + "?token=secret"
        self.bad(1, url, says="--name")
        r = self.good(url, "--name", "mine", "--sha256", sha256(data).upper())
        self.is_there("mine.gguf", data)
        self.assertNotIn("secret", (self.models / "mine.gguf.json").read_text())
        self.assertIn("as announced", r.stdout)
        r = self.good(self.cdn.url + "/" + sha256(data), "--name", "other")
        self.assertIn("none was announced", r.stdout)
        (self.models / "mine.gguf").unlink(), (self.models / "other.gguf").unlink()
        self.bad(1, url, "--name", "x", "--sha256", "0" * 64, says=("0" * 64, sha256(data)))

    def test_an_address_whose_file_changed_is_begun_anew(self):
        for tag in ("v1", ""):              # without a tag nothing tells whether it changed: it is begun anew, too
            old, new = gguf(40 * MiB, seed=1), gguf(40 * MiB, seed=2)
            self.cdn.blobs["/m.gguf"], self.cdn.tag, self.cdn.pace_s = old, tag, 0.01
            p = self.start(self.cdn.url + "/m.gguf")
            wait_for(lambda: (self.models / "m.gguf.part.json").exists() and self.cdn.served > 8 * MiB, 60)
            p.kill(), p.communicate()
            wait_for(lambda: self.cdn.running == 0)
            self.cdn.calm()
            self.cdn.blobs["/m.gguf"], self.cdn.tag = new, tag and "v2"
            self.good(self.cdn.url + "/m.gguf")
            self.is_there("m.gguf", new)
            (self.models / "m.gguf").unlink()
            self.cdn.calm()

    def test_an_address_that_goes_on_needs_its_tag(self):
        data = gguf(40 * MiB)
        self.cdn.blobs["/m.gguf"], self.cdn.tag, self.cdn.pace_s = data, "v1", 0.01
        p = self.start(self.cdn.url + "/m.gguf")
        state = self.models / "m.gguf.part.json"
        wait_for(lambda: state.exists() and sum(json.loads(state.read_text())["done"]) > 6 * MiB, 60)
        p.kill(), p.communicate()
        wait_for(lambda: self.cdn.running == 0)
        self.cdn.calm()
        self.good(self.cdn.url + "/m.gguf")
        self.is_there("m.gguf", data)
        self.assertLess(self.cdn.served, len(data))

    def test_a_file_gets_a_second_name_or_a_copy(self):
        data = gguf(2 * MiB)
        file = self.dir / "Some Model.gguf"
        file.write_bytes(data)
        r = self.good(str(file))
        self.assertEqual((self.models / "Some-Model.gguf").stat().st_ino, file.stat().st_ino)
        self.assertIn("some-model", r.stdout)
        self.assertIn("is here already", self.good(str(file)).stderr)
        self.good("file:" + str(file), "--copy", "--name", "copied")
        self.assertNotEqual((self.models / "copied.gguf").stat().st_ino, file.stat().st_ino)
        self.is_there("copied.gguf", data)
        other = self.dir / "other.bin"
        other.write_bytes(b"no model")
        for args, code, says in ((("/absent.gguf",), 4, "No such file"), ((str(self.dir) + "/",), 1, "--name"), (("file:" + str(other), "--name", "x"), 1, "not a GGUF"),
                                 ((str(file), "--name", "y", "--sha256", "0" * 64), 1, "SHA-256"), (("file:" + str(self.dir), "--name", "z"), 4, "is not a file")):
            r = self.pull(*args)
            self.assertEqual(r.returncode, code, r.stderr)
            self.assertIn(says, r.stderr)
        self.assertEqual(sorted(p.name for p in self.models.glob("*.gguf")), ["Some-Model.gguf", "copied.gguf"])
        self.assertIn("is gone", self.hearth("rm", "some-model").stdout)
        self.assertEqual(file.read_bytes(), data)


class Seen(Pulls):
    def test_a_program_reads_events(self):
        data = self.repo(24 * MiB)
        self.cdn.pace_s = 0.01
        self.cdn.fail(503)
        r = self.good("org/repo", "--json")
        self.assertEqual(r.stderr, "")
        events = [json.loads(x) for x in r.stdout.splitlines()]
        kinds = [e["event"] for e in events]
        for k in ("listing", "retry", "begin", "progress", "checking", "file", "done"):
            self.assertIn(k, kinds)
        progress = [e["done"] for e in events if e["event"] == "progress"]
        self.assertEqual(progress, sorted(progress))
        self.assertEqual((events[-1]["name"], events[-1]["sha256"], events[-1]["bytes"], events[-1]["fetched"]), ("m-q4-k-m", sha256(data), len(data), True))
        self.assertFalse(json.loads(self.good("org/repo", "--json").stdout.splitlines()[-1])["fetched"])

    def test_a_pipe_gets_plain_lines_and_a_terminal_a_bar(self):
        self.repo(16 * MiB)
        r = self.good("org/repo")
        self.assertNotIn("\x1b", r.stderr + r.stdout)
        self.assertIn("fetching m-Q4_K_M.gguf (17 MB)", r.stderr)
        (self.models / "m-Q4_K_M.gguf").unlink()
        self.cdn.pace_s = 0.01
        main, sub = pty.openpty()
        p = self.start("org/repo", env={"TERM": "xterm"})
        p.communicate(timeout=60)
        (self.models / "m-Q4_K_M.gguf").unlink()
        p = subprocess.Popen([HEARTH, "pull", "org/repo", "-c", str(self.dir / "hearth.yaml")], stdout=sub, stderr=sub, env={**self.env, "TERM": "xterm"})
        os.close(sub)
        shown = b""
        while select.select([main], [], [], 60)[0]:
            try:
                piece = os.read(main, 65536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        os.close(main)
        self.assertEqual(p.wait(60), 0, shown)
        shown = shown.decode(errors="replace")
        self.assertRegex(shown, r"\r\x1b\[Km-Q4_K_M\.gguf \[█*·*\] +\d+ %, [\d.]+ [MK]?B of 17 MB, [\d.]+ [MK]B/s")
        self.assertIn(" left", shown)
        self.assertTrue(all(len(re.sub(r"\x1b\[[0-9;]*[mK]", "", x)) <= 120 for x in shown.replace("\n", "\r").split("\r")))

    def test_a_pulled_model_is_served_at_once_and_answers(self):
        """The real starter model, through the whole way: pulled while a hearth without a configuration serves."""
        self.hub.repos["org/smol"] = {"SmolLM2-135M-Instruct.Q4_1.gguf": MODEL.read_bytes()}
        env = {**self.env, "HF_ENDPOINT": self.hub.url, "XDG_DATA_HOME": str(self.dir / "data"), "XDG_CACHE_HOME": str(self.dir / "cache"), "XDG_RUNTIME_DIR": str(self.dir / "run")}
        port = free_port()
        serve = subprocess.Popen([HEARTH, "serve", "--listen", f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, cwd=self.dir / "home" if (self.dir / "home").exists() else "/")

        def models():
            try:
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as c:
                    c.request("GET", "/v1/models")
                    return [m["id"] for m in json.loads(c.getresponse().read())["data"]]
            except OSError:
                return None
        try:
            wait_for(lambda: models() is not None, 30)
            name = "smollm2-135m-instruct.q4-1"
            self.assertNotIn(name, models())
            r = subprocess.run([HEARTH, "pull", "org/smol"], capture_output=True, text=True, env=env, cwd="/", timeout=120)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertIn(f"hearth run {name}", r.stdout)
            wait_for(lambda: name in models(), 30)
            r = subprocess.run([HEARTH, "run", name, "Say hello.", "--max-tokens", "8", "--temperature", "0"], capture_output=True, text=True, env=env, cwd="/", timeout=120)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertTrue(r.stdout.strip())
            m = [m for m in map(json.loads, subprocess.run([HEARTH, "models", "--json"], capture_output=True, text=True, env=env, cwd="/").stdout.splitlines()) if m["name"] == name][0]
            self.assertEqual((m["state"], m["fits"], m["source"]), ("ready", "yes", "org/smol"))
            self.assertGreater(m["tokens_per_second"], 0)
            self.assertIn("last_use", m)
        finally:
            serve.terminate()
            serve.wait(60)


def ollama_store(folder, name, blobs, model):
    """What `ollama create` leaves: a manifest, and blobs by digest. `blobs`: kind to bytes; `model`: the file of the weights, which gets another name."""
    layers = [{"mediaType": f"application/vnd.ollama.image.{k}", "digest": "sha256:" + sha256(v), "size": len(v)} for k, v in blobs.items()]
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    for v in blobs.values():
        (folder / "blobs" / ("sha256-" + sha256(v))).write_bytes(v)
    digest = sha256(model.read_bytes())
    shutil.copyfile(model, folder / "blobs" / ("sha256-" + digest))
    layers.append({"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + digest, "size": model.stat().st_size})
    manifest = folder / "manifests/registry.ollama.ai/library" / name.replace(":", "/")
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "config": {}, "layers": layers}))
    return digest


class OnThisMachine(Pulls):
    def run_hearth(self, *args):
        env = {**self.env, "XDG_RUNTIME_DIR": str(self.dir / "run")}
        return subprocess.run([HEARTH, *args], capture_output=True, text=True, env=env, cwd=self.dir / "home", timeout=120)

    def test_what_others_have_fetched_is_found_and_answers_without_a_copy(self):
        home = self.dir / "home"
        digest = ollama_store(home / ".ollama/models", "smol:135m", {"template": b"{{ .Prompt }}<|im_start|><|im_end|>", "params": b'{"num_ctx":2048}'}, MODEL)
        bare = self.dir / "bare.gguf"
        bare.write_bytes(gguf(4096, template=""))
        ollama_store(home / ".ollama/models", "bare:latest", {"template": b"<|im_start|>{{ .Prompt }}<|im_end|>"}, bare)
        (home / ".lmstudio/models/pub/repo").mkdir(parents=True)
        (home / ".lmstudio/models/pub/repo/Studio-Q8_0.gguf").write_bytes(gguf(4096, seed=2))
        (home / ".cache/llama.cpp").mkdir(parents=True)
        (home / ".cache/llama.cpp/cpp.gguf").write_bytes(gguf(4096, seed=3))
        r = self.run_hearth("models", "--json")
        models = {m["name"]: m for m in map(json.loads, r.stdout.splitlines())}
        self.assertEqual(set(models), {"ollama:smol:135m", "ollama:bare:latest", "lmstudio:pub/repo/studio-q8-0", "llamacpp:cpp"}, r.stderr)
        self.assertEqual((models["ollama:smol:135m"]["sha256"], models["ollama:smol:135m"]["from"]), (digest, "ollama"))
        # Its own template counts where it has one; Ollama's shows the family where it has none.
        shown = self.run_hearth("config", "show").stdout
        self.assertEqual(shown.count("chat_template: chatml"), 1)
        r = self.run_hearth("run", "ollama:smol:135m", "Say hello.", "--max-tokens", "8", "--temperature", "0")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertTrue(r.stdout.strip())
        row = json.loads(self.run_hearth("log", "--json", "-n", "1").stdout)
        self.assertIn(digest, self.run_hearth("show", row["call_id"]).stdout)           # hashed when it was loaded
        models = {m["name"]: m for m in map(json.loads, self.run_hearth("models", "--json").stdout.splitlines())}
        self.assertGreater(models["ollama:smol:135m"]["tokens_per_second"], 0)
        self.assertNotIn("last_use", models["llamacpp:cpp"])
        r = self.run_hearth("rm", "ollama:smol:135m")
        self.assertEqual(r.returncode, 1)
        self.assertIn("ollama rm", r.stderr)
        table = self.run_hearth("models").stdout.splitlines()
        self.assertRegex(table[0], r"^NAME +SIZE +PARAMS +QUANT +CONTEXT +FITS +SPEED +USED +FROM +STATE$")
        self.assertRegex("\n".join(table), r"ollama:smol:135m +98 MB +135M +Q4_1 +8K +yes +[\d.]+ t/s +just now +ollama")

    def test_only_what_was_pulled_is_removed_unasked(self):
        self.repo()
        self.good("org/repo")
        own = self.models / "own.gguf"
        own.write_bytes(gguf(4096))
        r = self.hearth("rm", "own")
        self.assertEqual((r.returncode, own.exists()), (1, True))
        self.assertIn("may be the only copy", r.stderr)
        self.assertEqual(self.hearth("rm", "own", "--yes").returncode, 0)
        self.assertFalse(own.exists())
        (self.dir / "hearth.yaml").write_text((self.dir / "hearth.yaml").read_text() + "models: { served: { file: m-Q4_K_M.gguf } }\n")
        r = self.hearth("rm", "m-q4-k-m")
        self.assertEqual(r.returncode, 1)
        self.assertIn("serves it as served", r.stderr)
        self.configure()
        self.assertEqual(self.hearth("rm", "m-Q4_K_M.gguf").returncode, 0)
        self.assertEqual(list(self.models.iterdir()), [])
        self.assertEqual(self.hearth("rm", "m-q4-k-m").returncode, 4)
        # What an interrupted pull has left.
        (self.models / "x.gguf.part").write_bytes(b"x")
        self.assertEqual(self.hearth("rm", "x.gguf").returncode, 0)
        self.assertEqual(list(self.models.iterdir()), [])
        for name in ("../home", "/etc/passwd", "..", "x/../y.gguf"):
            self.assertEqual(self.hearth("rm", name).returncode, 4)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=0)
