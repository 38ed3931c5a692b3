from pathlib import Path

import pytest

from dragoman.faults import Misconfigured
from dragoman.reference import write
from dragoman.settings import Settings, load

DOCS = Path(__file__).parent.parent / "docs"


def loaded(tmp_path: Path, toml: str = "", env: str = "", environment: dict[str, str] | None = None, **flags: object):
    if toml:
        (tmp_path / "dragoman.toml").write_text(toml)
    if env:
        (tmp_path / ".env").write_text(env)
    named = {key.replace("__", "."): value for key, value in flags.items()}
    return load(None, named, environment or {}, tmp_path)


def test_later_wins(tmp_path: Path) -> None:
    assert loaded(tmp_path).server.port == 8000
    toml = "[server]\nport = 1\n"
    assert loaded(tmp_path, toml).server.port == 1
    assert loaded(tmp_path, toml, "DRAGOMAN_SERVER__PORT=2").server.port == 2
    environment = {"DRAGOMAN_SERVER__PORT": "3"}
    assert loaded(tmp_path, toml, "DRAGOMAN_SERVER__PORT=2", environment).server.port == 3
    found = loaded(tmp_path, toml, "DRAGOMAN_SERVER__PORT=2", environment, server__port=4)
    assert found.server.port == 4
    assert found.origin_of("server.port") == "flag --port"
    assert found.origin_of("server.host") == "default"


def test_lists_in_the_environment(tmp_path: Path) -> None:
    given = {"DRAGOMAN_PROVIDERS": '[{ name = "e", kind = "echo" }]', "DRAGOMAN_AUTH__KEYS": '["a", "b"]'}
    found = loaded(tmp_path, environment=given)
    assert [p.kind for p in found.providers] == ["echo"]
    assert found.auth.keys == ["a", "b"]


def test_the_vendors_variables_are_enough(tmp_path: Path) -> None:
    given = {
        "OPENAI_API_KEY": "sk-one",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://u:p@proxy:3128",
    }
    openai, anthropic = loaded(tmp_path, environment=given).providers
    assert (openai.kind, openai.options["base_url"], openai.options["proxy"]) == (
        "openai",
        "https://api.openai.com/v1",
        "http://u:p@proxy:3128",
    )
    assert (anthropic.kind, anthropic.options) == ("anthropic", {"base_url": "http://127.0.0.1:9"})
    assert loaded(tmp_path, environment=given).credentials(openai)[0].secret.reveal() == "sk-one"


def test_with_nothing_at_all_the_embedded_model(tmp_path: Path) -> None:
    assert [p.kind for p in loaded(tmp_path).providers] == ["local"]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[server]\nprot = 1\n", ["line 2", "'prot'", "did you mean 'port'"]),
        ("[sever]\nport = 1\n", ["line 1", "'sever'", "did you mean 'server'"]),
        ("[server]\nport = 'x'\n", ["line 2", "server.port", "`int`"]),
        ("[server]\nport = 70000\n", ["line 2", "server.port", "65535"]),
        ("[server\n", ["TOML", "line 1"]),
        ('[[providers]]\nname = "a"\n', ["providers[0]", "kind"]),
        (
            '[[providers]]\nname = "a"\nkind = "echo"\n[[providers]]\nname = "a"\nkind = "echo"\n',
            ["two providers", "'a'"],
        ),
        ('[[models]]\nname = "a"\ntargets = []\n', ["models[0].targets", "line 3"]),
        ('[[models]]\nname = "a"\ntargets = [{ provider = 1, model = "x" }]\n', ["line 3", "targets"]),
        ('providers = "x"\n', ["list of tables"]),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, toml: str, said: list[str]) -> None:
    with pytest.raises(Misconfigured) as caught:
        loaded(tmp_path, toml)
    for part in said:
        assert part in str(caught.value)
    assert "dragoman.toml" in str(caught.value)


def test_unknown_variables(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="DRAGOMAN_SERVER__PROT.*did you mean 'port'"):
        loaded(tmp_path, environment={"DRAGOMAN_SERVER__PROT": "1"})
    with pytest.raises(Misconfigured, match="SEVER__PORT.*did you mean 'server'"):
        loaded(tmp_path, environment={"DRAGOMAN_SEVER__PORT": "1"})
    loaded(tmp_path, environment={"DRAGOMAN_KEY": "a secret of somebody's own"})


def test_secrets(tmp_path: Path) -> None:
    settings = Settings(environment={"THERE": "value", "EMPTY": ""})
    (tmp_path / "key").write_text("from-file\n")
    assert settings.secret("env:THERE", "x").reveal() == "value"
    assert settings.secret(f"file:{tmp_path}/key", "x").reveal() == "from-file"
    assert settings.secret("plain", "x").reveal() == "plain"
    for bad in ("env:MISSING", "env:EMPTY", f"file:{tmp_path}/none", "", " "):
        with pytest.raises(Misconfigured, match="here"):
            settings.secret(bad, "here")


def test_the_reference_is_fresh() -> None:
    assert (DOCS / "configuration.md").read_text() == write(), "run `make docs`"
