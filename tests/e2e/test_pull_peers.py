"""A real Ollama beside `hearth pull`: what it stores is found and answers, and it pulls from the fake registry as hearth does. HEARTH_OLLAMA: its program."""
import json, os, pathlib, shutil, subprocess, sys, tempfile, unittest, urllib.request

from hub import Cdn, Hub, sha256
from world import HEARTH, MODEL, free_port, wait_for

OLLAMA = os.environ["HEARTH_OLLAMA"]


class Peers(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hearth-peers-"))
        self.port = free_port()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("OLLAMA", "HF_", "XDG_"))} | {
            "HOME": str(self.dir), "XDG_RUNTIME_DIR": str(self.dir / "run"), "OLLAMA_HOST": f"127.0.0.1:{self.port}", "OLLAMA_NO_CLOUD": "1", "OLLAMA_MODELS": str(self.dir / "store")}
        self.server = subprocess.Popen([OLLAMA, "serve"], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.answers, 60)

    def answers(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/version", timeout=2).status == 200
        except OSError:
            assert self.server.poll() is None
            return False

    def tearDown(self):
        self.server.terminate()
        self.server.wait(60)
        shutil.rmtree(self.dir, ignore_errors=True)

    def ollama(self, *args):
        r = subprocess.run([OLLAMA, *args], env=self.env, capture_output=True, text=True, timeout=300)
        self.assertEqual(r.returncode, 0, r.stderr)
        return r.stdout

    def hearth(self, *args):
        return subprocess.run([HEARTH, *args], env=self.env, capture_output=True, text=True, timeout=300, cwd=self.dir)

    def models(self):
        return {m["name"]: m for m in map(json.loads, self.hearth("models", "--json").stdout.splitlines())}

    def test_what_ollama_made_is_found_and_answers(self):
        (self.dir / "Modelfile").write_text(f"FROM {MODEL}\nPARAMETER num_ctx 2048\n")
        self.ollama("create", "smol:mine", "-f", str(self.dir / "Modelfile"))
        m = self.models()["ollama:smol:mine"]
        self.assertEqual((m["from"], m["sha256"], m["quantization"]), ("ollama", sha256(MODEL.read_bytes()), "Q4_1"))
        r = self.hearth("run", "ollama:smol:mine", "Say hello.", "--max-tokens", "8", "--temperature", "0")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertTrue(r.stdout.strip())

    def test_ollama_pulls_from_the_fake_registry_what_hearth_pulls(self):
        cdn = Cdn()
        hub = Hub(cdn)
        try:
            data = MODEL.read_bytes()
            hub.add_model("library/smol:135m", data, template="{{ .Prompt }}", params='{"num_ctx":2048}')
            address = hub.url.removeprefix("http://")
            self.ollama("pull", "--insecure", f"http://{address}/library/smol:135m")
            m = self.models()[f"ollama:{address}/library/smol:135m"]
            self.assertEqual(m["sha256"], sha256(data))
            (self.dir / "hearth.yaml").write_text(f"models_dir: {self.dir}/models\npull: {{ registry: {hub.url} }}\n")
            r = self.hearth("pull", "ollama:smol:135m")
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertEqual((self.dir / "models/smol-135m.gguf").read_bytes(), data)
            asked = [(p.split("?")[0], h.get("User-Agent", "").split("/")[0]) for _, p, h in hub.seen]
            self.assertEqual({p for p, who in asked if who == "hearth"} - {p for p, who in asked if who == "ollama"}, set())
        finally:
            hub.close(), cdn.close()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=0)
