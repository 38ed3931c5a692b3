"""gRPC on grpcio: bytes in, bytes out, every method of the table as a stream of messages both ways.

On the wire a method with one request is a stream of one. A call ends OK when its caller has said all and all is
answered, or with the first answer whose status is an error. A caller's deadline or cancellation makes its messages'
legs gone. Source: gRPC documentation, "Core concepts, architecture and lifecycle" and "gRPC over HTTP2".
"""

import asyncio
import logging
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import grpc
import msgspec
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from dragoman.faults import Misconfigured
from dragoman.legs import Head, Headers, Reply
from dragoman.net.channels import OPTION, number_of
from dragoman.net.deadlines import Wheel
from dragoman.net.http1 import NEVER, NEVER_YET
from dragoman.net.messages import Found, Messages, Numbers

EOF = grpc.aio.EOF  # type: ignore[attr-defined]
ROOM_BYTES = 64 * 1024
# A caller with one message says so right behind it.
HALF_CLOSE_S = 0.1
OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]
CODES = {code.value[0]: code for code in grpc.StatusCode}
# grpcio has no words of its own for a call without a message.
NO_MESSAGE = Reply(3, [(b"grpc-message", b"the call has no message")], b"")
NOT_READ = Reply(4, [(b"grpc-message", b"the answer was not read")], b"")
STOPPING = Reply(14, [(b"grpc-message", b"the gateway is shutting down")], b"")
# What trailing metadata may hold; one that grpcio does not take would leave the caller without an end.
NAME = re.compile(rb"(?!grpc-|content-)[0-9a-z_.-]+")
TEXT = re.compile(rb"[ -~]*")


class Address(msgspec.Struct, frozen=True):
    """Where to listen, with the files of a certificate chain and its key (PEM), or neither; `services` by name."""

    host: str
    port: int
    services: tuple[str, ...]
    cert: str = ""
    key: str = ""


class GrpcHost:
    """The gRPC server of one table. `start` binds, `drain` and `stop` end it."""

    def __init__(
        self,
        find: Callable[[Head], Found],
        address: Address,
        max_bytes: int,
        number: Numbers,
        *,
        wheel: Wheel,
        write_s: float,
    ) -> None:
        """`find` raises LookupError where nobody serves the method; `max_bytes` is for a message of a caller, who
        may leave an answer unread for `write_s` (seconds).
        """
        self.find = find
        self.number = number
        self.wheel = wheel
        self.write_s = write_s
        self.calls: set[Call] = set()
        self.draining = False
        self._address = address
        limits = [("grpc.max_receive_message_length", max_bytes), ("grpc.max_send_message_length", -1)]
        options = [*OPTIONS, OPTION, *limits]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((Methods(self),))
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = 0

    async def start(self) -> None:
        """Listen. Raises Misconfigured when that cannot be."""
        given = self._address
        credentials = _credentials(given) if given.cert else None
        place = f"[{given.host}]:{given.port}" if ":" in given.host else f"{given.host}:{given.port}"
        try:
            _check_free(given)
            if credentials is not None:
                self.port = self._server.add_secure_port(place, credentials)
            else:
                self.port = self._server.add_insecure_port(place)
            await self._server.start()
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is in use, or the certificate is none"
            raise Misconfigured(
                f"cannot listen for gRPC on {given.host}, port {given.port}: {reason}; "
                "choose another with server.grpc_port, or 0 for none"
            ) from None
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)
        for service in ("", *given.services):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Say that no calls are wanted; end those with nothing under way, and the others as they fall idle. Entries
        refuse what still comes, each in its own way.
        """
        self.draining = True
        await self._health.enter_graceful_shutdown()
        for call in list(self.calls):
            call.drain()

    async def stop(self, grace_s: float) -> None:
        """Take no calls; cut off those that have not ended after `grace_s`. With none even an answer that is complete
        may lose its end.
        """
        await self._server.stop(grace_s)


class Methods(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Finds who serves a method; grpcio asks for every call."""

    def __init__(self, host: GrpcHost) -> None:
        self._host = host

    def service(self, handler_call_details: Any) -> Any:
        metadata = [
            (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1", "replace"))
            for name, value in handler_call_details.invocation_metadata or ()
        ]
        head = Head("GRPC", handler_call_details.method, b"", metadata)
        try:
            found = self._host.find(head)
        except LookupError:
            return None

        async def serve(_: Any, context: Any) -> None:
            await Call(context, self._host).run(head, found)

        return grpc.stream_stream_rpc_method_handler(serve)


class Call:
    """One call. Keeps `dragoman.net.messages.Outlet`: what is sent is written in order by one coroutine."""

    def __init__(self, context: Any, host: GrpcHost) -> None:
        self._context = context
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._size = 0
        self._news = asyncio.Event()
        self._space = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._has_read_all = False
        self._has_failed = False
        self._is_writing = False
        self._ends_idle = False
        self.due = NEVER_YET
        self.late = ""

    async def run(self, head: Head, found: Found) -> None:
        """Serve the call until its end."""
        host = self._host
        peer = str(self._context.peer())
        # Names that start with a colon cannot come from a caller.
        ours = [(b":peer", peer.encode("latin-1", "replace"))]
        if found.channel and (number := number_of(peer)):
            ours.append((b":channel", f"{peer} {number}".encode()))
        head = msgspec.structs.replace(head, headers=[*head.headers, *ours])
        self._messages = Messages(head, found, self, host.number)
        self._writing = cast("asyncio.Task[None]", asyncio.current_task())
        self._reading = self._loop.create_task(self._read())
        host.calls.add(self)
        host.wheel.watch(self)
        try:
            await self._write()
        except grpc.aio.InternalError:
            # The caller left, and grpcio has not heard of it yet.
            raise asyncio.CancelledError from None
        except asyncio.CancelledError:
            if not self.late:
                raise
            self._messages.end(NOT_READ)
        finally:
            self.due = NEVER
            host.calls.discard(self)
            self._messages.lost()
            # Nobody waits any longer. A read under way is left to grpcio: cancelled, it would write to freed memory.
            self._out = []
            self._space.set()
            self._may_read.set()
        self._conclude(self._messages.last)

    def _conclude(self, last: Reply) -> None:
        """Set what grpcio sends when `run` returns."""
        self._context.set_trailing_metadata(tuple(_metadata(last.headers)))
        if last.status:
            details = dict(last.headers).get(b"grpc-message", b"")
            self._context.set_code(CODES.get(last.status, grpc.StatusCode.UNKNOWN))
            self._context.set_details(details.decode(errors="replace"))

    async def _read(self) -> None:
        messages = self._messages
        count = 0
        while True:
            await self._may_read.wait()
            if messages.is_lost:
                return
            try:
                message = await self._context.read()
            except grpc.aio.BaseError:
                # The call ended meanwhile.
                return
            if message is EOF:
                break
            count += 1
            messages.accept(message, [])
            self._ends_idle = self._host.draining
        self._has_read_all = True
        if not count:
            messages.end(NO_MESSAGE)
        self._news.set()

    async def _write(self) -> None:
        while self._out or not self._is_over():
            if self._out:
                await self._write_out()
                continue
            if self._ends_idle and not self._messages.live:
                self.due = self._loop.time() + HALF_CLOSE_S
            self._news.clear()
            await self._news.wait()

    async def _write_out(self) -> None:
        write, loop, write_s = self._context.write, self._loop, self._host.write_s
        out, self._out = self._out, []
        self._is_writing = True
        for piece in out:
            self.due = loop.time() + write_s
            await write(piece)
            self._size -= len(piece)
        self._is_writing = False
        self.due = NEVER_YET
        if self._size < ROOM_BYTES:
            self._space.set()

    def _is_over(self) -> bool:
        return self._has_failed or (self._has_read_all and not self._messages.live)

    def expire(self, now: float) -> None:  # noqa: ARG002 - see `_write`
        """The caller reads nothing, or has nothing under way while the gateway drains. grpcio cannot reset a call: one
        that is not read keeps what grpcio holds for it, and its end, until the caller reads or leaves.
        """
        self.due = NEVER_YET
        if self._is_writing:
            self.late = "write"
            self.due = NEVER
            self._writing.cancel()
        elif not self._messages.live:
            self._messages.end(STOPPING)

    def drain(self) -> None:
        """End the call when nothing of it is under way."""
        self._ends_idle = True
        self._news.set()

    # --- the messages' side

    def send(self, pieces: list[bytes]) -> bool:
        for piece in pieces:
            if piece:
                self._out.append(piece)
                self._size += len(piece)
        if self._out:
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

    def failed(self) -> None:
        self._has_failed = True
        self._news.set()

    def answered(self, last: bool) -> None:  # noqa: FBT001 - see Outlet
        if last:
            self._news.set()


def _metadata(headers: Headers) -> list[tuple[str, str | bytes]]:
    """Keep what may stand in trailing metadata. Source: gRPC over HTTP2, "Custom-Metadata"."""
    kept: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if NAME.fullmatch(name) and name.endswith(b"-bin"):
            kept.append((name.decode(), value))
        elif NAME.fullmatch(name) and TEXT.fullmatch(value):
            kept.append((name.decode(), value.decode()))
    return kept


def _is_news(record: logging.LogRecord) -> bool:
    """That a status could not be sent to a caller who left is none; grpcio's own check for that comes too late."""
    return record.exc_info is None or not isinstance(record.exc_info[1], grpc.aio.InternalError)


def _check_free(given: Address) -> None:
    """Ask the system first: it says why not, where grpcio says so on the terminal and not to us. Raises OSError."""
    family = socket.AF_INET6 if ":" in given.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((given.host, given.port))


def _credentials(given: Address) -> Any:
    try:
        pair = (Path(given.key).read_bytes(), Path(given.cert).read_bytes())
    except OSError as error:
        raise Misconfigured(f"cannot read the certificate for gRPC: {error.strerror}: {error.filename}") from None
    return grpc.ssl_server_credentials([pair])
