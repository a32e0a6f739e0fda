"""Questions and answers of the ledger as a data set: what is taken, what is left out, and that nobody's data is in it."""
import json, unittest

import anthropic, openai
from fakes import Fake
from world import World

MAIL = "maria.keller@quarzwerk.de"


class Dataset(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.up = Fake()
        at = f"http://127.0.0.1:{cls.up.port}"
        cls.w = World({"providers": f"  up: {{ api: openai, url: {at}/v1, zone: machine }}", "models": "  m: { provider: up }", "tasks": "  docs: { model: m }\n  secret: { model: m, data: private }"})
        cls.w.start()
        cls.sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{cls.w.port}/v1", api_key="none", max_retries=0)
        other = anthropic.Anthropic(base_url=f"http://127.0.0.1:{cls.w.port}", api_key="none", max_retries=0)
        cls.ask("task/docs", "plain")
        cls.ask("task/docs", "plain")                                                   # the same again
        cls.ask("task/docs", f"plain, write to {MAIL} or +49 151 23456789")
        cls.ask("m", "plain", system="You are brief.", stream=True)
        other.messages.create(model="m", max_tokens=20, system="Be kind.", messages=[{"role": "user", "content": "plain words"}])
        cls.ask("task/secret", "plain secret")
        cls.ask("m", "plain", tools=[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}])
        try:
            cls.ask("nobody", "plain")
        except openai.NotFoundError:
            pass

    @classmethod
    def ask(cls, model, text, system=None, stream=False, **kw):
        r = cls.sdk.chat.completions.create(model=model, messages=[*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": text}], stream=stream, **kw)
        if stream:
            list(r)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def dataset(self, *args, code=0):
        r = self.w.hearth("dataset", *args)
        self.assertEqual(r.returncode, code, r.stderr)
        return [json.loads(line) for line in r.stdout.splitlines()], r.stderr

    def test_for_fine_tuning(self):
        lines, said = self.dataset()
        asked = [[(m["role"], m["content"]) for m in x["messages"][:-1]] for x in lines]
        self.assertEqual(asked, [[("system", "Be kind."), ("user", "plain words")], [("system", "You are brief."), ("user", "plain")],
                                 [("user", "plain, write to [EMAIL] or [PHONE]")], [("user", "plain")]], "the newest first, in the same form whatever API it came by")
        for x in lines:
            self.assertEqual(x["messages"][-1]["role"], "assistant")
            self.assertTrue(x["messages"][-1]["content"])
        for part in ("4 lines", "1 whose question was there already", "1 private", "1 with tools or images"):
            self.assertIn(part, said)

    def test_nobodys_data_is_in_it(self):
        for form in ("chat", "evals", "promptfoo"):
            text = json.dumps(self.dataset("--form", form)[0])
            for value in (MAIL, "151", "secret"):
                self.assertNotIn(value, text)

    def test_the_other_forms_say_the_same(self):
        chat, evals, tests = (self.dataset("--form", form)[0] for form in ("chat", "evals", "promptfoo"))
        for x, y, z in zip(chat, evals, tests, strict=True):
            self.assertEqual(y, {"input": x["messages"][:-1], "ideal": x["messages"][-1]["content"]})
            self.assertEqual(json.loads(z["vars"]["messages"]), y["input"], "JSON in a string stays JSON, with its placeholders")
            self.assertEqual(z["assert"], [{"type": "equals", "value": y["ideal"]}])

    def test_filters(self):
        self.assertEqual(len(self.dataset("--task", "docs")[0]), 2)
        self.assertIn("there is no form x", self.dataset("--form", "x", code=2)[1])


if __name__ == "__main__":
    unittest.main(argv=["x"], verbosity=2)
