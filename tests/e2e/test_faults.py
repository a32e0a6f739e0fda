"""Faults of upstreams and clients: what each comes to, what is on record of it, and that others are served meanwhile."""
import json, resource, socket, time, types, unittest

from faulty import ENDS, Faulty, PATHS, body_of, rst
from scripted import ASK, chunk, event, reply, sse, whole
from world import free_port, wait_for

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Faults(Faulty):
    def open_stream(self):
        s = socket.create_connection(("127.0.0.1", self.w.port))
        body = json.dumps({"model": "m", "messages": ASK, "stream": True}).encode()
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (self.w.port, len(body)) + body)
        return s

    def fails(self, name, apis=PATHS, streams=(False, True), outcomes=("error", "cut"), within=10, statuses=(502, 503, 504), asks=None):
        """Calls of every API, which all fail by what the upstream does: in time, visibly, and with exactly one row each."""
        n, asks = 0, asks or [(api, stream) for api in apis for stream in streams]
        for api, stream in asks:
            with self.subTest(name, api=api, stream=stream):
                begin = time.monotonic()
                status, got, ended, _ = self.ask(api, stream, text=name)
                n += 1
                self.assertLess(time.monotonic() - begin, within)
                self.assertNotIn(ENDS[api], got, "it does not look whole")
                if status == 200:
                    self.assertTrue(stream and (not ended or b'"error"' in got or b"response.failed" in got), got[-300:])
                else:
                    self.assertIn(status, statuses)
                    error = json.loads(got)["error"]
                    self.assertTrue(error if api == "ollama" else error["message"])
                for line in got.replace(b"\r", b"").split(b"\n") if status == 200 else []:
                    data = line if api == "ollama" else line[6:] if line.startswith(b"data: ") else b""
                    if data:
                        self.assertIsInstance(json.loads(data.decode("utf-8")), dict, "what is handed on is valid")
        for rows in self.outcomes(n):
            with self.subTest(name):
                self.assertEqual([k for k, _ in rows], ["end"], "one row each, and no intent is left")
                self.assertIn(rows[0][1], outcomes)

    # ---- the upstream ends too early ----

    def test_a_connection_that_ends_too_early_is_no_end(self):
        half = json.dumps({"id": "up"}).encode()[:-3]
        first, finish = event({"role": "assistant", "content": "half"}), event({}, "stop")
        framed = b"%x\r\n%s\r\n" % (len(first), first)
        where = {  # what is sent before it ends, by whether a stream was asked for
            "before the head": (b"", b""),
            "inside of the head": (HEAD[:30], STREAM[:30]),
            "after the head": (HEAD + b"Content-Length: 900\r\n\r\n", STREAM),
            "inside of the body": (HEAD + b"Content-Length: 900\r\n\r\n" + half, STREAM + framed),
            "inside of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n99\r\n" + half, STREAM + framed + framed[:-20]),
            "between two chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(half), half), STREAM + framed + framed),
            "inside of an event": (HEAD + b"Content-Length: 900\r\n\r\n{", STREAM + framed + b"%x\r\n%s\r\n" % (len(first) - 9, first[:-9])),
            "before the last chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", STREAM + framed + b"%x\r\n%s\r\n" % (len(finish), finish)),
        }

        def script(conn, body):
            name, how = body["messages"][0]["content"].rsplit(" by ", 1)
            conn.sendall(where[name][bool(body.get("stream"))])
            time.sleep(0.01)
            if how == "RST":
                rst(conn)
            return False
        self.world(script)
        for name in where:
            for how in ("FIN", "RST"):
                self.fails(f"{name} by {how}", asks=[("openai", False), ("openai", True)] if name != "between two chunks" else None)
            self.renew()

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
            return True
        self.world(script)
        seen, s = [], self.open_stream()
        while piece := s.recv(65536):
            seen += [time.monotonic()] * piece.count(b'"content"')
            if b"[DONE]" in piece:
                break
        s.close()
        self.assertEqual(len(seen), 4)
        self.assertGreater(seen[3] - seen[0], 2)
        self.fails("silent", apis=["openai"], statuses=(504,))

    def test_an_upstream_that_is_not_there_is_said_at_once(self):
        self.world(lambda conn, body: False, port=free_port())
        self.fails("not there", within=5, outcomes=("error",), asks=[("openai", False), ("openai", True), ("anthropic", True), ("ollama", False)])

    # ---- the upstream says nonsense ----

    def test_replies_that_are_none(self):
        bodies = {"html": (b"<html>busy</html>", "text/html"), "empty": (b"", "application/json"), "half": (b'{"choices":[', "application/json"), "no choices": (b"{}", "application/json"),
                  "a list": (b"[1]", "application/json"), "null": (b"null", "application/json"), "bad UTF-8": (b'{"choices":[{"message":{"content":"\xff"}}]}', "application/json"),
                  "a million deep": (b'{"choices":' * 1000000, "application/json"), "two replies": (whole() + whole(), "application/json")}
        self.world(lambda conn, body: reply(conn, *[bodies[body["messages"][0]["content"]][0], 200, bodies[body["messages"][0]["content"]][1]]))
        for name in bodies:
            self.fails(name, streams=[False], statuses=(502,), outcomes=("error",))

    def test_events_that_are_none(self):
        first = event({"role": "assistant", "content": "half"})
        streams = {"html": b"<html>busy</html>", "nothing": b"", "only comments": b": x\n\n" * 5000, "without an end": first + b'data: {"id": "up", "choices": [', "half an event": first + b'data: {"id":\n\n',
                   "a list": first + b"data: [1]\n\n", "a number": first + b"data: 7\n\n", "bad UTF-8": first + b'data: {"id":"up","choices":[{"index":0,"delta":{"content":"\xff\xfe"}}]}\n\n',
                   "no choices": first + b"data: {}\n\n", "other events": first + b"event: ping\ndata: x\n\n", "a NUL": first + b'data: {"id":"\x00"}\n\n'}

        def script(conn, body):
            sse(conn)
            data = streams[body["messages"][0]["content"]]
            if data:
                chunk(conn, data)
            conn.sendall(b"0\r\n\r\n")
            return True
        self.world(script)
        for name in streams:
            self.fails(name, streams=[True])

    def test_a_line_that_never_ends_takes_no_memory(self):
        def script(conn, body):
            conn.sendall(STREAM if body.get("stream") else HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            for i in range(2000):           # 120 MB
                chunk(conn, (b"data: " if not i else b"") + b"x" * 60000)
        self.world(script, more="limits: { reply: 8 MiB }\n")
        self.fails("endless", apis=["openai", "anthropic"])
        self.assertLess(self.memory() - self.base[0], 60)

    def test_heads_that_are_none(self):
        ok = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        body = whole()
        length = b"Content-Length: %d\r\n" % len(body)
        heads = {"noise": b"\x00\x01\x02\r\n\r\n", "another protocol": b"SSH-2.0-x\r\n\r\n", "HTTP/2": b"HTTP/2 200 OK\r\n" + length + b"\r\n" + body, "a status of four digits": b"HTTP/1.1 2000 OK\r\n" + length + b"\r\n" + body,
                 "a status below 100": b"HTTP/1.1 099 OK\r\n" + length + b"\r\n" + body, "two lengths": ok + length + b"Content-Length: 3\r\n\r\n" + body, "the same length twice": ok + length * 2 + b"\r\n" + body,
                 "a negative length": ok + b"Content-Length: -1\r\n\r\n" + body, "length and chunked": ok + length + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "an unknown coding": ok + b"Transfer-Encoding: gzip\r\n\r\n" + body,
                 "a bare LF": b"HTTP/1.1 200 OK\nContent-Type: application/json\r\n" + length + b"\r\n" + body, "a folded field": ok + b"X: a\r\n b\r\n" + length + b"\r\n" + body, "no colon": ok + b"X\r\n" + length + b"\r\n" + body,
                 "a head of a megabyte": ok + b"X: " + b"a" * (1 << 20) + b"\r\n" + length + b"\r\n" + body, "101 fields": ok + b"X: a\r\n" * 101 + length + b"\r\n" + body,
                 "a chunk that is too long": ok + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "a chunk of no number": ok + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
                 "a chunk without its end": ok + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n", "no content": b"HTTP/1.1 204 No Content\r\n\r\n", "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
                 "switching": b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "created": b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n" + length + b"\r\n" + body, "partial": b"HTTP/1.1 206 Partial\r\nContent-Type: application/json\r\n" + length + b"\r\n" + body,
                 "a status above 599": b"HTTP/1.1 999 X\r\nContent-Type: application/json\r\n" + length + b"\r\n" + body, "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"}

        def script(conn, body):
            conn.sendall(heads[body["messages"][0]["content"]])
            time.sleep(0.02)
            return False
        self.world(script)
        for name in heads:
            self.fails(name, apis=["openai"])
            self.renew()

    def test_more_than_was_asked_for_reaches_nobody(self):
        """Bytes behind a reply: the connection is not used again, so that nobody is given them as an answer."""
        def script(conn, body):
            text = body["messages"][0]["content"]
            pieces = []
            for id in (text, "nobody's") if text == "first" else (text,):
                reply(types.SimpleNamespace(sendall=pieces.append), whole(id=id))
            conn.sendall(b"".join(pieces))      # at once: what comes after the next question has gone out is an answer to it
            return True
        self.world(script, threads=1)
        for text in ("first", "second", "first", "second"):
            self.assertEqual(json.loads(self.ask(text=text)[1])["id"], text)
        self.assertEqual(self.up.connections, 3)

    def test_informational_heads_have_an_end(self):
        def script(conn, body):
            if body["messages"][0]["content"] == "some":
                conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
                return reply(conn, whole())
            while True:
                conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
                time.sleep(0.01)
        self.world(script)
        self.assertEqual(self.ask(text="some")[0], 200)
        self.fails("for ever", apis=["openai"])

    def test_statuses_keep_their_class_and_when_to_come_back(self):
        def script(conn, body):
            return reply(conn, json.dumps({"error": {"message": "not now", "type": "t", "code": None}}).encode(), int(body["messages"][0]["content"]), fields="retry-after: 7\r\n")
        self.world(script)
        for status in (429, 500, 503, 529):
            for api in PATHS:
                for stream in (False, True):
                    with self.subTest(status=status, api=api, stream=stream):
                        got, body, _, fields = self.ask(api, stream, text=str(status))
                        self.assertEqual((got, fields.get("retry-after")), (status, "7"))
                        error = json.loads(body)["error"]
                        self.assertEqual(error if api == "ollama" else error["message"], "not now")
                self.renew()
            self.assertEqual({o for rows in self.outcomes(8) for _, o in rows}, {"error"})

    # ---- clients ----

    def test_thirty_clients_that_never_read(self):
        piece = event({"content": "x" * 60000})

        def script(conn, body):
            if not body.get("stream"):
                return reply(conn, whole())
            sse(conn)
            for _ in range(1500):           # 90 MB
                chunk(conn, piece)
        self.world(script)
        self.ask()
        before, held = self.memory(), [self.open_stream() for _ in range(30)]
        time.sleep(3)
        grown = self.memory() - before
        print(f"measured: 30 clients that never read cost {grown:.1f} MiB", flush=True)
        self.assertLess(grown, 150)
        self.assertEqual(self.ask()[0], 200, "others are served")
        for s in held:
            s.close()
        wait_for(lambda: len([r for r in self.w.rows() if r.get("outcome") == "cancelled"]) == 30, 15)

    def test_two_hundred_clients_leave(self):
        self.world(lambda conn, body: self.up.wait_closed(conn) if body.get("stream") else reply(conn, whole()))
        self.ask()
        held = [self.open_stream() for _ in range(200)]
        wait_for(lambda: len(self.up.bodies) == 201, 15)
        for s in held:
            s.close()
        wait_for(lambda: len(self.up.closed) == 200, 10)
        wait_for(lambda: len([r for r in self.w.rows() if r.get("outcome") == "cancelled"]) == 200, 15)
        self.assertEqual({tuple(rows) for rows in self.outcomes(201)}, {(("end", "cancelled"),), (("end", "ok"),)}, "one row each")
        self.assertEqual(self.w.hearth("verify").returncode, 0)

    def test_who_leaves_at_any_moment_leaves_one_row(self):
        def script(conn, body):
            if not body.get("stream"):
                time.sleep(0.5)
                return reply(conn, whole())
            sse(conn)
            for _ in range(50):
                chunk(conn, event({"content": "x" * 200}))
                time.sleep(0.01)
            chunk(conn, event({}, "stop") + b"data: [DONE]\n\n")
            conn.sendall(b"0\r\n\r\n")
            return True
        self.world(script)
        n = 0
        for api in PATHS:
            for stream in (False, True):
                for wait in (0, 0.05, 0.2):
                    for end in (rst, socket.socket.close, lambda s: s.shutdown(socket.SHUT_WR)):
                        s = socket.create_connection(("127.0.0.1", self.w.port))
                        body = json.dumps(body_of(api, stream)).encode()
                        s.sendall(f"POST {PATHS[api]} HTTP/1.1\r\nHost: 127.0.0.1:{self.w.port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                        wait_for(lambda: len(self.up.bodies) == n + 1, 10)
                        time.sleep(wait)
                        end(s)
                        n += 1
                        wait_for(lambda: len(self.outcomes(1)) and len([r for r in self.w.rows() if r["kind"] == "end"]) == n, 10)
                        s.close()
        self.assertEqual({tuple(rows) for rows in self.outcomes(n)}, {(("end", "cancelled"),)})

    def test_who_says_nothing_is_closed_in_time(self):
        self.world(lambda conn, body: reply(conn, whole()), more="limits: { idle_time: 1s, head_time: 60s }\n")
        asked, silent = [socket.create_connection(("127.0.0.1", self.w.port), timeout=30) for _ in range(2)]
        asked.sendall(b"GET /health HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % self.w.port)
        self.assertIn(b"200 OK", asked.recv(65536))
        for s in (asked, silent):
            begin = time.monotonic()
            self.assertEqual(s.recv(100), b"", "closed, without a word")
            self.assertLess(time.monotonic() - begin, 20)
            s.close()

    def test_few_descriptors(self):
        self.world(lambda conn, body: reply(conn, whole()))
        self.ask()
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
        busy = self.cpu()
        time.sleep(1)
        self.assertLess(self.cpu() - busy, 0.5, "no busy loop: less than half a core")
        for s in held:
            s.close()
        wait_for(lambda: self.ask(timeout=2)[0] == 200, 15)


if __name__ == "__main__":
    unittest.main(argv=["test_faults"], verbosity=2)
