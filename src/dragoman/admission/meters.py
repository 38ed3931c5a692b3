"""Rates. Integers only: levels are in units times nanoseconds, so that nothing drifts; one thread.

GCRA (ATM Forum, Traffic Management 4.0, 4.4.3) in its leaky-bucket form: the bucket holds the whole limit, and one
unit flows out every period/limit seconds.
"""

import math
from bisect import bisect_right
from typing import ClassVar

from dragoman.admission.purses import DRY_S, Recent
from dragoman.standing import MOST, Account, Allowance, Got, Want

_NS = 1_000_000_000
_SLACK_S = 1e-6
"""More than what rounding of a clock in seconds loses, so that who waits has not come too early."""
_MOST_LOWS = 128


class Meter:
    """One rate. `now` is in seconds of a monotonic clock; one that stands still or jumps back only refills later."""

    __slots__ = ("_at", "_capacity", "_level", "_limit", "_lows", "_marks", "_period_ns", "_taken", "account")

    def __init__(self, account: Account, now: float) -> None:
        """Begin with all of `account.most` there, which refills in `account.period_s`."""
        self._level = 0
        self._at = int(now * _NS)
        self._taken = 0
        # The lowest levels since: `_lows[i]` is the lowest there was after the taking `_marks[i - 1]`. Both rise.
        self._marks: list[int] = []
        self._lows: list[int] = []
        self._set(account)

    def check(self, units: int, now: float) -> float:
        """Return how many seconds it takes until `units` can be had; 0.0: now, infinite: never."""
        ns = int(now * _NS)
        passed = ns - self._at
        if passed > 0:
            if self._level:
                level = self._level - passed * self._limit
                self._level = max(0, level)
            self._at = ns
        over = self._level + units * self._period_ns - self._capacity
        if over <= 0:
            return 0.0
        if units > self._limit:
            return math.inf
        return -(-over // self._limit) / _NS + _SLACK_S

    def take(self, units: int, now: float) -> int:
        """Take units, whether they are there or not: `check` first. Returns a mark for `give`."""
        if int(now * _NS) > self._at:
            self.check(0, now)
        level, lows, marks = self._level, self._lows, self._marks
        while lows and lows[-1] >= level:
            lows.pop()
            marks.pop()
        if len(lows) >= _MOST_LOWS:
            # Every second is forgotten, and the lower of the two stands for both: less is given back then.
            del lows[1::2], marks[::2]
        mark = self._taken = self._taken + 1
        lows.append(level)
        marks.append(mark)
        self._level = level + units * self._period_ns
        return mark

    def give(self, units: int, now: float, mark: int) -> None:
        """Give back units of a taking that were not used: from now on it is as if they had never been taken.

        What flowed out of an empty bucket's place meanwhile does not come back: else more than the limit could be used.
        """
        self.check(0, now)
        lows, marks = self._lows, self._marks
        later = bisect_right(marks, mark)
        back = min(units * self._period_ns, self._level, *lows[later : later + 1])
        if back <= 0:
            return
        self._level -= back
        if later == len(lows):
            return
        for index in range(later, len(lows)):
            lows[index] -= back
        first = later
        while first and lows[first - 1] >= lows[later]:
            first -= 1
        del lows[first:later], marks[first:later]

    def limit_to(self, account: Account) -> None:
        """Let another limit hold from now on; what was used stays used."""
        if account != self.account:
            self._set(account)

    def is_full(self, now: float) -> bool:
        """Whether all of it is there, so that nothing is lost if it is forgotten."""
        self.check(0, now)
        return not self._level

    def allowance(self, now: float) -> Allowance:
        self.check(0, now)
        remaining = (self._capacity - self._level) // self._period_ns
        remaining = max(0, remaining)
        return Allowance(self._limit, remaining, self._level / self._limit / _NS)

    def _set(self, account: Account) -> None:
        self.account = account
        self._limit = account.most
        self._period_ns = round(account.period_s * _NS)
        self._capacity = self._limit * self._period_ns


class LeasedMeter:
    """A rate that several processes draw on: what this one was granted, and has not used. The bank refills it.

    Nothing is leased ahead: an exchange takes what is held out of use until it is done. What is under way meanwhile
    counts as used: it is not given back later.
    """

    __slots__ = (
        "_back_at",
        "_by_bank",
        "_held",
        "_is_recalled",
        "_leases",
        "_least",
        "_left",
        "_recent",
        "account",
        "dry_until",
        "used_at",
    )
    window: ClassVar[int] = 0
    ends: ClassVar[float] = math.inf

    def __init__(self, account: Account, now: float) -> None:
        self.account = account
        self.used_at = now
        self.dry_until = -math.inf
        self._held = 0
        self._left = 0
        self._least = 0
        self._back_at = 0.0
        self._leases = 0
        self._is_recalled = False
        self._by_bank = 0
        self._recent = Recent(now)

    def check(self, units: int, now: float) -> float:
        """Return 0.0 if `units` are held here, else how many seconds it takes at least until they can be had."""
        if units <= self._held:
            return 0.0
        if units > self.account.most:
            return math.inf
        return max(_SLACK_S, self._back_at - now)

    def take(self, units: int, now: float) -> int:
        """Take units, whether they are there or not: `check` first. Returns a mark for `give`."""
        self._held -= units
        self.used_at = now
        self._recent.add(units, now)
        return self._leases

    def give(self, units: int, _: float, mark: int) -> None:
        """Give back units of a taking that were not used."""
        if mark == self._leases:
            self._held += units

    def limit_to(self, account: Account) -> None:
        """Let another limit hold from now on."""
        if account != self.account:
            self.account = account
            self.dry_until = -math.inf

    def is_full(self, now: float) -> bool:
        """Whether nothing is lost if it is forgotten."""
        return self._held <= 0 and now - self.used_at > self.account.period_s

    def allowance(self, now: float) -> Allowance:
        most, period_s = self.account.most, self.account.period_s
        remaining = max(0, min(most, self._held + self._left))
        return Allowance(most, remaining, max((most - remaining) * period_s / most, self._back_at - now))

    # --- slices

    @property
    def owed(self) -> int:
        return self._by_bank if self._is_recalled else 0

    @property
    def is_empty(self) -> bool:
        """Whether the bank knows that nothing is held here: what it thinks is held leaves no room in the bucket."""
        return not self._by_bank

    def is_dry(self, units: int, now: float) -> bool:
        """Whether the bank has just said that there is not as much."""
        return now < self.dry_until and units >= self._least

    def recall(self) -> None:
        """Have what is held given back."""
        self._is_recalled = True

    def want(self, least: int, total: int) -> Want:
        """Give back all that is held, and ask for what `total` units need, or for the smallest call at least."""
        back, self._held = max(0, self._held), min(0, self._held)
        self._is_recalled = False
        need = min(max(0, least - self._held), MOST) if total else 0
        like = max(total - self._held, self._recent.slice_of(self.account.most)) if total else 0
        return Want(self.account, 0, need, min(max(need, like), MOST), back)

    def got(self, want: Want, got: Got, now: float) -> None:
        self._leases += 1
        self._held += got.granted
        self._by_bank = got.held
        self._left = got.left
        self._least = want.need
        self._back_at = now + got.retry_s
        is_dry = want.like and not got.granted
        self.dry_until = now + min(got.retry_s or DRY_S, DRY_S) if is_dry else -math.inf

    def lost(self, _: Want) -> None:
        """Nobody knows whether the bank did what was asked: what was to be given back is not used, in case it did."""
        self._leases += 1
