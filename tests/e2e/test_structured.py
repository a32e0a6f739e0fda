"""Answers that must be what a schema, a pattern or a grammar says, on the real engine with the starter model; others' validators judge.

    test_structured.py HEARTH SAMPLE [--schemas 20] [--samples 60]

SAMPLE: build/…/infer_sample, which makes texts at random by the same grammars, without a model.
"""
import argparse, concurrent.futures, json, random, re, subprocess, unittest

import anthropic, ollama, openai
from schemas import Maker, judge, regex
from world import World

OPTIONS = argparse.Namespace()
ASK = [{"role": "user", "content": "Describe a small shop and its owner as JSON."}]
PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 120}, "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2}},
          "required": ["name", "age"], "additionalProperties": False}


def schema_format(schema, **more):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **more}}


class AtRandom(unittest.TestCase):
    """What the grammars allow, far from what a model would say."""
    @classmethod
    def setUpClass(cls):
        cls.p = subprocess.Popen([OPTIONS.sample], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @classmethod
    def tearDownClass(cls):
        cls.p.stdin.close()
        cls.p.stdout.close()
        cls.p.wait(30)

    def ask(self, **what):
        self.p.stdin.write(json.dumps(what) + "\n")
        self.p.stdin.flush()
        return json.loads(self.p.stdout.readline())

    def test_texts_by_schemas_are_valid(self):
        made = 0
        for seed in range(OPTIONS.samples):
            schema = Maker(seed, bounded=seed % 3 != 0).schema()
            texts = self.ask(schema=schema, seed=seed, n=5).get("samples")
            self.assertIsNotNone(texts, f"seed {seed}: {json.dumps(schema)}")
            made += len(texts)
            for text in texts:
                self.assertIsNone(judge(schema, text), f"seed {seed}: {json.dumps(schema)}: {text}")
        self.assertGreater(made, OPTIONS.samples * 4)

    def test_texts_by_patterns_match_for_python_too(self):
        made = 0
        for seed in range(OPTIONS.samples):
            pattern = regex(random.Random(seed), 3)
            texts = self.ask(regex=pattern, seed=seed, n=5)["samples"]
            made += len(texts)
            for text in texts:
                self.assertIsNotNone(re.fullmatch(pattern, text), f"seed {seed}: {pattern!r}: {text!r}")
        self.assertGreater(made, OPTIONS.samples * 4)


class Structured(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = World().start()
        at = f"http://127.0.0.1:{cls.w.port}"
        cls.sdk = openai.OpenAI(base_url=at + "/v1", api_key="none", max_retries=0, timeout=280)
        cls.ant = anthropic.Anthropic(base_url=at, api_key="none", max_retries=0, timeout=120)
        cls.oll = ollama.Client(host=at)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def chat(self, **kw):
        body = {k: kw.pop(k) for k in ("structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "grammar", "json_schema") if k in kw}
        return self.sdk.chat.completions.create(**{"model": "tiny", "messages": ASK, "temperature": 0, "max_tokens": 120, "seed": 5, "extra_body": body, **kw})

    def said(self, **kw):
        c = self.chat(**kw).choices[0]
        return c.message.content, c.finish_reason

    def refused(self, param, **kw):
        with self.assertRaises(openai.BadRequestError) as e:
            self.chat(**kw)
        self.assertEqual(e.exception.param, param, e.exception)
        return str(e.exception)

    def test_generated_schemas(self):
        def one(seed):
            schema = Maker(seed).schema()
            texts = [self.said(response_format=schema_format(schema), temperature=t, max_tokens=100, seed=seed) for t in (0, 1)]
            return seed, schema, texts
        finished = 0
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for seed, schema, texts in pool.map(one, range(1000, 1000 + OPTIONS.schemas)):
                for text, finish in texts:
                    self.assertIn(finish, ("stop", "length"))
                    finished += finish == "stop"
                    if finish == "stop":
                        self.assertIsNone(judge(schema, text), f"seed {seed}: {json.dumps(schema)}: {text}")
        print(f"measured: {finished} of {2 * OPTIONS.schemas} outputs finished, all of them valid", flush=True)
        self.assertGreater(finished, OPTIONS.schemas, "most come to an end within their tokens")

    def test_every_way_to_ask(self):
        for kw in (dict(response_format=schema_format(PERSON)), dict(response_format=schema_format(PERSON, strict=False)), dict(response_format={"type": "json_object", "schema": PERSON}), dict(guided_json=PERSON),
                   dict(guided_json=json.dumps(PERSON)), dict(structured_outputs={"json": PERSON}), dict(json_schema=PERSON)):
            text, finish = self.said(**kw)
            self.assertEqual((judge(PERSON, text), finish), (None, "stop"), kw)
        for kw in (dict(guided_regex="[A-Z]{3}-\\d{2,4}"), dict(structured_outputs={"regex": "[A-Z]{3}-\\d{2,4}"})):
            text, finish = self.said(**kw)
            self.assertTrue(re.fullmatch("[A-Z]{3}-[0-9]{2,4}", text) and finish == "stop", text)
        for kw in (dict(guided_choice=["yes", "no", "später"]), dict(structured_outputs={"choice": ["yes", "no", "später"]})):
            self.assertIn(self.said(**kw)[0], ("yes", "no", "später"))
        for kw in (dict(grammar='root ::= "<" [a-z]{2,5} ">"'), dict(guided_grammar='root ::= "<" [a-z]{2,5} ">"'), dict(structured_outputs={"grammar": 'root ::= "<" [a-z]{2,5} ">"'})):
            self.assertRegex(self.said(**kw)[0], "^<[a-z]{2,5}>$")
        text, finish = self.said(response_format={"type": "json_object"}, max_tokens=300, temperature=1)
        self.assertTrue(text.startswith("{") and (finish == "length" or isinstance(json.loads(text), dict)), text)
        text = self.sdk.completions.create(model="tiny", prompt="The answer is", max_tokens=20, extra_body={"guided_choice": ["42", "43"]}).choices[0].text
        self.assertIn(text, ("42", "43"))

    def test_streams_choices_probabilities_and_cuts(self):
        kw = dict(response_format=schema_format(PERSON), temperature=1, seed=11)
        whole = self.said(**kw)[0]
        parts = [c.choices[0] for c in self.chat(stream=True, **kw) if c.choices]
        self.assertEqual("".join(p.delta.content or "" for p in parts), whole)
        self.assertEqual(parts[-1].finish_reason, "stop")
        several = self.chat(n=4, **kw).choices
        self.assertEqual([judge(PERSON, c.message.content) for c in several], [None] * 4)
        self.assertGreater(len({c.message.content for c in several}), 1)
        c = self.chat(logprobs=True, top_logprobs=2, **kw).choices[0]
        self.assertEqual("".join(t.token for t in c.logprobs.content), c.message.content)
        self.assertEqual(self.said(max_tokens=3, **kw)[1], "length")
        text, finish = self.said(stop="\"age\"", **kw)
        self.assertTrue(finish == "stop" and "age" not in text and text.startswith("{"), text)
        penalized = self.said(frequency_penalty=1, presence_penalty=0.5, **kw)[0]
        self.assertIsNone(judge(PERSON, penalized))
        self.assertIsNone(judge(PERSON, self.said(top_p=0.5, extra_body={"top_k": 0}, **kw)[0]))
        self.assertEqual(self.said(guided_choice=["aaa"])[0], "aaa", "only one way: the model is not asked")

    def test_the_distribution_is_the_models_own_without_what_does_not_fit(self):
        """Two words by their probabilities: drawn often enough, their share is what the model gives them among the two."""
        ask = dict(prompt="I would like a cup of", temperature=1, max_tokens=1, extra_body={"top_k": 0, "min_p": 0}, top_p=1)
        free = self.sdk.completions.create(model="tiny", logprobs=20, **{**ask, "prompt": ask["prompt"]}).choices[0].logprobs.top_logprobs[0]
        (a, pa), (b, pb) = sorted(((t, p) for t, p in free.items() if t.strip().isalpha()), key=lambda x: -x[1])[:2]
        share = 1 / (1 + 2.718281828 ** (pb - pa))
        for top_k in (0, 40):
            got = [c.text for seed in range(13) for c in self.sdk.completions.create(model="tiny", n=16, seed=1000 * seed, **{**ask, "extra_body": {"top_k": top_k, "min_p": 0, "guided_choice": [a, b]}}).choices]
            starts = [a if x == a or (a.startswith(x) and not b.startswith(x)) else b for x in got]
            self.assertAlmostEqual(starts.count(a) / len(starts), share, delta=0.13, msg=f"{a!r} {b!r} top_k {top_k}")

    def test_what_cannot_be_honoured_is_named_with_its_path(self):
        self.refused("response_format.json_schema.schema.properties.x.multipleOf", response_format=schema_format({"properties": {"x": {"type": "number", "multipleOf": 0.3}}}))
        self.refused("response_format.json_schema.schema.properties.a.items.not", response_format=schema_format({"properties": {"a": {"items": {"not": {"type": "null"}}}}}))
        self.refused("guided_json.type", guided_json='{"type": "strnig"}')
        self.refused("response_format.type", response_format={"type": "yaml"})
        self.refused("response_format.json_schema.schema", response_format={"type": "json_schema", "json_schema": {"name": "x"}})
        self.assertIn("at character 1", self.refused("guided_regex", guided_regex="a(?=b)"))
        self.assertIn("begins with itself", self.refused("grammar", grammar='root ::= root "x"'))
        self.assertIn("at byte 9", self.refused("structured_outputs.grammar", structured_outputs={"grammar": "root ::= <[5]>"}))
        self.assertIn("no text of finite length", self.refused("response_format", response_format=schema_format({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})))
        self.refused("grammar", grammar='root ::= "x"', response_format=schema_format(PERSON))
        self.refused("structured_outputs.structural_tag", structured_outputs={"structural_tag": "{}"})
        rows = [r for r in self.w.rows() if r["outcome"] != "ok"]
        self.assertGreater(len(rows), 8, "refusals are on record, too")

    def test_hostile_requests_cost_one_error_each(self):
        wide = {"properties": {f"p{i}": {"type": "string", "maxLength": i % 50} for i in range(8000)}}
        deep = {"type": "null"}
        for _ in range(100):
            deep = {"type": "array", "items": deep, "minItems": 1}
        tangled = {"allOf": [{"anyOf": [{"minimum": i}, {"maximum": -i}, {"maxLength": i}]} for i in range(20)]}
        for kw in (dict(response_format=schema_format(wide)), dict(response_format=schema_format(deep)), dict(response_format=schema_format(tangled)), dict(guided_regex="(((a{1000}){1000}){1000}){1000}"), dict(guided_regex="(a?){9999}" * 20),
                   dict(grammar="root ::= " + "(" * 50000), dict(grammar="\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(2000)) + '\nroot ::= r0\nr2000 ::= "a"?'), dict(guided_choice=["x" * 1000] * 9999),
                   dict(grammar='root ::= s\ns ::= "a" s "x" s | "a" s "y" s | "a" s "z" | "a"', max_tokens=60, logit_bias={})):
            try:
                self.chat(**{"max_tokens": 8, **kw})
            except openai.APIStatusError as e:
                self.assertLess(e.status_code, 500, str(e)[:300])
        self.assertIsNone(judge(PERSON, self.said(response_format=schema_format(PERSON))[0]), "the engine is the same as before")
        self.assertEqual(len(self.w.engines()), 1)

    def test_the_other_apis_ask_for_schemas_too(self):
        text = self.oll.chat(model="tiny", messages=ASK, format=PERSON, options={"temperature": 0, "num_predict": 120})["message"]["content"]
        self.assertIsNone(judge(PERSON, text))
        text = self.oll.chat(model="tiny", messages=ASK, format="json", options={"temperature": 0, "num_predict": 200})["message"]["content"]
        self.assertTrue(text.startswith("{"))
        r = self.sdk.responses.create(model="tiny", input="Describe a person.", max_output_tokens=120, text={"format": {"type": "json_schema", "name": "p", "schema": PERSON, "strict": True}})
        self.assertIsNone(judge(PERSON, r.output_text))
        m = self.ant.messages.create(model="tiny", max_tokens=120, messages=ASK, extra_body={"output_config": {"format": {"type": "json_schema", "schema": PERSON}}})
        self.assertIsNone(judge(PERSON, m.content[0].text))


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("hearth")
    p.add_argument("sample")
    p.add_argument("--schemas", type=int, default=20)
    p.add_argument("--samples", type=int, default=60)
    p.parse_args(namespace=OPTIONS)
    unittest.main(argv=["test_structured"], verbosity=2)
