"""Faults of upstreams, clients and the machine: what each comes to, and that others are served meanwhile."""
import json, os, resource, socket, time, unittest

import openai
from test_reports import ASK, Raw, chunk, event, reply, sse, whole
from world import World, wait_for


class Faults(unittest.TestCase):
    def world(self, script):
        self.up = Raw(script)
        self.w = World({"providers": f"  up: {{ api: openai, url: http://127.0.0.1:{self.up.port}/v1, zone: machine, first_byte: 2s, gap: 2s }}", "models": "  m: { provider: up, id: x, retries: 0 }"})
        self.w.config.write_text(self.w.config.read_text().replace("default: tiny", "default: m"))
        self.w.start()
        self.addCleanup(self.w.close)
        self.sdk = openai.OpenAI(base_url=f"http://127.0.0.1:{self.w.port}/v1", api_key="none", max_retries=0, timeout=30)
        self.proc = f"/proc/{self.w.server.pid}"

    def memory(self):
        return next(int(line.split()[1]) for line in open(self.proc + "/status") if line.startswith("VmRSS")) / 1024

    def descriptors(self):
        return len(os.listdir(self.proc + "/fd"))

    def open_stream(self):
        s = socket.create_connection(("127.0.0.1", self.w.port))
        body = json.dumps({"model": "m", "messages": ASK, "stream": True}).encode()
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (self.w.port, len(body)) + body)
        return s

    def test_thirty_clients_that_never_read(self):
        piece = event({"content": "x" * 60000})

        def script(conn, body):
            if not body.get("stream"):
                return reply(conn, whole())
            sse(conn)
            for _ in range(1500):           # 90 MB
                chunk(conn, piece)
        self.world(script)
        self.sdk.chat.completions.create(model="m", messages=ASK)
        before, held = self.memory(), [self.open_stream() for _ in range(30)]
        time.sleep(3)
        grown = self.memory() - before
        print(f"measured: 30 clients that never read cost {grown:.1f} MiB", flush=True)
        self.assertLess(grown, 150)
        self.assertEqual(self.sdk.chat.completions.create(model="m", messages=ASK).choices[0].message.content, "hello", "others are served")
        for s in held:
            s.close()
        wait_for(lambda: len([r for r in self.w.rows() if r.get("outcome") == "cancelled"]) == 30, 15)

    def test_two_hundred_clients_leave(self):
        self.world(lambda conn, body: self.up.wait_closed(conn) if body.get("stream") else reply(conn, whole()))
        self.sdk.chat.completions.create(model="m", messages=ASK)
        base = self.descriptors()
        held = [self.open_stream() for _ in range(200)]
        wait_for(lambda: len(self.up.bodies) == 201, 15)
        for s in held:
            s.close()
        wait_for(lambda: len(self.up.closed) == 200, 10)
        wait_for(lambda: self.descriptors() <= base + 2, 15)
        wait_for(lambda: len([r for r in self.w.rows() if r.get("outcome") == "cancelled"]) == 200, 15)
        self.assertEqual(self.w.hearth("verify").returncode, 0)

    def test_an_upstream_that_drips_is_alive_and_one_that_is_silent_is_not(self):
        def script(conn, body):
            if body["messages"][0]["content"] == "silent":
                time.sleep(10)
                return False
            sse(conn)
            for word in ("one ", "two ", "three ", "four "):
                chunk(conn, event({"content": word}))
                time.sleep(0.9)             # longer than 2 s in all, but never between two
            chunk(conn, event({}, "stop") + b"data: [DONE]\n\n")
            conn.sendall(b"0\r\n\r\n")
        self.world(script)
        seen = [time.monotonic() for c in self.sdk.chat.completions.create(model="m", messages=ASK, stream=True) if c.choices and c.choices[0].delta.content]
        self.assertEqual(len(seen), 4)
        self.assertGreater(seen[3] - seen[0], 2)
        with self.assertRaises(openai.APIStatusError) as e:
            self.sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "silent"}])
        self.assertEqual(e.exception.status_code, 504)

    def test_replies_that_are_none(self):
        bodies = {"html": (b"<html>busy</html>", "text/html"), "empty": (b"", "application/json"), "half": (b'{"choices":[', "application/json"), "no choices": (b"{}", "application/json"),
                  "a list": (b"[1]", "application/json"), "bad UTF-8": (b'{"choices":[{"message":{"content":"\xff"}}]}', "application/json")}
        self.world(lambda conn, body: reply(conn, *[bodies[body["messages"][0]["content"]][0], 200, bodies[body["messages"][0]["content"]][1]]))
        for name in bodies:
            with self.subTest(name), self.assertRaises(openai.APIStatusError) as e:
                self.sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": name}])
            self.assertEqual(e.exception.status_code, 502)
        self.assertEqual({r["outcome"] for r in self.w.rows()}, {"error"})

    def test_few_descriptors(self):
        self.world(lambda conn, body: reply(conn, whole()))
        self.sdk.chat.completions.create(model="m", messages=ASK)
        resource.prlimit(self.w.server.pid, resource.RLIMIT_NOFILE, (128, resource.prlimit(self.w.server.pid, resource.RLIMIT_NOFILE)[1]))
        held = []
        for _ in range(300):
            s = socket.socket()
            s.settimeout(0.2)
            try:
                s.connect(("127.0.0.1", self.w.port))
            except OSError:
                pass
            held.append(s)
        busy = [int(x) for x in open(self.proc + "/stat").read().rsplit(")", 1)[1].split()[11:13]]
        time.sleep(1)
        now = [int(x) for x in open(self.proc + "/stat").read().rsplit(")", 1)[1].split()[11:13]]
        self.assertLess(sum(now) - sum(busy), 50, "no busy loop: less than half a core")
        for s in held:
            s.close()

        def served():
            try:
                return self.sdk.with_options(timeout=2).chat.completions.create(model="m", messages=ASK)
            except openai.APIError:
                return False
        wait_for(served, 15)


if __name__ == "__main__":
    unittest.main(argv=["test_faults"], verbosity=2)
