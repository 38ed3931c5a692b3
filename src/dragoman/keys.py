"""Keys and teams, as they are kept and as they are shown."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from dragoman.standing import NO_LIMITS, Budget, Limits

Role = Literal["user", "admin"]
PREFIX = "dgk_"
"""What every key begins with; four characters of it and the last four are shown."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is stored. Of the secret there are only a keyed hash (32 bytes), its first eight and last four
    characters. Times are Unix seconds.

    `principal`: "" for an ordinary key, whose principal is `key:ID`. Else there is no secret: the row says what holds
    for whoever shows a token of that name (`token:ID`, `user:NAME`).
    `maker` is the id of the key that made it, "" for the operator. `previous` still works until `previous_until`.
    `priority`: in a queue higher ones go first, and lower ones are shed first. `models`, `dialects`: patterns.
    """

    id: str
    digest: bytes = b""
    prefix: str = ""
    tail: str = ""
    previous: bytes = b""
    previous_until: float = 0.0
    name: str = ""
    owner: str = ""
    team: str = ""
    tags: tuple[str, ...] = ()
    role: Role = "user"
    maker: str = ""
    principal: str = ""
    created: float = 0.0
    expires: float | None = None
    disabled: bool = False
    models: tuple[str, ...] = ("*",)
    dialects: tuple[str, ...] = ("*",)
    limits: Limits = NO_LIMITS
    budget: Budget | None = None
    keeps_content: bool = False
    priority: int = 0

    @property
    def holder(self) -> str:
        """The principal's name, and the holder of its accounts."""
        return self.principal or f"key:{self.id}"


class Team(msgspec.Struct, frozen=True, kw_only=True):
    """Keys that share limits and a budget."""

    name: str
    limits: Limits = NO_LIMITS
    budget: Budget | None = None


class Changes(msgspec.Struct, frozen=True):
    """Everything that changed after a sequence number, and the number it has come to."""

    seq: int
    keys: tuple[Key, ...] = ()
    teams: tuple[Team, ...] = ()
    gone_keys: tuple[str, ...] = ()
    gone_teams: tuple[str, ...] = ()


class Keyring(Protocol):
    """Where keys and teams are kept. Every change gets the next sequence number, in the order of commits."""

    async def changes(self, after: int) -> Changes:
        """Return what changed; 0 is before everything. Cheap when nothing did. Raises StoreFailed."""

    async def key(self, id_: str) -> Key | None: ...

    async def keys(self, *, after: str = "", limit: int = 100, team: str = "", maker: str = "") -> Sequence[Key]:
        """List keys by id, those behind `after`."""

    async def put_key(self, key: Key, *, is_new: bool) -> bool:
        """Save a key. Returns False, and changes nothing, if one of this id (or this principal) is there although
        it is to be new, or is not although it is not.
        """

    async def drop_key(self, id_: str) -> bool: ...

    async def team(self, name: str) -> Team | None: ...

    async def teams(self) -> Sequence[Team]: ...

    async def put_team(self, team: Team) -> None: ...

    async def drop_team(self, name: str) -> bool: ...
