"""`dragoman serve`: the life of the process, and the lines that a person sees."""

import asyncio
import errno
import gc
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from dragoman.app import App, first_model
from dragoman.faults import Misconfigured
from dragoman.people import Principal
from dragoman.settings import Settings
from dragoman.watch.log import set_up

T = TypeVar("T")
PROBE_WAIT_S = 3.5
# A request leaves next to no cycles: looking for them every 700 allocations would cost a tenth of it.
COLLECT_AFTER = (50_000, 20, 50)


def on_loop(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def run(settings: Settings) -> int:
    """Serve until a signal. Returns the exit code."""
    set_up(settings.log.level)
    app = App(settings)
    listening = bind(settings.server.host, settings.server.port)
    return on_loop(_serve(app, listening))


def bind(host: str, port: int) -> socket.socket:
    """Take the port first, so that a port in use is one clear line. Raises Misconfigured."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise Misconfigured(f"cannot listen on {host}, port {port}: {why}; choose another with --port") from None
    return listening


async def _serve(app: App, listening: socket.socket) -> int:
    server = app.start()
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        probing = asyncio.ensure_future(_greet(app, listening))
        await serving
        probing.cancel()
    finally:
        await app.stop()
    return 0


async def _greet(app: App, listening: socket.socket) -> None:
    """Say what listens, which providers are up, the key, and a line to paste."""
    host, port = listening.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104 - only compared
    url = f"http://{shown}:{port}"
    _say(f"Dragoman listens on {url} (OpenAI, Anthropic)")
    await _first_probe(app)
    for lane in app.lanes.values():
        mark = "+" if lane.state.startswith("up") else "-"
        _say(f"  {mark} provider {lane.name}: {lane.state}")
    origin = app.folder / "master.key"
    _say(f"  key{' (new)' if app.master_is_new else ''}, kept in {origin}: {app.master.reveal()}")
    _say("Paste this:\n" + curl_line(url, app.master.reveal(), first_model(app)))
    # What start-up made lives as long as the process: collections need not look at it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


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
        app.start()
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
