"""The engine's scheduler through the gateway: what is reused and by whom, what is drafted, what is deterministic, what a full queue says."""
import concurrent.futures, http.client, json, os, signal, socket, sys, time, unittest

import anthropic, ollama, openai
from world import World, wait_for

HEAD = "You are a careful assistant who answers in short sentences. " * 8
LONG = "--long" in sys.argv


class Sched(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = World().start()
        cls.at = f"http://127.0.0.1:{cls.w.port}"
        cls.sdk = openai.OpenAI(base_url=cls.at + "/v1", api_key="none", max_retries=0, timeout=300)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def ask(self, messages, sdk=None, headers=None, **kw):
        raw = (sdk or self.sdk).chat.completions.with_raw_response.create(**{"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 24, **kw}, extra_headers=headers)
        return raw.parse(), raw.headers["x-hearth-call"]

    def row(self, call):
        return next(r for r in self.w.rows() if r["call_id"] == call)

    def test_the_next_turn_reads_only_what_is_new(self):
        messages = [{"role": "system", "content": "Rule A. " + HEAD}, {"role": "user", "content": "Name three rivers."}]
        first, _ = self.ask(messages)
        messages += [{"role": "assistant", "content": first.choices[0].message.content}, {"role": "user", "content": "And three mountains."}]
        second, call = self.ask(messages)
        self.assertGreaterEqual(second.usage.prompt_tokens_details.cached_tokens, first.usage.prompt_tokens)
        row = self.row(call)
        self.assertEqual((row["cached_tokens"], row["accepted_tokens"], row["rejected_tokens"]),
                         (second.usage.prompt_tokens_details.cached_tokens, second.usage.completion_tokens_details.accepted_prediction_tokens,
                          second.usage.completion_tokens_details.rejected_prediction_tokens))
        self.assertIn("of the prompt reused", self.w.hearth("show", call).stdout)

    def test_another_question_with_the_same_instructions_reuses_them(self):
        usage = [self.ask([{"role": "system", "content": "Rule B. " + HEAD}, {"role": "user", "content": q}])[0].usage for q in ("Name a river.", "What is a mountain?")]
        self.assertEqual(usage[0].prompt_tokens_details.cached_tokens, 0)
        self.assertGreater(usage[1].prompt_tokens_details.cached_tokens, 60)

    def test_clients_of_other_apis_are_told_what_was_reused(self):
        ant = anthropic.Anthropic(base_url=self.at, api_key="none", max_retries=0, timeout=120)
        for expected in (False, True):
            u = ant.messages.create(model="tiny", max_tokens=8, system="Rule C. " + HEAD, messages=[{"role": "user", "content": "Name a river."}]).usage
            self.assertEqual(u.cache_read_input_tokens > 60, expected)

    def test_what_is_copied_is_drafted(self):
        code = "def add(first, second):\n    return first + second\n\ndef subtract(first, second):\n    return first - second\n"
        r, _ = self.ask([{"role": "user", "content": "Repeat this code: " + code}], max_tokens=60)
        d = r.usage.completion_tokens_details
        self.assertGreaterEqual(d.accepted_prediction_tokens, 0)
        self.assertGreaterEqual(d.rejected_prediction_tokens, 0)
        self.assertLess(d.accepted_prediction_tokens, r.usage.completion_tokens)

    def test_deterministic_calls_give_the_same_bytes_alone_and_under_load(self):
        repeats, load = (200, 4) if LONG else (8, 3)
        messages = [{"role": "system", "content": "Rule D. " + HEAD}, {"role": "user", "content": "Write about the sea."}]
        said, done = set(), []

        def noise(i):
            while not done:
                self.ask([{"role": "user", "content": f"Count from {i} on."}], temperature=1)
        for i in range(repeats // 2):
            said.add(self.ask(messages, temperature=1.0, seed=7, extra_body={"deterministic": True})[0].choices[0].message.content)
        with concurrent.futures.ThreadPoolExecutor(load) as pool:
            noises = [pool.submit(noise, i) for i in range(load)]
            try:
                for i in range(repeats - repeats // 2):
                    said.add(self.ask(messages, temperature=1.0, seed=7, headers={"x-hearth-deterministic": "true"})[0].choices[0].message.content)
            finally:
                done.append(1)
            [n.result() for n in noises]
        self.assertEqual(len(said), 1)
        print(f"    measured: {repeats} deterministic answers alone and under load, {len(said)} text")

    def test_a_deterministic_call_is_replayed_bit_exact(self):
        n = 100 if LONG else 4
        calls = [self.ask([{"role": "user", "content": f"Tell me about the number {i}."}], temperature=0.9, seed=i, headers={"x-hearth-deterministic": "true"})[1] for i in range(n)]
        classes = [json.loads(self.w.hearth("replay", call, "--json").stdout)["class"] for call in calls]
        self.assertEqual(classes, ["bit-exact"] * n)
        self.assertEqual(self.row(calls[0])["deterministic"], 1)
        print(f"    measured: {n} recorded calls replayed, {classes.count('bit-exact')} bit-exact")

    def test_deterministic_by_ollamas_api_and_what_is_refused(self):
        client = ollama.Client(host=self.at, headers={"x-hearth-deterministic": "true"})
        said = {client.chat(model="tiny", messages=[{"role": "user", "content": "Name a tree."}], options={"num_predict": 8, "seed": 3}).message.content for _ in range(3)}
        self.assertEqual(len(said), 1)
        with self.assertRaises(openai.BadRequestError) as e:
            self.ask([{"role": "user", "content": "x"}], extra_body={"deterministic": "yes"})
        self.assertIn("deterministic", str(e.exception))

    def test_a_batch_call_gives_way(self):
        w = World(slots=1).start()
        try:
            sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{w.port}/v1", api_key="none", max_retries=0, timeout=300)
            batch = iter(sdk.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Write a long story."}], max_tokens=1500, temperature=1.2, stream=True,
                                                     extra_headers={"x-hearth-priority": "batch"}))
            for _ in range(3):
                next(batch)
            r, _ = self.ask([{"role": "user", "content": "Name a bird."}], sdk=sdk, max_tokens=4)
            self.assertTrue(r.choices[0].message.content)
            next(batch)                         # it goes on
            batch.close() if hasattr(batch, "close") else None
        finally:
            w.close()

    def test_a_stream_that_waits_gets_signs_of_life(self):
        w = World(slots=1)
        w.config.write_text(w.config.read_text() + "streams: { quiet: 100ms }\nupstream: { gap: 1s }\n")
        w.start()
        path = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}

        def post(api, text="Name a bird.", **more):
            s = socket.create_connection(("127.0.0.1", w.port), timeout=120)
            self.addCleanup(s.close)
            body = json.dumps({"model": "tiny", "max_tokens": 4, "stream": True, "messages": [{"role": "user", "content": text}], **more})
            s.sendall(f"POST {path[api]} HTTP/1.1\r\nHost: localhost:{w.port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            return s

        def until(s, *ends, got=b""):
            while not any(e in got for e in ends):
                more = s.recv(65536)
                self.assertTrue(more, got)
                got += more
            return got

        def busy():                             # the only slot, for a long time
            s = post("openai", "Write a long story.", max_tokens=1900, temperature=1.5, logit_bias={"0": -100, "2": -100})
            until(s, b"content")
            return s
        try:
            first = busy()
            waits = post("anthropic")
            got = until(waits, b"event: ping")
            self.assertIn(b"HTTP/1.1 200", got)
            self.assertNotIn(b"message_start", got)
            time.sleep(2)                       # longer than the gap between two pieces: of an engine of ours that waits, that is no failure
            first.close()
            self.assertIn(b"event: content_block_delta", until(waits, b"event: message_stop"))
            first = busy()
            waits, silent = post("anthropic"), post("openai")
            until(waits, b"event: ping")
            refused = post("anthropic", "much too long " * 3000)         # not accepted: a status, at once
            self.assertRegex(until(refused, b"too long: "), b"HTTP/1.1 400[^$]*prompt is too long")
            os.kill(w.engines()[0], signal.SIGKILL)
            self.assertIn(b"api_error", until(waits, b"event: error", b"message_stop"))       # it was told 200
            got = until(silent, b"[DONE]")      # it was told nothing: another try, by the engine that was started again
            self.assertIn(b"HTTP/1.1 200", got)
            self.assertNotIn(b"error", got)
            long = [post("anthropic", f"{i} " + "the sea and the wind " * 300) for i in range(2)]
            said = [until(s, b"event: message_stop", b"event: error") for s in long]
            self.assertFalse([s for s in said if b"event: error" in s])
            self.assertTrue([s for s in said if b"event: ping" in s.split(b"event: message_start")[0]])
            w.verify()
        finally:
            w.close()

    def test_an_engine_that_is_stopped_says_so_in_place_of_an_answer(self):
        w = World(slots=1).start()
        try:
            sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{w.port}/v1", api_key="none", max_retries=0, timeout=120)
            ask = {"model": "tiny", "messages": [{"role": "user", "content": "Write a long story."}], "temperature": 1.5, "logit_bias": {"0": -100, "2": -100}}
            running = iter(sdk.chat.completions.create(**ask, max_tokens=1900, stream=True))
            next(running), next(running)
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                waits = pool.submit(sdk.chat.completions.create, **{**ask, "max_tokens": 4})
                wait_for(lambda: w.engines())
                time.sleep(0.5)
                os.kill(w.engines()[0], signal.SIGTERM)         # it gives the calls that run five seconds, which are not enough
                with self.assertRaises(openai.APIError):
                    list(running)
                self.assertTrue(waits.result().choices[0].message.content)      # asked again of the next one
        finally:
            w.close()

    def test_a_full_queue_says_when_to_come_back(self):
        w = World(slots=1).start()
        try:
            def post(i):
                c = http.client.HTTPConnection("127.0.0.1", w.port, timeout=300)
                c.request("POST", "/v1/chat/completions", json.dumps({"model": "tiny", "max_tokens": 1900, "temperature": 1.5, "logit_bias": {"0": -100, "2": -100},
                                                                    "messages": [{"role": "user", "content": f"Write {i} stories."}]}),
                          {"Content-Type": "application/json"})
                return c
            busy = [post(i) for i in range(66)]         # one runs, 64 wait, one is too many
            answered = []
            def refused():
                for c in [c for c in busy if c not in answered]:
                    c.sock.settimeout(0.01)
                    try:
                        c.sock.recv(1, 2)               # MSG_PEEK
                    except TimeoutError:
                        continue
                    answered.append(c)
                    r = c.getresponse()
                    if r.status == 429:
                        return r, json.loads(r.read())
                return None
            r, body = wait_for(refused, 120)
            self.assertGreaterEqual(int(r.headers["Retry-After"]), 1)
            self.assertEqual(body["error"]["type"], "rate_limit_error")
            self.assertIn("s of work", body["error"]["message"])
            for c in busy:
                c.close()
        finally:
            w.close()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
