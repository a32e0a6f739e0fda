"""What Ollama's clients do beside asking: load a model before it is needed, look what is loaded, let one go."""
import os, unittest

import ollama
from fakes import Fake
from world import World, wait_for

os.environ["HEARTH_TEST_KEY"] = "sk-ant-test"


class Loading(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.up = Fake()
        at = f"http://127.0.0.1:{cls.up.port}"
        cls.w = World({"providers": f"  oai: {{ api: openai, url: {at}/v1, zone: machine }}\n  oll: {{ api: ollama, url: {at}, zone: machine }}\n  far: {{ api: ollama, url: {at}, zone: cloud }}",
                       "models": "  gpt: { provider: oai, id: gpt-x, retries: 0 }\n  lama: { provider: oll, id: llama-x, retries: 0, concurrency: 1 }\n  cloudy: { provider: far, id: x }",
                       "tasks": "  quick: { model: tiny }\n  mine: { model: cloudy }"}, guard="guard: { vault: missing/guard.db }")
        cls.w.config.write_text(cls.w.config.read_text().replace("default: tiny", "default: gpt"))      # which nobody loads by itself
        cls.w.start()
        cls.sdk = ollama.Client(f"http://127.0.0.1:{cls.w.port}", timeout=120)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def refused(self, status, words, fn, *args, **kw):
        with self.assertRaises(ollama.ResponseError) as e:
            fn(*args, **kw)
        self.assertEqual(e.exception.status_code, status)
        self.assertIn(words, str(e.exception))

    def loaded(self):
        return [m.model for m in self.sdk.ps().models]

    def test_1_an_engine_is_started_and_shown(self):
        self.assertEqual(self.loaded(), [])
        self.assertEqual(self.sdk.generate(model="tiny", keep_alive=0).done_reason, "unload")
        self.assertEqual(self.loaded(), [], "and asking for it starts none")
        r = self.sdk.generate(model="tiny", prompt="", keep_alive="10m")
        self.assertEqual((r.model, r.done, r.done_reason, r.response), ("tiny", True, "load", ""))
        self.assertEqual(self.loaded(), ["tiny"])
        self.assertGreater(self.sdk.ps().models[0].expires_at.year, 2100, "it stays")
        r = self.sdk.chat(model="tiny", messages=[])
        self.assertEqual((r.done_reason, r.message.role, r.message.content), ("load", "assistant", ""))
        r = self.sdk.chat(model="tiny", messages=[], keep_alive=0)
        self.assertEqual((r.done, r.done_reason), (True, "unload"))
        wait_for(lambda: self.loaded() == [], 30)
        self.assertEqual(self.w.rows("-n", "1")[0]["operation"], "unload_model")
        self.assertEqual(len(list(self.sdk.chat(model="task/quick", stream=True))), 1, "one object, also for those who stream")
        row = self.w.rows("-n", "1")[0]
        self.assertEqual((row["operation"], row["outcome"], row["model"], row["task"], row["attempt"]), ("load_model", "ok", "tiny", "quick", 1))
        self.assertRegex(row["fingerprint"], "^[0-9a-f]{64}$")
        self.assertNotIn("input_tokens", row)

    def test_2_an_ollama_is_asked(self):
        for keep, reason in ((None, "load"), (-1, "load"), (0, "unload")):
            self.assertEqual(self.sdk.generate(model="lama", keep_alive=keep).done_reason, reason)
            self.assertEqual((self.up.seen[-1][0], self.up.last()["model"], self.up.last().get("keep_alive")), ("/api/generate", "llama-x", keep))
            self.assertEqual(self.sdk.chat(model="lama", keep_alive=keep).done_reason, reason)
            self.assertEqual(self.up.seen[-1][0], "/api/chat")
        self.assertEqual([r["operation"] for r in self.w.rows("--model", "lama", "-n", "2")], ["unload_model"] * 2)
        self.sdk.chat(model="lama", messages=[{"role": "user", "content": "plain"}], keep_alive="5m", stream=False)
        self.assertEqual(self.up.last()["keep_alive"], "5m")

    def test_3_others_load_by_themselves(self):
        n = len(self.up.seen)
        self.assertEqual(self.sdk.generate(model="gpt").done_reason, "load")
        self.refused(400, "provider oai decides itself", self.sdk.chat, model="gpt", keep_alive=0)
        self.assertEqual(len(self.up.seen), n, "nothing was sent")
        self.assertEqual(self.loaded(), [m for m in self.loaded() if m == "tiny"])

    def test_4_rights_hold_here_too(self):
        n = len(self.up.seen)
        self.refused(403, "does not leave", self.sdk.generate, model="cloudy")
        self.refused(403, "does not leave", self.sdk.chat, model="task/mine", keep_alive=0)
        self.refused(404, "there is no model", self.sdk.generate, model="zed")
        self.assertEqual(len(self.up.seen), n)

    def test_5_the_record_is_sound(self):
        self.assertTrue(self.w.verify()["ok"])
        r = self.w.hearth("replay", self.w.rows("--model", "tiny", "-n", "1")[0]["call_id"])
        self.assertIn("it is no chat or completion", r.stderr)


if __name__ == "__main__":
    unittest.main(argv=["test_ollama"], verbosity=2)
