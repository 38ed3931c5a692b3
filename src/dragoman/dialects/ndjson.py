"""System D: `POST /chat` as one JSON object a line, `{"done","error","content"}`, and its `GET /`.

Source: seed protocols, section 6. Its client parses every network read by itself, so lines are short and written
whole; errors are lines too, with status 200, and the answer always ends.
"""

import msgspec

from dragoman.chat import ChatRequest, Delta, End, TextDelta
from dragoman.faults import Fault, Malformed
from dragoman.intents import Ask
from dragoman.legs import Head, Headers, Reply, Step
from dragoman.ports import Crossing, Lookup, Mount, Turn
from dragoman.wires import openai_ask
from dragoman.wires.checks import refuse_hosts
from dragoman.wires.cors import Recited, cors, preflights
from dragoman.wires.fields import FORM, media_type, read_form
from dragoman.wires.framing import Document
from dragoman.wires.http_turn import JSON, Words
from dragoman.wires.keyed import Keyed
from dragoman.wires.openai_http import error_body

WIRE = "ndjson"
DENIED = "权限不足"
# A control character takes six bytes in JSON.
LINE_CHARACTERS = 600
DONE = b'{"done":true,"error":false,"content":"[DONE]"}'
LINES: Headers = [
    (b"content-type", b"application/x-ndjson; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
encode = msgspec.json.encode


class _Asked(msgspec.Struct):
    model: str | None = None
    messages: list[msgspec.Raw] = []


_decode = msgspec.json.Decoder(_Asked).decode


class Chat(Keyed):
    """One chat: the whole history comes with it."""

    def receive(self, data: bytes) -> Turn:
        kind = media_type(self.head.get(b"content-type"))
        if kind == FORM:
            data = encode(read_form(data))
        elif not data.strip() or kind not in (b"application/json", b""):
            data = b"{}"
        document = Document(data, openai_ask.EXACT)
        refuse_hosts(document)
        try:
            asked = _decode(data)
        except msgspec.DecodeError as error:
            raise Malformed(str(error), field="messages") from None
        if not asked.messages:
            raise Malformed("messages must not be empty.", field="messages", status=200)
        return LinesTurn(asked.model or "", document, self.head)

    def refuse(self, fault: Fault) -> Reply:
        """What is no request at all is refused by status; everything else is told in lines."""
        if fault.code in ("malformed", "too_large", "request_timeout", "method_not_allowed") and fault.status != 200:
            return Reply(fault.status, [*JSON, *cors(self.head)], error_body(fault))
        said = DENIED if fault.code == "unauthenticated" else fault.message
        return Reply(200, [*LINES, *cors(self.head)], line(said, is_error=True) + DONE)


class LinesTurn:
    """The answer, line by line. The wire is no provider's: every answer is read into words."""

    streaming = True
    in_band = True
    label = ""
    early = True
    status = 200

    def __init__(self, model: str, document: Document, head: Head) -> None:
        self._words = Words(lambda: openai_ask.parse(document))
        self._head = head
        self.intent = Ask(
            wire=WIRE,
            model=model,
            body=b"",
            put=document.put,
            stream=True,
            request=self._words,
            loose=True,
        )

    def opening(self, headers: Headers) -> Headers:  # noqa: ARG002 - our own are enough
        return [*LINES, *self._words.dropped(), *cors(self._head)]

    def begun(self) -> None:
        self._words.forget()
        self.intent.put = _forgotten
        self.intent.request = _nothing

    def write(self, deltas: list[Delta]) -> list[bytes]:
        pieces: list[bytes] = []
        for delta in deltas:
            if type(delta) is TextDelta:
                text = delta.text
                pieces += [line(text[at : at + LINE_CHARACTERS]) for at in range(0, len(text), LINE_CHARACTERS)]
            elif type(delta) is End:
                pieces.append(DONE)
        return pieces

    def fail(self, fault: Fault) -> list[bytes]:
        return [line(fault.message, is_error=True), DONE]

    def beat(self, place: int = 0) -> list[bytes]:  # noqa: ARG002 - no place for it here
        # The client skips blank lines.
        return [b"\n"]


def line(content: str, *, is_error: bool = False) -> bytes:
    return b'{"done":false,"error":%b,"content":%b}\n' % (b"true" if is_error else b"false", encode(content))


def _forgotten(values: dict[str, bytes]) -> bytes:
    raise ValueError(f"the request was sent and forgotten: {sorted(values)}")


def _nothing() -> ChatRequest:
    return ChatRequest([])


class Hello(Keyed):
    """`GET /`."""

    def receive(self, data: bytes) -> Lookup:  # noqa: ARG002 - a GET has no body to read
        return Recited(
            200, [(b"content-type", b"text/html; charset=utf-8"), *cors(self.head)], Step(data=b"hello world!")
        )

    def refuse(self, fault: Fault) -> Reply:
        return Reply(fault.status, [*JSON, *cors(self.head)], error_body(fault))


mounts: tuple[Mount, ...] = (
    Mount(
        "POST", "/chat", Chat, crossing=Crossing("ndjson", b"application/x-ndjson", "relay"), door="relay", stays=True
    ),
    Mount("POST", "/ndjson/chat", Chat, door="relay"),
    Mount("GET", "/", Hello, public=True, stays=True),
    *preflights("/chat", "/", stays=True),
    *preflights("/ndjson/chat"),
)
