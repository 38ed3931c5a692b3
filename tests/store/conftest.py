"""A database of its own for each test, on both kinds of server, with a clock that the test sets."""

import itertools
import sqlite3

import pytest
from postgres import Postgres

from dragoman.store import open_store


class Clock:
    """Time as the store sees it, in seconds."""

    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


class Sqlite:
    kind = "sqlite"
    url = ""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "dragoman.db"

    def execute(self, statement, values=()):
        connection = sqlite3.connect(self.file, isolation_level=None)
        rows = connection.execute(statement, values).fetchall()
        connection.close()
        return rows

    def refuse(self, words):
        """Have the database refuse messages with these words."""
        when = f"WHEN new.parts LIKE '%{words}%' BEGIN SELECT raise(ABORT, 'refused'); END"
        self.execute(f"CREATE TRIGGER refuse_insert BEFORE INSERT ON nodes {when}")
        self.execute(f"CREATE TRIGGER refuse_update BEFORE UPDATE ON nodes {when}")


class Postgresql:
    """A schema on the server: it has all that a database has, and takes a tenth of the time to make."""

    kind = "postgresql"
    numbers = itertools.count()

    def __init__(self, server, folder):
        self.server = server
        self.folder = folder
        schema = f"test_{next(self.numbers)}"
        server.execute(f"CREATE SCHEMA {schema}")
        self.url = server.url(f"-csearch_path={schema}")

    def execute(self, statement):
        return self.server.execute(statement, self.url)

    def refuse(self, words):
        """Have the database refuse messages with these words."""
        self.execute(f"ALTER TABLE nodes ADD CONSTRAINT refused CHECK (parts NOT LIKE '%{words}%')")


@pytest.fixture(scope="session")
def server():
    running = Postgres()
    yield running
    running.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        return Sqlite(tmp_path)
    return Postgresql(request.getfixturevalue("server"), tmp_path)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def start(database, clock):
    """Open the database as another process would: with its own name and connections."""
    opened = []

    def open_(run="one", **options):
        opened.append(open_store(database.url, database.folder, run, **{"now": clock} | options))
        return opened[-1]

    yield open_
    for store in opened:
        store.close()


@pytest.fixture
def store(start):
    return start()
