"""Three processes on one database, killed at random moments: no budget is overspent, nothing is lost or counted twice.

Each process writes down what it used in a file before it reports it to the bank, as the journal does; who comes back
after a kill reports the rest first.
"""

import itertools
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter
from multiprocessing.connection import wait
from pathlib import Path

import pytest
from sqlalchemy import func, select

sys.path.append(str(Path(__file__).parent.parent / "store"))

from postgres import Postgres

from dragoman.records import Charge
from dragoman.standing import Account, Want
from dragoman.store import bank
from dragoman.store.call_tables import journals
from dragoman.store.database import open_database
from dragoman.store.migrate import migrate
from dragoman.store.schema import upsert
from dragoman.store.share_tables import leases, shares, spent

RUNS = ("one", "two", "three")
CALLS = 3_000
"""When these were served, and enough processes have died, it is enough."""
AT_MOST_S = 20.0
LEASE_S = 60.0
"""Longer than the test: who comes back after a kill still holds what it held."""
GHOST_S = 0.2
ACCOUNTS = (
    Account("all/money.total", "money", 4_000),
    Account("key:ann/money.total", "money", 600),
    Account("team:red/money.total", "money", 1_000_000),
    Account("key:ann/requests.day", "requests", 200),
)
WEIGHTS = (5, 1, 20, 1)
RATE = Account("key:ann/requests", "rate", 200, 4.0)
RATE_S = 3.0
# A process that is started anew must not take a second to import what it needs.
started = multiprocessing.get_context("forkserver")
started.set_forkserver_preload(["dragoman.store.migrate", "dragoman.store.bank", "psycopg", "pytest", __name__])


class Die:
    """Kills its own process, now and then, as `kill -9` would."""

    def __init__(self, chance, probability):
        self.chance = chance
        self.probability = probability

    def __call__(self):
        if self.chance.random() < self.probability:
            os.kill(os.getpid(), signal.SIGKILL)


class Process:
    """One process: leases, lets callers spend what it holds, and reports what they spent."""

    def __init__(self, url, folder, run, die):
        self.engine = open_database(url, folder).writer
        self.run = run
        self.die = die
        self.journal = open(folder / run, "a+b", buffering=0)
        with self.engine.begin() as connection:
            loaded = connection.execute(select(journals.c.offset).where(journals.c.journal == run)).scalar() or 0
        self.journal.seek(loaded)
        self.unloaded = [int(line) for line in self.journal.read().split()]
        self.offset = self.journal.tell()
        self.load()
        self.left = [got.held for got in self.lease(*map(Want, ACCOUNTS))]

    def lease(self, *wants, lease_s=LEASE_S):
        with self.engine.begin() as connection:
            got = bank.lease(connection, wants, self.run, lease_s)
            self.die()
        self.die()
        return got

    def load(self):
        """Report what was used and not yet reported; how far that is goes into the same transaction."""
        with self.engine.begin() as connection:
            bank.charge(connection, map(charge_of, self.unloaded), self.run)
            self.die()
            begun = upsert(connection, journals).values(journal=self.run, segment=0, offset=self.offset)
            connection.execute(begun.on_conflict_do_update(index_elements=["journal"], set_={"offset": self.offset}))
            self.die()
        self.die()
        self.unloaded.clear()

    def use(self, number, units):
        self.left[number] -= units
        entry = units * len(ACCOUNTS) + number
        self.offset += self.journal.write(b"%d\n" % entry)
        self.unloaded.append(entry)
        self.die()

    def ask(self, number, need, like, back):
        self.left[number] -= back
        [got] = self.lease(Want(ACCOUNTS[number], 0, need, like, back))
        self.left[number] += got.granted
        unloaded = sum(charge_of(entry).units for entry in self.unloaded if entry % len(ACCOUNTS) == number)
        assert got.held == self.left[number] + unloaded


def charge_of(entry):
    units, number = divmod(entry, len(ACCOUNTS))
    return Charge(ACCOUNTS[number].name, 0, units)


def spend(url, folder, run, life):
    """Serve random callers until there is a file `stop`."""
    chance = random.Random(f"{run} {life}")
    process = Process(url, folder, run, Die(chance, 0.001))
    while not (folder / "stop").exists():
        [number] = chance.choices(range(len(ACCOUNTS)), WEIGHTS)
        units = chance.randint(1, 30)
        if process.left[number] < units:
            back = chance.choice([0, 0, process.left[number]])
            process.ask(number, units, chance.randint(units, 400), back)
        if process.left[number] >= units:
            process.use(number, units)
        if chance.random() < 0.05:
            process.load()
        if chance.random() < 0.001:
            process.load()
            with process.engine.begin() as connection:
                bank.leave(connection, run)
            process.left = [0] * len(ACCOUNTS)
    process.load()


def haunt(url, folder, run):
    """Lease what there is, for a short time, and be gone with it."""
    process = Process(url, folder, run, lambda: None)
    process.lease(*(Want(account, like=1000) for account in ACCOUNTS), lease_s=GHOST_S)
    os.kill(os.getpid(), signal.SIGKILL)


def hammer(url, folder, run, until):
    """Use up a rate as fast as it is granted. Writes how much that was."""
    engine = open_database(url, folder).writer
    chance = random.Random(run)
    used = unused = 0
    while time.monotonic() < until:
        like = chance.randint(1, 40)
        with engine.begin() as connection:
            [got] = bank.lease(connection, [Want(RATE, need=1, like=like, back=unused)], run, LEASE_S)
        unused = chance.randint(0, got.granted)
        used += got.granted - unused
    (folder / f"used-{run}").write_text(str(used))


@pytest.fixture(scope="module")
def url_of():
    servers = []

    def url(kind):
        if kind == "sqlite":
            return ""
        servers[:] = servers or [Postgres()]
        schema = f"proof_{time.monotonic_ns()}"
        servers[0].execute(f"CREATE SCHEMA {schema}")
        return servers[0].url(f"-csearch_path={schema}")

    yield url
    for server in servers:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, url_of, tmp_path):
    """The URL and the folder of a database that is ready."""
    url = url_of(request.param)
    database = open_database(url, tmp_path)
    with database.writer.begin() as connection:
        migrate(connection)
    database.close()
    return url, tmp_path


def start(target, *arguments):
    process = started.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def overdrawn(engine):
    """Return accounts of which more is spent and held than there is."""
    held = select(shares.c.account, func.sum(shares.c.held).label("held")).join(leases, leases.c.run == shares.c.run)
    held = held.group_by(shares.c.account).subquery()
    units = spent.c.units + func.coalesce(held.c.held, 0)
    query = select(spent.c.account, units).join_from(spent, held, held.c.account == spent.c.account, isouter=True)
    with engine.begin() as connection:
        totals = dict(tuple(row) for row in connection.execute(query))
    return [account for account in ACCOUNTS if totals.get(account.name, 0) > account.most]


def served(folder):
    """Return what callers used, over all lives of all processes."""
    return [int(line) for run in RUNS if (folder / run).exists() for line in (folder / run).read_bytes().split()]


def disturb(place, engine):
    """Start three processes and ghosts beside them, and again whoever dies. Returns how many of each died."""
    chance = random.Random(1)
    lives = itertools.count(1)
    running = {run: start(spend, *place, run, next(lives)) for run in RUNS}
    ghosts = []
    deaths = 0
    give_up = time.monotonic() + AT_MOST_S
    while time.monotonic() < give_up and (len(served(place[1])) < CALLS or len(ghosts) < 5 or deaths < 10):
        wait([process.sentinel for process in running.values()], chance.uniform(0.02, 0.2))
        if chance.random() < 0.2:
            running[chance.choice(RUNS)].kill()
        if chance.random() < 0.2:
            ghosts.append(start(haunt, *place, f"ghost-{len(ghosts)}"))
        for run, process in running.items():
            if not process.is_alive():
                assert process.exitcode == -signal.SIGKILL
                deaths += 1
                running[run] = start(spend, *place, run, next(lives))
        assert overdrawn(engine) == []
    (place[1] / "stop").touch()
    # Those that die at the last moment come back as well.
    while ended := [run for run, process in running.items() if process.join() or process.exitcode]:
        for run in ended:
            assert running[run].exitcode == -signal.SIGKILL
            running[run] = start(spend, *place, run, next(lives))
    for ghost in ghosts:
        ghost.join()
        assert ghost.exitcode == -signal.SIGKILL
    return deaths, len(ghosts)


def test_nothing_is_overspent_lost_or_counted_twice(place) -> None:
    engine = open_database(*place).writer
    deaths, ghosts = disturb(place, engine)
    entries = served(place[1])
    used = Counter()
    for charge in map(charge_of, entries):
        used[charge.account] += charge.units
    with engine.begin() as connection:
        sums = bank.spent(connection, [(account.name, 0) for account in ACCOUNTS])
    assert sums == [used[account.name] for account in ACCOUNTS]
    assert all(units <= account.most for units, account in zip(sums, ACCOUNTS, strict=True))
    # All leases run out, are doubted, and run out again.
    for later in (1, 2, 3):
        with engine.begin() as connection:
            got = bank.lease(connection, list(map(Want, ACCOUNTS)), "after", LEASE_S, time.time() + later * 2 * LEASE_S)
    assert [answer.left for answer in got] == [
        account.most - units for units, account in zip(sums, ACCOUNTS, strict=True)
    ]
    # It was a fight: processes died often, and what the small budgets had was used up to the last units.
    print(f"{len(entries)} calls, {deaths} deaths, {ghosts} ghosts, sums {sums}")
    assert len(entries) >= CALLS
    assert deaths >= 10
    assert ghosts >= 5
    assert all(sums[number] > ACCOUNTS[number].most - 30 for number in (0, 1, 3))
    engine.dispose()


def test_no_rate_is_exceeded(place) -> None:
    began = time.monotonic()
    running = [start(hammer, *place, run, began + RATE_S) for run in RUNS]
    for process in running:
        process.join()
        assert process.exitcode == 0
    took_s = time.monotonic() - began
    used = sum(int((place[1] / f"used-{run}").read_text()) for run in RUNS)
    most = RATE.most + RATE.most / RATE.period_s * took_s
    print(f"{used} used, {most:.1f} allowed in {took_s:.2f} s")
    assert used <= most
    assert used > RATE.most + RATE.most / RATE.period_s * took_s / 2
