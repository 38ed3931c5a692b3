"""Where every call asks for what it may use up: all of it is taken in one step, from all accounts, or none."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from zoneinfo import ZoneInfo

from dragoman.admission import refusals
from dragoman.admission.accounts import Checks, Register, Used
from dragoman.admission.grants import Bound, Grant
from dragoman.admission.leases import RENEW_S, Leases
from dragoman.admission.purses import Now, Pot
from dragoman.admission.shortages import Shortage
from dragoman.admission.windows import Calendar
from dragoman.faults import CallerFault, Overloaded, StoreFailed
from dragoman.people import Principal
from dragoman.standing import Allowance, Bank, Holder, Limits, Standing

__all__ = ["Bound", "Desk", "Grant"]

_SOON_S = 0.05
_LONG_S = 60.0
_MOST_ROUNDS = 16


class Desk:
    """Counts what everybody uses, in memory.

    Args:
        bank: knows what was spent; where it is not this process's own, slices are leased from it.
        deployment: the holder named `all`, whose limits and budget hold for every call.
        models: the limits of each public model.
        zone: in which days, weeks, months and years begin.
        now: returns Unix seconds.
        clock: returns seconds of a monotonic clock.
        lease_wait_s: how long a call waits for the bank.

    """

    def __init__(  # noqa: PLR0913 - what a deployment limits, and its clocks
        self,
        bank: Bank,
        *,
        deployment: Holder,
        models: Mapping[str, Limits],
        zone: ZoneInfo,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        lease_wait_s: float = 2.0,
    ) -> None:
        self.clock = clock
        self._now = now
        self._lease_wait_s = lease_wait_s
        self._is_sole = bank.is_sole
        self._calendar = Calendar(zone)
        self._register = Register(deployment, models, self._calendar, is_sole=bank.is_sole)
        self._bank = bank
        self._leases = Leases(bank, clock)

    def has_budget(self, principal: Principal) -> bool:
        """Say whether a call of this principal is paid from a budget, so that its price must be known."""
        if self._register.has_budget:
            return True
        for holder in principal.holders:  # noqa: SIM110 - twice as fast as `any`, and it is asked at every call
            if holder.budget is not None:
                return True
        return False

    def enter(self, principal: Principal, model: str, bound: Bound) -> Grant | None:
        """Take what a call may use; None: only `admit` can say, since the bank must be asked. Never waits.

        Raises TooMany, OverBudget, Overloaded; then nothing was taken.
        """
        register = self._register
        checks = register.find(principal, model)
        if checks is None:
            checks = register.make(principal, model, Now(self._now(), self.clock()))
        return self._take(checks, bound, model)

    async def admit(self, principal: Principal, model: str, bound: Bound) -> Grant:
        """Take what a call may use. Asks the bank, for `lease_wait_s` at most, if this process does not have it.

        Raises:
            TooMany: a limit is used up; or a request is larger than one.
            OverBudget: a budget has not as much left, or there is one and the price is not known.
            Overloaded: the bank does not answer, so that nobody knows.

        In each case nothing was taken.

        """
        until = self.clock() + self._lease_wait_s
        # Others may take what was granted; and while a limit is being changed, callers may not agree what it is.
        for _ in range(_MOST_ROUNDS):
            grant = self.enter(principal, model, bound)
            if grant is not None:
                return grant
            left_s = until - self.clock()
            if left_s <= 0:
                break
            now = Now(self._now(), self.clock())
            checks = self._register.find(principal, model) or self._register.make(principal, model, now)
            await self._ask(checks, bound, now, left_s)
        raise Overloaded("What may be used up cannot be confirmed now.", retry_after_s=1.0)

    def seat(self, holder: Holder, bound: Bound) -> Grant | float:
        """Take what a call may use of one holder's limits alone, or say after how many seconds to come again.

        Never waits: where the bank must be asked that is done meanwhile. Raises Overloaded.
        """
        now = Now(self._now(), self.clock())
        checks = self._register.seat(holder, now)
        try:
            grant = self._take(checks, bound, "")
        except CallerFault as fault:
            return _LONG_S if fault.retry_after_s is None else fault.retry_after_s
        if grant is None:
            if self._is_sole:
                self._leases.learn_soon(checks.money + checks.quotas)
            else:
                slices = Shortage(checks, bound, now, self._calendar, is_sole=False).slices
                self._leases.ask_soon(slices)
            return _SOON_S
        return grant

    def standing(self, checks: Checks) -> Standing | None:
        """Return where those stand who meet these checks; None if nothing is limited."""
        if not checks.has_limits:
            return None
        s = self.clock()
        requests = [meter.allowance(s) for meter in checks.requests]
        if checks.quotas:
            now = Now(self._now(), s)
            for purse in checks.quotas:
                pot = purse.pot_at(now)
                requests.append(Allowance(pot.account.most, pot.left(), max(0.0, pot.ends - now.at)))
        return Standing(_tightest(requests), _tightest([meter.allowance(s) for meter in checks.tokens]))

    def accounts(self, holder: str) -> list[Used]:
        """Return what was used of a holder's budgets and daily quotas, as far as this process knows."""
        return self._register.used(holder, Now(self._now(), self.clock()))

    async def run(self) -> None:
        """Renew what is leased, give back what nobody needs, and forget who has been away, until cancelled."""
        while True:
            await asyncio.sleep(RENEW_S)
            await self.tidy()

    async def tidy(self) -> None:
        """Do once what `run` does every few seconds. Raises nothing if the bank fails."""
        now = Now(self._now(), self.clock())
        try:
            if self._is_sole:
                await self._leases.learn(self._register.turned(), self._lease_wait_s)
            else:
                await self._leases.renew(now.at)
            await self._forget(now)
        except (Overloaded, StoreFailed):
            return

    def _take(self, checks: Checks, bound: Bound, model: str) -> Grant | None:
        grant = Grant(self, checks)
        if checks.is_empty:
            return grant
        s = self.clock()
        money: list[Pot] = []
        quotas: list[Pot] = []
        if not self._is_enough(checks, bound, s, money, quotas):
            self._refuse_for_good(checks, bound, model, s)
            return None
        grant.take(bound, money, quotas, s)
        if not self._is_sole:
            self._lease_ahead((*checks.places, *quotas, *money), s)
        return grant

    def _is_enough(self, checks: Checks, bound: Bound, s: float, money: list[Pot], quotas: list[Pot]) -> bool:
        """Say whether all accounts have what a call may use, and fill in which windows' they are. Takes nothing."""
        for meter in checks.requests:
            if meter.check(1, s):
                return False
        if checks.tokens:
            tokens = bound.prompt_tokens + bound.output_tokens
            for meter in checks.tokens:
                if meter.check(tokens, s):
                    return False
        for pot in checks.places:
            if pot.free < 1:
                return False
        if checks.money or checks.quotas:
            at = self._now()
            micro = bound.micro
            for purse in checks.money:
                pot = purse.pot if at < purse.pot.ends else purse.pot_at(Now(at, s))
                if micro is None or pot.free < micro:
                    return False
                money.append(pot)
            for purse in checks.quotas:
                pot = purse.pot if at < purse.pot.ends else purse.pot_at(Now(at, s))
                if pot.free < 1:
                    return False
                quotas.append(pot)
        return self._is_sole or not self._leases.is_stale(s)

    def _refuse_for_good(self, checks: Checks, bound: Bound, model: str, s: float) -> None:
        """Raise the fault that follows from what is missing; return if the bank must be asked for it first."""
        if bound.micro is None and checks.money:
            raise refusals.no_price(model)
        shortage = Shortage(checks, bound, Now(self._now(), s), self._calendar, is_sole=self._is_sole)
        if shortage.faults:
            fault = refusals.worst(shortage.faults)
            fault.standing = self.standing(checks)
            raise fault

    async def _ask(self, checks: Checks, bound: Bound, now: Now, timeout_s: float) -> None:
        """Have the bank say what must be known, or grant what is missing. Raises Overloaded."""
        if self._is_sole:
            await self._leases.learn(checks.money + checks.quotas, timeout_s)
            return
        slices = Shortage(checks, bound, now, self._calendar, is_sole=False).slices
        try:
            await self._leases.ask(slices, timeout_s)
        except Overloaded:
            # What is held is enough, and was only to be confirmed.
            if slices:
                raise

    def _lease_ahead(self, pots: Iterable[Pot], now: float) -> None:
        for pot in pots:
            if pot.is_low(now):
                self._leases.ask_ahead(pot)

    async def _forget(self, now: Now) -> None:
        """Forget holders who are away, but not what the store does not know yet."""
        unused = self._register.unused(now.s)
        if not self._is_sole:
            for holding in unused:
                if holding.is_empty:
                    self._register.forget(holding)
            return
        pots = [[purse.pot for purse in holding.purses.values()] for holding in unused]
        keys = [(pot.account.name, pot.window) for each in pots for pot in each]
        sums = dict(zip(keys, await self._bank.spent(keys) if keys else (), strict=True))
        for holding, each in zip(unused, pots, strict=True):
            is_told = all(not pot.is_known or sums[pot.account.name, pot.window] == pot.used for pot in each)
            if is_told and holding.is_unused(now.s):
                self._register.forget(holding)


def _tightest(allowances: list[Allowance]) -> Allowance | None:
    return min(allowances, key=_tightness) if len(allowances) > 1 else allowances[0] if allowances else None


def _tightness(allowance: Allowance) -> float:
    return allowance.remaining / allowance.limit if allowance.limit else 0.0
