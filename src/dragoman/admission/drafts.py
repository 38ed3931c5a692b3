"""What may be asked of a key or a team, checked field by field, and what of one is shown."""

import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from dragoman.faults import Malformed
from dragoman.keys import Key, Role, Team
from dragoman.standing import NO_LIMITS, Budget, Limits

LATEST_S = 253_402_300_799
"""The last second of the year 9999: no key expires later."""

Text = Annotated[str, Meta(max_length=200)]
Label = Annotated[str, Meta(max_length=50)]
Tags = Annotated[tuple[Label, ...], Meta(max_length=20)]
Patterns = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=200)]
Priority = Annotated[int, Meta(ge=-1000, le=1000)]

_UNFIT = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories that no name has: control characters, halves of surrogate pairs, ends of lines."""
_PRINCIPAL = re.compile(r"(?:user|token):.+", re.DOTALL)
_PLACE = re.compile(r" - at `\$\.?([^`]*)`")
_PRINCIPAL_CHARACTERS = 410


class KeyDraft(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made. What is unset is as for its maker, or unbounded. `expires` is in Unix seconds.

    `principal` (`user:NAME`, `token:ID`): not a key, but what holds for whoever shows a token of that name.
    """

    name: Text = ""
    owner: Text = ""
    team: Label = ""
    tags: Tags = ()
    role: Role = "user"
    principal: str = ""
    expires: float | None = None
    models: Patterns | UnsetType = UNSET
    dialects: Patterns | UnsetType = UNSET
    limits: Limits = NO_LIMITS
    budget: Budget | None = None
    keeps_content: bool = False
    priority: Priority | UnsetType = UNSET


class KeyChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different about a key; what is unset stays."""

    name: Text | UnsetType = UNSET
    owner: Text | UnsetType = UNSET
    team: Label | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    expires: float | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET
    models: Patterns | UnsetType = UNSET
    dialects: Patterns | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET
    budget: Budget | UnsetType | None = UNSET
    keeps_content: bool | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET

    def fields(self) -> dict[str, Any]:
        """Return what is set."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}


Wanted = TypeVar("Wanted", KeyDraft, KeyChange, Team)


class ShownKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What may be seen of a key: neither hashes nor anything to guess the secret by. Times are Unix seconds.

    `maker` is for administrators only.
    """

    id: str
    secret: str
    state: Literal["active", "disabled", "expired"]
    role: Role
    created: float
    name: str = ""
    owner: str = ""
    team: str = ""
    tags: tuple[str, ...] = ()
    principal: str = ""
    maker: str = ""
    expires: float | None = None
    previous_until: float | None = None
    models: tuple[str, ...]
    dialects: tuple[str, ...]
    limits: Limits = NO_LIMITS
    budget: Budget | None = None
    keeps_content: bool = False
    priority: int = 0


def show(key: Key, role: Role, now: float) -> ShownKey:
    """Say of a key what somebody of this role may see."""
    is_over = key.expires is not None and key.expires <= now
    return ShownKey(
        id=key.id,
        secret=f"{key.prefix}…{key.tail}" if key.digest else "",
        state="disabled" if key.disabled else "expired" if is_over else "active",
        role=key.role,
        created=key.created,
        name=key.name,
        owner=key.owner,
        team=key.team,
        tags=key.tags,
        principal=key.principal,
        maker=key.maker if role == "admin" else "",
        expires=key.expires,
        previous_until=key.previous_until if key.previous and key.previous_until > now else None,
        models=key.models,
        dialects=key.dialects,
        limits=key.limits,
        budget=key.budget,
        keeps_content=key.keeps_content,
        priority=key.priority,
    )


def checked(wanted: Wanted, now: float) -> Wanted:
    """Check every field, however the words were made; tags are taken once. Raises Malformed with the field at fault."""
    try:
        wanted = msgspec.convert(msgspec.to_builtins(wanted), type(wanted))
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        raise Malformed(_PLACE.sub("", str(error)) + ".", field=place[1] if place else None) from None
    if isinstance(wanted, Team):
        check_label(wanted.name, "name")
        return wanted
    for field in ("name", "owner"):
        _check_text(getattr(wanted, field), field)
    if wanted.team:
        check_label(wanted.team, "team")
    for field in ("tags", "models", "dialects"):
        _check_each(field, getattr(wanted, field))
    _check_expiry(wanted.expires, now)
    if isinstance(wanted, KeyDraft) and wanted.principal:
        _check_principal(wanted.principal)
    return wanted if wanted.tags is UNSET else replace(wanted, tags=tuple(dict.fromkeys(wanted.tags)))


def check_label(text: str | UnsetType, field: str) -> None:
    """Check a tag or a team's name. Raises Malformed."""
    if text is UNSET:
        return
    if not text or text != text.strip() or "," in text or len(text) > 50:
        raise Malformed("A tag or team has 1 to 50 characters, no comma, and no space at its ends.", field=field)
    _check_text(text, field)


def _check_each(field: str, values: Iterable[str] | UnsetType) -> None:
    for number, value in enumerate(() if values is UNSET else values):
        where = f"{field}[{number}]"
        if field == "tags":
            check_label(value, where)
        elif not value.strip():
            raise Malformed("A pattern is not empty.", field=where)
        _check_text(value, where)


def _check_text(text: str | UnsetType, field: str) -> None:
    if text is not UNSET and any(unicodedata.category(character) in _UNFIT for character in text):
        raise Malformed("There is a control character, or what is no character at all.", field=field)


def _check_expiry(expires: float | UnsetType | None, now: float) -> None:
    if expires is None or expires is UNSET:
        return
    if not math.isfinite(expires) or not now < expires <= LATEST_S:
        raise Malformed("A key expires at a time in the future, in Unix seconds.", field="expires")


def _check_principal(principal: str) -> None:
    if not _PRINCIPAL.fullmatch(principal) or len(principal) > _PRINCIPAL_CHARACTERS:
        raise Malformed("A principal is `user:NAME` or `token:ID`.", field="principal")
    _check_text(principal, "principal")
