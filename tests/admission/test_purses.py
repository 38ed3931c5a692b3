"""A pot's money is taken before a call and settled after it in the same window; nothing is lost or made."""

import math
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.admission.purses import Now, Pot, Purse, Recent
from dragoman.admission.windows import Calendar
from dragoman.standing import Account, Got

DAY_S = 86400
START = 1_699_920_000


def money(most: int, window: str = "day") -> Account:
    return Account(f"key:ann/money.{window}", "money", most)


def own(most: int, spent: int | None = 0) -> Pot:
    pot = Pot(money(most), START, START + DAY_S, now=0.0, is_sole=True)
    if spent is not None:
        pot.know(spent)
    return pot


def shared(most: int, granted: int = 0) -> Pot:
    pot = Pot(money(most), START, START + DAY_S, now=0.0, is_sole=False)
    if granted:
        pot.got(pot.want(granted, granted), Got(granted, granted, most - granted), 0.0)
    return pot


def purse(most: int = 100, window: str = "day", turned: list | None = None) -> Purse:
    turned = [] if turned is None else turned
    return Purse(money(most, window), window, Calendar(ZoneInfo("UTC")), Now(START + 5.0, 0.0), turned, is_sole=True)


# --- one process


def test_nothing_is_free_before_it_is_known_what_was_spent() -> None:
    pot = own(100, None)
    assert not pot.is_known
    assert pot.free < 0
    pot.know(30)
    assert (pot.free, pot.used) == (70, 30)
    pot.know(0)
    assert pot.free == 70


def test_the_truth_is_settled() -> None:
    pot = own(100)
    pot.take(40, 0.0)
    assert (pot.free, pot.reserved) == (60, 40)
    pot.settle(40, 15)
    assert (pot.free, pot.reserved, pot.used) == (85, 0, 15)
    pot.take(40, 0.0)
    pot.settle(40, 100)
    assert (pot.free, pot.used) == (-15, 115)
    assert pot.left() == 0


def test_another_limit_holds_at_once() -> None:
    pot = own(100, 50)
    pot.take(30, 0.0)
    pot.limit_to(money(60))
    assert pot.free == -20
    pot.settle(30, 5)
    assert pot.free == 5
    pot.limit_to(money(200))
    assert pot.free == 145


def test_another_limit_before_anything_is_known() -> None:
    pot = own(100, None)
    pot.limit_to(money(60))
    pot.know(10)
    assert pot.free == 50


def test_places_need_nobody_to_say_how_many_there_are() -> None:
    assert Pot(Account("key:ann/parallel", "places", 3), now=0.0, is_sole=True).free == 3


def test_what_was_taken_in_a_window_is_settled_in_it() -> None:
    here = purse()
    here.know(here.asks(), [0, 0])
    old = here.pot
    old.take(60, 0.0)
    new = here.pot_at(Now(START + DAY_S, 1.0))
    assert (new.window, new.free) == (START + DAY_S, 100)
    old.settle(60, 20)
    assert (old.used, new.free, new.used) == (20, 100, 0)


def test_a_clock_that_is_put_back_opens_no_older_window() -> None:
    here = purse()
    here.know(here.asks(), [0, 0])
    new = here.pot_at(Now(START + DAY_S, 1.0))
    new.take(100, 1.0)
    assert here.pot_at(Now(START + 10.0, 2.0)) is new
    assert here.pot_at(Now(0.0, 2.0)) is new


def test_what_was_spent_of_the_next_window_is_known_before_it_begins() -> None:
    turned: list[Purse] = []
    here = purse(turned=turned)
    keys = here.asks()
    assert keys == [("key:ann/money.day", START), ("key:ann/money.day", START + DAY_S)]
    here.know(keys, [10, 25])
    assert here.asks() == []
    assert here.pot_at(Now(START + DAY_S, 1.0)).free == 75
    assert turned == [here]
    assert here.asks() == [("key:ann/money.day", START + 2 * DAY_S)]


def test_a_window_that_nobody_looked_ahead_to_is_not_known() -> None:
    here = purse()
    here.know(here.asks(), [10, 25])
    pot = here.pot_at(Now(START + 5 * DAY_S, 1.0))
    assert not pot.is_known
    assert here.asks() == [("key:ann/money.day", START + 5 * DAY_S), ("key:ann/money.day", START + 6 * DAY_S)]


def test_a_total_has_no_next_window() -> None:
    here = purse(window="total")
    assert here.asks() == [("key:ann/money.total", 0)]
    assert math.isinf(here.pot.ends)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 200), st.integers(0, 300), st.lists(st.tuples(st.sampled_from("tsrl"), st.integers(0, 80)), max_size=60))  # fmt: skip
def test_nothing_is_lost_or_made(limit, spent, steps) -> None:
    pot, under_way, used = own(limit, spent), [], spent
    for step, units in steps:
        if step == "t" and pot.free >= units:
            pot.take(units, 0.0)
            under_way.append(units)
            assert used + sum(under_way) <= limit
        elif step == "l":
            limit = units * 4
            pot.limit_to(money(limit))
        elif under_way and step in "sr":
            reserved = under_way.pop()
            actual = min(units, reserved) if step == "s" else 0
            pot.settle(reserved, actual)
            used += actual
        assert (pot.reserved, pot.used) == (sum(under_way), used)
        assert pot.free == limit - used - sum(under_way)


# --- slices


def test_only_what_was_granted_is_free() -> None:
    pot = shared(100)
    assert pot.free == 0
    want = pot.want(5, 8)
    assert (want.window, want.need, want.like, want.back) == (START, 5, 8, 0)
    pot.got(want, Got(8, 8, 92), 0.0)
    assert pot.free == 8
    assert pot.left() == 100


def test_what_is_there_already_is_not_asked_for() -> None:
    pot = shared(100, 10)
    want = pot.want(15, 40)
    assert (want.need, want.like) == (5, 30)


def test_a_slice_lasts_for_some_seconds_and_leaves_something_for_others() -> None:
    pot = shared(16_100, 100)
    pot.take(50, 0.5)
    pot.take(50, 0.6)
    assert pot.want(1, 1).like == 500
    poor = shared(260, 100)
    poor.take(100, 0.5)
    assert poor.want(1, 1).like == 10


def test_what_was_used_in_the_last_second() -> None:
    recent = Recent(0.0)
    recent.add(5, 0.5)
    recent.add(5, 0.9)
    assert recent.slice_of(16_000) == 50
    recent.add(2, 1.5)
    assert recent.slice_of(16_000) == 50
    recent.add(2, 2.6)
    assert recent.slice_of(16_000) == 10
    recent.add(1, 9.0)
    assert recent.slice_of(16_000) == 5


def test_a_lower_limit_takes_back_what_is_free() -> None:
    pot = shared(100, 50)
    pot.take(20, 0.0)
    pot.limit_to(money(30))
    assert (pot.free, pot.owed) == (0, 30)
    assert pot.want(1, 1).back == 30


def test_what_the_bank_said_is_not_there_is_not_asked_for_again_at_once() -> None:
    pot = shared(100)
    pot.got(pot.want(50, 50), Got(0, 0, 20), 10.0)
    assert pot.is_dry(50, 10.1)
    assert not pot.is_dry(20, 10.1)
    assert not pot.is_dry(50, 10.3)


def test_what_may_have_been_given_back_is_found_out() -> None:
    pot = shared(100, 50)
    pot.take(20, 0.0)
    pot.recall()
    want = pot.want(0, 0)
    pot.lost(want)
    assert (pot.free, pot.owed) == (0, 0)
    # It was not done: 50 are held still.
    pot.got(pot.want(1, 1), Got(1, 51, 49), 1.0)
    assert pot.free == 31


def test_what_was_given_back_is_not_claimed_again() -> None:
    pot = shared(100, 50)
    pot.take(20, 0.0)
    pot.recall()
    pot.lost(pot.want(0, 0))
    pot.got(pot.want(1, 1), Got(1, 21, 79), 1.0)
    assert pot.free == 1


def test_what_is_not_counted_as_spent_yet_is_not_claimed() -> None:
    pot = shared(100, 50)
    pot.take(20, 0.0)
    pot.settle(20, 20)
    pot.recall()
    pot.lost(pot.want(0, 0))
    # 30 came back; the 20 that were used are held until the record is loaded.
    pot.got(pot.want(1, 1), Got(1, 21, 79), 1.0)
    assert pot.free == 1
    assert pot.unloaded == 20


def test_a_lease_that_has_ended_is_noticed() -> None:
    pot = shared(100, 50)
    pot.take(20, 0.0)
    pot.got(pot.want(0, 0), Got(0, 0, 50), 100.0)
    assert pot.free == -20
    pot.settle(20, 5)
    assert pot.free == -5


@pytest.mark.parametrize("is_loaded", [True, False])
def test_what_was_overdrawn_is_made_good_first(is_loaded) -> None:
    pot = shared(200, 100)
    pot.take(100, 0.0)
    pot.settle(100, 120)
    assert pot.free == -20
    want = pot.want(10, 10)
    assert want.need == 30
    pot.got(want, Got(30, 30 if is_loaded else 130, 50), 0.0)
    assert pot.free == 10


def test_what_was_granted_under_a_higher_limit_goes_back_as_its_call_ends() -> None:
    pot = shared(100, 50)
    pot.take(50, 0.0)
    pot.limit_to(money(30), 7)
    pot.settle(50, 10, 6)
    assert (pot.free, pot.owed) == (0, 40)
    pot.got(pot.want(5, 5), Got(5, 15, 15), 1.0)
    pot.take(5, 1.0)
    pot.settle(5, 0, 7)
    assert (pot.free, pot.owed) == (5, 0)


def test_an_answer_to_what_was_asked_under_a_higher_limit_goes_back() -> None:
    pot = shared(100)
    want = pot.want(50, 50)
    pot.limit_to(money(30), 1)
    pot.got(want, Got(50, 50, 50), 1.0)
    assert (pot.free, pot.owed) == (0, 50)
