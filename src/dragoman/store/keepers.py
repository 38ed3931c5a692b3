"""Keeps keys, shares and calls: each method is one transaction's work in the threads of the store's database."""

from collections.abc import Callable, Sequence

from dragoman.keys import Changes, Key, Keyring, Team
from dragoman.records import Content, Record
from dragoman.standing import Bank, Got, Want
from dragoman.store import bank, calls, keyring, usage
from dragoman.store.database import Database
from dragoman.usage import Books, CallQuery, CallRow, UsageQuery, UsageRow

LEASE_S = 30.0


class KeyringKeeper(Keyring):
    """Keeps `dragoman.keys.Keyring`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def changes(self, after: int) -> Changes:
        return await self._database.read(lambda c: keyring.changes_after(c, after))

    async def key(self, id_: str) -> Key | None:
        return await self._database.read(lambda c: keyring.find_key(c, id_))

    async def keys(self, *, after: str = "", limit: int = 100, team: str = "", maker: str = "") -> Sequence[Key]:
        return await self._database.read(lambda c: keyring.list_keys(c, after, limit, team, maker))

    async def put_key(self, key: Key, *, is_new: bool) -> bool:
        return await self._database.write(lambda c: keyring.put_key(c, key, is_new=is_new))

    async def swap_key(self, old: Key, new: Key) -> bool:
        """Save `new` if `old` is what stands there, and say whether it did. Raises StoreFailed."""
        return await self._database.write(lambda c: keyring.swap_key(c, old, new))

    async def drop_key(self, id_: str) -> bool:
        return await self._database.write(lambda c: keyring.drop_key(c, id_))

    async def team(self, name: str) -> Team | None:
        return await self._database.read(lambda c: keyring.find_team(c, name))

    async def teams(self) -> Sequence[Team]:
        return await self._database.read(keyring.list_teams)

    async def put_team(self, team: Team) -> None:
        await self._database.write(lambda c: keyring.put_team(c, team))

    async def drop_team(self, name: str) -> bool:
        return await self._database.write(lambda c: keyring.drop_team(c, name))

    async def check_hash_key(self, check: str) -> bool:
        """Say whether the stored keys were hashed with the key of this check value. Raises StoreFailed."""
        return await self._database.write(lambda c: keyring.check_hash_key(c, check))


class BankKeeper(Bank):
    """Keeps `dragoman.standing.Bank` for one process, `run`."""

    def __init__(self, database: Database, run: str, *, is_sole: bool) -> None:
        self._database = database
        self._run = run
        self._is_sole = is_sole

    @property
    def is_sole(self) -> bool:
        return self._is_sole

    async def spent(self, accounts: Sequence[tuple[str, int]]) -> list[int]:
        return await self._database.read(lambda c: bank.spent(c, accounts))

    async def lease(self, wants: Sequence[Want]) -> list[Got]:
        return await self._database.write(lambda c: bank.lease(c, wants, self._run, LEASE_S))

    async def leave(self) -> None:
        await self._database.write(lambda c: bank.leave(c, self._run))


class BooksKeeper(Books):
    """Keeps `dragoman.usage.Books`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep_calls(
        self,
        entries: Sequence[Record | Content],
        journal: str,
        segment: int,
        offset: int,
        run: str,
        day_of: Callable[[float], int],
    ) -> int:
        return await self._database.write(lambda c: calls.keep(c, entries, journal, segment, offset, run, day_of))

    async def position(self, journal: str) -> tuple[int, int] | None:
        return await self._database.read(lambda c: calls.position(c, journal))

    async def usage(self, query: UsageQuery) -> list[UsageRow]:
        return await self._database.read(lambda c: usage.read(c, query))

    async def calls(self, query: CallQuery) -> list[CallRow]:
        return await self._database.read(lambda c: calls.latest(c, query))

    async def call(self, id_: str, principal: str | None) -> CallRow | None:
        return await self._database.read(lambda c: calls.find(c, id_, principal))

    async def forget_calls(self, before_at: float, most: int) -> int:
        return await self._database.write(lambda c: calls.forget(c, before_at, most))

    async def forget_contents(self, before_at: float, most: int) -> int:
        return await self._database.write(lambda c: calls.forget_contents(c, before_at, most))
