"""The mirror of keys and teams in the memory of this process: what a shown secret stands for, without a wait."""

import asyncio
import enum
import logging
import math
from collections.abc import Callable, Iterator
from typing import Final, Literal, Protocol

import msgspec
from msgspec.structs import astuple

from dragoman.admission.hashing import check_value, hashed
from dragoman.faults import Misconfigured, StoreFailed
from dragoman.keys import Changes, Key, Keyring, Role, Team
from dragoman.people import Principal, Secret
from dragoman.standing import NO_LIMITS, Budget, Holder, Limits, Window

REFRESH_S = 0.4
"""Between two looks at the store, so that a revocation holds in every process within a second."""
MOST_MAKERS = 8
"""Keys made by keys made by keys: so many stand behind one at most."""
MOST_BUILT = 4_096
"""Principals that are kept ready; others are built anew when they are asked for."""

log = logging.getLogger(__name__)


class Verdict(enum.Enum):
    DENIED = "denied"


DENIED: Final = Verdict.DENIED
"""There is a row for this name, and it says no."""


class HashedKeyring(Keyring, Protocol):
    """A keyring that remembers with which key its secrets were hashed."""

    async def check_hash_key(self, check: str) -> bool:
        """Say whether the stored keys were hashed with the key of this check value; any will do, and is remembered,
        while there is none. Raises StoreFailed.
        """

    async def swap_key(self, old: Key, new: Key) -> bool:
        """Save `new` if `old` is what stands there, and say whether it did. Raises StoreFailed."""


class _Row(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What a principal needs to know of its key. Kept encoded: a tenth of the memory of the object."""

    digest: bytes
    maker: str
    principal: str
    team: str
    role: Role
    disabled: bool
    expires: float | None
    models: tuple[str, ...]
    dialects: tuple[str, ...]
    tags: tuple[str, ...]
    limits: tuple[int | None, ...]
    budget: tuple[int, Window] | None
    keeps_content: bool
    priority: int
    previous: bytes = b""
    previous_until: float = 0.0

    def holder(self, id_: str) -> Holder:
        limits = Limits(*self.limits) if self.limits else NO_LIMITS
        return Holder(self.principal or f"key:{id_}", limits, Budget(*self.budget) if self.budget else None)


_ANY = ("*",)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Row).decode
Built = tuple[Principal | None, float]
"""A principal, and until when (Unix seconds) it may be let in."""
_NOBODY: Built = (None, -math.inf)


class _Mirror:
    """The rows of one store, and the ways to them: by the hash of a secret, by the name of an account."""

    def __init__(self) -> None:
        self.seq = 0
        self.rows: dict[str, bytes] = {}
        self.ids: dict[bytes, str] = {}
        self.named: dict[str, str] = {}
        self.teams: dict[str, Team] = {}

    def take(self, changes: Changes) -> None:
        for id_ in changes.gone_keys:
            self._forget(id_)
        for key in changes.keys:
            self._forget(key.id)
            self._learn(key)
        for name in changes.gone_teams:
            self.teams.pop(name, None)
        for team in changes.teams:
            self.teams[team.name] = team
        self.seq = changes.seq

    def row(self, id_: str) -> _Row | None:
        encoded = self.rows.get(id_)
        return None if encoded is None else _decode(encoded)

    def makers(self, row: _Row) -> list[tuple[str, _Row]] | None:
        """Return the ids and rows of the keys that made this one, its own maker first; None where one is no more."""
        found: list[tuple[str, _Row]] = []
        while row.maker:
            maker = self.row(row.maker)
            if maker is None or len(found) == MOST_MAKERS:
                return None
            found.append((row.maker, maker))
            row = maker
        return found

    def _learn(self, key: Key) -> None:
        limits = astuple(key.limits) if key.limits else ()
        budget = (key.budget.micro, key.budget.window) if key.budget else None
        row = _Row(
            key.digest, key.maker, key.principal, key.team, key.role, key.disabled, key.expires, key.models,
            key.dialects, key.tags, limits, budget, key.keeps_content, key.priority, key.previous, key.previous_until,
        )  # fmt: skip
        self.rows[key.id] = _encode(row)
        if key.principal:
            self.named[key.principal] = key.id
        for digest in (key.digest, key.previous):
            if digest:
                self.ids[digest] = key.id

    def _forget(self, id_: str) -> None:
        row = self.row(id_)
        if row is None:
            return
        del self.rows[id_]
        if self.named.get(row.principal) == id_:
            del self.named[row.principal]
        for digest in (row.digest, row.previous):
            if self.ids.get(digest) == id_:
                del self.ids[digest]


class Directory:
    """Finds principals of stored keys in one look-up.

    Args:
        keyring: where the keys are.
        hash_key: with which their secrets were hashed.
        now: Unix seconds.

    """

    def __init__(self, keyring: HashedKeyring, hash_key: bytes, now: Callable[[], float]) -> None:
        self._keyring = keyring
        self._hash_key = hash_key
        self._now = now
        self._mirror = _Mirror()
        self._built: dict[bytes | str, Built] = {}
        self._refreshing = asyncio.Lock()
        self._is_behind = False
        self.generation = 0
        """Grows with every change: what was found before may not hold any more."""

    def __len__(self) -> int:
        return len(self._mirror.rows)

    async def load(self) -> None:
        """Read everything. Raises StoreFailed, and Misconfigured if the keys were hashed with another hash key."""
        if not await self._keyring.check_hash_key(check_value(self._hash_key)):
            raise Misconfigured(
                "auth.hash_key: the keys in this database were hashed with another hash key. Give this process the "
                "same one as the others: their `auth.hash_key`, or the file hash.key of their data folder"
            )
        await self.refresh()

    async def refresh(self) -> None:
        """Read what changed since the last time; after this every change committed before holds. Raises StoreFailed."""
        async with self._refreshing:
            changes = await self._keyring.changes(self._mirror.seq)
            if changes.seq < self._mirror.seq:
                # Another store, or an earlier state of this one: nothing that is known can be trusted.
                await self._reload()
                return
            while changes.seq > self._mirror.seq:
                self._mirror.take(changes)
                self._drop_built()
                changes = await self._keyring.changes(self._mirror.seq)

    async def run(self) -> None:
        """Follow the store until cancelled. While it fails, what is known goes on holding."""
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.refresh()
            except StoreFailed as fault:
                if not self._is_behind:
                    log.warning("Changes of keys are not seen while the database fails: %s", fault.detail)
                self._is_behind = True
            else:
                if self._is_behind:
                    log.warning("Changes of keys are seen again.")
                self._is_behind = False

    def digest(self, secret: Secret) -> bytes:
        """Hash a secret as `by_digest` wants it."""
        return hashed(secret, self._hash_key)

    def find(self, secret: Secret) -> Principal | None:
        """Return whose secret this is, None if nobody's who may come in now. O(1)."""
        return self.by_digest(self.digest(secret))

    def by_digest(self, digest: bytes) -> Principal | None:
        principal, until = self._built.get(digest) or self._build(digest)
        return principal if self._now() < until else None

    def named(self, name: str) -> Principal | Literal[Verdict.DENIED] | None:
        """Return what the row for an account or a token's owner says; None if there is none."""
        id_ = self._mirror.named.get(name)
        if id_ is None:
            return None
        principal, until = self._built.get(name) or self._keep(name, self._principal(id_))
        return principal if principal is not None and self._now() < until else DENIED

    def team(self, name: str) -> Team | None:
        return self._mirror.teams.get(name)

    def _build(self, digest: bytes) -> Built:
        id_ = self._mirror.ids.get(digest)
        # What is nobody's is not kept: else a flood of wrong keys would push out the right ones.
        return _NOBODY if id_ is None else self._keep(digest, self._principal(id_, digest))

    def _keep(self, slot: bytes | str, built: Built) -> Built:
        if len(self._built) >= MOST_BUILT:
            del self._built[next(iter(self._built))]
        self._built[slot] = built
        return built

    def _principal(self, id_: str, digest: bytes = b"") -> Built:
        row = self._mirror.row(id_)
        makers = None if row is None else self._mirror.makers(row)
        if row is None or makers is None or row.disabled or any(maker.disabled for _, maker in makers):
            return _NOBODY
        own = row.holder(id_)
        expires = _least([row.expires, *(maker.expires for _, maker in makers)])
        until = math.inf if expires is None else expires
        if digest and digest != row.digest:
            until = min(until, row.previous_until)
        principal = Principal(
            name=own.name,
            models=row.models,
            role="user" if any(maker.role == "user" for _, maker in makers) else row.role,
            key=id_,
            team=row.team,
            tags=row.tags,
            dialects=row.dialects,
            holders=(own, *(maker.holder(name) for name, maker in makers), *self._teams(row, makers)),
            bounds=tuple(maker.models for _, maker in makers if maker.models != _ANY),
            dialect_bounds=tuple(maker.dialects for _, maker in makers if maker.dialects != _ANY),
            expires=expires,
            keeps_content=row.keeps_content and all(maker.keeps_content for _, maker in makers),
            priority=min([row.priority, *(maker.priority for _, maker in makers)]),
        )
        return principal, until

    def _teams(self, row: _Row, makers: list[tuple[str, _Row]]) -> Iterator[Holder]:
        """The teams of all: a key that a team's member made stays under that team's budget."""
        names = dict.fromkeys([row.team, *(maker.team for _, maker in makers)])
        for name in filter(None, names):
            team = self._mirror.teams.get(name)
            yield Holder(f"team:{name}", team.limits, team.budget) if team else Holder(f"team:{name}")

    async def _reload(self) -> None:
        fresh = _Mirror()
        changes = await self._keyring.changes(0)
        while changes.seq > fresh.seq:
            fresh.take(changes)
            changes = await self._keyring.changes(fresh.seq)
        self._mirror = fresh
        self._drop_built()

    def _drop_built(self) -> None:
        self._built = {}
        self.generation += 1


def _least(times: list[float | None]) -> float | None:
    return min((time for time in times if time is not None), default=None)
