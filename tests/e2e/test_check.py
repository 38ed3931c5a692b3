"""`dragoman check` names the file, the line or key, and what is wrong; `serve` does not start on it either."""

import pytest
from program import run

GOOD = """
[server]
port = 0
[[providers]]
name = "parrots"
kind = "echo"
[[models]]
name = "parrot"
targets = [{ provider = "parrots", model = "echo" }]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dragoman.toml").write_text(GOOD)
    return tmp_path


def complaint(folder, env=None, args=("check",)):
    code, out, err = run(args, folder, env)
    assert code == 2, (out, err)
    assert "Traceback" not in out + err
    return out + err


def test_good_configuration(folder):
    code, _, err = run(["check"], folder)
    assert code == 0, err


def test_good_configuration_elsewhere(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    code, _, err = run(["check", "--config", str(folder / "dragoman.toml")], other)
    assert code == 0, err


def test_no_configuration_is_good(tmp_path):
    code, _, err = run(["check"], tmp_path)
    assert code == 0, err


def provider(name="upstream", **more):
    keys = {"kind": '"openai"', "base_url": '"http://127.0.0.1:9/v1"', **more}
    return f'\n[[providers]]\nname = "{name}"\n' + "".join(f"{key} = {value}\n" for key, value in keys.items())


BAD = {
    "unknown-key": (GOOD.replace("port = 0", "prot = 8000"), ["line 3", "prot", "port"]),
    "unknown-section": (GOOD.replace("[server]", "[sever]"), ["sever", "server"]),
    "unknown-provider-key": (GOOD + provider(base_ulr='"x"'), ["base_ulr", "base_url"]),
    "unknown-model-key": (
        GOOD + 'fallback = [{ provider = "parrots", model = "echo" }]',
        ["fallback", "fallbacks"],
    ),
    "unknown-target-key": (GOOD.replace('"echo" }', '"echo", wieght = 2 }'), ["wieght", "weight"]),
    "wrong-type": (GOOD.replace("port = 0", 'port = "eight"'), ["line 3", "server.port", "int"]),
    "bad-port": (GOOD.replace("port = 0", "port = 70000"), ["line 3", "server.port", "65535"]),
    "negative": (GOOD.replace("port = 0", "grace_s = -1"), ["line 3", "server.grace_s"]),
    "log-choice": (GOOD + '\n[log]\nrequests = "some"\n', ["log.requests", "some"]),
    "not-a-table": ('server = "here"\n', ["line 1", "server"]),
    "not-a-list": ('[providers]\nname = "x"\n', ["line 1", "providers"]),
    "bad-toml": (GOOD + "\n[server\n", ["TOML", "line 11"]),
    "unknown-kind": (GOOD.replace('kind = "echo"', 'kind = "eco"'), ["eco", "echo"]),
    "unknown-provider": (
        GOOD.replace('provider = "parrots"', 'provider = "parots"'),
        ["parrot", "parots", "parrots"],
    ),
    "two-of-a-name": (GOOD + provider("parrots"), ["parrots"]),
    "two-models-of-a-name": (
        GOOD + '[[models]]\nname = "parrot"\ntargets = [{ provider = "parrots", model = "echo" }]\n',
        ["parrot"],
    ),
    "no-targets": (GOOD.replace('[{ provider = "parrots", model = "echo" }]', "[]"), ["targets"]),
    "no-base-url-scheme": (
        GOOD + provider(base_url='"api.openai.test/v1"'),
        ["line 11", "upstream", "api.openai.test"],
    ),
    "missing-secret": (GOOD + provider(credentials='["env:NOT_THERE"]'), ["upstream", "NOT_THERE"]),
    "missing-key-secret": (GOOD + '\n[auth]\nkeys = ["env:NOT_THERE"]\n', ["keys", "NOT_THERE"]),
    "missing-secret-file": (GOOD + provider(credentials='["file:not-there"]'), ["upstream", "not-there"]),
    "empty-secret": (GOOD + '\n[auth]\nkeys = ["  "]\n', ["keys", "empty"]),
    "default-model": (
        GOOD.replace("port = 0", 'default_model = "parot"'),
        ["default_model", "parot", "parrot"],
    ),
    "missing-ca-file": (
        GOOD + provider(base_url='"https://127.0.0.1:9/v1"', ca_file='"not-there.pem"'),
        ["ca_file", "not-there.pem"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), BAD.values(), ids=BAD.keys())
def test_bad_configuration(folder, text, expected):
    (folder / "dragoman.toml").write_text(text)
    said = complaint(folder)
    assert "dragoman.toml" in said, said
    for word in expected:
        assert word in said, (word, said)


def test_file_that_is_not_there(folder):
    assert "missing.toml" in complaint(folder, args=("check", "--config", "missing.toml"))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DRAGOMAN_SERVER__PROT", "1", ["DRAGOMAN_SERVER__PROT", "port"]),
        ("DRAGOMAN_SERVR__PORT", "1", ["DRAGOMAN_SERVR__PORT", "server"]),
        ("DRAGOMAN_SERVER__PORT", "eight", ["DRAGOMAN_SERVER__PORT", "server.port"]),
        ("DRAGOMAN_SERVER__PORT", "-5", ["DRAGOMAN_SERVER__PORT", "server.port"]),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_bad_variable(folder, name, value, expected, place):
    if place == ".env":
        (folder / ".env").write_text(f"{name}={value}\n")
    said = complaint(folder, {name: value} if place == "environment" else None)
    for word in [*expected, place]:
        assert word in said, (word, said)


@pytest.mark.parametrize("command", [("serve",), ("models",), ("chat",)])
def test_other_commands_complain_in_the_same_words(folder, command):
    (folder / "dragoman.toml").write_text(BAD["unknown-key"][0])
    said = complaint(folder, args=command)
    assert "prot" in said
    assert "line 3" in said
    assert not (folder / "dragoman-data").exists()


def test_secrets_are_not_quoted(folder):
    """A complaint about the table around a secret must not print the secret."""
    text = GOOD + provider(credentials='["sk-canary-1", { value = "sk-canary-2", wieght = 2 }]')
    (folder / "dragoman.toml").write_text(text)
    said = complaint(folder)
    assert "wieght" in said
    assert "sk-canary" not in said
    (folder / "dragoman.toml").write_text(GOOD + '\n[auth]\nkeys = "sk-canary-3"\n')
    assert "sk-canary" not in complaint(folder)


def test_good_check_prints_no_secret(folder):
    text = GOOD + provider(credentials='["sk-canary-1", "env:CANARY"]', proxy='"http://user:canary-pw@127.0.0.1:9"')
    (folder / "dragoman.toml").write_text(text)
    code, out, err = run(["check"], folder, {"CANARY": "sk-canary-2"})
    assert code == 0, err
    assert "canary-" not in out + err


@pytest.mark.parametrize(
    ("line", "said"), [('budget = "-5"', "money.budget"), ('zone = "Mars"', "no time zone 'Mars'")]
)
def test_money_that_cannot_be_counted_is_found_by_check(tmp_path, line, said):
    (tmp_path / "dragoman.toml").write_text(f"[money]\n{line}\n")
    code, _, err = run(["check"], tmp_path)
    assert code == 2
    assert said in err
    assert "dragoman.toml, line 2" in err
