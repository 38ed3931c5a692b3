"""What an operator sees of the configuration: all of it, with origins, and no secret."""

from typing import get_args, get_type_hints

import msgspec
import pytest

from dragoman.effective import effective
from dragoman.settings import SECTIONS, load

CANARY = "canary-canary-canary"
FILE = f"""
[server]
port = 8123
tls_key = "/etc/tls/key.pem"
[auth]
keys = ["{CANARY}"]
hash_key = "{CANARY}"
[auth.oidc]
issuer = "https://id.example"
client_id = "dragoman"
client_secret = "{CANARY}"
[store]
url = "postgresql://dragoman:{CANARY}@db.example/dragoman"
[compat]
secret_key = "{CANARY}"
authorization_key = "{CANARY}"
access_token = "{CANARY}"
[log]
traces = "https://user:{CANARY}@otel.example/v1"
[[providers]]
name = "vendor"
kind = "openai"
base_url = "https://user:{CANARY}@api.example:8443/v1?key={CANARY}#{CANARY}"
credentials = ["{CANARY}", {{ value = "{CANARY}", weight = 2 }}]
proxy = "http://user:{CANARY}@proxy.example"
future = "{CANARY}"
retries = 3
[[models]]
name = "gpt"
targets = [{{ provider = "vendor", model = "gpt-4o" }}]
"""


@pytest.fixture
def found(tmp_path):
    path = tmp_path / "dragoman.toml"
    path.write_text(FILE, encoding="utf-8")
    environment = {"DRAGOMAN_SERVER__GRACE_S": "5", "SOME_SECRET": CANARY}
    return {row.key: row for row in effective(load(path, {"server.host": "::1"}, environment, tmp_path))}


def test_item_35_no_secret_is_among_them(found):
    assert CANARY not in repr(found)


def test_of_a_secret_there_is_whether_it_is_set(found):
    secrets = {key: row.value for key, row in found.items() if row.is_secret}
    assert {key for key, value in secrets.items() if value == "set"} == {
        "auth.keys",
        "auth.hash_key",
        "auth.oidc.client_secret",
        "store.url",
        "compat.secret_key",
        "compat.authorization_key",
        "compat.access_token",
        "log.traces",
        "providers[0].credentials",
        "providers[0].proxy",
        "providers[0].future",
    }
    assert secrets["auth.oidc.token_url"] == ""


def test_everything_else_is_shown_with_its_origin(found):
    assert found["server.port"].value == "8123"
    assert found["server.port"].origin.endswith("dragoman.toml, line 3")
    assert (found["server.host"].value, found["server.host"].origin) == ("::1", "flag --host")
    assert found["server.grace_s"].origin == "environment variable DRAGOMAN_SERVER__GRACE_S"
    assert (found["server.tls_key"].value, found["server.tls_key"].is_secret) == ("/etc/tls/key.pem", False)
    assert (found["money.window"].value, found["money.window"].origin) == ("month", "default")
    assert found["conversations.answer_tokens"].value == "1024"
    assert found["auth.oidc.issuer"].value == "https://id.example"


def test_an_address_is_shown_without_what_may_be_a_secret(found):
    assert found["providers[0].base_url"].value == "https://api.example:8443/v1"
    assert found["providers[0].retries"].value == "3"
    assert found["providers[0].name"].origin.endswith("line 21")
    assert "gpt-4o" in found["models[0].targets"].value


def test_no_key_of_a_section_is_left_out(found):
    for section, kind in SECTIONS.items():
        for leaf, hint in get_type_hints(kind).items():
            inner = [t for t in (hint, *get_args(hint)) if isinstance(t, type) and issubclass(t, msgspec.Struct)]
            key = f"{section}.{leaf}"
            assert key in found or (inner and any(row.startswith(f"{key}.") for row in found)), key


def test_prices_of_the_operators_own_are_shown(tmp_path):
    (tmp_path / "dragoman.toml").write_text('[[prices]]\nmodel = "m"\ninput = "0.15"\noutput = "0.60"\n')
    shown = {row.key: row.value for row in effective(load(folder=tmp_path, environment={}))}
    assert (shown["prices[0].model"], shown["prices[0].input"]) == ("m", "0.15")
