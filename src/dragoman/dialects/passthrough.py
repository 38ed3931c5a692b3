"""OpenAI's other end points, passed through and metered: completions, embeddings, moderations, images, audio.

Source: OpenAI API reference, "Create completion", "Create embeddings", "Create moderation", "Images",
"Audio". Only the model's name is read, and replaced where a route gives it another. JSON bodies are read
whole, since a name may stand at their end; multipart bodies (RFC 7578) are held up to the part called
`model` and then streamed. Answers are streamed as they come.
"""

import re
from typing import Any

import msgspec

from dragoman.chat import Delta, Frame
from dragoman.faults import Fault, Malformed
from dragoman.intents import Forward
from dragoman.legs import Head, Headers
from dragoman.ports import Mount, Turn
from dragoman.wires import limiting, openai_chat
from dragoman.wires.checks import ModelName, decode, need_json, refuse_hosts
from dragoman.wires.framing import Document
from dragoman.wires.http_turn import waiting
from dragoman.wires.openai_ask import usage_options
from dragoman.wires.openai_http import Shape, error_body

SHOWN = frozenset({b"content-type", b"content-disposition", b"openai-processing-ms"})
HEAD_LIMIT = 16 * 1024
PARTS_LIMIT = 1_000
_BOUNDARY = re.compile(rb'multipart/form-data\s*;.*?boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'\bname="?([^";\r\n]*)"?', re.IGNORECASE)


class _Policy(msgspec.Struct):
    model: ModelName
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None


EXACT = frozenset(_Policy.__struct_fields__)
_decode_policy = msgspec.json.Decoder(_Policy)


class PassSession(Shape):
    """One call, with a JSON or a multipart body."""

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        self._type = head.get(b"content-type") or b"application/json"
        found = _BOUNDARY.match(self._type)
        self._form = Form(found[1] or found[2]) if found else None
        self.whole = self._form is None

    def receive(self, data: bytes) -> Turn | None:
        if self._form is None:
            return self._json(data)
        model = self._form.feed(data)
        if model is None:
            return None
        form = self._form
        return PassTurn(
            Forward(
                wire=openai_chat.WIRE,
                model=model,
                method="POST",
                path=self.head.path.removeprefix("/v1"),
                rename=form.rename,
                content_type=self._type,
                held=len(form.held),
                more=True,
                headers=self.forwarded(),
            )
        )

    def _json(self, data: bytes) -> Turn:
        need_json(self.head)
        document = Document(data, EXACT)
        refuse_hosts(document)
        policy = decode(document, _decode_policy)
        wants, metered = usage_options(policy.stream_options)
        path = self.head.path.removeprefix("/v1")
        hidden = path == "/completions" and bool(policy.stream) and not wants

        def rename(model: str) -> bytes:
            values = {"model": msgspec.json.encode(model)} if model != policy.model else {}
            return document.put(values | metered) if hidden else document.put(values) if values else data

        return PassTurn(
            Forward(
                wire=openai_chat.WIRE,
                model=policy.model,
                method="POST",
                path=path,
                rename=rename,
                content_type=self._type,
                hide_usage=hidden,
                headers=self.forwarded(),
            )
        )


class Form:
    """A multipart body as far as the part that names the model. O(bytes), however it is cut."""

    def __init__(self, boundary: bytes) -> None:
        self.held = bytearray()
        self._mark = b"--" + boundary
        self._at = 0
        self._scanned = 0
        self._parts = 0
        self._value = (0, 0)

    def feed(self, data: bytes) -> str | None:
        """Return the model's name once it has arrived. Raises Malformed."""
        self.held += data
        if self._parts == 0:
            if len(self.held) < len(self._mark):
                return None
            if not self.held.startswith(self._mark):
                raise Malformed("The multipart body does not begin with its boundary.")
            self._parts = 1
            self._at = len(self._mark)
        while True:
            head_end = self.held.find(b"\r\n\r\n", self._at)
            if self.held[self._at : self._at + 2] == b"--":
                raise Malformed("The form has no field 'model'.", field="model")
            if head_end < 0:
                if len(self.held) - self._at > HEAD_LIMIT:
                    raise Malformed("A part of the form has a head that is too large.")
                return None
            start = head_end + 4
            end = self.held.find(b"\r\n" + self._mark, max(start - 2, self._scanned))
            if end < 0:
                self._scanned = max(start - 2, len(self.held) - len(self._mark) - 2)
                return None
            name = _NAME.search(self.held, self._at, head_end)
            if name and name[1] == b"model":
                self._value = (start, end)
                return self._model(bytes(self.held[start:end]))
            self._at = end + 2 + len(self._mark)
            self._parts += 1
            if self._parts > PARTS_LIMIT:
                raise Malformed("The form has too many parts.")

    def _model(self, value: bytes) -> str:
        try:
            model = value.decode()
        except UnicodeDecodeError:
            raise Malformed("The field 'model' is not UTF-8.", field="model") from None
        if not 1 <= len(model) <= 256:
            raise Malformed("model must be a name of 1 to 256 characters.", field="model")
        return model

    def rename(self, model: str) -> bytes:
        start, end = self._value
        return bytes(self.held[:start]) + model.encode() + bytes(self.held[end:])


class PassTurn:
    """Passes what comes, as it comes."""

    streaming = True
    in_band = False
    label = ""
    early = False
    status = 200

    def __init__(self, intent: Forward) -> None:
        self.intent = intent
        self._events = False

    def opening(self, headers: Headers) -> Headers:
        shown = [(name, value) for name, value in headers if name in SHOWN]
        self._events = any(n == b"content-type" and v.startswith(b"text/event-stream") for n, v in shown)
        return shown

    def begun(self) -> None:
        self.intent.rename = str.encode

    def write(self, deltas: list[Delta]) -> list[bytes]:
        return [delta.data for delta in deltas if isinstance(delta, Frame)]

    def fail(self, fault: Fault) -> list[bytes]:
        return [b"data: %b\n\n" % error_body(fault)] if self._events else []

    def beat(self, place: int = 0) -> list[bytes]:
        return [waiting(place) + b"\n"] if self._events else []


mounts: tuple[Mount, ...] = tuple(
    Mount("POST", path, PassSession, limiting=limiting.openai)
    for path in (
        "/v1/completions",
        "/v1/embeddings",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/images/variations",
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
    )
)
