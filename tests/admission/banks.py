"""A bank in memory that keeps the contract of `dragoman.standing.Bank`, at the time of a clock that the test sets."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from dragoman.faults import StoreFailed
from dragoman.records import Charge
from dragoman.standing import Account, Bank, Got, Want

LEASE_S = 30.0


class Clock:
    """Both clocks of a process: `now` is Unix seconds, `s` those of a clock that is never put back."""

    def __init__(self, now: float = 1_700_000_000.0, s: float = 1000.0) -> None:
        self.now = now
        self.s = s

    def unix(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.s

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.s += seconds


class Vault:
    """What all processes share: what was spent, what each holds, and what is in the buckets of rates."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.spent: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.shares: defaultdict[tuple[str, int], dict[str, int]] = defaultdict(dict)
        self.until: dict[str, float] = {}
        self.rates: dict[str, tuple[float, float]] = {}

    def load(self, charges: Iterable[Charge], run: str = "") -> None:
        """Do what the journal's loader does with the charges of a record."""
        for charge in charges:
            key = charge.account, charge.window
            self.spent[key] += charge.units
            held = self.shares[key]
            if run in held:
                held[run] = max(0, held[run] - charge.units)

    def end_leases(self) -> None:
        for run, until in list(self.until.items()):
            if until <= self.clock.s:
                self.leave(run)

    def leave(self, run: str) -> None:
        self.until.pop(run, None)
        for key, held in self.shares.items():
            units = held.pop(run, 0)
            if key[0] in self.rates:
                level, at = self.rates[key[0]]
                self.rates[key[0]] = level + units, at

    def exchange(self, run: str, want: Want) -> Got:
        account = want.account
        assert 0 <= want.need <= want.like or want.like == 0 == want.need
        shares = self.shares[account.name, want.window]
        if account.unit == "rate":
            return self._exchange_rate(run, want, shares)
        held = shares.get(run, 0)
        held -= min(want.back, held)
        others = sum(units for other, units in shares.items() if other != run)
        left = account.most - self.spent[account.name, want.window] - others - held
        granted = max(0, min(max(want.like, want.need), left)) if left >= want.need else 0
        shares[run] = held + granted
        return Got(granted, held + granted, max(0, left - granted))

    def _exchange_rate(self, run: str, want: Want, shares: dict[str, int]) -> Got:
        """What was held before and is not given back counts as used."""
        account, now = want.account, self.clock.s
        level, at = self.rates.get(account.name, (float(account.most), now))
        room = account.most - sum(shares.values())
        level = min(level + max(0.0, now - at) * account.most / account.period_s, float(room))
        level += min(want.back, shares.get(run, 0))
        others = sum(units for other, units in shares.items() if other != run)
        level = max(0.0, min(level, float(account.most - others)))
        granted = max(0, min(max(want.like, want.need), math.floor(level))) if level >= want.need else 0
        shares[run] = granted
        self.rates[account.name] = level - granted, now
        missing = (want.need or 1) - level
        retry_s = missing * account.period_s / account.most + 1e-6 if not granted and missing > 0 else 0.0
        return Got(granted, granted, math.floor(level - granted), retry_s)


class MemoryBank(Bank):
    """One process's way to the vault. `fails`: the database is down; `asked` counts requests."""

    def __init__(self, vault: Vault, run: str = "", *, is_sole: bool = True) -> None:
        self.vault = vault
        self.run = run
        self.fails = False
        self.asked = 0
        self.wants: list[Sequence[Want]] = []
        self._is_sole = is_sole

    @property
    def is_sole(self) -> bool:
        return self._is_sole

    async def spent(self, accounts: Sequence[tuple[str, int]]) -> list[int]:
        self._ask()
        return [self.vault.spent[key] for key in accounts]

    async def lease(self, wants: Sequence[Want]) -> list[Got]:
        assert not self._is_sole
        self._ask()
        self.wants.append(wants)
        self.vault.until[self.run] = self.vault.clock.s + LEASE_S
        self.vault.end_leases()
        return [self.vault.exchange(self.run, want) for want in wants]

    async def leave(self) -> None:
        self._ask()
        self.vault.leave(self.run)

    def held(self, account: Account | str, window: int = 0) -> int:
        name = account if isinstance(account, str) else account.name
        return self.vault.shares[name, window].get(self.run, 0)

    def _ask(self) -> None:
        self.asked += 1
        if self.fails:
            raise StoreFailed
