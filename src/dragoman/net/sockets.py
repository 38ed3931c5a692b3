"""WebSocket: text messages in and out, on a listener of its own and beside HTTP. Source: RFC 6455.

Handshake and incoming frames are the `websockets` library's sans-IO layer. Outgoing frames of data are written here:
a server's are not masked, so each is two to ten bytes and the text, and many go out in one write. The library's own
way costs more than four times as much for each, and joins no two.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import CONNECTING, OPEN, SEND_EOF
from websockets.server import ServerProtocol

from dragoman.legs import Head, Headers
from dragoman.net.deadlines import Wheel
from dragoman.net.http1 import NEVER, Flow
from dragoman.net.messages import Found, Messages, Numbers

PING_S = 20.0
CLOSE_S = 2.0
GOING_AWAY, BAD_TEXT = 1001, 1007
BINARY = [(b"content-type", b"application/octet-stream")]
DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
# What is read on while no message is taken, so that pings and goodbyes are seen: bytes, each message counting for
# what it costs here at least.
HELD_BYTES = 64 * 1024
MESSAGE_BYTES = 256
UNREADABLE = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 35\r\n"
    b"connection: close\r\n\r\nThis is not a WebSocket handshake.\n"
)
quiet = logging.getLogger("dragoman.websocket.library")
quiet.setLevel(logging.CRITICAL)


class Terms(msgspec.Struct, frozen=True):
    """Patience and room for callers: seconds, bytes of one message, connections."""

    header_s: float
    write_s: float
    max_bytes: int
    max_connections: int
    ping_s: float = PING_S


class SocketHost:
    """All WebSocket connections of one table. `drain` lets answers under way finish."""

    def __init__(self, find: Callable[[Head], Found], terms: Terms, wheel: Wheel, number: Numbers) -> None:
        """`find` raises LookupError where nobody serves the path."""
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
        # The message that is arriving, and those that have arrived and are not taken.
        self._arriving = bytearray()
        self._is_binary = False
        self._held: deque[tuple[bytes, Headers]] = deque()
        self._held_bytes = 0
        self._is_paused = False
        self._is_deaf = False
        self._is_pinged = False
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
        if self._transport.is_closing():
            return
        self._library.receive_data(data)
        for event in self._library.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            elif isinstance(event, Request):
                self._greet(event)
        self._heard()
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
        self._heard()

    def _heard(self) -> None:
        """The caller is there. While it does not read, reading is what it is asked for."""
        if self._library.state is OPEN and not self._flow.write_paused:
            self.due = self._loop.time() + self._host.terms.ping_s
            self._is_pinged = False

    def expire(self, now: float) -> None:
        """Nothing came, or nothing went: ask whether the caller is still there, once. Where we do not read, its
        answer cannot come: then only the network can say that it is gone.
        """
        if self._flow.write_paused:
            self.late = "write"
        elif self._library.state is OPEN and (self._is_deaf or not self._is_pinged):
            self._is_pinged = True
            self.due = now + self._host.terms.ping_s
            self._library.send_ping(b"")
            self._flush()
            return
        self.due = NEVER
        self._transport.abort()

    def _flush(self) -> None:
        """Send what the library has to say. What ends a connection half-closes it, and waits a moment for the
        other half: closing at once would destroy the last words on their way.
        """
        library = self._library
        said = library.data_to_send()
        if library.state is CONNECTING and said == [SEND_EOF]:
            said.insert(0, UNREADABLE)
        for data in said:
            if data != SEND_EOF:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()
        if library.close_expected():
            self.due = min(self.due, self._loop.time() + CLOSE_S)
            if self._messages is not None:
                self._messages.lost()

    # --- handshake and messages

    def _greet(self, request: Request) -> None:
        path, _, query = request.path.partition("?")
        headers = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in request.headers.raw_items()]
        head = Head("WS", path, query.encode("latin-1"), headers)
        try:
            found = self._host.find(head)
        except LookupError:
            self._library.send_response(self._library.reject(404, "There is nothing here.\n"))
            return
        if self._host.draining:
            self._library.send_response(self._library.reject(503, "The gateway is shutting down.\n"))
            return
        self._library.send_response(self._library.accept(request))
        if self._library.state is OPEN:
            self._messages = Messages(head, found, self, self._host.number)

    def _frame(self, frame: Frame) -> None:
        """Join fragments; the library has checked their order and, all together, their size."""
        if frame.opcode not in DATA or self._library.state is not OPEN:
            return
        if frame.opcode is not Opcode.CONT:
            self._is_binary = frame.opcode is Opcode.BINARY
        self._arriving += frame.data
        if not frame.fin:
            return
        data, self._arriving = bytes(self._arriving), bytearray()
        if not self._is_binary and not is_utf8(data):
            self._library.fail(BAD_TEXT, "not UTF-8")
            return
        self._held.append((data, BINARY if self._is_binary else []))
        self._held_bytes += len(data) + MESSAGE_BYTES

    def _take(self) -> None:
        """Hand on messages while there is room for them; stop reading when too many are held."""
        messages = self._messages
        while self._held and not self._is_paused and messages is not None:
            data, headers = self._held.popleft()
            self._held_bytes -= len(data) + MESSAGE_BYTES
            if not self._host.draining:
                messages.accept(data, headers)
        if self._is_deaf != (self._held_bytes > HELD_BYTES):
            self._is_deaf = not self._is_deaf
            if self._is_deaf:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # --- the messages' side

    def send(self, pieces: list[bytes]) -> bool:
        if self._library.state is OPEN:
            framed: list[bytes] = []
            for piece in pieces:
                if piece:
                    framed += (text_head(len(piece)), piece)
            if framed:
                self._transport.write(b"".join(framed))
        return not self._flow.write_paused

    async def room(self) -> None:
        await self._flow.drain()

    def pause(self, paused: bool) -> None:  # noqa: FBT001 - see Outlet
        self._is_paused = paused
        if not paused:
            self._take()

    def failed(self) -> None:
        """The dialect has said so in band."""

    def answered(self, last: bool) -> None:  # noqa: FBT001 - see Outlet
        if last and self._host.draining:
            self.drain()

    def drain(self) -> None:
        """Say goodbye if nothing is under way."""
        if self._messages is None:
            self._transport.close()
        elif not self._messages.live and self._library.state is OPEN and not self._transport.is_closing():
            self._library.send_close(GOING_AWAY, "the gateway is shutting down")
            self._flush()


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
