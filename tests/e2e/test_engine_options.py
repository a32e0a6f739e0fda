"""What the configuration says of an embedded model and its tasks (docs/engine.md): adapters, speculation, reuse, beginnings kept for the next start, the same bytes."""
import json, pathlib, sqlite3, sys, unittest

import openai
from world import HEARTH, MODEL, World

TINY = pathlib.Path(HEARTH).parents[1] / "tiny"
HEAD = "You are a careful assistant who answers in short sentences. " * 8


class Options(unittest.TestCase):
    def world(self, models="", tasks=None, engine=""):
        extra = {"models": models, **({"tasks": tasks} if tasks else {})}
        self.w = World(extra)
        self.addCleanup(self.w.close)
        text = self.w.config.read_text()
        self.w.config.write_text(text.replace("engine: { run_dir", f"engine: {{ {engine} run_dir"))
        return self.w

    def ask(self, model, text, system=None, key="none", **kw):
        sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{self.w.port}/v1", api_key=key, max_retries=0, timeout=120)
        messages = ([{"role": "system", "content": system}] if system else []) + [{"role": "user", "content": text}]
        raw = sdk.chat.completions.with_raw_response.create(**{"model": model, "messages": messages, "temperature": 0, "max_tokens": 12, **kw})
        return raw.parse(), raw.headers

    def complaint(self, models="", tasks=None):
        self.world(models, tasks)
        r = self.w.hearth("config", "check")
        self.assertNotEqual(r.returncode, 0)
        return r.stderr

    # ---- adapters ----

    def test_an_adapter_is_a_model_of_its_own_in_the_same_engine(self):
        self.world(f"  t: {{ file: {TINY}/bpe-chatml.gguf, context: 256, adapters: {{ one: {TINY}/adapter-1.gguf, two: {TINY}/adapter-2.gguf }} }}").start()
        listed = {m.id for m in openai.OpenAI(base_url=f"http://127.0.0.1:{self.w.port}/v1", api_key="none").models.list()}
        self.assertLessEqual({"t", "t:one", "t:two"}, listed)
        seen = {}
        for model in ("t", "t:one", "t:two", "t", "t:one"):
            r, h = self.ask(model, "hello there")
            self.assertEqual(h["x-hearth-model"], model)
            seen.setdefault(model, set()).add((r.choices[0].message.content, h["x-hearth-fingerprint"]))
        self.assertEqual([len(s) for s in seen.values()], [1, 1, 1], "each answers as itself, also after another one")
        texts, prints = ({x[i] for s in seen.values() for x in s} for i in (0, 1))
        self.assertEqual((len(texts), len(prints)), (3, 3), seen)
        rows = self.w.rows("--model", "t:one")
        self.assertEqual({(r["model_id"], r["outcome"]) for r in rows}, {("one", "ok")})
        ps = json.loads(self.w.hearth("ps", "--json").stdout)
        self.assertEqual(len({m["pid"] for m in ps["models"] if m["model"].split(":")[0] == "t"}), 1, ps)
        self.assertRegex(self.w.hearth("show", rows[0]["call_id"]).stdout, r"adapter_sha256 +[0-9a-f]{64}")

    def test_an_adapter_that_is_none_fails_its_calls_by_name(self):
        (self.world(f"  t: {{ file: {TINY}/bpe-chatml.gguf, context: 256, adapters: {{ bad: bad.gguf }} }}").dir / "bad.gguf").write_bytes(b"GGUF no adapter")
        self.w.start()
        with self.assertRaises(openai.InternalServerError) as x:
            self.ask("t:bad", "hello")
        self.assertEqual(x.exception.status_code, 503)
        self.assertEqual(self.ask("tiny", "hello")[0].object, "chat.completion", "others are not its affair")

    def test_what_is_wrong_is_said_with_its_place(self):
        model = f"file: {TINY}/bpe-chatml.gguf"
        for text, says in ((f"  t: {{ {model}, speculate: fast }}", "speculate is auto, off, or a number"), (f"  t: {{ {model}, prefix_cache: 12 }}", "prefix_cache is off, or a size"), (f"  t: {{ {model}, flash_attn: maybe }}", "flash_attn must be auto, on or off"),
                           (f"  t: {{ {model}, adapters: {{ 'a b': x.gguf }} }}", "an adapter is NAME: FILE"), (f"  t: {{ {model}, adapters: {{ a: none.gguf }} }}", "there is no file"),
                           (f"  t: {{ {model}, adapters: [ a ] }}", "adapters are NAME: FILE")):
            with self.subTest(text):
                self.assertIn(says, self.complaint(text))
        shown = self.world(f"  t: {{ {model}, speculate: 4, prefix_cache: off, kv_tokens: 300, flash_attn: on, adapters: {{ one: {TINY}/adapter-1.gguf }} }}").hearth("config", "show", "--json")
        t = json.loads(shown.stdout)["models"]["t"]
        self.assertEqual((t["speculate"], t["prefix_cache"], t["kv_tokens"], t["flash_attn"], t["adapters"]), ("4", "off", 300, "on", {"one": f"{TINY}/adapter-1.gguf"}))

    # ---- reuse and guesses ----

    def test_nothing_is_kept_and_nothing_guessed_where_it_is_off(self):
        self.world("  plain: { file: %s, context: 1024, prefix_cache: off, speculate: off }\n  keen: { file: %s, context: 1024, speculate: 8 }" % (MODEL, MODEL)).start()
        text = "Repeat: one two three four five six seven eight nine ten, one two three four five six seven eight nine ten."
        for model, keeps in (("plain", False), ("keen", True)):
            usage = [self.ask(model, text, HEAD, max_tokens=40)[0].usage for _ in range(2)]
            self.assertEqual(usage[1].prompt_tokens_details.cached_tokens > 60, keeps, model)
            d = usage[1].completion_tokens_details
            guessed = (d.accepted_prediction_tokens or 0) + (d.rejected_prediction_tokens or 0) if d else 0
            self.assertEqual(guessed > 0, keeps, model)

    def test_how_attention_is_computed_follows_the_room_there_is_and_is_on_record(self):
        self.world("  own: { file: %s, context: 1024 }\n  asked: { file: %s, context: 1024, flash_attn: on }\n  shared: { file: %s, context: 1024, kv_tokens: 1024 }" % (MODEL, MODEL, MODEL)).start()
        said = {}
        for model in ("own", "asked", "shared"):
            answer = self.ask(model, "What is the capital of France?", HEAD, max_tokens=12)[0].choices[0].message.content
            self.assertIn("Paris", answer, model)
            db = sqlite3.connect(self.w.dir / "hearth.db")
            said[model] = json.loads(db.execute("SELECT m.identity FROM model m JOIN row r ON r.fingerprint = m.fingerprint ORDER BY r.seq DESC LIMIT 1").fetchone()[0])["flash_attn"]
            db.close()
        self.assertEqual(said, {"own": "disabled", "asked": "enabled", "shared": "auto"})

    # ---- the same bytes ----

    def test_a_model_and_a_task_may_be_deterministic(self):
        self.world("  same: { file: %s, context: 512, deterministic: true }" % MODEL, "  strict: { model: tiny, deterministic: true }\n  loose: { model: tiny }").start()
        for model, wanted in (("same", 1), ("task/strict", 1), ("task/loose", None)):
            texts = {self.ask(model, "Name two rivers.", temperature=0.8, seed=7)[0].choices[0].message.content for _ in range(2)}
            row = self.w.rows("-n", "1")[0]
            self.assertEqual(row.get("deterministic"), wanted, model)
            self.assertEqual(len(texts), 1 if wanted else len(texts))
        self.w.config.write_text(self.w.config.read_text().replace("providers:\n", "providers:\n  up: { api: openai, url: http://127.0.0.1:9/v1, zone: machine }\n").replace("models:\n", "models:\n  m: { provider: up, id: x, deterministic: true }\n"))
        self.assertIn("deterministic is promised by hearth's own engine alone", self.w.hearth("config", "check").stderr)

    # ---- beginnings kept for the next start ----

    def test_what_a_task_shares_is_there_after_a_restart_and_for_other_keys(self):
        w = self.world(tasks="  docs: { model: tiny, share_prefix: true }\n  own: { model: tiny, share_prefix: true, data: private }\n  plain: { model: tiny }", engine="prefix_dir: kept,")
        keys = [w.hearth("key", "add", name).stdout.strip() for name in ("alice", "bob")]
        w.start()
        cached = lambda task, text, system, key: self.ask("task/" + task, text, system, key)[0].usage.prompt_tokens_details.cached_tokens
        for task in ("docs", "own", "plain"):
            self.assertLess(cached(task, "Name a river.", f"Rule {task}. " + HEAD, keys[0]), 20, task)
        self.assertGreater(cached("docs", "What is a mountain?", "Rule docs. " + HEAD, keys[1]), 60, "read once, for all keys")
        for task in ("own", "plain"):
            self.assertLess(cached(task, "What is a mountain?", f"Rule {task}. " + HEAD, keys[1]), 20, task)
        w.stop()
        files = list((w.dir / "kept").iterdir())
        self.assertEqual([oct(f.stat().st_mode & 0o777) for f in files], ["0o600"])
        self.assertGreater(files[0].stat().st_size, 100000)
        w.start()
        self.assertGreater(cached("docs", "Name a lake.", "Rule docs. " + HEAD, keys[1]), 60, "read from its file")
        for task in ("own", "plain"):
            self.assertLess(cached(task, "Name a lake.", f"Rule {task}. " + HEAD, keys[0]), 20, task)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
