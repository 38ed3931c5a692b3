"""The way to the database: one hop, one transaction, and what happens when the database or the caller goes away."""

import asyncio
import os
import sqlite3
import stat
import threading
import time

import pytest
from keeping import ask, only_postgresql, only_sqlite, said, text, turn
from sqlalchemy import text as sql

from dragoman.chat import Text
from dragoman.faults import Misconfigured, NotFound, StoreFailed
from dragoman.store.database import open_database


async def test_an_error_of_the_database_is_a_fault_without_secrets(store, database) -> None:
    place = await store.begin(ask())
    database.refuse("PRIVATE")
    attempts = [
        store.begin(ask("PRIVATE")),
        store.keep([(place, text("PRIVATE"))]),
        store.end(place, "complete", text("PRIVATE")),
    ]
    for attempt in attempts:
        with pytest.raises(StoreFailed) as raised:
            await attempt
        fault = raised.value
        assert fault.message == "The gateway's database cannot be used now."
        assert "refused" in fault.detail
        assert "PRIVATE" not in fault.detail
        for word in ("INSERT", "UPDATE", place.answer):
            assert word not in fault.detail


async def test_what_failed_left_nothing_and_can_be_done_again(store, database) -> None:
    place = await store.begin(ask())
    database.refuse("PRIVATE")
    with pytest.raises(StoreFailed):
        await store.end(place, "complete", text("PRIVATE"))
    await store.end(place, "complete", text("public"))
    assert said((await store.story("ann", place.thread.id)).nodes) == ["Hello?", "public"]


async def test_a_missing_table_is_a_fault(store, database) -> None:
    database.execute("DROP TABLE accounts")
    for attempt in (store.account("ann"), store.accounts(), store.put_account("ann", "x"), store.drop_account("ann")):
        with pytest.raises(StoreFailed):
            await attempt


async def test_a_row_that_cannot_be_read_is_a_fault(store, database) -> None:
    place = await turn(store)
    database.execute('UPDATE nodes SET parts = \'[{"type":"PRIVATE"}]\'')
    for attempt in (store.story("ann", place.thread.id), store.begin(ask(thread=place.thread.id))):
        with pytest.raises(StoreFailed):
            await attempt


async def test_a_fault_undoes_the_transaction(store) -> None:
    def work(connection):
        connection.execute(sql("INSERT INTO accounts VALUES ('ann', 'ann', 'x')"))
        raise NotFound

    with pytest.raises(NotFound):
        await store._database.write(work)
    assert await store.accounts() == []


async def test_work_for_readers_cannot_write_beside_writers(store) -> None:
    """A reader sees one state, whatever is written meanwhile."""
    read, written = threading.Event(), threading.Event()
    count = sql("SELECT count(*) FROM accounts")

    def work(connection):
        before = connection.execute(count).scalar()
        read.set()
        assert written.wait(10)
        return before, connection.execute(count).scalar()

    reading = asyncio.ensure_future(store._database.read(work))
    await asyncio.get_running_loop().run_in_executor(None, read.wait, 10)
    await store.put_account("ann", "x")
    written.set()
    assert await reading == (0, 0)


async def test_a_caller_who_leaves_loses_nothing(store, database) -> None:
    """Whether its work runs already or waits for its thread."""
    begun, go = threading.Event(), threading.Event()

    def work(connection):
        begun.set()
        assert go.wait(10)
        connection.execute(sql("INSERT INTO accounts VALUES ('running', 'running', 'x')"))

    running = asyncio.ensure_future(store._database.write(work))
    await asyncio.get_running_loop().run_in_executor(None, begun.wait, 10)
    waiting = [asyncio.ensure_future(store.put_account(f"waiting {number}", "x")) for number in range(9)]
    await asyncio.sleep(0)
    for task in (running, *waiting):
        task.cancel()
    await asyncio.gather(running, *waiting, return_exceptions=True)
    assert all(task.cancelled() for task in (running, *waiting))
    go.set()
    store.close()
    assert len(database.execute("SELECT name FROM accounts")) == 10


async def test_the_loop_runs_on_while_the_database_works(store) -> None:
    go = threading.Event()
    working = asyncio.ensure_future(store._database.write(lambda _: go.wait(10)))
    await asyncio.sleep(0)
    go.set()
    assert await working


async def test_a_closed_store(store) -> None:
    await turn(store)
    store.close()
    store.close()
    with pytest.raises(StoreFailed):
        await store.begin(ask())
    with pytest.raises(StoreFailed):
        await store.shelf("ann", 0, 10)


async def test_closing_ends_what_was_begun(store, database) -> None:
    begun = [asyncio.ensure_future(store.begin(ask())) for _ in range(20)]
    await asyncio.sleep(0)
    store.close()
    await asyncio.gather(*begun)
    [(count,)] = database.execute("SELECT count(*) FROM threads")
    assert count == 20


@only_postgresql
async def test_a_restart_of_the_server(start, database) -> None:
    store = start()
    place = await turn(store)
    await asyncio.gather(*(store.shelf("ann", 0, 10) for _ in range(16)))
    database.server.stop()
    database.server.start()
    await asyncio.gather(*(store.shelf("ann", 0, 10) for _ in range(16)))
    under_way = await store.begin(ask("Two?", thread=place.thread.id))
    database.server.stop()
    try:
        for attempt in (store.begin(ask()), store.shelf("ann", 0, 10), store.keep([(under_way, text("x"))])):
            with pytest.raises(StoreFailed) as raised:
                await attempt
            assert raised.value.detail
    finally:
        database.server.start()
    pages = await asyncio.gather(*(store.shelf("ann", 0, 10) for _ in range(16)))
    assert {shelf.total for shelf in pages} == {1}
    await store.end(under_way, "complete", (Text("Two."),))
    assert said((await store.story("ann", place.thread.id)).nodes) == ["Hello?", "Hello.", "Two?", "Two."]


@only_postgresql
async def test_a_connection_that_dies_amid_work(start, database) -> None:
    store = start()

    def work(connection):
        pid = connection.execute(sql("SELECT pg_backend_pid()")).scalar()
        database.execute(f"SELECT pg_terminate_backend({pid}, 10000)")
        connection.execute(sql("SELECT 1"))

    with pytest.raises(StoreFailed):
        await store._database.write(work)
    await turn(store)


async def test_another_process_may_write_to_the_file(start, database) -> None:
    """As `dragoman user add` does while the gateway runs: it waits its turn."""
    one, two = start("one"), start("two")
    work = [store.put_account(f"{number}", "x") for number in range(20) for store in (one, two)]
    assert sum(await asyncio.gather(*work)) == 20


@only_sqlite
async def test_the_file_is_its_owners_alone(database) -> None:
    folder = database.folder
    mask = os.umask(0)
    try:
        opened = open_database("", folder)
        with opened.writer.begin() as connection:
            connection.execute(sql("CREATE TABLE t (i)"))
            modes = {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
            assert len(list(folder.iterdir())) == 3
    finally:
        os.umask(mask)
    opened.close()
    assert modes == {0o600}
    assert [file.name for file in folder.iterdir()] == ["dragoman.db"]


@only_sqlite
def test_a_new_file_in_use_by_another_process_is_waited_for(database, monkeypatch) -> None:
    other = sqlite3.connect(database.file)
    other.execute("CREATE TABLE t (i)")
    other.execute("BEGIN IMMEDIATE")
    waits = []

    def wait(time_s):
        waits.append(time_s)
        other.close()

    monkeypatch.setattr(time, "sleep", wait)
    opened = open_database("", database.folder)
    opened.writer.connect().close()
    opened.close()
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "cannot be read"),
        ("postgresql://u:sesame@host:port/db", "cannot be read"),
        ("mysql://u:sesame@host/db", "'mysql' is not supported"),
        ("sqlite:///x.db", "'sqlite' is not supported"),
        ("postgresql://u:sesame@opens@host/db", "%40"),
        ("postgresql://u:x@sesame/opens@host/db", "%2F"),
    ],
)
def test_a_url_that_is_none(tmp_path, url, said) -> None:
    with pytest.raises(Misconfigured) as raised:
        open_database(url, tmp_path)
    assert said in str(raised.value)
    assert "sesame" not in str(raised.value)
