"""WebSocket: text messages in and out, on a listener of its own and beside HTTP. Source: RFC 6455.

Handshake and incoming frames are the `websockets` library's sans-IO layer. Outgoing frames of data are written here:
a server's are not masked, so each is two to ten bytes and the text, and many go out in one write.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from dragoman.legs import Head
from dragoman.net.deadlines import Wheel
from dragoman.net.http1 import NEVER, Flow
from dragoman.net.messages import Found, Messages, Numbers

PING_S = 20.0
CLOSE_S = 2.0
GOING_AWAY, BAD_TEXT = 1001, 1007
BINARY = [(b"content-type", b"application/octet-stream")]
quiet = logging.getLogger("dragoman.websocket.library")
quiet.setLevel(logging.CRITICAL)


class Terms(msgspec.Struct, frozen=True):
    """Patience and room for callers: seconds, bytes of one message, connections."""

    header_s: float
    write_s: float
    max_bytes: int
    max_connections: int


class SocketHost:
    """All WebSocket connections of one table. `drain` lets answers under way finish."""

    def __init__(self, find: Callable[[Head], Found], terms: Terms, wheel: Wheel, number: Numbers) -> None:
        self.find = find
        self.terms = terms
        self.wheel = wheel
        self.number = number
        self.connections: set[Connection] = set()
        self.draining = False

    def protocol(self) -> "Connection":
        """Make the protocol of a new connection, for `loop.create_server`."""
        return Connection(self)

    def upgraded(self, **_: Any) -> "Connection":
        """Make the protocol of a connection that another listener hands over, as uvicorn does."""
        return Connection(self)

    def drain(self) -> None:
        """Take no further messages; close what is idle, and the rest as it falls idle."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()


class Connection(asyncio.Protocol):
    """One caller. Keeps `dragoman.net.messages.Outlet`."""

    def __init__(self, host: SocketHost) -> None:
        self._host = host
        self._library = ServerProtocol(max_size=host.terms.max_bytes, logger=quiet)
        self._messages: Messages | None = None
        self._held: list[Frame] = []
        self._pieces: list[bytes] = []
        self._is_binary = False
        self._is_paused = False
        self._pinged = False
        self._loop = asyncio.get_running_loop()
        self.due = NEVER
        self.late = ""

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._flow = Flow(self._transport)
        host = self._host
        if len(host.connections) >= host.terms.max_connections:
            self._transport.close()
            return
        host.connections.add(self)
        self.due = self._loop.time() + host.terms.header_s
        host.wheel.watch(self)

    def data_received(self, data: bytes) -> None:
        if self._library.state is OPEN and not self._flow.write_paused:
            self.due = self._loop.time() + PING_S
            self._pinged = False
        self._library.receive_data(data)
        for event in self._library.events_received():
            if isinstance(event, Request):
                self._greet(event)
            elif isinstance(event, Frame):
                self._held.append(event)
        self._take()
        self._flush()

    def eof_received(self) -> None:
        self._library.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it is over, however
        self.due = NEVER
        self._host.connections.discard(self)
        self._flow.resume_writing()
        if self._messages is not None:
            self._messages.lost()

    def pause_writing(self) -> None:
        self._flow.pause_writing()
        self.due = self._loop.time() + self._host.terms.write_s

    def resume_writing(self) -> None:
        self._flow.resume_writing()
        self.due = self._loop.time() + PING_S

    def expire(self, now: float) -> None:
        """Nothing came, or nothing went: ask whether the caller is still there, once."""
        if self._flow.write_paused:
            self.late = "write"
            self.due = NEVER
            self._transport.abort()
        elif self._library.state is OPEN and not self._pinged:
            self._pinged = True
            self.due = now + PING_S
            self._library.send_ping(b"")
            self._flush()
        else:
            self.due = NEVER
            self._transport.abort()

    def _flush(self) -> None:
        """Send what the library has to say, and close when it is done."""
        for data in self._library.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()
        if self._library.close_expected():
            self.due = min(self.due, self._loop.time() + CLOSE_S)

    # --- handshake and messages

    def _greet(self, request: Request) -> None:
        path, _, query = request.path.partition("?")
        headers = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in request.headers.raw_items()]
        head = Head("WS", path, query.encode("latin-1"), headers)
        try:
            found = self._host.find(head)
        except LookupError:
            found = None
        response = self._library.accept(request) if found else self._library.reject(404, "There is nothing here.\n")
        if found and self._host.draining:
            response = self._library.reject(503, "The gateway is shutting down.\n")
        self._library.send_response(response)
        if found and response.status_code == 101:
            self._messages = Messages(head, found, self, self._host.number)
            self.due = self._loop.time() + PING_S

    def _take(self) -> None:
        """Hand on the messages that are whole, while there is room for them."""
        while self._held and not self._is_paused:
            frame = self._held.pop(0)
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._is_binary = frame.opcode is Opcode.BINARY
                self._pieces = []
            elif frame.opcode is not Opcode.CONT:
                continue
            self._pieces.append(bytes(frame.data))
            if frame.fin:
                self._message(b"".join(self._pieces))
                self._pieces = []

    def _message(self, data: bytes) -> None:
        if not self._is_binary and not is_utf8(data):
            self._library.fail(BAD_TEXT, "not UTF-8")
            return
        if self._messages is not None and not self._host.draining:
            self._messages.accept(data, BINARY if self._is_binary else [])

    # --- the messages' side

    def send(self, pieces: list[bytes]) -> bool:
        if self._library.state is OPEN and pieces:
            framed: list[bytes] = []
            for piece in pieces:
                framed += (text_head(len(piece)), piece)
            self._transport.write(b"".join(framed))
        return not self._flow.write_paused

    async def room(self) -> None:
        await self._flow.drain()

    def pause(self, paused: bool) -> None:  # noqa: FBT001 - see Outlet
        self._is_paused = paused
        if paused:
            self._transport.pause_reading()
            return
        self._transport.resume_reading()
        self._take()
        self._flush()

    def answered(self, last: bool) -> None:  # noqa: FBT001 - see Outlet
        if last and self._host.draining:
            self.drain()

    def drain(self) -> None:
        """Say goodbye if nothing is under way."""
        if self._messages is not None and self._messages.live:
            return
        if self._library.state is OPEN:
            self._library.send_close(GOING_AWAY, "the gateway is shutting down")
            self._flush()
        else:
            self._transport.close()


def text_head(size: int) -> bytes:
    """Make the head of a final, unmasked text frame (RFC 6455, 5.2)."""
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big")
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
