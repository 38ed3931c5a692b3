"""Assembly: settings to a running gateway. The only file that knows everybody; imported by cli and tests."""

import asyncio
import hashlib
import hmac
import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dragoman import __version__
from dragoman.admission.login import Logins
from dragoman.admission.tokens import Tokens
from dragoman.building import atlas_of, build_provider, gate_of, master_key, routes_of, tls_context
from dragoman.legs import Leg, Patience
from dragoman.mounting import MESSAGES, all_mounts, http_rows, http_table, message_table
from dragoman.net.child import Keeper
from dragoman.net.deadlines import Wheel
from dragoman.net.http1 import Timing
from dragoman.net.listen import DrainingServer, Listener, Row, Tls, quiet_uvicorn, reply
from dragoman.net.messages import Numbers
from dragoman.net.sockets import SocketHost, Terms
from dragoman.net.upstream import Bounds, Upstreams
from dragoman.people import Secret
from dragoman.relay.dispatch import Dispatch
from dragoman.relay.elsewhere import Holdings
from dragoman.relay.engine import Engine, Knowledge
from dragoman.relay.lanes import Lane, Prober
from dragoman.relay.lookups import Lookups
from dragoman.relay.pool import Pool
from dragoman.relay.retry import Budget
from dragoman.relay.talks import Talks
from dragoman.routes import Credential
from dragoman.sections import ProviderSettings
from dragoman.settings import Settings
from dragoman.store import open_store
from dragoman.watch.log import CallLog
from dragoman.wires.oidc import build_issuer

if TYPE_CHECKING:
    from dragoman.net.grpc_host import GrpcHost


class App:
    """A gateway built from settings. `start` begins to serve, `server.serve()` runs until told to stop."""

    def __init__(self, settings: Settings, folder: Path | None = None, *, sole: bool = False) -> None:
        """`sole`: this is the one process that serves from this folder."""
        self.settings = settings
        self.folder = folder or Path(settings.server.data)
        self.providers = {row.name: build_provider(settings, row, i) for i, row in enumerate(settings.providers)}
        self.routes = routes_of(settings)
        self.master, self.master_is_new = master_key(self.folder)
        self.store = open_store(settings.store_url(), self.folder, secrets.token_hex(8), sole=sole)
        self.log = CallLog(settings.log.requests)
        self.tasks: list[asyncio.Task[None]] = []
        self.socket_server: asyncio.Server | None = None
        self.grpc: GrpcHost | None = None

    def start(self, lines_port: int | None = None) -> DrainingServer:
        """Wire everything on the running loop; on `lines_port` only NDJSON is served. Raises Misconfigured."""
        settings, server = self.settings, self.settings.server
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop)
        given = settings.upstream
        bounds = Bounds(given.max_connections, given.max_idle, given.idle_connection_s)
        self.upstream = Upstreams(loop, wheel, bounds, f"dragoman/{__version__}".encode())
        self.lanes = {row.name: self._lane(row) for row in settings.providers}
        self.atlas = atlas_of(settings, self.routes)
        self.talks = Talks(self.store, self.atlas, settings.conversations.answer_tokens)
        dispatch = Dispatch(
            self.lanes, self.upstream, Budget(given.retry_share), given.attempts, given.max_answer_bytes
        )
        self.engine = Engine(self._knowledge(), dispatch, self.log, server.max_body_bytes)
        self.prober = Prober(self.lanes, self.atlas, self.upstream)
        for provider in self.providers.values():
            if provider.child:
                self.tasks.append(loop.create_task(Keeper(provider.child).run()))
        self.tasks += [loop.create_task(self.prober.run()), loop.create_task(self.talks.run())]
        quiet_uvicorn()
        return self._listen(wheel, lines_port)

    async def stop(self) -> None:
        """End children and background tasks."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.grpc is not None:
            await self.grpc.stop(0)
        self.upstream.close()
        self.store.close()

    def _lane(self, row: ProviderSettings) -> Lane:
        base = self.settings.upstream
        patience = Patience(
            connect_s=row.connect_s or base.connect_s,
            first_byte_s=row.first_byte_s or base.first_byte_s,
            idle_s=row.idle_s or base.idle_s,
            total_s=row.total_s or base.total_s,
            quiet_s=base.quiet_s,
        )
        credentials = self.settings.credentials(row) or [Credential(Secret(""))]
        return Lane(row.name, self.providers[row.name], Pool(credentials, base.bench_s), patience)

    def _knowledge(self) -> Knowledge:
        settings = self.settings
        # Tokens for accounts are signed with a key of their own, so that the master key signs nothing.
        own = hmac.digest(self.master.reveal().encode(), b"dragoman account tokens", hashlib.sha256)
        tokens = Tokens(settings.compat_secret("secret_key"), own)
        oidc = settings.auth.oidc
        issuer = build_issuer(oidc, settings.oidc_secret()) if oidc else None
        gate = gate_of(settings, self.master, tokens)
        lookups = Lookups(self.atlas, gate, self.store, Logins(self.store, tokens, issuer, self.upstream))
        return Knowledge(gate, self.atlas, lookups, self.talks, Holdings(self.store))

    def _listen(self, wheel: Wheel, lines_port: int | None) -> DrainingServer:
        server, engine = self.settings.server, self.engine
        timing = Timing(server.header_s, server.body_s, server.write_s, server.keep_alive_s, server.max_connections)
        mounts = all_mounts(self.providers)
        rows = http_rows(engine, [mount for mount in mounts if mount.method not in MESSAGES], self.settings.compat.chat)
        lines = http_rows(engine, [mount for mount in mounts if mount.stays], "ndjson")
        others = {} if lines_port is None else {lines_port: http_table([*self._health(), *lines])}
        number = Numbers()
        terms = Terms(server.header_s, server.write_s, server.max_body_bytes, server.max_connections)
        beside = message_table(engine, mounts, "WS", any_path=False)
        self.sockets = SocketHost(message_table(engine, mounts, "WS").row, terms, wheel, number)
        self.upgrades = SocketHost(beside.row, terms, wheel, number)
        if server.grpc_port:
            # Else grpcio says on the terminal that a child of ours, which never speaks gRPC, was forked beside it.
            os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
            from dragoman.net.grpc_host import Address, GrpcHost

            services = tuple({mount.path.split("/")[1]: None for mount in mounts if mount.method == "GRPC"})
            address = Address(server.host, server.grpc_port, services, server.tls_cert, server.tls_key)
            find = message_table(engine, mounts, "GRPC").row
            self.grpc = GrpcHost(find, address, server.max_body_bytes, number, wheel=wheel, write_s=server.write_s)
        listener = Listener(http_table([*self._health(), *rows]), timing, others)
        return listener.server(wheel, self._drain, self.upgrades.upgraded, Tls(server.tls_cert, server.tls_key))

    async def listen_for_messages(self, sockets: socket.socket | None) -> None:
        """Open what is not HTTP: WebSocket on a socket of its own, and gRPC. Raises Misconfigured."""
        if sockets is not None:
            loop = asyncio.get_running_loop()
            tls = tls_context(self.settings.server)
            self.socket_server = await loop.create_server(self.sockets.protocol, sock=sockets, ssl=tls)
        if self.grpc is not None:
            await self.grpc.start()

    def _health(self) -> list[Row]:
        rows = [("/health/live", _live), ("/health/ready", self._ready)]
        return [Row("GET", path, None, entry) for path, entry in rows]

    async def _ready(self, leg: Leg) -> None:
        """Ready: not draining, and some provider is up. Says which, but not why not."""
        states = {name: lane.state.startswith("up") for name, lane in self.lanes.items()}
        is_ready = any(states.values()) and not self.engine.draining
        body = msgspec.json.encode({"ready": is_ready, "providers": states})
        await reply(leg, 200 if is_ready else 503, [(b"content-type", b"application/json")], body)

    async def _drain(self) -> None:
        """Take nothing new on any listener, then let what is under way finish."""
        if self.socket_server is not None:
            self.socket_server.close()
        for host in (self.sockets, self.upgrades):
            host.drain()
        if self.grpc is not None:
            await self.grpc.drain()
        await self.engine.drain(self.settings.server.grace_s)


async def _live(leg: Leg) -> None:
    await reply(leg, 200, [(b"content-type", b"application/json")], b'{"live":true}')
