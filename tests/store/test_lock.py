"""One serving process a folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from dragoman.faults import Misconfigured
from dragoman.store import open_store
from dragoman.store.lock import FolderLock

HOLD = "import sys; from pathlib import Path; from dragoman.store.lock import FolderLock; lock = FolderLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"


def test_the_second_is_refused_and_the_first_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(Misconfigured, match="another Dragoman"):
        open_store("", tmp_path, "two", sole=True)
    # Who only looks in, as `dragoman user` does, is let in.
    open_store("", tmp_path, "three").close()
    process.kill()
    process.wait()
    open_store("", tmp_path, "four", sole=True).close()


def test_it_is_let_go(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.release()
    lock.release()
    FolderLock(tmp_path).release()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="lock cannot be made"):
        FolderLock(tmp_path / "none")
