"""Configuration: file and environment to frozen structs, each value with its origin.

Later wins: defaults, `dragoman.toml`, `.env`, environment, flags. This is the only reader of the
environment. Whatever is wrong is a `Misconfigured` that names where it stands and what would be right.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import msgspec
from dotenv import dotenv_values

from dragoman.faults import Misconfigured
from dragoman.money import PriceRow
from dragoman.originals import add_backend, providers_of, read_originals
from dragoman.people import Secret
from dragoman.routes import Credential
from dragoman.sections import (
    Admin,
    Auth,
    Compat,
    Conversations,
    Journal,
    Log,
    ModelSettings,
    Money,
    ProviderSettings,
    Queue,
    Server,
    Share,
    Store,
    Upstreams,
    Usage,
)
from dragoman.standing import NO_LIMITS, Limits

PREFIX = "DRAGOMAN_"


class Settings(msgspec.Struct, frozen=True):
    """Everything that can be configured. `origins` maps a dotted key to where its value came from."""

    server: Server = Server()
    auth: Auth = Auth()
    store: Store = Store()
    conversations: Conversations = Conversations()
    compat: Compat = Compat()
    log: Log = Log()
    admin: Admin = Admin()
    limits: Limits = NO_LIMITS
    money: Money = Money()
    queue: Queue = Queue()
    journal: Journal = Journal()
    usage: Usage = Usage()
    upstream: Upstreams = Upstreams()
    providers: list[ProviderSettings] = []
    models: list[ModelSettings] = []
    prices: list[PriceRow] = []
    origins: dict[str, str] = {}
    environment: dict[str, str] = {}

    def secret(self, text: str, where: str) -> Secret:
        """Follow `env:NAME` or `file:PATH`. Raises Misconfigured if there is nothing there."""
        if text.startswith("env:"):
            value = self.environment.get(text[4:], "")
            if not value:
                raise Misconfigured(f"{where}: the environment variable {text[4:]} is not set or empty")
            return Secret(value)
        if text.startswith("file:"):
            try:
                value = Path(text[5:]).expanduser().read_text(encoding="utf-8").strip()
            except (OSError, UnicodeError) as error:
                raise Misconfigured(f"{where}: cannot read the secret in {text[5:]}: {error}") from None
            if not value:
                raise Misconfigured(f"{where}: the file {text[5:]} is empty")
            return Secret(value)
        if not text.strip():
            raise Misconfigured(f"{where}: a secret may not be empty")
        return Secret(text)

    def credentials(self, provider: ProviderSettings) -> list[Credential]:
        found = []
        for number, given in enumerate(provider.credentials):
            share = given if isinstance(given, Share) else Share(given)
            where = f"{self.origin_of('providers')}: provider {provider.name!r}, credentials[{number}]"
            found.append(Credential(self.secret(share.value, where), share.weight, share.limits))
        return found

    def compat_secret(self, leaf: str) -> Secret | None:
        """Return `[compat]`'s secret of that name, None where it is not set."""
        text: str = getattr(self.compat, leaf)
        return self.secret(text, f"{self.origin_of(f'compat.{leaf}')}: compat.{leaf}") if text else None

    def store_url(self) -> str:
        """Return the address of the database, which may hold a password and so be kept elsewhere."""
        text = self.store.url
        is_elsewhere = text.startswith(("env:", "file:"))
        return self.secret(text, f"{self.origin_of('store.url')}: store.url").reveal() if is_elsewhere else text

    def hash_secret(self) -> Secret | None:
        """Return `[auth] hash_key`, None where the data folder has one of its own."""
        text = self.auth.hash_key
        return self.secret(text, f"{self.origin_of('auth.hash_key')}: auth.hash_key") if text else None

    def oidc_secret(self) -> Secret:
        """Return the client secret of `[auth.oidc]`, empty for a public client."""
        text = self.auth.oidc.client_secret if self.auth.oidc else ""
        return self.secret(text, f"{self.origin_of('auth.oidc')}: auth.oidc.client_secret") if text else Secret("")

    def origin_of(self, key: str) -> str:
        return self.origins.get(key, "default")


SECTIONS: dict[str, Any] = {
    "server": Server,
    "auth": Auth,
    "store": Store,
    "conversations": Conversations,
    "compat": Compat,
    "log": Log,
    "admin": Admin,
    "limits": Limits,
    "money": Money,
    "queue": Queue,
    "journal": Journal,
    "usage": Usage,
    "upstream": Upstreams,
}
TABLES: dict[str, Any] = {"providers": ProviderSettings, "models": ModelSettings, "prices": PriceRow}


def load(
    config: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Read all sources into one value.

    Args:
        config: the file given by `--config`; else `dragoman.toml` in `folder` if it is there.
        flags: dotted keys (`server.port`) given on the command line.
        environment: instead of the process's own; `.env` in `folder` stands below it.
        folder: instead of the working folder.

    Raises:
        Misconfigured: names file and line, or variable, and key.

    """
    folder = folder or Path.cwd()
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = config or folder / "dragoman.toml"
    if config or path.is_file():
        _read_file(path, tree, origins)
    dotenv = {k: v for k, v in dotenv_values(folder / ".env").items() if v is not None}
    actual = dict(os.environ if environment is None else environment)
    merged = {**dotenv, **actual}
    read_originals(merged, tree, origins)
    for name, value in merged.items():
        origin = f"environment variable {name}" if name in actual else f".env, variable {name}"
        _read_variable(name, value, origin, tree, origins)
    for key, value in (flags or {}).items():
        if value is not None:
            section, _, leaf = key.partition(".")
            tree.setdefault(section, {})[leaf] = value
            origins[key] = f"flag --{leaf}"
    _provide_from_well_known(tree, merged, origins)
    add_backend(tree, origins)
    return _decode(tree, origins, merged)


def _read_file(path: Path, tree: dict[str, Any], origins: dict[str, str]) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        tree.update(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path}: not valid TOML: {error}") from None
    except (OSError, UnicodeError) as error:
        raise Misconfigured(f"{path}: cannot be read: {error}") from None
    section = ""
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*(\[\[?)\s*([\w.\"-]+)\s*\]", line):
            section = header[2]
            if header[1] == "[[":
                seen[section] = seen.get(section, -1) + 1
                section = f"{section}[{seen[section]}]"
            origins.setdefault(section, f"{path}, line {number}")
            origins.setdefault(re.sub(r"\[\d+\]$", "", section), f"{path}, line {number}")
        elif pair := re.match(r"\s*([\w-]+)\s*=", line):
            origins[f"{section}.{pair[1]}" if section else pair[1]] = f"{path}, line {number}"


def _read_variable(name: str, value: str, origin: str, tree: dict[str, Any], origins: dict[str, str]) -> None:
    """`DRAGOMAN_SECTION__KEY=…` or a whole `DRAGOMAN_PROVIDERS=[…]`, as a TOML value or plain text."""
    section, double, key = name.removeprefix(PREFIX).lower().partition("__")
    is_table = section in TABLES and not double
    if not name.startswith(PREFIX) or not (double or is_table):
        return
    if not is_table and section not in SECTIONS:
        raise Misconfigured(f"{origin}: unknown section {section!r}{suggest(section, SECTIONS)}")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    if is_table:
        tree[section] = parsed
        origins[section] = origin
    else:
        tree.setdefault(section, {})[key] = parsed
        origins[f"{section}.{key}"] = origin


WELL_KNOWN = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}


def _provide_from_well_known(tree: dict[str, Any], environment: Mapping[str, str], origins: dict[str, str]) -> None:
    """With no provider configured, the vendors' own variables are enough; with none of them, `local`."""
    if tree.get("providers"):
        return
    providers: list[dict[str, Any]] = []
    for kind, default in WELL_KNOWN.items():
        key, url = environment.get(f"{kind.upper()}_API_KEY"), environment.get(f"{kind.upper()}_BASE_URL")
        if key or url:
            found: dict[str, Any] = {"name": kind, "kind": kind, "base_url": url or default, "models": ["*"]}
            if key:
                found["credentials"] = [f"env:{kind.upper()}_API_KEY"]
            proxy = environment.get("HTTPS_PROXY") or environment.get("https_proxy")
            if proxy and found["base_url"].startswith("https:"):
                found["proxy"] = proxy
            providers.append(found)
    if len(providers) == len(WELL_KNOWN):
        providers[1]["models"] = ["claude-*"]
    providers += providers_of(environment)
    origins["providers"] = "environment" if providers else "default"
    tree["providers"] = providers or [{"name": "local", "kind": "local"}]


def _decode(tree: dict[str, Any], origins: dict[str, str], environment: dict[str, str]) -> Settings:
    known = {**SECTIONS, **TABLES}
    for key in tree:
        if key not in known:
            raise Misconfigured(f"{origins.get(key, 'configuration')}: unknown key {key!r}{suggest(key, known)}")
    built: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        built[name] = _convert(tree.get(name, {}), kind, name, origins)
    for name, kind in TABLES.items():
        rows = tree.get(name, [])
        if not isinstance(rows, list):
            raise Misconfigured(f"{origins.get(name, name)}: {name} must be a list of tables, [[{name}]]")
        built[name] = [_row(row, kind, f"{name}[{number}]", origins) for number, row in enumerate(rows)]
    _unique([p.name for p in built["providers"]], "provider", origins.get("providers", "configuration"))
    _unique([m.name for m in built["models"]], "model", origins.get("models", "configuration"))
    return Settings(**built, origins=origins, environment=environment)


def _row(row: Any, kind: Any, where: str, origins: dict[str, str]) -> Any:
    if kind is ProviderSettings and isinstance(row, dict):
        own = {f for f in kind.__struct_fields__ if f != "options"}
        extra = {k: v for k, v in row.items() if k not in own}
        row = {k: v for k, v in row.items() if k in own} | {"options": extra}
    return _convert(row, kind, where, origins)


def _convert(value: Any, kind: Any, where: str, origins: dict[str, str]) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise explain(error, kind, where, origins) from None


def explain(
    error: msgspec.ValidationError, kind: Any, where: str, origins: Mapping[str, str], also: Any = None
) -> Misconfigured:
    """Turn a decoder's complaint into one that names origin and key and suggests the nearest name."""
    text = str(error)
    fields = [f for k in (kind, also) if k for f in k.__struct_fields__ if f != "options"]
    if unknown := re.search(r"unknown field `([^`]+)`(?: - at `\$\.?(.*)`)?", text):
        place = f"{where}.{unknown[2]}" if unknown[2] else where
        outer = re.split(r"[\[.]", unknown[2] or "")[0]
        origin = next(
            (origins[k] for k in (f"{where}.{unknown[1]}", f"{where}.{outer}", where) if k in origins), "configuration"
        )
        known = _fields_at(kind, unknown[2] or "") or fields
        return Misconfigured(f"{origin}: unknown key {unknown[1]!r} in {place}{suggest(unknown[1], known)}")
    found = re.search(r"- at `\$\.?(.*)`", text)
    key = f"{where}.{found[1]}" if found else where
    leaf = re.split(r"[\[.]", found[1])[0] if found else ""
    origin = origins.get(
        f"{where}.{leaf}", origins.get(where, origins.get(where.split("[", maxsplit=1)[0], "configuration"))
    )
    return Misconfigured(f"{origin}: {key}: {re.sub(r' - at `.*`', '', text)}")


def _fields_at(kind: Any, place: str) -> list[str]:
    """List the keys of the struct that stands at `place` inside `kind`, such as `targets[...]`."""
    leaf = re.split(r"[\[.]", place)[0]
    hint = get_type_hints(kind).get(leaf)
    inner = [hint, *get_args(hint)] if hint else []
    return [f for t in inner if isinstance(t, type) and issubclass(t, msgspec.Struct) for f in t.__struct_fields__]


def _unique(names: list[str], what: str, origin: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise Misconfigured(f"{origin}: two {what}s are called {name!r}")


def suggest(word: str, known: Any) -> str:
    """Name the nearest known word, or all of them."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"


def describe(kind: Any) -> list[tuple[str, str, str, str]]:
    """List a section's keys as (name, type, default, description), for the reference and its test."""
    rows = []
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        notes = [a.description for a in get_args(hints[field.name]) if isinstance(a, msgspec.Meta) and a.description]
        if field.default is not msgspec.NODEFAULT:
            default = repr(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            default = repr(field.default_factory())
        else:
            default = "required"
        kind_name = _name_of(hints[field.name])
        rows.append((field.name, kind_name, default, notes[0] if notes else ""))
    return rows


def _name_of(hint: Any) -> str:
    while hasattr(hint, "__metadata__"):
        hint = hint.__origin__
    if getattr(hint, "__origin__", None) is Literal:
        return " or ".join(repr(a) for a in get_args(hint))
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    if inner := get_args(hint):
        names = [_name_of(a) for a in inner if a is not type(None)]
        outer = getattr(hint, "__origin__", None)
        return f"{outer.__name__} of {' or '.join(names)}" if isinstance(outer, type) else " or ".join(names)
    return str(hint)
