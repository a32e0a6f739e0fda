"""Connections that libcurl makes: TLS with verification, a proxy's tunnel, Unix sockets, zones that do not fit their address, dead kept connections."""
import http.server, json, os, pathlib, socket, socketserver, ssl, subprocess, sys, tempfile, threading, unittest

import openai

from world import World, free_port

ASK = [{"role": "user", "content": "Hello"}]
REPLY = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"},
                    "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    close_quietly = False           # after a reply, without saying so: the kept connection is then dead

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append(dict(self.headers))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(REPLY)))
        self.end_headers()
        self.wfile.write(REPLY)
        self.wfile.flush()
        if self.server.close_quietly:
            self.close_connection = True

    def log_message(self, *_):
        pass


class Upstream(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


class UnixUpstream(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def serve(server):
    server.seen, server.close_quietly = [], False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def certificate(d, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", d / f"{name}.key", "-out", d / f"{name}.pem", "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name}"], check=True, capture_output=True)
    return d / f"{name}.pem", d / f"{name}.key"


class Proxy(threading.Thread):
    """CONNECT, and bytes both ways."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.asked = self.listener.getsockname()[1], []
        self.start()

    def run(self):
        while True:
            s, _ = self.listener.accept()
            threading.Thread(target=self.tunnel, args=(s,), daemon=True).start()

    def tunnel(self, s):
        head = b""
        while b"\r\n\r\n" not in head:
            head += s.recv(4096)
        target = head.split()[1].decode()
        self.asked.append(head.split()[0].decode() + " " + target)
        up = socket.create_connection(("127.0.0.1", int(target.rsplit(":", 1)[1])))
        s.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        def copy(a, b):
            while data := a.recv(65536):
                b.sendall(data)
        threading.Thread(target=copy, args=(s, up), daemon=True).start()
        copy(up, s)


class Connections(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        d = cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="hearth-tls-"))
        cls.plain = serve(Upstream(("127.0.0.1", 0), Handler))
        cls.unix = serve(UnixUpstream(str(d / "up.sock"), Handler))
        cls.tls, cls.proxy = {}, Proxy()
        for name in ("localhost", "elsewhere"):
            cert, key = certificate(d, name)
            server = serve(Upstream(("127.0.0.1", 0), Handler))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            cls.tls[name] = server
        port = cls.plain.server_address[1]
        tls = {n: s.server_address[1] for n, s in cls.tls.items()}
        cls.w = World({"providers": f"""
  plain: {{ api: openai, url: http://127.0.0.1:{port}, zone: machine }}
  secure: {{ api: openai, url: https://localhost:{tls["localhost"]}, zone: cloud, ca_file: {d}/localhost.pem, key: "${{TEST_KEY}}" }}
  unknown: {{ api: openai, url: https://localhost:{tls["localhost"]}, zone: cloud }}
  misnamed: {{ api: openai, url: https://localhost:{tls["elsewhere"]}, zone: cloud, ca_file: {d}/elsewhere.pem }}
  tunnel: {{ api: openai, url: https://localhost:{tls["localhost"]}, zone: cloud, ca_file: {d}/localhost.pem, proxy: "http://127.0.0.1:{cls.proxy.port}" }}
  socket: {{ api: openai, url: "unix:{d}/up.sock", zone: machine }}
""", "models": "\n".join(f"  {n}: {{ provider: {n}, id: m }}" for n in ("plain", "secure", "unknown", "misnamed", "tunnel", "socket"))})
        os.environ["TEST_KEY"] = "sk-secret-of-the-test"
        cls.w.start()
        cls.client = openai.OpenAI(base_url=f"http://127.0.0.1:{cls.w.port}/v1", api_key="from-the-client", max_retries=0, timeout=30)

    @classmethod
    def tearDownClass(cls):
        cls.w.close()

    def ask(self, model):
        return self.client.chat.completions.create(model=model, messages=ASK).choices[0].message.content

    def test_tls_is_spoken_and_the_key_goes_only_there(self):
        for _ in range(3):
            self.assertEqual(self.ask("secure"), "hi")
        self.assertEqual(self.tls["localhost"].seen[-1]["Authorization"], "Bearer sk-secret-of-the-test")
        self.ask("plain")
        self.assertNotIn("Authorization", self.plain.seen[-1])
        for place in (self.w.dir / "serve.log", self.w.dir / "hearth.db"):
            self.assertNotIn(b"sk-secret-of-the-test", place.read_bytes())
        self.assertNotIn("sk-secret", self.w.hearth("config", "show").stdout)

    def test_certificates_are_verified(self):
        for model in ("unknown", "misnamed"):
            with self.assertRaises(openai.InternalServerError) as e:
                self.ask(model)
            self.assertEqual((e.exception.status_code, e.exception.code), (502, "upstream_tls"), model)

    def test_a_proxy_gets_a_tunnel(self):
        self.assertEqual(self.ask("tunnel"), "hi")
        self.assertEqual(self.proxy.asked, [f"CONNECT localhost:{self.tls['localhost'].server_address[1]}"])

    def test_a_unix_socket(self):
        self.assertEqual(self.ask("socket"), "hi")

    def test_a_kept_connection_that_died_is_replaced_once(self):
        self.plain.close_quietly = True
        for _ in range(10):
            self.assertEqual(self.ask("plain"), "hi")
        self.plain.close_quietly = False

    def test_the_proxy_of_the_environment_is_not_used_for_near_zones(self):
        os.environ["http_proxy"] = f"http://127.0.0.1:{free_port()}"
        w = World({"providers": f"  plain: {{ api: openai, url: http://127.0.0.1:{self.plain.server_address[1]}, zone: machine }}", "models": "  plain: { provider: plain, id: m }"}).start()
        try:
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{w.port}/v1", api_key="-", max_retries=0, http_client=__import__("httpx").Client(trust_env=False))
            self.assertEqual(client.chat.completions.create(model="plain", messages=ASK).choices[0].message.content, "hi")
        finally:
            w.close()
            del os.environ["http_proxy"]


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
