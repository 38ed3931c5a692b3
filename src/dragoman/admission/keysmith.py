"""Makes and changes keys and teams, and sees to it that nobody gives away more than they have.

Rights are checked here when a key is written, and hold again whenever it is used: the directory puts the limits and
patterns of all makers around every key.
"""

import math
import secrets
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec import UNSET
from msgspec.structs import asdict, replace

from dragoman.admission.directory import MOST_MAKERS, Directory, HashedKeyring
from dragoman.admission.drafts import KeyChange, KeyDraft, check_label, checked
from dragoman.admission.hashing import check_value, hashed
from dragoman.faults import Conflict, Forbidden, Malformed, NotFound, StoreFailed
from dragoman.keys import PREFIX, Key, Team
from dragoman.people import Principal, Secret

SECRET_BYTES = 32
LONGEST_OVERLAP_S = 30 * 86_400.0
MOST_LISTED = 1_000
PREFIX_SHOWN = 8
ATTEMPTS = 8
_OWN_FIELDS = {"name", "disabled"}
"""What a key may change about itself; `disabled` only to true."""
_ANY = ("*",)
_MAGIC = frozenset("*?[")
Value = TypeVar("Value")


class Keysmith:
    """Acts for a `maker`: an administrator, or a key that makes and keeps keys of its own.

    Args:
        keyring: where keys are kept.
        directory: the mirror of this process; it is up to date before anything here returns.
        hash_key: with which secrets are hashed.
        now: Unix seconds.

    Every method raises StoreFailed.

    """

    def __init__(self, keyring: HashedKeyring, directory: Directory, hash_key: bytes, now: Callable[[], float]) -> None:
        self._keyring = keyring
        self._directory = directory
        self._hash_key = hash_key
        self._now = now

    async def create(self, draft: KeyDraft, maker: Principal) -> tuple[Key, Secret]:
        """Make a key, and return it with its secret, which nobody can tell again; "" for a principal's row.

        Raises Malformed, Forbidden with the field, and Conflict if the principal has a row already.
        """
        draft = checked(draft, self._now())
        if maker.key:
            if len(await self._makers(maker.key)) + 1 >= MOST_MAKERS:
                raise Forbidden(f"Keys make keys {MOST_MAKERS} times over, not more often.")
        elif maker.role != "admin":
            raise Forbidden("This key may not make keys.")
        fields = _completed(draft, maker)
        _check_within(fields, maker)
        await self._check_team(fields["team"])
        secret = Secret("" if draft.principal else PREFIX + secrets.token_urlsafe(SECRET_BYTES))
        key = Key(id="", maker=maker.key, created=self._now(), **fields)
        key = await self._put_new(self._with_secret(key, secret) if secret else key)
        await self._directory.refresh()
        return key, secret

    async def change(self, id_: str, change: KeyChange, maker: Principal) -> Key:
        """Raises Malformed, NotFound, and Forbidden with the field."""
        change = checked(change, self._now())
        fields = change.fields()

        async def renew(key: Key, makers: Sequence[str]) -> Key:
            if key.id == maker.key:
                _check_own(fields)
            else:
                self._check_over(key, makers, maker)
                _check_within(fields, maker)
            if fields.get("team") and fields["team"] != key.team:
                await self._check_team(fields["team"])
            return replace(key, **fields)

        changed: Key = await self._swap(id_, maker, renew)
        return changed

    async def rotate(self, id_: str, overlap_s: float, maker: Principal) -> tuple[Key, Secret]:
        """Give a key a new secret; the one before works for `overlap_s` more (0 to 30 days), older ones do not.

        Raises Malformed, NotFound, Forbidden.
        """
        if not math.isfinite(overlap_s) or not 0 <= overlap_s <= LONGEST_OVERLAP_S:
            raise Malformed("Two secrets work for 0 seconds to 30 days together.", field="overlap_s")
        secret = Secret(PREFIX + secrets.token_urlsafe(SECRET_BYTES))

        async def renew(key: Key, makers: Sequence[str]) -> Key:
            # Not for every administrator: whoever sees the secret could spend and read as somebody else.
            if maker.key and maker.key not in (key.id, *makers):
                raise Forbidden("This key gives no new secrets to keys that are not below it.", field="id")
            if not key.digest:
                raise Malformed("This is no key with a secret, but what holds for a principal's tokens.", field="id")
            previous = (key.digest, self._now() + overlap_s) if overlap_s else (b"", 0.0)
            return replace(self._with_secret(key, secret), previous=previous[0], previous_until=previous[1])

        return await self._swap(id_, maker, renew), secret

    async def delete(self, id_: str, maker: Principal) -> None:
        """Delete a key; what it made is dead from then on. Raises NotFound, Forbidden."""
        key, makers = await self._found(id_, maker)
        if key.id != maker.key:
            self._check_over(key, makers, maker)
        if not await self._keyring.drop_key(key.id):
            raise _no_key()
        await self._directory.refresh()

    async def key(self, id_: str, maker: Principal) -> Key:
        """Raises NotFound, also for a key that is none of the maker's business."""
        return (await self._found(id_, maker))[0]

    async def keys(
        self, maker: Principal, *, after: str = "", limit: int = 100, team: str = "", made_by: str = ""
    ) -> Sequence[Key]:
        """List keys by id, those behind `after`: all for administrators, else those that the maker made, or that
        `made_by`, a key below it, made. Raises Malformed, NotFound.
        """
        if not 1 <= limit <= MOST_LISTED:
            raise Malformed(f"A page has 1 to {MOST_LISTED} keys.", field="limit")
        if maker.role != "admin":
            if not maker.key:
                return []
            made_by = made_by or maker.key
            await self._found(made_by, maker)
        return await self._keyring.keys(after=after, limit=limit, team=team, maker=made_by)

    async def put_team(self, team: Team, maker: Principal) -> Team:
        """Make or change a team. Raises Malformed, Forbidden."""
        _check_teams(team.name, maker)
        team = checked(team, self._now())
        await self._keyring.put_team(team)
        await self._directory.refresh()
        return team

    async def drop_team(self, name: str, maker: Principal) -> None:
        """Raises NotFound, Forbidden, and Conflict while it has keys, which would be without its limits."""
        _check_teams(name, maker)
        if await self._keyring.keys(team=name, limit=1):
            raise Conflict("This team has keys; move or delete them first.", field="name")
        if not await self._keyring.drop_team(name):
            raise NotFound("There is no such team.", field="name")
        await self._directory.refresh()

    async def team(self, name: str, maker: Principal) -> Team:
        """Raises NotFound; whoever is no administrator knows only its own team."""
        team = await self._keyring.team(name) if maker.role == "admin" or name == maker.team else None
        if team is None:
            raise NotFound("There is no such team.", field="name")
        return team

    async def teams(self, maker: Principal) -> Sequence[Team]:
        """List the teams by name: all for administrators, else the maker's own."""
        return [team for team in await self._keyring.teams() if maker.role == "admin" or team.name == maker.team]

    def _with_secret(self, key: Key, secret: Secret) -> Key:
        text = secret.reveal()
        digest = hashed(secret, self._hash_key)
        return replace(key, digest=digest, prefix=text[:PREFIX_SHOWN], tail=secret.tail)

    async def _put_new(self, key: Key) -> Key:
        # Longer than the names of configured keys (16 hex digits), so that no two principals have one name.
        key = replace(key, id=secrets.token_hex(10))
        if not await self._keyring.put_key(key, is_new=True):
            raise Conflict("There is a row for this principal already.", field="principal")
        # Asked only now that there is a key: before, any hash key would do, and another process might still change it.
        if not await self._keyring.check_hash_key(check_value(self._hash_key)):
            await self._keyring.drop_key(key.id)
            raise StoreFailed(detail="auth.hash_key: keys in this database were hashed with another hash key")
        return key

    async def _swap(self, id_: str, maker: Principal, renew: Callable[[Key, Sequence[str]], Any]) -> Any:
        """Change what stands there now, whatever others change at the same time."""
        for _ in range(ATTEMPTS):
            key, makers = await self._found(id_, maker)
            changed = await renew(key, makers)
            if await self._keyring.swap_key(key, changed):
                await self._directory.refresh()
                return changed
        raise Conflict("Others are changing this key; try again.", field="id")

    async def _found(self, id_: str, maker: Principal) -> tuple[Key, list[str]]:
        """Find a key that the maker may see, and the ids of those that made it. Raises NotFound."""
        key = await self._keyring.key(id_)
        if key is None:
            raise _no_key()
        makers = [key.maker, *await self._makers(key.maker)] if key.maker else []
        is_own = bool(maker.key) and (id_ == maker.key or maker.key in makers)
        if maker.role != "admin" and not is_own:
            raise _no_key()
        return key, makers

    async def _makers(self, id_: str) -> list[str]:
        """List the keys above one, the next first."""
        found: list[str] = []
        while (key := await self._keyring.key(id_)) is not None and key.maker and len(found) < MOST_MAKERS:
            found.append(key.maker)
            id_ = key.maker
        return found

    def _check_over(self, key: Key, makers: Sequence[str], maker: Principal) -> None:
        """Let makers act on what is below them, administrators on users' keys, and the operator on all.

        With another administrator's key, whoever has a key could lift the limits of its own.
        """
        is_below = maker.key in makers
        if maker.key and not is_below and (maker.role != "admin" or key.role == "admin"):
            raise Forbidden("This key may not change a key that is not below it.", field="id")

    async def _check_team(self, name: str) -> None:
        if name and await self._keyring.team(name) is None:
            raise Malformed("There is no such team.", field="team")


def _no_key() -> NotFound:
    return NotFound("There is no key of this id.", field="id")


def _completed(draft: KeyDraft, maker: Principal) -> dict[str, Any]:
    """Fill in what is unset: what a maker with a key has itself, else no bounds."""
    fields: dict[str, Any] = {"models": _ANY, "dialects": _ANY, "priority": 0}
    if maker.key:
        fields = {"models": maker.models, "dialects": maker.dialects, "priority": maker.priority}
    fields |= {name: value for name, value in asdict(draft).items() if value is not UNSET}
    if maker.key:
        fields["team"] = draft.team or maker.team
        fields["expires"] = maker.expires if draft.expires is None else draft.expires
    return fields


def _check_own(fields: dict[str, Any]) -> None:
    for field, value in fields.items():
        if field not in _OWN_FIELDS or (field == "disabled" and not value):
            raise Forbidden("A key may not change this about itself.", field=field)


def _check_teams(name: str, maker: Principal) -> None:
    check_label(name, "name")
    if maker.role != "admin":
        raise Forbidden("Only administrators change teams.")
    if maker.key and any(holder.name == f"team:{name}" for holder in maker.holders):
        raise Forbidden("A key may not change the limits of its own team.", field="name")


def _check_within(fields: dict[str, Any], maker: Principal) -> None:
    """Refuse what a maker with a key has not itself. Raises Forbidden with the field."""
    if not maker.key:
        return
    is_admin = maker.role == "admin"
    expires = fields.get("expires", maker.expires)
    is_later = maker.expires is not None and (expires is None or expires > maker.expires)
    beyond = {
        "role": fields.get("role") == "admin" and not is_admin,
        "principal": bool(fields.get("principal")) and not is_admin,
        "team": fields.get("team", maker.team) != maker.team and not is_admin,
        "expires": is_later,
        "keeps_content": bool(fields.get("keeps_content")) and not maker.keeps_content,
        "priority": fields.get("priority", maker.priority) > maker.priority,
        "models": not _is_within(fields.get("models", ()), maker.models, maker.may_use),
        "dialects": not _is_within(fields.get("dialects", ()), maker.dialects, maker.may_enter),
    }
    for field, is_beyond in beyond.items():
        if is_beyond:
            raise Forbidden("This is more than the key that asks for it has.", field=field)


def _is_within(patterns: Sequence[str], own: Sequence[str], may: Callable[[str], bool]) -> bool:
    return "*" in own or all(p in own or (not _MAGIC & set(p) and may(p)) for p in patterns)
