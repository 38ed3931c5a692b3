"""Files of the package that are served as they are: made once, with an entity tag, so that nobody loads them twice."""

from collections.abc import Callable
from functools import cache
from hashlib import sha256

import msgspec

from dragoman.faults import Fault, NotFound
from dragoman.legs import Head, Headers, Reply, Step
from dragoman.ports import Lookup
from dragoman.wires.cors import Recited, cors
from dragoman.wires.http_turn import refusal_headers
from dragoman.wires.keyed import Keyed
from dragoman.wires.openai_http import error_body

SAFE: Headers = [(b"cache-control", b"no-cache"), (b"x-content-type-options", b"nosniff")]
STYLE: Headers = [(b"content-type", b"text/css; charset=utf-8")]
CODE: Headers = [(b"content-type", b"text/javascript; charset=utf-8")]


class Sheet(msgspec.Struct, frozen=True):
    """What is served at one path, and how it is made, which is done once."""

    headers: Headers
    make: Callable[[], bytes]


class Print(msgspec.Struct, frozen=True):
    """A sheet as it goes out. `tag` is its entity tag (RFC 9110, 8.8.3): it changes when the body does."""

    headers: Headers
    body: bytes
    tag: bytes


def stored(*names: str) -> bytes:
    """Read a file of the package by its path's parts."""
    from importlib.resources import files

    return files("dragoman").joinpath(*names).read_bytes()


class Public(Keyed):
    """Anybody may ask; refusals have OpenAI's shape."""

    def refuse(self, fault: Fault) -> Reply:
        return Reply(fault.status, [*refusal_headers(fault), *cors(self.head)], error_body(fault))


class Shelf:
    """The whole list: what a caller asks for chooses one of these, and is never a path to read from."""

    def __init__(self, sheets: dict[str, Sheet]) -> None:
        self.paths = tuple(sheets)
        self._sheets = sheets
        self._printed = cache(self._print)

    def printed(self, path: str) -> Print:
        """Raises NotFound: there is no such sheet."""
        if path not in self._sheets:
            raise NotFound(f"There is no {path[:200]} here.")
        return self._printed(path)

    def _print(self, path: str) -> Print:
        sheet = self._sheets[path]
        body = sheet.make()
        tag = f'"{sha256(body).hexdigest()[:32]}"'.encode()
        return Print([*sheet.headers, *SAFE, (b"etag", tag)], body, tag)

    def session(self, head: Head) -> "Reading":
        return Reading(head, self)


class Reading(Public):
    """One sheet; nothing but its headers for whoever has it already (RFC 9110, 13.1.2)."""

    def __init__(self, head: Head, shelf: Shelf) -> None:
        super().__init__(head)
        self._shelf = shelf

    def receive(self, data: bytes) -> Lookup:  # noqa: ARG002 - a GET has no body to read
        sheet = self._shelf.printed(self.head.path)
        headers = [*sheet.headers, *cors(self.head)]
        if self._has(sheet.tag):
            return Recited(304, headers, Step())
        return Recited(200, headers, Step(data=sheet.body))

    def _has(self, tag: bytes) -> bool:
        tags = (self.head.get(b"if-none-match") or b"").split(b",")
        return any(each.strip().removeprefix(b"W/") in (tag, b"*") for each in tags)
