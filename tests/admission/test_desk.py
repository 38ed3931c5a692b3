"""A call takes from all accounts that it meets, or from none, and is told honestly why not."""

import asyncio
from zoneinfo import ZoneInfo

import pytest
from banks import Clock, MemoryBank, Vault

from dragoman.admission import accounts as register
from dragoman.admission.desk import Bound, Desk, Grant
from dragoman.faults import OverBudget, Overloaded, StoreFailed, TooMany
from dragoman.people import Principal
from dragoman.records import Charge
from dragoman.standing import NO_LIMITS, Allowance, Budget, Holder, Limits

DAY = 1_699_920_000
DAY_S = 86400


class Office:
    """A desk, its bank and its clock. With a `run` it is one of several processes."""

    def __init__(self, all_=NO_LIMITS, budget=None, models=None, vault=None, run="", lease_wait_s=2.0, zone="UTC"):
        self.clock = vault.clock if vault else Clock(now=DAY + 43_200.0)
        self.vault = vault or Vault(self.clock)
        self.bank = MemoryBank(self.vault, run, is_sole=not run)
        self.desk = Desk(
            self.bank,
            deployment=Holder("all", all_, budget),
            models=models or {},
            zone=ZoneInfo(zone),
            now=self.clock.unix,
            clock=self.clock.monotonic,
            lease_wait_s=lease_wait_s,
        )

    async def admit(self, principal, micro=0, tokens=0, model="m") -> Grant:
        return await self.desk.admit(principal, model, Bound(tokens, 0, micro))

    def enter(self, principal, micro=0, tokens=0, model="m"):
        return self.desk.enter(principal, model, Bound(tokens, 0, micro))

    async def refused(self, principal, *args, **kwargs):
        with pytest.raises((TooMany, OverBudget, Overloaded)) as caught:
            await self.admit(principal, *args, **kwargs)
        return caught.value

    def used(self, holder):
        return {name: used for name, used, *_ in self.desk.accounts(holder)}


def ann(limits=NO_LIMITS, budget=None, *others) -> Principal:
    return Principal("key:ann", holders=(Holder("key:ann", limits, budget), *others))


def red(limits=NO_LIMITS, budget=None) -> Holder:
    return Holder("team:red", limits, budget)


PARALLEL = Limits(parallel=2)
RATE = Limits(requests_per_minute=3)
TOKENS = Limits(tokens_per_minute=100)
QUOTA = Limits(requests_per_day=2)
POOR = Budget(100, "day")


# --- one process


async def test_who_has_no_limits_is_let_in_at_once() -> None:
    office = Office()
    grant = office.enter(Principal("master"), micro=None)
    assert not grant.has_limits
    assert grant.standing is None
    assert grant.settle(10**9, 10**9) == ()
    assert office.bank.asked == 0
    assert not office.desk.has_budget(Principal("master"))


async def test_the_bank_is_asked_once_for_each_window() -> None:
    office = Office()
    assert office.enter(ann(budget=POOR), micro=1) is None
    (await office.admit(ann(budget=POOR), micro=1)).release()
    assert office.bank.asked == 1
    for _ in range(5):
        office.enter(ann(budget=POOR), micro=1).release()
    await office.desk.tidy()
    office.clock.pass_(DAY_S)
    assert office.enter(ann(budget=POOR), micro=1) is not None
    assert office.bank.asked == 1


async def test_a_budget_is_never_overdrawn_and_the_truth_is_charged() -> None:
    office = Office()
    office.vault.load([Charge("key:ann/money.day", DAY, 40)])
    grant = await office.admit(ann(budget=POOR), micro=60)
    fault = await office.refused(ann(budget=POOR), micro=1)
    assert isinstance(fault, OverBudget)
    assert fault.message == (
        "The budget of the key 'ann', 0.0001 a day, has 0.00 left, and this request may cost 0.000001; "
        "it begins anew at 2023-11-15 00:00:00+00:00."
    )
    assert fault.retry_after_s == 43_200
    assert grant.reserved_micro == 60
    assert grant.charges(5) == (Charge("key:ann/money.day", DAY, 5),)
    assert grant.charges(None) == (Charge("key:ann/money.day", DAY, 60),)
    assert grant.settle(15, 0) == (Charge("key:ann/money.day", DAY, 15),)
    assert grant.settle(15, 0) == ()
    grant.release()
    assert office.used("key:ann") == {"key:ann/money.day": 55}
    (await office.admit(ann(budget=POOR), micro=45)).settle(500, 0)
    assert isinstance(await office.refused(ann(budget=POOR), micro=0), OverBudget)
    assert office.used("key:ann") == {"key:ann/money.day": 100}


async def test_a_cost_that_is_not_known_is_all_that_was_reserved() -> None:
    office = Office()
    grant = await office.admit(ann(budget=POOR), micro=60)
    assert grant.settle(None, 0) == (Charge("key:ann/money.day", DAY, 60),)


async def test_without_a_price_nothing_is_taken_from_a_budget() -> None:
    office = Office()
    fault = await office.refused(ann(RATE, POOR), micro=None, model="odd")
    assert isinstance(fault, OverBudget)
    assert "'odd' has no known price" in fault.message
    assert office.enter(ann(RATE), micro=None) is not None
    assert office.desk.has_budget(ann(budget=POOR))


async def test_all_or_nothing() -> None:
    office = Office(all_=Limits(requests_per_minute=1000), models={"m": Limits(parallel=50)})
    team = red(Limits(requests_per_minute=50, tokens_per_minute=1000), Budget(40))
    who = ann(Limits(requests_per_minute=100, requests_per_day=100, parallel=9), POOR, team)
    first = await office.admit(who, micro=30, tokens=100)
    before = first.standing
    for _ in range(20):
        assert isinstance(await office.refused(who, micro=30, tokens=100), OverBudget)
    assert first.standing == before
    assert first.standing.requests == Allowance(50, 49, pytest.approx(1.2))
    assert first.settle(30, 100) == (
        Charge("key:ann/requests.day", DAY, 1),
        Charge("key:ann/money.day", DAY, 30),
        Charge("team:red/money.total", 0, 30),
    )
    assert office.used("team:red") == {"team:red/money.total": 30}


async def test_a_rate_says_when_to_come_again() -> None:
    office = Office()
    for _ in range(3):
        office.enter(ann(RATE))
    fault = await office.refused(ann(RATE))
    assert fault.message == "The limit of 3 requests a minute of the key 'ann' is used up; try again in 21 s."
    assert fault.retry_after_s == pytest.approx(20, abs=0.01)
    assert fault.standing.requests == Allowance(3, 0, 60.0)
    office.clock.pass_(fault.retry_after_s)
    assert office.enter(ann(RATE)) is not None


async def test_tokens_are_corrected() -> None:
    office = Office()
    first = office.enter(ann(TOKENS), tokens=90)
    fault = await office.refused(ann(TOKENS), tokens=20)
    assert "100 tokens a minute" in fault.message
    first.settle(0, 10)
    second = office.enter(ann(TOKENS), tokens=90)
    second.settle(0, 120)
    assert second.standing.tokens.remaining == 0
    assert (await office.refused(ann(TOKENS), tokens=1)).retry_after_s == pytest.approx(31 * 0.6, abs=0.01)


async def test_more_tokens_than_the_limit_can_never_be_had() -> None:
    fault = await Office().refused(ann(TOKENS), tokens=101)
    assert fault.retry_after_s is None
    assert fault.message == "This request may use 101 tokens, and the key 'ann' never has more than 100 a minute."


async def test_places_are_free_as_calls_end() -> None:
    office = Office()
    grants = [office.enter(ann(PARALLEL)) for _ in range(2)]
    fault = await office.refused(ann(PARALLEL))
    assert "2 requests at the same time" in fault.message
    assert fault.retry_after_s == 1.0
    grants[0].settle(0, 0)
    grants[0].settle(0, 0)
    grants[0].release()
    assert office.enter(ann(PARALLEL)) is not None
    assert isinstance(await office.refused(ann(PARALLEL)), TooMany)


async def test_a_quota_a_day() -> None:
    office = Office()
    assert (await office.admit(ann(QUOTA))).settle(0, 0) == (Charge("key:ann/requests.day", DAY, 1),)
    (await office.admit(ann(QUOTA))).release()
    last = await office.admit(ann(QUOTA))
    assert last.standing.requests == Allowance(2, 0, 43_200.0)
    fault = await office.refused(ann(QUOTA))
    assert (fault.status, fault.retry_after_s) == (429, 43_200)
    assert "2 requests a day" in fault.message
    office.clock.pass_(43_200)
    assert await office.admit(ann(QUOTA)) is not None


async def test_who_asked_nobody_has_used_nothing() -> None:
    office = Office()
    limits = Limits(requests_per_minute=1, tokens_per_minute=50, requests_per_day=1, parallel=1)
    for _ in range(5):
        (await office.admit(ann(limits, POOR), micro=100, tokens=50)).release()
    assert office.used("key:ann") == {"key:ann/requests.day": 0, "key:ann/money.day": 0}


async def test_the_longest_wait_is_named() -> None:
    office = Office()
    who = ann(Limits(requests_per_minute=1), None, red(Limits(requests_per_day=1)))
    await office.admit(who)
    assert (await office.refused(who)).retry_after_s == 43_200


async def test_limits_of_models_and_of_all() -> None:
    office = Office(all_=Limits(parallel=3), models={"m": Limits(parallel=1)})
    office.enter(Principal("a"))
    assert "the model 'm'" in (await office.refused(Principal("b"))).message
    office.enter(Principal("b"), model="other")
    office.enter(Principal("c"), model="other")
    assert "this whole deployment" in (await office.refused(Principal("d"), model="other")).message


async def test_a_change_of_limits_holds_at_once() -> None:
    office = Office()
    grant = await office.admit(ann(RATE, POOR), micro=80)
    fault = await office.refused(ann(RATE, Budget(50, "day")), micro=0)
    assert isinstance(fault, OverBudget)
    grant.settle(10, 0)
    assert office.enter(ann(RATE, Budget(50, "day")), micro=40) is not None
    assert isinstance(await office.refused(ann(NO_LIMITS, Budget(60, "day")), micro=11), OverBudget)
    assert office.enter(ann(NO_LIMITS, Budget(60, "day")), micro=10) is not None


async def test_windows_change_while_a_call_is_under_way() -> None:
    office = Office()
    old = await office.admit(ann(budget=POOR), micro=100)
    office.clock.pass_(43_200)
    new = await office.admit(ann(budget=POOR), micro=100)
    assert old.settle(70, 0) == (Charge("key:ann/money.day", DAY, 70),)
    assert new.settle(90, 0) == (Charge("key:ann/money.day", DAY + DAY_S, 90),)
    office.clock.now -= DAY_S
    assert isinstance(await office.refused(ann(budget=POOR), micro=11), OverBudget)


async def test_a_budget_larger_than_which_no_call_may_be() -> None:
    fault = await Office().refused(ann(budget=POOR), micro=101)
    assert fault.retry_after_s is None


async def test_nobody_knows_what_was_spent_while_the_store_is_down() -> None:
    office = Office()
    office.bank.fails = True
    assert isinstance(await office.refused(ann(budget=POOR), micro=1), Overloaded)
    office.bank.fails = False
    grant = await office.admit(ann(budget=POOR), micro=1)
    office.bank.fails = True
    assert office.enter(ann(budget=POOR), micro=1) is not None
    grant.settle(1, 0)


async def test_many_who_wait_share_one_question() -> None:
    office = Office()
    grants = await asyncio.gather(*(office.admit(ann(budget=POOR), micro=10) for _ in range(10)))
    assert len(grants) == 10
    assert office.bank.asked == 1
    assert isinstance(await office.refused(ann(budget=POOR), micro=1), OverBudget)


async def test_a_seat_never_waits() -> None:
    office = Office()
    credential = Holder("credential:ab12", Limits(requests_per_minute=1, parallel=5))
    seat = office.desk.seat(credential, Bound(0, 0, None))
    assert seat.has_limits
    assert office.desk.seat(credential, Bound(0, 0, None)) == pytest.approx(60, abs=0.01)
    seat.release()
    assert isinstance(office.desk.seat(credential, Bound(0, 0, None)), Grant)
    daily = Holder("credential:cd34", Limits(requests_per_day=1))
    wait_s = office.desk.seat(daily, Bound(0, 0, None))
    assert 0 < wait_s < 1
    await office.admit(ann(budget=POOR))
    assert office.desk.seat(daily, Bound(0, 0, None)).settle(0, 0) == (Charge("credential:cd34/requests.day", DAY, 1),)


async def test_who_is_away_is_forgotten_when_the_store_knows_all() -> None:
    office = Office()
    charges = (await office.admit(ann(RATE, POOR), micro=50)).settle(20, 0)
    office.clock.pass_(3700)
    for _ in range(3):
        await office.desk.tidy()
    assert office.used("key:ann") == {"key:ann/money.day": 20}
    office.vault.load(charges)
    for _ in range(3):
        await office.desk.tidy()
    assert office.used("key:ann") == {}
    assert (await office.refused(ann(RATE, POOR), micro=81)).code == "budget_exceeded"


async def test_who_is_under_way_is_not_forgotten() -> None:
    office = Office()
    grant = await office.admit(ann(PARALLEL, POOR), micro=50)
    office.clock.pass_(10_000)
    for _ in range(3):
        await office.desk.tidy()
    assert office.used("key:ann")
    grant.settle(0, 0)


async def test_there_is_room_for_so_many_and_no_more(monkeypatch) -> None:
    monkeypatch.setattr(register, "MOST_HOLDERS", 3)
    office = Office()
    for name in "abc":
        office.enter(Principal(name, holders=(Holder(f"key:{name}", RATE),)))
    assert isinstance(await office.refused(ann(RATE)), Overloaded)
    office.clock.pass_(4000)
    for _ in range(2):
        await office.desk.tidy()
    assert office.enter(ann(RATE)) is not None


async def test_it_runs_until_it_is_cancelled() -> None:
    task = asyncio.create_task(Office().desk.run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- several processes


def offices(*names, **kwargs) -> list[Office]:
    vault = Vault(Clock(now=DAY + 43_200.0))
    return [Office(vault=vault, run=name, **kwargs) for name in names]


async def test_the_last_cent_goes_to_one_process() -> None:
    one, two = offices("one", "two")
    first = await one.admit(ann(budget=POOR), micro=60)
    assert isinstance(await two.refused(ann(budget=POOR), micro=60), OverBudget)
    # One may hold a sixteenth of what is left for its next call.
    second = await two.admit(ann(budget=POOR), micro=38)
    one.vault.load(first.settle(60, 0), "one")
    one.vault.load(second.settle(38, 0), "two")
    one.clock.pass_(31)
    for _ in range(2):
        await one.desk.tidy()
    third = await two.admit(ann(budget=POOR), micro=2)
    one.vault.load(third.settle(2, 0), "two")
    one.clock.pass_(1)
    for office in (one, two):
        assert isinstance(await office.refused(ann(budget=POOR), micro=1), OverBudget)
    assert one.vault.spent["key:ann/money.day", DAY] == 100


async def test_a_slice_serves_many_calls() -> None:
    (office,) = offices("one")
    rich = Budget(1_000_000, "day")
    for step in range(200):
        (await office.admit(ann(budget=rich), micro=10)).settle(10, 0)
        office.clock.pass_(0.01)
        await asyncio.sleep(0)
    assert office.bank.asked < 20
    assert office.bank.held("key:ann/money.day", DAY) <= 1_000_000 / 16 + 2000


async def test_waiting_callers_share_one_request() -> None:
    (office,) = offices("one")
    grants = await asyncio.gather(*(office.admit(ann(budget=POOR), micro=7) for _ in range(14)))
    assert len(grants) == 14
    assert office.bank.asked <= 2


async def test_of_many_who_want_more_than_there_is_some_get_it() -> None:
    one, two = offices("one", "two")
    calls = [office.admit(ann(budget=POOR), micro=7) for office in (one, two) * 100]
    ends = await asyncio.gather(*calls, return_exceptions=True)
    grants = [end for end in ends if isinstance(end, Grant)]
    assert all(isinstance(end, (Grant, OverBudget)) for end in ends)
    assert 10 <= len(grants) <= 14


async def test_what_is_not_needed_goes_back() -> None:
    one, two = offices("one", "two")
    limits = Limits(requests_per_minute=60, parallel=4, requests_per_day=50)
    grant = await one.admit(ann(limits, POOR), micro=90)
    charges = grant.settle(10, 0)
    one.vault.load(charges, "one")
    one.clock.pass_(31)
    await one.desk.tidy()
    await one.desk.tidy()
    for account, window in (("money.day", DAY), ("requests.day", DAY), ("requests", 0), ("parallel", 0)):
        assert one.bank.held(f"key:ann/{account}", window) == 0
    assert await two.admit(ann(limits, POOR), micro=90)


async def test_old_windows_go_back_as_their_calls_end() -> None:
    (office,) = offices("one")
    grant = await office.admit(ann(budget=POOR), micro=90)
    office.clock.pass_(43_200)
    await office.admit(ann(budget=POOR), micro=90)
    assert office.bank.held("key:ann/money.day", DAY) == 90
    office.vault.load(grant.settle(30, 0), "one")
    await office.desk.tidy()
    assert office.bank.held("key:ann/money.day", DAY) == 0
    assert office.bank.held("key:ann/money.day", DAY + DAY_S) == 90


async def test_a_rate_holds_over_all_processes() -> None:
    one, two, three = all_three = offices("one", "two", "three")
    limits = Limits(requests_per_minute=60)
    let_in = 0
    for step in range(600):
        office = all_three[step % 3]
        try:
            await office.admit(ann(limits))
            let_in += 1
        except TooMany as fault:
            assert fault.retry_after_s > 0
        office.clock.pass_(0.2)
    # Two minutes, and the burst.
    assert 165 <= let_in <= 180


async def test_places_hold_over_all_processes() -> None:
    one, two = offices("one", "two")
    grants = [await office.admit(ann(PARALLEL)) for office in (one, two)]
    for office in (one, two):
        assert isinstance(await office.refused(ann(PARALLEL)), TooMany)
    grants[0].settle(0, 0)
    assert await one.admit(ann(PARALLEL))


async def test_what_is_held_is_used_while_the_bank_is_down() -> None:
    (office,) = offices("one")
    rich = Budget(1000, "day")
    (await office.admit(ann(budget=rich), micro=300)).release()
    office.bank.fails = True
    office.clock.pass_(600)
    for _ in range(3):
        await office.admit(ann(budget=rich), micro=100)
    fault = await office.refused(ann(budget=rich), micro=100)
    assert isinstance(fault, Overloaded)
    assert "cannot be confirmed now" in fault.message
    assert fault.retry_after_s == 1
    office.bank.fails = False
    assert await office.admit(ann(budget=rich), micro=700)


async def test_a_bank_that_does_not_answer_is_not_waited_for_long() -> None:
    (office,) = offices("one", lease_wait_s=0.01)
    asked = asyncio.Event()

    async def never(wants):
        asked.set()
        await asyncio.Event().wait()

    office.bank.lease = never
    assert isinstance(await office.refused(ann(budget=POOR), micro=1), Overloaded)
    assert asked.is_set()
    office.desk._leases._task.cancel()


async def test_a_process_that_slept_asks_before_it_spends() -> None:
    one, two = offices("one", "two")
    (await one.admit(ann(budget=POOR), micro=100)).release()
    one.clock.pass_(100)
    assert await two.admit(ann(budget=POOR), micro=100)
    assert isinstance(await one.refused(ann(budget=POOR), micro=100), OverBudget)


async def test_a_lower_limit_takes_slices_back() -> None:
    one, two = offices("one", "two")
    (await one.admit(ann(budget=POOR), micro=100)).release()
    assert isinstance(await one.refused(ann(budget=Budget(30, "day")), micro=50), OverBudget)
    assert await one.admit(ann(budget=Budget(30, "day")), micro=30)
    assert isinstance(await two.refused(ann(budget=Budget(30, "day")), micro=1), OverBudget)


async def test_a_seat_of_several_processes_is_asked_for_meanwhile() -> None:
    (office,) = offices("one")
    credential = Holder("credential:ab12", Limits(requests_per_minute=60, parallel=5))
    assert 0 < office.desk.seat(credential, Bound(0, 0, None)) < 1
    await office.admit(ann(budget=POOR), micro=1)
    assert isinstance(office.desk.seat(credential, Bound(0, 0, None)), Grant)


async def test_a_caller_who_leaves_while_it_waits_has_taken_nothing() -> None:
    (office,) = offices("one")
    task = asyncio.create_task(office.admit(ann(budget=POOR), micro=100))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await office.admit(ann(budget=POOR), micro=100)


async def test_the_bank_that_failed_is_asked_again() -> None:
    (office,) = offices("one")
    answers = iter([StoreFailed(), None])
    lease = office.bank.lease

    async def once(wants):
        if fault := next(answers, None):
            raise fault
        return await lease(wants)

    office.bank.lease = once
    assert isinstance(await office.refused(ann(PARALLEL, POOR), micro=1), Overloaded)
    assert await office.admit(ann(PARALLEL, POOR), micro=1)
