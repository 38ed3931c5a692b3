"""Keys and teams: the `key` and `team` commands as an operator runs them."""

import http.client
import json
import re
import sqlite3
import subprocess
import time

import pytest
from program import COMMAND, environment, running

SECRET = re.compile(r"dgk_[\w-]{43}\n", re.ASCII)


def run(folder, *args, **env):
    """Run `dragoman …`. Returns (exit code, standard output, standard error)."""
    done = subprocess.run(
        [*COMMAND, *args], cwd=folder, env=environment(**env), stdin=subprocess.DEVNULL, capture_output=True
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def made(folder, *args):
    """Make a key; return what is shown of it, and its secret."""
    code, out, err = run(folder, "key", "create", "--json", *args)
    assert (code, err) == (0, "")
    told = json.loads(out)
    return told["key"], told["secret"]


def listed(folder, *args):
    code, out, err = run(folder, "key", "list", "--json", *args)
    assert (code, err) == (0, "")
    return json.loads(out)


def shown(folder, id_):
    code, out, err = run(folder, "key", "show", id_, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def kept(folder):
    """Everything in the folder's files but the secrets that must be there."""
    files = (folder / "dragoman-data").rglob("*")
    return b"".join(file.read_bytes() for file in files if file.is_file() and file.suffix != ".key")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one key, which tests of mistakes share."""
    path = tmp_path_factory.mktemp("keys")
    made(path, "--name", "first")
    return path


def test_item_1_the_secret_is_printed_once_on_a_line_of_its_own(tmp_path):
    code, out, err = run(tmp_path, "key", "create", "--name", "ci", "--owner", "zoë")
    assert code == 0
    assert SECRET.fullmatch(out)
    secret = out.strip()
    assert secret not in err
    assert secret[8:-4].encode() not in kept(tmp_path)
    code, out, _ = run(tmp_path, "key", "list")
    assert (code, secret[8:-4] in out) == (0, False)
    assert f"{secret[:8]}…{secret[-4:]}" in out
    assert (tmp_path / "dragoman-data" / "hash.key").stat().st_mode & 0o777 == 0o600


def test_every_option_of_a_key(tmp_path):
    assert run(tmp_path, "team", "set", "red", "--rpm", "5", "--budget", "100", "--window", "month")[0] == 0
    before = time.time()
    key, _ = made(
        tmp_path,
        *("--name", "ci", "--owner", "zoë", "--team", "red", "--tag", "a", "--tag", "b", "--expires", "30d"),
        *("--models", "gpt-*,claude", "--models", "o3", "--dialects", "openai", "--role", "admin"),
        *("--rpm", "1", "--tpm", "2", "--rpd", "3", "--parallel", "4", "--budget", "12.50", "--window", "day"),
        *("--content", "--priority", "7"),
    )
    assert key["expires"] == pytest.approx(before + 30 * 86_400, abs=60)
    assert (key["name"], key["owner"], key["team"], key["tags"], key["role"]) == (
        "ci",
        "zoë",
        "red",
        ["a", "b"],
        "admin",
    )
    assert (key["models"], key["dialects"]) == (["gpt-*", "claude", "o3"], ["openai"])
    limits = {"requests_per_minute": 1, "tokens_per_minute": 2, "requests_per_day": 3, "parallel": 4}
    assert (key["limits"], key["budget"]) == (limits, {"micro": 12_500_000, "window": "day"})
    assert (key["keeps_content"], key["priority"], key["state"]) == (True, 7, "active")
    assert shown(tmp_path, key["id"]) == key
    code, out, _ = run(tmp_path, "key", "show", key["id"])
    assert code == 0
    for words in ("budget: 12.50 day", "parallel=4", "models: gpt-*, claude, o3", "keeps_content: yes"):
        assert words in out


def test_a_date_is_one_in_utc(tmp_path):
    for text, expires in (("2040-01-01", 2_208_988_800), ("2040-01-01T01:00+01:00", 2_208_988_800)):
        assert made(tmp_path, "--expires", text)[0]["expires"] == expires


def test_a_key_is_disabled_enabled_rotated_and_deleted(tmp_path):
    key, first = made(tmp_path)
    id_ = key["id"]
    assert run(tmp_path, "key", "disable", id_)[0] == 0
    assert shown(tmp_path, id_)["state"] == "disabled"
    assert run(tmp_path, "key", "enable", id_)[0] == 0
    assert shown(tmp_path, id_)["state"] == "active"
    code, out, _ = run(tmp_path, "key", "rotate", id_, "--overlap", "24h")
    assert code == 0
    assert SECRET.fullmatch(out)
    assert out.strip() != first
    after = shown(tmp_path, id_)
    assert after["previous_until"] == pytest.approx(time.time() + 86_400, abs=60)
    assert after["secret"].endswith(out.strip()[-4:])
    assert run(tmp_path, "key", "delete", id_)[0] == 0
    assert listed(tmp_path) == []


def test_keys_of_a_team_are_listed(tmp_path):
    assert run(tmp_path, "key", "list") == (0, "", "")
    run(tmp_path, "team", "set", "red")
    mine, _ = made(tmp_path, "--team", "red")
    other, _ = made(tmp_path)
    assert {key["id"] for key in listed(tmp_path)} == {mine["id"], other["id"]}
    assert [key["id"] for key in listed(tmp_path, "--team", "red")] == [mine["id"]]


def test_what_holds_for_an_account_has_no_secret(tmp_path):
    key, secret = made(tmp_path, "--for", "user:ann", "--rpm", "5")
    assert (secret, key["principal"]) == ("", "user:ann")
    code, out, err = run(tmp_path, "key", "create", "--for", "user:ann")
    assert (code, out) == (2, "")
    assert "--for: There is a row" in err
    assert run(tmp_path, "key", "rotate", key["id"])[0] == 2


def test_a_team_is_set_listed_and_deleted(tmp_path):
    assert run(tmp_path, "team", "list") == (0, "", "")
    assert run(tmp_path, "team", "set", "Über uns", "--parallel", "3", "--budget", "0.000001")[0] == 0
    assert "parallel=3" in run(tmp_path, "team", "list")[1]
    told = json.loads(run(tmp_path, "team", "list", "--json")[1])
    assert told == [{"name": "Über uns", "limits": {"parallel": 3}, "budget": {"micro": 1, "window": "total"}}]
    key, _ = made(tmp_path, "--team", "Über uns")
    code, _, err = run(tmp_path, "team", "delete", "Über uns")
    assert (code, "has keys" in err) == (2, True)
    run(tmp_path, "key", "delete", key["id"])
    assert run(tmp_path, "team", "delete", "Über uns")[0] == 0
    assert run(tmp_path, "team", "list") == (0, "", "")


MISTAKES = [
    (["key", "create", "--budget", "-1"], "--budget"),
    (["key", "create", "--budget", "nan"], "--budget"),
    (["key", "create", "--budget", "1e9"], "--budget"),
    (["key", "create", "--budget", "99999999999"], "--budget"),
    (["key", "create", "--budget", "0.0000001"], "--budget"),
    (["key", "create", "--expires", "yesterday"], "--expires"),
    (["key", "create", "--expires", "2001-01-01"], "--expires"),
    (["key", "create", "--expires", "0s"], "--expires"),
    (["key", "create", "--expires", "999999999d"], "--expires"),
    (["key", "create", "--rpm", "0"], "--rpm"),
    (["key", "create", "--tpm", "-5"], "--tpm"),
    (["key", "create", "--rpd", "9" * 40], "--rpd"),
    (["key", "create", "--parallel", "1.5"], "--parallel"),
    (["key", "create", "--priority", "5000"], "--priority"),
    (["key", "create", "--tag", "a,b"], "--tag"),
    (["key", "create", "--name", "x" * 201], "--name"),
    (["key", "create", "--name", b"\xff"], "--name"),
    (["key", "create", "--models", "a,,b"], "--models"),
    (["key", "create", "--team", "nobody's"], "--team"),
    (["key", "create", "--for", "ann"], "--for"),
    (["key", "show", "nobody"], "no key"),
    (["key", "show", ""], "no key"),
    (["key", "disable", "'; DROP TABLE keys; --"], "no key"),
    (["key", "delete", "nobody"], "no key"),
    (["key", "rotate", "nobody"], "no key"),
    (["key", "rotate", "nobody", "--overlap", "31d"], "--overlap"),
    (["key", "rotate", "nobody", "--overlap", "soon"], "--overlap"),
    (["team", "set", "a,b"], "no comma"),
    (["team", "set", "a", "--rpm", "0"], "--rpm"),
    (["team", "delete", "nobody"], "no such team"),
]


@pytest.mark.parametrize(("args", "told"), MISTAKES)
def test_a_mistake_is_told_and_changes_nothing(folder, args, told):
    before = listed(folder)
    code, out, err = run(folder, *args)
    assert (code, out) == (2, "")
    assert told in err
    assert "Traceback" not in err
    assert listed(folder) == before
    assert run(folder, "team", "list") == (0, "", "")


def test_another_hash_key_than_that_of_the_stored_keys_is_refused(tmp_path):
    made(tmp_path)
    (tmp_path / "dragoman.toml").write_text('[auth]\nhash_key = "env:KEY_OF_KEYS"\n')
    code, out, err = run(tmp_path, "key", "create", KEY_OF_KEYS="x" * 40)
    assert (code, out) == (2, "")
    assert "hash_key" in err
    text = (tmp_path / "dragoman-data" / "hash.key").read_text().strip()
    assert run(tmp_path, "key", "create", KEY_OF_KEYS=text)[0] == 0


def test_a_database_that_cannot_be_used_is_told(tmp_path):
    made(tmp_path)
    with sqlite3.connect(tmp_path / "dragoman-data" / "dragoman.db") as database:
        database.execute("DROP TABLE keys")
    code, out, err = run(tmp_path, "key", "list")
    assert (code, out, "Traceback" in err) == (1, "", False)
    assert "no such table" in err


# --- beside a running gateway

CONFIGURATION = """
[server]
port = 0
grpc_port = 0
websocket_port = 0
[[providers]]
name = "parrots"
kind = "echo"
"""


def status(port, secret):
    """Ask for the models with a key. Returns the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {secret}"})
    found = connection.getresponse().status
    connection.close()
    return found


def wait_for_status(port, secret, wanted, most_s=10.0):
    """Ask until the answer is as wanted. Returns after how many seconds."""
    begun = time.monotonic()
    while status(port, secret) != wanted:
        assert time.monotonic() - begun < most_s
    return time.monotonic() - begun


def test_item_6_a_running_gateway_sees_a_new_and_a_revoked_key_within_a_second(tmp_path):
    (tmp_path / "dragoman.toml").write_text(CONFIGURATION)
    with running(["serve"], tmp_path) as program:
        key, secret = made(tmp_path)
        assert wait_for_status(program.port, secret, 200) < 1
        assert run(tmp_path, "key", "disable", key["id"])[0] == 0
        assert wait_for_status(program.port, secret, 401) < 1
        assert run(tmp_path, "key", "enable", key["id"])[0] == 0
        assert wait_for_status(program.port, secret, 200) < 1
