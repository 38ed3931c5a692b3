"""From the dialects' mounts to tables of who serves what, for each kind of listener. Part of the assembly."""

import importlib
import pkgutil
from collections.abc import Collection, Iterable
from functools import partial
from itertools import groupby

from dragoman import dialects
from dragoman.net.listen import Row, Table
from dragoman.ports import Mount
from dragoman.relay.engine import Engine

MESSAGES = ("WS", "GRPC")


def all_mounts(providers: Collection[str]) -> list[Mount]:
    """Collect what the dialects mount here."""
    found: list[Mount] = []
    for module in pkgutil.iter_modules(dialects.__path__):
        mounts: tuple[Mount, ...] = importlib.import_module(f"dragoman.dialects.{module.name}").mounts
        found += mounts
    found = [mount for mount in found if not mount.needs or mount.needs in providers]
    taken = {(mount.method, mount.path) for mount in found if mount.needs}
    return [mount for mount in found if mount.needs or (mount.method, mount.path) not in taken]


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
