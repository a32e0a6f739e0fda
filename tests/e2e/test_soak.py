"""Memory of the gateway: small when idle, and the same after many calls as after the first ones.

    test_soak.py HEARTH [--calls N]
"""
import argparse, asyncio, json, multiprocessing

from world import World, free_port, memory

REPLY = json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "word " * 60}}], "usage": {"prompt_tokens": 400, "completion_tokens": 60, "total_tokens": 460}}).encode()
ASK = json.dumps({"model": "fast", "messages": [{"role": "user", "content": "x" * 1950}]}).encode()
WARM, CONNECTIONS = 2000, 16


async def answer(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(REPLY) + REPLY)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def upstream(port):
    async def serve():
        async with await asyncio.start_server(answer, "127.0.0.1", port) as s:
            await s.serve_forever()
    asyncio.run(serve())


async def load(port, calls):
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (port, len(ASK)) + ASK

    async def client(n):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(n):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            assert await reader.readexactly(length) == REPLY
        writer.close()
    await asyncio.gather(*(client(calls // CONNECTIONS) for _ in range(CONNECTIONS)))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("hearth")
    p.add_argument("--calls", type=int, default=4000)
    a = p.parse_args()
    port = free_port()
    fast = multiprocessing.Process(target=upstream, args=(port,), daemon=True)
    fast.start()
    w = World({"providers": f"  fast: {{ api: openai, url: http://127.0.0.1:{port}/v1, zone: machine }}", "models": "  fast: { provider: fast }"}).start()
    try:
        idle, _ = memory(w.server.pid)
        asyncio.run(load(w.port, WARM))
        warm, fds = memory(w.server.pid)
        asyncio.run(load(w.port, a.calls))
        full, fds_after = memory(w.server.pid)
        print(f"measured: {idle / 1024:.1f} MiB idle, {warm / 1024:.1f} after {WARM} calls, {full / 1024:.1f} after {a.calls} more; {fds} and {fds_after} descriptors")
        assert idle <= 24 * 1024, "the idle gateway is too large"
        assert full <= warm + 2048, "memory grows with the calls"
        assert fds_after <= fds + 2 * CONNECTIONS, "descriptors grow with the calls"        # kept connections, either way
        v = w.verify()
        ok = v["rows"] // 2
        assert ok >= WARM + a.calls, v
    finally:
        w.close()
        fast.terminate()


main()
