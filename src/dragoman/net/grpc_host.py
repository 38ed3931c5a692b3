"""gRPC on grpcio: bytes in, bytes out, every method of the table as a stream of messages both ways.

On the wire a method with one request is a stream of one. A call ends OK when its caller has said all and all is
answered, or with the status of the last answer. A caller's deadline or cancellation makes its messages' legs gone.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import msgspec
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from dragoman.faults import Misconfigured
from dragoman.legs import Head, Headers
from dragoman.net.messages import Found, Messages, Numbers

EOF = grpc.aio.EOF  # type: ignore[attr-defined]
ROOM_BYTES = 64 * 1024
# grpcio's own words for a call without a message would be none.
NO_MESSAGE = "the call has no message"
OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]


class Address(msgspec.Struct, frozen=True):
    """Where to listen, with the files of a certificate chain and its key (PEM), or neither; `services` by name."""

    host: str
    port: int
    services: tuple[str, ...]
    cert: str = ""
    key: str = ""


class GrpcHost:
    """The gRPC server of one table. `start` binds, `drain` lets calls finish."""

    def __init__(self, find: Callable[[Head], Found], address: Address, max_bytes: int, number: Numbers) -> None:
        self._find = find
        self._number = number
        self._address = address
        self._services = address.services
        options = [*OPTIONS, ("grpc.max_receive_message_length", max_bytes), ("grpc.max_send_message_length", -1)]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((Methods(self._method),))
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = 0

    async def start(self) -> None:
        """Listen. Raises Misconfigured when that cannot be."""
        given = self._address
        place = f"[{given.host}]:{given.port}" if ":" in given.host else f"{given.host}:{given.port}"
        try:
            if given.cert:
                self.port = self._server.add_secure_port(place, _credentials(given))
            else:
                self.port = self._server.add_insecure_port(place)
            await self._server.start()
        except (RuntimeError, OSError) as error:
            raise Misconfigured(
                f"cannot listen for gRPC on {given.host}, port {given.port}: it is in use or not ours; "
                f"choose another with server.grpc_port, or 0 for none ({type(error).__name__})"
            ) from None
        for service in ("", *self._services):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Take no further calls. What is under way goes on until `stop`."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        await self._server.stop(grace_s)

    def _method(self, path: str, metadata: Headers) -> Any:
        head = Head("GRPC", path, b"", metadata)
        try:
            found = self._find(head)
        except LookupError:
            return None

        async def serve(_: Any, context: Any) -> None:
            await Call(context, self._number).run(head, found)

        return grpc.stream_stream_rpc_method_handler(serve)


class Methods(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Finds the handler of a path; grpcio calls it for every call."""

    def __init__(self, method: Callable[[str, Headers], Any]) -> None:
        self._method = method

    def service(self, handler_call_details: Any) -> Any:
        metadata = [
            (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1", "replace"))
            for name, value in handler_call_details.invocation_metadata or ()
        ]
        return self._method(handler_call_details.method, metadata)


class Call:
    """One call. Keeps `dragoman.net.messages.Outlet`: what is sent is written in order by one coroutine."""

    def __init__(self, context: Any, number: Numbers) -> None:
        self._context = context
        self._number = number
        self._out: list[bytes] = []
        self._size = 0
        self._news = asyncio.Event()
        self._space = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._has_read_all = False
        self.late = ""

    async def run(self, head: Head, found: Found) -> None:
        """Serve the call until its end."""
        peer = (b":peer", str(self._context.peer()).encode("latin-1", "replace"))
        self._messages = Messages(
            msgspec.structs.replace(head, headers=[*head.headers, peer]), found, self, self._number
        )
        reading = asyncio.ensure_future(self._read())
        try:
            await self._write()
            await reading
        finally:
            reading.cancel()
            self._messages.lost()
        last = self._messages.last
        details = dict(last.headers).get(b"grpc-message", b"").decode(errors="replace")
        named = [(n.decode(), v.decode("latin-1")) for n, v in last.headers if n.startswith(b"x-")]
        if named:
            self._context.set_trailing_metadata(named)
        if last.status:
            await self._context.abort(_code(last.status), details)

    async def _read(self) -> None:
        count = 0
        while True:
            await self._may_read.wait()
            message = await self._context.read()
            if message is EOF:
                break
            count += 1
            self._messages.accept(message, [])
        self._has_read_all = True
        if not count:
            self._messages.last.status = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            self._messages.last.headers = [(b"grpc-message", NO_MESSAGE.encode())]
        self._news.set()

    async def _write(self) -> None:
        write = self._context.write
        while True:
            if not self._out:
                if self._has_read_all and not self._messages.live:
                    return
                self._news.clear()
                await self._news.wait()
                continue
            out, self._out = self._out, []
            for piece in out:
                await write(piece)
            self._size -= sum(map(len, out))
            self._space.set()

    # --- the messages' side

    def send(self, pieces: list[bytes]) -> bool:
        if pieces:
            self._out += pieces
            self._size += sum(map(len, pieces))
            self._news.set()
        return self._size < ROOM_BYTES

    async def room(self) -> None:
        while self._size >= ROOM_BYTES and not self._messages.is_lost:
            self._space.clear()
            await self._space.wait()

    def pause(self, paused: bool) -> None:  # noqa: FBT001 - see Outlet
        if paused:
            self._may_read.clear()
        else:
            self._may_read.set()

    def answered(self, last: bool) -> None:  # noqa: FBT001 - see Outlet
        if last:
            self._news.set()


def _credentials(given: Address) -> Any:
    pair = (Path(given.key).read_bytes(), Path(given.cert).read_bytes())
    return grpc.ssl_server_credentials([pair])


def _code(number: int) -> grpc.StatusCode:
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)
