"""The two databases: how each is opened, and the way to it from the event loop.

Work is a function of a connection. It runs in one worker thread and one transaction, to its end even if nobody waits
for it any more.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from dragoman.faults import Misconfigured, StoreFailed
from dragoman.store.schema import speak_postgresql

SQLITE_FILE = "dragoman.db"
BUSY_S = 5.0
"""How long to wait for another process that writes to the same SQLite file."""
CONNECTIONS = 8
"""Connections to PostgreSQL of one process, each with a thread of its own."""
_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 30_000}
# A process that is stopped amid a transaction must not hold its locks, nor a database that is stuck hold us.
_SESSION = "SET statement_timeout = 30000; SET idle_in_transaction_session_timeout = 30000"

Result = TypeVar("Result")
Work = Callable[[Connection], Result]


class Database:
    """An engine with the threads that use it. `writer` and `reader` share its connections."""

    def __init__(self, engine: Engine, reading: dict[str, Any], threads: tuple[int, ...]) -> None:
        self.writer = engine
        self._reader = engine.execution_options(**reading)
        self._executors = [ThreadPoolExecutor(number, thread_name_prefix="store") for number in threads]

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` in a transaction that may write. Raises StoreFailed, and what `work` raises."""
        return await self._run(self._executors[0], self.writer, work)

    async def read(self, work: Work[Result]) -> Result:
        """Run `work` in a transaction that sees one state of all data. Raises StoreFailed, and what `work` raises."""
        return await self._run(self._executors[-1], self._reader, work)

    def close(self) -> None:
        """Finish the work that was begun and close the connections. Safe to call twice."""
        for executor in self._executors:
            executor.shutdown()
        self.writer.dispose()

    async def _run(self, executor: ThreadPoolExecutor, engine: Engine, work: Work[Result]) -> Result:
        loop = asyncio.get_running_loop()
        try:
            result = loop.run_in_executor(executor, _transact, engine, work)
        except RuntimeError as error:
            raise StoreFailed(detail="the store is closed") from error
        # A caller who is cancelled must not cancel work that waits for its thread.
        return await asyncio.shield(result)


def _transact(engine: Engine, work: Work[Result]) -> Result:
    try:
        with engine.begin() as connection:
            return work(connection)
    except (SQLAlchemyError, msgspec.MsgspecError) as error:
        raise StoreFailed(detail=reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """Say what the database said: its first line, since further ones may quote what was to be saved."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return f"{type(cause).__name__}: {(str(cause).splitlines() or [''])[0]}"


def open_database(url: str, folder: Path, *, durable: bool = False) -> Database:
    """Make the engine for a URL, "" for SQLite in `folder`. Connects to nothing yet. Raises Misconfigured.

    `durable`: what SQLite has taken is on disk, as on PostgreSQL; else the last moments may be lost with the power.
    """
    if not url:
        return _sqlite(folder / SQLITE_FILE, "FULL" if durable else "NORMAL")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise Misconfigured("it cannot be read; it is postgresql://user:password@host:port/database") from None
    if parsed.drivername not in ("postgresql", "postgres"):
        raise Misconfigured(f"{parsed.drivername!r} is not supported; it is postgresql://… or empty")
    if "@" in f"{parsed.host}{parsed.database}":
        raise Misconfigured("`@` and `/` in a password are written as %40 and %2F")
    return _postgresql(parsed.set(drivername="postgresql+psycopg"))


def _sqlite(file: Path, synchronous: str) -> Database:
    """One thread writes: SQLite has one writer. Two read, so that a long list keeps nobody from seeing a revocation."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise Misconfigured(f"the database cannot be made: {error.strerror}") from None
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        connect_args={"timeout": BUSY_S, "isolation_level": None},
        pool_size=3,
        max_overflow=0,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: Any) -> None:
        _keep_journal(connection)
        for pragma in (f"synchronous={synchronous}", "foreign_keys=ON", "journal_size_limit=16777216"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN IMMEDIATE"))

    return Database(engine, {"begin": "BEGIN"}, (1, 2))


def _keep_journal(connection: Any) -> None:
    """Have changes written to a journal first. For this change of a new file SQLite waits for no other process."""
    give_up = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except connection.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > give_up:
                raise
            time.sleep(BUSY_S / 500)
        else:
            return


def _postgresql(url: URL) -> Database:
    if find_spec("psycopg") is None:
        raise Misconfigured("PostgreSQL needs the package psycopg[binary]")
    speak_postgresql()
    engine = create_engine(
        url,
        connect_args={name: value for name, value in _PATIENCE.items() if name not in url.query},
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: Any) -> None:
        connection.execute(_SESSION)
        connection.commit()

    return Database(engine, {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}, (CONNECTIONS,))
