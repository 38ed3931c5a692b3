"""Bodies and queries of `/api/admin/…`, `/api/keys`, `/api/usage` and `/api/requests`, read into words.

What is not known is refused by name: a field that is spelled wrong must not leave a key without its limit.
"""

import re
from collections.abc import Collection
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import UNSET, UnsetType

from dragoman.errands import KeyFields
from dragoman.faults import Malformed
from dragoman.keys import Role, Team
from dragoman.money import read_amount
from dragoman.people import Secret
from dragoman.standing import MOST, NO_LIMITS, Budget, Limits, Window
from dragoman.usage import MOST_ROWS, CallQuery, UsageQuery, read_cursor

NAME_CHARACTERS = 200
PARAMETERS = 64
LONGEST_VALUE = 2000
LATEST = 253_402_300_799
"""Unix seconds of the end of the year 9999: no time is later."""
LONGEST_CREDENTIAL = 8_192
OVERLAP_MOST_S = 30 * 86_400
PRIORITY_MOST = 1000
Short = Annotated[str, msgspec.Meta(max_length=NAME_CHARACTERS)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARACTERS)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=50)]
TeamName = Annotated[str, msgspec.Meta(max_length=50)]
Tags = Annotated[tuple[Label, ...], msgspec.Meta(max_length=20)]
Patterns = Annotated[tuple[Word, ...], msgspec.Meta(min_length=1, max_length=200)]
Time = Annotated[float, msgspec.Meta(gt=0, le=LATEST)]
Body = TypeVar("Body", bound=msgspec.Struct)
_PLACE = re.compile(r" - at `\$\.?(.*?)`$")
_UNKNOWN = re.compile(r"unknown field `(.*)`")
_MISSING = re.compile(r"missing required field `(.*)`")


class _Money(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A budget as it is written: decimal text, or micro-units."""

    amount: str | UnsetType = UNSET
    micro: Annotated[int, msgspec.Meta(ge=0, le=MOST)] | UnsetType = UNSET
    window: Window = "total"


class _OwnKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the holder of a key may say of a new one. Role, owner, team and the rest follow from its own key."""

    name: Short | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    expires: Time | UnsetType | None = UNSET
    models: Patterns | UnsetType = UNSET
    dialects: Patterns | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET
    budget: _Money | UnsetType | None = UNSET


class _OwnChange(_OwnKey, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it may say of one that is there."""

    disabled: bool | UnsetType = UNSET


class _AnyKey(_OwnKey, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator may say of a new key."""

    owner: Short | UnsetType = UNSET
    team: TeamName | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    principal: Annotated[str, msgspec.Meta(max_length=410)] | UnsetType = UNSET
    keeps_content: bool | UnsetType = UNSET
    priority: Annotated[int, msgspec.Meta(ge=-PRIORITY_MOST, le=PRIORITY_MOST)] | UnsetType = UNSET


class _AnyChange(_OwnChange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it may say of one that is there."""

    owner: Short | UnsetType = UNSET
    team: TeamName | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    keeps_content: bool | UnsetType = UNSET
    priority: Annotated[int, msgspec.Meta(ge=-PRIORITY_MOST, le=PRIORITY_MOST)] | UnsetType = UNSET


class _TeamBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limits: Limits = NO_LIMITS
    budget: _Money | None = None


class _Overlap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    overlap_s: Annotated[float, msgspec.Meta(ge=0, le=OVERLAP_MOST_S)] = 0.0


class _Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARACTERS)]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class _Shown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    credential: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_CREDENTIAL)]


# --- bodies -----------------------------------------------------------------------------------


def decode(body: bytes, kind: type[Body]) -> Body:
    """Read a body as a struct; nothing at all counts as `{}`. Raises Malformed that names the field."""
    try:
        return msgspec.json.decode(body if body.strip() else b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise _complaint(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise Malformed(f"The body is not valid JSON: {error}") from None


def _complaint(text: str) -> Malformed:
    """Name the field in a decoder's complaint, in dots from the top."""
    found = _PLACE.search(text)
    place = found[1] if found else ""
    text = _PLACE.sub("", text)
    inner = _UNKNOWN.search(text) or _MISSING.search(text)
    field = ".".join(filter(None, (place, inner[1] if inner else "")))[:NAME_CHARACTERS]
    if _UNKNOWN.search(text):
        return Malformed(f"There is no field {field!r} here.", field=field)
    return Malformed(f"{field or 'The body'}: {text}.", field=field or None)


def new_key(body: bytes, *, own: bool) -> KeyFields:
    """Read what is said of a new key; `own`: by the holder of one. Raises Malformed that names the field."""
    return _fields(decode(body, _OwnKey if own else _AnyKey))


def key_change(body: bytes, *, own: bool) -> KeyFields:
    """Read what is to be different about a key. Raises Malformed that names the field."""
    return _fields(decode(body, _OwnChange if own else _AnyChange))


def _fields(said: _OwnKey) -> KeyFields:
    given: dict[str, Any] = {}
    for name in said.__struct_fields__:
        value = getattr(said, name)
        if value is not UNSET:
            given[name] = _budget(value) if isinstance(value, _Money) else _checked(value, name)
    if any("," in tag for tag in given.get("tags", ())):
        raise Malformed("A tag has no comma.", field="tags")
    return KeyFields(**given)


def team(name: str, body: bytes) -> Team:
    """Read the team that is to be. Raises Malformed."""
    said = decode(body, _TeamBody)
    return Team(name=name, limits=said.limits, budget=_budget(said.budget))


def overlap_s(body: bytes) -> float:
    return decode(body, _Overlap).overlap_s


def person(body: bytes) -> tuple[str, str]:
    """Read the name and the password of a new account."""
    said = decode(body, _Person)
    return said.name, said.password


def credential(body: bytes) -> Secret:
    """Read a provider's credential. Raises Malformed for what cannot stand in a header (RFC 9110, 5.5)."""
    text = decode(body, _Shown).credential
    _checked(text, "credential")
    if max(text) > "\xff":
        raise Malformed("credential has characters that no header can carry.", field="credential")
    return Secret(text)


def name_of_path(text: str) -> str:
    """Read a name that stands in a path. Raises Malformed: nothing, too long, or what is no name."""
    name = unquote(text, errors="replace")
    if not 1 <= len(name) <= NAME_CHARACTERS or "/" in name or name in (".", ".."):
        raise Malformed(f"A name has 1 to {NAME_CHARACTERS} characters, none of them a slash.", field="name")
    _checked(name, "name")
    return name


def _checked(value: Any, field: str) -> Any:
    """Refuse texts that are not what they look like: control characters, lone surrogates, spaces at an end."""
    for text in value if isinstance(value, tuple) else (value,):
        if isinstance(text, str) and (not text.isprintable() or text != text.strip()):
            raise Malformed(f"{field} has only printable characters, and no space at an end.", field=field)
    return value


def _budget(said: _Money | None) -> Budget | None:
    if said is None:
        return None
    if (said.amount is UNSET) == (said.micro is UNSET):
        raise Malformed("A budget has either an amount or micro.", field="budget")
    micro = read_amount(said.amount, "budget.amount") if isinstance(said.amount, str) else said.micro
    return Budget(cast("int", micro), said.window)


# --- queries ----------------------------------------------------------------------------------


def read_query(query: bytes, known: Collection[str]) -> dict[str, str]:
    """Read a query string. Raises Malformed: a name that is not known or comes twice, text that is not UTF-8."""
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS)
    except ValueError:
        raise Malformed("The query cannot be read.") from None
    for name, value in pairs:
        shown = name[:NAME_CHARACTERS]
        if name not in known:
            raise Malformed(f"There is no parameter {shown!r} here; known are {', '.join(sorted(known))}.", field=shown)
        if name in found:
            raise Malformed(f"{shown} is given twice.", field=shown)
        if len(value) > LONGEST_VALUE:
            raise Malformed(f"{shown} is too long.", field=shown)
        found[name] = value
    return found


def limit_of(query: dict[str, str], default: int = 100) -> int:
    return cast("int", _whole(query, "limit", 1, MOST_ROWS) if "limit" in query else default)


FILTERS = ("principal", "team", "model", "provider", "target", "dialect", "tag")
USAGE = ("group", "since", "until", *FILTERS, "limit", "after", "format")
CALLS = ("principal", "key", "team", "model", "provider", "dialect", "outcome", "since", "until", "limit", "after")
OUTCOMES = ("completed", "truncated", "abandoned", "refused", "failed", "interrupted")


def usage_query(query: dict[str, str]) -> UsageQuery:
    """Raises Malformed that names the parameter."""
    group = tuple(word for word in query.get("group", "day").split(",") if word)
    named: dict[str, Any] = {name: query[name] for name in FILTERS if name in query}
    since, until = _span(query)
    after = read_cursor(query["after"]) if "after" in query else ()
    return UsageQuery(group=cast("Any", group), since=since, until=until, limit=limit_of(query), after=after, **named)


def call_query(query: dict[str, str]) -> CallQuery:
    """Raises Malformed that names the parameter."""
    names = ("principal", "key", "team", "model", "provider", "dialect")
    named: dict[str, Any] = {name: query[name] for name in names if name in query}
    outcome: Any = query.get("outcome")
    if outcome not in (None, *OUTCOMES):
        raise Malformed(f"outcome is one of {', '.join(OUTCOMES)}.", field="outcome")
    since, until = _span(query)
    limit = limit_of(query)
    return CallQuery(outcome=outcome, since=since, until=until, limit=limit, after=_place(query), **named)


def _place(query: dict[str, str]) -> tuple[float, str] | None:
    if "after" not in query:
        return None
    match read_cursor(query["after"]):
        case (int() | float() as at, str() as id_):
            return float(at), id_
    raise Malformed("This cursor is of another query.", field="after")


def _span(query: dict[str, str]) -> tuple[int | None, int | None]:
    since, until = (_whole(query, name, 0, LATEST) for name in ("since", "until"))
    if since is not None and until is not None and until < since:
        raise Malformed("until is before since.", field="until")
    return since, until


def _whole(query: dict[str, str], field: str, least: int, most: int) -> int | None:
    text = query.get(field)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
        raise Malformed(f"{field} is a whole number from {least} to {most}.", field=field)
    return int(text)
