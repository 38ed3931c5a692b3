"""What tests of the bank lease, and the way to do so."""

from contextlib import contextmanager

from dragoman.records import Charge
from dragoman.standing import Account, Want
from dragoman.store import bank
from dragoman.store.database import open_database
from dragoman.store.migrate import migrate

LEASE_S = 10.0
DAY = 1_699_920_000
MONEY = Account("key:ann/money.day", "money", 100)
PLACES = Account("team:red/parallel", "places", 3)
RATE = Account("key:ann/requests", "rate", 60, 60.0)


class Bank:
    """The functions of the bank, each in a transaction of its own, at the time of a clock that the test sets."""

    def __init__(self, engine, clock):
        self.engine = engine
        self.clock = clock

    def lease(self, run, *wants, lease_s=LEASE_S):
        with self.engine.begin() as connection:
            return bank.lease(connection, wants, run, lease_s, self.clock and self.clock())

    def get(self, run, account, need=0, like=0, back=0, window=0):
        return self.lease(run, Want(account, window, need, like, back))[0]

    def leave(self, run):
        with self.engine.begin() as connection:
            bank.leave(connection, run)

    def charge(self, run, *charges):
        with self.engine.begin() as connection:
            bank.charge(connection, charges, run)

    def spent(self, *accounts):
        with self.engine.begin() as connection:
            return bank.spent(connection, accounts)

    def end(self, run):
        """Have the lease of a process that is gone end: it runs out, is doubted, and runs out again."""
        for _ in range(2):
            self.clock.now += LEASE_S
            self.lease(run)


def charge(units, account=MONEY, window=0):
    return Charge(account.name, window, units)


def changed(account, most):
    return Account(account.name, account.unit, most, account.period_s)


@contextmanager
def opened_bank(database, clock):
    """Open the bank of an empty database."""
    opened = open_database(database.url, database.folder)
    with opened.writer.begin() as connection:
        migrate(connection)
    yield Bank(opened.writer, clock)
    opened.close()
