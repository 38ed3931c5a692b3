"""Pages on other origins: the one policy that all the legacy routes share (seed protocols, section 7, "CORS").

No cookie authenticates anything here, so any origin may ask, with whatever key its user typed in.
"""

from dragoman.faults import Fault
from dragoman.intents import Recite
from dragoman.legs import Head, Headers, Reply, Script, Step
from dragoman.ports import Lookup, Mount
from dragoman.wires.keyed import Keyed

HEADERS = b"Authorization, Content-Type, Chat-Type, Accept, X-Requested-With"
METHODS = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"


def cors(head: Head) -> Headers:
    """Make the headers that go on every answer, refusals included."""
    return [
        (b"access-control-allow-origin", head.get(b"origin") or b"*"),
        (b"vary", b"Origin"),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-allow-headers", head.get(b"access-control-request-headers") or HEADERS),
        (b"access-control-allow-methods", METHODS),
    ]


class Recited:
    """A fixed answer, as a lookup that the engine plays by itself."""

    def __init__(self, status: int, headers: Headers, *steps: Step) -> None:
        self.intent = Recite(Script(status, headers, steps))

    def answer(self, found: object) -> Reply:
        raise AssertionError(f"a fixed answer waits for nothing: {found!r}")


class Preflight(Keyed):
    """The question of a browser whether a page may ask: yes."""

    def receive(self, data: bytes) -> Lookup:  # noqa: ARG002 - it has no body
        return Recited(204, [*cors(self.head), (b"access-control-max-age", b"600")], Step())

    def refuse(self, fault: Fault) -> Reply:
        return Reply(fault.status, cors(self.head), b"")


def preflights(*paths: str, stays: bool = False) -> tuple[Mount, ...]:
    return tuple(Mount("OPTIONS", path, Preflight, public=True, stays=stays) for path in paths)
