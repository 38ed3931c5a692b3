"""Assembly: settings to a running gateway. The only file that knows everybody; imported by cli and tests."""

import asyncio
import importlib
import pkgutil
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from dragoman import __version__, dialects
from dragoman.faults import Misconfigured
from dragoman.legs import Head, Patience
from dragoman.net.child import Keeper
from dragoman.net.deadlines import Wheel
from dragoman.net.http1 import Timing
from dragoman.net.listen import DrainingServer, HttpLeg, Listener, Table, quiet_uvicorn, reply
from dragoman.net.upstream import Bounds, Upstreams
from dragoman.people import Principal, Secret
from dragoman.ports import Mount, Provider, Session
from dragoman.relay.dispatch import Dispatch
from dragoman.relay.engine import Engine
from dragoman.relay.gate import Gate
from dragoman.relay.lanes import Lane, Prober
from dragoman.relay.plan import Atlas
from dragoman.relay.pool import Pool
from dragoman.relay.retry import Budget
from dragoman.routes import Credential, Route
from dragoman.settings import ProviderSettings, Settings, explain, suggest
from dragoman.watch.log import CallLog

MASTER_KEY_FILE = "master.key"
MASTER_KEY_PREFIX = "dgm-"


def master_key(folder: Path) -> tuple[Secret, bool]:
    """Read the master key, or make one (256 random bits, mode 0600). Returns it and whether it is new."""
    path = folder / MASTER_KEY_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists():
            text = path.read_text(encoding="ascii").strip()
            if len(text) < 20:
                raise Misconfigured(f"{path}: this is not a master key; remove the file to have a new one made")
            return Secret(text), False
        text = MASTER_KEY_PREFIX + secrets.token_urlsafe(32)
        path.touch(mode=0o600)
        path.write_text(text + "\n", encoding="ascii")
    except (OSError, UnicodeError) as error:
        raise Misconfigured(f"{path}: the master key cannot be kept here: {error}") from None
    return Secret(text), True


def provider_kinds() -> list[str]:
    from dragoman import providers

    return sorted(module.name for module in pkgutil.iter_modules(providers.__path__))


def build_provider(settings: Settings, row: ProviderSettings, number: int) -> Provider:
    """Make a provider of a kind found by its file's name. Raises Misconfigured."""
    where = f"providers[{number}]"
    origin = settings.origins.get(where, settings.origin_of("providers"))
    kinds = provider_kinds()
    if row.kind not in kinds:
        raise Misconfigured(f"{origin}: {where}.kind: {row.kind!r} is not a kind; known are {', '.join(kinds)}")
    module: Any = importlib.import_module(f"dragoman.providers.{row.kind}")
    try:
        options = msgspec.convert(row.options, module.Options)
    except msgspec.ValidationError as error:
        raise explain(error, module.Options, where, settings.origins, ProviderSettings) from None
    for name in ("ca_file", "model_path"):
        file = getattr(options, name, "")
        if file and not Path(file).expanduser().is_file():
            raise Misconfigured(f"{origin}: {where} ({row.name}): {name}: there is no file {file!r}")
    try:
        built: Provider = module.build(options)
    except ValueError as error:
        raise Misconfigured(f"{origin}: {where} ({row.name}): {error}") from None
    return built


def routes_of(settings: Settings) -> list[Route]:
    """Check that every target names a provider. Raises Misconfigured."""
    names = {row.name for row in settings.providers}
    for number, model in enumerate(settings.models):
        for target in (*model.targets, *model.fallbacks):
            if target.provider not in names:
                where = settings.origins.get(f"models[{number}]", settings.origin_of("models"))
                known = ", ".join(sorted(names))
                raise Misconfigured(
                    f"{where}: model {model.name!r}: there is no provider {target.provider!r}; known are {known}"
                )
    routes = [Route(m.name, tuple(m.targets), tuple(m.fallbacks)) for m in settings.models]
    wanted = settings.server.default_model
    atlas = Atlas(routes, served_by(settings), 0)
    if wanted and not atlas.knows(wanted):
        names_known = [card.name for card in atlas.cards(Principal("check"))]
        where = settings.origin_of("server.default_model")
        raise Misconfigured(
            f"{where}: server.default_model: there is no model {wanted!r}{suggest(wanted, names_known)}"
        )
    return routes


def served_by(settings: Settings) -> dict[str, list[str]]:
    """Say which model names or patterns each provider serves: those configured, else its kind's own."""
    kinds = {row.kind: importlib.import_module(f"dragoman.providers.{row.kind}") for row in settings.providers}
    return {row.name: row.models or list(getattr(kinds[row.kind], "MODELS", ())) for row in settings.providers}


class App:
    """A gateway built from settings. `start` begins to serve, `server.serve()` runs until told to stop."""

    def __init__(self, settings: Settings, folder: Path | None = None) -> None:
        self.settings = settings
        self.folder = folder or Path(settings.server.data)
        self.providers = {row.name: build_provider(settings, row, i) for i, row in enumerate(settings.providers)}
        self.routes = routes_of(settings)
        self.master, self.master_is_new = master_key(self.folder)
        self.log = CallLog(settings.log.requests)
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> DrainingServer:
        """Wire everything on the running loop. Raises Misconfigured."""
        settings, server = self.settings, self.settings.server
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop)
        self.lanes = {row.name: self._lane(row) for row in settings.providers}
        self.atlas = Atlas(self.routes, served_by(settings), int(time.time()))
        given = settings.upstream
        bounds = Bounds(given.max_connections, given.max_idle, given.idle_connection_s)
        self.upstream = Upstreams(loop, wheel, bounds, f"dragoman/{__version__}".encode())
        budget = Budget(given.retry_share)
        dispatch = Dispatch(self.lanes, self.upstream, budget, given.attempts, given.max_answer_bytes)
        self.engine = Engine(self._gate(), self.atlas, dispatch, budget, self.log, server.max_body_bytes)
        self.prober = Prober(self.lanes, self.atlas, self.upstream)
        for provider in self.providers.values():
            if provider.child:
                self.tasks.append(loop.create_task(Keeper(provider.child).run()))
        self.tasks.append(loop.create_task(self.prober.run()))
        timing = Timing(server.header_s, server.body_s, server.write_s, server.keep_alive_s, server.max_connections)
        quiet_uvicorn()
        return Listener(self._table(), timing).server(wheel, self._drain)

    async def stop(self) -> None:
        """End children and background tasks."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.upstream.close()

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

    def _gate(self) -> Gate:
        keys = {self.master.digest(): Principal("master")}
        for number, text in enumerate(self.settings.auth.keys):
            where = f"{self.settings.origin_of('auth.keys')}: auth.keys[{number}]"
            keys[self.settings.secret(text, where).digest()] = Principal(f"static-{number}")
        return Gate(keys)

    def _table(self) -> Table:
        table = Table()
        table.add("GET", "/health/live", None, _live, _live)
        ready = self._ready
        table.add("GET", "/health/ready", None, ready, ready)
        for module in pkgutil.iter_modules(dialects.__path__):
            mounts: tuple[Mount, ...] = importlib.import_module(f"dragoman.dialects.{module.name}").mounts
            for mount in mounts:
                make: Callable[[Head], Session] = mount.session
                serve, wrong = partial(self.engine.serve, make), partial(self.engine.wrong_method, make, mount.method)
                table.add(mount.method, mount.path, mount.when, serve, wrong)
        return table

    async def _ready(self, leg: HttpLeg) -> None:
        """Ready: not draining, and some provider is up. Says which, but not why not."""
        states = {name: lane.state.startswith("up") for name, lane in self.lanes.items()}
        is_ready = any(states.values()) and not self.engine.draining
        body = msgspec.json.encode({"ready": is_ready, "providers": states})
        await reply(leg, 200 if is_ready else 503, [(b"content-type", b"application/json")], body)

    async def _drain(self) -> None:
        await self.engine.drain(self.settings.server.grace_s)


async def _live(leg: HttpLeg) -> None:
    await reply(leg, 200, [(b"content-type", b"application/json")], b'{"live":true}')


# Providers list these among their models; they do not chat.
NOT_CHATS = ("embed", "whisper", "tts", "dall-e", "image", "moderation", "audio", "realtime", "transcribe", "sora")


def first_model(app: App) -> str:
    """The model for a caller that names none: the configured default, else the first there is."""
    if app.settings.server.default_model:
        return app.settings.server.default_model
    if app.settings.models:
        return app.settings.models[0].name
    names = [card.name for card in app.atlas.cards(Principal("start"))]
    chats = [name for name in names if not any(mark in name for mark in NOT_CHATS)]
    return (chats or names or ["MODEL"])[0]
