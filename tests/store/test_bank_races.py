"""Processes that lease at the same time, in any order, and among many accounts."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from banking import LEASE_S, MONEY, changed, charge, opened_bank
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from keeping import only_postgresql

from dragoman.standing import MOST, Account, Want
from dragoman.store import bank


@pytest.fixture
def banking(database, clock):
    with opened_bank(database, clock) as bank_of_the_test:
        yield bank_of_the_test


@pytest.fixture
def at_once():
    """Run each function in a thread of its own, all at the same time."""

    def run(*functions):
        gate = threading.Barrier(len(functions))

        def start(function):
            gate.wait()
            return function()

        with ThreadPoolExecutor(len(functions)) as threads:
            return [running.result() for running in [threads.submit(start, function) for function in functions]]

    return run


# --- several at the same time


def test_the_last_unit_goes_to_one(banking, at_once) -> None:
    banking.clock = None
    for window in range(1, 31):
        banking.get("before", MONEY, need=99, window=window)
        got = at_once(*(lambda run=run: banking.get(run, MONEY, need=1, like=5, window=window) for run in "abc"))
        assert sorted(answer.granted for answer in got) == [0, 0, 1]


def test_the_last_of_a_rate_goes_to_one(banking, at_once) -> None:
    for number in range(1, 31):
        rate = Account(f"key:{number}/requests", "rate", 1, 3600.0)
        got = at_once(*(lambda run=run: banking.get(run, rate, need=1) for run in "abc"))
        assert sorted(answer.granted for answer in got) == [0, 0, 1]


def test_opposite_orders_do_not_lock_each_other_out(banking, at_once) -> None:
    banking.clock = None
    accounts = [Account(f"key:{n}/money.day", "money", MOST) for n in range(12)]
    accounts += [Account(f"key:{n}/requests", "rate", MOST, 60.0) for n in range(12)]

    def turn(run, order):
        for number in range(25):
            banking.lease(run, *(Want(account, need=2) for account in order))
            banking.charge(run, *(charge(1, account) for account in order if account.unit == "money"))
            if number % 5 == 0:
                banking.leave(run)

    mixed = accounts[::2] + accounts[1::2]
    at_once(lambda: turn("a", accounts), lambda: turn("b", accounts[::-1]), lambda: turn("c", mixed))
    assert banking.spent(*((account.name, 0) for account in accounts[:12])) == [75] * 12


def test_processes_that_all_come_back_late_do_not_lock_each_other_out(banking, at_once) -> None:
    runs = "abc"
    for number, run in itertools.product(range(20), runs):
        banking.lease(run)
        if run == "c":
            banking.clock.now += LEASE_S * 2
            at_once(*(lambda run=run: banking.get(run, changed(MONEY, 10_000), need=1, window=number) for run in runs))


@only_postgresql
def test_who_renews_just_then_loses_nothing(banking) -> None:
    banking.get("one", MONEY, need=100)
    for _ in range(3):
        banking.clock.now += LEASE_S * 0.7
        banking.lease("two")
    banking.clock.now += LEASE_S * 0.7
    with banking.engine.begin() as connection:
        bank.lease(connection, (), "one", LEASE_S, banking.clock())
        assert banking.get("two", MONEY, need=1).granted == 0
    assert banking.get("two", MONEY, need=1).granted == 0


# --- cost


def steps_of(connection, work):
    """Count SQLite's instructions, or the rows that PostgreSQL reads: neither depends on how busy the machine is."""
    if connection.dialect.name == "sqlite":
        steps = itertools.count()
        driver = connection.connection.driver_connection
        driver.set_progress_handler(lambda: next(steps) and 0, 1)
        work()
        driver.set_progress_handler(None, 1)
        return next(steps)
    work()
    rows = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
    return int(connection.exec_driver_sql(rows).scalar())


def fill(database, first, last):
    """Have the process `one` hold something of every account."""
    numbers = f"WITH RECURSIVE numbers (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last - 1})"
    for table, columns in (("spent", "0, 5"), ("shares", "0, 'one', 5"), ("rates", "1, 0")):
        database.execute(f"INSERT INTO {table} {numbers} SELECT 'key:' || n || '/money', {columns} FROM numbers")
    database.execute("ANALYZE")


def test_a_lease_costs_the_same_among_many_accounts(banking, database) -> None:
    rate = Account("key:8/money", "rate", 100, 60.0)
    wants = [Want(Account("key:7/money", "money", 100), like=10), Want(rate, need=1)]

    def cost():
        with banking.engine.begin() as connection:
            return steps_of(connection, lambda: bank.lease(connection, wants, "one", LEASE_S))

    fill(database, 0, 10)
    cost()
    few = cost()
    fill(database, 10, 100_000)
    assert 0 < cost() < few * 1.1 + 10


# --- anything in any order


class Interleavings(RuleBasedStateMachine):
    """Three processes and a clock, beside a model of what was granted."""

    windows = itertools.count(10**6)
    banking = None
    runs = st.sampled_from(["one", "two", "three"])
    units = st.integers(0, 60)

    @initialize()
    def begin(self):
        self.window = next(self.windows)
        self.names = {name: f"{name}{self.window}" for name in ("one", "two", "three")}
        self.most = 100
        self.spent = 0
        self.excused = 0
        self.held = dict.fromkeys(self.names, 0)
        self.renewed = dict.fromkeys(self.names, float("-inf"))

    def account(self):
        return changed(MONEY, self.most)

    def exchange(self, run, need, like, back):
        return self.banking.get(self.names[run], self.account(), need, like, back, self.window)

    def may_use(self, run):
        return self.banking.clock.now < self.renewed[run] + LEASE_S

    @rule(run=runs, need=units, more=units, back=units)
    def lease(self, run, need, more, back):
        sure = self.may_use(run)
        before = self.held[run]
        got = self.exchange(run, need, need + more, back)
        kept = got.held - got.granted
        assert kept == max(0, before - back) if sure else kept in (0, max(0, before - back))
        assert got.granted == 0 or need <= got.granted <= need + more
        assert got.left >= 0 and got.held >= 0
        self.held[run] = got.held
        self.renewed[run] = self.banking.clock.now
        if got.granted:
            living = sum(held for name, held in self.held.items() if self.may_use(name))
            assert self.spent + living <= self.most

    @rule(run=runs, share=st.integers(1, 100))
    @precondition(lambda self: any(map(self.may_use, self.names)))
    def spend(self, run, share):
        used = self.held[run] * share // 100 if self.may_use(run) else 0
        self.banking.charge(self.names[run], charge(used, window=self.window))
        self.held[run] -= used
        self.spent += used

    @rule(run=runs)
    def renew(self, run):
        sure = self.may_use(run)
        self.banking.lease(self.names[run])
        self.renewed[run] = self.banking.clock.now
        if not sure:
            self.held[run] = self.exchange(run, 0, 0, 0).held

    @rule(run=runs)
    def leave(self, run):
        self.banking.leave(self.names[run])
        self.held[run] = 0

    @rule(run=runs)
    def crash(self, run):
        """It comes back under its name and asks what it holds."""
        got = self.exchange(run, 0, 0, 0)
        assert got.held in (0, self.held[run])
        self.held[run] = got.held
        self.renewed[run] = self.banking.clock.now

    @rule(seconds=st.sampled_from([0.5, 4.0, 9.0, 11.0, 25.0]))
    def wait(self, seconds):
        self.banking.clock.now += seconds

    @rule(most=st.integers(0, 150))
    def change(self, most):
        self.most = most

    @invariant()
    def spent_is_what_was_charged(self):
        assert self.banking.spent((MONEY.name, self.window)) == [self.spent]

    @invariant()
    def nothing_is_spent_twice(self):
        self.excused = max(self.excused, self.most)
        assert self.spent <= self.excused

    def teardown(self):
        if not hasattr(self, "names"):
            return
        for run in self.names:
            self.leave(run)
        self.most = 1000
        assert self.exchange("one", 0, 0, 0).left == 1000 - self.spent
        self.leave("one")


def test_no_interleaving_overspends_or_leaks(banking) -> None:
    class Here(Interleavings):
        pass

    Here.banking = banking
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
