"""The listener: one raw ASGI callable, dispatch by (method, path), the leg back to each caller.

What happens with a request is somebody else's: an entry is an opaque coroutine function that takes a leg.
The raw path is what is matched and what is authorised; nothing is decoded, joined or normalised.
"""

import asyncio
import contextlib
import itertools
import logging
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import msgspec
import uvicorn

from dragoman.faults import TooLarge, TooSlow
from dragoman.legs import Head, Headers, Leg, Reply
from dragoman.net.deadlines import Wheel
from dragoman.net.http1 import CallerConnection, Timing, bind

THROWN_BYTES = 64 * 1024
Entry = Callable[[Leg], Awaitable[None]]


class HttpLeg:
    """The way back to one caller for one request. Keeps `dragoman.legs.Leg`."""

    __slots__ = ("_connection", "_cycle", "_front", "_lingers", "_receive", "gone", "head", "opened")
    # A connection carries one answer at a time: there is nothing else on it that could be named and stopped.
    stopped = False

    def __init__(self, head: Head, scope: Any, receive: Any) -> None:
        self.head = head
        self._connection: CallerConnection = scope["dragoman"]
        # uvicorn's state of this request: kept by its own method only, since in the scope it would be a cycle.
        self._cycle = receive.__self__
        self._lingers = False
        self._receive = receive
        self._front = b""
        self.opened = False
        self.gone = False

    @property
    def length(self) -> int | None:
        """The announced length of the body."""
        value = self.head.get(b"content-length")
        return int(value) if value and value.isdigit() else None

    async def body(self, limit_bytes: int) -> bytes:
        if self._cycle.more_body and (self.length or 0) > limit_bytes:
            raise TooLarge(f"The body is larger than {limit_bytes} bytes.")
        message = await self._receive()
        if not message.get("more_body"):
            return self._checked(message, limit_bytes)
        pieces = [self._checked(message, limit_bytes)]
        size = len(pieces[0])
        while message["more_body"]:
            message = await self._receive()
            pieces.append(self._checked(message, limit_bytes))
            size += len(pieces[-1])
            if size > limit_bytes:
                raise TooLarge(f"The body is larger than {limit_bytes} bytes.")
        return b"".join(pieces)

    async def stream(self, limit_bytes: int) -> AsyncIterator[bytes]:
        if (self.length or 0) > limit_bytes:
            raise TooLarge(f"The body is larger than {limit_bytes} bytes.")
        size = 0
        more = True
        while more:
            message = await self._receive()
            piece = self._checked(message, limit_bytes)
            more = message["more_body"]
            size += len(piece)
            if size > limit_bytes:
                raise TooLarge(f"The body is larger than {limit_bytes} bytes.")
            yield piece

    def _checked(self, message: dict[str, Any], limit_bytes: int) -> bytes:
        if message["type"] == "http.disconnect":
            self.gone = True
            raise asyncio.CancelledError
        if self._connection.late == "body" and message["more_body"]:
            raise TooSlow("The body did not arrive in time.")
        body: bytes = message["body"]
        if len(body) > limit_bytes:
            raise TooLarge(f"The body is larger than {limit_bytes} bytes.")
        return body

    async def open(self, status: int, headers: Headers, length: int | None) -> None:
        """Prepare the head: it goes out with the first piece, in one write."""
        self.opened = True
        if self._cycle.more_body and not self._is_soon_read():
            # What is left of the body will not be read: it must not be taken for the next request.
            self._lingers = True
            self._cycle.keep_alive = False
        named = [*headers, (b"x-request-id", self.head.id.encode())]
        self._front = self._connection.begin(self._cycle, status, named, length)

    def _is_soon_read(self) -> bool:
        """Whether the rest of the body is on its way and small enough to be read and thrown away."""
        return not self._cycle.waiting_for_100_continue and (self.length or THROWN_BYTES + 1) <= THROWN_BYTES

    async def write(self, pieces: list[bytes]) -> None:
        self.push(pieces)
        if self._connection.flow.write_paused and not self._cycle.disconnected:
            await self._connection.flow.drain()

    def push(self, pieces: list[bytes]) -> bool:
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        front, self._front = self._front, b""
        return self._connection.push(self._cycle, front, data)

    async def finish(self, pieces: list[bytes], reply: Reply | None = None) -> None:  # noqa: ARG002 - as for `cut`
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        front, self._front = self._front, b""
        self._connection.end(self._cycle, front, data, lingers=self._lingers)

    def cut(self, reply: Reply) -> None:  # noqa: ARG002 - HTTP has said its status already
        if not self.gone:
            self._connection.cut()

    def name(self, label: str) -> bool:  # noqa: ARG002 - see `stopped`
        return True

    def stop(self, label: str) -> bool:  # noqa: ARG002 - see `stopped`
        return False

    @property
    def late(self) -> str:
        return self._connection.late

    def on_gone(self, callback: Callable[[], object]) -> None:
        connection = self._connection

        def gone() -> None:
            self.gone = True
            callback()

        if self._cycle.disconnected:
            gone()
        else:
            connection.callback = gone


class Tls(msgspec.Struct, frozen=True):
    """Files of a certificate chain and its key (PEM); empty: no TLS."""

    cert: str = ""
    key: str = ""


class Row(msgspec.Struct, frozen=True):
    """A mounted entry, and who says which methods there are when the path is right and the method is not.
    `parallel`: how many messages of one connection it answers at once; `urgent` ones wait for none.
    `channel`: they carry the name of their connection.
    """

    method: str
    path: str
    when: Callable[[Head], bool] | None
    entry: Entry
    wrong_method: Callable[[str, Leg], Awaitable[None]] | None = None
    parallel: int = 1
    urgent: Callable[[bytes], bool] | None = None
    channel: bool = False


class Table:
    """Who serves which path: exact ones in a dictionary, `…*` ones by prefix. The raw path decides."""

    def __init__(self) -> None:
        self._exact: dict[str, list[Row]] = {}
        self._prefixes: list[Row] = []

    def add(self, row: Row) -> None:
        """Mount an entry. Raises ValueError if two without `when` want the same."""
        if row.path.endswith("*"):
            row = msgspec.structs.replace(row, path=row.path.removesuffix("*"))
            rows = self._prefixes
        else:
            rows = self._exact.setdefault(row.path, [])
        if row.when is None and any((r.method, r.path, r.when) == (row.method, row.path, None) for r in rows):
            raise ValueError(f"two dialects want {row.method} {row.path}")
        rows.append(row)
        rows.sort(key=lambda r: (-len(r.path), r.when is None))

    def find(self, head: Head) -> Entry:
        """Return who serves this request; the last rows take every path."""
        others: list[Row] = []
        for row in self._fitting(head):
            if row.method == head.method:
                return row.entry
            if row.method == "*":
                return _wrong_method(others) if others else row.entry
            others.append(row)
        raise LookupError(head.path)

    def row(self, head: Head) -> Row:
        """Return the row for a message. Raises LookupError where nobody takes messages."""
        for row in self._fitting(head):
            if row.method == head.method:
                return row
        raise LookupError(head.path)

    def _fitting(self, head: Head) -> Iterator[Row]:
        for row in self._exact.get(head.path, ()):
            if row.when is None or row.when(head):
                yield row
        for row in self._prefixes:
            if head.path.startswith(row.path) and (row.when is None or row.when(head)):
                yield row


def _wrong_method(rows: list[Row]) -> Entry:
    """Let a row say which methods its path takes; whoever answers preflights has the least to say."""
    methods = sorted({row.method for row in rows})
    row = min(rows, key=lambda row: row.method == "OPTIONS")
    if row.wrong_method is None:
        return row.entry
    return partial(row.wrong_method, ", ".join(methods))


class Listener:
    """Serves a table over HTTP until told to stop; then drains. A port in `others` has a table of its own."""

    def __init__(self, table: Table, timing: Timing, others: dict[int, Table] | None = None) -> None:
        self._table = table
        self._others = others or {}
        self._timing = timing
        # It names calls in the request log for good: no other process may ever have it.
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - legs write themselves
        if scope["type"] != "http":
            return
        head = Head(
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            scope["query_string"],
            scope["headers"],
            f"{self._prefix}-{next(self._numbers):x}",
            int(time.time()),
        )
        table = self._others.get(scope["server"][1], self._table) if self._others else self._table
        await table.find(head)(HttpLeg(head, scope, receive))

    def server(
        self, wheel: Wheel, drain: Callable[[], Awaitable[None]], upgrade: Callable[..., asyncio.Protocol], tls: Tls
    ) -> "DrainingServer":
        """Make the server. `upgrade` takes over connections that ask for WebSocket."""
        config = uvicorn.Config(
            self,
            http=bind(self._timing, wheel),
            ws=upgrade,  # type: ignore[arg-type]
            ssl_certfile=tls.cert or None,
            ssl_keyfile=tls.key or None,
            lifespan="off",
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=86_400,
            timeout_graceful_shutdown=5,
            backlog=4096,
        )
        return DrainingServer(config, drain)


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which on a signal stops accepting and lets the gateway drain before it goes."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain
        self.takes_signals = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take Ctrl-C and SIGTERM, unless whoever runs us keeps them. A drained process has ended well: unlike
        uvicorn we do not die of the signal afterwards.
        """
        loop = asyncio.get_running_loop()
        taken = (signal.SIGINT, signal.SIGTERM) if self.takes_signals else ()
        for number in taken:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: Any = None) -> None:
        for server in self.servers:
            server.close()
        for each in sockets or ():
            each.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        forced = asyncio.ensure_future(self._forced())
        drained = asyncio.ensure_future(self._drain())
        await asyncio.wait({forced, drained}, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (forced, drained):
            waiting.cancel()
        await super().shutdown(sockets=None)

    async def _forced(self) -> None:
        """A second signal does not wait."""
        while not self.force_exit:  # noqa: ASYNC110 - uvicorn's signal handler sets a flag, not an event
            await asyncio.sleep(0.05)


async def reply(leg: Leg, status: int, headers: Headers, body: bytes) -> None:
    """Send a whole answer."""
    await leg.open(status, headers, len(body))
    await leg.finish([body])


def quiet_uvicorn() -> None:
    """Uvicorn's own lines (tracebacks of the application among them) are not for callers or operators."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
        logging.getLogger(name).propagate = False
