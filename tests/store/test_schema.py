"""The tables as they are used: every statement finds its rows by an index, however many conversations there are."""

import pytest
from alembic.script import ScriptDirectory
from keeping import again, ask, new_id, only_sqlite, text, turn
from sqlalchemy import event

import dragoman.store
from dragoman.store.schema import HEAD, REVISIONS, is_leased
from dragoman.store.turns import release
from dragoman.threads import Chronicle, Line


def test_the_revisions_are_those_of_the_migrations() -> None:
    scripts = ScriptDirectory(f"{dragoman.store.__path__[0]}/migrations")
    assert scripts.get_current_head() == HEAD
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS


async def everything(store) -> None:
    """Do all that can be done with conversations."""
    place = await turn(store, "one", "ONE")
    await turn(store, "two", "TWO", thread=place.thread.id, question=new_id())
    under_way = await store.begin(again(parent=place.answer))
    await store.keep([(under_way, text("ha"))])
    await store._database.write(lambda connection: release(connection, is_leased))
    await store.end(under_way, "broken", ())
    await store.shelf("ann", 0, 20)
    await store.shelf("ann", 0, 20, before=place.thread.id)
    await store.story("ann", place.thread.id)
    await store.rename("ann", place.thread.id, "x")
    await store.first("ann")
    await store.adopt("ann", [Chronicle("a", [Line("user", "b")])])
    await store.put_account("ann", "x")
    await store.put_account("ann", "y")
    await store.drop_account("ann")
    await store.begin(ask("three", thread=place.thread.id))
    await store.drop("ann", place.thread.id)
    await store.drop("ann", "")


@pytest.fixture
async def plans(database, store):
    """How SQLite goes about each statement, as it says itself. PostgreSQL decides by the number of rows."""
    seen = {}

    def note(_connection, _cursor, statement, parameters, _context, is_many) -> None:
        seen[statement] = parameters[0] if is_many else parameters

    event.listen(store._database.writer, "before_cursor_execute", note)
    await everything(store)
    return {
        statement: "; ".join(row[-1] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", values))
        for statement, values in seen.items()
        if not statement.startswith("BEGIN")
    }


@only_sqlite
async def test_no_table_is_read_through(plans) -> None:
    assert len(plans) > 20
    # Only the path that a statement gathers, and the index of those few that are leased, are read from end to end.
    steps = {step for plan in plans.values() for step in plan.split("; ")}
    read_through = {step for step in steps if step.startswith("SCAN")}
    assert read_through == {"SCAN path", "SCAN threads USING INDEX threads_leased"}


@only_sqlite
async def test_a_list_is_read_in_its_order(plans) -> None:
    lists = [plan for statement, plan in plans.items() if "ORDER BY threads.updated" in statement]
    assert set(lists) == {
        "SEARCH threads USING INDEX threads_by_update (owner=?)",
        "SEARCH threads USING INDEX threads_by_update (owner=? AND (updated,id)<(?,?))",
    }
