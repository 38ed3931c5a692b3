"""What a caller may want: a closed set, made by dialects and matched by the engine."""

from collections.abc import Callable
from typing import Literal

import msgspec

from dragoman.chat import ChatRequest, Part
from dragoman.errands import Errand
from dragoman.legs import Headers, Script
from dragoman.people import Secret
from dragoman.threads import Chronicle

Splice = Callable[[dict[str, bytes]], bytes]


class Ask(msgspec.Struct):
    """A question to a model.

    `body` is the caller's own bytes in `wire`, `put` returns them with top-level values spliced;
    `request()` reads them into words and is called only when the provider speaks another wire.
    `metered` is what to splice so that a stream reports its usage to us though the caller did not ask;
    it is then hidden from the caller. `headers` are those that the same wire may forward. `loose`: a
    model that nobody serves means the default one. `own_key` is used instead of the pool's credentials.
    `max_tokens` holds for each of the `choices`.
    """

    wire: str
    model: str
    body: bytes
    put: Splice
    stream: bool
    request: Callable[[], ChatRequest]
    max_tokens: int | None = None
    choices: int = 1
    metered: dict[str, bytes] = {}
    headers: Headers = []
    loose: bool = False
    own_key: Secret | None = None


class Elsewhere(msgspec.Struct):
    """What a call does with conversations that a back end keeps, whose account is everybody's.

    `thread` is the one that is read or talked in. `is_list`: they are listed, and `hidden` are the ids to leave out.
    With neither one is begun, and `begun` tells its id once the answer has said it.
    """

    thread: str = ""
    is_list: bool = False
    hidden: frozenset[str] = frozenset()
    begun: Callable[[], str] | None = None


class Forward(msgspec.Struct):
    """A call of a wire's side end point (embeddings, audio, …), passed through and metered.

    `rename` returns the body for a model of that name. Of a multipart body only the beginning, `held`
    bytes up to the model's name, has been read: `more` says that the rest is still to come from the leg.
    """

    wire: str
    model: str
    method: str
    path: str
    rename: Callable[[str], bytes]
    content_type: bytes
    held: int = 0
    more: bool = False
    hide_usage: bool = False
    headers: Headers = []
    elsewhere: Elsewhere | None = None


class Count(msgspec.Struct):
    """How many tokens would this question have? Asked upstream where `wire` is spoken, else estimated."""

    wire: str
    model: str
    body: bytes
    put: Splice
    path: str
    request: Callable[[], ChatRequest]
    headers: Headers = []


class ListModels(msgspec.Struct):
    """Which models may this key use? With a name: that one only."""

    name: str | None = None


class Say(msgspec.Struct):
    """A question in a conversation that the gateway keeps.

    `parts`, `thread`, `parent` and `question` as in `dragoman.threads.Opening`. `template` holds what goes
    with the question: system messages, and settings such as temperature. `follow`: where no thread is named,
    the last one that was talked in under this name is continued, unless it is to begin `anew`. `wire` names the
    dialect, for the record. A `model` that nobody serves, or "", means the default one.
    """

    wire: str
    parts: tuple[Part, ...]
    model: str = ""
    thread: str = ""
    parent: str = ""
    question: str = ""
    follow: str = ""
    anew: bool = False
    template: ChatRequest = msgspec.field(default_factory=lambda: ChatRequest([]))
    stream: bool = True
    loose: bool = True


class Recite(msgspec.Struct):
    """An answer that the dialect gives by itself; a script of one step without waiting is a whole answer."""

    script: Script


class Mint(msgspec.Struct):
    """A token for `id`, valid for so many hours, by whoever shows the secret that signs it."""

    id: str
    hours: int
    key: Secret


class Login(msgspec.Struct):
    """A token for an account. `refresh`: what an earlier login left behind may be used."""

    name: str
    password: Secret
    refresh: bool = False


class OpenSession(msgspec.Struct):
    """A login at the page by exactly one of these: the code of a link that logs in once, a key, or a name and its
    password. Found is a `PageSession` with its cookie and a first token.
    """

    link: Secret | None = None
    key: Secret | None = None
    name: str = ""
    password: Secret | None = None


class ReadSession(msgspec.Struct):
    """Whose session a cookie is, for the page that shows its `csrf`; found is a `PageSession` without token."""

    cookie: Secret
    csrf: Secret


class RenewToken(msgspec.Struct):
    """A token for the page of this session; `csrf` is what the page was told when it read its session. Found is a
    `PageSession` with a token.
    """

    cookie: Secret
    csrf: Secret


class PageToken(msgspec.Struct, frozen=True):
    """What the page shows as its key until `expires` (Unix seconds)."""

    secret: Secret
    expires: float


class PageSession(msgspec.Struct, frozen=True):
    """A session of the page: whose it is, and what proves that a request of it came from the page itself.

    `cookie` is there if it is to be set, and lasts until `expires` (Unix seconds). It is no key anywhere else.
    `is_secure`: callers come by TLS.
    """

    principal: str
    role: Literal["user", "admin"]
    csrf: Secret
    expires: float
    cookie: Secret | None = None
    token: PageToken | None = None
    is_secure: bool = False


class ReadListeners(msgspec.Struct):
    """Where else this gateway listens; found is `Listeners`."""


class Listeners(msgspec.Struct, frozen=True):
    """Ports beside the main one, None where nothing listens: WebSocket of any path, gRPC, NDJSON alone, operators.
    `is_secure`: they speak TLS.
    """

    websocket: int | None = None
    grpc: int | None = None
    lines: int | None = None
    admin: int | None = None
    is_secure: bool = False


class ListThreads(msgspec.Struct):
    """Conversations of this key's owner, the latest first. `never_none`: make an empty one if there is none."""

    offset: int = 0
    limit: int = 20
    query: str = ""
    before: str = ""
    never_none: bool = False


class ReadThread(msgspec.Struct):
    """A conversation; `whole` with its messages."""

    id: str
    whole: bool = True


class RenameThread(msgspec.Struct):
    """A new title; "" makes one from the first question."""

    id: str
    title: str


class DropThread(msgspec.Struct):
    """Delete a conversation; "" deletes all of this owner."""

    id: str


class Adopt(msgspec.Struct):
    """Save conversations from elsewhere."""

    chronicles: list[Chronicle]


class Stop(msgspec.Struct):
    """Stop the answer of that label on the same connection."""

    label: str


class ReadMetrics(msgspec.Struct):
    """Everything that is measured, for Prometheus."""


Wish = (
    ListModels
    | Recite
    | Mint
    | Login
    | OpenSession
    | ReadSession
    | RenewToken
    | ReadListeners
    | ListThreads
    | ReadThread
    | RenameThread
    | DropThread
    | Adopt
    | Stop
    | ReadMetrics
    | Errand
)
"""What needs no relay: one look-up, one answer."""
