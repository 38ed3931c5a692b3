"""The page: `GET /` for browsers, its files at `/page/…`, and `GET /api/listeners`, which says where else we listen.

The page is a client of the documented interfaces and of nothing else. Its policy lets it run no code and ask no host
but ours (W3C, "Content Security Policy Level 3"; "Trusted Types").
"""

import re
from functools import partial
from importlib.resources import files
from typing import Any

import msgspec

from dragoman.intents import Listeners, ReadListeners
from dragoman.legs import Head, Headers, Reply
from dragoman.ports import Lookup, Mount
from dragoman.wires.http_turn import JSON
from dragoman.wires.private import PRIVATE, Private
from dragoman.wires.sheets import CODE, STYLE, Public, Sheet, Shelf, stored

KINDS: dict[str, Headers] = {
    ".css": STYLE,
    ".js": CODE,
    ".svg": [(b"content-type", b"image/svg+xml")],
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'{sockets}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
ROOT = "index.html"
_HOST = re.compile(rb"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?")


def _sheets() -> dict[str, Sheet]:
    names = sorted(file.name for file in files("dragoman").joinpath("page").iterdir())
    kinds = {name: KINDS.get(name[name.rfind(".") :]) for name in names}
    return {f"/page/{name}": Sheet(kind, partial(stored, "page", name)) for name, kind in kinds.items() if kind}


SHELF = Shelf(_sheets())


class Page(Public):
    """The page itself. Which sockets it may open depends on where it was asked for."""

    def receive(self, data: bytes) -> Lookup:  # noqa: ARG002 - a GET has no body to read
        return Opened(self.head)


class Opened:
    def __init__(self, head: Head) -> None:
        self.intent = ReadListeners()
        self._head = head

    def answer(self, found: Any) -> Reply:
        policy = POLICY.format(sockets=sockets(self._head, found))
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"vary", b"Accept"),
            (b"content-security-policy", policy.encode()),
            (b"referrer-policy", b"no-referrer"),
            (b"x-content-type-options", b"nosniff"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]
        return Reply(200, headers, stored("page", ROOT))


def sockets(head: Head, listeners: Listeners) -> str:
    """Name the WebSocket addresses of this gateway as the caller's browser sees it, for a policy; "" if unknown."""
    host = _HOST.fullmatch(head.get(b"host") or b"")
    if host is None:
        return ""
    name, port = host[1].decode(), (host[2] or b"").decode()
    scheme = "wss" if listeners.is_secure else "ws"
    ports = dict.fromkeys(filter(None, (port, str(listeners.websocket or ""))))
    return "".join(f" {scheme}://{name}:{each}" for each in ports)


class Told:
    """Where else this gateway listens, as JSON."""

    def __init__(self) -> None:
        self.intent = ReadListeners()

    def answer(self, found: Any) -> Reply:
        return Reply(200, [*JSON, *PRIVATE], msgspec.json.encode(found))


def is_browser(head: Head) -> bool:
    """Whether somebody wants to look at a page; system A's callers get its greeting at the same path."""
    return b"text/html" in (head.get(b"accept") or b"")


mounts: tuple[Mount, ...] = (
    Mount("GET", "/", Page, when=is_browser, public=True, everywhere=True),
    Mount("GET", "/page/*", SHELF.session, public=True, everywhere=True),
    Mount("GET", "/api/listeners", partial(Private, plan=lambda head, data: Told()), everywhere=True),  # noqa: ARG005
)
