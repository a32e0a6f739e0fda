"""A model server to be managed: speaks OpenAI's chat, starts workers in sessions of their own as vLLM does, and misbehaves when told to.

    fake_server.py --port P --model NAME --dir D [--load S] [--workers N] [--memory MB] [--die] [--threads N]

In D it leaves a line per start in NAME.starts ("pid time"), one per worker in NAME.workers, and what it may see of GPUs in NAME.gpu. What a call's last message says is done: "sleep S", "exit" (before
any answer), "exit once" (only by the first process), "stall" (part of a stream, then nothing), "echo"."""
import argparse, http.server, json, os, pathlib, subprocess, sys, threading, time

p = argparse.ArgumentParser()
p.add_argument("--port", type=int, required=True)
p.add_argument("--model", required=True)
p.add_argument("--dir", type=pathlib.Path, required=True)
p.add_argument("--load", type=float, default=0)
p.add_argument("--workers", type=int, default=0)
p.add_argument("--memory", type=int, default=0)
p.add_argument("--die", action="store_true")
p.add_argument("--threads", type=int, default=0)
a = p.parse_args()
name = pathlib.Path(a.model).stem

starts = a.dir / f"{name}.starts"
with open(starts, "a") as f:
    f.write(f"{os.getpid()} {time.monotonic()}\n")
with open(a.dir / f"{name}.gpu", "w") as f:
    f.write(os.environ.get("CUDA_VISIBLE_DEVICES", "unset"))
first = len(starts.read_text().splitlines()) == 1
for _ in range(a.workers):          # its parent ends at once: only a subreaper knows it
    out = subprocess.run([sys.executable, "-c", "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(10000)'],"
                                                " start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"],
                         capture_output=True, text=True, check=True).stdout
    with open(a.dir / f"{name}.workers", "a") as f:
        f.write(out)
ballast = bytearray(os.urandom(1 << 20) * a.memory)
if a.die:
    raise ValueError("there is no such model on this planet")
time.sleep(a.load)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def reply(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.reply({"object": "list", "data": [{"id": name, "object": "model"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        want = body["messages"][-1]["content"]
        if want == "exit" or (want == "exit once" and first):
            os._exit(9)
        if want.startswith("sleep "):
            time.sleep(float(want[6:]))
        text = f"{name} {os.getpid()} {a.threads}"
        if not body.get("stream"):
            return self.reply({"id": "x", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                               "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        def event(delta, finish=None):
            self.wfile.write(b"data: " + json.dumps({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": body["model"],
                                                     "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n")
            self.wfile.flush()
        event({"role": "assistant", "content": text})
        if want == "stall":
            time.sleep(10000)
        event({}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


Server(("127.0.0.1", a.port), Handler).serve_forever()
