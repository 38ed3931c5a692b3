"""The three ways bytes travel to a caller: HTTP/1.1 in chunks, WebSocket, and gRPC on HTTP/2.

Written by hand, because a client library would take more of the load's core than the gateway takes of its own. Each
carries one question and one answer over one connection, and only as much of its protocol as that needs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Protocol

from bench.script import WrongAnswerError


class Framing(Protocol):
    """One exchange. `is_over` tells that the last byte of the answer has come."""

    is_over: bool

    def opening(self) -> bytes:
        """Make what is sent as soon as the connection stands."""

    def receive(self, data: bytes) -> bytes:
        """Take what came; return what has to be sent now, mostly nothing."""

    def messages(self, raw: bytes) -> list[bytes]:
        """Take the whole answer apart: the messages of a connection that has them, else one body."""


class Http:
    """One request; its answer ends with the last chunk."""

    _END = b"0\r\n\r\n"

    def __init__(self, path: str, headers: Mapping[str, str], body: bytes) -> None:
        lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
        self._request = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
        self._tail = b""
        self.is_over = False

    def opening(self) -> bytes:
        return self._request

    def receive(self, data: bytes) -> bytes:
        self._tail = (self._tail + data)[-len(self._END) :]
        self.is_over = self._tail == self._END
        return b""

    def messages(self, raw: bytes) -> list[bytes]:
        head, _, body = raw.partition(b"\r\n\r\n")
        if b" 200 " not in head[:16]:
            raise WrongAnswerError(f"status: {raw[:300]!r}")
        if b"transfer-encoding: chunked" not in head.lower():
            raise WrongAnswerError(f"the stream is not chunked: {head!r}")
        return [b"".join(_http_chunks(body))]


def _http_chunks(body: bytes) -> Iterator[bytes]:
    at = 0
    while True:
        line_end = body.find(b"\r\n", at)
        if line_end < 0:
            raise WrongAnswerError("the chunked body breaks off")
        size = int(body[at:line_end].split(b";")[0], 16)
        if size == 0:
            return
        yield body[line_end + 2 : line_end + 2 + size]
        at = line_end + 2 + size + 2


class WebSocket:
    """A handshake, one text message, and messages until one holds the mark of the end. Source: RFC 6455."""

    _MASK = b"\0\0\0\0"  # leaves a payload as it is; a client must name a mask, whichever

    def __init__(self, path: str, headers: Mapping[str, str], message: bytes, end: bytes) -> None:
        asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", **headers}
        asked["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in asked.items())]
        self._handshake = "\r\n".join([*lines, "", ""]).encode()
        self._message = b"\x81\xfe" + struct.pack("!H", len(message)) + self._MASK + message
        self._end = end
        self._tail = b""
        self._is_open = False
        self.is_over = False

    def opening(self) -> bytes:
        return self._handshake

    def receive(self, data: bytes) -> bytes:
        self._tail += data
        if self._is_open:
            self.is_over = self._end in self._tail
            self._tail = self._tail[-len(self._end) :]
            return b""
        self._is_open = b"\r\n\r\n" in self._tail
        return self._message if self._is_open else b""

    def messages(self, raw: bytes) -> list[bytes]:
        head, _, frames = raw.partition(b"\r\n\r\n")
        if b" 101 " not in head[:16]:
            raise WrongAnswerError(f"no handshake: {raw[:300]!r}")
        messages = []
        at = 0
        while at < len(frames):
            size, start = frames[at + 1], at + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size, start = int.from_bytes(frames[start : start + width], "big"), start + width
            if frames[at] != 0x81:
                raise WrongAnswerError(f"a frame that is no whole text: {frames[at : at + 40]!r}")
            messages.append(frames[start : start + size])
            at = start + size
        return messages


class Grpc:
    """One call with one message; its answer ends with the frame of the trailers. Source: RFC 9113, gRPC over HTTP/2.

    Answers are shorter than HTTP/2's first window of 65,535 bytes, so none is ever widened.
    """

    _PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    _DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
    _END_STREAM = _ACK = 1
    _END_HEADERS = 4

    def __init__(self, path: str, headers: Mapping[str, str], message: bytes) -> None:
        asked = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "127.0.0.1", "te": "trailers"}
        asked |= {"content-type": "application/grpc", **headers}
        block = b"".join(_header(name, value) for name, value in asked.items())
        framed = b"\0" + struct.pack("!I", len(message)) + message
        self._request = b"".join(
            [
                self._PREFACE,
                _frame(self._SETTINGS, 0, 0, b""),
                _frame(self._HEADERS, self._END_HEADERS, 1, block),
                _frame(self._DATA, self._END_STREAM, 1, framed),
            ]
        )
        self._held = b""
        self.is_over = False

    def opening(self) -> bytes:
        return self._request

    def receive(self, data: bytes) -> bytes:
        replies = []
        held = self._held + data
        at = 0
        while (frame := _frame_at(held, at)) is not None:
            kind, flags, payload, at = frame
            if kind == self._HEADERS and flags & self._END_STREAM:
                self.is_over = True
            elif kind in (self._SETTINGS, self._PING) and not flags & self._ACK:
                replies.append(_frame(kind, self._ACK, 0, payload if kind == self._PING else b""))
        self._held = held[at:]
        return b"".join(replies)

    def messages(self, raw: bytes) -> list[bytes]:
        body = []
        at = 0
        while (frame := _frame_at(raw, at)) is not None:
            kind, _, payload, at = frame
            if kind == self._DATA:
                body.append(payload)
        if not self.is_over:
            raise WrongAnswerError(f"the call has no trailers: {raw[-200:]!r}")
        data, messages = b"".join(body), []
        while data:
            size = int.from_bytes(data[1:5], "big")
            messages.append(data[5 : 5 + size])
            data = data[5 + size :]
        return messages


def _header(name: str, value: str) -> bytes:
    """Make a literal field without indexing and without Huffman coding (RFC 7541, 6.2.2); below 127 bytes each."""
    return b"\0%c%b%c%b" % (len(name), name.encode(), len(value), value.encode())


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def _frame_at(data: bytes, at: int) -> tuple[int, int, bytes, int] | None:
    """Read a frame: kind, flags, payload, and where the next one begins; None if it has not all come."""
    start = at + 9  # length (3 bytes), kind, flags, stream (4 bytes)
    if len(data) < start:
        return None
    end = start + int.from_bytes(data[at : at + 3], "big")
    return (data[at + 3], data[at + 4], data[start:end], end) if len(data) >= end else None
