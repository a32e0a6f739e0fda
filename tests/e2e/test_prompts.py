"""Versioned prompts: from a file or a folder, by header or by OpenAI's prompt object, in every API; and what is on record of them."""
import hashlib, json, unittest

import anthropic, ollama, openai
from fakes import Fake
from world import World, wait_for

TEMPLATE = "[system]\nYou write {{language}} docs.\n\n[user]\nDocument this:\n{{code}}\n"
WANT = [("system", "You write C docs."), ("user", "Document this:\nint f(void);")]
VARIABLES = {"language": "C", "code": "int f(void);"}


class Prompts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.up = Fake()
        cls.w = World({"providers": f"  oai: {{ api: openai, url: http://127.0.0.1:{cls.up.port}/v1, zone: machine }}", "models": "  gpt: { provider: oai, id: gpt-x, retries: 0 }"})
        (cls.w.dir / "prompts").mkdir()
        (cls.w.dir / "prompts/docs.md").write_text(TEMPLATE)
        (cls.w.dir / "prompts/plain.txt").write_text("plain")
        (cls.w.dir / "prompts/notes.json").write_text("{}")
        cls.w.config.write_text(cls.w.config.read_text().replace("default: tiny", "default: gpt") + "prompts: { dir: prompts }\n"
                                "tasks: { docs: { model: gpt, prompt: docs@latest }, bare: { model: gpt }, lost: { model: gpt, prompt: nowhere@prod } }\n"
                                "aliases: { docs-alias: task/docs }\nauto: { any: { to: task/docs } }\n")
        cls.w.start()
        at = f"http://127.0.0.1:{cls.w.port}"
        cls.sdk = openai.OpenAI(base_url=at + "/v1", api_key="none", max_retries=0)
        cls.ant = anthropic.Anthropic(base_url=at, api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def prompt(self, *args, **kw):
        return self.w.hearth("prompt", *args, **kw)

    def chat(self, reference, variables=VARIABLES, messages=(), **kw):
        return self.sdk.chat.completions.create(model="gpt", messages=list(messages), extra_headers={"x-hearth-prompt": reference},
                                                extra_body={"hearth_variables": variables} if variables is not None else {}, **kw)

    def sent(self):
        return [(m["role"], m["content"] if isinstance(m["content"], str) else "".join(p["text"] for p in m["content"])) for m in self.up.last()["messages"]]

    def row(self):
        return self.w.rows("-n", "1")[0]

    def test_every_api_can_name_one(self):
        self.chat("docs", temperature=0.5)
        self.assertEqual((self.sent(), self.up.last()["temperature"]), (WANT, 0.5))
        self.assertNotIn("hearth_variables", self.up.last())
        row = self.row()
        self.assertEqual((row["prompt_name"], row["prompt_version"], row["prompt_hash"]), ("docs", "1", hashlib.sha256(TEMPLATE.encode()).hexdigest()))
        self.assertTrue(row["variables_hash"] and row["rendered_hash"] and row["upstream_hash"])
        self.chat("docs@1", messages=[{"role": "user", "content": "plain"}])
        self.assertEqual(self.sent(), WANT + [("user", "plain")], "what the client says itself follows")
        self.sdk.responses.create(model="gpt", input="plain", prompt={"id": "docs", "version": "1", "variables": VARIABLES})
        self.assertEqual(self.sent(), WANT + [("user", "plain")])
        self.assertEqual((self.row()["prompt_name"], self.row()["prompt_version"]), ("docs", "1"))
        self.ant.messages.create(model="gpt", max_tokens=9, messages=[], extra_headers={"x-hearth-prompt": "docs"}, extra_body={"hearth_variables": VARIABLES})
        self.assertEqual(self.sent(), WANT)
        ollama.Client(host=f"http://127.0.0.1:{self.w.port}", headers={"x-hearth-prompt": "plain"}).chat(model="gpt", messages=[])
        self.assertEqual(self.sent(), [("user", "plain")])
        self.assertEqual(self.w.hearth("verify").returncode, 0)

    def test_a_task_has_its_own(self):
        for model, headers in (("task/docs", {}), ("docs-alias", {}), ("gpt", {"x-hearth-task": "docs"})):
            self.sdk.chat.completions.create(model=model, messages=[], extra_headers=headers, extra_body={"hearth_variables": VARIABLES})
            self.assertEqual(self.sent(), WANT, model)
            row = self.row()
            self.assertEqual((row["task"], row["prompt_name"], row["prompt_version"], row["prompt_hash"]), ("docs", "docs", "1", hashlib.sha256(TEMPLATE.encode()).hexdigest()))
            self.assertTrue(row["variables_hash"] and row["rendered_hash"])
        shown = self.w.hearth("show", row["call_id"]).stdout
        self.assertRegex(shown, r"prompt +docs@1\n")
        self.ant.messages.create(model="task/docs", max_tokens=9, messages=[{"role": "user", "content": "plain"}], extra_body={"hearth_variables": VARIABLES})
        self.assertEqual(self.sent(), [WANT[0], ("user", WANT[1][1]), ("user", "plain")])
        self.chat("plain", None)                    # a prompt that is named goes before the task's
        self.sdk.chat.completions.create(model="task/docs", messages=[], extra_headers={"x-hearth-prompt": "plain"}, extra_body={"hearth_variables": {}})
        self.assertEqual((self.sent(), self.row()["prompt_name"]), ([("user", self.row_text("plain"))], "plain"))

    def row_text(self, name):
        return self.prompt("show", name).stdout.rstrip("\n")

    def test_messages_alone_are_left_as_they_are(self):
        self.sdk.chat.completions.create(model="task/docs", messages=[{"role": "user", "content": "plain"}])
        self.assertEqual(self.sent(), [("user", "plain")])
        row = self.row()
        self.assertEqual((row["prompt_name"], row.get("prompt_version"), row.get("prompt_hash"), row.get("rendered_hash")), ("docs@latest", None, None, None))
        self.assertIn("docs@latest, its task's; not applied", self.w.hearth("show", row["call_id"]).stdout)

    def test_variables_without_a_prompt_are_no_call(self):
        n = len(self.up.seen)
        for model, status, words in (("gpt", 400, "none is named"), ("task/bare", 400, "task bare has none"), ("task/lost", 404, "there is no prompt nowhere@prod"), ("zed", 404, "there is no model"),
                                     ("auto", 400, "none is named")):
            with self.assertRaises(openai.APIStatusError) as e:
                self.sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": "plain"}], extra_body={"hearth_variables": {}})
            self.assertEqual(e.exception.status_code, status)
            self.assertIn(words, str(e.exception))
        with self.assertRaises(openai.BadRequestError):
            self.sdk.completions.create(model="gpt", prompt="x", extra_body={"hearth_variables": {}})
        self.assertEqual(len(self.up.seen), n)

    def test_a_replay_is_of_the_same_version(self):
        self.prompt("add", "again", "-", input="[user]\n{{what}}")
        wait_for(lambda: self.tried("again"), 10)
        self.chat("again", {"what": "plain"}, temperature=0)
        by_header = self.row()["call_id"]
        self.sdk.responses.create(model="gpt", input=[], temperature=0, prompt={"id": "again", "variables": {"what": "plain"}})
        by_object = self.row()["call_id"]
        self.prompt("add", "again", "-", input="[user]\nquite another: {{what}}")
        for call in (by_header, by_object):
            r = self.w.hearth("replay", call, "--json")
            self.assertEqual((r.returncode, json.loads(r.stdout)["class"]), (0, "token-exact"), r.stderr)
            self.assertEqual(self.sent(), [("user", "plain")])
            self.assertEqual(self.row()["prompt_version"], "1")

    def tried(self, name):
        try:
            return self.chat(name, {"what": "plain"})
        except openai.NotFoundError:
            return False

    def test_what_is_wrong_is_said(self):
        for kw, status, words in [(dict(reference="nope"), 404, "there is no prompt nope"), (dict(reference="docs@9"), 404, "there is no prompt docs@9"),
                                  (dict(reference="docs", variables={"language": "C"}), 400, "needs the variable code"),
                                  (dict(reference="docs", variables={**VARIABLES, "x": 1}), 400, "has no variable x"), (dict(reference="docs", variables=[1]), 400, "must be an object")]:
            with self.assertRaises(openai.APIStatusError) as e:
                self.chat(**kw)
            self.assertEqual(e.exception.status_code, status)
            self.assertIn(words, str(e.exception))
        with self.assertRaises(openai.BadRequestError):
            self.sdk.embeddings.create(model="gpt", input="x", extra_headers={"x-hearth-prompt": "docs"})

    def test_versions_labels_and_the_folder(self):
        r = self.prompt("add", "greet", "-", "-m", "first", input="Hello {{name}}")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.prompt("add", "greet", "-", "-m", "warmer", input="Dear {{name}}")
        self.assertIn("has this text already", self.prompt("add", "greet", "-", input="Dear {{name}}").stderr)
        self.assertEqual(self.prompt("label", "greet@1", "prod", "-m", "known good").returncode, 0)

        def said(want, reference):
            try:
                self.chat(reference, {"name": "Ada"})
                return self.sent() == [("user", want)]
            except openai.NotFoundError:
                return False
        wait_for(lambda: said("Hello Ada", "greet@prod"), 10)
        self.assertTrue(said("Dear Ada", "greet"))
        self.prompt("label", "greet@2", "prod")
        wait_for(lambda: said("Dear Ada", "greet@prod"), 10)
        self.assertEqual(self.row()["prompt_version"], "2")
        listed = [json.loads(x) for x in self.prompt("list", "greet", "--json").stdout.splitlines()]
        self.assertEqual([(p["version"], p["labels"], p["message"]) for p in listed], [(1, [], "first"), (2, ["prod"], "warmer")])
        self.assertEqual(self.prompt("diff", "greet@1", "greet@2").stdout.splitlines()[2:], ["- Hello {{name}}", "+ Dear {{name}}"])
        self.assertEqual(json.loads(self.prompt("render", "greet@1", "name=Ada", "--json").stdout), [{"role": "user", "content": "Hello Ada"}])
        (self.w.dir / "prompts/plain.txt").write_text("plain, twice")
        wait_for(lambda: (self.chat("plain", None), self.sent() == [("user", "plain, twice")])[1], 10)
        self.assertEqual(self.row()["prompt_version"], "2")
        self.assertEqual(self.prompt("show", "plain@1").stdout, "plain\n", "the old version stays")
        self.assertNotIn("notes", self.prompt("list").stdout)


if __name__ == "__main__":
    unittest.main(argv=["test_prompts"], verbosity=2)
