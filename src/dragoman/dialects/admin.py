"""The operator's interface: `/api/admin/…`, described in `/openapi.json` and docs/admin.md.

Errors have OpenAI's shape. No page on another origin can read these answers, and no cookie is ever a key.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from dragoman.errands import (
    CheckCredential,
    DropAccount,
    DropTeam,
    ListAccounts,
    ListTeams,
    MakeAccount,
    PutTeam,
    ReadState,
)
from dragoman.faults import NotFound
from dragoman.legs import Head
from dragoman.people import Secret
from dragoman.ports import Mount
from dragoman.wires import admin_ask as ask
from dragoman.wires import admin_voice as voice
from dragoman.wires.admin_plan import Plans
from dragoman.wires.private import Answered, Private, below, nothing

PATH = "/api/admin"
STATES: dict[str, Callable[[Any], voice.Row]] = {
    "pool": voice.providers,
    "settings": voice.settings,
    "journal": voice.journal,
}
_plans = Plans(PATH, own=False)


def list_teams(head: Head, data: bytes) -> Answered:  # noqa: ARG001 - a GET has no body to read
    ask.read_query(head.query, ())
    return Answered(ListTeams(), lambda teams: {"teams": [voice.team(team) for team in teams]})


def one_team(head: Head, data: bytes) -> Answered:
    ask.read_query(head.query, ())
    name = ask.name_of_path(below(head, f"{PATH}/teams"))
    if head.method == "PUT":
        return Answered(PutTeam(ask.team(name, data)), voice.team)
    return Answered(DropTeam(name), nothing)


def list_users(head: Head, data: bytes) -> Answered:  # noqa: ARG001 - a GET has no body to read
    query = ask.read_query(head.query, ("after", "limit"))
    limit = ask.limit_of(query)
    return Answered(ListAccounts(query.get("after", ""), limit), lambda names: voice.page_of_users(names, limit))


def make_user(head: Head, data: bytes) -> Answered:
    ask.read_query(head.query, ())
    name, password = ask.person(data)
    return Answered(MakeAccount(name, Secret(password)), lambda name: {"name": name}, 201)


def drop_user(head: Head, data: bytes) -> Answered:  # noqa: ARG001 - it has no body to read
    ask.read_query(head.query, ())
    return Answered(DropAccount(ask.name_of_path(below(head, f"{PATH}/users"))), nothing)


def state(head: Head, data: bytes) -> Answered:  # noqa: ARG001 - a GET has no body to read
    ask.read_query(head.query, ())
    match head.path.removeprefix(f"{PATH}/"):
        case ("pool" | "settings" | "journal") as of:
            return Answered(ReadState(of), STATES[of])
    raise NotFound(f"There is no {head.path[:200]} here.")


def check_credential(head: Head, data: bytes) -> Answered:
    ask.read_query(head.query, ())
    match head.path.removeprefix(f"{PATH}/pool/").split("/"):
        case [name, "check"]:
            return Answered(CheckCredential(ask.name_of_path(name), ask.credential(data)), voice.credential_check)
    raise NotFound(f"There is no {head.method} {head.path[:200]} here.")


mounts: tuple[Mount, ...] = tuple(
    Mount(method, f"{PATH}{path}", partial(Private, plan=plan), role="admin")
    for method, path, plan in (
        ("GET", "/keys", _plans.list_keys),
        ("POST", "/keys", _plans.make_key),
        *((method, "/keys/*", _plans.one_key) for method in ("GET", "PATCH", "DELETE", "POST")),
        ("GET", "/teams", list_teams),
        ("PUT", "/teams/*", one_team),
        ("DELETE", "/teams/*", one_team),
        ("GET", "/users", list_users),
        ("POST", "/users", make_user),
        ("DELETE", "/users/*", drop_user),
        ("GET", "/usage", _plans.usage),
        ("GET", "/requests", _plans.list_calls),
        ("GET", "/requests/*", _plans.one_call),
        ("POST", "/pool/*", check_credential),
        *(("GET", f"/{of}", state) for of in STATES),
    )
)
