"""One serving process a folder: whoever comes second must not take the first one's turns for dead."""

import fcntl
import os
from pathlib import Path

from dragoman.faults import Misconfigured

LOCK_FILE = "dragoman.lock"


class FolderLock:
    """Held from its making until `release`, or until the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Raises Misconfigured when another process holds it."""
        path = folder / LOCK_FILE
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured(f"{path}: the lock cannot be made: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise Misconfigured(
                f"{folder}: another Dragoman serves from this folder; give this one a folder of its own with --data, "
                "or both a PostgreSQL with [store] url"
            ) from None

    def release(self) -> None:
        """Let go. Safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
