"""The keeper of conversations and accounts: hands each call to the database as one transaction."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from dragoman.chat import Part
from dragoman.faults import Misconfigured
from dragoman.store import accounts, holdings, links, shelves, turns
from dragoman.store.database import SQLITE_FILE, Database, open_database, reason_of
from dragoman.store.keepers import BankKeeper, BooksKeeper, KeyringKeeper
from dragoman.store.lock import FolderLock
from dragoman.store.migrate import migrate
from dragoman.store.schema import is_leased
from dragoman.threads import Accounts, Chronicle, Opening, Place, Shelf, State, Story, Thread, Threads


class Store(Threads, Accounts):
    """Keeps `dragoman.threads.Threads` and `dragoman.threads.Accounts`; `keyring`, `bank` and `books` keep the rest.
    Made by `open_store`.
    """

    def __init__(self, database: Database, run: str, now: Callable[[], float], lock: FolderLock | None) -> None:
        self._lock = lock
        self._database = database
        self._run = run
        self.keyring = KeyringKeeper(database)
        self.bank = BankKeeper(database, run, is_sole=lock is not None)
        self.books = BooksKeeper(database)
        self._now = now

    async def begin(self, opening: Opening) -> Place:
        return await self._database.write(lambda c: turns.begin(c, opening, self._run, self._now()))

    async def end(self, place: Place, state: State, parts: tuple[Part, ...]) -> None:
        await self._database.write(lambda c: turns.end(c, place, state, parts))

    async def keep(self, partial: Sequence[tuple[Place, tuple[Part, ...]]]) -> None:
        if partial:
            await self._database.write(lambda c: turns.keep(c, partial, self._now()))

    async def shelf(self, owner: str, offset: int, limit: int, query: str = "", before: str = "") -> Shelf:
        """Raises NotFound where `before` is no conversation of this owner."""
        return await self._database.read(lambda c: shelves.list_threads(c, owner, offset, limit, query, before))

    async def first(self, owner: str) -> Thread:
        return await self._database.write(lambda c: shelves.latest_thread(c, owner, self._now()))

    async def thread(self, owner: str, id_: str) -> Thread:
        return await self._database.read(lambda c: shelves.find_thread(c, owner, id_))

    async def story(self, owner: str, id_: str) -> Story:
        return await self._database.read(lambda c: shelves.read_story(c, owner, id_, self._now()))

    async def rename(self, owner: str, id_: str, title: str) -> Thread:
        return await self._database.write(lambda c: shelves.rename_thread(c, owner, id_, title))

    async def drop(self, owner: str, id_: str) -> None:
        await self._database.write(lambda c: shelves.drop_threads(c, owner, id_))

    async def adopt(self, owner: str, chronicles: Sequence[Chronicle]) -> list[Thread]:
        return await self._database.write(lambda c: shelves.adopt_chronicles(c, owner, chronicles, self._now()))

    async def hold(self, owner: str, id_: str) -> None:
        await self._database.write(lambda c: holdings.hold(c, owner, id_))

    async def may_enter(self, owner: str, id_: str) -> bool:
        return await self._database.read(lambda c: holdings.is_open(c, owner, id_))

    async def held_by_others(self, owner: str) -> frozenset[str]:
        return await self._database.read(lambda c: holdings.list_others(c, owner))

    async def account(self, name: str) -> str | None:
        return await self._database.read(lambda c: accounts.find_digest(c, name))

    async def put_account(self, name: str, digest: str) -> bool:
        return await self._database.write(lambda c: accounts.put_account(c, name, digest))

    async def accounts(self, after: str = "", limit: int | None = None) -> list[str]:
        return await self._database.read(lambda c: accounts.list_accounts(c, after, limit))

    async def drop_account(self, name: str) -> bool:
        return await self._database.write(lambda c: accounts.drop_account(c, name))

    async def use_link(self, id_: str, until: float) -> bool:
        """Note that a link that logs in once was used; say whether it was not yet."""
        return await self._database.write(lambda c: links.use_link(c, id_, until, self._now()))

    def close(self) -> None:
        """Finish what was begun and close the database; blocks meanwhile. Safe to call twice."""
        self._database.close()
        if self._lock is not None:
            self._lock.release()


def open_store(
    url: str,
    folder: Path,
    run: str,
    *,
    sole: bool = False,
    durable: bool = False,
    now: Callable[[], float] = time.time,
) -> Store:
    """Open the database, bring its schema up to date, and return its keeper.

    Args:
        url: `postgresql://…`, or "" for SQLite in `folder`.
        folder: where the SQLite file is.
        run: a name that no other process has, alive or dead; it holds the threads that are answered.
        sole: this process alone serves the file, so that whatever turn is under way in it has died. On PostgreSQL
            this means nothing: other processes may be at work, and a dead one's turns end with their leases.
        durable: on SQLite, every change is on disk before it counts as made.
        now: the clock, in Unix seconds. Processes that share a database must agree on it within a few seconds.

    Raises:
        Misconfigured: the database cannot be reached, read, written or migrated, or is served by another process.

    """
    place = "[store] url" if url else folder / SQLITE_FILE
    lock = FolderLock(folder) if sole and not url else None
    try:
        with ExitStack() as undo:
            if lock is not None:
                undo.callback(lock.release)
            database = open_database(url, folder, durable=durable)
            undo.callback(database.close)
            with database.writer.begin() as connection:
                migrate(connection)
                if lock is not None:
                    turns.release(connection, is_leased)
            undo.pop_all()
    except SQLAlchemyError as error:
        raise Misconfigured(f"{place}: the database cannot be used: {reason_of(error)}") from None
    except Misconfigured as error:
        raise Misconfigured(f"{place}: {error}") from None
    return Store(database, run, now, lock)
