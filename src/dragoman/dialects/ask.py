"""System C over HTTP: `POST /ask/{conversation_id}`, one question, one whole answer.

Source: seed protocols, section 5.1. Validation errors have pydantic 1's words; what goes wrong behind the gateway is
told with status 200, as the original did.
"""

import re
from typing import Any

import msgspec

from dragoman.chat import Answer
from dragoman.faults import Fault, Malformed, NotFound
from dragoman.intents import Say
from dragoman.legs import Head, Headers, Reply
from dragoman.ports import Mount, Turn
from dragoman.wires.cors import cors, preflights
from dragoman.wires.fields import media_type
from dragoman.wires.http_turn import JSON, refusal_headers
from dragoman.wires.keyed import Keyed
from dragoman.wires.prompts import new_or, normalised
from dragoman.wires.talking import Telling, answer_text, question

WIRE = "ask"
BUSY = "访问人数过多，请重试。"
_CURLY = re.compile("[\u201c\u201d]")
# Answered by status, since the client of the original never met them; all else is the original's 200.
BY_STATUS = ("unauthenticated", "forbidden", "method_not_allowed", "conflict", "request_timeout", "too_large")
encode = msgspec.json.encode


def invalid(loc: str, text: str, kind: str) -> Malformed:
    """Make the fault for a body that does not fit; `loc` and `kind` in pydantic's notation."""
    return Malformed(text, field=loc, kind=kind, status=422)


class Asking(Keyed):
    """One question."""

    def receive(self, data: bytes) -> Turn:
        tree = self._tree(data)
        if tree.get("prompt", ...) is ...:
            raise invalid("body.prompt", "field required", "value_error.missing")
        prompt, parent = tree["prompt"], tree.get("parent_id")
        if prompt is None:
            raise invalid("body.prompt", "none is not an allowed value", "type_error.none.not_allowed")
        if isinstance(prompt, int | float) and not isinstance(prompt, bool):
            prompt = str(prompt)
        for name, value in (("prompt", prompt), ("parent_id", parent)):
            if value is not None and not isinstance(value, str):
                raise invalid(f"body.{name}", "str type expected", "type_error.str")
        text = normalised(prompt)
        if not text:
            raise invalid(
                "body.prompt", "ensure this value has at least 1 characters", "value_error.any_str.min_length"
            )
        thread = new_or(self.head.path.removeprefix("/ask/"))
        if "/" in self.head.path.removeprefix("/ask/") or self.head.path == "/ask/":
            raise NotFound("Not Found", kind="path")
        # What is given beside `new` is ignored.
        say = Say(WIRE, question(text, "prompt"), thread=thread, parent=(parent or "") if thread else "")
        return AskTurn(say, self.head)

    def _tree(self, data: bytes) -> dict[str, Any]:
        kind = media_type(self.head.get(b"content-type"))
        if kind and kind != b"application/json" and not kind.endswith(b"+json"):
            raise invalid("body", "value is not a valid dict", "type_error.dict")
        if not data.strip():
            raise invalid("body", "field required", "value_error.missing")
        try:
            tree = _decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise invalid("body", f"Invalid JSON: {error}", "value_error.jsondecode") from None
        if not isinstance(tree, dict):
            raise invalid("body", "value is not a valid dict", "type_error.dict")
        return tree

    def refuse(self, fault: Fault) -> Reply:
        headers = [*refusal_headers(fault), *cors(self.head)]
        if fault.code == "malformed" and fault.field and fault.kind:
            row = {"loc": fault.field.split("."), "msg": fault.message, "type": fault.kind}
            return Reply(fault.status, headers, encode({"detail": [row]}))
        if fault.code in BY_STATUS or fault.kind == "path":
            said = "Method Not Allowed" if fault.code == "method_not_allowed" else fault.message
            return Reply(fault.status, headers, encode({"detail": said}))
        return Reply(200, headers, encode({"response": BUSY, "detail": fault.message}))


def _decode(data: bytes) -> Any:
    """Decode JSON; typographic quotes, which the original's own documentation has, count as plain ones."""
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        straight = _CURLY.sub('"', data.decode())
        return msgspec.json.decode(straight)


class AskTurn(Telling):
    def __init__(self, intent: Say, head: Head) -> None:
        super().__init__(intent)
        self._head = head

    def opening(self, headers: Headers) -> Headers:  # noqa: ARG002 - our own are enough
        return [*JSON, *cors(self._head)]

    def whole(self, answer: Answer) -> bytes:
        ids = {"conversation_id": self.place.thread.id, "parent_id": self.place.answer}
        return encode({"message": answer_text(answer), **ids})


mounts: tuple[Mount, ...] = (Mount("POST", "/ask/*", Asking, door="ask"), *preflights("/ask/*"))
