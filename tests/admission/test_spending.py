"""What was spent of budgets: by whose calendar, and with how many questions to the bank."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from dragoman.admission.spending import Spending
from dragoman.errands import Spent
from dragoman.standing import Budget

BERLIN = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 3, 29, 12, tzinfo=UTC).timestamp()
"""The day on which clocks there go forward."""


def berlin(*when):
    return int(datetime(*when, tzinfo=BERLIN).timestamp())


class Ledger:
    """The part of a bank that is read here; says what it was asked."""

    def __init__(self, **units):
        self.units = units
        self.asked = []

    async def spent(self, accounts):
        self.asked.append(list(accounts))
        return [self.units.get(name.partition("/")[0].replace(":", "_"), 0) for name, _ in accounts]


def spending(bank):
    return Spending(bank, BERLIN, lambda: AT)


@pytest.mark.parametrize(
    ("window", "began", "resets"),
    [
        ("hour", berlin(2026, 3, 29, 14), berlin(2026, 3, 29, 15)),
        ("day", berlin(2026, 3, 29), berlin(2026, 3, 30)),
        ("week", berlin(2026, 3, 23), berlin(2026, 3, 30)),
        ("month", berlin(2026, 3, 1), berlin(2026, 4, 1)),
        ("year", berlin(2026, 1, 1), berlin(2027, 1, 1)),
        ("total", 0, None),
    ],
)
async def test_a_window_is_that_of_the_zone(window, began, resets):
    bank = Ledger(key_k1=7)
    assert await spending(bank).of([("key:k1", Budget(10, window))]) == [Spent(7, resets)]
    assert bank.asked == [[(f"key:k1/money.{window}", began)]]


async def test_a_page_is_one_question():
    bank = Ledger(key_a=1, key_c=3)
    found = await spending(bank).of([("key:a", Budget(5)), ("key:b", None), ("key:c", Budget(5)), ("key:d", Budget(5))])
    assert found == [Spent(1), Spent(), Spent(3), Spent(0)]
    assert len(bank.asked) == 1


async def test_without_budgets_nothing_is_asked():
    bank = Ledger()
    assert await spending(bank).of([("key:a", None)]) == [Spent()]
    assert await spending(bank).of([]) == []
    assert bank.asked == []
