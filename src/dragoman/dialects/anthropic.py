"""Anthropic Messages for callers: `POST /v1/messages`, `…/count_tokens`, `GET /v1/models`.

Source: Anthropic API reference, "Create a Message", "Count Message tokens", "List Models", "Errors".
The key is shown as `x-api-key` or `Authorization: Bearer`. Errors are `{"type": "error", "error":
{type, message}, "request_id"}`; in a stream an error is an `error` event and no message_stop follows.
"""

from datetime import UTC, datetime
from urllib.parse import unquote

import msgspec

from dragoman.faults import Fault, Malformed, NotFound
from dragoman.intents import Ask, Count, ListModels
from dragoman.legs import Head, Headers, Reply
from dragoman.people import Secret
from dragoman.ports import Lookup, Mount, Turn
from dragoman.routes import ModelCard
from dragoman.wires import anthropic, anthropic_ask, anthropic_voice, limiting
from dragoman.wires.checks import need_json
from dragoman.wires.http_turn import JSON, HttpTurn, Words, refusal_headers, waiting

encode = msgspec.json.encode
FORWARDED = frozenset({b"anthropic-version", b"anthropic-beta"})
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "request_timeout",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(fault: Fault, request_id: str) -> bytes:
    """Write a fault in Anthropic's shape, which has no place of its own for the field at fault."""
    message = fault.message
    if fault.field and fault.field not in message:
        message = f"{fault.field}: {message}"
    error = {"type": TYPES.get(fault.status, "api_error"), "message": message}
    return encode({"type": "error", "error": error, "request_id": request_id})


class _Shape:
    """What every session of this dialect shares: where the key is and how errors look."""

    whole = True
    late = False

    def __init__(self, head: Head) -> None:
        self.head = head

    def claim(self) -> Secret | None:
        shown = set()
        for name, value in self.head.headers:
            if name == b"x-api-key":
                shown.add(value.strip())
            elif name == b"authorization":
                scheme, _, key = value.partition(b" ")
                shown.add(key.strip() if scheme.lower() == b"bearer" else b"")
        if len(shown) > 1:
            raise Malformed("x-api-key and Authorization disagree.", field="x-api-key")
        key = shown.pop() if shown else b""
        return Secret(key.decode("latin-1")) if key else None

    def refuse(self, fault: Fault) -> Reply:
        return Reply(fault.status, refusal_headers(fault), error_body(fault, self.head.id))

    def forwarded(self) -> Headers:
        return [(name, value) for name, value in self.head.headers if name in FORWARDED]


class MessageSession(_Shape):
    """One message."""

    def receive(self, data: bytes) -> Turn:
        need_json(self.head)
        return MessageTurn(anthropic_ask.peek(data), self.head, self.forwarded())


class MessageTurn(HttpTurn[Ask]):
    """The answer to one message, streamed or whole."""

    def __init__(self, peek: anthropic_ask.Peek, head: Head, forwarded: Headers) -> None:
        words = Words(lambda: anthropic_ask.parse(peek.document))
        intent = Ask(
            wire=anthropic.WIRE,
            model=peek.model,
            body=peek.document.body,
            put=peek.document.put,
            stream=peek.stream,
            request=words,
            max_tokens=peek.max_tokens,
            headers=forwarded,
        )
        super().__init__(
            intent,
            streaming=peek.stream,
            voice=anthropic_voice.StreamWriter,
            whole=anthropic_voice.write_whole,
            words=words,
        )
        self._id = head.id

    def fail(self, fault: Fault) -> list[bytes]:
        return [b"event: error\ndata: %b\n\n" % error_body(fault, self._id)] if self.streaming else []

    def beat(self, place: int = 0) -> list[bytes]:
        return ([waiting(place) + b"\n"] if place else [anthropic_voice.PING]) if self.streaming else []


class CountSession(_Shape):
    """How many tokens a message would have."""

    def receive(self, data: bytes) -> Lookup:
        need_json(self.head)
        peek = anthropic_ask.peek(data, counting=True)
        return CountLookup(peek, self.forwarded())


class CountLookup(HttpTurn[Count]):
    """The count of a provider that counts, or our estimate."""

    def __init__(self, peek: anthropic_ask.Peek, forwarded: Headers) -> None:
        words = Words(lambda: anthropic_ask.parse(peek.document))
        intent = Count(
            wire=anthropic.WIRE,
            model=peek.model,
            body=peek.document.body,
            put=peek.document.put,
            path="/v1/messages/count_tokens",
            request=words,
            headers=forwarded,
        )
        voice = anthropic_voice.StreamWriter
        super().__init__(intent, streaming=False, voice=voice, whole=anthropic_voice.write_whole, words=words)

    def fail(self, fault: Fault) -> list[bytes]:  # noqa: ARG002 - nothing goes out before the end
        return []

    def beat(self, place: int = 0) -> list[bytes]:  # noqa: ARG002 - not a stream
        return []

    def answer(self, found: list[ModelCard] | int) -> Reply:
        """Render an estimate, and say that it is one."""
        headers = [*JSON, (b"x-dragoman-estimated", b"true")]
        return Reply(200, headers, encode({"input_tokens": found}))


class ModelsSession(_Shape):
    """The list of models, or one of them."""

    def receive(self, data: bytes) -> Lookup:  # noqa: ARG002 - a GET has no body to read
        _, _, name = self.head.path.partition("/v1/models/")
        return ModelsLookup(unquote(name) or None)


class ModelsLookup:
    def __init__(self, name: str | None) -> None:
        self.intent = ListModels(name)

    def answer(self, found: list[ModelCard] | int) -> Reply:
        cards = found if isinstance(found, list) else []
        rows = [
            {
                "type": "model",
                "id": c.name,
                "display_name": c.name,
                "created_at": datetime.fromtimestamp(c.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "lifecycle": "active",
            }
            for c in cards
        ]
        if self.intent.name:
            return Reply(200, list(JSON), encode(rows[0]))
        first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
        page = {"data": rows, "has_more": False, "first_id": first, "last_id": last}
        return Reply(200, list(JSON), encode(page))


class NowhereSession(_Shape):
    """A path that nobody serves, with a key or without."""

    def claim(self) -> Secret | None:
        raise NotFound(f"There is no {self.head.method} {self.head.path[:200]} here.")

    def receive(self, data: bytes) -> Turn | None:  # noqa: ARG002 - it never comes to that
        return None


def speaks(head: Head) -> bool:
    """Whether a caller of a shared path shows that it speaks this dialect."""
    return head.get(b"anthropic-version") is not None or (
        head.get(b"x-api-key") is not None and head.get(b"authorization") is None
    )


mounts: tuple[Mount, ...] = (
    Mount("POST", "/v1/messages", MessageSession, limiting=limiting.anthropic),
    Mount("POST", "/v1/messages/count_tokens", CountSession, limiting=limiting.anthropic),
    Mount("GET", "/v1/models", ModelsSession, when=speaks),
    Mount("GET", "/v1/models/*", ModelsSession, when=speaks),
    Mount("*", "*", NowhereSession, when=speaks),
)
