"""The native interface to conversations: `/api/conversations…`, described in `/openapi.json`.

Errors have OpenAI's shape. The list also has the keys of the ChatGPT-web back end, whose path it shares.
"""

from typing import Any
from urllib.parse import unquote

import msgspec

from dragoman.chat import Text
from dragoman.faults import Fault, Malformed, NotFound
from dragoman.intents import Adopt, DropThread, ListThreads, ReadThread, RenameThread, Wish
from dragoman.legs import Headers, Reply
from dragoman.ports import Lookup, Mount
from dragoman.threads import Shelf, Story, Thread
from dragoman.wires import chatgpt_voice, chronicles
from dragoman.wires.cors import cors, preflights
from dragoman.wires.fields import read_object, text_of_query, whole_number
from dragoman.wires.http_turn import JSON
from dragoman.wires.openai_http import Shape
from dragoman.wires.private import PRIVATE

PATH = "/api/conversations"
LIMIT = 20
TITLE_CHARACTERS = 200
encode = msgspec.json.encode


class _Native(Shape):
    def refuse(self, fault: Fault) -> Reply:
        reply = super().refuse(fault)
        reply.headers += cors(self.head)
        return reply

    def found(self, wish: Wish, say: Any, status: int = 200) -> Lookup:
        return Found(wish, say, status, [*JSON, *PRIVATE, *cors(self.head)])


class Found:
    """An answer made by a function of what was found; nothing is said where there is nothing to say."""

    def __init__(self, intent: Wish, say: Any, status: int, headers: Headers) -> None:
        self.intent = intent
        self._say = say
        self._status = status
        self._headers = headers

    def answer(self, found: Any) -> Reply:
        said = self._say(found)
        if isinstance(said, Reply):
            said.headers += self._headers[1:]
            return said
        return Reply(self._status, self._headers, b"" if said is None else encode(said))


def row(thread: Thread) -> dict[str, Any]:
    return {
        "id": thread.id,
        "title": thread.title,
        "created": thread.created,
        "updated": thread.updated,
        "current": thread.current,
    }


def whole(story: Story) -> dict[str, Any]:
    """Write a conversation with its messages; parts that are not text are given as they are kept."""
    rows = []
    for node in story.nodes:
        message: dict[str, Any] = {
            "id": node.id,
            "parent": node.parent,
            "role": node.role,
            "content": node.text,
            "state": node.state,
            "model": node.model or None,
            "created": node.at,
            "request_id": node.request or None,
        }
        if any(not isinstance(part, Text) for part in node.parts):
            message["parts"] = msgspec.to_builtins(node.parts)
        rows.append(message)
    return {**row(story.thread), "root": story.thread.root, "messages": rows}


class Listing(_Native):
    """The list: `limit`, `offset` or `before` (an id), `q` (in titles)."""

    def receive(self, data: bytes) -> Lookup:  # noqa: ARG002 - a GET has no body to read
        query = text_of_query(self.head.query)
        limit = whole_number(query.get("limit", ""), LIMIT, 1, 100, "limit")
        offset = whole_number(query.get("offset", ""), 0, 0, 999_999_999, "offset")

        def said(shelf: Shelf) -> dict[str, Any]:
            is_last = len(shelf.threads) < limit
            return {
                "conversations": [row(thread) for thread in shelf.threads],
                "next": None if is_last else shelf.threads[-1].id,
                **chatgpt_voice.listing(shelf.threads, shelf.total, limit, offset),
            }

        return self.found(ListThreads(offset, limit, query.get("q", ""), query.get("before", "")), said)


class One(_Native):
    """One conversation."""

    def receive(self, data: bytes) -> Lookup:
        id_, _, rest = self.head.path.removeprefix(PATH + "/").partition("/")
        id_ = unquote(id_)
        match self.head.method, rest:
            case "GET", "":
                return self.found(ReadThread(id_), whole)
            case "GET", "export":
                return self._export(id_)
            case "PATCH", "":
                return self.found(RenameThread(id_, _title(data)), row)
            case "DELETE", "":
                return self.found(DropThread(id_), lambda _: None, 204)
        raise NotFound(f"There is no {self.head.method} {self.head.path[:200]} here.")

    def _export(self, id_: str) -> Lookup:
        form = text_of_query(self.head.query).get("format", "json")
        if form not in ("json", "markdown"):
            raise Malformed("format must be json or markdown.", field="format")
        kind, name = (b"application/json", "json") if form == "json" else (b"text/markdown; charset=utf-8", "md")

        def file(story: Story) -> Reply:
            body = encode(whole(story)) if form == "json" else chronicles.markdown(story)
            attached = f'attachment; filename="conversation-{story.thread.id}.{name}"'.encode()
            return Reply(200, [(b"content-type", kind), (b"content-disposition", attached)], body)

        return self.found(ReadThread(id_), file)


def _title(data: bytes) -> str:
    title = read_object(data).get("title")
    if not isinstance(title, str) or not title.strip():
        raise Malformed("title must be a string that says something.", field="title")
    if len(title) > TITLE_CHARACTERS:
        raise Malformed(f"title may have {TITLE_CHARACTERS} characters.", field="title")
    return title.strip()


class Import(_Native):
    """Conversations from elsewhere: system C's files, our own export, or plain turns."""

    def receive(self, data: bytes) -> Lookup:
        said = Adopt(chronicles.read(data))
        return self.found(said, lambda threads: {"conversations": [row(thread) for thread in threads]}, 201)


mounts: tuple[Mount, ...] = (
    Mount("GET", PATH, Listing),
    Mount("POST", f"{PATH}/import", Import),
    *(Mount(method, f"{PATH}/*", One) for method in ("GET", "PATCH", "DELETE")),
    *preflights(PATH, f"{PATH}/import", f"{PATH}/*"),
)
