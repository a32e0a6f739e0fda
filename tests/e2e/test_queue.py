"""Models that take only so many calls at once: never more reach the upstream, interactive calls go first, waiting is bounded and ends well."""
import http.server, json, threading, time, unittest

import openai
from world import World, wait_for

REPLY = json.dumps({"id": "up", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *a):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        s = self.server
        with s.lock:
            s.running += 1
            s.most = max(s.most, s.running)
            s.order.append(body["messages"][0]["content"])
        time.sleep(s.delay)
        with s.lock:
            s.running -= 1
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(REPLY)))
            self.end_headers()
            self.wfile.write(REPLY)
        except OSError:
            pass


class Slow(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.running, self.most, self.order, self.delay = threading.Lock(), 0, 0, [], 0.2
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Queue(unittest.TestCase):
    def setUp(self):
        self.up, self.other = Slow(), Slow()
        self.w = World({"providers": f"  a: {{ api: openai, url: http://127.0.0.1:{self.up.server_address[1]}/v1, zone: machine }}\n"
                                     f"  b: {{ api: openai, url: http://127.0.0.1:{self.other.server_address[1]}/v1, zone: machine }}",
                        "models": "  two: { provider: a, concurrency: 2, queue: 100 }\n  one: { provider: a, concurrency: 1, queue: 3, queue_time: 700ms, retries: 0 }\n"
                                  "  spill: { provider: a, concurrency: 1, queue: 0, fallback: free }\n  free: { provider: b }",
                        "tasks": "  night: { model: one, priority: batch }"}).start()
        self.sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{self.w.port}/v1", api_key="none", max_retries=0, timeout=20)

    def tearDown(self):
        self.w.close()

    def start(self, model, text, out, **headers):
        def run():
            try:
                r = self.sdk.chat.completions.with_raw_response.create(model=model, messages=[{"role": "user", "content": text}], extra_headers=headers)
                out.append((text, 200, r.headers["x-hearth-model"]))
            except openai.APIStatusError as e:
                out.append((text, e.status_code, e.response.headers.get("retry-after")))
        t = threading.Thread(target=run)
        t.start()
        return t

    def test_never_more_than_allowed_and_all_are_answered(self):
        out = []
        for t in [self.start("two", str(i), out) for i in range(20)]:
            t.join()
        self.assertEqual((self.up.most, [s for _, s, _ in out]), (2, [200] * 20))
        waited = [r["queue_us"] for r in self.w.rows() if r["model"] == "two"]
        self.assertGreater(max(waited), 1_000_000)
        self.assertLess(min(waited), 50_000)

    def test_interactive_calls_go_first(self):
        out, threads = [], [self.start("one", "first", [])]
        wait_for(lambda: self.up.running == 1, 5)
        threads.append(self.start("task/night", "batch", out))
        time.sleep(0.03)
        threads.append(self.start("one", "batch by header", out, **{"x-hearth-priority": "batch"}))
        time.sleep(0.03)
        threads.append(self.start("one", "interactive", out))
        [t.join() for t in threads]
        self.assertEqual(self.up.order, ["first", "interactive", "batch", "batch by header"])
        self.start("one", "x", out, **{"x-hearth-priority": "urgent"}).join()
        self.assertEqual(out[-1][1], 400)

    def test_waiting_is_bounded_in_number_and_in_time(self):
        self.up.delay, out = 2, []
        threads = [self.start("one", "first", out)]
        wait_for(lambda: self.up.running == 1, 5)
        begin = time.monotonic()
        threads += [self.start("one", f"waits {i}", out) for i in range(3)]
        time.sleep(0.2)
        self.start("one", "too many", out).join()
        self.assertLess(time.monotonic() - begin, 0.6)
        self.assertEqual(out[0][:2], ("too many", 429))
        self.assertGreaterEqual(int(out[0][2]), 1)
        threads[1].join()
        self.assertTrue(0.6 < time.monotonic() - begin < 1.5)
        [t.join() for t in threads]
        self.assertEqual(sorted(s for _, s, _ in out), [200, 429, 429, 429, 429])
        self.up.delay = 0.01
        self.start("one", "after", out).join()
        self.assertEqual(out[-1][1], 200, "nobody who gave up holds a place")

    def test_who_leaves_gives_its_place_to_the_next(self):
        self.up.delay, out = 0.4, []
        first = self.start("one", "runs", out)
        wait_for(lambda: self.up.running == 1, 5)
        with self.assertRaises(openai.APITimeoutError):
            self.sdk.with_options(timeout=0.1).chat.completions.create(model="one", messages=[{"role": "user", "content": "waits"}])
        last = self.start("one", "stays", out)
        first.join(), last.join()
        self.assertEqual(([t for t, s, _ in out if s == 200], self.up.order), (["runs", "stays"], ["runs", "stays"]))
        with self.assertRaises(openai.APITimeoutError):         # one that runs gives its place at once, not when the upstream is done
            self.sdk.with_options(timeout=0.1).chat.completions.create(model="one", messages=[{"role": "user", "content": "leaves"}])
        begin = time.monotonic()
        self.start("one", "next", out).join()
        self.assertLess(time.monotonic() - begin, 0.6)
        wait_for(lambda: len([r for r in self.w.rows() if r["outcome"] == "cancelled"]) == 2, 5)
        self.assertEqual(self.w.hearth("verify").returncode, 0)

    def test_a_full_model_spills_over_to_its_fallback(self):
        out = []
        for t in [self.start("spill", str(i), out) for i in range(6)]:
            t.join()
        self.assertEqual([s for _, s, _ in out], [200] * 6)
        self.assertEqual(self.up.most, 1)
        self.assertIn("free", {m for _, _, m in out})

    def test_a_new_limit_holds_for_those_who_wait(self):
        self.up.delay, out = 0.5, []
        threads = [self.start("two", str(i), out) for i in range(8)]
        wait_for(lambda: self.up.running == 2, 5)
        self.w.config.write_text(self.w.config.read_text().replace("concurrency: 2", "concurrency: 8"))
        self.w.server.send_signal(1)
        [t.join() for t in threads]
        self.assertEqual([s for _, s, _ in out], [200] * 8)
        self.assertGreater(self.up.most, 2)


if __name__ == "__main__":
    unittest.main(argv=["test_queue"], verbosity=2)
