"""The environment names of the four originals. The table in docs/legacy.md is checked against the code."""

from pathlib import Path

import pytest

from dragoman import originals
from dragoman.faults import Misconfigured
from dragoman.settings import load

DOCS = Path(__file__).parent.parent / "docs" / "legacy.md"


def load_with(tmp_path: Path, **variables: str):
    return load(environment=variables, folder=tmp_path)


def test_names_set_keys(tmp_path: Path) -> None:
    found = load_with(
        tmp_path, SECRET_KEY="s", AUTHORIZATION_KEY="a", SERVER_PORT="3666", UNOFFICIAL_PROXY="h:1", ACCESS_TOKEN="t"
    )
    assert (found.compat.secret_key, found.compat.authorization_key, found.compat.server_port) == ("s", "a", 3666)
    last = found.providers[-1]
    assert (last.name, last.kind, last.options["base_url"]) == ("backend", "chatgpt-web", "http://h:1")


def test_they_stand_in_a_dotenv_file_too_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET_KEY=file\nAUTHORIZATION_KEY=file\n")
    found = load_with(tmp_path, SECRET_KEY="real")
    assert (found.compat.secret_key, found.compat.authorization_key) == ("real", "file")


def test_set_to_nothing_is_not_set(tmp_path: Path) -> None:
    found = load_with(tmp_path, **dict.fromkeys([*originals.KEYS, *originals.PROVIDERS], " "))
    assert found.compat.secret_key == found.compat.authorization_key == ""
    assert found.compat.server_port is None
    assert [p.kind for p in found.providers] == ["local"]


@pytest.mark.parametrize(
    ("variables", "kind", "options"),
    [
        ({"API_PROXY": "h:80", "CHAT_API_KEY": "k"}, "openai", {"base_url": "http://h:80/v1"}),
        ({"API_KEY": "sk-1"}, "openai", {}),
        ({"CHATGPT_TOKEN": "ey"}, "chatgpt-web", {"base_url": originals.CHATGPT_WEB}),
        (
            {"API_KEY": "ey", "CHATGPT_BASE_URL": "http://x/api", "PROXY": "http://p:1"},
            "chatgpt-web",
            {"base_url": "http://x/api", "proxy": "http://p:1"},
        ),
        ({"OPENAI_API_KEY": "k"}, "openai", {"base_url": "https://api.openai.com/v1"}),
    ],
)
def test_names_make_a_provider_where_none_is_configured(
    tmp_path: Path, variables: dict[str, str], kind: str, options: dict[str, str]
) -> None:
    (row,) = load_with(tmp_path, **variables).providers
    assert (row.kind, row.options) == (kind, options)
    assert row.credentials


def test_configured_providers_stay_alone(tmp_path: Path) -> None:
    (tmp_path / "dragoman.toml").write_text('[[providers]]\nname = "e"\nkind = "echo"\n')
    assert [p.name for p in load_with(tmp_path, API_KEY="sk-1", API_PROXY="h:1").providers] == ["e"]


def test_a_port_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="SERVER_PORT"):
        load_with(tmp_path, SERVER_PORT="many")


def test_every_name_is_in_the_table() -> None:
    table = DOCS.read_text(encoding="utf-8")
    for name in (*originals.KEYS, *originals.PROVIDERS):
        assert f"`{name}`" in table
