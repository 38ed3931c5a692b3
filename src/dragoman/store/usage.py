"""Sums of usage: added to as calls are kept, and read. Each function is part of one transaction's work.

A question over a long time is answered from blocks of days, with single days at both ends. One by the day or the hour
is read in windows of time until its page is full. So no answer touches the rows of calls, nor more sums than it needs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from operator import add as plus
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Subquery, Table, func, select, true, tuple_, union_all

from dragoman.chat import Usage
from dragoman.store.call_tables import (
    BLOCK_S,
    BUCKETS,
    DIMENSIONS,
    HOUR_S,
    SUMS,
    usage_blocks,
    usage_days,
    usage_hours,
)
from dragoman.store.schema import upsert_of
from dragoman.usage import UsageQuery, UsageRow

_DAY_S = 86400
_WINDOWS_S = {"hour": _DAY_S, "day": BLOCK_S, "utc_day": 7 * _DAY_S}
_NO_ANSWER = {"refused", "failed", "interrupted"}
_UNKNOWN_MODEL = "model_not_found"
_EQUAL = ("principal", "team", "model", "provider", "target", "dialect")
_FIRST_BUCKET = SUMS.index(BUCKETS[0])
_LAST_BUCKET = _FIRST_BUCKET + len(BUCKETS)
Names = tuple[int | str, ...]
Sums = defaultdict[Names, list[int]]
Found = tuple[Names, list[int]]


def join_tags(tags: Iterable[str]) -> str:
    """Return tags as they are stored: `,a,b,`, or "" for none. A tag is found in it by `,a,`."""
    kept = sorted({tag.replace(",", "") for tag in tags} - {""})
    return f",{','.join(kept)}," if kept else ""


def split_tags(joined: str) -> tuple[str, ...]:
    return tuple(joined.strip(",").split(",")) if joined else ()


def add_rows(connection: Connection, rows: Iterable[Mapping[str, Any]], day_of: Callable[[float], int]) -> None:
    """Add rows of `calls`, each once. `day_of` returns when a moment's day began, in Unix seconds."""
    hours, days, blocks = Sums(_zeros), Sums(_zeros), Sums(_zeros)
    for (hour, day, names), sums in _by_hour_and_day(rows, day_of).items():
        for all_, slot in ((hours, hour), (days, day), (blocks, day - day % BLOCK_S)):
            key: Names = (slot, *names)
            all_[key] = list(map(plus, all_[key], sums))
    for table, all_ in ((usage_hours, hours), (usage_days, days), (usage_blocks, blocks)):
        if all_:
            _add_sums(connection, table, all_)


def _by_hour_and_day(
    rows: Iterable[Mapping[str, Any]], day_of: Callable[[float], int]
) -> dict[tuple[int, int, tuple[str, ...]], list[int]]:
    """Sum up rows that fall into the same hour, day (which may begin within an hour) and names. O(rows), and cheap."""
    found: dict[tuple[int, int, tuple[str, ...]], list[int]] = defaultdict(_zeros)
    for row in rows:
        at = int(row["at"])
        key = at - at % HOUR_S, day_of(row["at"]), _names_of(row)
        found[key] = list(map(plus, found[key], _sums_of(row)))
    return found


def read(connection: Connection, query: UsageQuery) -> list[UsageRow]:
    """Do what `dragoman.usage.Books.usage` promises."""
    rows: list[UsageRow] = []
    for source in _sources(connection, query):
        rows += _page(connection, query, source, query.limit - len(rows))
        if len(rows) >= query.limit:
            break
    return rows


def _zeros() -> list[int]:
    return [0] * len(SUMS)


_pick_names = itemgetter(*DIMENSIONS)
_pick_buckets = itemgetter(*BUCKETS)


def _names_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["code"] == _UNKNOWN_MODEL:
        # Callers can invent names without end; a row for each would make every sum slow.
        row = {**row, "model": ""}
    names: tuple[str, ...] = _pick_names(row)
    return names


def _sums_of(row: Mapping[str, Any]) -> list[int]:
    buckets = _pick_buckets(row)
    is_failed = int(row["outcome"] in _NO_ANSWER)
    is_unpriced = int(row["cost_micro"] is None and any(buckets))
    return [1, is_failed, row["estimated"], is_unpriced, *buckets, row["cost_micro"] or 0]


def _add_sums(connection: Connection, table: Table, sums: Sums) -> None:
    names = ("slot", *DIMENSIONS, *SUMS)
    # In one order, so that two processes never wait for each other's rows.
    rows = [dict(zip(names, (*key, *sums[key]), strict=True)) for key in sorted(sums)]
    connection.execute(_adding(connection.dialect.name, table), rows)


@cache
def _adding(kind: str, table: Table) -> Any:
    begun = upsert_of(kind, table)
    more = {name: table.c[name] + begun.excluded[name] for name in SUMS}
    return begun.on_conflict_do_update(index_elements=table.primary_key.columns, set_=more)


def _sources(connection: Connection, query: UsageQuery) -> Iterator[Select[Any]]:
    """Say what to sum, one piece of time after another. The groups of each stand behind those of the one before."""
    if not query.time:
        yield _over_all(query)
        return
    table = usage_days if query.time == "day" else usage_hours
    window_s = _WINDOWS_S[query.time]
    since = query.since
    if query.after:
        since = int(query.after[0]) if since is None else max(since, int(query.after[0]))
    while (first := _first_slot(connection, table, since)) is not None:
        if query.until is not None and first >= query.until:
            return
        end = first - first % window_s + window_s
        yield _rows(query, table, first, end if query.until is None else min(end, query.until))
        since = end


def _first_slot(connection: Connection, table: Table, since: int | None) -> int | None:
    where = true() if since is None else table.c.slot >= since
    slot: int | None = connection.execute(select(func.min(table.c.slot)).where(where)).scalar()
    return slot


def _over_all(query: UsageQuery) -> Select[Any]:
    """Make one table of the blocks that lie within the time and the days before and behind them."""
    since, until = query.since, query.until
    first = None if since is None else -(-since // BLOCK_S) * BLOCK_S
    last = None if until is None else until // BLOCK_S * BLOCK_S
    if first is not None and last is not None and first >= last:
        return _rows(query, usage_days, since, until)
    pieces = [_rows(query, usage_blocks, first, last)]
    if since is not None and first != since:
        pieces.append(_rows(query, usage_days, since, first))
    if until is not None and last != until:
        pieces.append(_rows(query, usage_days, last, until))
    return select(union_all(*pieces).subquery())


def _rows(query: UsageQuery, table: Table, since: int | None, until: int | None) -> Select[Any]:
    """Select the rows of a time that fit the query's filters."""
    found = select(table)
    if since is not None:
        found = found.where(table.c.slot >= since)
    if until is not None:
        found = found.where(table.c.slot < until)
    for name in _EQUAL:
        if (value := getattr(query, name)) is not None:
            found = found.where(table.c[name] == value)
    if query.tag is not None:
        found = found.where(func.replace(table.c.tags, f",{query.tag},", "") != table.c.tags)
    return found


def _page(connection: Connection, query: UsageQuery, source: Select[Any], limit: int) -> list[UsageRow]:
    """Sum up a source. Tags are split here and not by the database, so then all groups are read."""
    rows = source.subquery()
    by = [_column(rows, word, query) for word in query.group]
    is_split = "tag" in query.group and query.tag is None
    sums = select(*by, *(func.sum(rows.c[name]) for name in SUMS)).group_by(*by)
    if by and not is_split:
        sums = sums.order_by(*by).limit(limit)
        if query.after:
            sums = sums.where(tuple_(*by) > tuple_(*query.after))
    # Without a group there is a row even of nothing.
    found: list[Found] = [
        (tuple(row[: len(by)]), [int(value) for value in row[len(by) :]])
        for row in connection.execute(sums)
        if row[len(by)] is not None
    ]
    if is_split:
        found = [item for item in _split(found, query.group.index("tag")) if not query.after or item[0] > query.after][
            :limit
        ]
    return [_row_of(by, sums) for by, sums in found]


def _column(rows: Subquery, word: str, query: UsageQuery) -> ColumnElement[Any]:
    if word == "utc_day":
        return rows.c.slot - rows.c.slot % _DAY_S
    if word == "tag" and query.tag is not None:
        # A value alone is no column to group by.
        return func.coalesce(query.tag, rows.c.tags)
    return rows.c[{"hour": "slot", "day": "slot", "tag": "tags"}.get(word, word)]


def _split(found: Iterable[Found], place: int) -> list[Found]:
    """Count what has several tags under each of them."""
    all_ = Sums(_zeros)
    for by, sums in found:
        for tag in split_tags(str(by[place])) or ("",):
            key = (*by[:place], tag, *by[place + 1 :])
            all_[key] = list(map(plus, all_[key], sums))
    return sorted(all_.items())


def _row_of(by: Names, sums: list[int]) -> UsageRow:
    calls, failed, estimated, unpriced = sums[:_FIRST_BUCKET]
    buckets: dict[str, Any] = dict(zip(BUCKETS, sums[_FIRST_BUCKET:_LAST_BUCKET], strict=True))
    return UsageRow(by, calls, failed, estimated, unpriced, Usage(**buckets), sums[_LAST_BUCKET])
