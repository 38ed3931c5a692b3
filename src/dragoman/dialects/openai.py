"""OpenAI Chat Completions for callers: `POST /v1/chat/completions`, `GET /v1/models`.

Source: OpenAI API reference, "Create chat completion", "List models", "Error codes". The key is
shown as `Authorization: Bearer`. Errors are `{"error": {message, type, param, code}}`; in a stream
an error is a data event of that shape and no `[DONE]` follows.
"""

from urllib.parse import unquote

import msgspec

from dragoman.faults import Fault, NotFound
from dragoman.intents import Ask, ListModels
from dragoman.legs import Head, Headers, Reply
from dragoman.people import Secret
from dragoman.ports import Lookup, Mount, Turn
from dragoman.routes import ModelCard
from dragoman.wires import limiting, openai_ask, openai_chat, openai_voice
from dragoman.wires.checks import need_json
from dragoman.wires.http_turn import JSON, HttpTurn, Words, waiting
from dragoman.wires.openai_http import Shape, error_body

encode = msgspec.json.encode


class ChatSession(Shape):
    """One chat completion."""

    def receive(self, data: bytes) -> Turn:
        need_json(self.head)
        return ChatTurn(openai_ask.peek(data), self.head, self.forwarded())


class ChatTurn(HttpTurn[Ask]):
    """The answer to one chat completion, streamed or whole."""

    def __init__(self, peek: openai_ask.Peek, head: Head, forwarded: Headers) -> None:
        words = Words(lambda: openai_ask.parse(peek.document))
        intent = Ask(
            wire=openai_chat.WIRE,
            model=peek.model,
            body=peek.document.body,
            put=peek.document.put,
            stream=peek.stream,
            request=words,
            max_tokens=peek.max_tokens,
            choices=peek.choices,
            metered=peek.metered,
            headers=forwarded,
        )
        now = head.at
        super().__init__(
            intent,
            streaming=peek.stream,
            voice=lambda: openai_voice.StreamWriter(wants_usage=peek.wants_usage, now=now),
            whole=lambda deltas: openai_voice.write_whole(deltas, now),
            words=words,
        )

    def fail(self, fault: Fault) -> list[bytes]:
        return [b"data: %b\n\n" % error_body(fault)] if self.streaming else []

    def beat(self, place: int = 0) -> list[bytes]:
        return [waiting(place) + b"\n"] if self.streaming else []


class ModelsSession(Shape):
    """The list of models, or one of them."""

    def receive(self, data: bytes) -> Lookup:  # noqa: ARG002 - a GET has no body to read
        _, _, name = self.head.path.partition("/v1/models/")
        return ModelsLookup(unquote(name) or None)


class ModelsLookup:
    def __init__(self, name: str | None) -> None:
        self.intent = ListModels(name)

    def answer(self, found: list[ModelCard] | int) -> Reply:
        cards = found if isinstance(found, list) else []
        rows = [{"id": c.name, "object": "model", "created": c.created, "owned_by": c.owner} for c in cards]
        body = rows[0] if self.intent.name else {"object": "list", "data": rows}
        return Reply(200, list(JSON), encode(body))


class NowhereSession(Shape):
    """A path that nobody serves, with a key or without."""

    def claim(self) -> Secret | None:
        raise NotFound(f"There is no {self.head.method} {self.head.path[:200]} here.")

    def receive(self, data: bytes) -> Turn | None:  # noqa: ARG002 - it never comes to that
        return None


mounts: tuple[Mount, ...] = (
    Mount("POST", "/v1/chat/completions", ChatSession, limiting=limiting.openai),
    Mount("GET", "/v1/models", ModelsSession),
    Mount("GET", "/v1/models/*", ModelsSession),
    Mount("*", "*", NowhereSession, stays=True),
)
