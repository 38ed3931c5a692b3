"""One HTTP/1.1 connection to an upstream: bytes to the parser, pieces to whoever reads the exchange.

Only this file knows exactly what an upstream saw and whether its message ended. Truncation is told from
completion by HTTP's own framing: a message with a length or chunks that the connection leaves unfinished
is Truncated; one that the connection's end delimits ends with it.
"""

import asyncio
import select
import ssl
from collections.abc import Callable
from email.utils import formatdate
from typing import cast

import httptools

from dragoman.faults import Broken, ConnectFailed, Fault, Silent, Truncated
from dragoman.legs import Headers, Patience, Sink

HEAD_LIMIT = 64 * 1024
HEADERS_LIMIT = 200
HOLD_BYTES = 64 * 1024
READ_BYTES = 32 * 1024
NEVER = float("inf")


class Connection(asyncio.BufferedProtocol):
    """A connection and, while one is under way, its exchange.

    Reading is paused while more than `HOLD_BYTES` wait for the reader. `buffer` is shared by all
    connections of a loop: what is read is parsed before anybody else can read.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, buffer: bytearray, on_idle_end: Callable[["Connection"], None]
    ) -> None:
        self._loop = loop
        self._buffer = memoryview(buffer)
        self._on_idle_end = on_idle_end
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self.closed = False
        self._poll: select.poll | None = None
        self.due = NEVER
        self.write_paused: asyncio.Future[None] | None = None

    def expire(self, now: float) -> None:
        """The wheel's call: a deadline of the exchange, or the end of idleness."""
        if self.exchange is not None:
            self.exchange.expire(now)
        else:
            self.due = NEVER
            self.abort()
            self._on_idle_end(self)

    # --- what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - our own size bounds what is held
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.exchange is None:
            # Nobody asked: whatever this is, it must not become the next answer.
            self.abort()
            self._on_idle_end(self)
            return
        self.exchange.feed(self._buffer[:nbytes])

    def eof_received(self) -> bool:
        if self.exchange is not None:
            self.exchange.ended(cleanly=True)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.due = NEVER
        if self.write_paused is not None and not self.write_paused.done():
            self.write_paused.set_result(None)
        if self.exchange is not None:
            self.exchange.ended(cleanly=exc is None)
        else:
            self._on_idle_end(self)

    def pause_writing(self) -> None:
        self.write_paused = self._loop.create_future()

    def resume_writing(self) -> None:
        if self.write_paused is not None and not self.write_paused.done():
            self.write_paused.set_result(None)
        self.write_paused = None

    # --- what the pool and the exchange call

    def is_quiet(self) -> bool:
        """Ask the kernel whether there are bytes or an end that the loop has not seen yet: such bytes would
        become the answer to somebody else's request.
        """
        return not self.closed and self._poll is not None and not self._poll.poll(0)

    def now(self) -> float:
        return self._loop.time()

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    async def send(self, data: bytes) -> None:
        """Write, waiting while the upstream takes it more slowly than we give it."""
        if self.closed or self.transport is None:
            return
        self.transport.write(data)
        if self.write_paused is not None:
            await self.write_paused

    def abort(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.abort()


class Exchange:
    """One request's answer on one connection. Keeps the contract of `dragoman.legs.Exchange`."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_fault",
        "_framed",
        "_head_bytes",
        "_held",
        "_idle_s",
        "_loop",
        "_parser",
        "_paused",
        "_phase_due",
        "_pieces",
        "_quiet",
        "_quiet_s",
        "_release",
        "_seen_bytes",
        "_sink",
        "_total_due",
        "_waiter",
        "answered",
        "complete",
        "headers",
        "reusable",
        "status",
    )

    def __init__(
        self, connection: Connection, patience: Patience, release: Callable[["Exchange", Connection], None]
    ) -> None:
        loop = connection._loop  # noqa: SLF001 - the two are one thing in two halves
        self._loop = loop
        self._connection = connection
        self._release = release
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._held = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._fault: Fault | None = None
        self._framed = False
        self._chunked = False
        self._seen_bytes = 0
        self._head_bytes = 0
        self._quiet = False
        self._sink: Sink | None = None
        self._idle_s = patience.idle_s
        self._quiet_s = patience.quiet_s
        now = loop.time()
        self._total_due = now + patience.total_s
        self._phase_due = now + patience.first_byte_s
        connection.due = min(self._phase_due, self._total_due)
        self.status = 0
        self.headers: Headers = []
        self.answered = False
        self.complete = False
        self.reusable = False
        connection.exchange = self

    # --- what the connection calls

    def feed(self, data: memoryview) -> None:
        if self.complete:
            self.reusable = False
            return
        if not self.answered:
            self._seen_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(Broken("The provider tried to switch protocols."))
        except httptools.HttpParserError as error:
            self._unreadable(str(error))
        if self._head_bytes > HEAD_LIMIT or (not self.answered and self._seen_bytes > HEAD_LIMIT):
            self._fail(Broken("The provider's answer has a head that is too large."))
        self.reusable = self.reusable and self._ends_with_message(data)
        now = self._loop.time()
        self._phase_due = now + self._idle_s
        self._connection.due = min(now + self._quiet_s, self._phase_due, self._total_due)
        if self._sink is not None and self._pieces:
            if self._sink(self._taken()):
                if not self.complete and self._fault is None:
                    return
            else:
                self._sink = None
                self._quiet = True
        self._wake()

    def _unreadable(self, detail: str) -> None:
        """What comes after a good answer only costs the connection."""
        if self.complete:
            self.reusable = False
        elif self._fault is None:
            self._fail(Broken("The provider's answer is not valid HTTP.", detail=detail))

    def _ends_with_message(self, data: memoryview) -> bool:
        """Whether the read that ended the message brought nothing after it: who sends more is out of step."""
        if self._chunked or not self._pieces:
            return bytes(data[-6:]) != b"\r\n\r\n\r\n"[-6:] and bytes(data[-1:]) == b"\n"
        last = self._pieces[-1]
        return bytes(data[-len(last) :]) == last

    def ended(self, *, cleanly: bool) -> None:
        """The connection is over. What that means depends on how the message was framed."""
        self.reusable = False
        if self.complete or self._fault:
            return
        if self.answered and not self._framed and cleanly:
            self.complete = True
        elif self.answered:
            self._fault = Truncated()
        else:
            self._fault = ConnectFailed("The provider closed the connection without answering.")
        self._wake()

    def expire(self, now: float) -> None:
        """A deadline passed. It only counts while somebody waits: a slow caller is not the provider's fault."""
        if self.complete or self._fault:
            self._connection.due = now + self._idle_s
        elif now >= self._total_due:
            self._fail(Silent("The provider took longer than this gateway allows for a whole answer."))
        elif self.answered and self._waiter is None:
            self._phase_due = now + self._idle_s
            self._connection.due = min(self._phase_due, self._total_due)
        elif now >= self._phase_due:
            late = "stopped in the middle of its answer" if self.answered else "did not answer in time"
            self._fail(Silent(f"The provider {late}."))
        else:
            self._quiet = True
            self._connection.due = min(now + self._quiet_s, self._phase_due, self._total_due)
            self._wake()

    # --- what the parser calls

    def on_message_begin(self) -> None:
        if self.complete:
            raise httptools.HttpParserError("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= HEADERS_LIMIT:
            raise httptools.HttpParserError("too many headers")
        self._head_bytes += len(name) + len(value)
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = []
            return
        names = dict(self.headers)
        self.status = status
        self.answered = True
        if status >= 400 and b"date" not in names:
            # A Retry-After may be a date, which counts from the answer's own.
            self.headers.append((b"date", formatdate(usegmt=True).encode()))
        self._chunked = b"chunked" in names.get(b"transfer-encoding", b"").lower()
        self._framed = self._chunked or b"content-length" in names
        if names.get(b"content-encoding", b"identity").strip().lower() not in (b"identity", b""):
            self._fail(Broken("The provider compressed its answer though it was asked not to."))

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._held += len(body)
        if self._held > HOLD_BYTES and not self._paused and self._connection.transport:
            self._paused = True
            self._connection.transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self.complete = True
            self.reusable = self._parser.should_keep_alive()

    # --- what the reader calls

    async def head(self) -> None:
        """Wait for the answer's head. Raises ConnectFailed, Silent, Broken."""
        while not self.answered and not self._fault:
            self._quiet = False
            await self._wait()
        if self._fault:
            raise self._fault

    async def read(self) -> bytes | None:
        while True:
            if self._quiet:
                self._quiet = False
                return None
            if self._pieces:
                data = self._taken()
                if self._paused:
                    self._resume()
                return data
            if self.complete:
                return b""
            if self._fault:
                raise self._fault
            await self._wait()

    def divert(self, sink: Sink | None) -> None:
        self._sink = sink

    def _taken(self) -> bytes:
        pieces = self._pieces
        self._pieces = []
        self._held = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def close(self) -> None:
        connection = self._connection
        if connection.exchange is not self:
            return
        connection.exchange = None
        # The parser holds our methods: without this each exchange would be a cycle for the collector.
        del self._parser
        self._release(self, connection)

    # --- our own

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, fault: Fault) -> None:
        self._fault = self._fault or fault
        self._connection.abort()
        self._wake()

    def _resume(self) -> None:
        self._paused = False
        if self._connection.transport and not self._connection.closed:
            self._connection.transport.resume_reading()
        # The silence was ours.
        self._phase_due = self._loop.time() + self._idle_s


def trust(ca_file: str) -> ssl.SSLContext:
    """Make a TLS context that always verifies; TLS 1.2 at least."""
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
