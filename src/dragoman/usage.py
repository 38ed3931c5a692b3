"""What was used, by whom: how it is asked for, and what is answered. Pure words, and where they are kept (`Books`).

Times are Unix seconds; money is in micro-units.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, get_args

import msgspec

from dragoman.chat import Usage
from dragoman.faults import Malformed
from dragoman.records import Attempt, Content, Outcome, Record

Time = Literal["hour", "day", "utc_day"]
Name = Literal["principal", "team", "model", "provider", "target", "dialect", "tag"]
Group = Time | Name
TIMES: tuple[str, ...] = get_args(Time)
NAMES: tuple[str, ...] = get_args(Name)
MOST_ROWS = 250
"""Rows of a page at most."""
Cursor = tuple[int | float | str, ...]


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of usage, by the values of `group`, in their order. One row only if `group` is empty.

    A time in `group` stands first: `hour` begins in UTC, `day` in the deployment's zone, `utc_day` is a day of UTC as
    providers bill it. `target` is the provider's own name of the model. `since` (inclusive) and `until` (exclusive)
    are compared with the beginnings of days, or of hours where `hour` or `utc_day` is asked for. A call with two tags
    counts under each of them, one without under "". `after` is `UsageRow.by` of the last row of the page before.

    Raises:
        Malformed: the group, the limit or the cursor is wrong.

    """

    group: tuple[Group, ...] = ("day",)
    since: int | None = None
    until: int | None = None
    principal: str | None = None
    team: str | None = None
    model: str | None = None
    provider: str | None = None
    target: str | None = None
    dialect: str | None = None
    tag: str | None = None
    limit: int = 100
    after: Cursor = ()

    def __post_init__(self) -> None:
        if len(set(self.group)) != len(self.group) or not set(self.group) <= {*TIMES, *NAMES}:
            raise Malformed("A group is made of different ones of its words.", field="group")
        if any(word in TIMES for word in self.group[1:]):
            raise Malformed("There is one time in a group at most, and it stands first.", field="group")
        _check_limit(self.limit)
        if self.after and [isinstance(value, int) for value in self.after] != [word in TIMES for word in self.group]:
            raise Malformed("This cursor is of another query.", field="after")

    @property
    def time(self) -> str:
        """The time in the group, "" if there is none."""
        return self.group[0] if self.group and self.group[0] in TIMES else ""


class UsageRow(msgspec.Struct, frozen=True):
    """A sum: `by` are the values of the query's group, times as Unix seconds. Of `calls`, `failed` got no answer,
    `estimated` were counted by us and not by the provider; `unpriced` used tokens whose price nobody knows, so that
    `cost_micro` is what the others cost. `tokens.estimated` and `tokens.tier` mean nothing here.
    """

    by: tuple[int | str, ...]
    calls: int
    failed: int
    estimated: int
    unpriced: int
    tokens: Usage
    cost_micro: int


class CallQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Calls, the newest first. `since` is inclusive, `until` exclusive. `after` is (`at`, `id`) of the last row of the
    page before. Raises Malformed: the limit is wrong.
    """

    principal: str | None = None
    key: str | None = None
    team: str | None = None
    model: str | None = None
    provider: str | None = None
    dialect: str | None = None
    outcome: Outcome | None = None
    since: float | None = None
    until: float | None = None
    limit: int = 100
    after: tuple[float, str] | None = None

    def __post_init__(self) -> None:
        _check_limit(self.limit)


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it is kept: see `dragoman.records.Record`. `question` and `answer` are None where none were kept, and
    in lists.
    """

    id: str
    at: float
    principal: str
    key: str
    team: str
    tags: tuple[str, ...]
    dialect: str
    wire: str
    model: str
    provider: str
    target: str
    credential: str
    outcome: Outcome
    code: str
    status: int
    usage: Usage
    streamed: bool
    cost_micro: int | None
    reserved_micro: int
    queued_ms: int
    first_byte_ms: int | None
    total_ms: int
    attempts: tuple[Attempt, ...]
    question: str | None = None
    answer: str | None = None


class Books(Protocol):
    """Where calls are kept and summed up. Every method raises StoreFailed."""

    async def keep_calls(
        self,
        entries: Sequence[Record | Content],
        journal: str,
        segment: int,
        offset: int,
        run: str,
        day_of: Callable[[float], int],
    ) -> int:
        """Save what a journal holds up to a position, once: records that are there already change nothing. The
        charges are taken off what `run` holds. `day_of` returns when a moment's day began. Returns how many were new.
        """

    async def position(self, journal: str) -> tuple[int, int] | None:
        """Return the segment and offset up to which a journal was saved."""

    async def usage(self, query: UsageQuery) -> list[UsageRow]: ...

    async def calls(self, query: CallQuery) -> list[CallRow]: ...

    async def call(self, id_: str, principal: str | None) -> CallRow | None:
        """Return a call with its content; another's is None, unless `principal` is."""

    async def forget_calls(self, before_at: float, most: int) -> int:
        """Delete at most so many of the calls before a time. Sums stay. Returns how many it were."""

    async def forget_contents(self, before_at: float, most: int) -> int: ...


def write_cursor(values: Cursor) -> str:
    """Return a cursor as text for a URL or a command line."""
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).rstrip(b"=").decode()


def read_cursor(text: str) -> Cursor:
    """Undo `write_cursor`. Raises Malformed."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        return msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=Cursor)
    except ValueError:
        raise Malformed("This is not a cursor of ours.", field="after") from None


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MOST_ROWS:
        raise Malformed(f"The limit is 1 to {MOST_ROWS}.", field="limit")
