"""What callers are told when a limit or a budget is used up: which, whose, and when to come again."""

import math

from dragoman.admission.purses import Pot
from dragoman.admission.windows import Calendar
from dragoman.faults import CallerFault, OverBudget, TooMany
from dragoman.money import write_amount
from dragoman.standing import Account, Window

PLACE_S = 1.0
"""After so long a caller may look again whether one of its requests has ended: nobody knows when one will."""
_MOST_NAME = 100


def whose(account: str) -> str:
    """Say in plain words whose account this is."""
    holder = account.rpartition("/")[0]
    if holder == "all":
        return "this whole deployment"
    kind, _, name = holder.partition(":")
    return f"the {kind} {name[:_MOST_NAME]!r}"


def over_rate(account: Account, units: int, wait_s: float) -> TooMany:
    what = account.name.rpartition("/")[2]
    if math.isinf(wait_s):
        return TooMany(
            f"This request may use {units:,} {what}, and {whose(account.name)} never has more than {account.most:,} "
            "a minute."
        )
    return TooMany(
        f"The limit of {account.most:,} {what} a minute of {whose(account.name)} is used up; "
        f"try again in {math.ceil(wait_s)} s.",
        retry_after_s=wait_s,
    )


def over_places(account: Account) -> TooMany:
    return TooMany(
        f"The limit of {account.most:,} requests at the same time of {whose(account.name)} is reached; "
        "try again as one of them ends.",
        retry_after_s=PLACE_S,
    )


def over_quota(pot: Pot, at: float, calendar: Calendar) -> TooMany:
    if not pot.account.most:
        return TooMany(f"There are no requests a day for {whose(pot.account.name)}.")
    return TooMany(
        f"The limit of {pot.account.most:,} requests a day of {whose(pot.account.name)} is used up; "
        f"it begins anew at {calendar.show(pot.ends)}.",
        retry_after_s=max(0.0, pot.ends - at),
    )


def over_budget(pot: Pot, kind: Window, need_micro: int, at: float, calendar: Calendar) -> OverBudget:
    most = write_amount(pot.account.most)
    amount = f"{most} in all" if kind == "total" else f"{most} a {kind}"
    text = (
        f"The budget of {whose(pot.account.name)}, {amount}, has {write_amount(pot.left())} left, "
        f"and this request may cost {write_amount(need_micro)}"
    )
    if math.isinf(pot.ends):
        return OverBudget(f"{text}.")
    text += f"; it begins anew at {calendar.show(pot.ends)}."
    # What is more than the whole budget will not be let in then either.
    retry_after_s = max(0.0, pot.ends - at) if need_micro <= pot.account.most else None
    return OverBudget(text, retry_after_s=retry_after_s)


def no_price(model: str) -> OverBudget:
    return OverBudget(
        f"The model {model[:_MOST_NAME]!r} has no known price, so what it costs cannot be taken from a budget.",
        kind="no_price",
    )


def worst(faults: list[CallerFault]) -> CallerFault:
    """Return the one after which there is the longest to wait, so that nobody is told to come too early."""
    return max(faults, key=_wait_s)


def _wait_s(fault: CallerFault) -> float:
    return math.inf if fault.retry_after_s is None else fault.retry_after_s
