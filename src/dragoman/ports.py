"""The contracts of words: what a dialect, a provider and a ledger are.

This is the whole extension surface. A dialect is a module in `dialects/` with `mounts`; a kind of
provider is a module in `providers/` with `Options` (its own keys), `build(options) -> Provider` and, where there
is such a thing, `MODELS`: what it serves when a row names none.
Nothing else needs to know of it.
"""

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from dragoman.chat import Delta, Usage
from dragoman.faults import Fault
from dragoman.intents import Ask, Count, Forward, ListModels
from dragoman.legs import Child, Head, Headers, Outbound
from dragoman.people import Secret
from dragoman.routes import Credential, ModelCard


class Reply(msgspec.Struct):
    """A whole answer to a caller."""

    status: int
    headers: Headers
    body: bytes


class Turn(Protocol):
    """A question and the voice in which it is answered. Writers belong to turns, not connections."""

    @property
    def intent(self) -> Ask | Forward | Count: ...

    @property
    def streaming(self) -> bool:
        """Whether pieces go out as they come; else `write` returns nothing before End."""

    def opening(self, headers: Headers) -> Headers:
        """Make the headers of a good answer; `headers` are the provider's that may be shown."""

    def write(self, deltas: list[Delta]) -> list[bytes]:
        """Turn deltas into pieces, each whole in this dialect's framing."""

    def begun(self) -> None:
        """The first content is on its way, so the request will not be asked again: forget what it took."""

    def fail(self, fault: Fault) -> list[bytes]:
        """Say in a stream that it broke, without anything that could pass for its end."""

    def beat(self) -> list[bytes]:
        """Say that we are still here, where the dialect can."""


class Lookup(Protocol):
    """A wish that needs no relay."""

    @property
    def intent(self) -> ListModels | Count: ...

    def answer(self, found: list[ModelCard] | int) -> Reply: ...


class Session(Protocol):
    """One connection of a caller, as its dialect sees it."""

    @property
    def whole(self) -> bool:
        """Whether `receive` wants the whole body at once; else it is fed until it returns a turn."""

    def claim(self) -> Secret | None:
        """Return the key that was shown. Raises Malformed where two places disagree."""

    def receive(self, data: bytes) -> Turn | Lookup | None:
        """Read the caller's bytes. Raises a caller's Fault, nothing else."""

    def refuse(self, fault: Fault) -> Reply:
        """Render a fault before the first byte, in this dialect's own shape and status."""


class Mount(msgspec.Struct, frozen=True):
    """Where a dialect listens. A `path` that ends in `*` takes all that starts so; `when` decides
    between mounts of one path, and a path has at most one mount without it.
    """

    method: str
    path: str
    session: Callable[[Head], Session]
    when: Callable[[Head], bool] | None = None


class Reader(Protocol):
    """Reads a provider's answer. Raises nothing: what is wrong becomes a Broke delta.

    However the bytes are split, the same deltas come out.
    """

    @property
    def proves_end(self) -> bool:
        """Whether the wire has an end of its own, so that HTTP's is not needed to know that all has come."""

    def receive(self, data: bytes) -> list[Delta]: ...

    def close(self) -> list[Delta]:
        """The message ended: return what that completes."""


class Provider(Protocol):
    """One configured upstream. Pure: it makes requests and reads answers, and never waits."""

    @property
    def wire(self) -> str: ...

    @property
    def child(self) -> Child | None:
        """A process of ours that must run for this provider."""

    def request(self, intent: Ask | Forward | Count, model: str, credential: Credential) -> Outbound:
        """Make the request. Raises Unsupported where this kind has no such end point."""

    def reader(self, intent: Ask | Forward | Count, headers: Headers) -> Reader:
        """Make a reader for the answer whose head is given; opaque when the intent's wire is ours."""

    def fault(self, status: int, headers: Headers, body: bytes) -> Fault:
        """Say what a non-2xx answer means."""

    def probe(self, credential: Credential) -> Outbound | None:
        """Make a cheap request that shows whether the provider is up and lists its models."""

    def listing(self, body: bytes) -> list[str]:
        """Read the model names in the answer to `probe`."""


Outcome = Literal["completed", "truncated", "abandoned", "refused", "failed"]


class Attempt(msgspec.Struct, frozen=True):
    """One try at one target: how it went, by fault code ("ok" when it answered)."""

    provider: str
    model: str
    credential: str
    outcome: str
    detail: str = ""


class Record(msgspec.Struct):
    """What happened to one call. Times are in milliseconds, `at` is Unix seconds."""

    id: str
    at: float
    principal: str
    wire: str
    model: str
    outcome: Outcome = "failed"
    code: str = ""
    status: int = 0
    usage: Usage = Usage()
    attempts: list[Attempt] = []
    first_byte_ms: int | None = None
    total_ms: int = 0


class Ledger(Protocol):
    """Where calls are written down. The only writer is `relay/settle`."""

    def settle(self, record: Record) -> None:
        """Keep a record. Called once a call, before its last byte is sent; never waits."""
