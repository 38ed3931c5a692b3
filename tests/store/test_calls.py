"""Calls: loaded once whatever comes twice, found again, paged through, and forgotten in portions."""

import asyncio

import pytest
from booking import ANN, AT, BOB, DAY, Books, record
from keeping import only_postgresql, only_sqlite
from sqlalchemy import event

from dragoman.chat import Usage
from dragoman.faults import Malformed
from dragoman.records import Attempt, Caller, Charge, Content
from dragoman.store.calls import MOST_TOKENS
from dragoman.usage import CallQuery


@pytest.fixture
def books(store):
    return Books(store)


def spent(database):
    return dict(database.execute("SELECT account, units FROM spent"))


def hold(database, run, units, account="key:ann/money.day"):
    # "window" is a word of PostgreSQL's own.
    database.execute(
        f"INSERT INTO shares (account, \"window\", run, held) VALUES ('{account}', {DAY}, '{run}', {units})"
    )


def held(database):
    return dict(database.execute("SELECT run, held FROM shares"))


# --- loading


async def test_a_call_comes_back_as_it_was_written(books) -> None:
    tokens = Usage(1, 2, 3, 4, 5, 6, 7, 8, estimated=True, image_in=9, image_out=10, tier="flex")
    attempts = [Attempt("first", "m", "aaaa", "timeout", "read: 30 s", 30_000), Attempt("vendor", "m", "bbbb", "ok")]
    kept = record(usage=tokens, attempts=attempts, queued_ms=5, reserved_micro=99, streamed=True, credential="bbbb")
    assert await books.keep(kept) == 1
    row = await books.find(kept.id)
    for name in ("id", "at", "dialect", "wire", "model", "provider", "target", "credential", "outcome", "code"):
        assert getattr(row, name) == getattr(kept, name)
    for name in (
        "status",
        "usage",
        "streamed",
        "cost_micro",
        "reserved_micro",
        "queued_ms",
        "first_byte_ms",
        "total_ms",
    ):
        assert getattr(row, name) == getattr(kept, name)
    assert (row.principal, row.key, row.team, row.tags) == ("key:ann", "ann", "red", ("prod", "web"))
    assert row.attempts == tuple(attempts)
    assert (row.question, row.answer) == (None, None)


async def test_what_is_unknown_stays_unknown(books) -> None:
    kept = record(cost_micro=None, first_byte_ms=None)
    await books.keep(kept)
    row = await books.find(kept.id)
    assert (row.cost_micro, row.first_byte_ms) == (None, None)


async def test_what_comes_twice_changes_nothing(books, database) -> None:
    hold(database, "one", 100)
    first, second = record(), record()
    assert await books.keep(first, second, first) == 2
    before = await books.usage("day"), spent(database), held(database)
    assert before[1:] == ({"key:ann/money.day": 14}, {"one": 86})
    assert await books.keep(second, first) == 0
    assert (await books.usage("day"), spent(database), held(database)) == before
    assert await books.keep(second, record(), first) == 1
    assert spent(database) == {"key:ann/money.day": 21}
    assert await books.counts() == {(): 3}


async def test_of_two_with_one_id_the_first_holds(books, database) -> None:
    first = record()
    await books.keep(first, record(id=first.id, caller=BOB, cost_micro=99))
    assert (await books.find(first.id)).principal == "key:ann"
    assert spent(database) == {"key:ann/money.day": 7}
    assert await books.counts("principal") == {("key:ann",): 1}


async def test_only_the_runs_own_share_shrinks_and_never_below_nothing(books, database) -> None:
    hold(database, "one", 5)
    hold(database, "two", 5)
    await books.keep(record(), run="one")
    assert held(database) == {"one": 0, "two": 5}


async def test_charges_of_one_batch_are_summed_by_account_and_window(books, database) -> None:
    charges = (Charge("all/money.total", 0, 3), Charge("all/money.total", 1, 4), Charge("all/requests.day", 0, 1))
    await books.keep(record(charges=charges), record(charges=charges))
    rows = database.execute('SELECT account, "window", units FROM spent ORDER BY 1, 2')
    assert [tuple(row) for row in rows] == [
        ("all/money.total", 0, 6),
        ("all/money.total", 1, 8),
        ("all/requests.day", 0, 2),
    ]


async def test_nothing_is_kept_of_a_batch_that_fails(books, database) -> None:
    def broken(at):
        raise LookupError

    with pytest.raises(LookupError):
        await books.keep(record(), day_of=broken)
    assert await books.position() is None
    assert await books.latest() == []
    assert spent(database) == {}


async def test_the_position_never_goes_back(books) -> None:
    assert await books.position() is None
    for segment, offset, then in [
        (2, 50, (2, 50)),
        (2, 40, (2, 50)),
        (1, 90, (2, 50)),
        (2, 60, (2, 60)),
        (3, 1, (3, 1)),
    ]:
        await books.keep(segment=segment, offset=offset)
        assert await books.position() == then
    assert await books.position("another") is None


@pytest.mark.parametrize("odd", ["a\0b", "\0", "x" * 100_000, "é" * 5000, "'; --", "%", "🦊" * 999])
async def test_odd_texts_stop_nothing(books, odd) -> None:
    """A caller chooses the model, and people their names: neither must make a batch fail for ever."""
    who = Caller(odd, odd, odd, (odd, "ok"))
    attempts = [Attempt(odd, odd, odd, odd, odd)]
    kept = record(caller=who, model=odd, provider=odd, target=odd, code=odd, attempts=attempts, charges=())
    assert await books.keep(kept, Content(kept.id, AT, odd, odd)) == 1
    assert await books.keep(kept) == 0
    row = await books.find(kept.id)
    shown = odd.replace("\0", "")
    assert row.question == shown
    assert shown.startswith(row.model)
    assert "ok" in row.tags
    assert (await books.usage("model"))[0].by == (row.model,)


async def test_impossible_numbers_stop_nothing(books) -> None:
    wild = record(usage=Usage(input=2**80, output=-5), cost_micro=2**70, reserved_micro=-1)
    await books.keep(wild)
    row = await books.find(wild.id)
    assert (row.usage.input, row.usage.output, row.cost_micro, row.reserved_micro) == (MOST_TOKENS, 0, 2**53 - 1, 0)


async def test_content_is_kept_where_it_came(books) -> None:
    kept = record()
    await books.keep(kept, Content(kept.id, AT, "Why?", "So."), Content("another", AT, "x", "y"))
    await books.keep(Content(kept.id, AT, "changed", "changed"))
    row = await books.find(kept.id)
    assert (row.question, row.answer) == ("Why?", "So.")
    assert (await books.latest())[0].question is None


@only_postgresql
async def test_two_processes_load_the_same_at_once(start, database) -> None:
    stores = [Books(start(name)) for name in ("one", "two", "three")]
    shared = [record(caller=(ANN, BOB)[number % 2]) for number in range(60)]
    orders = (shared, shared[::-1], shared[30:] + shared[:30])
    new = await asyncio.gather(
        *(books.keep(*order[at : at + 20]) for books, order in zip(stores, orders) for at in (0, 20, 40))
    )
    assert sum(new) == 60
    assert await stores[0].counts() == {(): 60}
    assert spent(database) == {"key:ann/money.day": 210, "key:bob/money.day": 210}


# --- finding


async def test_a_call_of_another_is_not_found(books) -> None:
    kept = record()
    await books.keep(kept)
    assert (await books.find(kept.id, "key:ann")).id == kept.id
    assert await books.find(kept.id, "key:bob") is None
    assert await books.find(kept.id, "") is None
    assert await books.find("nothing") is None


async def test_the_newest_are_first_and_pages_meet(books) -> None:
    kept = [record(at=AT + number // 3, id=f"c{number:02}") for number in range(10)]
    await books.keep(*kept)
    all_ = await books.ids()
    assert all_ == sorted(all_, reverse=True)
    pages, after = [], None
    while page := await books.latest(limit=4, after=after):
        pages.append([row.id for row in page])
        after = (page[-1].at, page[-1].id)
    assert [len(page) for page in pages] == [4, 4, 2]
    assert sum(pages, []) == all_


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"principal": "key:bob"}, ["b"]),
        ({"key": "ann"}, ["c", "a"]),
        ({"team": "red"}, ["c", "a"]),
        ({"model": "large"}, ["c"]),
        ({"provider": "vendor"}, ["b", "a"]),
        ({"dialect": "anthropic"}, ["a"]),
        ({"outcome": "failed"}, ["c"]),
        ({"since": AT + 1}, ["c", "b"]),
        ({"until": AT + 1}, ["a"]),
        ({"since": AT + 1, "until": AT + 2, "team": "blue"}, ["b"]),
        ({"model": "%"}, []),
        ({"principal": "' OR 1=1 --"}, []),
    ],
)
async def test_filters(books, query, found) -> None:
    await books.keep(
        record(id="a", dialect="anthropic"),
        record(id="b", at=AT + 1, caller=BOB),
        record(id="c", at=AT + 2, model="large", outcome="failed", provider="other"),
    )
    assert await books.ids(**query) == found


@pytest.mark.parametrize("limit", [0, -1, 251, 10**9])
def test_a_page_has_bounds(limit) -> None:
    with pytest.raises(Malformed) as caught:
        CallQuery(limit=limit)
    assert caught.value.field == "limit"


# --- forgetting


async def test_the_oldest_are_forgotten_in_portions_and_their_sums_stay(books) -> None:
    kept = [record(at=AT + number, id=f"c{number}") for number in range(5)]
    await books.keep(*kept, *(Content(call.id, call.at, "q", "a") for call in kept))
    assert await books.forget(AT + 4, 3) == 3
    assert await books.ids() == ["c4", "c3"]
    assert await books.forget(AT + 4, 3) == 1
    assert await books.forget(AT + 4, 3) == 0
    assert await books.counts() == {(): 5}
    assert await books.forget_contents(AT + 99, 4) == 4
    assert (await books.find("c4")).question == "q"
    assert await books.forget_contents(AT + 99, 4) == 1
    assert (await books.find("c4")).question is None


@only_sqlite
async def test_calls_are_found_by_an_index_however_many_there_are(books, database) -> None:
    seen = {}

    @event.listens_for(books.database.writer, "before_cursor_execute")
    def _(_connection, _cursor, statement, parameters, _context, is_many) -> None:
        seen[statement] = parameters[0] if is_many else parameters

    await books.keep(record(), Content("x", AT, "q", "a"))
    await books.find("x")
    for query in ({}, {"after": (AT, "x")}, {"principal": "key:ann", "after": (AT, "x")}, {"since": AT, "until": AT}):
        await books.latest(**query)
    await books.forget(AT, 1)
    await books.forget_contents(AT, 1)
    plans = [
        step
        for statement, values in seen.items()
        if not statement.startswith("BEGIN")
        for step in "; ".join(row[-1] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", values)).split(
            "; "
        )
    ]
    # A page without a filter reads its index from the end until it is full.
    assert {step for step in plans if "SCAN" in step} == {"SCAN calls USING INDEX calls_by_at"}
    assert not any("TEMP B-TREE" in step for step in plans)
