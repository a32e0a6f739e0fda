"""Servers of local models for the benchmarks: hearth, llama_cpp.server and Ollama, each with the same GGUF and as many threads, on ports of
their own; and a client that speaks OpenAI's chat API to all of them."""
import http.client, json, os, pathlib, shutil, socket, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "hearth"
STARTER = CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def setup(what):
    """The path that tools/setup prints, for what only the benchmarks and slow tests need."""
    return subprocess.run([ROOT / "tools/setup", "--quiet", what], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


class Server:
    def __init__(self, name, folder):
        self.name, self.port, self.folder, self.process = name, free_port(), pathlib.Path(folder) / name, None
        self.folder.mkdir(mode=0o700)

    def start(self, *command, env=None):
        log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=log, env={**os.environ, **(env or {})}, cwd=self.folder)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
                c.request("GET", "/v1/models")
                if c.getresponse().status == 200:
                    return self
            except OSError:
                time.sleep(0.05)
        sys.exit(f"error: {self.name} did not come up; its output is in {self.folder}/log")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()

    def cpu_s(self):
        """CPU time of the server and all that it has started."""
        total, pids = 0, [self.process.pid]
        while pids:
            pid = pids.pop()
            try:
                f = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    pids += [int(c) for c in (task / "children").read_text().split()]
            except OSError:
                continue
            total += int(f[11]) + int(f[12])
        return total / os.sysconf("SC_CLK_TCK")


def hearth(program, folder, model, threads, slots, context, name="hearth", **more):
    s = Server(name, folder)
    fields = {"file": model, "threads": threads, "slots": slots, "context": context, **more}
    (s.folder / "hearth.yaml").write_text(
        f"listen: 127.0.0.1:{s.port}\nledger: {{ path: l.db }}\nengine: {{ run_dir: {s.folder}/r, log_dir: {s.folder}/l }}\nlog: {{ level: warn }}\n"
        f"models: {{ m: {{ {', '.join(f'{k}: {v}' for k, v in fields.items())} }} }}\n")
    return s.start(program, "serve", "-c", s.folder / "hearth.yaml")


def llama_cpp_server(folder, model, threads, context, lookup=False):
    s = Server("llama_cpp.server", folder)
    more = ["--cache", "true", "--cache_type", "ram", "--draft_model", "prompt-lookup-decoding", "--draft_model_num_pred_tokens", "2"] if lookup else []
    return s.start(sys.executable, "-m", "llama_cpp.server", "--model", model, "--model_alias", "m", "--host", "127.0.0.1", "--port", s.port, "--n_threads", threads,
                   "--n_threads_batch", threads, "--n_ctx", context, "--interrupt_requests", "False", *more)


def ollama(folder, model, threads, slots, context):
    s, program = Server("ollama", folder), setup("ollama")
    env = {"OLLAMA_HOST": f"127.0.0.1:{s.port}", "OLLAMA_MODELS": str(s.folder / "models"), "OLLAMA_NO_CLOUD": "1", "OLLAMA_NUM_PARALLEL": str(slots),
           "OLLAMA_CONTEXT_LENGTH": str(context), "OLLAMA_KEEP_ALIVE": "-1", "HOME": str(s.folder)}
    s.start(program, "serve", env=env)
    (s.folder / "Modelfile").write_text(f"FROM {model}\nPARAMETER num_thread {threads}\n")
    subprocess.run([program, "create", "m", "-f", str(s.folder / "Modelfile")], check=True, capture_output=True, env={**os.environ, **env}, cwd=s.folder)
    return s


class Folder:
    """A folder for servers; what is in it goes at the end, the servers first."""

    def __enter__(self):
        self.path, self.servers = tempfile.mkdtemp(prefix="hearth-bench-"), []
        return self

    def add(self, server):
        self.servers.append(server)
        return server

    def __exit__(self, *_):
        for s in self.servers:
            s.stop()
        shutil.rmtree(self.path, ignore_errors=True)


class Answer:
    """One streamed chat: its text, when each piece came (seconds from the request), how many tokens the server says there were."""

    def __init__(self, server, messages, max_tokens, **fields):
        body = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "temperature": 0, "max_tokens": max_tokens, "messages": messages, **fields}
        c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=900)
        self.began, self.at, self.text, self.usage = time.monotonic(), [], "", {}
        c.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        r = c.getresponse()
        if r.status != 200:
            sys.exit(f"error: {server.name} answered {r.status}: {r.read()[:300]}")
        for line in r:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            self.usage = chunk.get("usage") or self.usage
            piece = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
            if piece:
                self.at.append(time.monotonic())
                self.text += piece
        c.close()
        self.tokens = self.usage.get("completion_tokens") or len(self.at)
        self.ended = time.monotonic()

    @property
    def first_s(self):
        return (self.at[0] if self.at else self.ended) - self.began
