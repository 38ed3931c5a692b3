"""The contracts of words: what a dialect, a provider and a ledger are.

This is the whole extension surface. A dialect is a module in `dialects/` with `mounts`; a kind of
provider is a module in `providers/` with `Options` (its own keys), `build(options) -> Provider` and, where there
is such a thing, `MODELS`: what it serves when a row names none, and `FREE`: that its models cost nothing.
Nothing else needs to know of it.
"""

from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from dragoman.chat import Delta
from dragoman.faults import Fault
from dragoman.intents import Ask, Count, Forward, Say, Wish
from dragoman.legs import Child, Head, Headers, Outbound, Reply
from dragoman.people import Secret
from dragoman.records import Content, Opened, Record
from dragoman.routes import Credential
from dragoman.standing import Standing
from dragoman.threads import Place


class Turn(Protocol):
    """A question and the voice in which it is answered. Writers belong to turns, not connections."""

    @property
    def intent(self) -> Ask | Forward | Count | Say: ...

    @property
    def status(self) -> int:
        """The status of a good answer."""

    @property
    def in_band(self) -> bool:
        """Whether what `fail` says is a proper end in this dialect, after which the answer ends as any other."""

    @property
    def early(self) -> bool:
        """Whether the head of the answer goes out before a provider is asked. What fails then, `fail` says."""

    @property
    def label(self) -> str:
        """The name by which the caller may stop this answer, "" for none."""

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

    def beat(self, place: int = 0) -> list[bytes]:
        """Say that we are still here, where the dialect can; `place` is that in a queue, 0 for none."""


class Talk(Turn, Protocol):
    """A turn in a conversation that the gateway keeps: its intent is Say."""

    def placed(self, place: Place) -> None:
        """The question is saved, and these are the ids. Called before anything is written."""


class Lookup(Protocol):
    """A wish that needs no relay."""

    @property
    def intent(self) -> Wish | Count: ...

    def answer(self, found: Any) -> Reply:
        """Render what was found: ModelCards, a number of tokens, a token, a Shelf, Story or Thread."""


class Session(Protocol):
    """One connection of a caller, as its dialect sees it."""

    @property
    def whole(self) -> bool:
        """Whether `receive` wants the whole body at once; else it is fed until it returns a turn."""

    @property
    def late(self) -> bool:
        """Whether the body must be received before `claim` can be asked."""

    def claim(self) -> Secret | None:
        """Return the key that was shown. Raises Malformed where two places disagree."""

    def receive(self, data: bytes) -> Turn | Lookup | None:
        """Read the caller's bytes. Raises a caller's Fault, nothing else."""

    def refuse(self, fault: Fault) -> Reply:
        """Render a fault before the first byte, in this dialect's own shape and status."""


class Crossing(msgspec.Struct, frozen=True):
    """What tells a dialect's requests from another's on one path, in this order: a media type in Accept, the kind
    of key, the body. The mount without `fits` takes what nobody claims (seed protocols, section 7). `name` is
    what `[compat] chat` calls it.
    """

    name: str
    accept: bytes
    kin: str
    fits: Callable[[bytes], bool] | None = None


class Mount(msgspec.Struct, frozen=True):
    """Where a dialect listens. `method` is HTTP's, or WS or GRPC for a message on such a connection. A `path`
    that ends in `*` takes all that starts so; `when` decides by the head between mounts of one path, which
    has at most one without it; a `crossing` decides where the head is not enough.

    `public`: no key is asked for. `door` is the name by which `[auth] anonymous` opens it to callers without
    one. `own_key`: with `[compat] bring_your_own_key` a key that is not ours is one for the provider.
    `needs`: only where a provider of that name is configured, and then instead of the mount that needs none.
    `parallel`: how many messages of one connection are answered at once; further ones wait in order,
    but for those of which `urgent` is true. `channel`: they carry the name of their connection as `:channel`.
    `stays`: on a listener of its own, which `[compat] server_port` opens, this is there; `everywhere`: on the
    operators' own port too. `role`: who may.
    `dialect` is the module's name, filled in by the assembly. `limiting` writes a standing (at a Unix time) as headers
    in this dialect's own names; None: in the standard's.
    """

    method: str
    path: str
    session: Callable[[Head], Session]
    when: Callable[[Head], bool] | None = None
    crossing: Crossing | None = None
    public: bool = False
    door: str = ""
    own_key: bool = False
    needs: str = ""
    parallel: int = 1
    urgent: Callable[[bytes], bool] | None = None
    channel: bool = False
    stays: bool = False
    everywhere: bool = False
    role: Literal["user", "admin"] = "user"
    dialect: str = ""
    limiting: Callable[[Standing, float], Headers] | None = None


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


class Note(msgspec.Struct):
    """A request that asked no provider: a list, a token, a refusal. `at` is Unix seconds."""

    id: str
    at: int
    method: str
    path: str
    status: int
    code: str = ""


class Ledger(Protocol):
    """Where calls are written down, by `relay/settle` only, and requests that were none."""

    @property
    def is_durable(self) -> bool:
        """Whether an answer ends only when its record is on disk."""

    async def durable(self) -> None:
        """Return when all records so far are on disk."""

    def open(self, opened: Opened) -> None:
        """Keep the intent of a call before a provider is asked; never waits. Raises JournalFull."""

    def settle(self, record: Record) -> None:
        """Keep a record. Called once a call, before its last byte is sent; never waits."""

    def keep(self, content: Content) -> None:
        """Keep what was said, where the key says that it may be; never waits."""

    def note(self, note: Note) -> None:
        """Keep a note of a request that became no call; never waits."""
