"""What was spent of budgets, as far as the store knows it: the same in every process."""

import math
from collections.abc import Callable, Sequence
from zoneinfo import ZoneInfo

from dragoman.admission.windows import begin, end
from dragoman.errands import Spent
from dragoman.standing import Bank, Budget


class Spending:
    """Reads the accounts of budgets. `now` is Unix seconds; windows begin by the calendar of `zone`."""

    def __init__(self, bank: Bank, zone: ZoneInfo, now: Callable[[], float]) -> None:
        self._bank = bank
        self._zone = zone
        self._now = now

    async def of(self, budgets: Sequence[tuple[str, Budget | None]]) -> list[Spent]:
        """Return what each holder, named as in `dragoman.standing.Account`, spent in the window that it is in now;
        one read for all. Raises StoreFailed.
        """
        at = self._now()
        accounts = [
            (f"{holder}/money.{budget.window}", begin(budget.window, at, self._zone))
            for holder, budget in budgets
            if budget
        ]
        units = iter(await self._bank.spent(accounts) if accounts else ())
        return [Spent(next(units), self._resets(budget, at)) if budget else Spent() for _, budget in budgets]

    def _resets(self, budget: Budget, at: float) -> int | None:
        ends = end(budget.window, at, self._zone)
        return int(ends) if math.isfinite(ends) else None
