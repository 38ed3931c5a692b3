"""Rates never give more than the limit and what has flowed back since, in any interval, whatever is given back."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.admission.meters import LeasedMeter, Meter
from dragoman.standing import MOST, Account, Allowance, Got, Want

NS = 1_000_000_000


def rate(most: int, period_s: float = 60.0) -> Account:
    return Account("key:ann/tokens", "rate", most, period_s)


def took(meter: Meter, units: int, now: float) -> bool:
    if meter.check(units, now):
        return False
    meter.take(units, now)
    return True


def test_the_whole_limit_at_once_then_one_after_the_other() -> None:
    meter = Meter(rate(60), 5.0)
    assert [took(meter, 1, 5.0) for _ in range(61)] == [True] * 60 + [False]
    assert meter.check(1, 5.0) == pytest.approx(1.0, abs=1e-5)
    assert not took(meter, 1, 5.9999)
    assert took(meter, 1, 6.0)
    assert not took(meter, 1, 6.5)
    assert took(meter, 1, 7.0)


def test_who_waits_as_told_is_let_in() -> None:
    meter = Meter(rate(7), 0.0)
    now = 0.0
    for units in (7, 1, 2, 3, 7, 5, 1) * 20:
        wait_s = meter.check(units, now)
        if wait_s > 0.001:
            assert meter.check(units, now + wait_s - 0.001) > 0
        now += wait_s
        assert took(meter, units, now)


def test_more_than_the_whole_can_never_be_had() -> None:
    meter = Meter(rate(10), 0.0)
    assert meter.check(11, 1e9) == math.inf
    assert meter.check(10, 1e9) == 0.0


def test_what_is_refused_takes_nothing() -> None:
    meter = Meter(rate(10), 0.0)
    meter.take(8, 0.0)
    for _ in range(100):
        assert meter.check(5, 0.0) > 0
    assert meter.allowance(0.0).remaining == 2
    assert took(meter, 2, 0.0)


def test_where_a_caller_stands() -> None:
    meter = Meter(rate(60), 0.0)
    assert meter.allowance(0.0) == Allowance(60, 60, 0.0)
    meter.take(20, 0.0)
    assert meter.allowance(5.0) == Allowance(60, 45, 15.0)
    meter.take(70, 5.0)
    assert meter.allowance(5.0).remaining == 0


def test_a_clock_that_stands_still_or_jumps_back_gives_nothing() -> None:
    meter = Meter(rate(10), 1000.0)
    meter.take(10, 1000.0)
    assert meter.check(1, 1000.0) > 0
    assert meter.check(1, 0.0) > 0
    assert meter.check(1, 1000.0) > 0
    assert meter.check(1, 1006.001) == 0.0


def test_what_was_not_used_comes_back() -> None:
    meter = Meter(rate(100), 0.0)
    mark = meter.take(100, 0.0)
    meter.give(60, 0.0, mark)
    assert meter.allowance(0.0).remaining == 60
    assert took(meter, 60, 0.0)
    assert not took(meter, 1, 0.0)


def test_what_has_refilled_already_does_not_come_back_too() -> None:
    meter = Meter(rate(60), 0.0)
    mark = meter.take(60, 0.0)
    assert took(meter, 60, 60.0)
    meter.give(60, 60.0, mark)
    assert not took(meter, 1, 60.0)


def test_of_a_bucket_that_was_nearly_empty_little_comes_back() -> None:
    meter = Meter(rate(60), 0.0)
    mark = meter.take(60, 0.0)
    # One was left to flow out when the others came.
    assert took(meter, 59, 59.0)
    meter.give(60, 59.0, mark)
    assert meter.allowance(59.0).remaining == 1


def test_another_limit_holds_at_once_and_what_was_used_stays_used() -> None:
    meter = Meter(rate(100), 0.0)
    meter.take(50, 0.0)
    meter.limit_to(rate(60))
    assert meter.allowance(0.0).remaining == 10
    meter.limit_to(rate(20))
    assert not took(meter, 1, 0.0)
    assert meter.check(1, 0.0) == pytest.approx(31 * 3, abs=0.01)
    meter.limit_to(rate(1000))
    assert meter.allowance(0.0).remaining == 950


@pytest.mark.parametrize("most", [1, 3, 7, 999_983, MOST])
def test_nothing_drifts(most) -> None:
    meter = Meter(rate(most), 0.0)
    meter.take(most, 0.0)
    for step in range(1, 601):
        meter.check(1, step * 0.1)
    assert meter.check(most, 60.0) == 0.0


def test_many_takings_are_remembered_in_little_room() -> None:
    meter = Meter(rate(10**6), 0.0)
    marks = [meter.take(10, 0.0) for _ in range(5000)]
    assert len(meter._lows) <= 128
    meter.give(10, 0.0, marks[-1])
    assert meter.allowance(0.0).remaining == 10**6 - 49_990
    for mark in marks[:-1]:
        meter.give(10, 0.0, mark)
    assert meter.allowance(0.0).remaining <= 10**6


class Model:
    """What was really used: whenever a reservation ends, only what it used was ever taken."""

    def __init__(self) -> None:
        self.takings: list[list[int]] = []

    def most_over(self, limit: int, period_ns: int) -> Fraction:
        """Return by how much the worst interval exceeds the limit and what flowed back in it."""
        worst = Fraction(-limit)
        for first in range(len(self.takings)):
            used = 0
            for at, units in self.takings[first:]:
                used += units
                worst = max(worst, Fraction(used) - limit - Fraction((at - self.takings[first][0]) * limit, period_ns))
        return worst


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 50), st.lists(st.tuples(st.sampled_from("ttttgg"), st.integers(0, 50), st.floats(-3, 30), st.integers(0, 50)), max_size=60))  # fmt: skip
def test_no_interval_sees_more_than_the_limit(limit, steps) -> None:
    meter, model, now, highest = Meter(rate(limit), 100.0), Model(), 100.0, 100.0
    under_way: list[tuple[int, int, int]] = []
    for step, units, passed, pick in steps:
        now = max(0.0, now + passed)
        highest = max(highest, now)
        if step == "t":
            if not meter.check(units, now):
                under_way.append((meter.take(units, now), units, len(model.takings)))
                model.takings.append([int(highest * NS), units])
            elif units <= limit:
                now = highest = highest + meter.check(units, highest)
                assert meter.check(units, now) == 0.0
        elif under_way:
            mark, reserved, index = under_way.pop(pick % len(under_way))
            back = min(units, reserved)
            meter.give(back, now, mark)
            model.takings[index][1] -= back
    assert model.most_over(limit, 60 * NS) <= 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.floats(0, 5)), min_size=1, max_size=200))
def test_giving_all_back_at_once_is_as_if_nothing_had_been(steps) -> None:
    meter, other, now = Meter(rate(40), 0.0), Meter(rate(40), 0.0), 0.0
    for units, passed in steps:
        now += passed
        mark = meter.take(units, now)
        meter.give(units, now, mark)
        assert took(meter, units % 7, now) == took(other, units % 7, now)
        assert meter.allowance(now) == other.allowance(now)


# --- leased


def test_a_slice_is_used_up_and_exchanged() -> None:
    meter = LeasedMeter(rate(60), 0.0)
    assert meter.check(1, 0.0) > 0
    want = meter.want(1, 3)
    assert (want.back, want.need, want.like) == (0, 1, 3)
    meter.got(want, Got(3, 3, 57), 0.0)
    assert meter.check(3, 0.0) == 0.0
    mark = meter.take(2, 0.0)
    assert meter.check(2, 0.0) > 0
    meter.give(1, 0.0, mark)
    assert meter.check(2, 0.0) == 0.0
    assert meter.want(5, 5) == Want(meter.account, 0, 5, 5, 2)
    assert meter.check(1, 0.0) > 0


def test_what_was_exchanged_is_not_given_back_again() -> None:
    meter = LeasedMeter(rate(60), 0.0)
    meter.got(meter.want(10, 10), Got(10, 10, 50), 0.0)
    mark = meter.take(10, 0.0)
    meter.got(meter.want(5, 5), Got(5, 5, 45), 1.0)
    meter.give(10, 2.0, mark)
    assert meter.check(6, 2.0) > 0


def test_the_bank_says_when_to_come_again() -> None:
    meter = LeasedMeter(rate(60), 0.0)
    meter.got(meter.want(10, 10), Got(0, 0, 4, retry_s=6.0), 100.0)
    assert meter.check(10, 100.0) == 6.0
    assert meter.is_dry(10, 100.1)
    assert not meter.is_dry(9, 100.1)
    assert not meter.is_dry(10, 100.3)
    assert meter.check(61, 100.0) == math.inf


def test_what_may_have_been_given_back_is_not_used() -> None:
    meter = LeasedMeter(rate(60), 0.0)
    meter.got(meter.want(10, 10), Got(10, 10, 50), 0.0)
    meter.lost(meter.want(20, 20))
    assert meter.check(1, 0.0) > 0
