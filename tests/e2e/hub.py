"""A hub, its content network and an Ollama registry on loopback, with faults on demand, and GGUF files to fetch from them.

What they answer is that of the public ones, as their clients read it: the hub by huggingface_hub (hf_api.py: list_repo_tree and pages by Link; file_download.py:
X-Linked-Etag, X-Linked-Size, X-Repo-Commit, a redirect to where large files lie; utils/_http.py: X-Error-Code), the registry by Ollama (server/images.go,
server/download.go: manifest by tag, blobs by digest, a redirect to another host for each). huggingface_hub itself is made to fetch from this hub in test_pull.py.

The content network keeps what it served: `served` bytes in all, `most` transfers at once, `tokens` seen. Its faults are attributes of `Cdn`."""
import hashlib, http.server, json, random, re, socket, ssl, struct, threading, time, urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


# ---- files ----

def text(s):
    s = s.encode()
    return struct.pack("<Q", len(s)) + s


def gguf(size=1 << 20, seed=1, template="<|im_start|>{{ x }}<|im_end|>", kind="model"):
    """A file that is a GGUF as far as its header goes: one tensor of random bytes."""
    keys = [text("general.architecture") + struct.pack("<I", 8) + text("llama"), text("general.type") + struct.pack("<I", 8) + text(kind)]
    keys += [text(f"llama.{k}") + struct.pack("<II", 4, v) for k, v in (("context_length", 2048), ("block_count", 2), ("embedding_length", 64), ("attention.head_count", 4))]
    keys += [text("general.file_type") + struct.pack("<II", 4, 15)]
    if template:
        keys += [text("tokenizer.chat_template") + struct.pack("<I", 8) + text(template)]
    elements = max(size // 4, 1)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(keys)) + b"".join(keys) + text("t") + struct.pack("<IQIQ", 1, elements, 0, 0)
    head += b"\0" * (-len(head) % 32)
    return head + random.Random(seed).randbytes(4 * elements)


def split(data, n):
    """A GGUF over n files, as llama.cpp's gguf-split does it: all keys in the first, some tensors in each. The header is read by the PyPI package gguf."""
    import gguf as package, tempfile
    with tempfile.NamedTemporaryFile(suffix=".gguf") as f:
        f.write(data)
        f.flush()
        reader = package.GGUFReader(f.name)
        starts = [x.offset for k, x in reader.fields.items() if not k.startswith("GGUF.")] + [reader.tensors[0].field.offset]
        entries = [(bytes(data[t.field.offset:t.field.offset + 8 + len(t.name) + 4 + 8 * len(t.shape) + 4]), t.data_offset, int(t.n_bytes)) for t in reader.tensors]
    pairs, files = [data[a:b] for a, b in zip(starts, starts[1:])], []
    for i in range(n):
        mine = entries[len(entries) * i // n:len(entries) * (i + 1) // n]
        own = [text("split.no") + struct.pack("<IH", 2, i), text("split.count") + struct.pack("<IH", 2, n), text("split.tensors.count") + struct.pack("<Ii", 5, len(entries))]
        keys = (pairs if i == 0 else []) + own
        head, body = b"GGUF" + struct.pack("<IQQ", 3, len(mine), len(keys)) + b"".join(keys), b""
        for entry, at, size in mine:
            body += b"\0" * (-len(body) % 32)
            head += entry + struct.pack("<Q", len(body))
            body += data[at:at + size]
        files.append(head + b"\0" * (-len(head) % 32) + body)
    return files


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# ---- servers ----

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *a):
        pass

    def handle(self):
        try:
            super().handle()
        except (ConnectionError, ssl.SSLError, TimeoutError):
            pass

    def reply(self, status, body=b"", **fields):
        body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        self.send_response(status)
        for k, v in {"Content-Length": str(len(body)), **fields}.items():
            self.send_header(k.replace("_", "-"), str(v))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        with self.server.lock:
            self.server.seen.append((self.command, self.path, dict(self.headers)))
        fault = self.server.next_fault(self)
        if fault:
            return self.reply(fault[0], fault[2] if len(fault) > 2 else b"", **fault[1])
        self.answer(urllib.parse.unquote(url.path), urllib.parse.parse_qs(url.query))


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler, tls=None, address="127.0.0.1"):
        super().__init__((address, 0), handler)
        self.lock, self.seen, self.faults, self.tls = threading.Lock(), [], [], tls is not None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://{'localhost' if self.tls else '127.0.0.1'}:{self.server_address[1]}"

    def handle_error(self, *a):
        pass

    def next_fault(self, request):
        """The next of (status, fields[, body]) that is to be answered instead; those with a `match` wait for a path that holds it."""
        with self.lock:
            for i, (match, fault) in enumerate(self.faults):
                if match in request.path:
                    del self.faults[i]
                    return fault

    def fail(self, status, match="", times=1, body=b"", **fields):
        self.faults += [(match, (status, fields, body))] * times

    def close(self):
        self.shutdown()
        self.server_close()


class CdnHandler(Handler):
    def answer(self, path, query):
        cdn = self.server
        data = cdn.blobs.get(path)
        if data is None:
            return self.reply(404, b"no such blob")
        if cdn.expires and query.get("sig") != [cdn.signature]:
            return self.reply(403, b"<Error>expired</Error>")
        with cdn.lock:
            cdn.running += 1
            cdn.most = max(cdn.most, cdn.running)
            cdn.requests += 1
            number = cdn.requests
        try:
            self.send(cdn, data, number)
        finally:
            with cdn.lock:
                cdn.running -= 1

    def send(self, cdn, data, number):
        first, last, size = 0, len(data) - 1, len(data)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and cdn.ranges:
            first, last = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
            if first >= size:
                return self.reply(416, b"", Content_Range=f"bytes */{size}")
        body = data[first:last + 1]
        self.send_response(206 if asked and cdn.ranges else 200)
        if cdn.length:
            self.send_header("Content-Length", str(len(body) + cdn.extra))
        if cdn.tag:
            self.send_header("ETag", f'"{cdn.tag}"')
        for k, v in cdn.fields.items():
            self.send_header(k, v)
        if asked and cdn.ranges:
            self.send_header("Content-Range", f"bytes {first + cdn.shift}-{last + cdn.shift}/{size + cdn.longer}")
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = cdn.cut_after if number <= cdn.cut_requests else None
        stall = cdn.stall_after if number <= cdn.stall_requests else None
        body += b"x" * cdn.extra
        for at in range(0, len(body), 65536):
            if cut is not None and at >= cut:
                self.close_connection = True
                return self.connection.shutdown(socket.SHUT_RDWR)
            if stall is not None and at >= stall:
                cdn.stalled.set()
                cdn.release.wait(cdn.stall_s)
                self.close_connection = True
                return
            self.wfile.write(body[at:at + 65536])
            with cdn.lock:
                cdn.served += len(body[at:at + 65536])
            if cdn.pace_s:
                time.sleep(cdn.pace_s)
        if not cdn.length:
            self.close_connection = True


class Cdn(Server):
    """Where large files lie: ranges, and every way of not sending them."""

    def __init__(self, tls=None):
        self.blobs, self.tag, self.expires, self.signature = {}, "", False, "1"
        self.served = self.most = self.running = self.requests = 0
        self.stalled, self.release = threading.Event(), threading.Event()
        self.calm()
        super().__init__(CdnHandler, tls)

    def calm(self):
        self.ranges, self.length, self.extra, self.shift, self.longer, self.fields, self.pace_s = True, True, 0, 0, 0, {}, 0
        self.cut_after, self.cut_requests, self.stall_after, self.stall_requests, self.stall_s = None, 0, None, 0, 60
        self.served = self.most = self.requests = 0
        self.stalled.clear()

    def put(self, data):
        self.blobs["/" + sha256(data)] = data
        return f"{self.url}/{sha256(data)}"


class HubHandler(Handler):
    def answer(self, path, query):
        hub = self.server
        if path.startswith("/v2/"):
            return self.registry(path)
        tree = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo = (tree or file) and (tree or file)[1]
        if repo not in hub.repos:
            return self.reply(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
        if repo in hub.gated and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.reply(403 if "Authorization" in self.headers else 401, {"error": "gated"}, X_Error_Code="GatedRepo",
                              X_Error_Message=f"Access to model {repo} is restricted.")
        if (tree or file)[2] not in ("main", COMMIT):
            return self.reply(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        return self.tree(repo, query) if tree else self.file(repo, file[3])

    def tree(self, repo, query):
        hub = self.server
        listed = hub.listing.get(repo) or [hub.entry(p, d) for p, d in hub.repos[repo].items()]
        at = int(query.get("cursor", ["0"])[0])
        page, fields = listed[at:at + hub.page], {}
        if at + hub.page < len(listed):
            fields["Link"] = f'<{hub.url}/api/models/{repo}/tree/main?recursive=true&cursor={at + hub.page}>; rel="next"'
        self.reply(200, page, Content_Type="application/json", **fields)

    def file(self, repo, path):
        hub, data = self.server, self.server.repos[repo].get(path)
        if data is None:
            return self.reply(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        fields = {"X_Repo_Commit": COMMIT, "X_Linked_Etag": f'"{hub.said.get(path, sha256(data))}"', "X_Linked_Size": len(data), "ETag": f'"{sha256(data)}"'}
        hub.cdn.blobs.setdefault("/" + sha256(data), data)
        location = hub.location or f"{hub.cdn.url}/{sha256(data)}?sig={hub.cdn.signature}&X-Amz-Signature=secret"
        self.reply(302, b"Found. Redirecting", Location=location, **fields)

    def registry(self, path):
        hub = self.server
        manifest = re.fullmatch(r"/v2/([^/]+/[^/]+)/manifests/([^/]+)", path)
        blob = re.fullmatch(r"/v2/([^/]+/[^/]+)/blobs/sha256:([0-9a-f]{64})", path)
        if manifest and f"{manifest[1]}:{manifest[2]}" in hub.manifests:
            body = json.dumps(hub.manifests[f"{manifest[1]}:{manifest[2]}"]).encode()
            return self.reply(200, body, Content_Type="application/vnd.docker.distribution.manifest.v2+json", Docker_Content_Digest="sha256:" + sha256(body))
        data = blob and hub.cdn.blobs.get("/" + blob[2])
        if data is None:
            return self.reply(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})
        # Every blob, and under another host's name: Ollama takes the ranges from the first address of another host, and knows no other way.
        self.reply(307, b"", Location=f"{hub.cdn.url.replace('127.0.0.1', 'localhost')}/{blob[2]}?sig={hub.cdn.signature}")


class Hub(Server):
    """`repos`: name to {path: bytes}. A registry at the same address: `add_model`."""

    def __init__(self, cdn, tls=None):
        self.cdn, self.repos, self.gated, self.token, self.page = cdn, {}, set(), "hf_secret", 1000
        self.listing, self.said, self.location, self.manifests = {}, {}, "", {}
        super().__init__(HubHandler, tls)

    def entry(self, path, data):
        large = {"lfs": {"oid": sha256(data), "size": len(data), "pointerSize": 134}} if path.endswith(".gguf") else {}
        return {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "size": len(data), "path": path, **large}

    def layer(self, kind, data):
        self.cdn.blobs["/" + sha256(data)] = data
        return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": "sha256:" + sha256(data), "size": len(data)}

    def add_model(self, name, data, **texts):
        config = json.dumps({"model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": "1M", "file_type": "F32", "architecture": "amd64",
                             "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha256(data)]}}).encode()
        self.cdn.blobs["/" + sha256(config)] = config
        self.manifests[name] = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                                "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": "sha256:" + sha256(config), "size": len(config)},
                                "layers": [self.layer("model", data)] + [self.layer(k, v.encode()) for k, v in texts.items()]}
