"""Hostile bytes and hostile behaviour: each has an asserted outcome, and after each the server answers a plain request at once, with the memory
and the descriptors that it had before."""
import gzip, http.client, json, os, pathlib, resource, socket, struct, time, unittest

from world import World, memory, wait_for

BODY = b'{"model":"gone","messages":[{"role":"user","content":"x"}]}'
HOST = b"Host: 127.0.0.1:%d\r\n"
CT = b"Content-Type: application/json\r\n"


def post(extra=b"", body=BODY, length=True, target=b"/v1/chat/completions", version=b"HTTP/1.1", host=HOST, method=b"POST", kind=CT):
    return method + b" " + target + b" " + version + b"\r\n" + host + kind + extra + (b"Content-Length: %d\r\n" % len(body) if length else b"") + b"\r\n" + body


class Security(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.w = World()
        cls.w.config.write_text(cls.w.config.read_text() + "limits: { head_time: 2s, body_time: 2s, idle_time: 30s, connections: 12000 }\nthreads: 2\n")
        cls.w.start()
        cls.proc = f"/proc/{cls.w.server.pid}"
        for _ in range(50):
            cls.alive(cls)
        cls.base = cls.now(cls)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def now(self):
        return memory(self.w.server.pid)

    def alive(self):
        begin = time.monotonic()
        c = http.client.HTTPConnection("127.0.0.1", self.w.port, timeout=5)
        c.request("GET", "/v1/models")
        assert c.getresponse().status == 200
        c.close()
        return time.monotonic() - begin

    def tearDown(self):
        self.assertLess(self.alive(), 2)
        wait_for(lambda: self.now()[1] <= self.base[1] + 2, 15)
        self.assertLess(self.now()[0] - self.base[0], 40 << 10, "memory is back where it was, but for what the allocator keeps")

    def send(self, data, more=None, timeout=8):
        """All that comes back until the server closes or says nothing for a while; (bytes, closed)."""
        out = b""
        with socket.create_connection(("127.0.0.1", self.w.port), timeout=timeout) as s:
            try:
                s.sendall(data.replace(b"%d", str(self.w.port).encode()))
            except OSError:
                pass
            s.settimeout(1.5 if more is None else more)
            try:
                while True:
                    got = s.recv(65536)
                    if not got:
                        return out, True
                    out += got
                    head, _, body = out.partition(b"\r\n\r\n")
                    if b"Content-Length: " in head and len(body) >= int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]):
                        s.settimeout(0.15)      # it is whole: does it close, or does more come?
            except TimeoutError:
                return out, False
            except OSError:
                return out, True

    def status(self, data, **kw):
        out, closed = self.send(data, **kw)
        return int(out.split(b" ", 2)[1]) if out.startswith(b"HTTP/1.1 ") else None, closed, out

    def test_heads_that_could_be_read_in_two_ways(self):
        smuggled = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"
        cases = {
            "two lengths": post(b"Content-Length: 5\r\n"), "the same length twice": post(b"Content-Length: %s\r\n" % str(len(BODY)).encode()),
            "a list of lengths": post(b"Content-Length: 5, 5\r\n", length=False), "a sign": post(b"Content-Length: +5\r\n", length=False), "minus": post(b"Content-Length: -1\r\n", length=False),
            "overflow": post(b"Content-Length: 18446744073709551617\r\n", length=False), "hex": post(b"Content-Length: 0x10\r\n", length=False), "empty": post(b"Content-Length:\r\n", length=False),
            "length and chunked": post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + smuggled), "chunked twice": post(b"Transfer-Encoding: chunked, chunked\r\n", length=False),
            "an unknown coding": post(b"Transfer-Encoding: gzip\r\n", length=False), "chunked not last": post(b"Transfer-Encoding: chunked, identity\r\n", length=False),
            "space before the colon": post(b"Content-Length : 5\r\n", length=False), "a folded line": post(b"X-A: b\r\n c\r\n"), "no colon": post(b"X-A\r\n"), "no name": post(b": x\r\n"),
            "a bad name": post(b"X(A): b\r\n"), "a NUL": post(b"X-A: b\x00c\r\n"), "a bare CR": post(b"X-A: b\rc\r\n"), "a bare LF": post(b"X-A: b\nX-B: c\r\n"),
            "no Host": post(host=b""), "two Hosts": post(host=HOST + HOST), "an invalid Host": post(host=b"Host: a b\r\n"), "chunk size overflows": post(b"Transfer-Encoding: chunked\r\n", b"FFFFFFFFFFFFFFFFF\r\n", length=False),
            "a chunk of a negative size": post(b"Transfer-Encoding: chunked\r\n", b"-1\r\n\r\n", length=False), "a chunk without its end": post(b"Transfer-Encoding: chunked\r\n", b"3\r\nabcX\r\n0\r\n\r\n", length=False),
            "an unknown version": post(version=b"HTTP/2.0"), "no version": post(version=b""), "a bad method": post(method=b"P(ST"), "CONNECT": post(method=b"CONNECT", target=b"evil.example:443"),
        }
        for name, data in cases.items():
            with self.subTest(name):
                status, closed, out = self.status(data)
                self.assertIn(status, (400, 403, 405, 411, 413, 501, 505), out[:200])
                self.assertTrue(closed, "nothing after it is answered")
                self.assertEqual(out.count(b"Content-Length: "), 1)
                self.assertNotIn(b'"object":"list"', out)

    def test_sizes(self):
        for name, data in {"a line of 8 MiB": post(b"X-A: " + b"a" * (8 << 20) + b"\r\n"), "20,000 fields": post(b"X-A: b\r\n" * 20000), "a target of 1 MiB": post(target=b"/" + b"a" * (1 << 20)),
                           "a body over the limit": post(b"Content-Length: 99999999999\r\n", b"", length=False), "endless chunk extensions": post(b"Transfer-Encoding: chunked\r\n", b"5;" + b"x" * (1 << 20), length=False),
                           "endless trailers": post(b"Transfer-Encoding: chunked\r\n", b"0\r\n" + b"X-A: b\r\n" * 100000, length=False)}.items():
            with self.subTest(name):
                status, closed, out = self.status(data)
                self.assertTrue(status is None or status in (400, 413, 414, 431), out[:100])
                self.assertTrue(closed)

    def test_a_body_of_the_limit_and_one_byte_more(self):
        frame = b'{"model":"gone","messages":[{"role":"user","content":"%s"}]}'
        for more, want in ((0, 404), (1, 413)):
            status, _, out = self.status(post(body=frame.replace(b"%s", b"x" * ((64 << 20) + more - len(frame) + 2))), more=20, timeout=30)
            self.assertEqual(status, want, out[:300])
        wait_for(lambda: self.now()[0] - self.base[0] < 40 << 10, 15)

    def test_refusals_before_the_body_are_in_the_callers_words_too(self):
        cases = {"a foreign Host": (post(host=b"Host: evil.example\r\n"), 403), "a foreign page": (post(b"Origin: null\r\n"), 403), "a body over the limit": (post(b"Content-Length: 99999999999\r\n", b"", length=False), 413),
                 "chunks that are none": (post(b"Transfer-Encoding: chunked\r\n", b"x\r\n", length=False), 400), "a body that does not come": (post(b"Content-Length: 9\r\n", b"{", length=False), 408)}
        for name, (data, want) in cases.items():
            for path in (b"/v1/chat/completions", b"/v1/messages", b"/api/chat", b"/v1/responses"):
                with self.subTest(name, path=path):
                    status, closed, out = self.status(data.replace(b"/v1/chat/completions", path), more=8)
                    self.assertEqual((status, closed), (want, True), out[:300])
                    text = json.loads(out.split(b"\r\n\r\n", 1)[1])
                    self.assertTrue(isinstance(text["error"] if path.startswith(b"/api") else text["error"]["message"], str))
                    self.assertEqual("type" in text, path == b"/v1/messages")

    def test_other_protocols_and_other_hosts(self):
        for name, data in {"TLS": bytes.fromhex("16030100f8010000f40303") + os.urandom(200), "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "noise": os.urandom(4000) + b"\r\n\r\n"}.items():
            with self.subTest(name):
                self.assertIn(self.status(data)[0], (None, 400, 505))
        for host in (b"evil.example", b"127.0.0.1.evil.example:%d", b"127.0.0.1:1", b"[::ffff:127.0.0.1]:%d"):
            self.assertEqual(self.status(post(host=b"Host: " + host + b"\r\n"))[0], 403, host)
        for origin in (b"https://evil.example", b"null", b"http://127.0.0.1:1", b"file://"):
            status, _, out = self.status(post(b"Origin: " + origin + b"\r\n"))
            self.assertEqual(status, 403)
            self.assertNotIn(b"Access-Control-Allow", out)
        self.assertEqual(self.status(post(kind=b"Content-Type: text/plain\r\n"))[0], 400, "what a page may post without asking")
        for target in (b"/../etc/passwd", b"/v1/models/..%2f..%2fetc", b"/%2e%2e/x", b"/v1//models", b"/v1/chat/completions/", b"//evil.example/v1/models"):
            self.assertIn(self.status(b"GET " + target.replace(b"%2", b"%%2").replace(b"%%", b"%") + b" HTTP/1.1\r\n" + HOST + b"\r\n")[0], (400, 404), target)

    def test_bodies(self):
        digits = b"1" * 1000000
        for name, body in {"a million deep": b"[" * 1000000, "a number of a million digits": b'{"model":"tiny","messages":7,"x":' + digits + b"}", "100,000 keys": b"{" + b",".join(b'"k%i":1' % i for i in range(100000)) + b"}",
                           "a key twice": b'{"model":"a","model":"b","messages":[]}', "bad UTF-8": b'{"model":"\xff"}', "a lone surrogate": b'{"model":"\\ud800","messages":[]}', "NaN": b'{"model":"tiny","temperature":NaN}',
                           "null": b"null", "a list": b"[]", "a string": b'"x"', "a number": b"1", "nothing": b"", "garbage": b"{,}", "gzip": gzip.compress(b"0" * 50_000_000)}.items():
            for path in (b"/v1/chat/completions", b"/v1/messages", b"/api/chat", b"/v1/responses", b"/v1/embeddings"):
                with self.subTest(name, path=path):
                    begin = time.monotonic()
                    status, _, out = self.status(post(body=body.replace(b"%d", b"%%d") if b"%d" in body else body, target=path), more=3)
                    self.assertIn(status, (400, 404, 413), out[:300])
                    self.assertLess(time.monotonic() - begin, 6)
                    text = json.loads(out.split(b"\r\n\r\n", 1)[1])
                    said = text["error"] if path.startswith(b"/api") else text["error"]["message"]
                    self.assertTrue(isinstance(said, str) and said)
                    self.assertEqual("type" in text, path == b"/v1/messages", "in the caller's own words")

    def test_what_is_in_order_is_served(self):
        get = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
        out, _ = self.send(get * 50)
        self.assertEqual(out.count(b'"status":"ok"'), 50, "pipelined")
        out, _ = self.send(b"HEAD /health HTTP/1.1\r\n" + HOST + b"\r\n")
        self.assertTrue(out.startswith(b"HTTP/1.1 200") and out.endswith(b"\r\n\r\n"))
        out, _ = self.send(post(b"Expect: 100-continue\r\n", b"", length=False).replace(b"Expect", b"Content-Length: 9\r\nExpect"))
        self.assertTrue(out.startswith(b"HTTP/1.1 100 Continue"))
        with socket.create_connection(("127.0.0.1", self.w.port), timeout=5) as s:
            s.sendall(get.replace(b"%d", str(self.w.port).encode()))
            s.shutdown(socket.SHUT_WR)
            self.assertIn(b'"status":"ok"', s.recv(65536), "a client that has said all it has to say")
        self.assertEqual(self.status(b"GET /v1/nothing HTTP/1.1\r\n" + HOST + b"\r\n")[0], 404)
        self.assertEqual(self.status(b"DELETE /v1/models HTTP/1.1\r\n" + HOST + b"\r\n")[0], 405)

    def test_who_is_slow_or_leaves(self):
        for name, data in {"a head that does not end": b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST, "a body that does not come": post(b"Content-Length: 1000\r\n", b"{", length=False)}.items():
            with self.subTest(name):
                status, closed, _ = self.status(data, more=8)
                self.assertTrue(closed)
                self.assertIn(status, (None, 408))
        for _ in range(200):                    # reset storms
            s = socket.create_connection(("127.0.0.1", self.w.port))
            s.sendall(post().replace(b"%d", str(self.w.port).encode())[:80])
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()

    def test_ten_thousand_idle_connections(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        n = min(10000, hard - 200)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        limit = next(int(line.split()[3]) for line in pathlib.Path(self.proc, "limits").read_text().splitlines() if line.startswith("Max open files"))
        self.assertGreaterEqual(limit, n + 100, "it takes as many descriptors as the system lets it")
        held = []
        try:
            for _ in range(n):
                held.append(socket.create_connection(("127.0.0.1", self.w.port)))
            for s in held[::100]:
                s.sendall((b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n").replace(b"%d", str(self.w.port).encode()))
                self.assertIn(b"200 OK", s.recv(4096))
            wait_for(lambda: self.now()[1] >= n, 20)
            rss = self.now()[0]
            print(f"measured: {n} idle connections, {rss / 1024:.1f} MiB", flush=True)
            self.assertLess(rss, 200 << 10)
            self.assertLess(self.alive(), 2)
        finally:
            for s in held:
                s.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


if __name__ == "__main__":
    unittest.main(argv=["test_security"], verbosity=2)
