"""Conversations as JSON over WebSocket: `/v1/ws`. Several answers at once on one socket, each by its `id`.

In: `{"type":"ask","id","content","conversation_id","parent_id","model","system","max_tokens","temperature",
"top_p","stop"}` and `{"type":"cancel","id"}`. Out: typed events (docs/dialects.md).
"""

from typing import Annotated

import msgspec

from dragoman.chat import ChatRequest
from dragoman.faults import Fault, Malformed
from dragoman.legs import Head, Reply
from dragoman.people import Secret
from dragoman.ports import Lookup, Mount, Turn
from dragoman.wires.events import EventsTurn, JsonSpelling, Stopping, asked
from dragoman.wires.fields import text_of_query
from dragoman.wires.keyed import one_key
from dragoman.wires.talking import question

WIRE = "events_ws"
PARALLEL = 32
CANCEL_BYTES = 4096
encode = msgspec.json.encode


class _Ask(msgspec.Struct, tag_field="type", tag="ask"):
    content: str
    id: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    conversation_id: str | None = None
    parent_id: str | None = None
    model: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None


class _Cancel(msgspec.Struct, tag_field="type", tag="cancel"):
    id: str


_decode = msgspec.json.Decoder(_Ask | _Cancel).decode


class Json(JsonSpelling):
    """An event is one message, with the id of its question."""

    def framed(self, id_: str, kind: bytes, fields: bytes) -> bytes:
        return b'{"type":"%b","id":%b,%b}' % (kind, encode(id_ or None), fields)


SPELLING = Json()


class Message:
    """One message of a caller."""

    whole = True
    late = True

    def __init__(self, head: Head) -> None:
        self.head = head
        self._id = ""

    def claim(self) -> Secret | None:
        query = text_of_query(self.head.query)
        return one_key(self.head, query.get("key", ""))

    def receive(self, data: bytes) -> Turn | Lookup:
        self._id = _id_in(data)
        try:
            said = _decode(data)
        except msgspec.ValidationError as error:
            text, _, place = str(error).partition(" - at `$.")
            raise Malformed(text, field=place.rstrip("`") or None) from None
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise Malformed(f"A message must be one JSON object: {error}") from None
        if isinstance(said, _Cancel):
            return Stopping(said.id, SPELLING)
        stop = (said.stop,) if isinstance(said.stop, str) else tuple(said.stop or ())
        template = ChatRequest(
            [], max_tokens=said.max_tokens, temperature=said.temperature, top_p=said.top_p, stop=stop
        )
        ids = (said.conversation_id or "", said.parent_id or "")
        say = asked(WIRE, question(said.content, "content"), ids, said.model or "", said.system or "", template)
        return EventsTurn(say, said.id or "", self.head.id, SPELLING, in_band=True)

    def refuse(self, fault: Fault) -> Reply:
        return Reply(200, [], SPELLING.error(self._id, fault))


def _id_in(data: bytes) -> str:
    """Find the id of a message that may be wrong otherwise, so that its refusal can carry it."""
    try:
        tree = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
    id_ = tree.get("id") if isinstance(tree, dict) else None
    return id_[:200] if isinstance(id_, str) else ""


def is_cancel(data: bytes) -> bool:
    """Whether a message asks for an answer to be stopped: it must not wait for that very answer."""
    try:
        return len(data) <= CANCEL_BYTES and isinstance(_decode(data), _Cancel)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False


mounts: tuple[Mount, ...] = (Mount("WS", "/v1/ws", Message, parallel=PARALLEL, urgent=is_cancel),)
