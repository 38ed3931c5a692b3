"""The environment of the four legacy relays, read as configuration of this gateway (docs/legacy.md has the table).

Source: seed protocols, sections 1.6, 5 and 6. A name that is set to nothing counts as not set: an empty secret
must never mean that no secret is asked for.
"""

from collections.abc import Mapping
from typing import Any

from dragoman.routes import BACKEND

# The name of a variable, and the key that it sets.
KEYS = {
    "SECRET_KEY": "compat.secret_key",
    "UNOFFICIAL_PROXY": "compat.backend",
    "ACCESS_TOKEN": "compat.access_token",
    "AUTHORIZATION_KEY": "compat.authorization_key",
    "SERVER_PORT": "compat.server_port",
}
# Variables that make a provider where none is configured.
PROVIDERS = ("API_PROXY", "CHAT_API_KEY", "API_KEY", "CHATGPT_TOKEN", "CHATGPT_BASE_URL", "PROXY")
CHATGPT_WEB = "https://chatgpt.com/backend-api"


def read_originals(environment: Mapping[str, str], tree: dict[str, Any], origins: dict[str, str]) -> None:
    """Set the keys that the originals' variables stand for."""
    for name, key in KEYS.items():
        value = environment.get(name, "").strip()
        if value:
            section, _, leaf = key.partition(".")
            tree.setdefault(section, {})[leaf] = int(value) if leaf == "server_port" and value.isdigit() else value
            origins[key] = f"environment variable {name}"


def providers_of(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Make the providers that the originals' variables describe: A's API host, C's account."""
    found: list[dict[str, Any]] = []
    host = environment.get("API_PROXY", "").strip()
    if host:
        row: dict[str, Any] = {"name": "api-proxy", "kind": "openai", "base_url": f"http://{host}/v1", "models": ["*"]}
        found.append(row | ({"credentials": ["env:CHAT_API_KEY"]} if environment.get("CHAT_API_KEY") else {}))
    name = next((name for name in ("API_KEY", "CHATGPT_TOKEN") if environment.get(name, "").strip()), "")
    if name:
        row = {"name": "chatgpt", "credentials": [f"env:{name}"], "models": ["*"]}
        if environment[name].startswith("sk-"):
            row["kind"] = "openai"
        else:
            row |= {"kind": "chatgpt-web", "base_url": environment.get("CHATGPT_BASE_URL") or CHATGPT_WEB}
        proxy = environment.get("PROXY", "").strip()
        if proxy:
            row["proxy"] = proxy
        found.append(row)
    return found


def add_backend(tree: dict[str, Any], origins: dict[str, str]) -> None:
    """`[compat] backend` and `access_token` together make the provider that `/conv` relays to."""
    compat = tree.get("compat")
    if not isinstance(compat, dict) or not (compat.get("backend") and compat.get("access_token")):
        return
    row = {
        "name": BACKEND,
        "kind": "chatgpt-web",
        "base_url": f"http://{compat['backend']}",
        "credentials": [compat["access_token"]],
    }
    if isinstance(tree.get("providers"), list):
        origins[f"providers[{len(tree['providers'])}]"] = origins.get("compat.backend", "configuration")
        tree["providers"].append(row)
