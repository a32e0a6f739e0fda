"""Servers that hearth starts: a real llama_cpp.server, and a fake that misbehaves as real ones do. First call, crash, hang, crash loop, idleness, and nothing left behind."""
import http.client, http.server, json, os, pathlib, shutil, signal, subprocess, sys, tempfile, threading, time, unittest

import openai
from world import HEARTH, MODEL, World, wait_for

HERE = pathlib.Path(__file__).resolve().parent
ASK = [{"role": "user", "content": "Say hello."}]


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def alive_now(w, name):
    starts = w.starts(name)
    return bool(starts) and alive(starts[-1])


def below(pid):
    """Every process under this one."""
    parents = {}
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parents.setdefault(int((p / "stat").read_text().rsplit(")", 1)[1].split()[1]), []).append(int(p.name))
        except OSError:
            pass
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


class Fleet(World):
    """A world in which `fakes` are models with a server of their own each: name -> more arguments, or a tuple: those, more of
    the provider's options, more of the model's."""

    def __init__(self, fakes, real=False, more="", models="", hang=4):
        providers, entries = "", models
        for name, what in fakes.items():
            args, options, entry = (*what, "", "")[:3] if isinstance(what, tuple) else (what, "", "")
            providers += (f"  p-{name}: {{ start: '\"{sys.executable}\" \"{HERE}/fake_server.py\" --port {{port}} --model {{model}} --threads {{threads}} --dir DIR {args}'{options} }}\n")
            entries += f"  {name}: {{ provider: p-{name}, threads: 1{entry} }}\n"
        if real:
            providers += f"  py: {{ start: llama-cpp-python, program: '{sys.executable}', idle: 60s }}\n"
            entries += f"  real: {{ provider: py, file: {MODEL}, context: 512, threads: 1 }}\n"
        super().__init__({"providers": providers, "models": entries})
        text = self.config.read_text().replace("--dir DIR", f"--dir {self.dir}").replace("digests }", f"digests, hang_time: {hang}s }}") + more
        self.config.write_text(text)

    def sdk(self, **kw):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none", **{"max_retries": 0, "timeout": 120, **kw})

    def ask(self, model, text="echo", **kw):
        return self.sdk().chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **{"max_tokens": 4, **kw})

    def starts(self, name):
        try:
            return [int(line.split()[0]) for line in (self.dir / f"{name}.starts").read_text().splitlines()]
        except OSError:
            return []

    def start_times(self, name):
        return [float(line.split()[1]) for line in (self.dir / f"{name}.starts").read_text().splitlines()]

    def workers(self, name):
        return [int(line) for line in (self.dir / f"{name}.workers").read_text().splitlines()]

    def events(self, name=None):
        return [r for r in self.rows("--all") if r["kind"] == "event" and (name is None or r["event"] == name)]

    def state(self, model):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        c.request("GET", "/v1/models")
        models = json.loads(c.getresponse().read())["data"]
        c.close()
        return next(m["hearth"]["state"] for m in models if m["id"] == model)


class Managed(unittest.TestCase):
    """With the fake."""

    def setUp(self):
        self.w = None

    def tearDown(self):
        if self.w:
            self.w.close()

    def start(self, *args, **kw):
        self.w = Fleet(*args, **kw).start()
        return self.w

    def test_the_first_call_starts_it_and_the_next_does_not(self):
        w = self.start({"a": "--load 0.5"})
        self.assertEqual((w.state("a"), w.starts("a")), ("off", []))
        began, seen = threading.Thread(target=w.ask, args=("a",)), set()
        began.start()
        while began.is_alive():
            seen.add(w.state("a"))
            time.sleep(0.02)
        began.join()
        self.assertIn("loading", seen)
        self.assertEqual(w.state("a"), "ready")
        self.assertEqual(w.ask("a").choices[0].message.content, f"a {w.starts('a')[0]} 1")
        self.assertEqual(len(w.starts("a")), 1)
        self.assertEqual([e["event"] for e in w.events() if e["event"].startswith("server_")], ["server_ready", "server_start"])
        row = w.rows("--model", "a")[0]
        self.assertEqual((row["zone"], row["endpoint"], row.get("fingerprint")), ("machine", "managed", None), "it does not say what it is, so that is unknown")
        self.assertGreater(w.rows("--model", "a")[1]["queue_us"], 400000, "the first one waited for the start")

    def test_a_crash_before_the_first_byte_is_tried_again(self):
        w = self.start({"a": ""})
        w.ask("a")
        self.assertEqual(w.ask("a", "exit once").choices[0].message.content.split()[0], "a")
        self.assertEqual(len(w.starts("a")), 2)
        rows = w.rows("--model", "a")
        self.assertEqual((rows[0]["outcome"], rows[0]["attempt"]), ("ok", 2))
        self.assertIn(rows[1]["outcome"], ("cut", "error"), "cut, or refused where the connection was a kept one")
        self.assertIn("status 9", json.loads(w.events("server_crash")[0]["detail"])["why"])

    def test_one_that_crashes_at_every_call_is_an_error_of_the_call_and_not_the_end_of_it(self):
        w = self.start({"a": ""})
        with self.assertRaises(openai.APIStatusError) as e:
            w.ask("a", "exit")
        self.assertEqual(e.exception.status_code, 502)
        self.assertEqual(w.ask("a").choices[0].message.content.split()[0], "a")

    def test_a_crash_in_a_stream_is_an_error_in_the_callers_dialect(self):
        w = self.start({"a": ""})
        stream = w.ask("a", "stall", stream=True)
        self.assertTrue(next(iter(stream)).choices[0].delta.content.startswith("a "))
        os.kill(w.starts("a")[0], signal.SIGKILL)
        with self.assertRaises(openai.APIError):
            for _ in stream:
                pass
        c = http.client.HTTPConnection("127.0.0.1", w.port, timeout=60)
        c.request("POST", "/v1/messages", json.dumps({"model": "a", "max_tokens": 4, "stream": True, "messages": [{"role": "user", "content": "stall"}]}), {"content-type": "application/json"})
        r = c.getresponse()
        head = r.read(20)
        os.kill(w.starts("a")[-1], signal.SIGKILL)
        self.assertIn(b"event: error", head + r.read())
        self.assertEqual(w.ask("a").choices[0].message.content.split()[0], "a")

    def test_one_that_hangs_is_killed_and_the_call_tried_again(self):
        w = self.start({"a": "--workers 1"})
        w.ask("a")
        worker = w.workers("a")[0]
        os.kill(w.starts("a")[0], signal.SIGSTOP)
        self.assertEqual(w.ask("a", "echo").choices[0].message.content.split()[0], "a")
        self.assertEqual(len(w.starts("a")), 2)
        self.assertFalse(alive(w.starts("a")[0]) or alive(worker), "its worker went with it")
        self.assertIn("does not answer", json.loads(w.events("server_crash")[0]["detail"])["why"])

    def test_a_crash_loop_is_told_with_what_it_said_and_stays_visible(self):
        w = self.start({"a": "--die"})
        with self.assertRaises(openai.APIStatusError) as e:
            w.ask("a")
        self.assertEqual(e.exception.status_code, 503)
        self.assertRegex(str(e.exception), "failed 3 times in a row.*status 1 before it was ready: ValueError: there is no such model on this planet")
        self.assertEqual(w.state("a"), "failed")
        self.assertEqual(len(w.events("server_crash_loop")), 1)
        before = len(w.starts("a"))
        with self.assertRaises(openai.APIStatusError):          # while it is left alone, a call learns of it at once
            w.ask("a")
        wait_for(lambda: len(w.starts("a")) > before, 30)       # and it is tried again
        log = next((w.dir / "log").glob("command-a.log"))
        self.assertIn("ValueError", log.read_text())
        self.assertEqual(log.stat().st_mode & 0o777, 0o600)

    def test_a_program_that_is_not_there_is_named(self):
        w = self.w = Fleet({})
        w.config.write_text(w.config.read_text().replace("providers:\n", "providers:\n  gone: { start: '/nowhere/llama-server --port {port} -m {model}' }\n", 1)
                            .replace("models:\n", "models:\n  x: { provider: gone }\n", 1))
        w.start()
        with self.assertRaises(openai.APIStatusError) as e:
            w.ask("x")
        self.assertIn("/nowhere/llama-server: No such file or directory", str(e.exception))

    def test_idle_ones_are_stopped_and_come_back(self):
        w = self.start({"a": ("--workers 1", ", idle: 1s")})
        w.ask("a")
        first, worker = w.starts("a")[0], w.workers("a")[0]
        wait_for(lambda: not alive(first) and not alive(worker), 20)
        self.assertEqual(wait_for(lambda: w.state("a") == "off" and "off", 20), "off")
        self.assertIn("nobody asked", json.loads(w.events("server_stopped")[0]["detail"])["why"])
        slow = threading.Thread(target=w.ask, args=("a", "sleep 3"))
        slow.start()
        slow.join()                                             # a call that runs keeps it, whatever idle says
        self.assertEqual(len(w.starts("a")), 2)
        self.assertEqual(w.rows("--model", "a")[0]["outcome"], "ok")

    def test_nothing_is_left_when_hearth_ends(self):
        for how in (signal.SIGTERM, signal.SIGKILL):
            w = self.start({"a": "--workers 2", "b": "--workers 1"})
            w.ask("a")
            w.ask("b")
            everything = below(w.server.pid)
            self.assertTrue(set(w.workers("a") + w.workers("b") + w.starts("a") + w.starts("b")) <= set(everything))
            w.server.send_signal(how)
            w.server.wait(60)
            wait_for(lambda: not any(alive(p) for p in everything), 30)
            w.close()

    def test_a_reload_keeps_what_is_the_same_and_stops_what_is_gone(self):
        w = self.start({"a": "", "b": ""})
        w.ask("a")
        w.ask("b")
        text = w.config.read_text()
        w.config.write_text("\n".join(line for line in text.splitlines() if not line.startswith(("  p-b:", "  b:"))) + "\n")
        w.server.send_signal(signal.SIGHUP)
        wait_for(lambda: not alive(w.starts("b")[0]), 30)
        self.assertEqual(w.ask("a").choices[0].message.content, f"a {w.starts('a')[0]} 1")
        self.assertEqual(len(w.starts("a")), 1)


class Peer(http.server.ThreadingHTTPServer):
    """A server that runs already and says of itself what the test wants: `get` and `post` are what it answers by path, a status or a body or a function."""
    daemon_threads = True
    request_queue_size = 128

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def answer(self, table):
            n = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(n)) if n else None
            path = self.path.split("?")[0]
            with self.server.lock:
                self.server.asked.append((self.command, path))
            what = table.get(path, 404)
            what = what(body) if callable(what) else what
            data = what.encode() if isinstance(what, str) else json.dumps({"error": "no"} if isinstance(what, int) else what).encode()
            try:
                self.send_response(what if isinstance(what, int) else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                pass

        def do_GET(self):
            self.answer(self.server.get)

        def do_POST(self):
            self.answer(self.server.post)

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.lock, self.asked, self.get, self.post = threading.Lock(), [], {}, {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def count(self, path):
        with self.lock:
            return sum(p == path for _, p in self.asked)


def openai_reply(body):
    return {"id": "x", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}


def ollama_reply(body):
    return {"model": body["model"], "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "hello"}, "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 1}


class Attached(unittest.TestCase):
    """What is there already is asked what it is, before each call where that may change."""

    def setUp(self):
        self.peer = Peer()

    def tearDown(self):
        self.w.close()
        self.peer.shutdown()
        self.peer.server_close()

    def start(self, api, zone=", zone: machine", **kw):
        self.w = Fleet({})
        self.w.config.write_text(self.w.config.read_text().replace("providers:\n", f"providers:\n  peer: {{ api: {api}, url: 'http://127.0.0.1:{self.peer.server_address[1]}'{zone} }}\n", 1)
                                 .replace("models:\n", "models:\n  m: { provider: peer, retries: 0 }\n", 1).replace("guard: { cloud: off }", kw.get("guard", "guard: { cloud: off }")))
        return self.w.start()

    def private(self):
        return self.w.sdk().chat.completions.create(model="m", messages=ASK, extra_headers={"x-hearth-data": "private"})

    def tags(self, digest="a" * 64, **more):
        return {"models": [{"name": "other", "digest": "c" * 64}, {"name": "m:latest", "model": "m:latest", "size": 5, "digest": digest, "details": {"family": "llama", "quantization_level": "Q4_1"}, **more}]}

    def ollama(self, **more):
        self.peer.get = {"/api/tags": self.tags(**more), "/api/version": {"version": "0.17.4"}}
        self.peer.post = {"/api/show": {"details": {"quantization_level": "Q4_1"}, "modelfile": "FROM /x/sha256-" + "b" * 64, "template": "t"}, "/api/chat": ollama_reply}

    def test_a_digest_that_changes_behind_a_name_is_noticed_before_the_next_call(self):
        self.ollama()
        w = self.start("ollama")
        for _ in range(3):
            w.ask("m")
        before = {r["fingerprint"] for r in w.rows("--model", "m")}
        self.assertEqual(len(before), 1)
        self.assertIn("b" * 64, w.hearth("show", w.rows("--model", "m")[0]["call_id"]).stdout)
        self.peer.get["/api/tags"] = self.tags("d" * 64)
        w.ask("m")
        after = w.rows("--model", "m")[0]["fingerprint"]
        self.assertNotIn(after, before)
        event = json.loads(w.events("model_changed")[0]["detail"])
        self.assertEqual((event["model"], event["from"], event["to"]), ("m", before.pop(), after))
        self.assertEqual(event["what"], "manifest_sha256")
        self.peer.get["/api/tags"] = {"models": []}
        w.ask("m")
        self.assertIsNone(w.rows("--model", "m")[0].get("fingerprint"), "what the server does not list is unknown")
        self.assertEqual(len(w.events("model_changed")), 2)

    def test_a_change_is_noticed_without_a_call_too(self):
        self.ollama()
        w = self.start("ollama")
        w.ask("m")
        self.peer.get["/api/tags"] = self.tags("d" * 64)
        wait_for(lambda: w.events("model_changed"), 40)

    def test_calls_at_once_share_a_check_and_each_has_one_that_began_after_it_came(self):
        self.ollama()
        w = self.start("ollama")
        w.ask("m")
        before, calls = self.peer.count("/api/tags"), 40
        threads = [threading.Thread(target=w.ask, args=("m",)) for _ in range(calls)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        checks = self.peer.count("/api/tags") - before
        self.assertTrue(1 <= checks <= calls + 3, checks)
        self.assertEqual(len(w.rows("--model", "m", "--outcome", "ok")), calls + 1)
        print(f"measured: {checks} checks for {calls} calls at once")

    def test_a_model_that_is_passed_on_is_a_cloud(self):
        self.ollama(remote_host="https://ollama.com:443", remote_model="big")
        w = self.start("ollama")
        with self.assertRaises(openai.PermissionDeniedError) as e:
            self.private()
        self.assertIn("passed on to another host", str(e.exception))
        w.ask("m")
        self.assertEqual(w.rows("--model", "m", "--outcome", "ok")[0]["zone"], "cloud")
        self.assertEqual(self.peer.count("/api/chat"), 1)
        self.ollama()                       # and the same name may be here a moment later
        self.private()
        self.assertEqual(w.rows("--model", "m", "--outcome", "ok")[0]["zone"], "machine")

    def test_without_a_guard_nothing_is_passed_on(self):
        self.ollama(remote_host="https://ollama.com:443")
        self.start("ollama", guard="guard: { vault: missing/guard.db }")
        with self.assertRaises(openai.PermissionDeniedError):
            self.w.ask("m")
        self.assertEqual(self.peer.count("/api/chat"), 0)

    def test_one_that_does_not_say_is_unknown_and_nothing_private_goes_there(self):
        self.ollama()
        self.peer.get = {}
        w = self.start("ollama")
        w.ask("m")
        row = w.rows("--model", "m")[0]
        self.assertEqual((row["outcome"], row.get("fingerprint"), row["zone"]), ("ok", None, "machine"))
        with self.assertRaises(openai.PermissionDeniedError) as e:
            self.private()
        self.assertIn("did not say whether it passes calls on", str(e.exception))

    def test_a_check_that_hangs_holds_nobody_for_long(self):
        self.ollama()
        self.peer.get["/api/tags"] = lambda _: time.sleep(30)
        w = self.start("ollama")
        began = time.monotonic()
        w.ask("m")
        self.assertLess(time.monotonic() - began, 25)
        self.assertIsNone(w.rows("--model", "m")[0].get("fingerprint"))

    def test_one_that_sleeps_is_woken_before_a_call_reaches_it(self):
        asleep, order = threading.Event(), []
        asleep.set()

        def wake(_):
            order.append("wake")
            time.sleep(0.5)
            asleep.clear()
            return {}

        def chat(body):
            order.append("asleep" if asleep.is_set() else "chat")
            while asleep.is_set():          # what a real one does
                time.sleep(0.1)
            return openai_reply(body)
        self.peer.get = {"/version": {"version": "0.32.0"}, "/v1/models": {"data": [{"id": "m", "root": "org/model"}]}, "/is_sleeping": lambda _: {"is_sleeping": asleep.is_set()}}
        self.peer.post = {"/wake_up": wake, "/v1/chat/completions": chat}
        w = self.start("vllm")
        threads = [threading.Thread(target=w.ask, args=("m",)) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual((order[0], order.count("wake"), order.count("chat")), ("wake", 1, 8), order)
        self.assertEqual(len(w.events("server_wake")), 1)
        self.assertEqual(len(w.rows("--model", "m", "--outcome", "ok")), 8)
        asleep.set()
        w.ask("m")
        self.assertEqual(order[-2:], ["wake", "chat"])

    def test_one_that_cannot_sleep_is_not_asked_before_each_call(self):
        self.peer.get = {"/version": {"version": "0.32.0"}, "/v1/models": {"data": [{"id": "m", "root": "org/model"}]}}
        self.peer.post = {"/v1/chat/completions": openai_reply}
        w = self.start("vllm")
        w.ask("m")
        began, before = time.monotonic(), self.peer.count("/is_sleeping")
        for _ in range(10):
            w.ask("m")
        if time.monotonic() - began < 8:    # else it was polled
            self.assertEqual(self.peer.count("/is_sleeping"), before)       # /metrics is asked beside the calls
        shown = w.hearth("show", w.rows("--model", "m")[0]["call_id"]).stdout
        self.assertIn("org/model", shown)
        self.assertIn("0.32.0", shown)

    def test_a_file_that_a_server_on_this_machine_names_is_hashed(self):
        self.peer.get = {"/props": {"model_path": str(MODEL), "model_ftype": "Q4_1", "build_info": "b1", "total_slots": 1}}
        self.peer.post = {"/v1/chat/completions": openai_reply}
        w = self.start("llamacpp")
        w.ask("m")
        shown = w.hearth("show", w.rows("--model", "m")[0]["call_id"]).stdout
        self.assertIn("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", shown)
        before = w.rows("--model", "m")[0]["fingerprint"]
        secret = self.w.dir / "secret"
        secret.write_text("not a model")
        self.peer.get["/props"]["model_path"] = str(secret)
        self.peer.get["/props"]["model_ftype"] = "Q8_0"
        wait_for(lambda: w.events("model_changed"), 40)
        self.assertEqual(json.loads(w.events("model_changed")[0]["detail"])["what"], "weights_sha256, quantization")
        w.ask("m")
        row = w.rows("--model", "m")[0]
        self.assertNotEqual(row["fingerprint"], before)


class Replicas(unittest.TestCase):
    """A model at three servers."""

    def setUp(self):
        self.peers = [Peer() for _ in range(3)]
        for p in self.peers:
            p.get = {"/version": {"version": "1"}, "/v1/models": {"data": [{"id": "m", "root": "org/m"}]}}
            p.post = {"/v1/chat/completions": openai_reply}
        self.w = Fleet({})
        text = self.w.config.read_text()
        for i, p in enumerate(self.peers):
            text = text.replace("providers:\n", f"providers:\n  p{i}: {{ api: vllm, url: 'http://127.0.0.1:{p.server_address[1]}', zone: machine }}\n", 1)
        self.w.config.write_text(text.replace("models:\n", "models:\n  m: { provider: p0, replicas: [p1, p2] }\n", 1))
        self.w.start()

    def tearDown(self):
        self.w.close()
        for p in self.peers:
            p.shutdown()
            p.server_close()

    def served(self):
        return [p.count("/v1/chat/completions") for p in self.peers]

    def test_calls_that_begin_alike_go_to_the_same_server(self):
        talk = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello there."}]
        for i in range(6):
            self.w.sdk().chat.completions.create(model="m", messages=talk)
            talk += [{"role": "assistant", "content": f"answer {i}"}, {"role": "user", "content": f"question {i}"}]
        self.assertEqual(sorted(self.served()), [0, 0, 6], "a conversation stays where its beginning is")
        for i in range(40):
            self.w.ask("m", f"topic {i}")
        self.assertTrue(min(self.served()) > 3, self.served())
        self.assertEqual({r["provider"] for r in self.w.rows("--model", "m")}, {"p0", "p1", "p2"})
        self.assertEqual({r["outcome"] for r in self.w.rows("--model", "m")}, {"ok"})

    def test_one_that_is_busy_by_its_own_word_is_passed_by(self):
        self.w.ask("m", "same")
        home = self.served().index(1)
        for i, p in enumerate(self.peers):
            p.get["/metrics"] = f'vllm:num_requests_running{{engine="0"}} {30 if i == home else 0}\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0.1\n'
        wait_for(lambda: self.peers[home].count("/metrics") >= 2, 30)
        self.w.ask("m", "same")
        self.assertEqual(self.served()[home], 1, "somebody else keeps it busy")
        report = json.loads(self.w.hearth("ps", "--json").stdout)
        self.assertEqual(next(m["server"]["running"] for m in report["models"] if m["provider"] == f"p{home}"), 30)
        self.peers[home].get["/metrics"] = "vllm:num_requests_running 0\n"
        seen = self.peers[home].count("/metrics")
        wait_for(lambda: self.peers[home].count("/metrics") >= seen + 2, 30)
        self.w.ask("m", "same")
        self.assertEqual(self.served()[home], 2, "and back when it is free")

    def test_one_beginning_alone_does_not_fill_one_server(self):
        all_here = threading.Barrier(24)
        def hold(body):
            all_here.wait(60)
            return openai_reply(body)
        for p in self.peers:
            p.post["/v1/chat/completions"] = hold
        calls = [threading.Thread(target=self.w.ask, args=("m", "same")) for _ in range(24)]
        for t in calls:
            t.start()
        for t in calls:
            t.join()
        self.assertEqual(sum(self.served()), 24)
        self.assertLessEqual(max(self.served()), 14, "at most 1.25 of 8 each, but for those that choose at the same moment")

    def test_one_that_fails_is_not_the_callers_affair(self):
        self.w.ask("m", "same")
        home = self.served().index(1)
        self.peers[home].post = {"/v1/chat/completions": 500}
        began = time.monotonic()
        self.w.ask("m", "same")
        rows = self.w.rows("--model", "m")
        self.assertEqual([(r["outcome"], r["attempt"]) for r in rows[:2]], [("ok", 2), ("error", 1)])
        self.assertNotEqual(rows[0]["provider"], f"p{home}")
        self.peers[home].shutdown()
        self.peers[home].server_close()
        for i in range(12):
            self.w.ask("m", f"topic {i}")
        self.assertEqual({r["outcome"] for r in self.w.rows("--model", "m", "-n", "1")}, {"ok"})


class Memory(unittest.TestCase):
    """Two that do not fit together: who goes, when, and that nobody starves."""

    def tearDown(self):
        self.w.close()

    def start(self, fakes, **options):
        self.w = Fleet(fakes, more="fleet: { " + ", ".join(f"{k}: {v}" for k, v in options.items()) + " }\n")
        return self.w.start()

    def test_two_under_a_cap_with_calls_for_both_in_turn(self):
        window, calls, failed = 2.0, 10, []
        w = self.start({"a": ("--memory 60", "", ", memory: 100MB"), "b": ("--memory 60", "", ", memory: 100MB")}, memory="150MB", window="2s", stay="1s")

        def client(model):
            for _ in range(calls):
                try:
                    self.assertEqual(w.ask(model, "sleep 0.1").choices[0].message.content.split()[0], model)
                except Exception as e:
                    failed.append((model, e))
        began = time.monotonic()
        threads = [threading.Thread(target=client, args=(m,)) for m in ("a", "b") for _ in range(3)]
        for t in threads:
            t.start()
        both = 0
        while any(t.is_alive() for t in threads):
            both += alive_now(w, "a") and alive_now(w, "b")
            time.sleep(0.02)
        took = time.monotonic() - began
        self.assertEqual(failed, [])
        self.assertEqual(both, 0, "they were never there together")
        starts = sorted(t for name in "ab" for t in w.start_times(name))
        swaps = len(starts) - 1
        self.assertGreaterEqual(swaps, 1)
        self.assertLessEqual(swaps, took / window + 1)
        for earlier, later in zip(starts[1:], starts[2:]):
            self.assertGreater(later - earlier, window * 0.8, "one swap in a window")
        self.assertEqual({r["outcome"] for r in w.rows("--model", "a") + w.rows("--model", "b")}, {"ok"})
        self.assertTrue(any("to make room for" in json.loads(e["detail"])["why"] for e in w.events("server_stopped")))
        print(f"measured: {swaps} swaps in {took:.1f} s with a window of {window:.0f} s; {2 * 3 * calls} calls of two models, none failed")

    def test_a_call_that_runs_is_not_ended_for_another_model(self):
        w = self.start({"a": ("", "", ", memory: 100MB"), "b": ("", "", ", memory: 100MB")}, memory="150MB", window="100ms", stay="100ms")
        slow = threading.Thread(target=lambda: answers.append(w.ask("a", "sleep 4").choices[0].message.content))
        answers = []
        w.ask("a")
        slow.start()
        wait_for(lambda: len(w.rows("--all", "--model", "a")) >= 3)
        time.sleep(0.5)
        self.assertEqual(w.ask("b").choices[0].message.content.split()[0], "b")
        slow.join()
        self.assertEqual(answers[0].split()[0], "a")
        self.assertEqual((len(w.starts("a")), len(w.starts("b"))), (1, 1))

    def test_what_can_never_fit_is_refused_with_the_numbers(self):
        w = self.start({"a": ("", "", ", memory: 5GB"), "b": ("", "", ", memory: 100MB, pin: true"), "c": ("", "", ", memory: 1900MB")}, memory="1900MB")
        with self.assertRaises(openai.APIStatusError) as e:
            w.ask("a")
        self.assertEqual(e.exception.status_code, 503)
        self.assertIn("it needs 5.0 GB of host memory, and no more than 1.9 GB could be had", str(e.exception))
        w.ask("b")
        with self.assertRaises(openai.APIStatusError) as e:
            w.ask("c")                      # beside one that stays
        self.assertIn("it needs 1.9 GB of host memory, and no more than 1.8 GB could be had", str(e.exception))
        self.assertEqual((w.starts("a"), w.starts("c")), ([], []))

    def test_waiting_for_room_has_an_end(self):
        w = self.start({"a": ("", "", ", memory: 100MB"), "b": ("", "", ", memory: 100MB")}, memory="150MB", window="60s", stay="60s", wait="1s")
        w.ask("a")
        began = time.monotonic()
        with self.assertRaises(openai.APIStatusError) as e:
            w.ask("b", extra_headers={"x-stainless-retry-count": "0"})
        self.assertEqual(e.exception.status_code, 503)
        self.assertIn("no room was made for model b in time: it needs 100 MB of host memory, of which 50 MB are free", str(e.exception))
        self.assertLess(time.monotonic() - began, 30)

    def test_a_footprint_is_measured_and_kept(self):
        w = self.start({"a": "--memory 80 --workers 1"}, memory="1GB")
        w.ask("a")
        measured = wait_for(lambda: [d for d in map(lambda e: json.loads(e["detail"]), w.events("model_measured")) if d["model"] == "a"], 40)[0]
        self.assertEqual(measured["kind"], "command")
        self.assertTrue(80 << 20 < measured["host"] < 300 << 20, measured)
        self.assertGreater(measured["load_ms"], 0)


class Commands(unittest.TestCase):
    """hearth ps, plan, load, unload."""

    def tearDown(self):
        self.w.close()

    def ps(self):
        out = self.w.hearth("ps", "--json")
        self.assertEqual(out.returncode, 0, out.stderr)
        report = json.loads(out.stdout)
        return report, {m["model"]: m for m in report["models"]}

    def test_what_is_loaded_is_shown_loaded_and_unloaded(self):
        w = self.w = Fleet({"a": ("--load 1 --memory 50", "", ", memory: 200MB"), "b": ("--die", "", ""), "c": ("", "", ", memory: 300MB")}, more="fleet: { memory: 1GB, window: 1s, stay: 1s }\n").start()
        report, models = self.ps()
        self.assertEqual((models["a"]["state"], models["a"]["pid"], models["a"]["need"]["host"]), ("off", None, 200000000))
        self.assertTrue(report["host"]["total"] > report["host"]["free"] > 0 and report["host"]["cap"] == 1000000000)
        self.assertEqual(report["devices"], [])
        plan = json.loads(w.hearth("plan", "a", "--json").stdout)
        self.assertEqual((plan["verdict"], plan["on"], plan["need_bytes"], plan["evict"]), ("fits", "host", 200000000, []))
        self.assertEqual(w.starts("a"), [], "a plan does nothing")
        self.assertIn("a is loaded", w.hearth("load", "a").stdout)
        _, models = self.ps()
        self.assertEqual((models["a"]["state"], models["a"]["pid"] > 0), ("ready", True))
        self.assertEqual(json.loads(w.hearth("plan", "a", "--json").stdout)["verdict"], "loaded")
        slow = threading.Thread(target=w.ask, args=("a", "sleep 3"))
        slow.start()
        wait_for(lambda: self.ps()[1]["a"]["running"] == 1)
        unload = threading.Thread(target=w.hearth, args=("unload", "a"))
        unload.start()
        slow.join()
        unload.join()
        self.assertEqual(self.ps()[1]["a"]["state"], "off")
        self.assertEqual(w.rows("--model", "a")[0]["outcome"], "ok", "its call ended first")
        out = w.hearth("load", "b")
        self.assertEqual(out.returncode, 1)
        self.assertIn("there is no such model on this planet", out.stderr)
        text = w.hearth("ps").stdout
        self.assertRegex(text, r"b +failed")
        self.assertIn("its log: ", text)
        out = w.hearth("unload", "b")       # one that fails is tried again and again, until it is unloaded
        self.assertEqual((out.returncode, out.stdout), (0, "b is unloaded\n"), out.stderr)
        starts = len(w.starts("b"))
        time.sleep(3)
        self.assertEqual((self.ps()[1]["b"]["state"], len(w.starts("b"))), ("off", starts))
        with self.assertRaises(openai.APIStatusError):
            w.ask("b")
        self.assertGreater(len(w.starts("b")), starts, "a call asks for it")
        plan = w.hearth("plan", "c")
        self.assertRegex(plan.stdout, "known +written in the configuration")
        self.assertRegex(w.hearth("ps").stdout, r"c +off +\(300 MB\)")
        self.assertEqual(w.hearth("plan", "nobody").returncode, 4)

    def test_a_load_is_seen_with_its_progress_and_its_queue(self):
        w = self.w = Fleet({"a": "--load 2"}).start()
        w.hearth("load", "a")
        w.hearth("unload", "a")             # from here on it is known how long a load takes
        calls = [threading.Thread(target=w.ask, args=("a",)) for _ in range(3)]
        for t in calls:
            t.start()
        seen = []
        while any(t.is_alive() for t in calls):
            seen.append(self.ps()[1]["a"])
        for t in calls:
            t.join()
        loading = [m for m in seen if m["state"] == "loading"]
        self.assertTrue(any(m["waiting"] == 3 and m["waits_ms"] >= 0 for m in loading))
        self.assertTrue(any(0 < m["progress"] < 1 for m in loading), [m["progress"] for m in loading])
        self.assertEqual([m["progress"] for m in loading], sorted(m["progress"] for m in loading))

    def test_tokens_a_second_of_an_engine_and_load_of_a_server(self):
        w = self.w = Fleet({}, hang=60).start()
        stop = time.monotonic() + 60
        rates = []
        def talk():
            while time.monotonic() < stop and not rates:
                w.ask("tiny", "Count to one hundred.", max_tokens=64)
        t = threading.Thread(target=talk)
        t.start()
        while t.is_alive():
            rate = self.ps()[1]["tiny"]["tokens_per_second"]
            if rate:
                rates.append(rate)
            time.sleep(0.2)
        t.join()
        self.assertTrue(rates and rates[0] > 0)

    def test_without_a_hearth_that_runs(self):
        w = self.w = Fleet({"a": ("", "", ", memory: 900GB")})
        out = w.hearth("ps")
        self.assertEqual(out.returncode, 0, out.stderr)
        self.assertIn("hearth does not run here", out.stderr)
        self.assertRegex(out.stdout, r"a +off")
        out = w.hearth("plan", "a", "--json")
        self.assertEqual((out.returncode, json.loads(out.stdout)["verdict"]), (3, "refuse"))
        self.assertEqual(w.hearth("unload", "a").returncode, 4)


class Gpus(unittest.TestCase):
    """Placement on devices that a library of the tests pretends to have."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hearth-nvml-"))
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.dir / "libnvml.so", HERE.parent / "fleet/fake_nvml.c"], check=True)
        self.says = self.dir / "says"
        os.environ["FAKE_NVML"] = str(self.says)

    def tearDown(self):
        self.w.close()
        del os.environ["FAKE_NVML"]
        shutil.rmtree(self.dir, ignore_errors=True)

    def write(self, *lines):
        new = self.says.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        new.rename(self.says)

    def start(self, fakes):
        self.w = Fleet(fakes, more=f"fleet: {{ nvml: {self.dir}/libnvml.so, window: 1s, stay: 1s }}\n").start()
        return self.w

    def gpu(self, name):
        return (self.w.dir / f"{name}.gpu").read_text()

    def test_placement_eviction_and_refusal(self):
        one, two = "GPU-aaaaaaaa-1 24000 {} 0 40 1000 Fake One", "GPU-bbbbbbbb-2 80000 {} 10 50 2000 Fake Two"
        self.write("device " + one.format(2000), "device " + two.format(70000))
        w = self.start({n: ("", "", f", gpu: {g}, memory: {m}GB") for n, g, m in (("a", "on", 20), ("b", "on", 9), ("c", "on", 22), ("d", "on", 90), ("e", "off", 1), ("f", "auto", 1))})
        w.ask("a")
        self.assertEqual(self.gpu("a"), "GPU-aaaaaaaa-1", "22 GB are free on the first, 10 on the second")
        self.write("device " + one.format(22000), "device " + two.format(70000), f"process 0 {w.starts('a')[0]} 20000")
        w.ask("b")
        self.assertEqual(self.gpu("b"), "GPU-bbbbbbbb-2")
        self.write("device " + one.format(22000), "device " + two.format(79000), f"process 0 {w.starts('a')[0]} 20000", f"process 1 {w.starts('b')[0]} 9000")
        out = wait_for(lambda: (lambda r: r if r["models"][-1] and any(m["model"] == "a" and m["memory"]["device"] == 20000000000 for m in r["models"]) else None)
                       (json.loads(w.hearth("ps", "--json").stdout)), 30)
        self.assertEqual([(d["name"], d["free"], d["busy_percent"], d["celsius"], d["joules"]) for d in out["devices"]], [("Fake One", 2000000000, 0, 40, 1.0), ("Fake Two", 1000000000, 10, 50, 2.0)])
        self.assertEqual({m["model"]: m["memory"]["on"] for m in out["models"] if m["model"] in "ab"}, {"a": "gpu 0", "b": "gpu 1"})
        plan = wait_for(lambda: (lambda p: p if p["verdict"] == "swap" else None)(json.loads(w.hearth("plan", "c", "--json").stdout)), 30)
        self.assertEqual((plan["on"], plan["evict"], plan["need_bytes"], plan["free_bytes"], plan["most_bytes"]), ("gpu 0", ["a"], 22000000000, 2000000000, 22000000000))
        threading.Timer(0.5, lambda: (wait_for(lambda: not alive(w.starts("a")[0]), 60), self.write("device " + one.format(2000), "device " + two.format(79000)))).start()
        w.ask("c")
        self.assertEqual((self.gpu("c"), alive(w.starts("a")[0]), alive(w.starts("b")[0])), ("GPU-aaaaaaaa-1", False, True))
        with self.assertRaises(openai.APIStatusError) as e:
            w.ask("d")
        self.assertRegex(str(e.exception), "it needs 90 GB of memory of GPU . and no more than .* GB could be had".replace(" .", " [01],", 1))
        w.ask("e")
        self.assertEqual(self.gpu("e"), "", "it is to keep off them")
        w.ask("f")
        self.assertEqual(self.gpu("f"), "unset", "whether it would use one is not known, so nothing is said to it")

    def test_a_library_that_fails_is_said_and_costs_nothing(self):
        self.write("init 9")
        w = self.start({"a": ("", "", ", gpu: on, memory: 1GB")})
        w.ask("a")
        self.assertEqual(json.loads(w.hearth("ps", "--json").stdout)["devices"], [])
        self.assertIn("NVML does not start: error 9 of the fake", (w.dir / "serve.log").read_text())


class Real(unittest.TestCase):
    """With the real llama_cpp.server."""

    def test_llama_cpp_server(self):
        w = Fleet({}, real=True, hang=20).start()
        try:
            self.assertEqual(w.state("real"), "off")
            r = w.sdk().chat.completions.with_raw_response.create(model="real", messages=ASK, max_tokens=4)
            self.assertTrue(r.parse().choices[0].message.content)
            row = w.rows("--model", "real")[0]
            self.assertEqual(r.headers["x-hearth-fingerprint"], row["fingerprint"])
            self.assertIn("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", w.hearth("show", row["call_id"]).stdout, "the weights by their digest")
            both = [threading.Thread(target=w.ask, args=("real", "Count to ten."), kwargs={"max_tokens": 24}) for _ in range(2)]
            for t in both:
                t.start()
            for t in both:
                t.join()
            self.assertEqual([x["outcome"] for x in w.rows("--model", "real")], ["ok"] * 3, "a call does not end another")
            everything = below(w.server.pid)
            server = next(p for p in everything if "llama_cpp.server" in pathlib.Path(f"/proc/{p}/cmdline").read_text() and "--ward" not in pathlib.Path(f"/proc/{p}/cmdline").read_text())
            os.kill(server, signal.SIGKILL)
            self.assertTrue(w.ask("real").choices[0].message.content)
            everything = below(w.server.pid)
            w.server.send_signal(signal.SIGKILL)
            w.server.wait(60)
            wait_for(lambda: not any(alive(p) for p in everything), 30)
        finally:
            w.close()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
