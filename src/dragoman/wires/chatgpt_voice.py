"""Writing what a ChatGPT-web back end says: cumulative events, lists, the tree of a conversation.

Source: seed protocols, sections 1.5 and 2. Messages carry `author` and the older `role`, so that clients of either
age find theirs.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from dragoman.chat import Begin, Delta, End, TextDelta
from dragoman.intents import Say
from dragoman.legs import Headers
from dragoman.threads import Node, Place, Story, Thread
from dragoman.wires.http_turn import EVENTS
from dragoman.wires.talking import Speaking

encode = msgspec.json.encode
DONE = b"data: [DONE]\n\n"
STATUS = {"pending": "in_progress", "complete": "finished_successfully"}


def iso(at: float) -> str:
    """Write a time as the back end's lists do: `2023-12-22T03:46:06.392671+00:00`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


class CumulativeWriter:
    """Writes an answer as events that each hold all of the text so far. O(text) an event: the protocol's price.

    What came together is one event. Only the text differs between events: it is escaped once, as it comes.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._model = ""
        self._escaped = b""
        self._head = b""
        self._tail = b""

    def write(self, deltas: list[Delta]) -> list[bytes]:
        pieces: list[bytes] = []
        has_text = False
        for delta in deltas:
            if type(delta) is TextDelta:
                has_text = True
                self._escaped += encode(delta.text)[1:-1]
            elif type(delta) is Begin:
                self._model = delta.model
            elif type(delta) is End:
                pieces += [self._last(delta), DONE]
        if has_text and not pieces:
            if not self._head:
                self._head, self._tail = self._around("in_progress", None, {})
            pieces.append(b"%b%b%b" % (self._head, self._escaped, self._tail))
        return pieces

    def _last(self, end: End) -> bytes:
        details = {"finish_details": {"type": "max_tokens" if end.reason == "length" else "stop"}}
        head, tail = self._around("finished_successfully", True, details)
        return b"%b%b%b" % (head, self._escaped, tail)

    def _around(self, status: str, end_turn: Literal[True] | None, more: dict[str, Any]) -> tuple[bytes, bytes]:
        """Make the bytes before and behind the text."""
        place = self._place
        metadata = {"message_type": "next", "model_slug": self._model, **more, "parent_id": place.question}
        message: dict[str, Any] = {
            "id": place.answer,
            "author": {"role": "assistant", "name": None, "metadata": {}},
            "role": "assistant",
            "user": None,
            "create_time": place.at,
            "update_time": None,
            "content": {"content_type": "text", "parts": [""]},
            "status": status,
            "end_turn": end_turn,
            "weight": 1.0,
            "metadata": metadata,
            "recipient": "all",
        }
        whole = encode({"message": message, "conversation_id": place.thread.id, "error": None})
        head, _, tail = whole.partition(b'"parts":["')
        return b'data: %b"parts":["' % head, tail + b"\n\n"


class CumulativeTurn(Speaking):
    """A turn in a conversation that answers with such events; dialects add `fail` and `beat`."""

    in_band = False

    def __init__(self, intent: Say, headers: Headers) -> None:
        """`headers` go on the answer beside those of an event stream."""
        super().__init__(intent)
        self._headers = headers
        self._voice: CumulativeWriter | None = None

    def opening(self, headers: Headers) -> Headers:  # noqa: ARG002 - our own are enough
        return [*EVENTS, *self._headers]

    def write(self, deltas: list[Delta]) -> list[bytes]:
        if self._voice is None:
            self._voice = CumulativeWriter(self.place)
        return self._voice.write(deltas)


def row(thread: Thread) -> dict[str, Any]:
    """Write a conversation in a list."""
    return {
        "id": thread.id,
        "title": thread.title,
        "create_time": iso(thread.created),
        "update_time": iso(thread.updated),
    }


def listing(threads: Iterable[Thread], total: int, limit: int, offset: int) -> dict[str, Any]:
    return {
        "items": [row(thread) for thread in threads],
        "total": total,
        "limit": limit,
        "offset": offset,
        "has_missing_conversations": False,
    }


def detail(story: Story) -> dict[str, Any]:
    """Write a conversation with its tree: the root node has neither message nor parent."""
    thread = story.thread
    mapping: dict[str, dict[str, Any]] = {thread.root: {"id": thread.root, "children": []}}
    for node in story.nodes:
        mapping[node.id] = {"id": node.id, "message": _message(node), "parent": node.parent, "children": []}
    for node in story.nodes:
        mapping.get(node.parent, mapping[thread.root])["children"].append(node.id)
    return {
        "title": thread.title,
        "create_time": thread.created,
        "update_time": thread.updated,
        "mapping": mapping,
        "moderation_results": [],
        "current_node": thread.current,
        "conversation_id": thread.id,
        "is_archived": False,
    }


def _message(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "author": {"role": node.role, "name": None, "metadata": {}},
        "role": node.role,
        "create_time": node.at,
        "update_time": None,
        "content": {"content_type": "text", "parts": [node.text]},
        "status": STATUS.get(node.state, "finished_partial_completion"),
        "end_turn": True if node.role == "assistant" else None,
        "weight": 1.0,
        "metadata": {"model_slug": node.model} if node.model else {},
        "recipient": "all",
    }
