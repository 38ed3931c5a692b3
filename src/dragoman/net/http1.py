"""The server side of HTTP/1.1: uvicorn's protocol with what it lacks.

uvicorn parses, frames and schedules; this adds absolute deadlines for a request's head and body (bytes
do not reset them), caps on the head, a deadline for a caller that does not read, the word that a
caller has left, and answers to unreadable requests that are JSON.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from dragoman.legs import Headers
from dragoman.net.deadlines import Wheel

URL_LIMIT = 8 * 1024
HEAD_LIMIT = 32 * 1024
HEADERS_LIMIT = 100
LINGER_S = 2.0
NEVER = float("inf")
# These have no body, and no header that says so (RFC 9110, 8.6).
BODYLESS = (204, 304)


class Timing(msgspec.Struct, frozen=True):
    """Deadlines towards callers, in seconds, and how many connections there may be."""

    header_s: float
    body_s: float
    write_s: float
    keep_alive_s: float
    max_connections: int


class CallerConnection(HttpToolsProtocol):
    """One caller's connection. `timing` and `wheel` are set on the subclass that `bind` makes."""

    # Slots for what is ours keep uvicorn's dictionary below the size at which instances stop sharing its keys.
    __slots__ = ("callback", "due", "head_bytes", "late", "phase")
    timing: Timing
    wheel: Wheel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.pipeline = Pipeline()  # type: ignore[assignment]
        self.flow = Flow(self.flow._transport)  # noqa: SLF001 - the same transport, a lighter flow
        self.callback: Callable[[], None] | None = None
        self.head_bytes = 0
        self.late = ""
        self._begin_head()
        self.wheel.watch(self)
        if len(self.connections) > self.timing.max_connections:
            self._shed_idle()

    def _begin_head(self) -> None:
        self.phase = "head"
        self.due = self.loop.time() + self.timing.header_s

    def data_received(self, data: bytes) -> None:
        if self.phase == "idle":
            self._begin_head()
        elif self.phase == "linger":
            return
        if self.phase == "head":
            self.head_bytes += len(data)
        super().data_received(data)
        if self.phase == "head" and self.head_bytes > HEAD_LIMIT and not self.transport.is_closing():
            self._refuse(431, "The request's head is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["dragoman"] = self  # type: ignore[typeddict-unknown-key]

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > URL_LIMIT:
            self._refuse(414, "The request's path is too long.")

    def on_headers_complete(self) -> None:
        self.head_bytes = 0
        if len(self.headers) > HEADERS_LIMIT:
            self._refuse(431, "The request has too many headers.")
            return
        if self.transport.is_closing():
            return
        if not (self.parser.should_upgrade() and self._should_upgrade()):
            self.phase = "body"
        self.due = self.loop.time() + self.timing.body_s
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self.phase != "head":
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.phase == "head":
            return
        if self.cycle.response_complete:
            # The answer did not wait for the whole request, which has been thrown away.
            self._idle()
            return
        self.phase = "answer"
        self.due = NEVER_YET
        super().on_message_complete()
        if not self.pipeline:
            self.cycle.message_event = ARRIVED

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over: from now on the other protocol watches it."""
        self.due = NEVER
        super().handle_websocket_upgrade()

    def on_response_complete(self) -> None:
        """As uvicorn's, without its timer: the wheel watches idleness."""
        self.server_state.total_requests += 1
        self.callback = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.phase == "answer":
            self._idle()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    def _idle(self) -> None:
        self.phase = "idle"
        self.due = self.loop.time() + self.timing.keep_alive_s

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.due = NEVER
        if self.callback is not None:
            callback, self.callback = self.callback, None
            callback()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.due = self.loop.time() + self.timing.write_s

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.phase == "answer":
            self.due = NEVER_YET

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def expire(self, now: float) -> None:
        """A deadline passed; what it means depends on what was awaited."""
        if self.flow.write_paused:
            self.late = "write"
            self.due = NEVER
            self.transport.abort()
        elif self.phase == "body" and not self.cycle.response_started:
            # The application is reading the body: it answers in its own dialect.
            self.late = "body"
            self.due = now + self.timing.header_s
            self.cycle.message_event.set()
        elif self.phase == "answer":
            self.due = NEVER_YET
        else:
            self.due = NEVER
            if self.phase == "head" and self.head_bytes:
                self._refuse(408, "The request's head did not arrive in time.")
            self.transport.close()

    # --- writing an answer: uvicorn's own `send` would take a write for the head and one for the body

    def begin(self, cycle: Any, status: int, headers: Headers, length: int | None) -> bytes:
        """Make the head of an answer; `length` None means chunks."""
        cycle.response_started = True
        cycle.chunked_encoding = length is None
        lines = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        if status not in BODYLESS:
            lines.append(b"transfer-encoding: chunked\r\n" if length is None else b"content-length: %d\r\n" % length)
        lines.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(lines)

    def push(self, cycle: Any, front: bytes, data: bytes) -> bool:
        """Write a piece at once, after `front`. Returns whether the caller reads as fast as we write."""
        if not cycle.disconnected:
            if data and cycle.chunked_encoding:
                self.transport.write(b"%b%x\r\n%b\r\n" % (front, len(data), data))
            elif front or data:
                self.transport.write(front + data)
        return not self.flow.write_paused

    def end(self, cycle: Any, front: bytes, data: bytes, *, lingers: bool) -> None:
        """Write the last piece and end the answer as complete."""
        if cycle.disconnected:
            return
        if self.scope["method"] == "HEAD":
            data = b""
        elif cycle.chunked_encoding:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        self.transport.write(front + data)
        cycle.response_complete = True
        cycle.message_event.set()
        if lingers:
            self.linger()
        elif not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def cut(self) -> None:
        """End the connection after what has been written, without HTTP's own end."""
        self.cycle.disconnected = True
        self.transport.close()

    def linger(self) -> None:
        """Close after an answer that came before the end of the request: what still comes is thrown away for
        a while, since closing at once would destroy the answer on its way.
        """
        self.phase = "linger"
        self.due = self.loop.time() + LINGER_S
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _refuse(self, status: int, text: str) -> None:
        if self.transport.is_closing():
            return
        body = msgspec.json.encode(
            {"error": {"message": text, "type": "invalid_request_error", "param": None, "code": None}}
        )
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        phrase = {400: b"Bad Request", 408: b"Request Timeout", 414: b"URI Too Long"}.get(status, b"Refused")
        self.transport.write(head % (status, phrase, len(body)) + body)
        self.transport.close()

    def _shed_idle(self) -> None:
        """Above the limit the connection that has been idle longest makes room; if none is, the new one goes."""
        idle = [c for c in self.connections if isinstance(c, CallerConnection) and c.phase == "idle"]
        victim = min(idle, key=lambda c: c.due) if idle else self
        victim.transport.close()


# While an answer is under way there is no deadline of ours, but the wheel keeps looking: writing may stall.
NEVER_YET = 1e18


class Pipeline(list[Any]):
    """Requests that came before their turn: hardly ever any, so not half a kilobyte of deque."""

    def appendleft(self, item: Any) -> None:
        self.insert(0, item)


class Arrived:
    """Stands in for the event that says that a request has news: it has all of them. Two words instead of a
    kilobyte, for as long as the answer takes.
    """

    def set(self) -> None: ...

    def clear(self) -> None: ...

    async def wait(self) -> None: ...


ARRIVED: Any = Arrived()


class Flow(FlowControl):
    """uvicorn's flow control with its event made only when somebody must wait."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.read_paused = False
        self.write_paused = False
        self._room: asyncio.Event | None = None

    async def drain(self) -> None:
        while self.write_paused:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self._room is not None:
            self._room.clear()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._room is not None:
            self._room.set()


def bind(timing: Timing, wheel: Wheel) -> type[CallerConnection]:
    """Make the protocol class that a listener hands to uvicorn."""
    return type("BoundConnection", (CallerConnection,), {"timing": timing, "wheel": wheel, "__slots__": ()})
