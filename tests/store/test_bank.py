"""What processes lease of budgets, quotas, rates and places: never more than there is, and nothing is lost."""

import pytest
from banking import DAY, LEASE_S, MONEY, PLACES, RATE, changed, charge, opened_bank

from dragoman.standing import MOST, Account, Want


@pytest.fixture
def banking(database, clock):
    with opened_bank(database, clock) as bank_of_the_test:
        yield bank_of_the_test


# --- money, quotas and places


def test_between_what_is_needed_and_what_is_liked(banking) -> None:
    got = banking.get("one", MONEY, need=10, like=60)
    assert (got.granted, got.held, got.left) == (60, 60, 40)
    got = banking.get("two", MONEY, need=10, like=60)
    assert (got.granted, got.held, got.left) == (40, 40, 0)
    got = banking.get("one", MONEY, need=1, like=60)
    assert (got.granted, got.held, got.left, got.retry_s) == (0, 60, 0, 0.0)


def test_less_than_what_is_needed_is_nothing(banking) -> None:
    banking.get("one", MONEY, need=95)
    got = banking.get("two", MONEY, need=6, like=6)
    assert (got.granted, got.held, got.left) == (0, 0, 5)


def test_need_alone_is_enough(banking) -> None:
    assert banking.get("one", MONEY, need=7).granted == 7


def test_what_is_given_back_comes_first(banking) -> None:
    banking.get("one", MONEY, need=100)
    got = banking.get("one", MONEY, need=50, like=50, back=70)
    assert (got.granted, got.held, got.left) == (50, 80, 20)


def test_nobody_gives_back_more_than_is_held(banking) -> None:
    banking.get("one", MONEY, need=30)
    banking.get("two", MONEY, need=30)
    got = banking.get("one", MONEY, back=1000)
    assert (got.held, got.left) == (0, 70)


def test_what_was_spent_is_no_longer_held(banking) -> None:
    banking.get("one", MONEY, need=60)
    banking.charge("one", charge(20), charge(5))
    assert banking.spent((MONEY.name, 0), ("key:bob/money.day", 0)) == [25, 0]
    got = banking.get("one", MONEY)
    assert (got.held, got.left) == (35, 40)


def test_who_spends_more_than_is_held_holds_nothing(banking) -> None:
    banking.get("one", MONEY, need=10)
    banking.charge("one", charge(30))
    got = banking.get("one", MONEY)
    assert (got.held, got.left) == (0, 70)


def test_windows_are_apart(banking) -> None:
    banking.get("one", MONEY, need=100, window=DAY)
    banking.charge("one", charge(100, window=DAY))
    assert banking.get("two", MONEY, need=1, window=DAY).granted == 0
    assert banking.get("two", MONEY, need=100, window=DAY + 86400).granted == 100
    assert banking.spent((MONEY.name, DAY + 86400), (MONEY.name, DAY)) == [0, 100]


def test_a_limit_that_is_changed_holds_at_once(banking) -> None:
    banking.get("one", MONEY, need=90)
    lowered = banking.get("two", changed(MONEY, 50), like=10)
    assert (lowered.granted, lowered.left) == (0, 0)
    raised = banking.get("two", changed(MONEY, 200), need=110)
    assert (raised.granted, raised.left) == (110, 0)


def test_places_are_held_until_they_are_given_back(banking) -> None:
    assert banking.get("one", PLACES, need=1, like=2).granted == 2
    assert banking.get("two", PLACES, need=1, like=2).granted == 1
    full = banking.get("two", PLACES, need=1)
    assert (full.granted, full.held, full.retry_s) == (0, 1, 0.0)
    banking.get("one", PLACES, back=1)
    assert banking.get("two", PLACES, need=1).held == 2


def test_wants_are_answered_in_their_order(banking) -> None:
    other = Account("all/money.total", "money", 10)
    got = banking.lease("one", Want(PLACES, need=1), Want(other, need=4), Want(RATE, need=2), Want(other, need=5))
    assert [answer.held for answer in got] == [1, 4, 2, 9]


def test_a_name_that_a_database_cannot_keep(banking) -> None:
    odd = Account("user:a\0b\ud800/money.day", "money", 10)
    assert banking.get("one", odd, need=10).granted == 10
    banking.charge("one", charge(4, odd))
    assert banking.spent((odd.name, 0)) == [4]
    assert banking.get("one", odd).held == 6


# --- leases


def test_money_of_a_process_that_is_gone_returns(banking) -> None:
    banking.get("gone", MONEY, need=100)
    banking.charge("gone", charge(30))
    assert banking.get("two", MONEY, need=1).granted == 0
    banking.end("two")
    got = banking.get("two", MONEY, need=70)
    assert (got.granted, got.left) == (70, 0)


def test_every_call_renews_all_that_a_process_holds(banking, clock) -> None:
    banking.get("one", MONEY, need=100)
    for _ in range(8):
        clock.now += LEASE_S * 0.9
        banking.lease("one")
        assert banking.get("two", MONEY, need=1).granted == 0
    assert banking.get("one", MONEY).held == 100


def test_nobody_loses_anything_because_a_clock_was_put_forward(banking, clock) -> None:
    banking.get("one", MONEY, need=100)
    clock.now += 1_000_000
    assert banking.get("two", MONEY, need=1).granted == 0
    clock.now += LEASE_S * 0.9
    assert banking.get("two", MONEY, need=1).granted == 0
    assert banking.get("one", MONEY).held == 100
    clock.now += LEASE_S * 0.9
    assert banking.get("two", MONEY, need=1).granted == 0


def test_nobody_gains_anything_because_a_clock_was_put_back(banking, clock) -> None:
    banking.get("one", MONEY, need=100)
    banking.get("one", RATE, need=60)
    banking.get("one", RATE)
    clock.now -= 1_000_000
    assert banking.get("two", MONEY, need=1).granted == 0
    assert banking.get("one", RATE, like=60).granted == 0
    clock.now += 10
    assert banking.get("one", RATE, like=60).granted == 10


def test_who_comes_back_has_what_nobody_asked_for_meanwhile(banking) -> None:
    banking.lease("one", Want(MONEY, need=100), Want(PLACES, need=3))
    banking.end("two")
    assert banking.get("two", PLACES, need=3).granted == 3
    money, places = banking.lease("one", Want(MONEY), Want(PLACES))
    assert (money.held, places.held, places.left) == (100, 0, 0)
    assert banking.get("two", MONEY, need=1).granted == 0


def test_a_charge_after_the_lease_takes_nothing_from_others(banking) -> None:
    banking.get("late", MONEY, need=100)
    banking.end("two")
    banking.get("two", MONEY, need=100)
    banking.charge("late", charge(5))
    assert banking.get("two", MONEY).held == 100
    assert banking.spent((MONEY.name, 0)) == [5]


def test_who_leaves_gives_everything_back(banking) -> None:
    banking.lease("one", Want(MONEY, need=100), Want(PLACES, need=3), Want(RATE, need=60))
    banking.leave("one")
    got = banking.lease("two", Want(MONEY, need=100), Want(PLACES, need=3), Want(RATE, need=60))
    assert [answer.granted for answer in got] == [100, 3, 60]
    banking.leave("nobody")
    assert banking.get("two", MONEY).held == 100


def test_nothing_stays_of_windows_that_are_over(banking, database) -> None:
    banking.get("gone", MONEY, need=1, window=DAY)
    banking.get("alive", MONEY, need=2, window=DAY)
    for _ in range(2):
        banking.clock.now += LEASE_S
        banking.lease("alive")
    banking.leave("other")
    assert database.execute("SELECT run, held FROM shares") == [("alive", 2)]
    banking.get("alive", MONEY, back=2, window=DAY)
    banking.leave("alive")
    assert database.execute("SELECT run FROM shares") == []
    assert database.execute("SELECT run FROM leases") == []


def test_what_is_used_up_leaves_no_row(banking, database) -> None:
    banking.get("one", MONEY, need=5)
    banking.charge("one", charge(5))
    banking.get("one", MONEY)
    assert database.execute("SELECT run FROM shares") == []


# --- rates


def test_a_rate_refills_evenly(banking, clock) -> None:
    got = banking.get("one", RATE, need=1, like=100)
    assert (got.granted, got.held, got.left) == (60, 60, 0)
    clock.now += 7.5
    got = banking.get("one", RATE, need=1, like=100)
    # What was held before was used; meanwhile there was no room for more.
    assert (got.granted, got.retry_s) == (0, pytest.approx(1, abs=0.001))
    clock.now += 7.5
    got = banking.get("one", RATE, need=1, like=100)
    assert (got.granted, got.held) == (7, 7)
    assert banking.get("one", RATE, need=10).retry_s == pytest.approx(9.5, abs=0.001)


def test_a_rate_is_there_when_it_was_said_to_be(banking, clock) -> None:
    odd = Account("key:ann/tokens", "rate", 7, 60.0)
    banking.get("one", odd, need=7)
    for need in (1, 2, 3, 4, 5, 6, 7) * 3:
        retry_s = banking.get("one", odd, need=need).retry_s
        clock.now += retry_s - 0.001
        early = banking.get("one", odd, need=need)
        assert (early.granted, 0 < early.retry_s < 0.002) == (0, True)
        clock.now += early.retry_s
        assert banking.get("one", odd, need=need).granted == need


def test_what_is_held_leaves_no_room_in_the_bucket(banking, clock) -> None:
    banking.get("idle", RATE, need=20)
    clock.now += 1000
    banking.lease("idle")
    assert banking.get("two", RATE, like=60).granted == 40
    # It asks again, so it has used what it had: from now on there is room for that.
    assert banking.get("idle", RATE).held == 0
    clock.now += 1000
    assert banking.get("two", RATE, like=60).granted == 20


def test_what_is_given_back_of_a_rate_is_there_for_others(banking) -> None:
    banking.get("one", RATE, need=60)
    got = banking.get("one", RATE, back=25)
    assert (got.held, got.left) == (0, 25)
    assert banking.get("two", RATE, like=60).granted == 25


def test_a_slice_is_exchanged_for_another(banking) -> None:
    banking.get("one", RATE, need=50)
    got = banking.get("one", RATE, need=20, like=20, back=15)
    assert (got.granted, got.held, got.left) == (20, 20, 5)


def test_a_rate_that_a_process_took_with_it_is_used(banking) -> None:
    banking.get("gone", RATE, need=50)
    banking.end("two")
    assert banking.get("two", RATE, like=60).granted == 10
    banking.clock.now += 60
    # What `two` held until now left no room; what the other took with it does.
    assert banking.get("two", RATE, like=60).granted == 50
    banking.clock.now += 60
    banking.lease("two", Want(RATE))
    banking.clock.now += 60
    assert banking.get("two", RATE, like=60).granted == 60


def test_a_rate_that_is_changed(banking, clock) -> None:
    banking.get("one", RATE, need=30)
    lowered = changed(RATE, 10)
    assert banking.get("one", lowered, like=60).granted == 0
    clock.now += 6
    assert banking.get("one", lowered, like=60).granted == 1
    clock.now += 6
    assert banking.get("one", changed(RATE, 600), like=600).granted == 60


def test_several_wants_of_one_rate(banking) -> None:
    got = banking.lease("one", Want(RATE, need=20), Want(RATE, need=30), Want(RATE, back=45))
    assert [(answer.granted, answer.held, answer.left) for answer in got] == [(20, 20, 40), (30, 50, 10), (0, 5, 55)]


# --- edges


def test_the_largest_amounts(banking) -> None:
    whole = changed(MONEY, MOST)
    got = banking.get("one", whole, need=MOST, like=MOST)
    assert (got.granted, got.held, got.left) == (MOST, MOST, 0)
    assert banking.get("two", whole, need=1).granted == 0
    banking.charge("one", charge(MOST - 1))
    assert banking.get("one", whole).held == 1
    rate = changed(RATE, MOST)
    assert banking.get("one", rate, need=MOST).granted == MOST


def test_what_was_spent_grows_no_further_than_its_column(banking) -> None:
    banking.charge("one", charge(2**63 - 10))
    banking.charge("one", charge(9))
    assert banking.spent((MONEY.name, 0)) == [2**63 - 1]
    banking.charge("one", *[charge(2**62)] * 4)
    assert banking.spent((MONEY.name, 0)) == [2**63 - 1]
    assert banking.get("one", changed(MONEY, MOST), need=1).granted == 0


@pytest.mark.parametrize(
    "want",
    [
        Want(MONEY, need=-1),
        Want(MONEY, like=-1),
        Want(MONEY, back=-1),
        Want(MONEY, like=MOST + 1),
        Want(MONEY, window=-1),
        Want(changed(MONEY, -1)),
        Want(changed(MONEY, MOST + 1)),
        Want(Account("a/requests", "rate", 1, 0.0)),
        Want(Account("a/requests", "rate", 1, -1.0)),
        Want(Account("a/requests", "rate", 1, float("nan"))),
        Want(RATE, window=DAY),
    ],
)
def test_what_makes_no_sense_changes_nothing(banking, database, want) -> None:
    with pytest.raises(ValueError):
        banking.lease("one", Want(PLACES, need=1), want)
    assert database.execute("SELECT * FROM leases") == []


@pytest.mark.parametrize("wrong", [charge(-1), charge(1, window=-1), charge(1, window=2**63)])
def test_a_wrong_charge_changes_nothing(banking, wrong) -> None:
    with pytest.raises(ValueError):
        banking.charge("one", charge(5), wrong)
    assert banking.spent((MONEY.name, 0)) == [0]


@pytest.mark.parametrize("lease_s", [0, -1, float("inf"), float("nan")])
def test_a_lease_has_an_end(banking, lease_s) -> None:
    with pytest.raises(ValueError):
        banking.lease("one", lease_s=lease_s)
