"""Calls as they are kept: loaded from journals, found again, and forgotten. Each function is one transaction's work."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    Table,
    bindparam,
    delete,
    insert,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from dragoman.chat import Usage
from dragoman.records import Attempt, Content, Record
from dragoman.standing import MOST
from dragoman.store.bank import charge
from dragoman.store.call_tables import BUCKETS, calls, contents, journals
from dragoman.store.rows import AnyRow, clean
from dragoman.store.schema import upsert, upsert_of
from dragoman.store.usage import add_rows, join_tags, split_tags
from dragoman.usage import CallQuery, CallRow

MOST_TOKENS = 10**9
"""No call has more. A provider may claim any number, and sums of such numbers must fit into 64 bits."""
_ID_BYTES = 200
# PostgreSQL indexes no row of more than 2,700 bytes, and sums are indexed by all of these together.
_TEXT_BYTES = {
    "principal": 820,
    "team": 200,
    "tags": 600,
    "model": 300,
    "provider": 200,
    "target": 300,
    "dialect": 60,
}
_LINE_BYTES = 1000
_PORTION = 500
_encode_attempts = msgspec.json.Encoder().encode
_decode_attempts = msgspec.json.Decoder(tuple[Attempt, ...]).decode

_POSITION = select(journals.c.segment, journals.c.offset).where(journals.c.journal == bindparam("sought"))
# As one parameter: the 25,000 of the usual form take PostgreSQL's driver five times as long.
_INSERT_NEW = text(
    "INSERT INTO calls SELECT * FROM json_populate_recordset(NULL::calls, :rows) ON CONFLICT DO NOTHING RETURNING id"
)
_ONE = (
    select(calls, contents.c.question, contents.c.answer)
    .join_from(calls, contents, contents.c.id == calls.c.id, isouter=True)
    .where(calls.c.id == bindparam("sought"))
)
_in_order = itemgetter(*calls.c.keys())
# A tuple a row: SQLAlchemy's own way through its parameters costs as much as all the rest of a row.
_INSERT = str(insert(calls).prefix_with("OR IGNORE").compile(dialect=SQLiteDialect_pysqlite()))
_EQUAL = ("principal", "key", "team", "model", "provider", "dialect", "outcome")


def keep(  # noqa: PLR0913, PLR0917 - a batch, where it came from, and how days begin
    connection: Connection,
    entries: Sequence[Record | Content],
    journal: str,
    segment: int,
    offset: int,
    run: str,
    day_of: Callable[[float], int],
) -> int:
    """Do what `dragoman.usage.Books.keep_calls` promises."""
    records: dict[str, Record] = {}
    for entry in entries:
        if isinstance(entry, Record):
            records.setdefault(_cut(entry.id, _ID_BYTES), entry)
    rows = {id_: _columns_of(id_, record) for id_, record in records.items()}
    new = _insert_new(connection, rows)
    add_rows(connection, [rows[id_] for id_ in new], day_of)
    charge(connection, [due for id_ in new for due in records[id_].charges], run)
    _keep_contents(connection, [entry for entry in entries if isinstance(entry, Content)])
    _advance(connection, journal, segment, offset)
    return len(new)


def position(connection: Connection, journal: str) -> tuple[int, int] | None:
    """Do what `dragoman.usage.Books.position` promises."""
    row = connection.execute(_POSITION, {"sought": journal}).one_or_none()
    return row and (row.segment, row.offset)


def find(connection: Connection, id_: str, principal: str | None) -> CallRow | None:
    """Do what `dragoman.usage.Books.call` promises."""
    row = connection.execute(_ONE, {"sought": _cut(id_, _ID_BYTES)}).one_or_none()
    if row is None or principal not in (None, row.principal):
        return None
    return _call_of(row, row.question, row.answer)


def latest(connection: Connection, query: CallQuery) -> list[CallRow]:
    """Do what `dragoman.usage.Books.calls` promises."""
    found = select(calls).order_by(calls.c.at.desc(), calls.c.id.desc()).limit(query.limit)
    for name in _EQUAL:
        if (value := getattr(query, name)) is not None:
            found = found.where(calls.c[name] == value)
    if query.since is not None:
        found = found.where(calls.c.at >= query.since)
    if query.until is not None:
        found = found.where(calls.c.at < query.until)
    if query.after is not None:
        found = found.where(tuple_(calls.c.at, calls.c.id) < tuple_(*query.after))
    return [_call_of(row) for row in connection.execute(found)]


def forget(connection: Connection, before_at: float, most: int) -> int:
    """Delete at most `most` calls that began before `before_at`, the oldest first. Returns how many it were."""
    return _forget(connection, calls, before_at, most)


def forget_contents(connection: Connection, before_at: float, most: int) -> int:
    """Delete what was said in calls, as `forget` deletes calls."""
    return _forget(connection, contents, before_at, most)


def _forget(connection: Connection, table: Table, before_at: float, most: int) -> int:
    oldest = select(table.c.id).where(table.c.at < before_at).order_by(table.c.at).limit(most)
    return connection.execute(delete(table).where(table.c.id.in_(oldest))).rowcount


def _insert_new(connection: Connection, rows: Mapping[str, dict[str, Any]]) -> Collection[str]:
    """Insert the calls that are not there, given by id. Returns the ids of these.

    PostgreSQL says which rows it inserted, whoever else inserts the same. SQLite has one writer, who can look first.
    """
    if not rows:
        return []
    ids = sorted(rows)
    if connection.dialect.name == "postgresql":
        ordered = msgspec.json.encode([rows[id_] for id_ in ids]).decode()
        return connection.execute(_INSERT_NEW, {"rows": ordered}).scalars().all()
    # Nearly always all of them are new; then there is no need to look.
    trial = connection.begin_nested()
    if connection.exec_driver_sql(_INSERT, [_in_order(rows[id_]) for id_ in ids]).rowcount == len(ids):
        trial.commit()
        return ids
    trial.rollback()
    known: set[str] = set()
    for start in range(0, len(ids), _PORTION):
        portion = select(calls.c.id).where(calls.c.id.in_(ids[start : start + _PORTION]))
        known.update(connection.execute(portion).scalars())
    new = [id_ for id_ in ids if id_ not in known]
    if new:
        connection.exec_driver_sql(_INSERT, [_in_order(rows[id_]) for id_ in new])
    return new


def _id_of(row: Mapping[str, Any]) -> str:
    id_: str = row["id"]
    return id_


def _keep_contents(connection: Connection, entries: Sequence[Content]) -> None:
    if entries:
        rows = [
            {
                "id": _cut(entry.id, _ID_BYTES),
                "at": entry.at,
                "question": clean(entry.question),
                "answer": clean(entry.answer),
            }
            for entry in entries
        ]
        connection.execute(upsert(connection, contents).on_conflict_do_nothing(), sorted(rows, key=_id_of))


def _advance(connection: Connection, journal: str, segment: int, offset: int) -> None:
    forward = _advancing(connection.dialect.name)
    connection.execute(forward, {"journal": journal, "segment": segment, "offset": offset})


@cache
def _advancing(kind: str) -> Any:
    begun = upsert_of(kind, journals)
    new = {"segment": begun.excluded.segment, "offset": begun.excluded.offset}
    is_behind = or_(
        journals.c.segment < begun.excluded.segment,
        (journals.c.segment == begun.excluded.segment) & (journals.c.offset < begun.excluded.offset),
    )
    return begun.on_conflict_do_update(index_elements=journals.primary_key.columns, set_=new, where=is_behind)


def _columns_of(id_: str, record: Record) -> dict[str, Any]:
    caller, usage = record.caller, record.usage
    columns: dict[str, Any] = {
        "id": id_,
        "at": record.at,
        "principal": caller.principal,
        "key": caller.key,
        "team": caller.team,
        "tags": _tags_of(caller.tags),
        "dialect": record.dialect,
        "wire": record.wire,
        "model": record.model,
        "provider": record.provider,
        "target": record.target,
        "credential": record.credential,
        "outcome": record.outcome,
        "code": record.code,
        "status": record.status,
        "tier": usage.tier,
        "estimated": int(usage.estimated),
        "streamed": int(record.streamed),
        "cost_micro": None if record.cost_micro is None else _within(record.cost_micro, MOST),
        "reserved_micro": _within(record.reserved_micro, MOST),
        "queued_ms": record.queued_ms,
        "first_byte_ms": record.first_byte_ms,
        "total_ms": record.total_ms,
        "attempts": _encode_attempts(record.attempts).decode(),
    }
    texts = "".join(_pick_texts(columns))
    if len(texts) * 4 > _LEAST_BYTES or not texts.isprintable():
        for name in _TEXTS:
            columns[name] = _cut(columns[name], _TEXT_BYTES.get(name, _LINE_BYTES))
    tokens: tuple[int, ...] = _pick_tokens(usage)
    if min(tokens) < 0 or max(tokens) > MOST_TOKENS:
        tokens = tuple(_within(number, MOST_TOKENS) for number in tokens)
    columns.update(zip(BUCKETS, tokens, strict=True))
    return columns


_TEXTS = ("principal", "key", "team", "dialect", "wire", "model", "provider", "target", "credential", "code", "tier")


_pick_texts = itemgetter(*_TEXTS)
_pick_tokens = attrgetter(*BUCKETS)
_LEAST_BYTES = min(_TEXT_BYTES.values())
"""What all texts together may have so that none of them need be looked at."""


def _cut(words: str, most_bytes: int) -> str:
    """Return as much of a text as has a place, without what a database takes in no text."""
    if len(words) * 4 <= most_bytes and words.isprintable():
        return words
    return clean(words).encode()[:most_bytes].decode("utf-8", "ignore")


def _tags_of(tags: Iterable[str]) -> str:
    """Join tags; those beyond what has a place are left out whole."""
    kept: list[str] = []
    left = _TEXT_BYTES["tags"] - 1
    for tag in map(clean, tags):
        size = len(tag.encode()) + 1
        if size <= left:
            left -= size
            kept.append(tag)
    return join_tags(kept)


def _within(number: int, most: int) -> int:
    return min(max(number, 0), most)


def _call_of(row: AnyRow, question: str | None = None, answer: str | None = None) -> CallRow:
    """Read a row that holds the columns of `calls`. Raises msgspec.DecodeError."""
    values = row._asdict()
    tokens = {bucket: values.pop(bucket) for bucket in BUCKETS}
    usage = Usage(**tokens, estimated=bool(values.pop("estimated")), tier=values.pop("tier"))
    values |= {
        "tags": split_tags(values["tags"]),
        "streamed": bool(values["streamed"]),
        "attempts": _decode_attempts(values["attempts"]),
        "question": question,
        "answer": answer,
    }
    return CallRow(usage=usage, **values)
