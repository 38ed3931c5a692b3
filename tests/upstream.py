"""One scripted provider on raw sockets: it does exactly what a test tells it, byte by byte.

An `Upstream` listens in a thread of its own, so that tests of any kind (async, threads, a program in a
terminal) can use it. Each `Lane` is a base URL below it with a script for each request to come; what
arrived is kept. A script is a list of steps, each an async function of the `Connection` it plays on.
"""

import asyncio
import concurrent.futures
import json
import socket
import struct
import threading
import time
from collections import deque

PATIENCE_S = 8
LAST_CHUNK = b"0\r\n\r\n"
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream; charset=utf-8"}


class Signal:
    """Something that happens once, in any thread, and can be awaited from any loop."""

    def __init__(self):
        self.at = None
        self._future = concurrent.futures.Future()

    def __bool__(self):
        return self.at is not None

    def fire(self):
        if self.at is None:
            self.at = time.monotonic()
            self._future.set_result(None)

    async def wait(self, timeout_s=PATIENCE_S):
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._future)), timeout_s)
        return self.at

    def wait_here(self, timeout_s=PATIENCE_S):
        """Block this thread until it happened."""
        self._future.result(timeout_s)
        return self.at


class Gone(Exception):
    """The other side went away; a script ends here without complaint."""


class Request:
    """What the gateway sent. `left` fires when it closes the connection, `played` when the script ended."""

    def __init__(self, connection, head):
        self.head = head
        self.body = b""
        self.at = time.monotonic()
        self.connection = connection
        self.left = connection.left
        self.played = Signal()
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = lines[0].split(" ")
        pairs = (line.partition(":") for line in lines[1:] if line)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def credential(self):
        return self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")


class Lane:
    """One base URL. `play` gives a script to each of the next requests, `always` to all after those."""

    def __init__(self, upstream, name, kind):
        self.name = name
        self.kind = kind
        self.speaker = SPEAKERS[kind]
        self.root = f"http://127.0.0.1:{upstream.port}/{name}"
        self.base_url = self.root + ("/v1" if kind == "openai" else "")
        self.requests = []
        self.probes = 0
        self._scripts = deque()
        self._rest = None
        self._waiting = {}

    def play(self, *scripts):
        self._scripts.extend(scripts)
        return self

    def always(self, script):
        """`script`: a list of steps, or a function that makes one from the request."""
        self._rest = script
        return self

    async def request(self, number=0, timeout_s=PATIENCE_S):
        """Wait for the request with this number, the first being 0."""
        await self._waiting.setdefault(number, Signal()).wait(timeout_s)
        return self.requests[number]

    def take(self, request):
        self.requests.append(request)
        self._waiting.setdefault(len(self.requests) - 1, Signal()).fire()
        script = self._scripts.popleft() if self._scripts else self._rest
        if script is None:
            return unary(self.speaker.refusal("no script is left for this request"), status=500)
        return script(request) if callable(script) else script


class Upstream:
    """The listener. `connections` holds every connection ever made, in order."""

    def __init__(self):
        self.lanes = {}
        self.connections = []
        self.loop = asyncio.new_event_loop()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)
        self._thread.start()

    def lane(self, name, kind):
        self.lanes[name] = Lane(self, name, kind)
        return self.lanes[name]

    def _run(self):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(
            self.loop.create_server(lambda: Connection(self), sock=self._socket, backlog=1024)
        )
        self.loop.run_forever()
        server.close()
        for connection in self.connections:
            connection.abandon()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE_S)

    def tell(self, function, *args):
        """Call a method of a connection from another thread."""
        self.loop.call_soon_threadsafe(function, *args)


class Connection(asyncio.Protocol):
    """One connection from the gateway: reads requests, plays scripts, notices when the gateway leaves."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.number = len(upstream.connections)
        self.left = Signal()
        self.sent = 0
        self.progress_at = time.monotonic()
        self.finished = False
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        upstream.connections.append(self)

    def connection_made(self, transport):
        self.transport = transport
        # Only what the kernel took counts as sent.
        transport.set_write_buffer_limits(0)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data):
        self._buffer += data
        self._news.set()

    def eof_received(self):
        self.left.fire()
        self._news.set()
        return True

    def connection_lost(self, error):
        self.finished = True
        self.left.fire()
        self._news.set()
        self._room.set()

    def pause_writing(self):
        self._room.clear()

    def resume_writing(self):
        self._room.set()

    # what steps use

    async def send(self, data):
        if self.finished or self.transport.is_closing():
            raise Gone
        self.transport.write(data)
        await self._room.wait()
        if self.finished:
            raise Gone
        self.sent += len(data)
        self.progress_at = time.monotonic()

    def reset(self):
        """End with RST instead of FIN."""
        self.finished = True
        linger = struct.pack("ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()

    def close(self):
        self.finished = True
        self.transport.close()

    def half_close(self):
        self.transport.write_eof()

    def abandon(self):
        self.transport.abort()
        self._task.cancel()

    def push(self, data):
        """Send bytes that nobody asked for."""
        self.transport.write(data)

    # what is read

    async def _serve(self):
        try:
            while not self.finished:
                request = Request(self, await self._until(b"\r\n\r\n"))
                request.body = await self._body(request)
                await self._play(request)
        except Gone:
            self.transport.close()

    async def _play(self, request):
        lane = self.upstream.lanes.get(request.path.split("/")[1])
        if request.method == "GET" and request.path.partition("?")[0].endswith("/models"):
            listing = json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()
            if lane:
                lane.probes += 1
            await unary(listing)[0](self)
            return
        if lane is None:
            await unary(b'{"error":{"message":"no such lane"}}', status=404)[0](self)
            return
        try:
            for step in lane.take(request):
                await step(self)
        finally:
            request.played.fire()

    async def _until(self, mark):
        while (at := self._buffer.find(mark)) < 0:
            await self._more()
        return self._cut(at + len(mark))[: -len(mark)]

    async def _more(self):
        if self.left or self.finished:
            raise Gone
        self._news.clear()
        await self._news.wait()

    def _cut(self, size):
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _exactly(self, size):
        while len(self._buffer) < size:
            await self._more()
        return self._cut(size)

    async def _body(self, request):
        if "chunked" not in request.headers.get("transfer-encoding", ""):
            return await self._exactly(int(request.headers.get("content-length", 0)))
        body = b""
        while size := int(await self._until(b"\r\n"), 16):
            body += await self._exactly(size)
            await self._exactly(2)
        await self._until(b"\r\n")
        return body


# --- steps -----------------------------------------------------------------------------------------


def send(*pieces):
    """Each piece is one write."""

    async def step(wire):
        for piece in pieces:
            await wire.send(piece)

    return step


def dribble(data, pause_s=0.0):
    """One write a byte; other connections get their turn between."""

    async def step(wire):
        for at in range(len(data)):
            await wire.send(data[at : at + 1])
            await asyncio.sleep(pause_s)

    return step


def pause(seconds):
    async def step(wire):
        await asyncio.sleep(seconds)

    return step


def hold(signal=None):
    """Wait for the test's signal; without one, until the gateway leaves."""

    async def step(wire):
        waits = [asyncio.create_task(s.wait(60)) for s in (signal, wire.left) if s is not None]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    return step


def mark(signal):
    """Tell the test that the script came this far."""

    async def step(wire):
        signal.fire()

    return step


def flood(piece, limit_bytes=1 << 40, pause_s=0.0):
    """Send the same piece until the gateway leaves or the limit is reached."""

    async def step(wire):
        started = wire.sent
        while wire.sent - started < limit_bytes and not wire.left:
            await wire.send(piece)
            await asyncio.sleep(pause_s)

    return step


async def reset(wire):
    wire.reset()


async def close(wire):
    wire.close()


async def half_close(wire):
    wire.half_close()


# --- framing ---------------------------------------------------------------------------------------


def head(status=200, headers=None, reason="Said"):
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def unary(body, status=200, headers=None):
    """A whole answer with its length, connection kept."""
    return [send(head(status, {**JSON, "content-length": len(body), **(headers or {})}) + body)]


def stream(events, framing="chunked", headers=None, end=True):
    """Events as one write each. `framing`: chunked, length or close; `end` false leaves the message open."""
    events = list(events)
    if framing == "chunked":
        pieces = [chunk(event) for event in events] + ([LAST_CHUNK] if end else [])
        return [send(head(200, {**EVENTS, "transfer-encoding": "chunked", **(headers or {})}), *pieces)]
    if framing == "length":
        size = sum(len(event) for event in events)
        return [send(head(200, {**EVENTS, "content-length": size, **(headers or {})}), *events)]
    steps = [send(head(200, {**EVENTS, "connection": "close", **(headers or {})}), *events)]
    return [*steps, close] if end else steps


# --- what providers say ----------------------------------------------------------------------------


class OpenAISpeaker:
    """Chat Completions. Prompt 25 tokens; `events` are role, one a text, finish, usage, done."""

    kind = "openai"
    lead = 1
    prompt_tokens = 25

    def event(self, tree):
        return b"data: " + json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"

    def chunk(self, delta=None, finish=None, **more):
        choice = {"index": 0, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
        return self.event({**self._of("chat.completion.chunk"), "choices": [choice], **more})

    def _of(self, what):
        return {"id": "chatcmpl-7", "object": what, "created": 1_700_000_000, "model": "m"}

    def usage(self, output):
        total = self.prompt_tokens + output
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": output, "total_tokens": total}

    def text(self, text):
        return self.chunk({"content": text})

    def opening(self):
        return [self.chunk({"role": "assistant", "content": "", "refusal": None})]

    def finish(self):
        return self.chunk(finish="stop")

    def usage_event(self, output=7):
        return self.event({**self._of("chat.completion.chunk"), "choices": [], "usage": self.usage(output)})

    def closing(self, output=7):
        return [self.finish(), self.usage_event(output), b"data: [DONE]\n\n"]

    def events(self, texts, output=7):
        return [*self.opening(), *map(self.text, texts), *self.closing(output)]

    def whole(self, text, output=7):
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        tree = {**self._of("chat.completion"), "choices": [choice], "usage": self.usage(output)}
        return json.dumps(tree, ensure_ascii=False).encode()

    def refusal(self, message, kind="server_error", code=None):
        return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()

    def stream_error(self, message):
        return b"data: " + self.refusal(message) + b"\n\n"


class AnthropicSpeaker:
    """Messages. Prompt 25 tokens; `events` are start, block start, ping, one a text, block stop, delta, stop."""

    kind = "anthropic"
    lead = 3
    prompt_tokens = 25

    def event(self, tree):
        data = json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
        return b"event: %b\ndata: %b\n\n" % (tree["type"].encode(), data)

    def text(self, text):
        delta = {"type": "text_delta", "text": text}
        return self.event({"type": "content_block_delta", "index": 0, "delta": delta})

    def _message(self, content, stop, output):
        usage = {"input_tokens": self.prompt_tokens, "output_tokens": output}
        fixed = {"id": "msg_7", "type": "message", "role": "assistant", "model": "m"}
        return {**fixed, "content": content, "stop_reason": stop, "stop_sequence": None, "usage": usage}

    def block_start(self, text=""):
        return self.event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": text}})

    def opening(self):
        start = {"type": "message_start", "message": self._message([], None, 1)}
        return [self.event(start), self.block_start(), self.event({"type": "ping"})]

    def usage_event(self, output=7):
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        return self.event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": output}})

    def closing(self, output=7):
        stop = self.event({"type": "content_block_stop", "index": 0})
        return [stop, self.usage_event(output), self.event({"type": "message_stop"})]

    def events(self, texts, output=7):
        return [*self.opening(), *map(self.text, texts), *self.closing(output)]

    def whole(self, text, output=7):
        content = [{"type": "text", "text": text}]
        return json.dumps(self._message(content, "end_turn", output), ensure_ascii=False).encode()

    def refusal(self, message, kind="api_error", code=None):
        return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()

    def stream_error(self, message):
        return b"event: error\ndata: " + self.refusal(message, "overloaded_error") + b"\n\n"


SPEAKERS = {"openai": OpenAISpeaker(), "anthropic": AnthropicSpeaker()}
KINDS = list(SPEAKERS)
