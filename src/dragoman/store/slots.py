"""A folder for the journal of each process that serves from one data folder, found again by whoever starts next.

Numbers are given out anew: a process that was killed leaves its folder to the next one, which loads what is in it.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from dragoman.faults import Misconfigured

MOST = 1000
_NAME = "name"


class Slot:
    """A journal's folder, held until `release` or until the process ends. `name` is nobody else's, anywhere."""

    def __init__(self, folder: Path, name: str, file: int) -> None:
        self.folder = folder
        self.name = name
        self._file = file

    def release(self) -> None:
        """Let go. Safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def claim(folder: Path) -> Slot:
    """Take the first folder that no living process holds. Raises Misconfigured."""
    for number in range(MOST):
        slot = _try(folder / str(number))
        if slot is not None:
            return slot
    raise Misconfigured(f"{folder}: {MOST} processes keep journals here already")


def orphans(folder: Path) -> Iterator[Slot]:
    """Take, one after another, further folders that are there and held by nobody: their processes have ended."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        slot = _try(path) if path.name.isdigit() and path.is_dir() else None
        if slot is not None:
            yield slot


def _try(path: Path) -> Slot | None:
    try:
        # The mode is the last folder's alone.
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.mkdir(exist_ok=True, mode=0o700)
        file = os.open(path / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misconfigured(f"{path}: the journal cannot be kept here: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    name = os.pread(file, 100, 0).decode("ascii", "replace").strip()
    if not name:
        name = secrets.token_hex(16)
        os.pwrite(file, name.encode() + b"\n", 0)
    return Slot(path, name, file)
