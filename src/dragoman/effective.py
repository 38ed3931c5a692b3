"""The configuration as it is in force, for `/api/admin/settings`: each value with its origin, no secret among them.

What is a secret is told by its name, and of a provider's own options only those are shown that cannot be one: a new
key of a section or of a provider is rather hidden than shown. Part of the assembly.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from dragoman.errands import Setting
from dragoman.sections import ProviderSettings
from dragoman.settings import SECTIONS, Settings

_SECRET = re.compile(r"(?:.*_)?(?:keys?|secret|token|password|credentials?|url|proxy|headers|traces)")
# They hold the names of files, no secrets.
_FILES = ("server.tls_cert", "server.tls_key", "auth.oidc.ca_file")


def effective(settings: Settings) -> list[Setting]:
    """List every value that can be configured, in the order of the documentation."""
    rows: list[Setting] = []
    for section in SECTIONS:
        rows += _section(settings, section, getattr(settings, section))
    for number, provider in enumerate(settings.providers):
        rows += _provider(settings, f"providers[{number}]", provider)
    for table in ("models", "prices"):
        for number, row in enumerate(getattr(settings, table)):
            rows += _row(settings, f"{table}[{number}]", row, table)
    return rows


def _section(settings: Settings, name: str, values: msgspec.Struct) -> Iterator[Setting]:
    for leaf in values.__struct_fields__:
        value, key = getattr(values, leaf), f"{name}.{leaf}"
        if isinstance(value, msgspec.Struct):
            yield from _section(settings, key, value)
        else:
            yield _setting(settings, key, value, name)


def _provider(settings: Settings, name: str, provider: ProviderSettings) -> Iterator[Setting]:
    for leaf in provider.__struct_fields__:
        if leaf != "options":
            yield _setting(settings, f"{name}.{leaf}", getattr(provider, leaf), name, "providers")
    for leaf, value in provider.options.items():
        key = f"{name}.{leaf}"
        if leaf == "base_url" and isinstance(value, str):
            yield Setting(key, _without_secrets(value), _origin(settings, key, name, "providers"))
        else:
            is_hidden = not isinstance(value, bool | int | float)
            yield _setting(settings, key, value, name, "providers", hidden=is_hidden)


def _row(settings: Settings, name: str, row: msgspec.Struct, table: str) -> Iterator[Setting]:
    for leaf in row.__struct_fields__:
        yield _setting(settings, f"{name}.{leaf}", getattr(row, leaf), name, table)


def _setting(settings: Settings, key: str, value: Any, *around: str, hidden: bool = False) -> Setting:
    """Write a value as text, or only whether there is one. `around` are the keys whose origin it may have."""
    origin = _origin(settings, key, *around)
    is_secret = hidden or (key not in _FILES and _SECRET.fullmatch(key.rpartition(".")[2]) is not None)
    if is_secret:
        return Setting(key, "set" if value else "", origin, is_secret=True)
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return Setting(key, text, origin)


def _origin(settings: Settings, *keys: str) -> str:
    """Return the origin of the first of these keys that has one."""
    return next((settings.origins[key] for key in keys if key in settings.origins), "default")


def _without_secrets(url: str) -> str:
    """Leave out of an address what may be one: user and password, query and fragment."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    return f"{parts.scheme}://{host}{port}{parts.path}"
