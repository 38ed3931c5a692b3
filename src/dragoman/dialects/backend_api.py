"""The ChatGPT-web back end for clients that expect one: `/backend-api/…`, `/api/conversation…`.

Source: seed protocols, section 2. The conversations are the gateway's own. Earlier messages that a caller sends along
go with the question and are not kept. `GET /api/conversations` is the native dialect's, which says both.
"""

from typing import Any
from urllib.parse import unquote

import msgspec

from dragoman.chat import ChatRequest
from dragoman.faults import Fault, Malformed, NotFound
from dragoman.intents import DropThread, ListThreads, ReadThread, RenameThread, Say, Wish
from dragoman.legs import Headers, Reply
from dragoman.people import Secret
from dragoman.ports import Lookup, Mount, Turn
from dragoman.wires import chatgpt_ask, chatgpt_voice
from dragoman.wires.chatgpt_voice import CumulativeTurn
from dragoman.wires.cors import cors, preflights
from dragoman.wires.fields import read_object, text_of_query, whole_number
from dragoman.wires.http_turn import JSON, refusal_headers
from dragoman.wires.keyed import Keyed, one_key

WIRE = "backend_api"
LIMIT = 20
encode = msgspec.json.encode


class _Shape(Keyed):
    """Where the key is shown, and how errors look here."""

    def claim(self) -> Secret | None:
        one_key(self.head)
        value = self.head.get(b"authorization") or b""
        scheme, _, key = value.strip().partition(b" ")
        return Secret(key.strip().decode("latin-1")) if scheme.lower() == b"bearer" and key.strip() else None

    def refuse(self, fault: Fault) -> Reply:
        status, text = fault.status, fault.message
        if fault.code == "unauthenticated" and self.claim() is None:
            status, text = 403, "Missing accessToken."
        body = encode({"errorMessage": text, "detail": text})
        return Reply(status, [*refusal_headers(fault), *cors(self.head)], body)

    def found(self, wish: Wish, say: Any) -> Lookup:
        return Answered(wish, say, cors(self.head))


class Answered:
    """An answer made by a function of what was found."""

    def __init__(self, intent: Wish, say: Any, headers: Headers) -> None:
        self.intent = intent
        self._say = say
        self._headers = headers

    def answer(self, found: Any) -> Reply:
        return Reply(200, [*JSON, *self._headers], encode(self._say(found)))


def _success(_: object) -> dict[str, bool]:
    return {"success": True}


class Conversations(_Shape):
    """The list, and what is done to all of it."""

    def receive(self, data: bytes) -> Lookup:
        if self.head.method == "PATCH":
            if read_object(data).get("is_visible") is not False:
                raise Malformed('Only {"is_visible": false} is understood here.', field="is_visible")
            return self.found(DropThread(""), _success)
        query = text_of_query(self.head.query)
        offset = whole_number(query.get("offset", ""), 0, 0, 999_999_999, "offset")
        limit = whole_number(query.get("limit", ""), LIMIT, 1, 100, "limit")
        return self.found(
            ListThreads(offset, limit), lambda shelf: chatgpt_voice.listing(shelf.threads, shelf.total, limit, offset)
        )


class Conversation(_Shape):
    """One conversation: read, renamed, hidden, given a title."""

    def receive(self, data: bytes) -> Lookup:
        _, _, rest = self.head.path.partition("/conversation/")
        titled, _, id_ = rest.rpartition("/")
        id_ = unquote(id_)
        match self.head.method, titled:
            case "GET", "":
                return self.found(ReadThread(id_), chatgpt_voice.detail)
            case "POST", "gen_title":
                return self.found(RenameThread(id_, ""), lambda thread: {"title": thread.title})
            case "PATCH", "":
                return self._change(id_, read_object(data))
        raise NotFound(f"There is no {self.head.method} {self.head.path[:200]} here.")

    def _change(self, id_: str, tree: dict[str, Any]) -> Lookup:
        if tree.get("is_visible") is False:
            return self.found(DropThread(id_), _success)
        title = tree.get("title")
        if not isinstance(title, str) or not title.strip():
            raise Malformed("title must be a string that says something.", field="title")
        return self.found(RenameThread(id_, title), _success)


class Asking(_Shape):
    """A question."""

    def receive(self, data: bytes) -> Turn:
        asked = chatgpt_ask.read(data)
        said = [chatgpt_ask.words(message, number) for number, message in enumerate(asked.messages)]
        if said[-1].role != "user":
            raise Malformed("The last message must be the user's.", field="messages")
        thread = asked.conversation_id or ""
        say = Say(
            WIRE,
            said[-1].parts,
            model=asked.model or "",
            thread=thread,
            # A caller makes up a parent for a new conversation.
            parent=(asked.parent_message_id or "") if thread else "",
            question=asked.messages[-1].id,
            template=ChatRequest(said[:-1]),
        )
        return EventsTurn(say, cors(self.head))


class EventsTurn(CumulativeTurn):
    """An answer, as events that hold the whole text so far."""

    def fail(self, fault: Fault) -> list[bytes]:
        error = {"message": None, "conversation_id": self.place.thread.id, "error": fault.message}
        return [b"data: %b\n\n" % encode(error)]

    def beat(self, place: int = 0) -> list[bytes]:  # noqa: ARG002 - no place for it here
        return [b"event: ping\ndata: 1\n\n"]


mounts: tuple[Mount, ...] = (
    Mount("GET", "/backend-api/conversations", Conversations),
    Mount("PATCH", "/backend-api/conversations", Conversations),
    Mount("PATCH", "/api/conversations", Conversations),
    *(
        mount
        for prefix in ("/backend-api", "/api")
        for mount in (
            Mount("POST", f"{prefix}/conversation", Asking),
            *(Mount(method, f"{prefix}/conversation/*", Conversation) for method in ("GET", "POST", "PATCH")),
            *preflights(f"{prefix}/conversation", f"{prefix}/conversation/*"),
        )
    ),
    *preflights("/backend-api/conversations"),
)
