"""Callers on raw sockets, one for each dialect, and what each must be able to see in an answer."""

import asyncio
import json
import re
import socket
import struct
import time

from gateway import KEY

PATIENCE_S = 8
WORDS = ["The ", "bridge ", "over ", "the ", "river ", "is ", "closed."]
SENTENCE = "".join(WORDS)


class Answer:
    """What a caller got: `ended` is clean (the message's own end was seen), broken or open."""

    def __init__(self):
        self.status = 0
        self.headers = {}
        self.body = b""
        self.ended = "open"
        self.at = 0.0

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def events(self):
        """(event name, data) of each event, as the WHATWG rules read them: an unfinished one is none."""
        found, name, data = [], "", []
        for line in re.split(r"\r\n|\n|\r", self.body.decode().removeprefix("\ufeff"))[:-1]:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif not line:
                if data:
                    found.append((name, "\n".join(data)))
                name, data = "", []
        return found

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.ended} {self.body[-2000:]!r}>"


class Call:
    """One connection and the answers on it."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer
        self.answer = Answer()
        self._raw = b""
        self._eof = False
        self._left = None

    @classmethod
    async def open(cls, port, receive_bytes=None):
        """`receive_bytes` bounds what the kernel keeps for a caller who does not read."""
        raw = socket.socket()
        if receive_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=2**16)
        return cls(reader, writer)

    def send(self, data):
        self.writer.write(data)

    async def _read(self):
        """Take what came; false at the end of the connection."""
        try:
            data = await asyncio.wait_for(self.reader.read(2**16), PATIENCE_S)
        except OSError:
            data = b""
        self._raw += data
        self._eof = self._eof or not data
        return bool(data)

    async def head(self):
        while b"\r\n\r\n" not in self._raw:
            if not await self._read():
                self.answer.ended = "broken"
                return self.answer
        block, _, self._raw = self._raw.partition(b"\r\n\r\n")
        first, *lines = block.decode("latin-1").split("\r\n")
        answer = self.answer
        answer.status = int(first.split()[1])
        answer.headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        self._left = int(answer.headers["content-length"]) if "content-length" in answer.headers else None
        self._take()
        return answer

    def _take(self):
        answer = self.answer
        if self._left is not None:
            answer.body += self._raw[: self._left]
            self._left, self._raw = max(0, self._left - len(self._raw)), self._raw[self._left :]
            answer.ended = "open" if self._left else "clean"
        elif "chunked" in answer.headers.get("transfer-encoding", ""):
            at = 0
            while (end := self._raw.find(b"\r\n", at)) >= 0 and answer.ended == "open":
                size = int(self._raw[at:end], 16)
                if len(self._raw) < end + 4 + size:
                    break
                answer.body += self._raw[end + 2 : end + 2 + size]
                at = end + 4 + size
                answer.ended = "clean" if size == 0 else "open"
            self._raw = self._raw[at:]
        else:
            answer.body, self._raw = answer.body + self._raw, b""
            answer.ended = "clean" if self._eof else "open"
        if self._eof and answer.ended == "open":
            answer.ended = "broken"
        answer.at = time.monotonic()

    async def more(self):
        if not self.answer.status:
            await self.head()
            return
        await self._read()
        self._take()

    async def until(self, text):
        """Read until this is in the body."""
        needle = text if isinstance(text, bytes) else text.encode()
        while needle not in self.answer.body:
            assert self.answer.ended == "open", f"{needle!r} never came: {self.answer}"
            await self.more()
        return self.answer

    async def rest(self):
        """Read the answer to its end, whichever that is."""
        while self.answer.ended == "open":
            await self.more()
        return self.answer

    async def gone(self):
        """Wait until the gateway closed the connection; returns when."""
        while not self._eof:
            await self._read()
        return time.monotonic()

    def next(self):
        """Be ready for the next answer on this connection."""
        self.answer = Answer()

    def reset(self):
        """Leave with RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    def leave(self):
        self.writer.close()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.writer.transport.abort()


class Dialect:
    path = ""
    name = ""

    def request(self, body, **headers):
        """Bytes of a request; a header given as None is left out."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        shown = {
            "host": "gateway",
            **self.credentials,
            "content-type": "application/json",
            "content-length": len(data),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        lines = [f"{name}: {value}" for name, value in shown.items() if value is not None]
        return "\r\n".join([f"POST {self.path} HTTP/1.1", *lines, "", ""]).encode() + data

    async def begin(self, house, model, stream=True, receive_bytes=None, **fields):
        call = await Call.open(house.gateway.port, receive_bytes)
        call.send(self.request(self.body(model, stream=stream, **fields)))
        return call

    async def ask(self, house, model, stream=True, **fields):
        """Ask on a new connection and read the whole answer."""
        async with await self.begin(house, model, stream=stream, **fields) as call:
            return await call.rest()

    def said(self, answer, stream):
        return self.text(answer) if stream else self.text_of_whole(answer)

    def check_whole(self, answer, text=SENTENCE, stream=True):
        assert answer.status == 200, answer
        assert answer.ended == "clean", answer
        assert self.said(answer, stream) == text, answer
        if stream:
            assert self.stream_error(answer) is None, answer
            assert self.is_terminated(answer), answer

    def check_refused(self, answer, *statuses):
        """An error before the first byte, in this dialect's shape."""
        assert answer.status in statuses, (statuses, answer)
        assert answer.ended == "clean", answer
        assert answer.headers["content-type"].split(";")[0] == "application/json", answer
        return self.check_error_object(answer.json, answer)

    def check_broken(self, answer, text=None):
        """A stream that broke: no end of its own, an error event last, and no end of the message."""
        assert answer.status == 200, answer
        assert not self.is_terminated(answer), answer
        assert self.stream_error(answer) is not None, answer
        assert answer.ended == "broken", answer
        if text is not None:
            assert self.text(answer) == text, answer

    def check_never_complete(self, answer, *statuses):
        """Nothing was delivered yet or a part was: either way the caller can see that it failed."""
        if answer.status == 200:
            self.check_broken(answer)
        else:
            self.check_refused(answer, *(statuses or (502, 503, 504)))


class OpenAI(Dialect):
    name = "openai"
    path = "/v1/chat/completions"
    credentials = {"authorization": f"Bearer {KEY}"}

    def body(self, model, stream=True, text="hello", **fields):
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return {**body, **fields}

    def _chunks(self, answer):
        return [json.loads(data) for _, data in answer.events if data and data != "[DONE]"]

    def text(self, answer):
        choices = (choice for tree in self._chunks(answer) for choice in tree.get("choices", ()))
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    def text_of_whole(self, answer):
        return answer.json["choices"][0]["message"]["content"]

    def is_terminated(self, answer):
        choices = (choice for tree in self._chunks(answer) for choice in tree.get("choices", ()))
        return any(d == "[DONE]" for _, d in answer.events) or any(c.get("finish_reason") for c in choices)

    def stream_error(self, answer):
        errors = [tree for tree in self._chunks(answer) if "error" in tree]
        if errors:
            assert "error" in self._chunks(answer)[-1], f"something follows the error: {answer}"
            self.check_error_object(errors[0], answer)
        return errors[0]["error"] if errors else None

    def check_error_object(self, tree, answer):
        error = tree["error"]
        assert {"message", "type", "param", "code"} <= error.keys(), answer
        assert isinstance(error["message"], str), answer
        assert error["message"], answer
        return error["message"]

    def beats(self, answer):
        return sum(line.startswith(b":") for line in re.split(rb"\r\n|\n|\r", answer.body))


class Anthropic(Dialect):
    name = "anthropic"
    path = "/v1/messages"
    credentials = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}

    def body(self, model, stream=True, text="hello", **fields):
        body = {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": text}]}
        return {**body, **({"stream": True} if stream else {}), **fields}

    def _events(self, answer):
        return [(name, json.loads(data)) for name, data in answer.events if data]

    def text(self, answer):
        deltas = [tree["delta"] for name, tree in self._events(answer) if name == "content_block_delta"]
        return "".join(delta.get("text", "") for delta in deltas)

    def text_of_whole(self, answer):
        return "".join(part.get("text", "") for part in answer.json["content"])

    def is_terminated(self, answer):
        return any(name == "message_stop" for name, _ in answer.events)

    def stream_error(self, answer):
        errors = [tree for name, tree in self._events(answer) if name == "error"]
        if errors:
            assert self._events(answer)[-1][0] == "error", f"something follows the error: {answer}"
            assert errors[0]["type"] == "error", answer
            assert isinstance(errors[0]["error"]["type"], str), answer
        return errors[0]["error"] if errors else None

    def check_error_object(self, tree, answer):
        assert tree["type"] == "error", answer
        assert isinstance(tree["error"]["type"], str), answer
        assert isinstance(tree["request_id"], str), answer
        assert tree["error"]["message"], answer
        return tree["error"]["message"]

    def beats(self, answer):
        return sum(name == "ping" for name, _ in answer.events)


DIALECTS = {"openai": OpenAI(), "anthropic": Anthropic()}
