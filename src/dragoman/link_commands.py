"""`dragoman link`: a fresh link to the page, for a gateway that runs or will."""

from pathlib import Path

import click

from dragoman.settings import load
from dragoman.user_commands import CONFIG, DATA, Mistake


@click.command()
@CONFIG
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the gateway, if it was started with another.")
@DATA
def link(config: Path | None, port: int | None, data: str | None) -> None:
    """Print a link to the page that logs in once, within a day, with all rights of the master key."""
    settings = load(config, {"server.port": port, "server.data": data})
    from dragoman.admission.hashing import HASH_KEY_FILE, read_hash_key
    from dragoman.building import login_link, passes_of
    from dragoman.serving import page_url

    folder, given = Path(settings.server.data), settings.hash_secret()
    if given is None and not (folder / HASH_KEY_FILE).exists():
        raise Mistake(f"{folder}: no gateway has served from here yet; give its --config or --data.")
    if not settings.server.port:
        raise Mistake("The gateway chooses its port as it starts: say with --port which one it is.")
    click.echo(login_link(page_url(settings.server), passes_of(read_hash_key(folder, given))))


commands = (link,)
