"""From the dialects' mounts to tables of who serves what, for each kind of listener. Part of the assembly."""

import importlib
import pkgutil
from collections.abc import Collection, Iterable
from functools import partial
from ipaddress import ip_address
from itertools import groupby

import msgspec

from dragoman import dialects
from dragoman.net.listen import Row, Table
from dragoman.ports import Mount
from dragoman.relay.engine import Engine
from dragoman.settings import Settings
from dragoman.wires.limiting import standard

MESSAGES = ("WS", "GRPC")


def all_mounts(providers: Collection[str]) -> list[Mount]:
    """Collect what the dialects mount here."""
    found: list[Mount] = []
    for module in pkgutil.iter_modules(dialects.__path__):
        mounts: tuple[Mount, ...] = importlib.import_module(f"dragoman.dialects.{module.name}").mounts
        found += [_named(mount, module.name) for mount in mounts]
    found = [mount for mount in found if not mount.needs or mount.needs in providers]
    taken = {(mount.method, mount.path) for mount in found if mount.needs}
    return [mount for mount in found if mount.needs or (mount.method, mount.path) not in taken]


def _named(mount: Mount, dialect: str) -> Mount:
    """Say which dialect a mount is of, and have it write limits as the standard does unless it has a way of its own."""
    return msgspec.structs.replace(mount, dialect=dialect, limiting=mount.limiting or standard)


def parted(mounts: Iterable[Mount], settings: Settings, port: int | None) -> tuple[list[Mount], list[Mount]]:
    """Part the mounts into those of the main listener and those of `port`, the operators' own.

    Without one, what is for operators is served beside the rest, but only where nobody on the way can read it, or
    where the configuration says that it may be public.
    """
    server, mounts = settings.server, list(mounts)
    apart = [mount for mount in mounts if mount.role == "admin" or mount.path == "*" or mount.everywhere]
    is_safe = is_loopback(server.host) or bool(server.tls_cert) or settings.admin.public
    if port is None and is_safe:
        return mounts, []
    return [mount for mount in mounts if mount.role != "admin"], apart


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; a name is not looked up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def http_rows(engine: Engine, mounts: Iterable[Mount], chat: str) -> list[Row]:
    """Make rows for HTTP. Mounts that cross on one path become one row; `chat` ("auto": none) leaves one of them."""
    mounts = [mount for mount in mounts if mount.crossing is None or chat in ("auto", mount.crossing.name)]

    def place(mount: Mount) -> tuple[str, str, bool]:
        return mount.method, mount.path, mount.crossing is not None and chat == "auto"

    rows = []
    for (method, path, crosses), group in groupby(sorted(mounts, key=place), key=place):
        for together in [tuple(group)] if crosses else [(mount,) for mount in group]:
            first = together[-1]
            wrong = partial(engine.wrong_method, first)
            rows.append(Row(method, path, first.when, partial(engine.serve, together), wrong))
    return rows


def http_table(rows: Iterable[Row]) -> Table:
    table = Table()
    for row in rows:
        table.add(row)
    return table


def message_table(engine: Engine, mounts: Iterable[Mount], method: str, *, any_path: bool = True) -> Table:
    """Make the table of a listener for messages. Beside HTTP (`any_path` false) only exact paths are served."""
    table = Table()
    for mount in mounts:
        if mount.method == method and (any_path or not mount.path.endswith("*")):
            entry = partial(engine.serve, (mount,))
            table.add(Row(method, mount.path, mount.when, entry, None, mount.parallel, mount.urgent, mount.channel))
    return table
