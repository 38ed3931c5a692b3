"""From any state of a database to the schema of this code, once, whoever else tries."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from keeping import current, only_postgresql, turn
from sqlalchemy import inspect
from sqlalchemy import text as sql

from dragoman.faults import Misconfigured
from dragoman.store.database import open_database
from dragoman.store.migrate import _upgrade as upgrade
from dragoman.store.migrate import migrate
from dragoman.store.schema import HEAD, metadata, threads

TABLES = {"alembic_version", *metadata.tables}


@pytest.fixture
def connection(database):
    opened = open_database(database.url, database.folder)
    with opened.writer.connect() as connection:
        yield connection
    opened.close()


def version(connection):
    return connection.execute(sql("SELECT version_num FROM alembic_version")).scalars().all()


def test_from_nothing(connection) -> None:
    with connection.begin():
        migrate(connection)
    with connection.begin():
        assert version(connection) == [HEAD]
        assert set(inspect(connection).get_table_names()) == TABLES


def test_twice_is_once(connection) -> None:
    for _ in range(2):
        with connection.begin():
            migrate(connection)
    with connection.begin():
        assert version(connection) == [HEAD]


def test_what_fails_leaves_nothing(connection) -> None:
    with connection.begin() as transaction:
        migrate(connection)
        transaction.rollback()
    with connection.begin():
        assert inspect(connection).get_table_names() == []


def test_from_an_empty_table_of_versions(connection) -> None:
    """As it is left where Alembic was asked for the version only."""
    with connection.begin():
        connection.execute(sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        migrate(connection)
        assert version(connection) == [HEAD]


def test_a_database_from_the_future(start, database) -> None:
    start().close()
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Misconfigured, match=rf"schema '9999' of a newer Dragoman.*up to '{HEAD}'"):
        start()
    assert database.execute("SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_database_of_somebody_else(start, database) -> None:
    start().close()
    database.execute("DROP TABLE alembic_version")
    with pytest.raises(Misconfigured, match="threads"):
        start()


async def test_what_was_kept_is_there_afterwards(start) -> None:
    store = start()
    place = await turn(store)
    store.close()
    assert await current(start(), place) == place.answer


def conditions(options):
    return sorted((name, str(value)) for name, value in options.items())


def layout(connection):
    """Everything that a database says about its tables, but the names that it makes up."""
    found = inspect(connection)
    return {
        name: {
            "columns": [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in found.get_columns(name)],
            "key": found.get_pk_constraint(name)["constrained_columns"],
            "indexes": sorted(
                (i["name"] or "", i["column_names"], i["unique"], conditions(i["dialect_options"]))
                for i in found.get_indexes(name)
            ),
            "unique": [u["column_names"] for u in found.get_unique_constraints(name)],
            "foreign": [
                (f["constrained_columns"], f["referred_table"], f["options"]) for f in found.get_foreign_keys(name)
            ],
            "options": found.get_table_options(name),
        }
        for name in found.get_table_names()
    }


def first_schema(connection):
    """Make a database as the first version left it."""
    for table in ("threads", "nodes", "owners", "holdings", "accounts"):
        metadata.tables[table].create(connection)
    connection.execute(sql("ALTER TABLE nodes DROP COLUMN request"))
    connection.execute(sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(sql("INSERT INTO alembic_version VALUES ('0001')"))


def test_an_upgrade_makes_what_a_new_database_has(connection) -> None:
    with connection.begin() as transaction:
        migrate(connection)
        new = layout(connection)
        transaction.rollback()
    with connection.begin():
        first_schema(connection)
        migrate(connection)
        assert version(connection) == [HEAD]
        assert layout(connection) == new
    assert set(new) == TABLES


def test_all_migrations_make_what_a_new_database_has(connection) -> None:
    with connection.begin() as transaction:
        migrate(connection)
        new = layout(connection)
        transaction.rollback()
    with connection.begin():
        upgrade(connection)
        upgraded = layout(connection)
    # Alembic makes its own table, with a name for its key.
    assert {name: upgraded[name] for name in metadata.tables} == {name: new[name] for name in metadata.tables}


OLD_NODE = """INSERT INTO nodes (id, thread, parent, depth, role, parts, at, state, model)
VALUES (:id, :thread, '', :depth, :role, '[]', 0, :state, '')"""


def test_an_upgrade_keeps_rows(connection) -> None:
    with connection.begin():
        first_schema(connection)
        connection.execute(sql("INSERT INTO accounts VALUES ('ann', 'Ann', 'x')"))
        connection.execute(sql("INSERT INTO owners VALUES ('ann', 3)"))
        connection.execute(threads.insert(), {"id": "t"})
        said = {"id": "a", "thread": "t", "depth": 1, "role": "assistant", "state": "complete"}
        connection.execute(sql(OLD_NODE), said)
        migrate(connection)
        assert connection.execute(sql("SELECT * FROM accounts")).all() == [("ann", "Ann", "x")]
        assert connection.execute(sql("SELECT * FROM owners")).all() == [("ann", 3)]
        assert connection.execute(sql("SELECT id, request FROM nodes")).all() == [("a", "")]


@only_postgresql
def test_who_comes_second_waits(connection, database) -> None:
    other = open_database(database.url, database.folder)

    def second():
        with other.writer.begin() as connection:
            migrate(connection)

    with ThreadPoolExecutor() as executor:
        with connection.begin():
            migrate(connection)
            migrating = executor.submit(second)
            waits = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"
            while database.execute(waits) == [(0,)]:
                assert not migrating.done()
        migrating.result()
    other.close()


STARTING = """
import sys
from pathlib import Path
from dragoman.store import open_store

print("ready", flush=True)
sys.stdin.readline()
open_store(sys.argv[1], Path(sys.argv[2]), sys.argv[3]).close()
"""


def test_processes_that_start_at_once(database, start) -> None:
    command = [sys.executable, "-c", STARTING, database.url, str(database.folder)]
    processes = [
        subprocess.Popen([*command, f"{number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for number in range(4)
    ]
    for process in processes:
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    start()
    assert database.execute("SELECT version_num FROM alembic_version") == [(HEAD,)]
