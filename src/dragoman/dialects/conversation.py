"""System A's `/conv`: conversations by `Chat-Type`. Source: seed protocols, section 1.5.

Answered from the gateway's own conversations; where a back end is configured, relayed to it. Refusals have an empty
body, and say what was wrong in the header `x-dragoman-error`.
"""

import re
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec

from dragoman.chat import Delta, Frame
from dragoman.faults import Fault, Malformed
from dragoman.intents import Elsewhere, Forward, ListThreads, ReadThread, RenameThread, Say
from dragoman.legs import Headers, Reply
from dragoman.ports import Lookup, Mount, Turn
from dragoman.routes import BACKEND
from dragoman.threads import Shelf, Thread
from dragoman.wires import chatgpt_ask, chatgpt_voice, chatgpt_web
from dragoman.wires.chatgpt_voice import CumulativeTurn
from dragoman.wires.cors import cors, preflights
from dragoman.wires.fields import read_object, text_of_query, whole_number
from dragoman.wires.http_turn import EVENTS, JSON, waiting
from dragoman.wires.keyed import Keyed
from dragoman.wires.talking import question

WIRE = "conversation"
LIMIT = 5
MOST = 100
_ONE = re.compile(r"conversation/(gen_title/)?([0-9a-fA-F-]{36})")
encode = msgspec.json.encode


class Conversations(Keyed):
    """One request; the header `Chat-Type` says which."""

    def receive(self, data: bytes) -> Turn | Lookup:
        kind = (self.head.get(b"chat-type") or b"").decode("latin-1").strip()
        one = _ONE.fullmatch(kind)
        if kind == "conversations" and self.head.method == "GET":
            return self.list(*self._page())
        if one and one[1]:
            return self.retitle(one[2])
        if one and self.head.method == "GET":
            return self.one(one[2])
        if kind == "conversation" and self.head.method == "POST":
            return self.ask(read_object(data))
        raise Malformed("Chat-Type must be conversations, conversation or conversation/<id>.", field="Chat-Type")

    def _page(self) -> tuple[int, int]:
        query = text_of_query(self.head.query)
        offset = whole_number(query.get("offset", ""), 0, 0, 999_999_999, "offset")
        return offset, whole_number(query.get("limit", ""), LIMIT, 1, MOST, "limit")

    def list(self, offset: int, limit: int) -> Turn | Lookup:
        return Listed(ListThreads(offset, limit, never_none=True), cors(self.head))

    def one(self, id_: str) -> Turn | Lookup:
        return Found(ReadThread(id_, whole=False), cors(self.head))

    def retitle(self, id_: str) -> Turn | Lookup:
        return Found(RenameThread(id_, ""), cors(self.head))

    def ask(self, tree: dict[str, Any]) -> Turn | Lookup:
        content, thread, parent = _asked(tree)
        # Without a conversation the parent means nothing: clients make one up.
        say = Say(WIRE, question(content, "content"), thread=thread, parent=parent if thread else "")
        return EventsTurn(say, cors(self.head))

    def refuse(self, fault: Fault) -> Reply:
        status = 403 if fault.code == "unauthenticated" else fault.status
        said = [(b"x-dragoman-error", quote(fault.message, safe=" ").encode())]
        return Reply(status, [*said, *cors(self.head)], b"")


def _asked(tree: dict[str, Any]) -> tuple[str, str, str]:
    values = [tree.get(name) or "" for name in ("content", "conversation_id", "parent_message_id")]
    if not all(isinstance(value, str) for value in values):
        raise Malformed("content, conversation_id and parent_message_id must be strings.", field="content")
    return values[0], values[1], values[2]


class Listed:
    """A page of conversations, with its keys in the order of the alphabet as the original had them."""

    def __init__(self, intent: ListThreads, headers: Headers) -> None:
        self.intent = intent
        self._headers = headers

    def answer(self, found: Shelf) -> Reply:
        intent = self.intent
        tree = chatgpt_voice.listing(found.threads, found.total, intent.limit, intent.offset)
        for row in tree["items"]:
            del row["update_time"]
        return Reply(200, [*JSON, *self._headers], sorted_json({**tree, "index": 0, "multi": False}))


def sorted_json(tree: dict[str, Any]) -> bytes:
    return msgspec.json.encode(tree, order="sorted")


class Found:
    """One conversation: three keys of it."""

    def __init__(self, intent: ReadThread | RenameThread, headers: Headers) -> None:
        self.intent = intent
        self._headers = headers

    def answer(self, found: Thread) -> Reply:
        if isinstance(self.intent, RenameThread):
            return Reply(200, [*JSON, *self._headers], encode({"title": found.title}))
        tree = {"current_node": found.current, "title": found.title, "update_time": found.updated}
        return Reply(200, [*JSON, *self._headers], encode(tree))


class EventsTurn(CumulativeTurn):
    """An answer, as events that hold the whole text so far."""

    def fail(self, fault: Fault) -> list[bytes]:
        return [failed(fault)]

    def beat(self, place: int = 0) -> list[bytes]:
        return [waiting(place)]


def failed(fault: Fault) -> bytes:
    return b"event: error\ndata: %b\n\n" % encode({"error": {"message": fault.message, "code": fault.code}})


class Relayed(Conversations):
    """The same, answered by the back end."""

    def list(self, offset: int, limit: int) -> Turn | Lookup:
        elsewhere = Elsewhere(is_list=True)
        change = partial(listed_there, elsewhere)
        return self._whole("GET", f"/conversations?offset={offset}&limit={limit}", change, elsewhere)

    def one(self, id_: str) -> Turn | Lookup:
        return self._whole("GET", f"/conversation/{id_}", found_there, Elsewhere(id_))

    def retitle(self, id_: str) -> Turn | Lookup:
        return self._whole("POST", f"/conversation/gen_title/{id_}", bytes, Elsewhere(id_))

    def ask(self, tree: dict[str, Any]) -> Turn | Lookup:
        content, thread, parent = _asked(tree)
        elsewhere = Elsewhere(thread)
        body = chatgpt_ask.relay(content, thread, parent)
        turn = BackendTurn(self._forward("POST", "/conversation", body, elsewhere), cors(self.head), None)
        elsewhere.begun = turn.conversation
        return turn

    def _whole(self, method: str, path: str, change: Any, elsewhere: Elsewhere) -> "BackendTurn":
        body = b"{}" if method == "POST" else b""
        return BackendTurn(self._forward(method, path, body, elsewhere), cors(self.head), change)

    def _forward(self, method: str, path: str, body: bytes, elsewhere: Elsewhere) -> Forward:
        return Forward(
            wire=chatgpt_web.WIRE,
            model=f"{BACKEND}/{chatgpt_ask.MODEL}",
            method=method,
            path=path,
            rename=lambda _: body,
            content_type=b"application/json",
            elsewhere=elsewhere,
        )


class BackendTurn:
    """An answer of the back end: its events as they come, or its body, changed, when it is whole."""

    in_band = False
    label = ""
    early = False
    status = 200

    def __init__(self, intent: Forward, headers: Headers, change: Any) -> None:
        self.intent = intent
        self._headers = headers
        self._change = change
        self._body = b""
        self._conversation = ""
        self.streaming = change is None

    def conversation(self) -> str:
        """Return the id that the back end gave, "" if it said none."""
        return self._conversation

    def opening(self, headers: Headers) -> Headers:  # noqa: ARG002 - our own are enough
        return [*(EVENTS if self.streaming else JSON), *self._headers]

    def begun(self) -> None:
        self.intent.rename = str.encode

    def write(self, deltas: list[Delta]) -> list[bytes]:
        frames = [delta for delta in deltas if isinstance(delta, Frame)]
        if self.streaming:
            if frames and not self._conversation:
                self._conversation = chatgpt_web.conversation_in(frames[0].data)
            return [frame.data for frame in frames]
        self._body += b"".join(frame.data for frame in frames)
        return [self._change(self._body)] if frames and frames[-1].ended else []

    def fail(self, fault: Fault) -> list[bytes]:
        return [failed(fault)] if self.streaming else []

    def beat(self, place: int = 0) -> list[bytes]:
        return [waiting(place)] if self.streaming else []


def listed_there(elsewhere: Elsewhere, body: bytes) -> bytes:
    """Add the two keys that the original added; leave out what is somebody else's."""
    tree = read_object(body)
    hidden = elsewhere.hidden
    if hidden and isinstance(tree.get("items"), list):
        tree["items"] = [item for item in tree["items"] if not (isinstance(item, dict) and item.get("id") in hidden)]
        if isinstance(tree.get("total"), int):
            tree["total"] = max(len(tree["items"]), tree["total"] - len(hidden))
    return sorted_json({**tree, "index": 0, "multi": False})


def found_there(body: bytes) -> bytes:
    tree = read_object(body)
    return encode({name: tree.get(name) for name in ("current_node", "title", "update_time")})


mounts: tuple[Mount, ...] = (
    *(Mount(method, "/conv", Conversations) for method in ("GET", "POST")),
    *(Mount(method, "/conv", Relayed, needs=BACKEND) for method in ("GET", "POST")),
    *preflights("/conv"),
)
