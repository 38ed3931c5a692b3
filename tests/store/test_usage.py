"""Sums of usage: equal to a plain sum over the calls, whatever is asked, page by page, and never read from calls."""

import random
from collections import Counter
from datetime import datetime, timedelta
from itertools import combinations
from zoneinfo import ZoneInfo

import pytest
from booking import ANN, AT, BOB, DAY, HOUR, Books, record
from keeping import only_sqlite
from sqlalchemy import event, insert

from dragoman.chat import Usage
from dragoman.faults import Malformed
from dragoman.records import Caller
from dragoman.store.call_tables import BLOCK_S, BUCKETS, DIMENSIONS, SUMS, usage_blocks, usage_days
from dragoman.store.usage import join_tags, split_tags
from dragoman.usage import UsageQuery, read_cursor, write_cursor

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def books(store):
    return Books(store)


def berlin_day(at):
    return int(datetime.fromtimestamp(at, BERLIN).replace(hour=0, minute=0, second=0, microsecond=0).timestamp())


# --- adding


async def test_every_sum_of_a_day(books) -> None:
    tokens = Usage(1, 2, 3, 4, 5, 6, 7, 8, estimated=True, image_in=9, image_out=10)
    none = Usage()
    await books.keep(
        record(usage=tokens, cost_micro=100),
        record(usage=tokens, cost_micro=None),
        record(usage=none, cost_micro=None, outcome="refused"),
        record(usage=none, cost_micro=5, outcome="failed"),
        record(usage=none, cost_micro=0, outcome="abandoned"),
    )
    (row,) = await books.usage("day")
    assert row.by == (DAY,)
    assert (row.calls, row.failed, row.estimated, row.unpriced, row.cost_micro) == (5, 2, 2, 1, 105)
    assert row.tokens == Usage(2, 4, 6, 8, 10, 12, 14, 16, image_in=18, image_out=20)


async def test_sums_grow_with_each_batch(books) -> None:
    for number in range(3):
        await books.keep(record(), record(caller=BOB), offset=number)
    assert await books.counts("principal") == {("key:ann",): 3, ("key:bob",): 3}


async def test_days_are_few_rows_in_blocks(books, database) -> None:
    """That is what makes a year quick."""
    begins = DAY - DAY % BLOCK_S
    await books.keep(*(record(at=begins + day * 86400 + 5) for day in range(56)))
    rows = database.execute("SELECT slot, calls FROM usage_blocks ORDER BY slot")
    assert [tuple(row) for row in rows] == [(begins, 28), (begins + BLOCK_S, 28)]
    assert len(await books.usage("day", limit=250)) == 56


async def test_names_that_callers_invent_are_one_row(books) -> None:
    await books.keep(*(record(model=f"invented-{n}", code="model_not_found", outcome="refused") for n in range(20)))
    await books.keep(record(code="rate_limited", outcome="refused"))
    assert await books.counts("model") == {("",): 20, ("small",): 1}


async def test_a_day_begins_where_the_deployment_says(books) -> None:
    midnight = int(datetime(2026, 3, 29, tzinfo=BERLIN).timestamp())
    calls = [record(at=midnight + hours * 3600 - 1) for hours in (0, 1, 23, 24)]
    await books.keep(*calls, day_of=berlin_day)
    assert await books.counts("day") == {(midnight - 86400,): 1, (midnight,): 2, (midnight + 23 * 3600,): 1}
    assert sum((await books.counts("hour")).values()) == 4


# --- asking


async def many(books):
    """Half a year of calls. Returns them as (values by word, tags) for a plain sum."""
    chance = random.Random(7)
    callers = [ANN, BOB, Caller("user:eve", "", "red", ("web",)), Caller("key:d", "d", "", ("prod", "x", "web"))]
    start = int(datetime(2026, 1, 20, tzinfo=BERLIN).timestamp())
    plain = []
    for _ in range(6):
        batch = []
        for _ in range(60):
            at = start + chance.random() * 180 * 86400
            names = {
                "model": chance.choice(["small", "large"]),
                "provider": chance.choice(["vendor", "other"]),
                "target": chance.choice(["s-1", "l-1"]),
                "dialect": chance.choice(["openai", "anthropic"]),
            }
            call = record(at=at, caller=chance.choice(callers), **names)
            batch.append(call)
            hour = int(at) // 3600 * 3600
            times = {"day": berlin_day(at), "hour": hour, "utc_day": hour // 86400 * 86400}
            names |= {"principal": call.caller.principal, "team": call.caller.team}
            plain.append((names | times, call.caller.tags or ("",)))
        await books.keep(*batch, day_of=berlin_day)
    return plain


def summed(plain, group, query):
    """Count as the contract says, one call after another."""
    counts = Counter()
    clock = "hour" if {"hour", "utc_day"} & set(group) else "day"
    for values, tags in plain:
        if not query.get("since", 0) <= values[clock] < query.get("until", 2**60):
            continue
        if any(values[name] != wanted for name, wanted in query.items() if name in values):
            continue
        if "tag" in query and query["tag"] not in tags:
            continue
        if "tag" in group:
            for tag in tags if "tag" not in query else (query["tag"],):
                counts[tuple(tag if word == "tag" else values[word] for word in group)] += 1
        else:
            counts[tuple(values[word] for word in group)] += 1
    return dict(counts)


async def paged(books, group, **query):
    found, after = [], ()
    while page := await books.usage(*group, limit=7, after=after, **query):
        assert len(page) <= 7
        found += page
        if not group:
            break
        after = read_cursor(write_cursor(page[-1].by))
    assert len({row.by for row in found}) == len(found)
    return {row.by: row.calls for row in found}


async def test_every_group_and_filter_is_as_a_plain_sum(books) -> None:
    plain = await many(books)
    names = ("principal", "team", "model", "provider", "target", "dialect", "tag")
    since = berlin_day(AT + 75_000_000)
    days = sorted(values["day"] for values, _ in plain)
    assert days[0] < since < days[-1]
    filters = [
        {},
        {"since": since},
        {"until": since},
        {"since": since, "until": since + BLOCK_S // 2},
        {"since": berlin_day(days[20] + 7200), "until": berlin_day(days[-20] + 7200)},
        {"principal": "key:ann", "model": "small"},
        {"team": "red", "provider": "vendor"},
        {"dialect": "openai", "target": "s-1"},
        {"tag": "web"},
        {"tag": "we"},
    ]
    groups = [(), *((name,) for name in names), *combinations(names, 2)]
    groups += [(time, *rest) for time in ("day", "utc_day") for rest in ((), ("model",), ("tag",), ("team", "tag"))]
    for group in groups:
        for query in filters:
            assert await paged(books, group, **query) == summed(plain, group, query), (group, query)
    for query in filters[3:]:
        assert await paged(books, ("hour", "model"), **query) == summed(plain, ("hour", "model"), query)


async def test_of_nothing_there_is_no_row(books) -> None:
    for group in ((), ("day",), ("model",), ("tag",), ("day", "tag")):
        assert await books.usage(*group) == []
    await books.keep(record())
    for group in ((), ("day",), ("model",), ("tag",), ("day", "tag")):
        assert await books.usage(*group, model="%") == []
        assert await books.usage(*group, until=DAY) == []


async def test_what_is_asked_is_never_a_pattern(books) -> None:
    await books.keep(record(model="100%"), record(caller=Caller("key:x", tags=("a_c",))), record())
    assert await books.counts(model="%") == {}
    assert await books.counts(model="100%") == {(): 1}
    for tag in ("abc", "%", "", ",", "a_"):
        assert await books.counts(tag=tag) == {}
    assert await books.counts(tag="a_c") == {(): 1}


async def test_hours(books) -> None:
    await books.keep(record(), record(at=AT + 3600), record(at=AT + 3601))
    assert await books.counts("hour") == {(HOUR,): 1, (HOUR + 3600,): 2}
    assert await books.counts("hour", since=HOUR + 3600) == {(HOUR + 3600,): 2}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"group": ("day", "day")}, "group"),
        ({"group": ("model", "day")}, "group"),
        ({"group": ("day", "hour")}, "group"),
        ({"group": ("id",)}, "group"),
        ({"limit": 0}, "limit"),
        ({"limit": 251}, "limit"),
        ({"after": ("a",)}, "after"),
        ({"after": (1, "a")}, "after"),
        ({"group": ("model",), "after": (1,)}, "after"),
        ({"group": (), "after": (1,)}, "after"),
    ],
)
def test_what_cannot_be_asked(query, field) -> None:
    with pytest.raises(Malformed) as caught:
        UsageQuery(**query)
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["", "%", "W", "WzE", "e30", "bnVsbA", "ü", "W1tdXQ", "\0"])
def test_a_cursor_of_somebody_else(text) -> None:
    with pytest.raises(Malformed) as caught:
        read_cursor(text)
    assert caught.value.field == "after"


@pytest.mark.parametrize("values", [(), (1,), (1, "a"), (1.5, "é\n"), ("",)])
def test_a_cursor_comes_back(values) -> None:
    assert read_cursor(write_cursor(values)) == values


@pytest.mark.parametrize(
    ("tags", "joined"), [((), ""), (("b", "a"), ",a,b,"), (("a", "a"), ",a,"), (("a,b", ""), ",ab,"), ((",",), "")]
)
def test_tags_are_joined(tags, joined) -> None:
    assert join_tags(tags) == joined
    assert join_tags(split_tags(joined)) == joined


# --- a year


def year():
    """365 days of 200 keys that each used 4 models, as rows of days and of blocks: 10 million calls."""
    names = ("slot", *DIMENSIONS, *SUMS)
    targets = [
        ("gpt-5", "openai", "gpt-5-1"),
        ("mini", "openai", "mini-1"),
        ("sonnet", "anthropic", "claude"),
        ("own", "llama", "l"),
    ]
    counts = [34, 1, 2, 0, *range(1000, 1000 + len(BUCKETS)), 4321]
    days, blocks = [], Counter()
    for number in range(365):
        slot = int((datetime(2026, 1, 1) + timedelta(days=number)).replace(tzinfo=BERLIN).timestamp())
        for key in range(200):
            for target in targets:
                who = (f"key:{key:016x}", f"team-{key % 20}", f",app-{key % 10},prod,", *target, "openai")
                days.append(dict(zip(names, (slot, *who, *counts))))
                blocks[slot - slot % BLOCK_S, *who] += 1
    return days, [dict(zip(names, (*key, *(count * n for count in counts)))) for key, n in blocks.items()]


@pytest.fixture
async def a_year(store):
    days, blocks = year()
    for start in range(0, len(days), 20_000):
        await store._database.write(lambda c: c.execute(insert(usage_days), days[start : start + 20_000]))
    await store._database.write(lambda c: c.execute(insert(usage_blocks), blocks))
    return days[0]["slot"], days[-1]["slot"] + 86400


@only_sqlite
async def test_a_year_is_answered_from_few_rows_and_never_from_calls(books, a_year) -> None:
    """Time depends on the machine; so this counts the steps of the database's own machine, in thousands."""
    since, until = a_year
    steps, statements = 0, []

    def count():
        nonlocal steps
        steps += 1

    def watch(connection, *_):
        connection.set_progress_handler(count, 1000)

    @event.listens_for(books.database.writer, "before_cursor_execute")
    def _(connection, _cursor, statement, *_):
        watch(connection.connection.driver_connection)
        statements.append(statement)

    spent = {}
    for group in ((), ("principal",), ("model",), ("tag",), ("principal", "model"), ("day",), ("day", "principal")):
        steps = 0
        rows = await books.usage(*group, since=since, until=until, limit=250)
        assert rows
        spent[group] = steps
        assert not any(" calls " in statement.split("FROM", 1)[-1] for statement in statements)
    total = (await books.usage(since=since, until=until))[0]
    assert total.calls == 9_928_000
    # A row is about 60 steps; 292,000 rows are 17,000 thousands, the blocks and ends of a year at most 60,000 rows.
    assert max(spent[group] for group in spent if "day" not in group) < 6_000, spent
    assert spent["day",] < 20_000, spent
    assert spent["day", "principal"] < 2_500, spent
