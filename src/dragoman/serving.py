"""`dragoman serve`: the life of the process, and the lines that a person sees."""

import asyncio
import errno
import gc
import resource
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from dragoman.app import App, Ports
from dragoman.building import login_link, tls_context
from dragoman.faults import Misconfigured
from dragoman.people import Principal
from dragoman.sections import Server
from dragoman.settings import Settings
from dragoman.watch.log import set_up

T = TypeVar("T")
PROBE_WAIT_S = 3.5
LOOPBACK = "127.0.0.1"
# A request leaves next to no cycles: looking for them every 700 allocations would cost a tenth of it.
COLLECT_AFTER = (50_000, 20, 50)
SWITCH_S = 0.001


def on_loop(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def run(settings: Settings) -> int:
    """Serve until a signal. Returns the exit code."""
    set_up(settings.log.level)
    # In a core dump every secret of this process would stand.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    given = settings.server
    tls_context(given)
    app = App(settings, sole=True)
    listening = {"http": bind(given.host, given.port)}
    if given.websocket_port:
        listening["websocket"] = bind(given.host, given.websocket_port, "server.websocket_port")
    if settings.admin.port is not None:
        listening["admin"] = bind(LOOPBACK, settings.admin.port, "admin.port")
    if settings.compat.server_port is not None:
        listening["lines"] = bind(given.host, settings.compat.server_port, "compat.server_port")
    return on_loop(_serve(app, listening))


def bind(host: str, port: int, setting: str = "--port") -> socket.socket:
    """Take the port first, so that a port in use is one clear line. Raises Misconfigured."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise Misconfigured(f"cannot listen on {host}, port {port}: {why}; choose another with {setting}") from None
    return listening


async def _serve(app: App, listening: dict[str, socket.socket]) -> int:
    ports = {name: each.getsockname()[1] for name, each in listening.items() if name != "http"}
    try:
        server = await app.start(Ports(**ports))
        await app.listen_for_messages(listening.get("websocket"))
        served = [each for name, each in listening.items() if name != "websocket"]
        serving = asyncio.ensure_future(server.serve(sockets=served))
        probing = asyncio.ensure_future(_greet(app, listening))
        await serving
        probing.cancel()
    finally:
        await app.stop()
    return 0


def page_url(server: Server) -> str:
    """Return where this machine finds the page of a gateway that listens as it is configured."""
    return f"http{'s' if server.tls_cert else ''}://{_address(server.host, server.port)}"


def _shown(listening: socket.socket) -> str:
    return _address(*listening.getsockname()[:2])


def _address(host: str, port: int) -> str:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104 - only compared
    return f"{shown}:{port}"


async def _greet(app: App, listening: dict[str, socket.socket]) -> None:
    """Say what listens, which providers are up, the key, and a line to paste."""
    secure = "s" if app.settings.server.tls_cert else ""
    url = f"http{secure}://{_shown(listening['http'])}"
    _say(f"Dragoman listens on {url} (OpenAI, Anthropic, and the legacy relays; what there is: {url}/docs)")
    if "websocket" in listening:
        _say(f"  ws{secure}://{_shown(listening['websocket'])} (WebSocket: the legacy text protocol, JSON at /v1/ws)")
    if app.grpc is not None:
        tls = " with TLS" if secure else ""
        _say(f"  {app.settings.server.host}:{app.grpc.port} (gRPC{tls}: chat.Chat, dragoman.v1.Chat)")
    if "lines" in listening:
        _say(f"  http{secure}://{_shown(listening['lines'])} (NDJSON /chat alone)")
    if "admin" in listening:
        _say(f"  http{secure}://{_shown(listening['admin'])} (operators: /api/admin, /metrics)")
    await _first_probe(app)
    for lane in app.lanes.values():
        mark = "+" if lane.state.startswith("up") else "-"
        _say(f"  {mark} provider {lane.name}: {lane.state}")
    origin = app.folder / "master.key"
    _say(f"  key{' (new)' if app.master_is_new else ''}, kept in {origin}: {app.master.reveal()}")
    _say(f"Open the page (this link logs in once): {login_link(url, app.passes)}")
    _say("Paste this:\n" + curl_line(url, app.master.reveal(), app.atlas.default()))
    # What start-up made lives as long as the process: collections need not look at it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    # The thread that loads calls into the store must not keep callers waiting for longer.
    sys.setswitchinterval(SWITCH_S)


async def _first_probe(app: App) -> None:
    """Probe until every provider has answered, or a child has had the time to load its model."""
    has_child = any(provider.child for provider in app.providers.values())
    loop = asyncio.get_running_loop()
    until = loop.time() + (60.0 if has_child else PROBE_WAIT_S)
    if has_child:
        _say("  loading the embedded model …")
    while True:
        await app.prober.once()
        if not has_child or loop.time() > until or all(lane.state == "up" for lane in app.lanes.values()):
            return
        await asyncio.sleep(0.1)


def curl_line(url: str, key: str, model: str) -> str:
    body = f'{{"model":"{model}","stream":true,"messages":[{{"role":"user","content":"Say hello in one sentence."}}]}}'
    return (
        f"curl -N {url}/v1/chat/completions -H 'Authorization: Bearer {key}' "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )


def list_models(settings: Settings) -> list[str]:
    """Say for each public model what stands behind it, asking the providers what they have."""

    async def ask() -> list[str]:
        app = App(settings, Path(settings.server.data))
        app.wire()
        try:
            await _first_probe_quietly(app)
            return _model_lines(app)
        finally:
            await app.stop()

    return on_loop(ask())


async def _first_probe_quietly(app: App) -> None:
    if any(provider.child for provider in app.providers.values()):
        app.tasks[0].cancel()
    await asyncio.gather(*(app.prober.probe(lane) for lane in app.lanes.values() if not lane.provider.child))


def _model_lines(app: App) -> list[str]:
    lines = []
    named = {route.name: route for route in app.routes}
    for card in app.atlas.cards(Principal("list")):
        route = named.get(card.name)
        targets = [f"{t.provider}/{t.model}" for t in route.targets] if route else [f"{card.owner}/{card.name}"]
        fallbacks = [f"{t.provider}/{t.model}" for t in route.fallbacks] if route else []
        behind = " or ".join(targets) + (f", then {', '.join(fallbacks)}" if fallbacks else "")
        lines.append(f"{card.name}  →  {behind}")
    return lines or ["No models: give a provider `models`, or see whether it is up with `dragoman serve`."]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
