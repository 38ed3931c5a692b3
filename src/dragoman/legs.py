"""The contracts of bytes: what `net/` gives and takes. Nothing here knows chat.

A leg is the way back to a caller, an exchange is one request to an upstream and its answer.
"""

from collections.abc import AsyncIterator, Callable
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

Headers = list[tuple[bytes, bytes]]


class Head(msgspec.Struct):
    """What is known of a request before its body. Header names are lower case; `id` is ours,
    `at` is Unix seconds.
    """

    method: str
    path: str
    query: bytes
    headers: Headers
    id: str = ""
    at: int = 0

    def get(self, name: bytes) -> bytes | None:
        """Return the value of a header, the first if there are several. O(headers)."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


class Origin(msgspec.Struct, frozen=True):
    """Where an upstream listens: `scheme` http, https, or unix with the socket's path as `host`.

    Only configuration makes these, never a request. `proxy` may hold a password: repr leaves it out.
    """

    scheme: str
    host: str
    port: int
    proxy: str = ""
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}" + (" (by proxy)" if self.proxy else "")


def origin_of(url: str, proxy: str = "", ca_file: str = "") -> tuple[Origin, str]:
    """Split a base URL into origin and path prefix. Raises ValueError that says what is wrong with it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url.rpartition('@')[2]!r} is not an http:// or https:// address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a base URL has no user, password, query or fragment")
    if proxy and (urlsplit(proxy).scheme != "http" or not urlsplit(proxy).hostname):
        raise ValueError("a proxy is http://[user:password@]host:port")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Origin(parts.scheme, parts.hostname, port, proxy, ca_file), parts.path.rstrip("/")


class Child(msgspec.Struct, frozen=True):
    """A process that serves HTTP on a Unix socket: its command, and the socket that it gets as last argument."""

    command: tuple[str, ...]
    socket: str


class Reply(msgspec.Struct):
    """A whole answer to a caller. For gRPC `status` is its code, and `headers` its trailing metadata."""

    status: int
    headers: Headers
    body: bytes


class Patience(msgspec.Struct, frozen=True):
    """How long to wait for an upstream, in seconds: each phase and all together."""

    connect_s: float = 5.0
    first_byte_s: float = 300.0
    idle_s: float = 120.0
    total_s: float = 1800.0
    quiet_s: float = 15.0


class Step(msgspec.Struct, frozen=True):
    """One step of a scripted answer: wait, then deliver bytes. `cut` ends it as a broken connection."""

    wait_s: float = 0.0
    data: bytes = b""
    cut: bool = False


class Script(msgspec.Struct, frozen=True):
    """An answer that needs no network: the `echo` provider's."""

    status: int
    headers: Headers
    steps: tuple[Step, ...]


class Outbound(msgspec.Struct):
    """A request ready to send. `body` is whole, or an iterator of pieces with `length` bytes in all
    (None: unknown). A `script` replaces the network.
    """

    origin: Origin
    method: str
    path: str
    headers: Headers
    body: bytes | AsyncIterator[bytes] = b""
    length: int | None = None
    script: Script | None = None


Sink = Callable[[bytes], bool]


class Exchange(Protocol):
    """One answer of an upstream, as it arrives.

    Raises from `read`: Truncated (the connection ended inside the message), Silent (a deadline
    passed), Broken (not HTTP).
    """

    status: int
    headers: Headers

    async def read(self) -> bytes | None:
        """Return what has arrived, b"" at the proven end of the message, None when `quiet_s` passed
        without a byte (the exchange goes on).
        """

    def divert(self, sink: "Sink | None") -> None:
        """Hand each read to `sink` as it arrives, in the loop's own callback, instead of waking a reader.

        A sink that returns False ends that: `read` returns None and the reader goes on. None ends it too.
        The end of the message, faults and silence always come through `read`.
        """

    def close(self) -> None:
        """Give the connection back if its message ended, else cut it. Safe to call twice."""


ERROR_BODY_BYTES = 64 * 1024


async def read_all(exchange: Exchange, limit_bytes: int = ERROR_BODY_BYTES) -> bytes:
    """Read an answer up to a limit; what is beyond it is left."""
    pieces: list[bytes] = []
    size = 0
    while size < limit_bytes:
        data = await exchange.read()
        if data is None:
            continue
        if not data:
            break
        pieces.append(data)
        size += len(data)
    return b"".join(pieces)[:limit_bytes]


class Upstream(Protocol):
    async def call(self, outbound: Outbound, patience: Patience) -> Exchange:
        """Send a request and wait for the head of its answer.

        Raises:
            ConnectFailed: no connection (DNS, TCP, TLS, proxy).
            Silent: no answer within `first_byte_s`.
            Broken: an answer that is not HTTP.
            Overloaded: no connection left in the pool.

        """


class Leg(Protocol):
    """The way back to one caller for one request.

    `gone`: the caller left. `stopped`: the caller asked for this answer to be stopped, and still listens.
    """

    head: Head
    opened: bool
    gone: bool
    stopped: bool

    @property
    def length(self) -> int | None:
        """The announced length of the request's body."""

    @property
    def late(self) -> str:
        """Which deadline this caller missed: "body", "write" or none."""

    async def body(self, limit_bytes: int) -> bytes:
        """Read the whole request body. Raises TooLarge, TooSlow."""

    def stream(self, limit_bytes: int) -> AsyncIterator[bytes]:
        """Read the request body piece by piece. Raises TooLarge, TooSlow."""

    async def open(self, status: int, headers: Headers, length: int | None) -> None:
        """Send the head of the answer; `length` None means a stream."""

    async def write(self, pieces: list[bytes]) -> None:
        """Send pieces; waits while the caller reads slower than we write."""

    def push(self, pieces: list[bytes]) -> bool:
        """Send pieces at once, without waiting. Returns whether there is room for more; if there is not,
        the next `write` waits for it.
        """

    async def finish(self, pieces: list[bytes], reply: Reply | None = None) -> None:
        """Send the last pieces and end the answer as complete; `reply` as for `cut`, where the pieces say in band
        that it failed.
        """

    def cut(self, reply: Reply) -> None:
        """End the answer so that the caller can see that it is not complete. `reply` is how the dialect would
        have refused: a wire with a status at the end can still say that.
        """

    def name(self, label: str) -> bool:
        """Let this answer be stopped by that label. Returns False where another answer under way on the same
        connection has it.
        """

    def stop(self, label: str) -> bool:
        """Stop the answer of that label on the same connection. Returns whether there is one."""

    def on_gone(self, callback: Callable[[], object]) -> None:
        """Call back once when the caller's connection is lost, or this answer is stopped, before it is finished."""
