"""`dragoman user …`: local accounts on the command line."""

import asyncio
import contextlib
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import click

from dragoman.faults import StoreFailed
from dragoman.people import Secret
from dragoman.settings import load
from dragoman.threads import Accounts

Found = TypeVar("Found")
CONFIG = click.option("--config", type=click.Path(path_type=Path), help="Configuration file.")
DATA = click.option("--data", help="Folder for the master key and other state.")
# What is read of standard input at most; a password is much shorter.
LINE_BYTES = 64 * 1024


class Mistake(click.ClickException):
    """What the operator can put right: one line, and exit code 2."""

    exit_code = 2


@click.group()
def user() -> None:
    """Accounts that may log in with a name and a password."""


@user.command()
@click.argument("name")
@CONFIG
@DATA
def add(name: str, config: Path | None, data: str | None) -> None:
    """Make an account. The password is asked for, or is the first line of standard input."""
    name, digest = _name(name), _digest()

    async def make(accounts: Accounts) -> None:
        if await accounts.account(name) is not None:
            raise Mistake(f"There is an account {name!r} already; `dragoman user password` changes its password.")
        await accounts.put_account(name, digest)

    _with_accounts(config, data, make)
    click.echo(f"The account {name!r} is made.")


@user.command("list")
@CONFIG
@DATA
def list_(config: Path | None, data: str | None) -> None:
    """List the accounts, one name a line."""

    async def read(accounts: Accounts) -> list[str]:
        return await accounts.accounts()

    for name in _with_accounts(config, data, read):
        click.echo(name)


@user.command()
@click.argument("name")
@CONFIG
@DATA
def delete(name: str, config: Path | None, data: str | None) -> None:
    """Delete an account. Its conversations stay, and its tokens hold until they expire."""

    async def drop(accounts: Accounts) -> None:
        if not await accounts.drop_account(name):
            raise Mistake(f"There is no account {name!r}.")

    _with_accounts(config, data, drop)
    click.echo(f"The account {name!r} is deleted. Tokens that it has hold until they expire, 14 days at most.")


@user.command()
@click.argument("name")
@CONFIG
@DATA
def password(name: str, config: Path | None, data: str | None) -> None:
    """Change an account's password; it is given as for `add`."""
    name, digest = _name(name), _digest()

    async def change(accounts: Accounts) -> None:
        if await accounts.account(name) is None:
            raise Mistake(f"There is no account {name!r}; `dragoman user add` makes one.")
        await accounts.put_account(name, digest)

    _with_accounts(config, data, change)
    click.echo(f"The password of {name!r} is changed.")


def _name(name: str) -> str:
    from dragoman.admission.passwords import checked_name

    with _mistakes():
        return checked_name(name)


def _digest() -> str:
    """Ask for a new password. Raises Mistake."""
    from dragoman.admission.passwords import Passwords, checked_password

    with _mistakes():
        return Passwords().digest(checked_password(_given().reveal()))


def _given() -> Secret:
    if sys.stdin.isatty():
        return Secret(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    line = sys.stdin.buffer.readline(LINE_BYTES)
    return Secret(line.decode("utf-8").rstrip("\r\n"))


@contextlib.contextmanager
def _mistakes() -> Iterator[None]:
    try:
        yield
    except UnicodeError:
        raise Mistake("This is not UTF-8 text.") from None
    except ValueError as error:
        raise Mistake(str(error)) from None


def _with_accounts(config: Path | None, data: str | None, act: Callable[[Accounts], Awaitable[Found]]) -> Found:
    """Do something with the accounts of a configuration. Raises Misconfigured, and ClickException if they are not
    to be had.
    """
    settings = load(config, {"server.data": data})
    folder = Path(settings.server.data)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Mistake(f"{folder}: the accounts cannot be kept here: {error.strerror}") from None
    from dragoman.store import open_store

    async def run() -> Found:
        store = open_store(settings.store_url(), folder, secrets.token_hex(8))
        try:
            return await act(store)
        finally:
            store.close()

    try:
        return asyncio.run(run())
    except StoreFailed as fault:
        raise click.ClickException(f"{fault.message} {fault.detail}".strip()) from None


commands = (user,)
