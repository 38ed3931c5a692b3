"""Logins against local accounts."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest
from logging_in import DIGEST, PASSWORD, TOKENS, Clock, Kept, owner, refusal

from dragoman.admission.login import FAILURES_IN_ALL, FAILURES_OF_ONE_NAME, Failures, Logins
from dragoman.faults import StoreFailed, TooMany, Unauthenticated
from dragoman.net.deadlines import Wheel
from dragoman.net.upstream import Bounds, Upstreams
from dragoman.people import Secret


@pytest.fixture
async def upstream() -> AsyncIterator[Upstreams]:
    loop = asyncio.get_running_loop()
    upstreams = Upstreams(loop, Wheel(loop), Bounds(), b"test")
    yield upstreams
    upstreams.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def local(upstream: Upstreams, clock: Clock) -> Logins:
    """Logins where bob alone has an account, and there is no issuer."""
    return Logins(Kept(bob=DIGEST), TOKENS, None, upstream, monotonic=clock)


# --- local accounts


@pytest.mark.parametrize("refresh", [False, True])
async def test_the_right_password_is_worth_a_token(local: Logins, refresh: bool) -> None:
    assert await owner(local, "bob", refresh=refresh) == "user:bob"


async def test_all_spellings_of_a_name_are_one_owner(upstream: Upstreams) -> None:
    logins = Logins(Kept(**{"jos\u00e9": DIGEST}), TOKENS, None, upstream)
    spellings = ("jos\u00e9", "JOSE\u0301", "\uff2aos\u00c9")
    assert {await owner(logins, name) for name in spellings} == {"user:jos\u00e9"}


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("bob", Secret("wrong password")),
        ("bob", Secret(PASSWORD.reveal() + " ")),
        ("bob", Secret(DIGEST)),
        ("alice", PASSWORD),
        ("bob", Secret("")),
        ("", PASSWORD),
        ("", Secret("")),
        (" bob", PASSWORD),
        ("bob\0", PASSWORD),
        ("b\udcff", PASSWORD),
        ("b" * 10_000, PASSWORD),
        ("bob", Secret("x" * 1_000_000)),
        ("bob", Secret("x\udcff")),
    ],
)
async def test_every_refusal_reads_the_same(local: Logins, name: str, password: Secret) -> None:
    fault = await refusal(local, name, password)
    assert type(fault) is Unauthenticated
    assert (fault.message, fault.status, fault.detail, fault.field) == (
        "The name or the password is not right.",
        401,
        "",
        None,
    )


async def test_an_account_that_does_not_exist_takes_as_long_as_one_that_does(local: Logins) -> None:
    async def least_s(name: str) -> float:
        taken = []
        for _ in range(4):
            start = time.perf_counter()
            await refusal(local, name, Secret("wrong password"))
            taken.append(time.perf_counter() - start)
        return min(taken)

    await owner(local, "bob")  # makes the digest that stands for nobody
    known, unknown = await least_s("bob"), await least_s("alice")
    assert known > 0.005, "a hash that takes no time at all is none"
    assert 0.4 < unknown / known < 2.5


async def test_what_cannot_be_an_account_costs_neither_a_look_up_nor_a_hash(upstream: Upstreams) -> None:
    accounts = Kept(bob=DIGEST)
    logins = Logins(accounts, TOKENS, None, upstream)
    for _ in range(FAILURES_IN_ALL + 1):
        assert isinstance(await refusal(logins, "x" * 201, PASSWORD), Unauthenticated)
        assert isinstance(await refusal(logins, "bob", Secret("x" * 1025)), Unauthenticated)
    assert accounts.asked == []


async def test_one_password_is_hashed_at_a_time_and_the_loop_runs_on(local: Logins) -> None:
    before = threading.active_count()
    tries = asyncio.gather(*(owner(local, "bob") for _ in range(6)))
    turns = 0
    while not tries.done():
        await asyncio.sleep(0)
        turns += 1
    assert tries.result() == ["user:bob"] * 6
    assert threading.active_count() - before <= 1
    assert turns > 100


# --- failures


async def test_the_eleventh_failure_of_a_name_in_a_minute_waits(local: Logins, clock: Clock) -> None:
    for number in range(FAILURES_OF_ONE_NAME):
        clock.s = 1000.0 + number
        assert isinstance(await refusal(local, "bob", Secret("wrong")), Unauthenticated)
    for name in ("bob", "BOB"):
        fault = await refusal(local, name, PASSWORD)
        assert isinstance(fault, TooMany), "even the right password waits, or guessing would go on"
        assert fault.retry_after_s == 51.0
    assert isinstance(await refusal(local, "alice", Secret("wrong")), Unauthenticated)
    clock.s = 1059.9
    assert isinstance(await refusal(local, "bob", PASSWORD), TooMany)
    clock.s = 1060.0
    assert await owner(local, "bob") == "user:bob"


def test_sixty_failures_in_all_whatever_the_names_and_no_more_are_remembered(clock: Clock) -> None:
    failures = Failures(clock)
    first = failures.begin("name")
    for number in range(FAILURES_IN_ALL - 1):
        clock.s += 0.5
        failures.begin(f"name-{number}")
    for number in range(1000):
        with pytest.raises(TooMany) as caught:
            failures.begin(f"other-{number}")
        assert caught.value.retry_after_s == 30.5
    assert len(failures._last) == FAILURES_IN_ALL
    failures.forgive(first)
    failures.forgive(failures.begin("bob"))
    failures.begin("bob")
    with pytest.raises(TooMany):
        failures.begin("bob")
    clock.s += 60
    failures.begin("bob")
    assert len(failures._last) == 1


async def test_many_at_once_win_nothing(local: Logins) -> None:
    faults = await asyncio.gather(*(refusal(local, "bob", Secret(f"guess number {n}")) for n in range(30)))
    assert [type(fault) for fault in faults].count(Unauthenticated) == FAILURES_OF_ONE_NAME
    assert [type(fault) for fault in faults].count(TooMany) == 30 - FAILURES_OF_ONE_NAME


async def test_a_caller_who_leaves_has_still_tried(local: Logins) -> None:
    for _ in range(FAILURES_OF_ONE_NAME):
        leaving = asyncio.ensure_future(local.login("bob", Secret("wrong"), refresh=False))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert leaving.cancelled()
    assert isinstance(await refusal(local, "bob", PASSWORD), TooMany)


async def test_good_logins_are_no_failures(local: Logins) -> None:
    for _ in range(FAILURES_OF_ONE_NAME + 2):
        assert await owner(local, "bob") == "user:bob"


async def test_what_the_store_does_is_no_failure_of_the_caller(upstream: Upstreams) -> None:
    accounts = Kept(bob=DIGEST, eve="not a digest")
    logins = Logins(accounts, TOKENS, None, upstream)
    for _ in range(FAILURES_OF_ONE_NAME + 1):
        assert isinstance(await refusal(logins, "eve", PASSWORD), StoreFailed)
    accounts.is_broken = True
    for _ in range(FAILURES_OF_ONE_NAME + 1):
        assert isinstance(await refusal(logins, "bob", PASSWORD), StoreFailed)
    accounts.is_broken = False
    assert await owner(logins, "bob") == "user:bob"
