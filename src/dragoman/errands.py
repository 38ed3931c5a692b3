"""What an operator wants done, and what the holder of a key wants with its own: keys, teams, accounts, usage.

Pure words: the wishes of `/api/admin/…`, `/api/keys`, `/api/usage` and `/api/requests`, and what answers them.
`own` means: only what is below the caller, or the caller's own. Times are Unix seconds, money is in micro-units.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from dragoman.keys import Key, Role, Team
from dragoman.people import Secret
from dragoman.standing import Budget, Limits
from dragoman.usage import CallQuery, UsageQuery, UsageRow


class KeyFields(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a key: as in `dragoman.keys.Key`, UNSET where nothing is said. `principal` is said only of one
    that is made, `disabled` only of one that is there.
    """

    name: str | UnsetType = UNSET
    owner: str | UnsetType = UNSET
    team: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    principal: str | UnsetType = UNSET
    expires: float | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    dialects: tuple[str, ...] | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET
    budget: Budget | UnsetType | None = UNSET
    keeps_content: bool | UnsetType = UNSET
    priority: int | UnsetType = UNSET

    def given(self) -> dict[str, Any]:
        """Return what is said."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET}


class Spent(msgspec.Struct, frozen=True):
    """What was spent of a budget in the window that it is in, as far as the store knows. `resets`: when the next
    begins, None for a budget in total.
    """

    micro: int = 0
    resets: int | None = None


class KeyFound(msgspec.Struct, frozen=True):
    """A key, and what was spent of its budget."""

    key: Key
    spent: Spent = Spent()


class TeamFound(msgspec.Struct, frozen=True):
    """A team, and what was spent of its budget."""

    team: Team
    spent: Spent = Spent()


class ListKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Keys by id, those behind `after`; found are `KeyFound`s."""

    after: str = ""
    limit: int = 100
    team: str = ""
    maker: str = ""
    own: bool = False


class MakeKey(msgspec.Struct, frozen=True):
    """A new key; found is a `FreshKey`."""

    fields: KeyFields
    own: bool = False


class ReadKey(msgspec.Struct, frozen=True):
    """Found is a `KeyFound`."""

    id: str
    own: bool = False


class ChangeKey(msgspec.Struct, frozen=True):
    """Found is a `KeyFound`."""

    id: str
    fields: KeyFields
    own: bool = False


class RotateKey(msgspec.Struct, frozen=True):
    """A new secret for a key; the old one works for `overlap_s` more seconds. Found is a `FreshKey`."""

    id: str
    overlap_s: float
    own: bool = False


class DropKey(msgspec.Struct, frozen=True):
    id: str
    own: bool = False


class FreshKey(msgspec.Struct, frozen=True):
    """A key with its secret, which nobody can be told again; an empty one for what holds for a principal's tokens."""

    key: Key
    secret: Secret
    spent: Spent = Spent()


class ListTeams(msgspec.Struct, frozen=True):
    """All teams, by name; found are `TeamFound`s."""


class PutTeam(msgspec.Struct, frozen=True):
    """Make a team, or put other limits and another budget in place of its own; found is a `TeamFound`."""

    team: Team


class DropTeam(msgspec.Struct, frozen=True):
    name: str


class ListAccounts(msgspec.Struct, frozen=True):
    """The names of local accounts, those behind `after`."""

    after: str = ""
    limit: int = 100


class MakeAccount(msgspec.Struct, frozen=True):
    """A new account; found is its name as it is kept."""

    name: str
    password: Secret


class DropAccount(msgspec.Struct, frozen=True):
    name: str


class ReadUsage(msgspec.Struct, frozen=True):
    """Sums of usage; found is a `Sums`."""

    query: UsageQuery
    own: bool = False


class ListCalls(msgspec.Struct, frozen=True):
    query: CallQuery
    own: bool = False


class ReadCall(msgspec.Struct, frozen=True):
    """One call, with its content where that is kept."""

    id: str
    own: bool = False


class CheckCredential(msgspec.Struct, frozen=True):
    """Would this be a good credential for a provider of the configuration? It is tried at once, and kept nowhere.
    Found is a `CredentialCheck`.
    """

    provider: str
    credential: Secret


class CredentialCheck(msgspec.Struct, frozen=True):
    """What a provider said to a credential: the `models` that it lists, or why not (`code` and `message` of the
    fault), after `ms`.
    """

    is_good: bool
    models: tuple[str, ...] = ()
    code: str = ""
    message: str = ""
    ms: int = 0


class ReadState(msgspec.Struct, frozen=True):
    """How the gateway is: found are `ProviderState`s, `Setting`s, or a `JournalState`."""

    of: Literal["pool", "settings", "journal"]


class Sums(msgspec.Struct, frozen=True):
    """A page of usage, and the query that it answers."""

    query: UsageQuery
    rows: tuple[UsageRow, ...]


class CredentialState(msgspec.Struct, frozen=True):
    """A provider's key, known by the last four characters of its secret. `why`: the code of the fault for which it
    rests, `rests_s` seconds from now on; "" and 0 if it does not.
    """

    tail: str
    weight: int = 1
    rests_s: float = 0.0
    why: str = ""
    limits: Limits = Limits()


class TargetState(msgspec.Struct, frozen=True):
    """A model of a provider that was asked: `opens_s` until it is tried again after failures, 0 if it is not shut."""

    model: str
    opens_s: float = 0.0


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as this process sees it. `failed_share`, `first_byte_ms` (the middle and the slowest hundredth),
    `between_chunks_ms` and `total_ms` are of its recent calls, None before the first; `waiting` requests stand in its
    queue.
    """

    name: str
    kind: str
    state: str
    credentials: tuple[CredentialState, ...] = ()
    targets: tuple[TargetState, ...] = ()
    failed_share: float | None = None
    first_byte_ms: tuple[float, float] | None = None
    between_chunks_ms: tuple[float, float] | None = None
    total_ms: tuple[float, float] | None = None
    waiting: int = 0


class Setting(msgspec.Struct, frozen=True):
    """A value of the configuration as text, and where it came from. Of a secret there is nothing but whether it is
    set (`is_secret`, and `value` is "set" or "").
    """

    key: str
    value: str
    origin: str
    is_secret: bool = False


class JournalState(msgspec.Struct, frozen=True, kw_only=True):
    """How far the store is behind: bytes and seconds of the journal that it does not have yet; records that were
    found to be broken and skipped since the start; what went wrong last, "" if nothing did.
    """

    lag_bytes: int
    lag_s: float
    skipped: int = 0
    trouble: str = ""


Errand = (
    ListKeys
    | MakeKey
    | ReadKey
    | ChangeKey
    | RotateKey
    | DropKey
    | ListTeams
    | PutTeam
    | DropTeam
    | ListAccounts
    | MakeAccount
    | DropAccount
    | ReadUsage
    | ListCalls
    | ReadCall
    | ReadState
    | CheckCredential
)
"""What `dragoman.admission.office.Office` answers."""
