"""Budgets and daily quotas: what is left of them in this process. Integers only; one thread.

A `Pot` is one window of an account: its money is taken before a call, and settled after it, in the same pot, however
late. What may be used is `free`; in a process that is the only one it is the limit less what was spent. With several,
it is what the bank granted less what was used of that, so that all of them together never have more than there is.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from dragoman.admission.windows import Calendar
from dragoman.standing import MOST, Account, Got, Want, Window

UNKNOWN = -(2**62)
"""What is free while nobody has said what was spent: less than any call needs."""
DRY_S = 0.25
"""For how long the bank is not asked again for what it has just said is not there."""
SLICES = 16
"""A slice is at most this part of the whole, so that others find something."""
AHEAD_S = 5
"""A slice lasts about this long."""


class Now(NamedTuple):
    """A moment by two clocks: `at` is Unix seconds, `s` those of a clock that is never put back."""

    at: float
    s: float


class Recent:
    """How much was used in the last second or so."""

    __slots__ = ("_before", "_since", "_units")

    def __init__(self, now: float) -> None:
        self._since = now
        self._units = 0
        self._before = 0

    def add(self, units: int, now: float) -> None:
        passed = now - self._since
        if passed >= 1.0:
            self._before = self._units if passed < 2.0 else 0
            self._units = 0
            self._since = now
        self._units += units

    def slice_of(self, most: int) -> int:
        """Return how much is worth leasing at once."""
        return min(most // SLICES, AHEAD_S * max(self._units, self._before))


class Pot:
    """One window's units of an account that does not refill: money, requests of a day, or places.

    `reserved` is taken by calls that are under way, `used` by those that ended. `free` may be negative: then a call
    cost more than was reserved, or the limit was lowered. `window` and `ends` are Unix seconds, `used_at` and all
    that is called `now` those of a monotonic clock.
    """

    __slots__ = (
        "_in_doubt",
        "_is_sole",
        "_left",
        "_limit",
        "_lowered",
        "_recent",
        "account",
        "dry_until",
        "ends",
        "free",
        "owed",
        "reserved",
        "unloaded",
        "used",
        "used_at",
        "window",
    )

    def __init__(self, account: Account, window: int = 0, ends: float = math.inf, *, now: float, is_sole: bool) -> None:
        self.account = account
        self.window = window
        self.ends = ends
        self.reserved = 0
        self.used = 0
        self.used_at = now
        self._limit = account.most
        self._is_sole = is_sole
        self.free = (account.most if account.unit == "places" else UNKNOWN) if is_sole else 0
        # What follows is between this process and the bank. `owed` is to be given back; `unloaded` is the most that
        # may have been used and is not yet counted as spent, so that the bank still counts it as held.
        self.owed = 0
        self.unloaded = 0
        self.dry_until = -math.inf
        self._left = 0
        self._in_doubt = False
        self._lowered = 0
        self._recent = Recent(now)

    @property
    def is_known(self) -> bool:
        return self.free > UNKNOWN // 2

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held here that others could have."""
        return not (self.free or self.reserved or self.owed or self._in_doubt)

    def know(self, spent: int) -> None:
        """Begin with what the store says was spent: for a process that is the only one. The first time counts."""
        if not self.is_known:
            self.free = self._limit - spent
            self.used = spent

    def limit_to(self, account: Account, epoch: int = 0) -> None:
        """Let another limit hold from now on, for what is taken in this epoch and later."""
        if self._is_sole:
            if self.is_known:
                self.free += account.most - self._limit
        elif account.most < self._limit:
            self.recall()
            self._lowered = epoch
        self._limit = account.most
        self.account = account
        self.dry_until = -math.inf

    def take(self, units: int, now: float) -> None:
        self.free -= units
        self.reserved += units
        self.used_at = now
        if not self._is_sole:
            self._recent.add(units, now)

    def settle(self, reserved: int, actual: int, epoch: int = 0) -> None:
        """End what `reserved` units were taken for in an epoch: it came to `actual`, which may be more."""
        self.reserved -= reserved
        if epoch < self._lowered and actual < reserved:
            # It was granted under a higher limit: under this one others may have it already.
            self.owed += reserved - actual
        else:
            self.free += reserved - actual
        if actual:
            self.used += actual
            self.unloaded += actual

    # --- slices

    def is_low(self, now: float) -> bool:
        """Whether it is time to lease more, before anybody waits for it."""
        return self.free < self._slice() // 2 and now >= self.dry_until

    def is_dry(self, units: int, now: float) -> bool:
        """Whether the bank has just said that there is not as much."""
        return now < self.dry_until and units - self.free > self._left

    def recall(self) -> None:
        """Set apart what is free, to give it back."""
        if self.free > 0:
            self.owed += self.free
            self.free = 0

    def want(self, least: int, total: int) -> Want:
        """Ask for what `total` units need that are wanted in all, but for those of the smallest call at least."""
        need = min(max(0, least - self.free), MOST) if total else 0
        like = max(total, self._slice()) - self.free if total else 0
        return Want(self.account, self.window, need, min(max(need, like), MOST), min(self.owed, MOST))

    def got(self, want: Want, got: Got, now: float) -> None:
        """Take what was granted, and what the bank says is held for the truth, should it be less."""
        self.owed -= want.back
        self.free += got.granted
        if want.account.most > self._limit:
            self.recall()
        self._left = got.left
        self.dry_until = now + DRY_S if want.like and not got.granted else -math.inf
        if self._in_doubt:
            self._in_doubt = False
            self.free = max(self.free, got.held - self.reserved - self.owed - self.unloaded)
        mine = self.free + self.reserved + self.owed
        if got.held < mine:
            # The lease had ended. What was used under it is yet to be taken off what is held now.
            self.free = got.held - self.reserved - self.owed - self.unloaded
        else:
            self.unloaded = got.held - mine

    def lost(self, want: Want) -> None:
        """Nobody knows whether the bank did what was asked; what was to be given back is not used, in case it did."""
        self.owed -= want.back
        self._in_doubt = True

    def _slice(self) -> int:
        """Return how much to hold: as a budget ends slices are small, so that its last units are not in many hands."""
        return self._recent.slice_of(min(self._limit, self._left))

    def left(self) -> int:
        """Return what may be free in all processes, as far as is known here."""
        if self._is_sole:
            return max(0, self.free) if self.is_known else self._limit
        return max(0, min(self._limit, self.free + self._left))


class Purse:
    """One account of money or of requests a day, through all its windows.

    `pot` is that of the latest window there was: a clock that is put back opens no older one.
    """

    __slots__ = ("_account", "_ahead", "_calendar", "_is_sole", "_turned", "kind", "pot")

    def __init__(
        self, account: Account, kind: Window, calendar: Calendar, now: Now, turned: list["Purse"], *, is_sole: bool
    ) -> None:
        """Begin with the window that it is; what was spent in it is not known yet.

        It puts itself into `turned` as its window turns.
        """
        self._turned = turned
        self.kind: Window = kind
        self._account = account
        self._calendar = calendar
        self._is_sole = is_sole
        self._ahead: tuple[int, int] | None = None
        self.pot = self._open(now)

    @property
    def account(self) -> Account:
        return self._account

    def pot_at(self, now: Now) -> Pot:
        """Return the pot of the window that it is, or of the latest there was."""
        if now.at >= self.pot.ends:
            ahead, self._ahead = self._ahead, None
            self.pot = self._open(now)
            self._turned.append(self)
            if ahead is not None and ahead[0] == self.pot.window:
                self.pot.know(ahead[1])
        return self.pot

    def limit_to(self, account: Account, epoch: int = 0) -> None:
        if account != self._account:
            self._account = account
            self.pot.limit_to(account, epoch)

    def asks(self) -> list[tuple[str, int]]:
        """Return which accounts' sums are to be known: this window's, and the next one's before it begins."""
        pot, name = self.pot, self._account.name
        keys = [] if pot.is_known else [(name, pot.window)]
        if self._ahead is None and pot.ends < math.inf:
            keys.append((name, self._calendar.next_after(self.kind, pot.ends)))
        return keys

    def know(self, keys: Sequence[tuple[str, int]], sums: Sequence[int]) -> None:
        """Take note of what the store says was spent."""
        for (_, window), spent in zip(keys, sums, strict=True):
            if window == self.pot.window:
                self.pot.know(spent)
            else:
                self._ahead = window, spent

    def _open(self, now: Now) -> Pot:
        window, ends = self._calendar.span(self.kind, now.at)
        return Pot(self._account, window, ends, now=now.s, is_sole=self._is_sole)
