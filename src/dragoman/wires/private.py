"""Sessions whose answers are for one caller only: never kept by a cache, never read by a page on another origin.

Errors have OpenAI's shape.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from dragoman.errands import Errand
from dragoman.faults import Fault, NotFound
from dragoman.legs import Head, Headers, Reply
from dragoman.ports import Lookup
from dragoman.wires.http_turn import JSON
from dragoman.wires.openai_http import Shape

PRIVATE: Headers = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


class Answered:
    """A wish, and how what is found is written: as JSON, or as the Reply that `write` makes. None says nothing."""

    def __init__(self, intent: Errand, write: Callable[[Any], Any], status: int = 200) -> None:
        self.intent = intent
        self._write = write
        self._status = status

    def answer(self, found: Any) -> Reply:
        said = self._write(found)
        if isinstance(said, Reply):
            said.headers += PRIVATE
            return said
        if said is None:
            return Reply(204, list(PRIVATE), b"")
        return Reply(self._status, [*JSON, *PRIVATE], msgspec.json.encode(said))


class Private(Shape):
    """One request: `plan` reads the head and the body into a wish. Raises what `plan` raises."""

    __slots__ = ("_plan",)

    def __init__(self, head: Head, *, plan: Callable[[Head, bytes], Lookup]) -> None:
        super().__init__(head)
        self._plan = plan

    def receive(self, data: bytes) -> Lookup:
        return self._plan(self.head, data)

    def refuse(self, fault: Fault) -> Reply:
        reply = super().refuse(fault)
        reply.headers += PRIVATE
        return reply


def nothing(found: object) -> None:
    """Say nothing of what was done."""
    del found


def below(head: Head, path: str) -> str:
    """Return what stands behind `path/` in the raw path. Raises NotFound if nothing does, or more than a name."""
    rest = head.path.removeprefix(f"{path}/")
    if not rest or "/" in rest:
        raise NotFound(f"There is no {head.path[:200]} here.")
    return rest
