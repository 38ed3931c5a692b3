"""HTTP on a raw socket, one read at a time: what a client sees that parses each network read as it comes.

A browser's fetch and XMLHttpRequest hand a page the payload of each read. Here a read is one `recv`, with
HTTP's chunk framing taken off and nothing joined or split.
"""

import json
import socket
import time

PATIENCE_S = 15
READ_BYTES = 1 << 20


class Answer:
    """An answer under way. `ended` is open, clean (the message's own end was seen) or broken."""

    def __init__(self, raw):
        self.raw = raw
        self.status = 0
        self.headers = {}
        self.header_lines = []
        self.reads = []
        self.read_at = []
        self.ended = "open"
        self.began_at = time.monotonic()
        self.ended_at = None
        self._pending = b""
        self._framing = None

    @property
    def body(self):
        return b"".join(self.reads)

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def took_s(self):
        return self.ended_at - self.began_at

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.ended} {self.body[:2000]!r}>"

    def head(self):
        """Wait for the head."""
        while b"\r\n\r\n" not in self._pending:
            data = self._recv()
            if not data:
                self._end("broken")
                return self
            self._pending += data
        block, _, rest = self._pending.partition(b"\r\n\r\n")
        first, *lines = block.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.header_lines = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines)]
        self.headers = dict(self.header_lines)
        self._pending = b""
        self._framing = self._choose_framing()
        self._take(rest)
        return self

    def _choose_framing(self):
        if self.status in (204, 304):
            return Counted(0)
        if "chunked" in self.headers.get("transfer-encoding", ""):
            return Chunked()
        if "content-length" in self.headers:
            return Counted(int(self.headers["content-length"]))
        return UntilClosed()

    def _recv(self):
        try:
            return self.raw.recv(READ_BYTES)
        except ConnectionError:
            return b""

    def _take(self, data):
        payload = self._framing.take(data)
        if payload:
            self.reads.append(payload)
            self.read_at.append(time.monotonic())
        if self._framing.complete:
            self._end("clean")

    def _end(self, how):
        self.ended, self.ended_at = how, time.monotonic()
        self.raw.close()

    def more(self):
        """Do one read; returns the payload that it brought, b"" when it brought none."""
        if not self.status:
            self.head()
            return self.body
        before = len(self.reads)
        data = self._recv()
        if data:
            self._take(data)
        else:
            self._end("clean" if isinstance(self._framing, UntilClosed) else "broken")
        return b"".join(self.reads[before:])

    def until(self, needle):
        """Read until this is in the body."""
        while needle not in self.body:
            assert self.ended == "open", f"{needle!r} never came: {self}"
            self.more()
        return self

    def rest(self):
        """Read to the end, whichever that is."""
        if not self.status:
            self.head()
        while self.ended == "open":
            self.more()
        return self

    def leave(self):
        """Go away in the middle."""
        self.raw.close()


class Chunked:
    """Takes chunk framing off a read, wherever the read was cut."""

    def __init__(self):
        self.complete = False
        self._line = b""
        self._left = 0
        self._trailer = False

    def take(self, data):
        payload = b""
        while data and not self.complete:
            if self._left > 2:
                piece = data[: self._left - 2]
                payload += piece
                self._left -= len(piece)
                data = data[len(piece) :]
            elif self._left:
                skipped = min(self._left, len(data))
                self._left -= skipped
                data = data[skipped:]
            else:
                data = self._take_line(data)
        return payload

    def _take_line(self, data):
        line, newline, rest = data.partition(b"\n")
        self._line += line
        if not newline:
            return b""
        text, self._line = self._line.strip(), b""
        if self._trailer:
            self.complete = not text
        else:
            size = int(text.split(b";")[0], 16)
            self._trailer = size == 0
            self._left = size + 2 if size else 0
        return rest


class Counted:
    """A body of known length."""

    def __init__(self, length):
        self._left = length
        self.complete = length == 0

    def take(self, data):
        payload = data[: self._left]
        self._left -= len(payload)
        self.complete = self._left == 0
        return payload


class UntilClosed:
    """A body that ends with its connection."""

    complete = False

    def take(self, data):
        return data


def request_bytes(method, path, headers, body):
    shown = {"Host": "gateway", **headers}
    if body or method in ("POST", "PUT", "PATCH"):
        shown.setdefault("Content-Length", len(body))
    lines = [f"{name}: {value}" for name, value in shown.items() if value is not None]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + body


def begin(port, method, path, headers=None, body=b""):
    """Send a request on a connection of its own. A `body` that is no bytes is sent as JSON; a header that is
    None is left out.
    """
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    raw = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answer = Answer(raw)
    try:
        raw.sendall(request_bytes(method, path, headers or {}, data))
    except ConnectionError:
        # A refusal may come before the whole body went out; the answer is there to be read.
        pass
    return answer


def ask(port, method, path, headers=None, body=b""):
    """Ask and read the whole answer."""
    return begin(port, method, path, headers, body).rest()
