"""What a call lacks: what may be had from the bank, and what it is refused for."""

import math

from dragoman.admission import refusals
from dragoman.admission.accounts import Checks
from dragoman.admission.grants import Bound
from dragoman.admission.leases import Slice
from dragoman.admission.meters import LeasedMeter, Meter
from dragoman.admission.purses import Now, Pot
from dragoman.admission.windows import Calendar
from dragoman.faults import CallerFault


class Shortage:
    """All accounts that have not enough for a call: `slices` are to be asked of the bank, `faults` are final."""

    def __init__(self, checks: Checks, bound: Bound, now: Now, calendar: Calendar, *, is_sole: bool) -> None:
        self.slices: list[tuple[Slice, int]] = []
        self.faults: list[CallerFault] = []
        self._now = now
        self._is_sole = is_sole
        for meter in checks.requests:
            self._see_meter(meter, 1)
        for meter in checks.tokens:
            self._see_meter(meter, bound.prompt_tokens + bound.output_tokens)
        for pot in checks.places:
            if self._is_final(pot, 1):
                self.faults.append(refusals.over_places(pot.account))
        for purse in checks.quotas:
            pot = purse.pot_at(now)
            if self._is_final(pot, 1):
                self.faults.append(refusals.over_quota(pot, now.at, calendar))
        micro = bound.micro or 0
        for purse in checks.money:
            pot = purse.pot_at(now)
            if self._is_final(pot, micro):
                self.faults.append(refusals.over_budget(pot, purse.kind, micro, now.at, calendar))

    def _see_meter(self, meter: Meter | LeasedMeter, units: int) -> None:
        wait_s = meter.check(units, self._now.s)
        if not wait_s:
            return
        if isinstance(meter, LeasedMeter) and not math.isinf(wait_s) and not meter.is_dry(units, self._now.s):
            self.slices.append((meter, max(1, units)))
        else:
            self.faults.append(refusals.over_rate(meter.account, units, wait_s))

    def _is_final(self, pot: Pot, units: int) -> bool:
        """Say whether a pot has not enough, and nothing can be done about it."""
        if pot.free >= units or not pot.is_known:
            return False
        if self._is_sole or units > pot.account.most or pot.is_dry(units, self._now.s):
            return True
        # What costs nothing needs what is overdrawn to be made good.
        self.slices.append((pot, max(1, units)))
        return False
