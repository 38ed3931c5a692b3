"""Accounts: the `user` commands as an operator runs them, and logins at a running gateway with what they made.

The login is System B's (seed protocols, 4.3), whose token must open every other door too.
"""

import sqlite3
import subprocess
from urllib.parse import urlencode

import pytest
from asking import ask
from program import COMMAND, environment
from terminal import sitting_at

from gateway import Gateway, toml
from openid_provider import CLIENT, USERS, openid_provider

PASSWORD = "correct horse battery"
REFUSED = "获取异常，请重试：could not get token"


def user(folder, *args, given=""):
    """Run `dragoman user …` with `given` as standard input. Returns (exit code, standard output, standard error)."""
    given = given if isinstance(given, bytes) else given.encode()
    done = subprocess.run([*COMMAND, "user", *args], cwd=folder, env=environment(), input=given, capture_output=True)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def names(folder):
    code, out, err = user(folder, "list")
    assert (code, err) == (0, "")
    return out.splitlines()


def digest(folder, name):
    with sqlite3.connect(folder / "dragoman-data" / "dragoman.db") as database:
        return database.execute("SELECT digest FROM accounts WHERE name = ?", (name,)).fetchone()[0]


def is_mistake(result, told):
    code, out, err = result
    return code == 2 and out == "" and told in err and err.count("\n") == 1


# --- the commands


def test_an_account_is_made_listed_changed_and_deleted(tmp_path):
    assert names(tmp_path) == []
    assert user(tmp_path, "add", "bob", given=PASSWORD + "\n")[0] == 0
    assert user(tmp_path, "add", "张三", given=PASSWORD)[0] == 0
    assert sorted(names(tmp_path)) == ["bob", "张三"]
    first = digest(tmp_path, "bob")
    assert first.startswith("$argon2id$")
    assert user(tmp_path, "password", "bob", given="another password\r\nnot read\n")[0] == 0
    assert digest(tmp_path, "bob") != first
    assert user(tmp_path, "delete", "bob")[0] == 0
    assert names(tmp_path) == ["张三"]


def test_nothing_that_is_printed_or_kept_holds_the_password(tmp_path):
    printed = [user(tmp_path, "add", "bob", given=PASSWORD), user(tmp_path, "password", "bob", given=PASSWORD)]
    assert PASSWORD not in repr(printed)
    for file in (tmp_path / "dragoman-data").rglob("*"):
        assert PASSWORD.encode() not in (file.read_bytes() if file.is_file() else b"")


@pytest.mark.parametrize(
    ("args", "given", "told"),
    [
        (["add", "bob"], PASSWORD, "already"),
        (["add", "BOB"], PASSWORD, "already"),
        (["password", "eve"], PASSWORD, "no account"),
        (["delete", "eve"], "", "no account"),
        (["add", "eve"], "", "at least 8"),
        (["add", "eve"], "\n" + PASSWORD, "at least 8"),
        (["add", "eve"], "1234567", "at least 8"),
        (["password", "bob"], "1234567", "at least 8"),
        (["add", "eve"], "x" * 1025, "at most 1024"),
        (["add", "eve"], "x" * 1_000_000, "at most 1024"),
        (["add", "eve"], b"\xff" * 9, "not UTF-8"),
        (["add", ""], PASSWORD, "1 to 200"),
        (["add", "x" * 201], PASSWORD, "1 to 200"),
        (["add", " eve"], PASSWORD, "space"),
        (["add", "a\nb"], PASSWORD, "control"),
        (["add", b"\xff"], PASSWORD, "control"),
        (["add", "oidc:7@login.example"], PASSWORD, "begin"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(one_account, args, given, told):
    before = digest(one_account, "bob")
    assert is_mistake(user(one_account, *args, given=given), told)
    assert names(one_account) == ["bob"]
    assert digest(one_account, "bob") == before


@pytest.fixture(scope="module")
def one_account(tmp_path_factory):
    folder = tmp_path_factory.mktemp("accounts")
    assert user(folder, "add", "bob", given=PASSWORD)[0] == 0
    return folder


def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(tmp_path):
    with sitting_at(["user", "add", "bob"], tmp_path) as terminal:
        terminal.wait_for("Password: ")
        terminal.type(PASSWORD + "\r")
        terminal.wait_for("Repeat for confirmation: ")
        terminal.type("something else\r")
        terminal.wait_for("do not match")
        for prompt in ("Password: ", "Repeat for confirmation: "):
            terminal.wait_for(prompt)
            terminal.type(PASSWORD + "\r")
        assert terminal.exit_code() == 0
        assert PASSWORD not in terminal.shown
    assert names(tmp_path) == ["bob"]


def test_who_presses_ctrl_c_makes_no_account(tmp_path):
    with sitting_at(["user", "add", "bob"], tmp_path) as terminal:
        terminal.wait_for("Password: ")
        terminal.press("c")
        assert terminal.exit_code() == 130
    assert names(tmp_path) == []


def test_a_wrong_configuration_or_database_is_one_line(tmp_path):
    assert is_mistake(user(tmp_path, "list", "--config", "missing.toml"), "missing.toml")
    (tmp_path / "file").write_text("not a folder")
    assert is_mistake(user(tmp_path, "list", "--data", "file"), "file")


def test_the_data_folder_of_the_configuration_is_used(tmp_path):
    (tmp_path / "dragoman.toml").write_text('[server]\ndata = "elsewhere"\n')
    assert user(tmp_path, "add", "bob", given=PASSWORD)[0] == 0
    assert (tmp_path / "elsewhere" / "dragoman.db").exists()
    assert user(tmp_path, "list", "--data", "third")[1] == ""
    assert names(tmp_path) == ["bob"]


# --- logins at a gateway


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    with openid_provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


def configured(**auth):
    server = {"host": "127.0.0.1", "grpc_port": 0, "websocket_port": 0}
    return toml({"server": server, **auth, "log": {"requests": "all"}, "providers": [{"name": "echo", "kind": "echo"}]})


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, provider):
    """A gateway in whose folder bob has an account, with an OpenID provider for everybody else."""
    folder = tmp_path_factory.mktemp("gateway")
    assert user(folder, "add", "bob", "--data", "data", given=PASSWORD)[0] == 0
    oidc = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret": "file:secret"}
    oidc |= {"scope": "openid offline_access", "ca_file": str(provider.ca_file)}
    (folder / "secret").write_text(provider.secret)
    running = Gateway(configured(**{"auth.oidc": oidc}), folder)
    running.folder = folder
    yield running
    running.stop()


def login(gateway, name, password, type_="1", method="GET"):
    fields = {"type": type_, "email": name, "password": password}
    path = "/api/v1/token/getInfo"
    if method == "GET":
        return ask(gateway, f"{path}?{urlencode(fields)}", key=None, timeout=30)
    return ask(gateway, path, fields, key=None, timeout=30)


def token(gateway, *args, **more):
    answer = login(gateway, *args, **more)
    assert answer.status == 200, answer.body
    return answer.json["data"]


def models(gateway, key):
    return ask(gateway, "/v1/models", key=key).status


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("type_", ["1", "2"])
@pytest.mark.parametrize(("name", "password"), [("bob", PASSWORD), ("BOB", PASSWORD), ("alice", USERS["alice"])])
def test_a_login_is_worth_a_token_for_every_door(gateway, name, password, type_, method):
    assert models(gateway, token(gateway, name, password, type_, method)) == 200


def test_a_token_that_was_tampered_with_opens_nothing(gateway):
    head, payload, signature = token(gateway, "bob", PASSWORD).split(".")
    assert models(gateway, f"{head}.{payload}.{signature[::-1]}") == 401
    assert models(gateway, f"eyJhbGciOiJub25lIn0.{payload}.") == 401


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("name", "password"), [("bob", "wrong password"), ("alice", "wrong password"), ("nobody", PASSWORD)]
)
def test_a_refusal_says_nothing_and_echoes_no_password(gateway, name, password, method):
    answer = login(gateway, name, password, method=method)
    assert (answer.status, answer.json["message"]) == (500, REFUSED)
    assert password.encode() not in answer.body
    assert urlencode({"password": password}).encode() not in answer.body


def test_a_login_at_the_issuer_is_renewed(gateway, provider):
    token(gateway, "alice", USERS["alice"])
    provider.forget()
    token(gateway, "alice", USERS["alice"], "2")
    assert provider.grants == ["refresh_token"]


def test_a_password_that_is_changed_holds_at_once(gateway):
    def change(*args, given=""):
        assert user(gateway.folder, *args, "carol", "--data", "data", given=given)[0] == 0

    change("add", given=PASSWORD)
    assert token(gateway, "carol", PASSWORD)
    change("password", given="another password")
    assert login(gateway, "carol", PASSWORD).status == 500
    assert token(gateway, "carol", "another password")
    change("delete")
    assert login(gateway, "carol", "another password").status == 500


def test_owners_are_apart_and_spellings_are_not(gateway):
    opts = {"key": token(gateway, "bob", PASSWORD), "content": "hi", "isFollow": False}
    asked = ask(gateway, "/api/v1/gpt/getInfo", {"mode": "1", "type": "1", "opts": opts}, key=None)
    assert asked.status == 201, asked.body

    def conversations(*who):
        return ask(gateway, "/api/conversations", key=token(gateway, *who)).json["total"]

    assert conversations("bob", PASSWORD) == conversations("BOB", PASSWORD) == 1
    assert conversations("alice", USERS["alice"]) == 0


def test_guessing_is_slowed_down(gateway):
    answers = [login(gateway, "victim", f"guess number {n}") for n in range(11)]
    assert [answer.status for answer in answers] == [500] * 10 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60


def test_no_log_holds_a_password(tmp_path):
    assert user(tmp_path, "add", "bob", "--data", "data", given=PASSWORD)[0] == 0
    gateway = Gateway(configured(), tmp_path)
    try:
        assert token(gateway, "bob", PASSWORD)
        for method in ("GET", "POST"):
            assert login(gateway, "bob", "wrong-password", method=method).status == 500
    finally:
        gateway.stop()
    printed = gateway.output()
    assert "listens" in printed
    for secret in (PASSWORD, "horse", "wrong-password"):
        assert secret not in printed
