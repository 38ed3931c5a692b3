"""Typed events of an answer in a conversation: begin, delta, thinking, tool_call, tool_arguments, end, error.

JSON and Protobuf spell them.

One question has one `id`, the caller's own; every event of its answer carries it.
"""

import math
from typing import Any, Protocol

import msgspec

from dragoman.chat import (
    Begin,
    ChatRequest,
    Delta,
    End,
    Message,
    Part,
    Tally,
    Text,
    TextDelta,
    ThinkDelta,
    ToolArgs,
    ToolOpen,
    Usage,
)
from dragoman.faults import Fault, Malformed
from dragoman.intents import Say, Stop
from dragoman.legs import Reply
from dragoman.threads import Place
from dragoman.wires.talking import Speaking

TOKENS_MOST = 10_000_000
encode = msgspec.json.encode


class Spelling(Protocol):
    """How events become bytes; none where an event cannot be said. `request` is the id of the request."""

    def begin(self, id_: str, request: str, place: Place, model: str) -> bytes: ...

    def delta(self, id_: str, text: str) -> bytes: ...

    def thinking(self, id_: str, text: str) -> bytes: ...

    def tool_call(self, id_: str, call: ToolOpen) -> bytes: ...

    def tool_arguments(self, id_: str, piece: ToolArgs) -> bytes: ...

    def end(self, id_: str, reason: str, usage: Usage) -> bytes: ...

    def error(self, id_: str, fault: Fault) -> bytes: ...


class JsonSpelling:
    """Events as JSON objects. Who frames them adds `framed`."""

    def framed(self, id_: str, kind: bytes, fields: bytes) -> bytes:
        """Write an event of a kind; `fields` are the inside of a JSON object."""
        raise NotImplementedError

    def begin(self, id_: str, request: str, place: Place, model: str) -> bytes:
        ids = {"conversation_id": place.thread.id, "question_id": place.question, "message_id": place.answer}
        said = {**ids, "parent_id": place.parent, "model": model, "request_id": request}
        return self.framed(id_, b"begin", _inside(said))

    def delta(self, id_: str, text: str) -> bytes:
        return self.framed(id_, b"delta", b'"text":%b' % encode(text))

    def thinking(self, id_: str, text: str) -> bytes:
        return self.framed(id_, b"thinking", b'"text":%b' % encode(text))

    def tool_call(self, id_: str, call: ToolOpen) -> bytes:
        return self.framed(id_, b"tool_call", _inside({"index": call.index, "id": call.id, "name": call.name}))

    def tool_arguments(self, id_: str, piece: ToolArgs) -> bytes:
        return self.framed(id_, b"tool_arguments", b'"index":%d,"json":%b' % (piece.index, encode(piece.json)))

    def end(self, id_: str, reason: str, usage: Usage) -> bytes:
        counts = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
        return self.framed(id_, b"end", _inside({"reason": reason, "usage": {**counts, "estimated": usage.estimated}}))

    def error(self, id_: str, fault: Fault) -> bytes:
        said: dict[str, Any] = {"code": fault.code, "message": fault.message}
        if fault.field:
            said["field"] = fault.field
        if fault.retry_after_s is not None:
            said["retry_after_s"] = max(1, math.ceil(fault.retry_after_s))
        return self.framed(id_, b"error", _inside(said))


def _inside(fields: dict[str, Any]) -> bytes:
    return encode(fields)[1:-1]


class EventsTurn(Speaking):
    """An answer as events, to the question `id_` in the request `request`.

    `in_band`: what goes wrong is an event too, else it is the connection's matter.
    """

    def __init__(self, intent: Say, id_: str, request: str, spelling: Spelling, *, in_band: bool) -> None:
        super().__init__(intent)
        self.label = id_
        self._request = request
        self.in_band = in_band
        self._spelling = spelling
        self._usage = Usage(estimated=True)

    def write(self, deltas: list[Delta]) -> list[bytes]:
        pieces: list[bytes] = []
        spelling, id_ = self._spelling, self.label
        for delta in deltas:
            match delta:
                case TextDelta(text):
                    pieces.append(spelling.delta(id_, text))
                case ThinkDelta(text) if text:
                    pieces.append(spelling.thinking(id_, text))
                case Begin(_, model):
                    pieces.append(spelling.begin(id_, self._request, self.place, model))
                case ToolOpen():
                    pieces.append(spelling.tool_call(id_, delta))
                case ToolArgs():
                    pieces.append(spelling.tool_arguments(id_, delta))
                case Tally(usage):
                    self._usage = usage
                case End(reason):
                    pieces.append(spelling.end(id_, reason, self._usage))
        return [piece for piece in pieces if piece]

    def fail(self, fault: Fault) -> list[bytes]:
        return [self._spelling.error(self.label, fault)] if self.in_band else []


class Stopping:
    """A wish to stop an answer: silent where there is one, since that answer will say it."""

    def __init__(self, id_: str, spelling: Spelling) -> None:
        self.intent = Stop(id_)
        self._spelling = spelling

    def answer(self, found: object) -> Reply:
        missing = Malformed("No answer of this id is under way.", field="id")
        return Reply(200, [], b"" if found else self._spelling.error(self.intent.label, missing))


def asked(
    wire: str, parts: tuple[Part, ...], ids: tuple[str, str], model: str, system: str, template: ChatRequest
) -> Say:
    """Make the intent of a question; `ids` are the conversation's and the parent's. Raises Malformed."""
    if system:
        template.messages.insert(0, Message("system", (Text(system),)))
    check(template)
    return Say(wire, parts, model, ids[0], ids[1], template=template, loose=False)


def check(template: ChatRequest) -> None:
    """Check the settings that go with a question. Raises Malformed that names the field."""
    for field, value, least, most in (
        ("max_tokens", template.max_tokens, 1, TOKENS_MOST),
        ("temperature", template.temperature, 0, 2),
        ("top_p", template.top_p, 0, 1),
        ("presence_penalty", template.presence_penalty, -2, 2),
        ("frequency_penalty", template.frequency_penalty, -2, 2),
    ):
        if value is not None and not least <= value <= most:
            raise Malformed(f"{field} must be a number from {least} to {most}.", field=field)
