"""Where errands are done: keys, teams, accounts, usage and the state of the gateway, each for whoever may.

The gate has looked at the role already. It is looked at here once more, so that a wish is safe whatever dialect it
came through.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from dragoman.admission.drafts import KeyChange, KeyDraft
from dragoman.admission.keysmith import Keysmith
from dragoman.admission.passwords import Passwords, checked_name, checked_password
from dragoman.errands import (
    ChangeKey,
    CheckCredential,
    CredentialCheck,
    DropAccount,
    DropKey,
    DropTeam,
    Errand,
    FreshKey,
    JournalState,
    KeyFields,
    KeyFound,
    ListAccounts,
    ListCalls,
    ListKeys,
    ListTeams,
    MakeAccount,
    MakeKey,
    ProviderState,
    PutTeam,
    ReadCall,
    ReadKey,
    ReadState,
    ReadUsage,
    RotateKey,
    Setting,
    Spent,
    Sums,
    TeamFound,
)
from dragoman.faults import Conflict, Forbidden, Malformed, NotFound
from dragoman.keys import Key, Team
from dragoman.people import MASTER, Principal, Secret
from dragoman.standing import Budget
from dragoman.threads import Accounts
from dragoman.usage import CallQuery, CallRow, UsageQuery, UsageRow

OPERATORS_FIELDS = frozenset({"owner", "team", "role", "principal", "keeps_content", "priority"})
"""What nobody says of its own keys: it follows from the key that makes them."""
OPERATORS_WORDS = frozenset({"provider", "target"})
"""By what only an operator may see usage: which providers stand behind the gateway."""


class Reports(Protocol):
    """The part of `dragoman.usage.Books` that is read here."""

    async def usage(self, query: UsageQuery) -> list[UsageRow]: ...

    async def calls(self, query: CallQuery) -> list[CallRow]: ...

    async def call(self, id_: str, principal: str | None) -> CallRow | None: ...


class Views(msgspec.Struct, frozen=True):
    """How the gateway is, seen by those who run it."""

    pool: Callable[[], Sequence[ProviderState]]
    settings: Callable[[], Sequence[Setting]]
    journal: Callable[[], JournalState]
    spent: Callable[[Sequence[tuple[str, Budget | None]]], Awaitable[list[Spent]]]
    check: Callable[[str, Secret], Awaitable[CredentialCheck]]


class Office:
    """Does errands. Raises what the keepers raise, Forbidden for an operator's errand of somebody else's."""

    def __init__(
        self, keysmith: Keysmith, reports: Reports, accounts: Accounts, passwords: Passwords, views: Views
    ) -> None:
        self._keysmith = keysmith
        self._reports = reports
        self._accounts = accounts
        self._passwords = passwords
        self._views = views

    async def find(self, wish: Errand, principal: Principal) -> Any:
        """Return what the wish asks for, as the wish's docstring says."""
        is_own = getattr(wish, "own", False)
        if not is_own and principal.role != MASTER.role:
            raise Forbidden("This is for operators.")
        match wish:
            case ListKeys() | MakeKey() | ReadKey() | ChangeKey() | RotateKey() | DropKey():
                # With its own keys an operator has no more rights than anybody else.
                return await self._do_keys(
                    wish, msgspec.structs.replace(principal, role="user") if is_own else principal
                )
            case ListTeams() | PutTeam() | DropTeam():
                return await self._do_teams(wish, principal)
            case ListAccounts() | MakeAccount() | DropAccount():
                return await self._do_accounts(wish)
            case ReadUsage() | ListCalls() | ReadCall():
                return await self._report(wish, principal)
            case ReadState():
                return {"pool": self._views.pool, "settings": self._views.settings, "journal": self._views.journal}[
                    wish.of
                ]()
            case CheckCredential(provider, credential):
                return await self._views.check(provider, credential)

    # --- keys and teams ---

    async def _do_keys(
        self, wish: ListKeys | MakeKey | ReadKey | ChangeKey | RotateKey | DropKey, maker: Principal
    ) -> Any:
        smith = self._keysmith
        match wish:
            case ListKeys(after=after, limit=limit, team=team, maker=made_by):
                keys = await smith.keys(maker, after=after, limit=limit, team=team, made_by=made_by)
                return await self._accounted(keys)
            case MakeKey(fields, own):
                return await self._fresh(*await smith.create(KeyDraft(**_said(fields, own=own)), maker))
            case ReadKey(id_):
                return (await self._accounted([await smith.key(id_, maker)]))[0]
            case ChangeKey(id_, fields, own):
                changed = await smith.change(id_, KeyChange(**_said(fields, own=own)), maker)
                return (await self._accounted([changed]))[0]
            case RotateKey(id_, overlap_s):
                return await self._fresh(*await smith.rotate(id_, overlap_s, maker))
            case DropKey(id_):
                return await smith.delete(id_, maker)

    async def _do_teams(self, wish: ListTeams | PutTeam | DropTeam, principal: Principal) -> Any:
        match wish:
            case ListTeams():
                return await self._accounted_teams(await self._keysmith.teams(principal))
            case PutTeam(team):
                put = await self._keysmith.put_team(team, principal)
                return (await self._accounted_teams([put]))[0]
            case DropTeam(name):
                return await self._keysmith.drop_team(name, principal)

    async def _accounted(self, keys: Sequence[Key]) -> list[KeyFound]:
        spent = await self._views.spent([(key.holder, key.budget) for key in keys])
        return [KeyFound(*found) for found in zip(keys, spent, strict=True)]

    async def _accounted_teams(self, teams: Sequence[Team]) -> list[TeamFound]:
        spent = await self._views.spent([(f"team:{team.name}", team.budget) for team in teams])
        return [TeamFound(*found) for found in zip(teams, spent, strict=True)]

    async def _fresh(self, key: Key, secret: Secret) -> FreshKey:
        (spent,) = await self._views.spent([(key.holder, key.budget)])
        return FreshKey(key, secret, spent)

    # --- accounts ---

    async def _do_accounts(self, wish: ListAccounts | MakeAccount | DropAccount) -> Any:
        match wish:
            case ListAccounts(after, limit):
                return await self._accounts.accounts(after, limit)
            case MakeAccount(name, password):
                return await self._make_account(name, password)
            case DropAccount(name):
                if not await self._accounts.drop_account(name):
                    raise NotFound("There is no such account.")
                return None

    async def _make_account(self, name: str, password: Secret) -> str:
        try:
            name = checked_name(name)
        except ValueError as error:
            raise Malformed(str(error), field="name") from None
        try:
            password = checked_password(password.reveal())
        except ValueError as error:
            raise Malformed(str(error), field="password") from None
        if await self._accounts.account(name) is not None:
            raise Conflict("There is such an account already.", field="name")
        digest = await asyncio.to_thread(self._passwords.digest, password)
        await self._accounts.put_account(name, digest)
        return name

    # --- usage and calls ---

    async def _report(self, wish: ReadUsage | ListCalls | ReadCall, principal: Principal) -> Any:
        match wish:
            case ReadUsage(query, own):
                if own:
                    _check_group(query)
                    query = msgspec.structs.replace(query, **_own(query, principal))
                return Sums(query, tuple(await self._reports.usage(query)))
            case ListCalls(query, own):
                if own:
                    if query.provider is not None:
                        raise Forbidden("Which provider answered is for operators to know.", field="provider")
                    query = msgspec.structs.replace(query, **_own(query, principal))
                return await self._reports.calls(query)
            case ReadCall(id_, own):
                call = await self._reports.call(id_, principal.name if own else None)
                if call is None:
                    raise NotFound("There is no such request.")
                return call


def _said(fields: KeyFields, *, own: bool) -> dict[str, Any]:
    """Return what is said of a key. Raises Forbidden where the holder of one says what it may not."""
    given = fields.given()
    for name in given.keys() & OPERATORS_FIELDS if own else ():
        raise Forbidden(f"{name} follows from your own key.", field=name)
    return given


def _own(query: UsageQuery | CallQuery, principal: Principal) -> dict[str, str]:
    """Return what narrows a query to the caller. Raises Forbidden if it asks for somebody else's."""
    if query.principal not in (None, principal.name):
        raise Forbidden("You may see your own usage only.", field="principal")
    if query.team not in (None, principal.team):
        raise Forbidden("You may see your own usage only.", field="team")
    return {"principal": principal.name}


def _check_group(query: UsageQuery) -> None:
    if query.provider is not None or query.target is not None or OPERATORS_WORDS & {*query.group}:
        raise Forbidden("Which provider answered is for operators to know.", field="group")
