"""The parts of a gateway, each made from the settings. Part of the assembly; `app` puts them together."""

import hmac
import importlib
import pkgutil
import secrets
import ssl
import time
from pathlib import Path
from typing import Any

import msgspec

from dragoman.admission.directory import Directory
from dragoman.admission.gate import Gate
from dragoman.admission.tokens import Passes, Tokens
from dragoman.faults import Misconfigured
from dragoman.people import MASTER, Principal, Secret
from dragoman.ports import Provider
from dragoman.relay.plan import Atlas, Defaults
from dragoman.routes import Route
from dragoman.sections import ProviderSettings, Server
from dragoman.settings import Settings, explain, suggest
from dragoman.standing import NO_LIMITS, Limits

MASTER_KEY_FILE = "master.key"
MASTER_KEY_PREFIX = "dgm-"


def master_key(folder: Path) -> tuple[Secret, bool]:
    """Read the master key, or make one (256 random bits, mode 0600). Returns it and whether it is new."""
    path = folder / MASTER_KEY_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists():
            text = path.read_text(encoding="ascii").strip()
            if len(text) < 20:
                raise Misconfigured(f"{path}: this is not a master key; remove the file to have a new one made")
            return Secret(text), False
        text = MASTER_KEY_PREFIX + secrets.token_urlsafe(32)
        path.touch(mode=0o600)
        path.write_text(text + "\n", encoding="ascii")
    except (OSError, UnicodeError) as error:
        raise Misconfigured(f"{path}: the master key cannot be kept here: {error}") from None
    return Secret(text), True


def provider_kinds() -> list[str]:
    from dragoman import providers

    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(providers.__path__))


def module_of(kind: str) -> str:
    """Name the module of a kind of provider: `chatgpt-web` is in `chatgpt_web`."""
    return f"dragoman.providers.{kind.replace('-', '_')}"


def build_provider(settings: Settings, row: ProviderSettings, number: int) -> Provider:
    """Make a provider of a kind found by its file's name. Raises Misconfigured."""
    where = f"providers[{number}]"
    origin = settings.origins.get(where, settings.origin_of("providers"))
    kinds = provider_kinds()
    if row.kind not in kinds:
        raise Misconfigured(f"{origin}: {where}.kind: {row.kind!r} is not a kind; known are {', '.join(kinds)}")
    module: Any = importlib.import_module(module_of(row.kind))
    try:
        own = {"context": row.context} if row.context and "context" in module.Options.__struct_fields__ else {}
        options = msgspec.convert(row.options | own, module.Options)
    except msgspec.ValidationError as error:
        raise explain(error, module.Options, where, settings.origins, ProviderSettings) from None
    for name in ("ca_file", "model_path"):
        file = getattr(options, name, "")
        if file and not Path(file).expanduser().is_file():
            raise Misconfigured(f"{origin}: {where} ({row.name}): {name}: there is no file {file!r}")
    try:
        built: Provider = module.build(options)
    except ValueError as error:
        raise Misconfigured(f"{origin}: {where} ({row.name}): {error}") from None
    return built


def routes_of(settings: Settings) -> list[Route]:
    """Check that every target names a provider. Raises Misconfigured."""
    names = {row.name for row in settings.providers}
    for number, model in enumerate(settings.models):
        for target in (*model.targets, *model.fallbacks):
            if target.provider not in names:
                where = settings.origins.get(f"models[{number}]", settings.origin_of("models"))
                known = ", ".join(sorted(names))
                raise Misconfigured(
                    f"{where}: model {model.name!r}: there is no provider {target.provider!r}; known are {known}"
                )
    routes = [Route(m.name, tuple(m.targets), tuple(m.fallbacks), m.on_abort) for m in settings.models]
    wanted = settings.server.default_model
    atlas = Atlas(routes, served_by(settings), 0)
    if wanted and not atlas.knows(wanted):
        names_known = [card.name for card in atlas.cards(Principal("check"))]
        where = settings.origin_of("server.default_model")
        raise Misconfigured(
            f"{where}: server.default_model: there is no model {wanted!r}{suggest(wanted, names_known)}"
        )
    return routes


def served_by(settings: Settings) -> dict[str, list[str]]:
    """Say which model names or patterns each provider serves: those configured, else its kind's own."""
    kinds = {row.kind: importlib.import_module(module_of(row.kind)) for row in settings.providers}
    return {row.name: row.models or list(getattr(kinds[row.kind], "MODELS", ())) for row in settings.providers}


def gate_of(
    settings: Settings,
    master_secret: Secret,
    tokens: Tokens,
    directory: Directory,
    default_limits: Limits = NO_LIMITS,
    passes: Passes | None = None,
) -> Gate:
    """Make the gate that knows every configured key, and asks the directory for the stored ones.

    `default_limits` are those of each owner of a token for whom there is no row; `passes` lets the page in.
    """
    keys = {directory.digest(master_secret): MASTER}
    kinds: dict[bytes, str] = {}
    for number, text in enumerate(settings.auth.keys):
        where = f"{settings.origin_of('auth.keys')}: auth.keys[{number}]"
        secret = settings.secret(text, where)
        # Conversations belong to this name, so it depends on nothing but the key.
        keys[directory.digest(secret)] = Principal(f"key:{secret.digest().hex()[:16]}")
    for leaf, kind, principal in (
        ("authorization_key", "relay", Principal("relay")),
        ("secret_key", "minted", MASTER),
    ):
        compat = settings.compat_secret(leaf)
        if compat:
            keys[directory.digest(compat)] = principal
            kinds[directory.digest(compat)] = kind
    doors, own_keys = settings.auth.anonymous, settings.compat.bring_your_own_key
    return Gate(keys, kinds, tokens, directory, doors, own_keys=own_keys, default_limits=default_limits, passes=passes)


def passes_of(hash_key: bytes) -> Passes:
    """Make what signs the page's sessions: with a key that all processes of a database derive from theirs."""
    return Passes(hmac.digest(hash_key, b"dragoman page sessions", "sha256"))


def login_link(url: str, passes: Passes) -> str:
    """Make a link that logs the operator in once. Its code is a fragment, which no server and no log ever sees."""
    return f"{url}/#/login/{passes.make_link().reveal()}"


def atlas_of(settings: Settings, routes: list[Route]) -> Atlas:
    """Make the map of public models, with what is assumed where nothing is said."""
    atlas = Atlas(routes, served_by(settings), int(time.time()))
    contexts = {f"{row.name}/": size for row in settings.providers if (size := context_of(row))}
    contexts |= {model.name: model.context for model in settings.models if model.context}
    is_loose = settings.compat.unknown_model == "default"
    base = settings.conversations.context_tokens
    atlas.defaults = Defaults(settings.server.default_model, is_loose, base, contexts)
    return atlas


def context_of(row: ProviderSettings) -> int:
    """Tokens of context of a provider's models: as configured, else as its kind says, else 0."""
    if row.context:
        return row.context
    options: Any = importlib.import_module(module_of(row.kind)).Options
    return next((f.default for f in msgspec.structs.fields(options) if f.name == "context"), 0)


def tls_context(server: Server) -> ssl.SSLContext | None:
    """Load the certificate that every listener shows; None without one. Raises Misconfigured."""
    if not server.tls_cert and not server.tls_key:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(server.tls_cert, server.tls_key)
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"server.tls_cert, server.tls_key: no certificate and its key can be read from {server.tls_cert!r} and "
            f"{server.tls_key!r}: {error}"
        ) from None
    return context
