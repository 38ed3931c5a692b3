"""What a caller may want: a closed set, made by dialects and matched by the engine."""

from collections.abc import Callable

import msgspec

from dragoman.chat import ChatRequest
from dragoman.legs import Headers

Splice = Callable[[dict[str, bytes]], bytes]


class Ask(msgspec.Struct):
    """A question to a model.

    `body` is the caller's own bytes in `wire`, `put` returns them with top-level values spliced;
    `request()` reads them into words and is called only when the provider speaks another wire.
    `metered` is what to splice so that a stream reports its usage to us though the caller did not ask;
    it is then hidden from the caller. `headers` are those that the same wire may forward.
    """

    wire: str
    model: str
    body: bytes
    put: Splice
    stream: bool
    request: Callable[[], ChatRequest]
    max_tokens: int | None = None
    metered: dict[str, bytes] = {}
    headers: Headers = []


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
