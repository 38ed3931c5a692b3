"""Opening a store: what it costs, and what it says when it cannot be."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from keeping import only_postgresql, turn

from dragoman.faults import Misconfigured
from dragoman.store import open_store


async def test_two_processes_share_a_database(start) -> None:
    place = await turn(start("one"))
    assert (await start("two").thread("ann", place.thread.id)).id == place.thread.id


@pytest.mark.parametrize("host", ["127.0.0.1:1", "nowhere.invalid", "/var/empty"])
def test_a_server_that_is_not_there(tmp_path, host) -> None:
    place = f"/db?host={host}" if host.startswith("/") else f"{host}/db"
    with pytest.raises(Misconfigured) as raised:
        open_store(f"postgresql://u:sesame@{place}", tmp_path, "one")
    message = str(raised.value)
    assert message.startswith("[store] url: the database cannot be used: OperationalError: ")
    assert "sesame" not in message
    assert "\n" not in message


@pytest.mark.parametrize("query", ["sslmod=require", "password=sesame&connect_timeout=soon"])
def test_a_setting_that_the_driver_does_not_know(tmp_path, query) -> None:
    with pytest.raises(Misconfigured) as raised:
        open_store(f"postgresql://u:sesame@127.0.0.1:1/db?{query}", tmp_path, "one")
    assert "sesame" not in str(raised.value)


@only_postgresql
def test_a_database_that_is_not_there(database) -> None:
    with pytest.raises(Misconfigured, match="nothere"):
        open_store(database.url.replace("/postgres?", "/nothere?"), database.folder, "one")


def test_a_folder_that_is_not_there(tmp_path) -> None:
    with pytest.raises(Misconfigured, match=r"nothere/dragoman\.db: .*No such file"):
        open_store("", tmp_path / "nothere", "one")


def test_a_file_that_is_no_database(tmp_path) -> None:
    file = tmp_path / "dragoman.db"
    file.write_text("Dear diary, " * 100)
    with pytest.raises(Misconfigured, match=r"dragoman\.db: .*not a database"):
        open_store("", tmp_path, "one")
    assert file.read_text().startswith("Dear diary")


OPENING = """
import sys
from pathlib import Path
from dragoman.store import open_store

open_store(sys.argv[1], Path(sys.argv[2]), "one").close()
print(*(name for name in ("alembic", "psycopg", "sqlalchemy.orm", "sqlalchemy.ext.asyncio") if name in sys.modules))
"""


def loaded(database):
    """Open a database in a process of its own, and return what that loaded of what costs memory."""
    command = [sys.executable, "-c", OPENING, database.url, str(database.folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.fixture
def nobody():
    """Be a user who may not write everywhere: root may."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


@pytest.fixture
def read_only(tmp_path):
    """A folder that everybody may read and nobody may write, with a database in it."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "empty").mkdir(0o555)
        open_store("", folder, "one").close()
        (folder / "dragoman.db").chmod(0o444)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


def test_a_database_that_may_not_be_written(read_only, nobody) -> None:
    with pytest.raises(Misconfigured, match=r"dragoman\.db: .*readonly"):
        open_store("", read_only, "one")


def test_a_folder_that_may_not_be_written(read_only, nobody) -> None:
    with pytest.raises(Misconfigured, match=r"dragoman\.db: .*Permission denied"):
        open_store("", read_only / "empty", "one")


def test_what_is_not_needed_is_not_loaded(database) -> None:
    driver = ["psycopg"] if database.kind == "postgresql" else []
    assert loaded(database) == driver
    assert loaded(database) == driver
