import os
import subprocess
import sys

import pytest

from dragoman.faults import Misconfigured
from dragoman.store.slots import claim, orphans

HOLD = """
import sys
from pathlib import Path
from dragoman.store.slots import claim
slot = claim(Path(sys.argv[1]))
print(slot.folder.name, slot.name, flush=True)
sys.stdin.read()
"""


def held_by_another(folder):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    number, name = child.stdout.readline().split()
    return child, number, name


def test_each_living_process_has_a_folder_and_a_name_of_its_own(tmp_path):
    child, number, name = held_by_another(tmp_path)
    try:
        mine = claim(tmp_path)
        assert (number, mine.folder.name) == ("0", "1")
        assert name != mine.name and len(mine.name) == 32
    finally:
        child.stdin.close()
        child.wait()


def test_who_comes_after_a_killed_process_finds_its_folder_under_its_name(tmp_path):
    child, _, name = held_by_another(tmp_path)
    child.kill()
    child.wait()
    again = claim(tmp_path)
    assert (again.folder.name, again.name) == ("0", name)


def test_orphans_are_all_that_nobody_holds(tmp_path):
    slots = [claim(tmp_path) for _ in range(3)]
    slots[1].release()
    slots[1].release()
    (tmp_path / "notes").mkdir()
    found = list(orphans(tmp_path))
    assert [(slot.folder.name, slot.name) for slot in found] == [("1", slots[1].name)]
    assert list(orphans(tmp_path)) == []


def test_folders_are_the_owners_alone(tmp_path):
    slot = claim(tmp_path / "journals")
    modes = [os.stat(path).st_mode & 0o777 for path in (slot.folder.parent, slot.folder, slot.folder / "name")]
    assert modes == [0o700, 0o700, 0o600]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "journals").write_text("")
    with pytest.raises(Misconfigured, match="cannot be kept here"):
        claim(tmp_path / "journals")
