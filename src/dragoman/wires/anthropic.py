"""Reading Anthropic Messages answers: event streams and whole messages.

Source: Anthropic API reference, "Streaming messages" and "Create a Message". A stream is
message_start, then for each block content_block_start, content_block_delta…, content_block_stop, then
message_delta (stop reason and cumulative usage) and message_stop; `ping` and unknown events may stand
anywhere, `error` ends it. Proof of completion is message_stop, or a stop reason before the end of the
body. The writers are in `anthropic_voice`.
"""

from typing import Any

import msgspec

from dragoman.chat import (
    Begin,
    Broke,
    Delta,
    End,
    Frame,
    Reason,
    Tally,
    TextDelta,
    ThinkDelta,
    ToolArgs,
    ToolOpen,
)
from dragoman.faults import Broken, Fault, Truncated
from dragoman.wires.anthropic_usage import Reported
from dragoman.wires.framing import Event, EventSplitter
from dragoman.wires.halves import forgiving
from dragoman.wires.refusals import error_in, fault_in_stream

WIRE = "anthropic"
REASONS: dict[str, Reason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool",
    "refusal": "filter",
    "pause_turn": "pause",
}


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    content: list[_Block] | None = None
    usage: Reported | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    error: Any = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: Reported | None = None
    error: Any = None


_decode_event = forgiving(msgspec.json.Decoder(_Event).decode)
_decode_message = forgiving(msgspec.json.Decoder(_Message).decode)
_NONSENSE = (msgspec.DecodeError, ValueError, RecursionError)


def _nonsense() -> Broke:
    return Broke(Broken("The provider sent something that is not an Anthropic message."))


def _failed(error: Any) -> Broke:
    return Broke(fault_in_stream(error_in({"error": error})))


class _Watch:
    """What is seen on events in passing: usage, the stop reason, the end."""

    __slots__ = ("begun", "ended", "stop_reason", "usage")

    def __init__(self) -> None:
        self.begun = False
        self.ended = False
        self.stop_reason: str | None = None
        self.usage: Reported | None = None

    def note(self, event: _Event) -> None:
        if event.message:
            self.begun = True
            self.usage = event.message.usage
        if event.usage:
            self.usage = event.usage.over(self.usage)
        if event.delta and event.delta.stop_reason:
            self.stop_reason = event.delta.stop_reason
        if event.type == "message_stop":
            self.ended = True


class _Stream:
    """What both ways of reading a stream share: events in, problems told apart, the end proved."""

    proves_end = True

    def __init__(self) -> None:
        self._split = EventSplitter()
        self._watch = _Watch()
        self._over = False

    def receive(self, data: bytes) -> list[Delta]:
        if self._over:
            return []
        try:
            return self._take(self._split.feed(data))
        except Fault as fault:
            self._over = True
            return [Broke(fault)]

    def close(self) -> list[Delta]:
        if self._over:
            return []
        rest = self._split.flush()
        deltas = self._take([rest]) if rest else []
        if not self._watch.ended:
            cut = [d for d in deltas if isinstance(d, Broke)]
            deltas = [d for d in deltas if not isinstance(d, Broke)]
            if self._watch.stop_reason:
                deltas += self._finish()
            elif cut:
                deltas.append(Broke(Truncated()))
        return deltas

    def _take(self, events: list[Event]) -> list[Delta]:
        raise NotImplementedError

    def _finish(self) -> list[Delta]:
        raise NotImplementedError

    def _read(self, event: Event) -> _Event | Broke:
        try:
            found = _decode_event(event.data or b"")
        except _NONSENSE:
            return _nonsense()
        if found.type == "error" or found.error is not None:
            return _failed(found.error)
        self._watch.note(found)
        if found.type == "message_stop" and not self._watch.begun:
            return Broke(Broken("The provider ended its stream without an answer."))
        return found


class OpaqueStream(_Stream):
    """Passes events unchanged and watches for usage, errors and the end."""

    def _take(self, events: list[Event]) -> list[Delta]:
        kept: list[bytes] = []
        size = 0
        broke: Broke | None = None
        counted = False
        for event in events:
            if event.data is not None:
                found = self._read(event)
                if isinstance(found, Broke):
                    broke = found
                    break
                counted = counted or bool(found.message or found.usage)
                if said := found.delta:
                    size += len(said.text or said.thinking or said.partial_json or "")
            kept.append(event.raw)
            if self._watch.ended:
                break
        deltas: list[Delta] = []
        self._over = self._watch.ended or (broke is not None)
        if kept:
            usage = self._watch.usage.words() if counted and self._watch.usage else None
            data = kept[0] if len(kept) == 1 else b"".join(kept)
            deltas.append(Frame(data, size, usage, self._watch.ended))
        if broke:
            deltas.append(broke)
        return deltas

    def _finish(self) -> list[Delta]:
        """Complete without the terminator: the caller gets one, so that it can see that too."""
        return [Frame(b'event: message_stop\ndata: {"type":"message_stop"}\n\n', ended=True)]


class OpenStream(_Stream):
    """Reads a stream into deltas. Blocks of tools that run at the provider are left out."""

    def __init__(self) -> None:
        super().__init__()
        self._tools: dict[int, int] = {}
        self._stop_sequence: str | None = None

    def _take(self, events: list[Event]) -> list[Delta]:
        deltas: list[Delta] = []
        for event in events:
            if event.data is None:
                continue
            found = self._read(event)
            if isinstance(found, Broke):
                deltas.append(found)
                self._over = True
                break
            self._say(found, deltas)
            if self._watch.ended:
                deltas += self._finish()
                self._over = True
                break
        return deltas

    def _say(self, event: _Event, deltas: list[Delta]) -> None:
        match event.type:
            case "content_block_delta" if said := event.delta:
                match said.type:
                    case "text_delta":
                        deltas.append(TextDelta(said.text or ""))
                    case "thinking_delta":
                        deltas.append(ThinkDelta(said.thinking or ""))
                    case "signature_delta":
                        deltas.append(ThinkDelta(signature=said.signature or ""))
                    case "input_json_delta" if said.partial_json and event.index in self._tools:
                        deltas.append(ToolArgs(self._tools[event.index], said.partial_json))
            case "content_block_start" if block := event.content_block:
                self._open(event.index, block, deltas)
            case "message_start" if message := event.message:
                deltas.append(Begin(message.id, message.model, 0))
            case "message_delta" if event.delta:
                self._stop_sequence = event.delta.stop_sequence
        if (event.usage or event.message) and self._watch.usage:
            deltas.append(Tally(self._watch.usage.words()))

    def _open(self, index: int, block: _Block, deltas: list[Delta]) -> None:
        match block.type:
            case "tool_use":
                number = self._tools[index] = len(self._tools)
                deltas.append(ToolOpen(number, block.id or f"call_{number}", block.name or ""))
            case "text" if block.text:
                deltas.append(TextDelta(block.text))
            case "thinking" if block.thinking:
                deltas.append(ThinkDelta(block.thinking))
            case "redacted_thinking":
                deltas.append(ThinkDelta(redacted=block.data or ""))

    def _finish(self) -> list[Delta]:
        return [End(REASONS.get(self._watch.stop_reason or "", "stop"), self._stop_sequence)]


class _Whole:
    """Collects a whole message."""

    proves_end = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def receive(self, data: bytes) -> list[Delta]:
        self._pieces.append(data)
        return []

    def close(self) -> list[Delta]:
        body = b"".join(self._pieces)
        try:
            message = _decode_message(body)
        except _NONSENSE:
            return [_nonsense()]
        if message.error is not None or message.content is None:
            return [_failed(message.error)]
        return self._tell(body, message)

    def _tell(self, body: bytes, message: _Message) -> list[Delta]:
        raise NotImplementedError


class OpaqueWhole(_Whole):
    """Passes a whole message unchanged once it has proved to be one."""

    def _tell(self, body: bytes, message: _Message) -> list[Delta]:
        size = sum(len(b.text or b.thinking or bytes(b.input)) for b in message.content or ())
        return [Frame(body, size, message.usage.words() if message.usage else None, ended=True)]


class OpenWhole(_Whole):
    """Reads a whole message into the deltas that it means."""

    def _tell(self, body: bytes, message: _Message) -> list[Delta]:  # noqa: ARG002 - the words replace the bytes
        deltas: list[Delta] = [Begin(message.id, message.model, 0)]
        tools = 0
        for block in message.content or ():
            match block.type:
                case "text":
                    deltas.append(TextDelta(block.text or ""))
                case "thinking":
                    deltas.append(ThinkDelta(block.thinking or "", block.signature or ""))
                case "redacted_thinking":
                    deltas.append(ThinkDelta(redacted=block.data or ""))
                case "tool_use":
                    deltas.append(ToolOpen(tools, block.id or f"call_{tools}", block.name or ""))
                    deltas.append(ToolArgs(tools, bytes(block.input).decode()))
                    tools += 1
        if message.usage:
            deltas.append(Tally(message.usage.words()))
        deltas.append(End(REASONS.get(message.stop_reason or "", "stop"), message.stop_sequence))
        return deltas
