"""Questions to a ChatGPT-web back end, both directions. Source: seed protocols, section 2 (`POST /conversation`)."""

from typing import Any
from uuid import uuid4

import msgspec

from dragoman.chat import ChatRequest, Message, Text
from dragoman.faults import Malformed, Unsupported
from dragoman.wires.talking import question

encode = msgspec.json.encode
# What the original's clients asked for, where a configuration names no model.
MODEL = "text-davinci-002-render-sha"


class _Author(msgspec.Struct):
    role: str = "user"


class _Content(msgspec.Struct):
    content_type: str = "text"
    parts: list[Any] = []


class _Message(msgspec.Struct):
    id: str = ""
    author: _Author | None = None
    role: str = ""
    content: _Content = msgspec.field(default_factory=_Content)


class Question(msgspec.Struct):
    """What a caller sends. `conversation_id` absent or null begins a new one, whatever the parent."""

    action: str = "next"
    messages: list[_Message] = []
    parent_message_id: str | None = None
    conversation_id: str | None = None
    model: str | None = None


_decode = msgspec.json.Decoder(Question).decode


def read(body: bytes) -> Question:
    """Read a question. Raises Malformed that names the field."""
    try:
        asked = _decode(body)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        raise Malformed(text, field=place.rstrip("`") or None) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Malformed(f"The body is not valid JSON: {error}") from None
    if asked.action not in ("next", "variant"):
        raise Malformed("action must be next or variant.", field="action")
    if not asked.messages:
        raise Malformed("messages must not be empty.", field="messages")
    return asked


def words(message: _Message, number: int) -> Message:
    """Turn one message into words. Raises Malformed for what is not text."""
    field = f"messages[{number}].content"
    if message.content.content_type != "text":
        raise Malformed(f"{field}: only text is understood.", field=field)
    role = message.author.role if message.author else message.role or "user"
    if role not in ("user", "assistant", "system"):
        raise Malformed("A role must be user, assistant or system.", field=f"messages[{number}].author.role")
    text = "".join(part for part in message.content.parts if isinstance(part, str))
    return Message(role, question(text, field))  # type: ignore[arg-type]


def compose(request: ChatRequest, model: str, *, as_transcript: bool) -> bytes:
    """Write a question with all that came before it, as messages or as one transcript.

    Every question begins a conversation of its own at the back end: what came before is this gateway's.
    Raises Unsupported for what is not text.
    """
    said = [(message.role, _text(message)) for message in request.messages]
    if as_transcript and len(said) > 1:
        lines = [f"{role.capitalize()}: {text}" for role, text in said[:-1]]
        said = [("user", "\n\n".join([*lines, said[-1][1]]))]
    rows = [
        {
            "id": str(uuid4()),
            "author": {"role": role},
            "role": role,
            "content": {"content_type": "text", "parts": [text]},
        }
        for role, text in said
    ]
    body = {"action": "next", "messages": rows, "parent_message_id": str(uuid4()), "model": model}
    return encode(body)


def relay(content: str, thread: str, parent: str) -> bytes:
    """Write one question in a conversation that the back end keeps; without one its parent is made up."""
    if not (thread and parent):
        parent = str(uuid4())
    message = {
        "id": str(uuid4()),
        "author": {"role": "user"},
        "role": "user",
        "content": {"content_type": "text", "parts": [content]},
    }
    body: dict[str, Any] = {"action": "next", "messages": [message], "parent_message_id": parent, "model": MODEL}
    return encode(body | ({"conversation_id": thread} if thread else {}))


def _text(message: Message) -> str:
    texts = []
    for part in message.parts:
        if not isinstance(part, Text):
            raise Unsupported("This model's back end takes text only.", field="messages")
        texts.append(part.text)
    return "".join(texts)
