"""Conversations over plain HTTP: `POST /api/chat`, typed events as an event stream. What a page needs, in one call.

In: JSON with `content` (text, or parts in OpenAI's shape and results of tools), `conversation_id`, `parent_id`,
`model`, settings and `tools`; without `content` the question `parent_id` is answered once more. Out: one `data` line
an event (docs/dialects.md). Errors before the first event have OpenAI's shape.
"""

from typing import Annotated, Any

import msgspec

from dragoman.chat import ChatRequest, Image, Part, Text, ToolResult
from dragoman.faults import Fault, Malformed
from dragoman.intents import Say
from dragoman.legs import Head, Headers, Reply
from dragoman.ports import Mount, Turn
from dragoman.wires import openai_ask
from dragoman.wires.checks import decode, refuse_hosts, refuse_twins
from dragoman.wires.cors import cors, preflights
from dragoman.wires.events import EventsTurn, JsonSpelling, asked
from dragoman.wires.framing import Document
from dragoman.wires.http_turn import EVENTS, waiting
from dragoman.wires.openai_http import Shape
from dragoman.wires.talking import question

WIRE = "events_sse"
PATH = "/api/chat"
PARTS_MOST = 1_000
TOOLS_MOST = 1_000

_Parts = Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=PARTS_MOST)]
_Tools = Annotated[list[openai_ask.FunctionTool], msgspec.Meta(max_length=TOOLS_MOST)]


class _Body(msgspec.Struct):
    content: str | _Parts | None = None
    conversation_id: str | None = None
    parent_id: str | None = None
    model: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    tools: _Tools | None = None


_decode = msgspec.json.Decoder(_Body)
_EXACT = frozenset(_Body.__struct_fields__)


class Json(JsonSpelling):
    """An event is one `data` line; the connection says which question it is of."""

    def framed(self, id_: str, kind: bytes, fields: bytes) -> bytes:  # noqa: ARG002 - there is one question
        return b'data: {"type":"%b",%b}\n\n' % (kind, fields)


SPELLING = Json()


class Chat(Shape):
    """One question."""

    def receive(self, data: bytes) -> Turn:
        document = Document(data, _EXACT)
        refuse_hosts(document)
        said = decode(document, _decode)
        if said.tools:
            refuse_twins(document, "tools")
        parts = _content(said.content)
        if not parts and not said.parent_id:
            raise Malformed("content is required, or parent_id of a question to answer once more.", field="content")
        template = ChatRequest(
            [],
            max_tokens=said.max_tokens,
            temperature=said.temperature,
            top_p=said.top_p,
            stop=(said.stop,) if isinstance(said.stop, str) else tuple(said.stop or ()),
            tools=tuple(openai_ask.tool_of(tool, number) for number, tool in enumerate(said.tools or ())),
        )
        ids = (said.conversation_id or "", said.parent_id or "")
        return _ChatTurn(asked(WIRE, parts, ids, said.model or "", said.system or "", template), self.head)

    def refuse(self, fault: Fault) -> Reply:
        reply = super().refuse(fault)
        reply.headers += cors(self.head)
        return reply


class _ChatTurn(EventsTurn):
    def __init__(self, intent: Say, head: Head) -> None:
        super().__init__(intent, "", head.id, SPELLING, in_band=True)
        self._head = head

    def opening(self, headers: Headers) -> Headers:  # noqa: ARG002 - the provider's are not shown
        return [*EVENTS, *cors(self._head)]

    def beat(self, place: int = 0) -> list[bytes]:
        return [waiting(place) + b"\n"]


def _content(content: str | list[dict[str, Any]] | None) -> tuple[Part, ...]:
    """Read a question; results of tools first, as providers want them. Raises Malformed that names the field."""
    if content is None:
        return ()
    if isinstance(content, str):
        return question(content, "content")
    parts = [_part(part, f"content.{number}") for number, part in enumerate(content)]
    if all(isinstance(part, Text) and not part.text.strip() for part in parts):
        raise Malformed("content must not be empty.", field="content")
    return tuple(sorted(parts, key=lambda part: not isinstance(part, ToolResult)))


def _part(part: dict[str, Any], where: str) -> Part:
    if part.get("type") == "tool_result":
        return _tool_result(part, where)
    read = openai_ask.part_of(part, where)
    if isinstance(read, Image) and not _is_image(read):
        message = "An image is an http or https URL, or a data URL of an image in base64."
        raise Malformed(message, field=f"{where}.image_url.url")
    return read


def _is_image(image: Image) -> bool:
    if image.data:
        return image.media_type.startswith("image/")
    return image.url.startswith(("https://", "http://"))


def _tool_result(part: dict[str, Any], where: str) -> ToolResult:
    id_, content = part.get("tool_call_id"), part.get("content")
    if not isinstance(id_, str) or not id_:
        raise Malformed(f"{where}.tool_call_id must be the id of a tool call.", field=f"{where}.tool_call_id")
    if not isinstance(content, str):
        raise Malformed(f"{where}.content must be a string.", field=f"{where}.content")
    return ToolResult(id_, (Text(content),) if content else ())


mounts: tuple[Mount, ...] = (Mount("POST", PATH, Chat), *preflights(PATH))
