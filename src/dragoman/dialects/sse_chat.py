"""System A's chat: `POST /chat` in OpenAI's shape, safe for old event-stream clients, and `GET /event`.

Source: seed protocols, sections 1.3, 1.4 and 3. Every event has `choices[0].delta` and is written whole; nothing
but events, an `error` event among them, and single-line comments goes out. What the original dropped from
requests is passed on.
"""

import msgspec

from dragoman.chat import ChatRequest
from dragoman.faults import Fault, Malformed
from dragoman.intents import Ask
from dragoman.legs import Head, Headers, Reply, Step
from dragoman.ports import Crossing, Lookup, Mount, Turn
from dragoman.wires import openai_ask, openai_voice
from dragoman.wires.checks import Messages, Tokens, decode, refuse_hosts
from dragoman.wires.cors import Recited, cors, preflights
from dragoman.wires.fields import text_of_query
from dragoman.wires.framing import Document
from dragoman.wires.http_turn import EVENTS, HttpTurn, Words, refusal_headers, waiting
from dragoman.wires.keyed import Keyed
from dragoman.wires.openai_http import error_body

WIRE = "sse_chat"
EVENT_PAUSE_S = 2.0


class _Policy(msgspec.Struct):
    messages: Messages
    model: str | None = None
    stream: bool | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None


_decode = msgspec.json.Decoder(_Policy)


def has_stream(body: bytes) -> bool:
    """Whether a body has the key `stream`, whatever its value: this system's clients always send it."""
    try:
        return "stream" in msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False


class Chat(Keyed):
    """One chat."""

    def receive(self, data: bytes) -> Turn:
        document = Document(data, openai_ask.EXACT)
        refuse_hosts(document)
        return ChatTurn(document, decode(document, _decode), self.head)

    def refuse(self, fault: Fault) -> Reply:
        """A bad key is 403 with nothing in it; what else goes wrong has OpenAI's shape."""
        if fault.code in ("unauthenticated", "forbidden"):
            return Reply(403, cors(self.head), b"")
        return Reply(fault.status, [*refusal_headers(fault), *cors(self.head)], error_body(fault))


class ChatTurn(HttpTurn[Ask]):
    """Its answer. The wire is no provider's, so that no provider's bytes ever pass unopened."""

    def __init__(self, document: Document, policy: _Policy, head: Head) -> None:
        words = Words(lambda: _read(document))
        streaming = policy.stream or False
        intent = Ask(
            wire=WIRE,
            model=policy.model or "",
            body=b"",
            put=document.put,
            stream=streaming,
            request=words,
            max_tokens=policy.max_completion_tokens or policy.max_tokens,
            loose=True,
        )
        self._head = head
        super().__init__(
            intent,
            streaming=streaming,
            voice=lambda: openai_voice.StreamWriter(wants_usage=False, now=head.at),
            whole=lambda deltas: openai_voice.write_whole(deltas, head.at),
            words=words,
        )

    def opening(self, headers: Headers) -> Headers:
        return [*super().opening(headers), *cors(self._head)]

    def fail(self, fault: Fault) -> list[bytes]:
        return [b"event: error\ndata: %b\n\n" % error_body(fault)] if self.streaming else []

    def beat(self, place: int = 0) -> list[bytes]:
        # A comment with a blank line behind it would wedge old clients (section 3, rule 4).
        return [waiting(place)] if self.streaming else []


def _read(document: Document) -> ChatRequest:
    return openai_ask.parse(document)


class Events(Keyed):
    """Two numbered messages two seconds apart, then `close`: a page's test of its event stream."""

    def receive(self, data: bytes) -> Lookup:  # noqa: ARG002 - a GET has no body to read
        query = text_of_query(self.head.query)
        names = ("appId", "page", "pageSize")
        missing = [name for name in names if name not in query]
        if missing:
            raise Malformed(f"The parameter {missing[0]!r} is required.", field=missing[0])
        # A line break in a value would be one in the stream.
        said = "".join(query[name] for name in names).replace("\r", " ").replace("\n", " ").encode()
        steps = [Step(EVENT_PAUSE_S, b"data: %d%b\n\n" % (number, said)) for number in range(2)]
        return Recited(200, [*EVENTS, *cors(self.head)], *steps, Step(0.0, b"event: close\ndata: close\n\n"))

    def refuse(self, fault: Fault) -> Reply:
        return Reply(fault.status, [*refusal_headers(fault), *cors(self.head)], error_body(fault))


mounts: tuple[Mount, ...] = (
    Mount("POST", "/chat", Chat, crossing=Crossing("sse", b"text/event-stream", "minted", has_stream)),
    Mount("POST", "/sse/chat", Chat),
    Mount("GET", "/event", Events, public=True),
    *preflights("/sse/chat", "/event"),
)
