"""Our HTTP/1.1 client: pools of connections by origin, TLS, proxies. Keeps `dragoman.legs.Upstream`.

No redirects, no compression, no cookies. A request goes out once: only when not one of its bytes can have
been seen (a pooled connection found dead before it was written to) is another connection tried.
"""

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from urllib.parse import unquote, urlsplit

import msgspec

from dragoman.faults import Broken, ConnectFailed, Overloaded
from dragoman.legs import Exchange as AnyExchange
from dragoman.legs import Headers, Origin, Outbound, Patience
from dragoman.net.connection import READ_BYTES, Connection, Exchange, trust
from dragoman.net.deadlines import Wheel
from dragoman.net.scripted import ScriptedExchange

CHILD_POLL_S = 0.02
NEVER_IDLE_S = 60.0
WHOLE_BYTES = 64 * 1024


class Bounds(msgspec.Struct, frozen=True):
    """What one origin may have: connections in all, idle ones, and seconds of idleness."""

    connections: int = 1000
    idle: int = 64
    idle_s: float = 55.0


class Pool:
    """The connections to one origin; the most recently used is taken first."""

    __slots__ = ("_keep", "_keep_s", "front", "idle", "in_use", "target")

    def __init__(self, origin: Origin, agent: bytes, bounds: Bounds) -> None:
        self.idle: list[Connection] = []
        self.in_use = 0
        self._keep = bounds.idle
        self._keep_s = bounds.idle_s
        default = {"http": 80, "https": 443}.get(origin.scheme, 0)
        site = "localhost" if origin.scheme == "unix" else origin.host
        host = f"[{site}]" if ":" in site else site
        if origin.port != default:
            host = f"{host}:{origin.port}"
        # What stands in every head to this origin: the target's beginning, and the first lines.
        self.target = b""
        lines = [b"host: %b\r\nuser-agent: %b\r\naccept-encoding: identity\r\n" % (host.encode(), agent)]
        if origin.proxy and origin.scheme == "http":
            self.target = b"http://" + host.encode()
            lines += [b"%b: %b\r\n" % pair for pair in _proxy_credentials(origin.proxy)]
        self.front = b"".join(lines)

    def release(self, exchange: Exchange, connection: Connection) -> None:
        """Take a connection back, if its message ended and there is room."""
        self.in_use -= 1
        if exchange.reusable and not connection.closed and len(self.idle) < self._keep:
            connection.due = connection.now() + self._keep_s
            self.idle.append(connection)
        else:
            connection.abort()

    def forget(self, connection: Connection) -> None:
        with contextlib.suppress(ValueError):
            self.idle.remove(connection)


class Upstreams:
    """All upstream connections of one process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wheel: Wheel, bounds: Bounds, agent: bytes) -> None:
        self._loop = loop
        self._wheel = wheel
        self._bounds = bounds
        self._agent = agent
        self._buffer = bytearray(READ_BYTES)
        self._pools: dict[Origin, Pool] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def call(self, outbound: Outbound, patience: Patience) -> AnyExchange:
        if outbound.script:
            return ScriptedExchange(outbound.script, self._loop)
        connection, pool = await self._connect(outbound.origin, patience)

        exchange = Exchange(connection, patience, pool.release)
        handed_over = False
        try:
            await _send(connection, exchange, outbound, pool)
            await exchange.head()
            handed_over = True
        finally:
            # Also when the caller leaves in the very moment in which the answer's head comes.
            if not handed_over:
                exchange.close()
        return exchange

    def close(self) -> None:
        for pool in self._pools.values():
            for connection in pool.idle:
                connection.abort()
            pool.idle.clear()

    # --- connections

    async def _connect(self, origin: Origin, patience: Patience) -> tuple[Connection, Pool]:
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(origin, self._agent, self._bounds)
        while pool.idle:
            connection = pool.idle.pop()
            if connection.is_quiet():
                pool.in_use += 1
                return connection, pool
            connection.abort()
        if pool.in_use >= self._bounds.connections:
            raise Overloaded("Too many requests to this provider are under way.", retry_after_s=1)
        pool.in_use += 1
        opened: Connection | None = None
        try:
            async with asyncio.timeout(patience.connect_s):
                opened = await self._open(origin, pool)
        except TimeoutError:
            raise ConnectFailed("The provider could not be reached in time.") from None
        except ssl.SSLError as error:
            raise ConnectFailed("The provider's TLS is not to be trusted.", detail=_reason(error)) from None
        except OSError as error:
            raise ConnectFailed("The provider could not be reached.", detail=_reason(error)) from None
        finally:
            if opened is None:
                pool.in_use -= 1
        opened.due = self._loop.time() + NEVER_IDLE_S
        self._wheel.watch(opened)
        return opened, pool

    async def _open(self, origin: Origin, pool: Pool) -> Connection:
        def make() -> Connection:
            return Connection(self._loop, self._buffer, pool.forget)

        if origin.scheme == "unix":
            return await self._open_child(origin.host, make)
        context = self._context(origin.ca_file) if origin.scheme == "https" else None
        if not origin.proxy:
            _, connection = await self._loop.create_connection(
                make, origin.host, origin.port, ssl=context, server_hostname=origin.host if context else None
            )
        else:
            proxy = urlsplit(origin.proxy)
            at = (proxy.hostname or "", proxy.port or 3128)
            if context is None:
                _, connection = await self._loop.create_connection(make, *at)
            else:
                connection = await self._tunnel(at, origin, context, make)
        _no_delay(connection)
        return connection

    async def _open_child(self, path: str, make: Callable[[], Connection]) -> Connection:
        """A child of ours that is still loading, or starting again, is waited for until the deadline."""
        while True:
            try:
                _, connection = await self._loop.create_unix_connection(make, path)
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(CHILD_POLL_S)
            else:
                return connection

    async def _tunnel(
        self, at: tuple[str, int], origin: Origin, context: ssl.SSLContext, make: Callable[[], Connection]
    ) -> Connection:
        transport, tunnel = await self._loop.create_connection(lambda: _Tunnel(self._loop), *at)
        connection = None
        try:
            host = f"[{origin.host}]" if ":" in origin.host else origin.host
            lines = [b"CONNECT %b:%d HTTP/1.1\r\nhost: %b:%d\r\n" % ((host.encode(), origin.port) * 2)]
            lines += [b"%b: %b\r\n" % pair for pair in _proxy_credentials(origin.proxy)]
            transport.write(b"".join(lines) + b"\r\n")
            await tunnel.established
            made = make()
            secured = await self._loop.start_tls(transport, made, context, server_hostname=origin.host)
            if secured is not None:
                made.connection_made(secured)
                connection = made
        finally:
            if connection is None:
                transport.abort()
        return made

    def _context(self, ca_file: str) -> ssl.SSLContext:
        if ca_file not in self._contexts:
            try:
                self._contexts[ca_file] = trust(ca_file)
            except OSError as error:
                raise ConnectFailed("The provider's ca_file cannot be read.", detail=str(error)) from None
        return self._contexts[ca_file]


async def _send(connection: Connection, exchange: Exchange, outbound: Outbound, pool: Pool) -> None:
    head = _head(outbound, pool)
    body = outbound.body
    if not isinstance(body, bytes):
        await connection.send(head)
        await _stream(connection, exchange, body, chunked=outbound.length is None)
    elif len(body) < WHOLE_BYTES:
        connection.write(head + body)
    else:
        connection.write(head)
        connection.write(body)


def _head(outbound: Outbound, pool: Pool) -> bytes:
    lines = [pool.front]
    for name, value in outbound.headers:
        if b"\n" in value or b"\r" in value:
            raise Broken("A header for the provider holds a line break.")
        lines.append(b"%b: %b\r\n" % (name, value))
    if outbound.length is None:
        lines.append(b"transfer-encoding: chunked\r\n")
    elif outbound.length or outbound.method != "GET":
        lines.append(b"content-length: %d\r\n" % outbound.length)
    path = pool.target + outbound.path.encode()
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (outbound.method.encode(), path, b"".join(lines))


async def _stream(connection: Connection, exchange: Exchange, body: AsyncIterator[bytes], *, chunked: bool) -> None:
    """Pass a caller's body on, piece by piece; stop early if the provider has answered already."""
    async for piece in body:
        if exchange.complete or connection.closed:
            return
        if piece:
            await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
    if chunked:
        await connection.send(b"0\r\n\r\n")


class _Tunnel(asyncio.Protocol):
    """The conversation with a proxy before TLS begins (RFC 9110, 9.3.6)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._heard = b""
        self.established: asyncio.Future[None] = loop.create_future()

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if self.established.done() or (b"\r\n\r\n" not in self._heard and len(self._heard) < 16_384):
            return
        status = self._heard[9:12]
        if self._heard.startswith(b"HTTP/1.") and status[:1] == b"2" and self._heard.endswith(b"\r\n\r\n"):
            self.established.set_result(None)
        else:
            shown = status.decode("latin-1") if status.isdigit() else "nonsense"
            self.established.set_exception(ConnectFailed(f"The outbound proxy refused ({shown})."))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        if not self.established.done():
            self.established.set_exception(ConnectFailed("The outbound proxy closed the connection."))


def _proxy_credentials(proxy: str) -> Headers:
    parts = urlsplit(proxy)
    if parts.username is None:
        return []
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return [(b"proxy-authorization", b"Basic " + base64.b64encode(pair.encode()))]


def _no_delay(connection: Connection) -> None:
    sock = connection.transport.get_extra_info("socket") if connection.transport else None
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reason(error: Exception) -> str:
    return str(error)[:200]
