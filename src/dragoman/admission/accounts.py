"""All accounts that this process counts in, and which of them a call meets."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from dragoman.admission.meters import LeasedMeter, Meter
from dragoman.admission.purses import Now, Pot, Purse
from dragoman.admission.windows import Calendar
from dragoman.faults import Overloaded
from dragoman.people import Principal
from dragoman.standing import NO_LIMITS, Account, Budget, Holder, Limits, Window

MINUTE_S = 60.0
IDLE_S = 3600.0
MOST_HOLDERS = 200_000
_MOST_CHECKS = 100_000
_SCANNED = 2_000
"""How many accounts are looked at in one go, so that nobody waits for that."""


class Holding:
    """The accounts of one holder. What is no longer limited is kept for when it is again."""

    __slots__ = ("budget", "limits", "meters", "name", "places", "purses", "used_at")

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.limits = NO_LIMITS
        self.budget: Budget | None = None
        self.meters: dict[str, Meter | LeasedMeter] = {}
        self.purses: dict[str, Purse] = {}
        self.places: Pot | None = None
        self.used_at = now

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held here that other processes could have."""
        pots = [purse.pot for purse in self.purses.values()]
        return all(pot.is_empty for pot in pots) and (self.places is None or self.places.is_empty)

    def is_unused(self, now: float) -> bool:
        """Whether it is forgotten without loss, once the store knows what was spent."""
        if now - self.used_at < IDLE_S or (self.places and self.places.reserved):
            return False
        return all(not purse.pot.reserved for purse in self.purses.values()) and all(
            meter.is_full(now) for meter in self.meters.values()
        )


class Checks:
    """What a call of one principal to one model must pass, flat. `epoch` is the register's as this was made."""

    __slots__ = (
        "epoch",
        "has_limits",
        "holders",
        "holdings",
        "is_empty",
        "money",
        "places",
        "quotas",
        "requests",
        "tokens",
    )

    def __init__(self, holders: tuple[Holder, ...], holdings: Iterable[Holding], epoch: int) -> None:
        self.holders = holders
        self.epoch = epoch
        self.holdings = tuple(holdings)
        self.requests = tuple(h.meters["requests"] for h in self.holdings if h.limits.requests_per_minute)
        self.tokens = tuple(h.meters["tokens"] for h in self.holdings if h.limits.tokens_per_minute)
        self.places = tuple(h.places for h in self.holdings if h.places and h.limits.parallel)
        self.quotas = tuple(h.purses["requests.day"] for h in self.holdings if h.limits.requests_per_day)
        self.money = tuple(h.purses[f"money.{h.budget.window}"] for h in self.holdings if h.budget)
        self.is_empty = not self.holdings
        self.has_limits = bool(self.requests or self.tokens or self.quotas)


class Used(NamedTuple):
    """What was used of a limit: `used` and `limit` in its units, `resets_at` in Unix seconds (None: it does not)."""

    name: str
    used: int
    limit: int
    window: int
    resets_at: float | None


class Register:
    """Finds the checks of a call, and makes the accounts that it needs."""

    def __init__(self, deployment: Holder, models: Mapping[str, Limits], calendar: Calendar, *, is_sole: bool) -> None:
        self._always = (deployment,) if deployment.limits or deployment.budget else ()
        self.has_budget = deployment.budget is not None
        """Whether a budget applies to every call."""
        self._models = {name: Holder(f"model:{name}", limits) for name, limits in models.items() if limits}
        self._calendar = calendar
        self._is_sole = is_sole
        self._holdings: dict[str, Holding] = {}
        self._checks: dict[tuple[str, str], Checks] = {}
        self._turned: list[Purse] = []
        self._cursor: Iterator[str] = iter(())
        self.epoch = 0
        """Counts changes after which checks are made anew."""

    def __len__(self) -> int:
        return len(self._holdings)

    def find(self, principal: Principal, model: str) -> Checks | None:
        """Return the checks of a call, if they were made before and still hold."""
        checks = self._checks.get((principal.name, model))
        if checks is None or checks.epoch != self.epoch:
            return None
        return checks if checks.holders is principal.holders or checks.holders == principal.holders else None

    def make(self, principal: Principal, model: str, now: Now) -> Checks:
        """Make the checks of a call. Raises Overloaded where there are too many holders."""
        named = self._models.get(model)
        holders = (*principal.holders, *((named,) if named else ()), *self._always)
        return self._make((principal.name, model), principal.holders, holders, now)

    def seat(self, holder: Holder, now: Now) -> Checks:
        """Return the checks of a holder alone. Raises Overloaded."""
        checks = self._checks.get((holder.name, ""))
        if checks is not None and checks.epoch == self.epoch and checks.holders[0] == holder:
            return checks
        return self._make((holder.name, ""), (holder,), (holder,), now)

    def turned(self) -> list[Purse]:
        """Return those purses whose window turned, and which do not know what was spent of the next one yet."""
        self._turned[:] = [purse for purse in self._turned if purse.asks()]
        return self._turned

    def used(self, holder: str, now: Now) -> list[Used]:
        """Return what was used of a holder's limits that do not refill."""
        holding = self._holdings.get(holder)
        if holding is None:
            return []
        used = []
        for purse in holding.purses.values():
            pot = purse.pot_at(now)
            resets_at = None if purse.kind == "total" else pot.ends
            used.append(Used(pot.account.name, pot.account.most - pot.left(), pot.account.most, pot.window, resets_at))
        return used

    def unused(self, now: float) -> list[Holding]:
        """Return some holders of whom nothing was asked for long, going round all of them call by call."""
        names = [name for _, name in zip(range(_SCANNED), self._cursor, strict=False)]
        if not names:
            self._cursor = iter(list(self._holdings))
        holdings = (self._holdings.get(name) for name in names)
        return [holding for holding in holdings if holding is not None and holding.is_unused(now)]

    def forget(self, holding: Holding) -> None:
        del self._holdings[holding.name]
        self.epoch += 1

    def _make(self, key: tuple[str, str], given: tuple[Holder, ...], holders: tuple[Holder, ...], now: Now) -> Checks:
        limited = {holder.name: holder for holder in holders if holder.limits or holder.budget}
        holdings = [self._holding(holder, now) for holder in limited.values()]
        if len(self._checks) >= _MOST_CHECKS:
            self._checks.clear()
        checks = self._checks[key] = Checks(given, holdings, self.epoch)
        return checks

    def _holding(self, holder: Holder, now: Now) -> Holding:
        holding = self._holdings.get(holder.name)
        if holding is None:
            if len(self._holdings) >= MOST_HOLDERS:
                raise Overloaded("Too many callers are being counted now.", retry_after_s=MINUTE_S)
            holding = self._holdings[holder.name] = Holding(holder.name, now.s)
        elif holding.limits == holder.limits and holding.budget == holder.budget:
            return holding
        else:
            self.epoch += 1
        holding.limits, holding.budget = holder.limits, holder.budget
        self._limit(holding, now)
        return holding

    def _limit(self, holding: Holding, now: Now) -> None:
        """Make the accounts that a holder's limits need, and let the limits hold in those that there are."""
        limits, name = holding.limits, holding.name
        for what, most in (("requests", limits.requests_per_minute), ("tokens", limits.tokens_per_minute)):
            if most:
                self._meter(holding, Account(f"{name}/{what}", "rate", most, MINUTE_S), what, now.s)
        if limits.parallel:
            account = Account(f"{name}/parallel", "places", limits.parallel)
            if holding.places is None:
                holding.places = Pot(account, now=now.s, is_sole=self._is_sole)
            holding.places.limit_to(account, self.epoch)
        if limits.requests_per_day:
            self._purse(holding, Account(f"{name}/requests.day", "requests", limits.requests_per_day), "day", now)
        if holding.budget:
            kind = holding.budget.window
            self._purse(holding, Account(f"{name}/money.{kind}", "money", holding.budget.micro), kind, now)

    def _meter(self, holding: Holding, account: Account, what: str, now: float) -> None:
        meter = holding.meters.get(what)
        if meter is None:
            holding.meters[what] = (Meter if self._is_sole else LeasedMeter)(account, now)
        else:
            meter.limit_to(account)

    def _purse(self, holding: Holding, account: Account, kind: Window, now: Now) -> None:
        what = account.name.rpartition("/")[2]
        purse = holding.purses.get(what)
        if purse is None:
            holding.purses[what] = Purse(account, kind, self._calendar, now, self._turned, is_sole=self._is_sole)
        else:
            purse.limit_to(account, self.epoch)
