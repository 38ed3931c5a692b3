"""Reading the answers of a ChatGPT-web back end: events with the whole text so far.

Source: seed protocols, section 2. What is neither text of the assistant nor the end (moderation, echoes of system and
user messages, code, pings) is left out. Proof of completion is `[DONE]`.
"""

from typing import Any

import msgspec

from dragoman.chat import Begin, Broke, Delta, End, Frame, Reason, Tally, TextDelta, Usage, tokens_of
from dragoman.faults import Broken, Busy, Fault, Truncated
from dragoman.wires.framing import Event, EventSplitter
from dragoman.wires.halves import forgiving

WIRE = "chatgpt_web"
FINISH: dict[str, Reason] = {"stop": "stop", "max_tokens": "length", "interrupted": "stop"}
DONE = b"[DONE]"


class _Author(msgspec.Struct):
    role: str = ""


class _Content(msgspec.Struct):
    content_type: str = ""
    parts: list[Any] = []


class _Message(msgspec.Struct):
    """`author` names the role, in shapes before March 2023 `role` does."""

    id: str = ""
    author: _Author | None = None
    role: str = ""
    content: _Content | None = None
    metadata: dict[str, Any] | None = None
    recipient: str = "all"


class _Event(msgspec.Struct):
    message: _Message | None = None
    error: Any = None


_decode = forgiving(msgspec.json.Decoder(_Event).decode)


class _Named(msgspec.Struct):
    conversation_id: str | None = None


def conversation_in(event: bytes) -> str:
    """Return the id of the conversation that an event, as `OpaqueStream` passes it, belongs to; "" if it says none."""
    try:
        return msgspec.json.decode(event.removeprefix(b"data: "), type=_Named).conversation_id or ""
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""


def _text(message: _Message) -> str | None:
    """Return the assistant's text so far, None if a message is something else."""
    role = message.author.role if message.author and message.author.role else message.role or "assistant"
    content = message.content
    if role != "assistant" or content is None or content.content_type != "text" or message.recipient != "all":
        return None
    return "".join(part for part in content.parts if isinstance(part, str))


def _fault(event: _Event | None, data: bytes) -> Fault | None:
    if data.strip() == b"429":
        return Busy("The back end is limiting requests.")
    if event is not None and event.error:
        said = event.error if isinstance(event.error, str) else str(event.error)
        return Broken(f"The back end says: {said[:500]}")
    return None


class _Events:
    """The events of a stream: decoded, with what is no message left out."""

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self.ended = False

    @property
    def proves_end(self) -> bool:
        return True

    def receive(self, data: bytes) -> list[Delta]:
        try:
            events = self._splitter.feed(data)
        except Fault as fault:
            return [Broke(fault)]
        return self._all(events)

    def close(self) -> list[Delta]:
        last = self._splitter.flush()
        deltas = self._all([last]) if last else []
        if not self.ended and not (deltas and isinstance(deltas[-1], Broke)):
            deltas.append(Broke(Truncated()))
        return deltas

    def _all(self, events: list[Event]) -> list[Delta]:
        deltas: list[Delta] = []
        for event in events:
            if self.ended or event.data is None or event.name in (b"ping", b"close"):
                continue
            if event.data.strip() == DONE:
                self.ended = True
                deltas += self.end()
                continue
            try:
                said = _decode(event.data)
            except (msgspec.DecodeError, ValueError, RecursionError):
                said = None
            fault = _fault(said, event.data)
            if fault is not None:
                self.ended = True
                return [*deltas, Broke(fault)]
            if said is not None and said.message is not None and (text := _text(said.message)) is not None:
                deltas += self.message(said.message, text, event)
        return deltas

    def message(self, message: _Message, text: str, event: Event) -> list[Delta]:
        raise NotImplementedError

    def end(self) -> list[Delta]:
        raise NotImplementedError


class OpenStream(_Events):
    """An answer in words. `prompt_tokens` is our estimate: this wire reports no usage."""

    def __init__(self, prompt_tokens: int) -> None:
        super().__init__()
        self._prompt_tokens = prompt_tokens
        self._said = ""
        self._size = 0
        self._id = ""
        self._reason: Reason = "stop"

    def message(self, message: _Message, text: str, event: Event) -> list[Delta]:  # noqa: ARG002 - words are enough
        deltas: list[Delta] = []
        metadata = message.metadata or {}
        if not self._id:
            model = metadata.get("model_slug")
            deltas.append(Begin(message.id, model if isinstance(model, str) else "", 0))
        if message.id != self._id:
            # A second message of the assistant goes on where the first ended.
            self._id, self._said = message.id or "-", ""
        details = metadata.get("finish_details")
        if isinstance(details, dict):
            self._reason = FINISH.get(str(details.get("type")), "stop")
        if text.startswith(self._said) and len(text) > len(self._said):
            new, self._said = text[len(self._said) :], text
            self._size += len(new)
            deltas.append(TextDelta(new))
        return deltas

    def end(self) -> list[Delta]:
        begin: list[Delta] = [] if self._id else [Begin("", "", 0)]
        usage = Usage(input=self._prompt_tokens, output=tokens_of(self._size), estimated=True)
        return [*begin, Tally(usage), End(self._reason)]


class OpaqueStream(_Events):
    """The events that are an assistant's text, each one line of data as it came, and the end."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def message(self, message: _Message, text: str, event: Event) -> list[Delta]:  # noqa: ARG002 - it goes as it came
        grown = max(0, len(text) - self._size)
        self._size = len(text)
        return [Frame(b"data: %b\n\n" % (event.data or b"").replace(b"\n", b" "), grown)]

    def end(self) -> list[Delta]:
        return [Frame(b"data: [DONE]\n\n", ended=True)]
