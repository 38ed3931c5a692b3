"""What somebody may use up: limits, budgets, and the accounts in which they are counted. Pure words.

Money is in micro-units (millionths) of the one currency in which prices are given.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import msgspec

MOST = 2**53 - 1
"""No amount is larger, so that every reader of JSON agrees on it."""
Amount = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Window = Literal["total", "hour", "day", "week", "month", "year"]
"""How long a budget lasts; it begins anew at the zone's midnight, on Monday, on the first. `total`: never."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How much at once and in how much time; None is no limit. Rates are smooth (GCRA): a full minute's worth may come
    at once, then one every 60/limit seconds.
    """

    requests_per_minute: Annotated[Positive | None, msgspec.Meta(description="Requests a minute.")] = None
    tokens_per_minute: Annotated[
        Positive | None, msgspec.Meta(description="Tokens a minute, of prompts and answers.")
    ] = None
    requests_per_day: Annotated[Positive | None, msgspec.Meta(description="Requests a day, from midnight on.")] = None
    parallel: Annotated[Positive | None, msgspec.Meta(description="Requests at the same time.")] = None

    def __bool__(self) -> bool:
        return self != NO_LIMITS


NO_LIMITS = Limits()


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much money in each window, in micro-units."""

    micro: Amount
    window: Window = "total"


class Holder(msgspec.Struct, frozen=True):
    """Somebody whose limits and budget hold for a call: the key, those that made it, its team. `name` as in Account."""

    name: str
    limits: Limits = NO_LIMITS
    budget: Budget | None = None


class Allowance(msgspec.Struct, frozen=True):
    """What is left of a limit: `reset_s` seconds from now it is all there again."""

    limit: int
    remaining: int
    reset_s: float


class Standing(msgspec.Struct, frozen=True):
    """The tightest limits that hold for a call, for the headers of its answer."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


Unit = Literal["money", "requests", "rate", "places"]


class Account(msgspec.Struct, frozen=True):
    """Something that several processes draw on.

    `name` is `HOLDER/WHAT`: the holder is `key:ID`, `user:NAME`, `token:ID`, `team:NAME`, `model:NAME` or `all`; the
    rest says what is counted: `money.day` (a budget's window), `requests.day`, `requests`, `tokens` (a minute's
    rates), `parallel`. `most`: the budget's micro-units, the quota, the rate's burst, or the places.
    `period_s`: in which a rate refills from nothing to `most`; 0 for what does not refill.
    """

    name: str
    unit: Unit
    most: int
    period_s: float = 0.0


class Want(msgspec.Struct, frozen=True):
    """What a process asks of the bank: to give back `back` of what it holds, then to get between `need` and `like`
    units more (nothing, if `need` cannot be had). `window` is when the budget's window began (Unix seconds), else 0.
    """

    account: Account
    window: int = 0
    need: int = 0
    like: int = 0
    back: int = 0


class Got(msgspec.Struct, frozen=True):
    """The bank's answer to a Want: how much was granted; `held` is all that this process now holds, until `until`
    (Unix seconds by the bank's clock, `lease_s` from now); `left` is what nobody holds or has spent.
    `retry_s`: when what was missing may be there.
    """

    granted: int
    held: int
    left: int
    retry_s: float = 0.0


class Bank(Protocol):
    """Where processes lease slices of accounts. What has been granted is nobody else's until it is given back, spent
    (the charges of a loaded record), or its lease ends.
    """

    @property
    def is_sole(self) -> bool:
        """Whether this process is the only one, and so owns everything that was not spent."""

    async def spent(self, accounts: Sequence[tuple[str, int]]) -> list[int]:
        """Return what was spent of each (account name, window). Raises StoreFailed."""

    async def lease(self, wants: Sequence[Want]) -> list[Got]:
        """Exchange, all in one transaction; also renews this process's leases. Raises StoreFailed."""

    async def leave(self) -> None:
        """Give everything back: this process ends. Raises StoreFailed."""
