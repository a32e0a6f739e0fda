"""An upstream that does what a script says, connection by connection, and what it says where it behaves."""
import json, socket, threading, time

ASK = [{"role": "user", "content": "plain"}]


def event(delta, finish=None, **more):
    return b"data: " + json.dumps({"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}, ensure_ascii=False).encode() + b"\n\n"


def whole(**more):
    return json.dumps({"id": "up", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
                       "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}, **more}).encode()


class Raw:
    """An upstream that does with each connection what the test says: script(conn, body) -> keep it open?"""
    def __init__(self, script):
        self.script, self.bodies, self.closed, self.connections, self.open, self.lock = script, [], [], 0, 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def count(self, n):
        with self.lock:
            self.open += n

    def serve(self, conn):
        data = b""
        self.count(1)
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    more = conn.recv(65536)
                    if not more:
                        return
                    data += more
                head, data = data.split(b"\r\n\r\n", 1)
                n = next(int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length"))
                while len(data) < n:
                    more = conn.recv(65536)
                    if not more:
                        return
                    data += more
                self.bodies.append(json.loads(data[:n]))
                data = data[n:]
                if not self.script(conn, self.bodies[-1]):
                    return
        except OSError:
            pass
        finally:
            self.count(-1)
            conn.close()

    def wait_closed(self, conn):
        """Blocks until the other side has closed, and notes when."""
        while conn.recv(65536):
            pass
        self.closed.append(time.monotonic())


def reply(conn, body, status=200, kind="application/json", fields=""):
    conn.sendall(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body)
    return True


def sse(conn):
    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")


def chunk(conn, data):
    conn.sendall(b"%x\r\n%s\r\n" % (len(data), data))
