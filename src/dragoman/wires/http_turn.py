"""What the answers of all HTTP dialects share: headers, and that a whole answer is a stream somebody waited for."""

import math
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from dragoman.chat import ChatRequest, Delta, End, Frame
from dragoman.faults import Fault
from dragoman.intents import Ask, Count
from dragoman.legs import Headers

RETRY_AFTER_MOST_S = 300
JSON: Headers = [(b"content-type", b"application/json")]
EVENTS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


Wish = TypeVar("Wish", Ask, Count)


class Voice(Protocol):
    """How a dialect says deltas: in pieces, or all at once."""

    def write(self, deltas: list[Delta]) -> list[bytes]: ...


def refusal_headers(fault: Fault) -> Headers:
    if fault.retry_after_s is None:
        return list(JSON)
    # Rounded up: who comes back then must not come too early.
    wait_s = max(1, math.ceil(fault.retry_after_s))
    if fault.blame == "upstream":
        # A provider may ask for years: what it says is obeyed, and passed on, within bounds.
        wait_s = min(wait_s, RETRY_AFTER_MOST_S)
    return [*JSON, (b"retry-after", b"%d" % wait_s)]


def waiting(place: int) -> bytes:
    """Write a comment of a stream of events, without the blank line behind it; `place` is that in a queue, or 0."""
    return b": waiting, place %d\n" % place if place else b": waiting\n"


def _nothing() -> ChatRequest:
    return ChatRequest([])


def _forgotten(values: dict[str, bytes]) -> bytes:
    raise ValueError(f"the request was sent and forgotten: {sorted(values)}")


class Words:
    """The caller's request in words, read when first needed, and what could not be carried over."""

    __slots__ = ("_parse", "_read")

    def __init__(self, parse: Callable[[], ChatRequest]) -> None:
        self._parse = parse
        self._read: ChatRequest | None = None

    def __call__(self) -> ChatRequest:
        if self._read is None:
            self._read = self._parse()
        return self._read

    def forget(self) -> None:
        """Keep only what was dropped."""
        self._parse = _nothing
        if self._read is not None:
            self._read = ChatRequest([], dropped=self._read.dropped)

    def dropped(self) -> Headers:
        """Tell the caller which of its fields no other wire can carry: `x-dragoman-dropped`."""
        names = dict.fromkeys(self._read.dropped) if self._read else ()
        return [(b"x-dragoman-dropped", ", ".join(names).encode("ascii", "replace"))] if names else []


class HttpTurn(Generic[Wish]):
    """The common half of a turn; dialects add `fail` and `beat`."""

    in_band = False
    label = ""
    early = False
    status = 200

    def __init__(
        self,
        intent: Wish,
        *,
        streaming: bool,
        voice: Callable[[], Voice],
        whole: Callable[[list[Delta]], bytes],
        words: Words,
    ) -> None:
        self.intent: Wish = intent
        self.streaming = streaming
        self._voice = voice() if streaming else None
        self._whole = whole
        self._words = words
        self._collected: list[Delta] = []

    def begun(self) -> None:
        self._words.forget()
        self.intent.body = b""
        self.intent.put = _forgotten
        self.intent.request = self._words

    def opening(self, headers: Headers) -> Headers:  # noqa: ARG002 - our own are enough
        return [*(EVENTS if self.streaming else JSON), *self._words.dropped()]

    def write(self, deltas: list[Delta]) -> list[bytes]:
        if self._voice is not None:
            return self._voice.write(deltas)
        self._collected += deltas
        last = deltas[-1]
        if isinstance(last, Frame) and last.ended:
            return [d.data for d in self._collected if isinstance(d, Frame)]
        return [self._whole(self._collected)] if isinstance(last, End) else []
