"""Asking a dialect without a gateway: which of its mounts takes a request, and what it reads into it."""

from collections.abc import Sequence

from dragoman.legs import Head
from dragoman.ports import Mount, Session


def mount_of(mounts: Sequence[Mount], method: str, path: str) -> Mount:
    """Choose as the gateway does: the exact path, else the longest beginning. Raises LookupError."""
    fits = [
        mount
        for mount in mounts
        if mount.method == method
        and (mount.path == path or (mount.path.endswith("*") and path.startswith(mount.path[:-1])))
    ]
    if not fits:
        raise LookupError(f"{method} {path}")
    return max(fits, key=lambda mount: (mount.path == path, len(mount.path)))


def session(mounts: Sequence[Mount], method: str, target: str) -> Session:
    path, _, query = target.partition("?")
    return mount_of(mounts, method, path).session(Head(method, path, query.encode(), []))


def read(mounts: Sequence[Mount], method: str, target: str, body: bytes = b""):
    """Return the look-up that a request is read into. Raises what the dialect raises."""
    return session(mounts, method, target).receive(body)
