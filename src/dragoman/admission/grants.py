"""What was taken for one call, and how it is given back or paid."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from dragoman.admission.accounts import Checks
from dragoman.admission.purses import Pot
from dragoman.records import Charge
from dragoman.standing import Standing


class Counter(Protocol):
    """Who made a grant."""

    def clock(self) -> float:
        """Return seconds of a monotonic clock."""

    def standing(self, checks: Checks) -> Standing | None:
        """Return where those stand who meet these checks; None if nothing is limited."""


class Bound(msgspec.Struct):
    """The most that a call may use: tokens, and micro-units of money; None: its price is not known."""

    prompt_tokens: int
    output_tokens: int
    micro: int | None


class Grant:
    """What was taken for one call. It ends with `settle` or `release`: the first of them counts."""

    __slots__ = (
        "_asks_marks",
        "_checks",
        "_counter",
        "_is_open",
        "_money",
        "_quotas",
        "_tokens",
        "_tokens_marks",
        "reserved_micro",
    )

    def __init__(self, counter: Counter, checks: Checks) -> None:
        """Begin with nothing taken."""
        self._counter = counter
        self._checks = checks
        self._is_open = True
        # Many calls take nothing of most kinds, and some last long: nothing is made for these.
        self._money: Sequence[Pot] = ()
        self._quotas: Sequence[Pot] = ()
        self._tokens = 0
        self._asks_marks: Sequence[int] = ()
        self._tokens_marks: Sequence[int] = ()
        self.reserved_micro = 0

    @property
    def has_limits(self) -> bool:
        return self._checks.has_limits

    @property
    def standing(self) -> Standing | None:
        """Where the caller stands now: the tightest of its limits on requests, and on tokens."""
        return self._counter.standing(self._checks)

    def charges(self, micro: int | None) -> tuple[Charge, ...]:
        """Return what the call costs each account if it comes to `micro`; None: to all that was reserved."""
        units = self.reserved_micro if micro is None else max(0, micro)
        asks = [Charge(pot.account.name, pot.window, 1) for pot in self._quotas]
        if units:
            asks += [Charge(pot.account.name, pot.window, units) for pot in self._money]
        return tuple(asks)

    def settle(self, micro: int | None, tokens: int) -> tuple[Charge, ...]:
        """End a call that came to `micro` micro-units and `tokens`, and return what that costs each account.

        A cost that is not known is all that was reserved. A second call returns nothing and changes nothing.
        """
        if not self._is_open:
            return ()
        self._is_open = False
        charges = self.charges(micro)
        epoch = self._checks.epoch
        units = self.reserved_micro if micro is None else max(0, micro)
        for pot in self._money:
            pot.settle(self.reserved_micro, units, epoch)
        for pot in self._quotas:
            pot.settle(1, 1, epoch)
        self._leave(max(0, tokens))
        return charges

    def release(self) -> None:
        """End a call that asked nobody: it is as if it had not come. After `settle` it changes nothing."""
        if not self._is_open:
            return
        self._is_open = False
        for pot in self._money:
            pot.settle(self.reserved_micro, 0, self._checks.epoch)
        for pot in self._quotas:
            pot.settle(1, 0, self._checks.epoch)
        now = self._counter.clock()
        for meter, mark in zip(self._checks.requests, self._asks_marks, strict=True):
            meter.give(1, now, mark)
        self._leave(0)

    def _leave(self, tokens: int) -> None:
        for pot in self._checks.places:
            pot.settle(1, 0, self._checks.epoch)
        unused = self._tokens - tokens
        if not self._tokens_marks or not unused:
            return
        now = self._counter.clock()
        for meter, mark in zip(self._checks.tokens, self._tokens_marks, strict=True):
            if unused > 0:
                meter.give(unused, now, mark)
            else:
                meter.take(-unused, now)

    def take(self, bound: Bound, money: list[Pot], quotas: list[Pot], now: float) -> None:
        """Take from all accounts; whoever calls this has seen that all have it."""
        checks = self._checks
        if checks.requests:
            self._asks_marks = [meter.take(1, now) for meter in checks.requests]
        if checks.tokens:
            tokens = self._tokens = bound.prompt_tokens + bound.output_tokens
            self._tokens_marks = [meter.take(tokens, now) for meter in checks.tokens]
        for pot in checks.places:
            pot.take(1, now)
        if quotas:
            self._quotas = quotas
            for pot in quotas:
                pot.take(1, now)
        if money:
            self._money = money
            micro = self.reserved_micro = bound.micro or 0
            for pot in money:
                pot.take(micro, now)
        for holding in checks.holdings:
            holding.used_at = now
