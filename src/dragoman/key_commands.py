"""`dragoman key …` and `dragoman team …`: what an operator does with keys, also beside a running gateway."""

import asyncio
import datetime as dt
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec
from msgspec import UNSET

from dragoman.faults import CallerFault, Malformed, StoreFailed
from dragoman.keys import Key, Team
from dragoman.money import read_amount, write_amount
from dragoman.people import MASTER, Secret
from dragoman.settings import load
from dragoman.standing import Budget, Limits
from dragoman.user_commands import CONFIG, DATA, Mistake

if TYPE_CHECKING:
    from dragoman.admission.drafts import ShownKey
    from dragoman.admission.keysmith import Keysmith

Found = TypeVar("Found")
Command = TypeVar("Command", bound=Callable[..., Any])
PAGE = 1_000
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_OPTIONS = {
    "principal": "--for",
    "keeps_content": "--content",
    "tags": "--tag",
    "limits.requests_per_minute": "--rpm",
    "limits.tokens_per_minute": "--tpm",
    "limits.requests_per_day": "--rpd",
    "limits.parallel": "--parallel",
    "budget.micro": "--budget",
    "overlap_s": "--overlap",
}
"""What fields are called here, where `--FIELD` is not it."""
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
ID = click.argument("id_", metavar="ID")
_BOUNDS = (
    click.option("--rpm", type=int, help="Requests a minute."),
    click.option("--tpm", type=int, help="Tokens a minute."),
    click.option("--rpd", type=int, help="Requests a day."),
    click.option("--parallel", type=int, help="Requests at the same time."),
    click.option("--budget", help="Money in each window, such as 12.50."),
    click.option(
        "--window",
        type=click.Choice(["total", "hour", "day", "week", "month", "year"]),
        default="total",
        help="When the budget begins anew; `total`: never.",
    ),
)


def bounds(command: Command) -> Command:
    for option in reversed(_BOUNDS):
        command = option(command)
    return command


@click.group()
def key() -> None:
    """Keys with which callers come in."""


@key.command()
@click.option("--name", default="", help="What the key is for.")
@click.option("--owner", default="", help="Whose it is.")
@click.option("--team", default="", help="The team whose limits and budget hold too.")
@click.option("--tag", "tags", multiple=True, help="A label for usage; may be given several times.")
@click.option("--expires", default="", help="A date (2030-12-31, UTC) or a time from now (30d, 12h).")
@click.option("--models", multiple=True, help="Patterns of models, such as `gpt-*,claude-*`.")
@click.option("--dialects", multiple=True, help="Patterns of dialects.")
@click.option("--role", type=click.Choice(["user", "admin"]), default="user")
@bounds
@click.option("--content", is_flag=True, help="What is said with this key may be kept in the request log.")
@click.option("--priority", type=int, default=0, help="Higher ones go first in a queue.")
@click.option("--for", "principal", default="", help="No key, but what holds for `user:NAME` or `token:ID`.")
@JSON
@CONFIG
@DATA
def create(as_json: bool, config: Path | None, data: str | None, **given: Any) -> None:  # noqa: FBT001 - click's way
    """Make a key. Its secret is printed once, on a line of its own."""
    from dragoman.admission.drafts import KeyDraft

    limits, budget = _bounds_of(given)
    given["expires"] = _time_of(given["expires"]) if given["expires"] else None
    for field in ("models", "dialects"):
        given[field] = _patterns_of(given[field])
    draft = KeyDraft(keeps_content=given.pop("content"), limits=limits, budget=budget, **given)
    made, secret = _with_keys(config, data, lambda smith: smith.create(draft, MASTER))
    _tell(made, secret, as_json=as_json, what="made")


@key.command("list")
@click.option("--team", default="", help="Only keys of this team.")
@JSON
@CONFIG
@DATA
def list_keys(team: str, as_json: bool, config: Path | None, data: str | None) -> None:  # noqa: FBT001
    """List the keys by id, one a line."""

    async def read(smith: "Keysmith") -> list[Key]:
        found: list[Key] = []
        while page := await smith.keys(MASTER, after=found[-1].id if found else "", limit=PAGE, team=team):
            found += page
        return found

    shown = [_shown(found) for found in _with_keys(config, data, read, is_reader=True)]
    if as_json:
        click.echo(msgspec.json.encode(shown))
        return
    rows = [(k.id, k.secret or k.principal, k.state, k.role, k.team, k.owner, k.name) for k in shown]
    _print_table(("ID", "SECRET", "STATE", "ROLE", "TEAM", "OWNER", "NAME"), rows)


@key.command()
@ID
@JSON
@CONFIG
@DATA
def show(id_: str, as_json: bool, config: Path | None, data: str | None) -> None:  # noqa: FBT001
    """Show one key; its secret is known to nobody."""
    shown = _shown(_with_keys(config, data, lambda smith: smith.key(id_, MASTER), is_reader=True))
    if as_json:
        click.echo(msgspec.json.encode(shown))
        return
    for field, value in msgspec.structs.asdict(shown).items():
        if value not in ("", None, ()):
            click.echo(f"{field}: {_words(field, value)}")


@key.command()
@ID
@click.option("--overlap", default="0s", help="How long the old secret still works: 24h, 7d; 30d at most.")
@JSON
@CONFIG
@DATA
def rotate(id_: str, overlap: str, as_json: bool, config: Path | None, data: str | None) -> None:  # noqa: FBT001
    """Give a key a new secret, which is printed once, on a line of its own."""
    overlap_s = float(_seconds_of(overlap, "--overlap"))
    changed, secret = _with_keys(config, data, lambda smith: smith.rotate(id_, overlap_s, MASTER))
    _tell(changed, secret, as_json=as_json, what="rotated")


@key.command()
@ID
@CONFIG
@DATA
def disable(id_: str, config: Path | None, data: str | None) -> None:
    """Refuse a key, and those it made, until it is enabled again. Gateways see it within a second."""
    _switch(config, data, id_, is_off=True)
    click.echo(f"The key {id_} is disabled.")


@key.command()
@ID
@CONFIG
@DATA
def enable(id_: str, config: Path | None, data: str | None) -> None:
    """Take a disabled key again."""
    _switch(config, data, id_, is_off=False)
    click.echo(f"The key {id_} is enabled.")


@key.command()
@ID
@CONFIG
@DATA
def delete(id_: str, config: Path | None, data: str | None) -> None:
    """Delete a key for good. Keys that it made are dead; its conversations and usage stay."""
    _with_keys(config, data, lambda smith: smith.delete(id_, MASTER))
    click.echo(f"The key {id_} is deleted.")


@click.group()
def team() -> None:
    """Keys that share limits and a budget."""


@team.command("set")
@click.argument("name")
@bounds
@CONFIG
@DATA
def set_team(name: str, config: Path | None, data: str | None, **given: Any) -> None:
    """Make a team, or change it: it has then the limits and the budget given here, and no others."""
    limits, budget = _bounds_of(given)
    _with_keys(config, data, lambda smith: smith.put_team(Team(name=name, limits=limits, budget=budget), MASTER))
    click.echo(f"The team {name!r} is set.")


@team.command("list")
@JSON
@CONFIG
@DATA
def list_teams(as_json: bool, config: Path | None, data: str | None) -> None:  # noqa: FBT001 - click's way
    """List the teams by name, one a line."""
    teams = _with_keys(config, data, lambda smith: smith.teams(MASTER), is_reader=True)
    if as_json:
        click.echo(msgspec.json.encode(teams))
        return
    rows = [(t.name, _words("limits", t.limits), _words("budget", t.budget) if t.budget else "") for t in teams]
    _print_table(("NAME", "LIMITS", "BUDGET"), rows)


@team.command("delete")
@click.argument("name")
@CONFIG
@DATA
def delete_team(name: str, config: Path | None, data: str | None) -> None:
    """Delete a team that has no keys."""
    _with_keys(config, data, lambda smith: smith.drop_team(name, MASTER))
    click.echo(f"The team {name!r} is deleted.")


def _switch(config: Path | None, data: str | None, id_: str, *, is_off: bool) -> None:
    from dragoman.admission.drafts import KeyChange

    _with_keys(config, data, lambda smith: smith.change(id_, KeyChange(disabled=is_off), MASTER))


def _tell(made: Key, secret: Secret, *, as_json: bool, what: str) -> None:
    """Print a key with its secret; but for the secret, everything goes where a pipe does not see it."""
    if as_json:
        click.echo(msgspec.json.encode({"key": _shown(made), "secret": secret.reveal()}))
        return
    if not secret:
        click.echo(f"What holds for {made.principal} is {what}: {made.id}", err=True)
        return
    click.echo(f"The key {made.id} is {what}. This is its secret; it is not shown again:", err=True)
    click.echo(secret.reveal())


def _shown(found: Key) -> "ShownKey":
    from dragoman.admission.drafts import show

    return show(found, "admin", time.time())


def _words(field: str, value: Any) -> str:
    """Say a field's value in a few words."""
    if isinstance(value, Limits):
        return " ".join(f"{name}={limit}" for name, limit in msgspec.structs.asdict(value).items() if limit) or "none"
    if isinstance(value, Budget):
        return f"{write_amount(value.micro)} {value.window}"
    if isinstance(value, float) and field in {"created", "expires", "previous_until"}:
        return dt.datetime.fromtimestamp(value, dt.UTC).isoformat(timespec="seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _bounds_of(given: dict[str, Any]) -> tuple[Limits, Budget | None]:
    """Take the options of `bounds` out of those given. Raises Mistake."""
    limits = Limits(given.pop("rpm"), given.pop("tpm"), given.pop("rpd"), given.pop("parallel"))
    amount, window = given.pop("budget"), given.pop("window")
    if amount is None:
        return limits, None
    try:
        return limits, Budget(read_amount(amount, "budget"), window)
    except Malformed as fault:
        raise Mistake(f"--budget: {fault.message}") from None


def _patterns_of(given: Sequence[str]) -> Any:
    patterns = tuple(part.strip() for text in given for part in text.split(","))
    return patterns or UNSET


def _seconds_of(text: str, option: str) -> int:
    found = _DURATION.fullmatch(text)
    if not found:
        raise Mistake(f"{option}: a length of time is a number with s, m, h or d, such as 12h.")
    return int(found[1]) * UNITS_S[found[2]]


def _time_of(text: str) -> float:
    """Read when a key expires: a time from now, or a date, which is in UTC unless it says otherwise."""
    if _DURATION.fullmatch(text):
        return time.time() + _seconds_of(text, "--expires")
    try:
        day = dt.datetime.fromisoformat(text)
        return (day if day.tzinfo else day.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, OverflowError):
        raise Mistake("--expires: give a date, such as 2030-12-31, or a time from now, such as 30d or 12h.") from None


def _with_keys(
    config: Path | None, data: str | None, act: Callable[["Keysmith"], Awaitable[Found]], *, is_reader: bool = False
) -> Found:
    """Do something with the keys of a configuration, as its operator.

    Raises Misconfigured, also if other processes hash with another key, Mistake, and ClickException if the keys are
    not to be had.
    """
    settings = load(config, {"server.data": data})
    folder = Path(settings.server.data)
    from dragoman.admission.directory import Directory
    from dragoman.admission.hashing import read_hash_key
    from dragoman.admission.keysmith import Keysmith
    from dragoman.store import open_store

    hash_key = read_hash_key(folder, settings.hash_secret())

    async def run() -> Found:
        store = open_store(settings.store_url(), folder, secrets.token_hex(8))
        try:
            directory = Directory(store.keyring, hash_key, time.time)
            if not is_reader:
                await directory.load()
            return await act(Keysmith(store.keyring, directory, hash_key, time.time))
        finally:
            store.close()

    try:
        return asyncio.run(run())
    except CallerFault as fault:
        raise Mistake(_mistake(fault)) from None
    except StoreFailed as fault:
        raise click.ClickException(f"{fault.message} {fault.detail}".strip()) from None


def _mistake(fault: CallerFault) -> str:
    """Say what is wrong, with the option it is wrong in where this command has it."""
    name, bracket, rest = (fault.field or "").partition("[")
    option = _OPTIONS.get(name, f"--{name}")
    is_ours = any(option in parameter.opts for parameter in click.get_current_context().command.params)
    return f"{option}{bracket}{rest}: {fault.message}" if is_ours else fault.message


commands = (key, team)
