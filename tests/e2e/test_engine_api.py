"""What our engine can be asked for, through the gateway and with the SDKs, against libllama used directly (llama_cpp) as the judge."""
import base64, http.client, json, math, struct, unittest

import anthropic, llama_cpp, ollama, openai
from world import MODEL, World

ASK = [{"role": "user", "content": "Name a colour."}]
TEXTS = ["The cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose by a quarter point."]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def unit(v):
    n = math.sqrt(dot(v, v))
    return [x / n for x in v]


class EngineApi(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = World().start()
        at = f"http://127.0.0.1:{cls.w.port}"
        cls.sdk = openai.OpenAI(base_url=at + "/v1", api_key="none", max_retries=0, timeout=60)
        cls.ant = anthropic.Anthropic(base_url=at, api_key="none", max_retries=0, timeout=60)
        cls.oll = ollama.Client(host=at)
        cls.judge = llama_cpp.Llama(str(MODEL), n_ctx=512, logits_all=True, verbose=False, n_threads=2)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def chat(self, **kw):
        return self.sdk.chat.completions.create(**{"model": "tiny", "messages": ASK, "temperature": 0, "max_tokens": 12, **kw})

    def complete(self, **kw):
        return self.sdk.completions.create(**{"model": "tiny", "prompt": "The capital of France is", "temperature": 0, "max_tokens": 8, **kw})

    def test_probabilities_are_those_of_the_model(self):
        c = self.complete(logprobs=5).choices[0]
        tokens = self.judge.tokenize(b"The capital of France is")
        self.judge.reset()
        self.judge.eval(tokens)
        for i, (text, own, top) in enumerate(zip(c.logprobs.tokens, c.logprobs.token_logprobs, c.logprobs.top_logprobs)):
            want = self.judge.logits_to_logprobs(self.judge.scores[self.judge.n_tokens - 1])
            token = max(range(len(want)), key=lambda t: want[t])
            self.assertEqual(text, self.judge.detokenize([token], special=True).decode())
            self.assertAlmostEqual(own, float(want[token]), delta=0.15, msg="batch shapes differ, so the last bits do too")
            self.assertEqual((len(top), top[text]), (5, own))
            self.assertEqual(own, max(top.values()))
            self.judge.eval([token])
        self.assertEqual("".join(c.logprobs.tokens), c.text)
        self.assertEqual(c.logprobs.text_offset, [len("".join(c.logprobs.tokens[:k])) for k in range(len(c.logprobs.tokens))])

    def test_probabilities_stream_with_their_text_and_stop_where_it_stops(self):
        whole = self.chat(logprobs=True, top_logprobs=3).choices[0]
        said = [t.token for t in whole.logprobs.content]
        self.assertEqual("".join(said), whole.message.content)
        self.assertTrue(all(len(t.top_logprobs) == 3 and bytes(t.bytes).decode() == t.token for t in whole.logprobs.content))
        stop = whole.message.content[10:16]
        for stream in (False, True):
            r = self.chat(logprobs=True, stop=stop, stream=stream)
            parts = [c.choices[0] for c in r if c.choices] if stream else r.choices
            text = "".join((p.delta if stream else p.message).content or "" for p in parts)
            probs = "".join(t.token for p in parts if p.logprobs for t in p.logprobs.content)
            self.assertEqual(text, whole.message.content[:10])
            self.assertTrue(probs.startswith(text) and len(probs) < len(text) + 12, (text, probs))

    def test_several_answers(self):
        a, b = (self.chat(n=4, seed=7, temperature=1.0) for _ in range(2))
        texts = [c.message.content for c in a.choices]
        self.assertEqual([c.index for c in a.choices], [0, 1, 2, 3])
        self.assertGreater(len(set(texts)), 1)
        self.assertTrue(24 < a.usage.completion_tokens <= 48)
        self.assertEqual(texts[0], self.chat(seed=7, temperature=1.0).choices[0].message.content, "the first of several is the one alone")
        got = {}
        for c in self.chat(n=3, stream=True, stream_options={"include_usage": True}):
            for k in c.choices:
                got.setdefault(k.index, []).append(k)
            usage = c.usage
        self.assertEqual((sorted(got), usage.completion_tokens), ([0, 1, 2], 36))
        self.assertEqual({v[-1].finish_reason for v in got.values()}, {"length"})
        self.assertEqual(len({"".join(k.delta.content or "" for k in v) for v in got.values()}), 1, "greedy answers are the same")
        with self.assertRaises(openai.BadRequestError) as e:
            self.chat(n=17)
        self.assertIn("from 1 to 16", str(e.exception))

    def test_bias_and_penalties(self):
        first = self.complete(max_tokens=1, logprobs=3).choices[0]
        ids = {t: self.judge.tokenize(t.encode(), add_bos=False)[0] for t in first.logprobs.top_logprobs[0]}
        second = sorted(first.logprobs.top_logprobs[0], key=first.logprobs.top_logprobs[0].get)[-2]
        self.assertEqual(self.complete(max_tokens=1, logit_bias={str(ids[first.text]): -100}).choices[0].text, second)
        self.assertEqual(self.complete(max_tokens=3, logit_bias={str(ids[second]): 100}).choices[0].text, second * 3)
        loop = dict(prompt="1 1 1 1 1 1 1 1", max_tokens=24)
        self.assertGreater(self.complete(**loop).choices[0].text.count("1"), 8)
        self.assertLess(self.complete(**loop, frequency_penalty=2).choices[0].text.count("1"), 8)
        self.assertLess(self.complete(**loop, extra_body={"repeat_penalty": 2}).choices[0].text.count("1"), 8)
        with self.assertRaises(openai.BadRequestError) as e:
            self.complete(logit_bias={"999999": 1})
        self.assertIn("logit_bias", str(e.exception))

    def test_embeddings_are_those_of_libllama(self):
        judge = llama_cpp.Llama(str(MODEL), n_ctx=512, embedding=True, pooling_type=llama_cpp.LLAMA_POOLING_TYPE_MEAN, verbose=False, n_threads=2)
        r = self.sdk.embeddings.create(model="tiny", input=TEXTS)
        raw = self.sdk.embeddings.create(model="tiny", input=TEXTS, encoding_format="float")
        for i, text in enumerate(TEXTS):
            v = r.data[i].embedding
            self.assertEqual((r.data[i].index, len(v)), (i, 576))
            self.assertAlmostEqual(dot(v, v), 1, places=4)
            self.assertGreater(dot(v, unit(judge.embed(text))), 0.999, "attention is computed in another order")
            self.assertLess(max(abs(x - y) for x, y in zip(v, raw.data[i].embedding)), 1e-5)
        self.assertGreater(dot(r.data[0].embedding, r.data[1].embedding), dot(r.data[0].embedding, r.data[2].embedding), "cats are nearer to kittens than to banks")
        self.assertEqual(r.usage.prompt_tokens, sum(len(judge.tokenize(t.encode())) for t in TEXTS))
        short = self.sdk.embeddings.create(model="tiny", input=judge.tokenize(TEXTS[0].encode()), dimensions=16).data[0].embedding
        self.assertEqual(len(short), 16)
        self.assertGreater(dot(short, unit(r.data[0].embedding[:16])), 0.9999, "token ids do as well")
        self.assertGreater(dot(self.oll.embed(model="tiny", input=TEXTS)["embeddings"][2], r.data[2].embedding), 0.9999)
        self.assertGreater(dot(self.oll.embeddings(model="tiny", prompt=TEXTS[1])["embedding"], r.data[1].embedding), 0.9999)
        for bad in (dict(input=[]), dict(input=""), dict(input="x", dimensions=577), dict(input="long " * 3000)):
            with self.assertRaises(openai.BadRequestError):
                self.sdk.embeddings.create(model="tiny", **bad)
        rows = [r for r in self.w.rows() if r["operation"] == "embeddings" and r["outcome"] == "ok"]
        self.assertEqual({(r["input_tokens"] > 0, bool(r["fingerprint"])) for r in rows}, {(True, True)})

    def test_texts_are_embedded_while_others_are_answered(self):
        chat = self.chat(stream=True, max_tokens=200)
        next(iter(chat))
        self.assertEqual(len(self.sdk.embeddings.create(model="tiny", input=TEXTS * 3).data), 9)
        self.assertGreater(sum(1 for c in chat if c.choices and c.choices[0].delta.content), 5)

    def test_a_text_and_its_tokens(self):
        def post(path, body):
            c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=60)
            c.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            r = c.getresponse()
            return r.status, json.loads(r.read()), r.headers["x-hearth-call"]
        for text in ("Name a colour.", "Grüße, 世界 \U0001f600\n\tindented", "<|im_start|>user", ""):
            with self.subTest(text):
                want = self.judge.tokenize(text.encode(), add_bos=False, special=False)
                for word in ("content", "prompt"):
                    status, said, call = post("/tokenize", {"model": "tiny", word: text})
                    self.assertEqual((status, said), (200, {"tokens": want, "count": len(want)}))
                status, back, _ = post("/detokenize", {"tokens": want})         # the default model
                self.assertEqual((status, back), (200, {"content": text, "prompt": text}))
        row = next(r for r in self.w.rows() if r["call_id"] == call)
        self.assertEqual((row["operation"], row["outcome"], row["model"], row.get("input_tokens")), ("tokenize", "ok", "tiny", None))
        for path, body, status, words in (("/tokenize", {"model": "tiny"}, 400, "'content' (or 'prompt')"), ("/tokenize", {"model": "tiny", "content": 7}, 400, "'content' (or 'prompt')"),
                                          ("/detokenize", {"model": "tiny", "tokens": [10 ** 9]}, 400, "ids of this model's tokens"), ("/tokenize", {"model": "zed", "content": "x"}, 404, "zed")):
            got, said, _ = post(path, body)
            self.assertEqual(got, status, said)
            self.assertIn(words, said["error"]["message"])

    def test_tokens_are_counted_by_the_models_own_tokenizer(self):
        want = self.chat().usage.prompt_tokens
        self.assertEqual(self.ant.messages.count_tokens(model="tiny", messages=ASK).input_tokens, want)
        with self.ant.messages.stream(model="tiny", max_tokens=5, messages=ASK) as s:
            starts = [e for e in s if e.type == "message_start"]
        self.assertEqual(starts[0].message.usage.input_tokens, want, "a stream's first event has the real count (litellm 41406, 31069)")
        plain = self.sdk.chat.completions.with_raw_response.create(model="tiny", messages=ASK, max_tokens=2, stream=True)
        self.assertNotIn("\"hearth\"", "".join(json.dumps(c.model_dump()) for c in plain.parse()))


if __name__ == "__main__":
    unittest.main(argv=["test_engine_api"], verbosity=2)
