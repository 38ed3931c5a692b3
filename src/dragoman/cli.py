"""The command line."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from dragoman import __version__, key_commands, link_commands, usage_commands, user_commands
from dragoman.faults import Misconfigured
from dragoman.settings import Settings, load
from dragoman.user_commands import CONFIG, DATA


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dragoman")
def cli() -> None:
    """Dragoman: a gateway between any chat client and any large language model."""


@cli.command()
@CONFIG
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of every HTTP dialect.")
@DATA
def serve(config: Path | None, host: str | None, port: int | None, data: str | None) -> None:
    """Run the gateway until Ctrl-C or SIGTERM."""
    settings = _load(config, {"server.host": host, "server.port": port, "server.data": data})
    from dragoman.serving import run

    sys.exit(run(settings))


@cli.command()
@CONFIG
def check(config: Path | None) -> None:
    """Validate the configuration; exit 2 and say where it is wrong."""
    settings = _load(config, {})
    from dragoman.accounting import deployment_of, prices_of, zone_of
    from dragoman.building import build_provider, routes_of, tls_context
    from dragoman.wires.oidc import build_issuer

    for number, row in enumerate(settings.providers):
        build_provider(settings, row, number)
        settings.credentials(row)
    routes_of(settings)
    for number, key in enumerate(settings.auth.keys):
        settings.secret(key, f"{settings.origin_of('auth.keys')}: auth.keys[{number}]")
    for leaf in ("secret_key", "authorization_key"):
        settings.compat_secret(leaf)
    if settings.auth.oidc:
        build_issuer(settings.auth.oidc, settings.oidc_secret())
    tls_context(settings.server)
    settings.hash_secret()
    zone_of(settings)
    deployment_of(settings)
    prices_of(settings)
    names = ", ".join(f"{row.name} ({row.kind})" for row in settings.providers)
    click.echo(f"The configuration is good. Providers: {names}.")


@cli.command()
@CONFIG
@DATA
def models(config: Path | None, data: str | None) -> None:
    """List the public models and what stands behind them."""
    settings = _load(config, {"server.data": data})
    from dragoman.serving import list_models

    for line in list_models(settings):
        click.echo(line)


@cli.command()
@click.argument("model", required=False)
@CONFIG
@DATA
@click.option("--url", help="A gateway that is running, instead of one of our own.")
@click.option("--key", envvar="DRAGOMAN_KEY", help="The key for --url.")
def chat(model: str | None, config: Path | None, data: str | None, url: str | None, key: str | None) -> None:
    """Chat in the terminal: Ctrl-C cancels an answer, Ctrl-D leaves."""
    settings = _load(config, {"server.data": data})
    from dragoman.terminal import run

    sys.exit(run(settings, model, url, key))


@cli.command(hidden=True)
@CONFIG
def extras(config: Path | None) -> None:
    """Print what must be installed for this configuration beyond the core."""
    settings = _load(config, {})
    if any(row.kind == "local" for row in settings.providers):
        click.echo("local")


for module in (user_commands, key_commands, usage_commands, link_commands):
    for command in module.commands:
        cli.add_command(command)


def _load(config: Path | None, flags: dict[str, Any]) -> Settings:
    return load(config, flags)


def main() -> None:
    """Run a command. A mistake in the configuration is one line and exit code 2."""
    try:
        cli(standalone_mode=False)
    except Misconfigured as error:
        click.echo(f"dragoman: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
