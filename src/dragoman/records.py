"""What is written down of every call: the intent before a provider is asked, the record as it ends.

Both go through the journal into the store, as MessagePack arrays: a new field stands last and has a default.
"""

from typing import Literal

import msgspec

from dragoman.chat import Usage

Outcome = Literal["completed", "truncated", "abandoned", "refused", "failed", "interrupted"]
"""`interrupted`: the process ended before the call did; found as the journal was replayed."""


class Attempt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One try at one target: how it went, by fault code ("ok" when it answered). `credential` is its last four
    characters; `ms` counts from the call's beginning to this attempt's end.
    """

    provider: str
    model: str
    credential: str
    outcome: str
    detail: str = ""
    ms: int = 0


class Charge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Units of a budget or quota that a call used up: `account` as in `dragoman.standing.Account`, `window` its
    beginning in Unix seconds. Money in micro-units.
    """

    account: str
    window: int
    units: int


class Caller(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who asked: the principal's name, the key's id ("" for one that is not in the store), its team and tags."""

    principal: str
    key: str = ""
    team: str = ""
    tags: tuple[str, ...] = ()


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="o", gc=False):
    """A call is about to ask a provider. `at` is Unix seconds; `prompt_tokens` are estimated. The charges are what an
    end without a record costs: a request, and the estimated prompt at its price.
    """

    id: str
    at: float
    caller: Caller
    dialect: str
    model: str
    prompt_tokens: int = 0
    cost_micro: int | None = None
    charges: tuple[Charge, ...] = ()


class Record(msgspec.Struct, array_like=True, tag="r", gc=False):
    """What happened to one call. Times are in milliseconds, `at` is Unix seconds.

    `dialect` is the module of the way in, `wire` the format it spoke. `provider`, `target` and `credential` are those
    of the attempt that answered, "" if none did. `cost_micro` None: there is no known price (never silently zero).
    `queued_ms` was spent waiting for a place, `gaps` reads came after the first and took `gaps_ms` in all.
    """

    id: str
    at: float
    caller: Caller
    dialect: str
    wire: str
    model: str
    outcome: Outcome = "failed"
    code: str = ""
    status: int = 0
    usage: Usage = Usage()
    attempts: list[Attempt] = []
    queued_ms: int = 0
    first_byte_ms: int | None = None
    total_ms: int = 0
    gaps: int = 0
    gaps_ms: int = 0
    provider: str = ""
    target: str = ""
    credential: str = ""
    cost_micro: int | None = None
    reserved_micro: int = 0
    charges: tuple[Charge, ...] = ()
    streamed: bool = False


class Content(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """What was said in a call whose key says that it may be kept: UTF-8 text, each cut at `CONTENT_BYTES`."""

    id: str
    at: float
    question: str
    answer: str


CONTENT_BYTES = 128 * 1024
Entry = Opened | Record | Content
