"""Assembly: settings to a running gateway. The only file that knows everybody; imported by cli and tests."""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dragoman import __version__
from dragoman.accounting import desk_of, prices_of, till_of, zone_of
from dragoman.admission.directory import Directory
from dragoman.admission.hashing import read_hash_key
from dragoman.admission.keysmith import Keysmith
from dragoman.admission.login import Logins
from dragoman.admission.office import Office, Views
from dragoman.admission.passwords import Passwords
from dragoman.admission.queue import FairQueue
from dragoman.admission.sessions import Sessions
from dragoman.admission.spending import Spending
from dragoman.admission.tokens import Tokens
from dragoman.bookkeeping import Bookkeeping
from dragoman.building import (
    atlas_of,
    build_provider,
    gate_of,
    master_key,
    passes_of,
    routes_of,
    tls_context,
)
from dragoman.effective import effective
from dragoman.faults import Misconfigured, StoreFailed
from dragoman.intents import Listeners, ReadListeners, ReadMetrics
from dragoman.legs import Leg, Patience
from dragoman.mounting import MESSAGES, all_mounts, http_rows, http_table, message_table, parted
from dragoman.net.child import Keeper
from dragoman.net.deadlines import Wheel
from dragoman.net.http1 import Timing
from dragoman.net.listen import DrainingServer, Listener, Row, Tls, quiet_uvicorn, reply
from dragoman.net.messages import Numbers
from dragoman.net.sockets import SocketHost, Terms
from dragoman.net.upstream import Bounds, Upstreams
from dragoman.people import Secret
from dragoman.relay.dispatch import Dispatch, Limits
from dragoman.relay.drains import Drains
from dragoman.relay.elsewhere import Holdings
from dragoman.relay.engine import Engine, Knowledge
from dragoman.relay.lanes import Lane, Prober
from dragoman.relay.lines import Line
from dragoman.relay.lookups import Lookups, Reads
from dragoman.relay.pool import Pool
from dragoman.relay.retry import Budget
from dragoman.relay.settle import Books
from dragoman.relay.talks import Talks
from dragoman.routes import Credential
from dragoman.sections import ProviderSettings
from dragoman.settings import Settings
from dragoman.showing import Checker, gauges, journal, pool
from dragoman.store import open_store
from dragoman.wires.oidc import build_issuer

if TYPE_CHECKING:
    from dragoman.net.grpc_host import GrpcHost


log = logging.getLogger("dragoman")


class Ports(msgspec.Struct, frozen=True):
    """Further ports: `lines` serves NDJSON alone, `admin` what is for operators, `websocket` WebSocket of any path."""

    lines: int | None = None
    admin: int | None = None
    websocket: int | None = None


class App:
    """A gateway built from settings. `start` begins to serve, `server.serve()` runs until told to stop."""

    def __init__(self, settings: Settings, folder: Path | None = None, *, sole: bool = False) -> None:
        """`sole`: this is the one process that serves from this folder."""
        self.settings = settings
        self.folder = folder or Path(settings.server.data)
        self.providers = {row.name: build_provider(settings, row, i) for i, row in enumerate(settings.providers)}
        self.routes = routes_of(settings)
        self.master, self.master_is_new = master_key(self.folder)
        self.prices = prices_of(settings)
        self.zone = zone_of(settings)
        self.hash_key = read_hash_key(self.folder, settings.hash_secret())
        self.passes = passes_of(self.hash_key)
        run = secrets.token_hex(8)
        durable = settings.journal.sync == "grouped"
        self.store = open_store(settings.store_url(), self.folder, run, sole=sole, durable=durable)
        self.directory = Directory(self.store.keyring, self.hash_key, time.time)
        self.kept = Bookkeeping(settings, self.store, run, self.folder, self.zone)
        self.tasks: list[asyncio.Task[None]] = []
        self.socket_server: asyncio.Server | None = None
        self.grpc: GrpcHost | None = None
        self.drains: Drains | None = None

    def wire(self) -> None:
        """Make what asks providers, on the running loop."""
        settings, given = self.settings, self.settings.upstream
        loop = asyncio.get_running_loop()
        self.wheel = Wheel(loop)
        bounds = Bounds(given.max_connections, given.max_idle, given.idle_connection_s)
        self.upstream = Upstreams(loop, self.wheel, bounds, f"dragoman/{__version__}".encode())
        self.lanes = {row.name: self._lane(row) for row in settings.providers}
        self.atlas = atlas_of(settings, self.routes)
        self.prober = Prober(self.lanes, self.atlas, self.upstream)
        for provider in self.providers.values():
            if provider.child:
                self.tasks.append(loop.create_task(Keeper(provider.child).run()))

    async def start(self, ports: Ports) -> DrainingServer:
        """Load what was kept, wire everything on the running loop, and return the server. Raises Misconfigured."""
        settings, server, given = self.settings, self.settings.server, self.settings.upstream
        try:
            await self.directory.load()
            await self.kept.open()
        except StoreFailed as fault:
            raise Misconfigured(f"the database cannot be used: {fault.detail}") from None
        self.wire()
        self.desk = desk_of(settings, self.store.bank)
        self.talks = Talks(self.store, self.atlas, settings.conversations.answer_tokens)
        self.drains = Drains(settings.usage.drains, settings.usage.drain_s, given.max_answer_bytes)
        limits = Limits(given.attempts, given.max_answer_bytes)
        retries = Budget(given.retry_share)
        dispatch = Dispatch(self.lanes, self.upstream, self.desk, retries, limits, self.drains)
        books = Books(self.desk, till_of(settings, self.prices), self.kept.ledger())
        self.engine = Engine(self._knowledge(), dispatch, books, server.max_body_bytes)
        gauges(self.kept, self.lanes)
        lives = (self.prober, self.talks, self.directory, self.desk, self.kept)
        for each in lives:
            task = asyncio.get_running_loop().create_task(each.run())
            task.add_done_callback(self._ended)
            self.tasks.append(task)
        quiet_uvicorn()
        self.server = self._listen(ports)
        is_secure = bool(server.tls_cert)
        self.listeners = Listeners(ports.websocket, server.grpc_port or None, ports.lines, ports.admin, is_secure)
        return self.server

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What runs beside the requests ends with the process, or something is wrong: then nothing new is taken."""
        if not task.cancelled() and task.exception() is not None:
            log.critical("a part of the gateway has failed, so it ends", exc_info=task.exception())
            self.server.should_exit = True

    async def stop(self) -> None:
        """End children and background tasks; what is in the journal is loaded as far as the store takes it."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.grpc is not None:
            await self.grpc.stop(0)
        self.upstream.close()
        if self.drains is not None:
            await self.drains.stop()
        await self.kept.close()
        with contextlib.suppress(StoreFailed):
            await self.store.bank.leave()
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
        pool = Pool(credentials, base.bench_s, row.name)
        return Lane(row.name, self.providers[row.name], pool, patience, self._line())

    def _line(self) -> Line | None:
        given = self.settings.queue
        if not given.length:
            return None
        loop = asyncio.get_running_loop()
        queue = FairQueue(given.length, given.wait_s, loop.time)
        return Line(queue, loop, given.wait_s, self.settings.upstream.quiet_s)

    def _knowledge(self) -> Knowledge:
        settings = self.settings
        # Tokens for accounts are signed with a key of their own, so that the master key signs nothing.
        own = hmac.digest(self.master.reveal().encode(), b"dragoman account tokens", hashlib.sha256)
        tokens = Tokens(settings.compat_secret("secret_key"), own)
        oidc = settings.auth.oidc
        issuer = build_issuer(oidc, settings.oidc_secret()) if oidc else None
        gate = gate_of(settings, self.master, tokens, self.directory, settings.limits, self.passes)
        logins = Logins(self.store, tokens, issuer, self.upstream)
        is_secure = bool(settings.server.tls_cert)
        sessions = Sessions(gate, logins, tokens, self.passes, self.store, is_secure=is_secure)
        lookups = Lookups(self.atlas, gate, self.store, logins, self._office(), self._reads(), sessions=sessions)
        return Knowledge(gate, self.atlas, lookups, self.talks, Holdings(self.store))

    def _reads(self) -> Reads:
        return {ReadMetrics: self.kept.metrics.write, ReadListeners: lambda: self.listeners}

    def _office(self) -> Office:
        """Make what answers operators."""
        kinds = {row.name: row.kind for row in self.settings.providers}
        clock = asyncio.get_running_loop().time
        views = Views(
            pool=lambda: pool(self.lanes, kinds, self.kept.metrics, clock()),
            settings=lambda: effective(self.settings),
            journal=lambda: journal(self.kept),
            spent=Spending(self.store.bank, self.zone, time.time).of,
            check=Checker(self.lanes, self.prober).check,
        )
        smith = Keysmith(self.store.keyring, self.directory, self.hash_key, time.time)
        return Office(smith, self.store.books, self.store, Passwords(), views)

    def _listen(self, ports: Ports) -> DrainingServer:
        server, engine, wheel = self.settings.server, self.engine, self.wheel
        timing = Timing(server.header_s, server.body_s, server.write_s, server.keep_alive_s, server.max_connections)
        mounts, apart = parted(all_mounts(self.providers), self.settings, ports.admin)
        rows = http_rows(engine, [mount for mount in mounts if mount.method not in MESSAGES], self.settings.compat.chat)
        lines = http_rows(engine, [mount for mount in mounts if mount.stays], "ndjson")
        others = {}
        if ports.lines is not None:
            others[ports.lines] = http_table([*self._health(), *lines])
        if ports.admin is not None:
            others[ports.admin] = http_table([*self._health(), *http_rows(engine, apart, "auto")])
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
