"""Everything from one database into another: each kind into each kind, all of it or nothing."""

import pytest
from booking import BOB, Books, record
from keeping import current, turn

from dragoman.faults import Misconfigured, StoreFailed
from dragoman.records import Content
from dragoman.store import open_store
from dragoman.store.migrate import TABLES
from dragoman.store.moving import move, move_store
from dragoman.store.schema import metadata


@pytest.fixture
def target(request, tmp_path):
    """A second database, of the other kind or of the same."""
    folder = tmp_path / "target"
    folder.mkdir()
    url = ""
    if request.param == "postgresql":
        server = request.getfixturevalue("server")
        schema = f"target_{tmp_path.name.encode().hex()}"[:60]
        server.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        server.execute(f"CREATE SCHEMA {schema}")
        url = server.url(f"-csearch_path={schema}")
    store = open_store(url, folder, "target")
    yield store
    store.close()


def silent(*_):
    pass


async def fill(store, database):
    """Put something into every table."""
    place = await turn(store, "a question with \0 and \n lines")
    await store.hold("ann", "held")
    await store.put_account("Ann", "$argon2id$")
    calls = [record(model="two\nlines"), record(caller=BOB), record(cost_micro=None)]
    await Books(store).keep(*calls, Content(calls[0].id, 1.5, "Why?", "So."))
    for statement in (
        """INSERT INTO keys VALUES ('k', 'key:k', 'red', '', '{"id":"k"}', 1)""",
        """INSERT INTO teams VALUES ('red', '{}', 2)""",
        """INSERT INTO gone VALUES ('key', 'old', 3)""",
        """INSERT INTO facts VALUES ('seq', '3')""",
        """INSERT INTO shares VALUES ('key:k/money.day', 0, 'one', 9007199254740991)""",
        """INSERT INTO leases VALUES ('one', 1700000000.123456, 30, 0)""",
        """INSERT INTO rates VALUES ('key:k/requests', 0.1, 1700000000.123456)""",
        """INSERT INTO used_links VALUES ('link', 1700000000.123456)""",
    ):
        database.execute(statement)
    return place


def content(store):
    """All rows of all tables, as a set for each."""
    with store._database.writer.begin() as connection:
        return {table.name: {tuple(row) for row in connection.execute(table.select())} for table in TABLES}


every_kind = pytest.mark.parametrize("target", ["sqlite", "postgresql"], indirect=True)


@every_kind
async def test_everything_arrives(store, database, target) -> None:
    place = await fill(store, database)
    told = []
    counts = await move(store._database, target._database, lambda *what: told.append(what))
    assert set(counts) == set(metadata.tables)
    assert all(here == there for here, there in counts.values())
    assert all(here for here, _ in counts.values())
    assert content(target) == content(store)
    assert await current(target, place) == place.answer
    assert await Books(target).find("nothing") is None
    assert [what for what in told if what[0] == "calls"] == [("calls", 0, 3), ("calls", 3, 3)]


@every_kind
async def test_many_rows_come_in_batches(store, target) -> None:
    await Books(store).keep(*(record() for _ in range(4500)))
    told = []
    counts = await move(store._database, target._database, lambda *what: told.append(what))
    assert counts["calls"] == (4500, 4500)
    assert [done for name, done, _ in told if name == "calls"] == [0, 2000, 4000, 4500]


@every_kind
async def test_a_target_that_holds_something_is_refused_and_stays(store, database, target) -> None:
    await fill(store, database)
    await target.put_account("bob", "x")
    before = content(target)
    with pytest.raises(Misconfigured, match="'accounts'.*left as it was"):
        await move(store._database, target._database, silent)
    assert content(target) == before


@every_kind
async def test_what_fails_halfway_leaves_nothing(store, database, target) -> None:
    await fill(store, database)
    before = content(target)

    def stop(table, done, total):
        if table == "calls" and done:
            raise StoreFailed(detail="stopped")

    with pytest.raises(StoreFailed):
        await move(store._database, target._database, stop)
    assert content(target) == before
    await move(store._database, target._database, silent)


@every_kind
async def test_other_sums_are_noticed(store, database, target) -> None:
    """As if the target changed what it is given."""
    await fill(store, database)
    if "sqlite" in str(target._database.writer.url):
        half = "CREATE TRIGGER half AFTER INSERT ON spent BEGIN UPDATE spent SET units = 1; END"
    else:
        half = "CREATE RULE half AS ON INSERT TO spent DO ALSO UPDATE spent SET units = 1"
    with target._database.writer.begin() as connection:
        connection.exec_driver_sql(half)
    with pytest.raises(StoreFailed) as caught:
        await move(store._database, target._database, silent)
    assert "spent" in caught.value.detail
    assert content(target)["calls"] == set()


@pytest.fixture
def empty(tmp_path, server):
    """Where a store of each kind may be moved to."""
    schema = f"empty_{tmp_path.name.encode().hex()}"[:60]
    server.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    server.execute(f"CREATE SCHEMA {schema}")
    return [server.url(f"-csearch_path={schema}"), str(tmp_path / "new")]


async def test_a_store_is_moved_by_its_address(start, database, empty) -> None:
    store = start()
    await fill(store, database)
    before = content(store)
    store.close()
    for target in empty:
        counts = await move_store(database.url, database.folder, target, silent)
        assert counts["calls"] == (3, 3)
        with pytest.raises(Misconfigured, match="--to: it is not empty"):
            await move_store(database.url, database.folder, target, silent)
    assert content(start()) == before


async def test_a_file_that_is_served_is_not_moved(tmp_path, empty) -> None:
    serving = open_store("", tmp_path, "gateway", sole=True)
    with pytest.raises(Misconfigured, match="another Dragoman serves"):
        await move_store("", tmp_path, empty[1], silent)
    serving.close()
    await move_store("", tmp_path, empty[1], silent)


@pytest.mark.parametrize("target", ["mysql://x/y", "postgresql://nobody@127.0.0.1:1/x", "://", "/dev/null/x"])
async def test_a_target_that_cannot_be(tmp_path, target) -> None:
    with pytest.raises(Misconfigured, match="--to|/dev/null/x"):
        await move_store("", tmp_path, target, silent)
