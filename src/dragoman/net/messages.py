"""Connections on which every message is a request: WebSocket, and gRPC's streams.

A message becomes a `MessageLeg`, which is handed to the entry that its path found; its pieces go out as messages.
A connection answers so many at once; further ones wait in order, and while many wait no more are taken.
"""

import asyncio
import itertools
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import msgspec

from dragoman.faults import TooLarge
from dragoman.legs import Head, Headers, Leg, Reply

# So many messages of one connection wait for their turn, or so many bytes and the message that exceeds them.
WAITING = 64
WAITING_BYTES = 1024 * 1024
OK = (0, 200)


class Found(Protocol):
    """Who serves a path, and how many messages of one connection at once."""

    @property
    def entry(self) -> Callable[[Leg], Awaitable[None]]: ...

    @property
    def parallel(self) -> int: ...

    @property
    def channel(self) -> bool:
        """Whether messages carry the name of their connection, in a header `:channel`."""

    @property
    def urgent(self) -> Callable[[bytes], bool] | None:
        """Says of a message that it does not wait for others."""


class Outlet(Protocol):
    """The sending half of a connection."""

    late: str

    def send(self, pieces: list[bytes]) -> bool:
        """Send each piece that is not empty as a message, at once. Returns whether there is room for more."""

    async def room(self) -> None:
        """Wait until there is room; returns as well when the connection is lost."""

    def pause(self, paused: bool) -> None:  # noqa: FBT001 - its one argument
        """Take no more messages, or go on."""

    def failed(self) -> None:
        """An answer ended with an error as its status: end the connection with it, where there is such a thing."""

    def answered(self, last: bool) -> None:  # noqa: FBT001 - its one argument
        """A message has been answered; `last`: no other is under way or waits."""


class Numbers:
    """Ids for messages, unique in this process and unlikely anywhere else."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6)
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        return f"{self._prefix}-m{next(self._numbers):x}"


class Messages:
    """The messages of one connection: those under way, and those that wait."""

    def __init__(self, head: Head, found: Found, outlet: Outlet, number: Callable[[], str]) -> None:
        self._head = head
        self._found = found
        self._number = number
        self._waiting: deque[tuple[bytes, Headers]] = deque()
        self._waiting_bytes = 0
        self._is_full = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self.outlet = outlet
        self.live: set[MessageLeg] = set()
        self.is_lost = False
        # The status and the trailing metadata that the last answer ended with.
        self.last = Reply(0, [], b"")

    def accept(self, data: bytes, headers: Headers) -> None:
        """Take a message; `headers` are its own, beside those of the connection."""
        if self.is_lost:
            return
        if self._has_room() or self._is_urgent(data):
            self._start(data, headers)
            return
        self._waiting.append((data, headers))
        self._waiting_bytes += len(data)
        self._regulate()

    def _has_room(self) -> bool:
        return len(self.live) < self._found.parallel

    def _is_urgent(self, data: bytes) -> bool:
        """Too many at once are not: their answers, unread, would pile up as any others."""
        found = self._found
        return found.urgent is not None and len(self.live) < found.parallel + WAITING and found.urgent(data)

    def _start(self, data: bytes, headers: Headers) -> None:
        base = self._head
        head = msgspec.structs.replace(base, headers=[*headers, *base.headers], id=self._number(), at=int(time.time()))
        leg = MessageLeg(self, head, data)
        self.live.add(leg)
        task = self._loop.create_task(self._answer(leg))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, leg: "MessageLeg") -> None:
        try:
            await self._found.entry(leg)
            # Who asks and does not read gets no further answers: they would pile up here.
            await self.outlet.room()
        finally:
            self.live.discard(leg)
            if self._waiting and self._has_room():
                data, headers = self._waiting.popleft()
                self._waiting_bytes -= len(data)
                self._start(data, headers)
                self._regulate()
            self.outlet.answered(not self.live)

    def _regulate(self) -> None:
        is_full = len(self._waiting) >= WAITING or self._waiting_bytes >= WAITING_BYTES
        if is_full != self._is_full:
            self._is_full = is_full
            self.outlet.pause(is_full)

    def end(self, reply: Reply) -> None:
        """Remember how the last answer ended."""
        self.last = reply
        if reply.status and not self.is_lost:
            self.outlet.failed()

    def lost(self) -> None:
        """The connection is gone: so are the callers of all its messages."""
        self.is_lost = True
        self._waiting.clear()
        for leg in list(self.live):
            leg.lost()


class MessageLeg:
    """The way back for one message. Keeps `dragoman.legs.Leg`."""

    __slots__ = ("_callback", "_data", "_label", "_messages", "_reply", "gone", "head", "length", "opened", "stopped")

    def __init__(self, messages: Messages, head: Head, data: bytes) -> None:
        self._messages = messages
        self._data = data
        self._label = ""
        self._callback: Callable[[], object] | None = None
        self._reply = Reply(0, [], b"")
        self.head = head
        self.length: int | None = len(data)
        self.opened = False
        self.gone = False
        self.stopped = False

    @property
    def late(self) -> str:
        return self._messages.outlet.late

    async def body(self, limit_bytes: int) -> bytes:
        data, self._data = self._data, b""
        if len(data) > limit_bytes:
            raise TooLarge(f"The message is larger than {limit_bytes} bytes.")
        return data

    async def stream(self, limit_bytes: int) -> AsyncIterator[bytes]:
        yield await self.body(limit_bytes)

    async def open(self, status: int, headers: Headers, length: int | None) -> None:  # noqa: ARG002 - messages have their own
        self.opened = True
        self._reply = Reply(status, headers, b"")

    def push(self, pieces: list[bytes]) -> bool:
        return self.gone or self._messages.outlet.send(pieces)

    async def write(self, pieces: list[bytes]) -> None:
        if not self.push(pieces):
            await self._messages.outlet.room()

    async def finish(self, pieces: list[bytes], reply: Reply | None = None) -> None:
        self.push(pieces)
        self.cut(reply or self._reply)

    def cut(self, reply: Reply) -> None:
        self._callback = None
        self._label = ""
        headers = [*reply.headers, (b"x-request-id", self.head.id.encode())]
        self._messages.end(Reply(0 if reply.status in OK else reply.status, headers, b""))

    def name(self, label: str) -> bool:
        if self._named(label) not in (None, self):
            return False
        self._label = label
        return True

    def stop(self, label: str) -> bool:
        leg = self._named(label)
        if leg is None or leg is self:
            return False
        leg.stopped = True
        leg.call()
        return True

    def _named(self, label: str) -> "MessageLeg | None":
        return next((leg for leg in self._messages.live if label and leg._label == label), None)  # noqa: SLF001 - its own kind

    def on_gone(self, callback: Callable[[], object]) -> None:
        self._callback = callback
        if self.gone or self.stopped:
            self.call()

    def lost(self) -> None:
        self.gone = True
        self.call()

    def call(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()
