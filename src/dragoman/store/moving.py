"""Moves everything that is kept from one database into another, empty one.

The source is read as it was at one moment. The target gets all of it or, if anything fails, nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, Text, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from dragoman.faults import Misconfigured, StoreFailed
from dragoman.store.database import Database, open_database, reason_of
from dragoman.store.lock import FolderLock
from dragoman.store.migrate import TABLES, migrate
from dragoman.store.rows import clean
from dragoman.store.share_tables import spent

_BATCH = 2000
Counts = tuple[int, int]
Progress = Callable[[str, int, int], None]
"""Is told a table's name, how many of its rows have been moved, and how many there are."""


async def move(source: Database, target: Database, progress: Progress) -> dict[str, Counts]:
    """Copy every table. Returns how many rows each has in the source and in the target; the two are equal.

    Both databases have the schema of this code, and nobody writes to either meanwhile. `progress` is called in
    another thread.

    Raises:
        Misconfigured: there is something in the target.
        StoreFailed: a database fails, or the target holds something else than the source afterwards.

    """

    def work(reading: Connection) -> dict[str, Counts]:
        with target.writer.begin() as writing:
            return _move(reading, writing, progress)

    return await source.read(work)


def _move(reading: Connection, writing: Connection, progress: Progress) -> dict[str, Counts]:
    for connection in (reading, writing):
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    for table in TABLES:
        if writing.execute(select(1).select_from(table).limit(1)).first():
            raise Misconfigured(f"it is not empty: there are rows in {table.name!r}; everything is left as it was")
    for table in TABLES:
        _copy(reading, writing, table, progress)
    counts = {table.name: (_count(reading, table), _count(writing, table)) for table in TABLES}
    _prove(reading, writing, counts)
    return counts


def _copy(reading: Connection, writing: Connection, table: Table, progress: Progress) -> None:
    total, done = _count(reading, table), 0
    progress(table.name, 0, total)
    for rows in _batches(reading, table):
        writing.execute(insert(table), rows)
        done += len(rows)
        progress(table.name, done, total)


def _batches(reading: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    texts = [column.name for column in table.columns if isinstance(column.type, Text)]
    rows = reading.execution_options(yield_per=_BATCH).execute(select(table)).mappings()
    for batch in rows.partitions():
        yield [_cleaned(dict(row), texts) for row in batch]


def _cleaned(row: dict[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """Leave out what not every database takes, as where a text is kept first."""
    for name in texts:
        if not row[name].isprintable():
            row[name] = clean(row[name])
    return row


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _prove(reading: Connection, writing: Connection, counts: dict[str, Counts]) -> None:
    for name, (here, there) in counts.items():
        if here != there:
            raise StoreFailed(detail=f"{here} rows of {name} were to be moved, and {there} have come")
    sums = select(spent.c.account, func.sum(spent.c.units)).group_by(spent.c.account)
    here_spent, there_spent = ({a: int(units) for a, units in c.execute(sums)} for c in (reading, writing))
    if here_spent != there_spent:
        raise StoreFailed(detail="what was spent is not the same in both databases")


async def move_store(url: str, folder: Path, target: str, progress: Progress) -> dict[str, Counts]:
    """Move a store. `url` and `folder` are as for `open_store`; `target` is a URL, or a folder for SQLite.

    Raises:
        Misconfigured: a database cannot be used, the source is served, or there is something in the target.
        StoreFailed: see `move`.

    """
    to_url, to_folder = (target, folder) if "://" in target else ("", Path(target))
    with ExitStack() as undo:
        if not url:
            undo.callback(FolderLock(folder).release)
        source = _opened(undo, url, folder, "[store] url" if url else f"{folder}")
        into = _opened(undo, to_url, to_folder, "--to" if to_url else target)
        try:
            return await move(source, into, progress)
        except Misconfigured as error:
            raise Misconfigured(f"--to: {error}") from None


def _opened(undo: ExitStack, url: str, folder: Path, place: str) -> Database:
    """Open a database and bring its schema up to date."""
    try:
        if not url:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = open_database(url, folder)
        undo.callback(database.close)
        with database.writer.begin() as connection:
            migrate(connection)
    except SQLAlchemyError as error:
        raise Misconfigured(f"{place}: the database cannot be used: {reason_of(error)}") from None
    except OSError as error:
        raise Misconfigured(f"{place}: {error.strerror}") from None
    except Misconfigured as error:
        raise Misconfigured(f"{place}: {error}") from None
    return database
