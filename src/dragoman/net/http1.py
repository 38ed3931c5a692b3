"""The server side of HTTP/1.1: uvicorn's protocol with what it lacks.

uvicorn parses, frames and schedules; this adds absolute deadlines for a request's head and body (bytes
do not reset them), caps on the head, a deadline for a caller that does not read, the word that a
caller has left, and answers to unreadable requests that are JSON.
"""

import asyncio
from collections.abc import Callable

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dragoman.net.deadlines import Wheel

URL_LIMIT = 8 * 1024
HEAD_LIMIT = 32 * 1024
HEADERS_LIMIT = 100
LINGER_S = 2.0
NEVER = float("inf")


class Timing(msgspec.Struct, frozen=True):
    """Deadlines towards callers, in seconds, and how many connections there may be."""

    header_s: float
    body_s: float
    write_s: float
    keep_alive_s: float
    max_connections: int


class CallerConnection(HttpToolsProtocol):
    """One caller's connection. `timing` and `wheel` are set on the subclass that `bind` makes."""

    timing: Timing
    wheel: Wheel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.callback: Callable[[], None] | None = None
        self.head_bytes = 0
        self.head_done = False
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
        self.phase = "body"
        self.due = self.loop.time() + self.timing.body_s
        super().on_headers_complete()
        self.scope["dragoman.cycle"] = self.cycle  # type: ignore[typeddict-unknown-key]

    def on_body(self, body: bytes) -> None:
        if self.phase != "head":
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.phase == "head":
            return
        self.phase = "answer"
        self.due = NEVER_YET
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, without its timer: the wheel watches idleness."""
        self.server_state.total_requests += 1
        self.callback = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.phase == "answer":
            self.phase = "idle"
            self.due = self.loop.time() + self.timing.keep_alive_s
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

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


def bind(timing: Timing, wheel: Wheel) -> type[CallerConnection]:
    """Make the protocol class that a listener hands to uvicorn."""
    return type("BoundConnection", (CallerConnection,), {"timing": timing, "wheel": wheel})
