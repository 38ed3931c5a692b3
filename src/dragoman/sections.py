"""The sections of the configuration, as the structs that they are read into; docs/configuration.md is made of them."""

from typing import Annotated, Any, Literal

import msgspec

from dragoman.routes import Abort, Target
from dragoman.standing import NO_LIMITS, Limits, Window

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[server]`: where to listen and how patient to be with callers."""

    host: Annotated[str, msgspec.Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, msgspec.Meta(description="Port of every HTTP dialect; 0 takes a free one.")] = 8000
    grpc_port: Annotated[Port, msgspec.Meta(description="Port of gRPC; 0 = off.")] = 9000
    websocket_port: Annotated[Port, msgspec.Meta(description="Port of WebSocket; 0 = off.")] = 9001
    tls_cert: Annotated[
        str, msgspec.Meta(description="Certificate chain (PEM) for every listener; with `tls_key`.")
    ] = ""
    tls_key: Annotated[str, msgspec.Meta(description="Its private key (PEM).")] = ""
    data: Annotated[str, msgspec.Meta(description="Folder for the master key and other state.")] = "dragoman-data"
    default_model: Annotated[
        str, msgspec.Meta(description="For dialects that name none; else the first model configured.")
    ] = ""
    max_body_bytes: Annotated[Positive, msgspec.Meta(description="Largest request body.")] = 32 * 1024 * 1024
    header_s: Annotated[Seconds, msgspec.Meta(description="A request's head must arrive within this.")] = 10.0
    body_s: Annotated[Seconds, msgspec.Meta(description="A request's body must arrive within this.")] = 120.0
    keep_alive_s: Annotated[Seconds, msgspec.Meta(description="Idle connections are closed after this.")] = 75.0
    write_s: Annotated[Seconds, msgspec.Meta(description="A caller that reads nothing for this long is cut off.")] = (
        60.0
    )
    grace_s: Annotated[Seconds, msgspec.Meta(description="How long streams may finish on shutdown.")] = 30.0
    max_connections: Annotated[Positive, msgspec.Meta(description="Connections above this shed idle ones.")] = 10_000


Door = Literal["ask", "grpc", "websocket", "relay"]


class Oidc(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[auth.oidc]`: an OpenID provider that checks names and passwords which are not local accounts."""

    issuer: Annotated[str, msgspec.Meta(min_length=1, description="The issuer's address, https.")]
    client_id: Annotated[str, msgspec.Meta(min_length=1, description="How the gateway is known there.")]
    client_secret: Annotated[
        str, msgspec.Meta(description="Its secret; `env:`/`file:` allowed; empty: public client.")
    ] = ""
    token_url: Annotated[str, msgspec.Meta(description="The token end point, if discovery must not be used.")] = ""
    scope: Annotated[str, msgspec.Meta(description="Scopes to ask for.")] = "openid"
    ca_file: Annotated[str, msgspec.Meta(description="Certificates to trust instead of the system's.")] = ""


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[auth]`: who may call."""

    keys: Annotated[
        list[str], msgspec.Meta(description="Static keys beside the generated master key; `env:`/`file:` allowed.")
    ] = []
    anonymous: Annotated[
        list[Door],
        msgspec.Meta(description="Doors open without a key: `ask`, `grpc`, `websocket`, `relay` (NDJSON `/chat`)."),
    ] = []
    hash_key: Annotated[
        str,
        msgspec.Meta(
            description="Hashes stored keys, `env:`/`file:` allowed; the same for all processes on one database. "
            "Empty: `hash.key` in the data folder."
        ),
    ] = ""
    oidc: Annotated[Oidc | None, msgspec.Meta(description="See `[auth.oidc]`.")] = None


class Store(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[store]`: where conversations and accounts are kept."""

    url: Annotated[
        str, msgspec.Meta(description="`postgresql://…`, `env:`/`file:` allowed; empty: SQLite in the data folder.")
    ] = ""


class Admin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[admin]`: where `/api/admin` and `/metrics` are served: on loopback or with TLS beside the rest."""

    port: Annotated[
        Port | None, msgspec.Meta(description="A loopback listener of their own instead; 0 takes a free port.")
    ] = None
    public: Annotated[
        bool, msgspec.Meta(description="Serve them on the main listener whatever its address, even without TLS.")
    ] = False


class Money(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[money]`: the budget of the whole deployment, and prices (docs/budgets.md)."""

    budget: Annotated[str, msgspec.Meta(description='Of all calls together, such as "250.00"; empty: none.')] = ""
    window: Annotated[Window, msgspec.Meta(description="When that budget begins anew.")] = "month"
    zone: Annotated[str, msgspec.Meta(description="Time zone in which days and budget windows begin.")] = "UTC"
    unknown_price: Annotated[
        Literal["open", "refuse", "zero"],
        msgspec.Meta(
            description="A model without a known price: `open` serves it, recorded as unpriced, where no budget "
            "applies; `refuse` never serves it; `zero` says that it is free."
        ),
    ] = "open"
    output_tokens: Annotated[
        Positive, msgspec.Meta(description="Reserved for an answer whose request names no maximum.")
    ] = 16_384


class Queue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[queue]`: waiting for a provider whose credentials are all at their limits, instead of a 429."""

    length: Annotated[
        int, msgspec.Meta(ge=0, le=100_000, description="Requests that may wait per provider; 0 = off.")
    ] = 0
    wait_s: Annotated[Seconds, msgspec.Meta(description="How long a request may wait.")] = 30.0


class Journal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[journal]`: how what calls use is kept until the store has it (docs/durability.md)."""

    sync: Annotated[
        Literal["never", "grouped"],
        msgspec.Meta(description="`grouped`: answers end only when their record is on disk (against power loss)."),
    ] = "never"
    group_ms: Annotated[Positive, msgspec.Meta(description="Records of so many milliseconds share one write.")] = 20


class Usage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[usage]`: how long the request log is kept. Sums by hour and by day stay."""

    retention_days: Annotated[Positive, msgspec.Meta(description="Rows of single requests.")] = 90
    content_days: Annotated[Positive, msgspec.Meta(description="What was said, of keys that allow to keep it.")] = 30
    drains: Annotated[
        int, msgspec.Meta(ge=0, description="Answers read on at the same time after their caller left (`on_abort`).")
    ] = 32
    drain_s: Annotated[Seconds, msgspec.Meta(description="How long such an answer is read on.")] = 30.0


class Conversations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[conversations]`: how much of a conversation is sent to a model."""

    context_tokens: Annotated[
        int, msgspec.Meta(ge=256, description="Context of a model that says nothing of its own.")
    ] = 8192
    answer_tokens: Annotated[
        Positive, msgspec.Meta(description="Kept free for the answer, at most half of the context.")
    ] = 1024


class Compat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[compat]`: what clients of the legacy relays expect (docs/legacy.md)."""

    secret_key: Annotated[str, msgspec.Meta(description="Signs `/token`; a master key by itself (`SECRET_KEY`).")] = ""
    authorization_key: Annotated[str, msgspec.Meta(description="Key of the NDJSON `/chat` (`AUTHORIZATION_KEY`).")] = ""
    backend: Annotated[
        str, msgspec.Meta(description="`host:port` that `/conv` relays to, with `access_token` (`UNOFFICIAL_PROXY`).")
    ] = ""
    access_token: Annotated[str, msgspec.Meta(description="The key for `backend` (`ACCESS_TOKEN`).")] = ""
    server_port: Annotated[
        Port | None,
        msgspec.Meta(description="A listener for the NDJSON `/chat` alone; 0 takes a free port (`SERVER_PORT`)."),
    ] = None
    chat: Annotated[
        Literal["auto", "sse", "ndjson"], msgspec.Meta(description="What `POST /chat` is on the shared port.")
    ] = "auto"
    unknown_model: Annotated[
        Literal["default", "error"], msgspec.Meta(description="What a model that nobody serves means on legacy routes.")
    ] = "default"
    bring_your_own_key: Annotated[
        bool, msgspec.Meta(description="`opts.key` may be the caller's own key for the configured provider.")
    ] = False


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[log]`: what is written to standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], msgspec.Meta(description="Least severity shown.")
    ] = "info"
    requests: Annotated[
        Literal["all", "failed", "none"],
        msgspec.Meta(description="One JSON line for each call, for each that did not complete, or none."),
    ] = "failed"
    traces: Annotated[
        str, msgspec.Meta(description="OTLP address for OpenTelemetry traces (HTTP, extra `otel`); empty: off.")
    ] = ""


class Upstreams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[upstream]`: patience with providers, retries and rests. A provider may set its own deadlines."""

    connect_s: Annotated[Seconds, msgspec.Meta(description="To connect, TLS included.")] = 5.0
    first_byte_s: Annotated[Seconds, msgspec.Meta(description="From the request to the answer's head.")] = 300.0
    idle_s: Annotated[Seconds, msgspec.Meta(description="Between two reads of an answer.")] = 120.0
    total_s: Annotated[Seconds, msgspec.Meta(description="For a whole answer.")] = 1800.0
    quiet_s: Annotated[Seconds, msgspec.Meta(description="Silence after which a stream gets a comment.")] = 15.0
    attempts: Annotated[Positive, msgspec.Meta(description="Tries for one request, the first included.")] = 4
    retry_share: Annotated[
        float, msgspec.Meta(ge=0, le=1, description="Retries in flight as a share of calls in flight (at least 3).")
    ] = 0.2
    max_connections: Annotated[Positive, msgspec.Meta(description="Connections to one origin.")] = 1000
    max_idle: Annotated[Positive, msgspec.Meta(description="Idle connections kept to one origin.")] = 64
    idle_connection_s: Annotated[Seconds, msgspec.Meta(description="How long an idle connection is kept.")] = 55.0
    max_answer_bytes: Annotated[Positive, msgspec.Meta(description="Largest answer, unary or streamed.")] = (
        256 * 1024 * 1024
    )
    bench_s: Annotated[Seconds, msgspec.Meta(description="Rest of a credential that a provider rejected.")] = 300.0


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A credential with a weight."""

    value: str
    weight: Positive = 1
    limits: Limits = NO_LIMITS


class ProviderSettings(msgspec.Struct, frozen=True):
    """`[[providers]]`: an upstream. Each kind has further keys of its own, kept in `options`."""

    name: Annotated[str, msgspec.Meta(min_length=1, description="What models call it.")]
    kind: Annotated[str, msgspec.Meta(description="`openai`, `anthropic`, `chatgpt-web`, `local` or `echo`.")]
    credentials: Annotated[
        list[str | Share],
        msgspec.Meta(description='Keys: "env:NAME", or { value = "env:NAME", weight = 2, limits = { parallel = 8 } }.'),
    ] = []
    models: Annotated[list[str], msgspec.Meta(description='Model names it serves, or ["*"] for any.')] = []
    connect_s: Annotated[Seconds | None, msgspec.Meta(description="Instead of `[upstream]`'s.")] = None
    first_byte_s: Annotated[Seconds | None, msgspec.Meta(description="Instead of `[upstream]`'s.")] = None
    idle_s: Annotated[Seconds | None, msgspec.Meta(description="Instead of `[upstream]`'s.")] = None
    total_s: Annotated[Seconds | None, msgspec.Meta(description="Instead of `[upstream]`'s.")] = None
    context: Annotated[
        Annotated[int, msgspec.Meta(ge=256)] | None, msgspec.Meta(description="Tokens of context of its models.")
    ] = None
    options: dict[str, Any] = {}


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[models]]`: a public name and the targets behind it."""

    name: Annotated[str, msgspec.Meta(min_length=1, description="What callers ask for.")]
    targets: Annotated[
        list[Target], msgspec.Meta(min_length=1, description="`{ provider, model, weight }`; one is chosen by weight.")
    ]
    fallbacks: Annotated[list[Target], msgspec.Meta(description="Tried in order when no target can.")] = []
    context: Annotated[
        Annotated[int, msgspec.Meta(ge=256)] | None, msgspec.Meta(description="Tokens of context of this model.")
    ] = None
    max_output: Annotated[
        Positive | None, msgspec.Meta(description="Tokens of its longest answer, instead of `[money] output_tokens`.")
    ] = None
    limits: Annotated[Limits, msgspec.Meta(description="For all callers together, such as `{ parallel = 8 }`.")] = (
        NO_LIMITS
    )
    on_abort: Annotated[
        Abort,
        msgspec.Meta(description="When the caller leaves: `cancel` at once, or `drain` the answer for its true usage."),
    ] = "cancel"
