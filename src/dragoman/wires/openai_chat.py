"""Reading OpenAI Chat Completions answers: chunks and whole completions.

Source: OpenAI API reference, "Create chat completion" and "The chat completion chunk object".
A stream is `data: {chunk}` events; a chunk's `finish_reason` ends its choice, a last chunk with
empty `choices` carries `usage` when asked for, and `data: [DONE]` ends the stream. Proof of
completion is [DONE], or a finish reason for every choice that began.
Reasoning is read from `reasoning_content` or `reasoning`. The writers are in `openai_voice`.
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
    Usage,
)
from dragoman.faults import Broken, Fault, Truncated
from dragoman.wires.framing import Event, EventSplitter
from dragoman.wires.halves import forgiving
from dragoman.wires.openai_usage import read_usage
from dragoman.wires.refusals import error_in, fault_in_stream

WIRE = "openai_chat"
REASONS: dict[str, Reason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool",
    "function_call": "tool",
    "content_filter": "filter",
}


# --- reading: what a chunk or completion holds ---------------------------------------------------


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct):
    """A chunk's `delta` or a completion's `message`."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    id: str = ""
    model: str = ""
    created: int = 0
    choices: list[_Choice] = []
    usage: Any = None
    service_tier: Any = None
    x_groq: Any = None
    error: Any = None


class _LooseSaid(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None


class _LooseChoice(msgspec.Struct):
    """What is watched in passing; odd types elsewhere are nobody's business when bytes pass unchanged."""

    index: int = 0
    delta: _LooseSaid | None = None
    message: _LooseSaid | None = None
    text: Any = None
    finish_reason: Any = None


class _LooseChunk(msgspec.Struct):
    choices: list[_LooseChoice] | None = None
    usage: Any = None
    service_tier: Any = None
    x_groq: Any = None
    error: Any = None


_decode_chunk = forgiving(msgspec.json.Decoder(_Chunk).decode)
_decode_loose = forgiving(msgspec.json.Decoder(_LooseChunk).decode)
_NONSENSE = (msgspec.DecodeError, ValueError, RecursionError)


def _nonsense() -> Broke:
    return Broke(Broken("The provider sent something that is not a chat completion."))


def _usage(of: _Chunk | _LooseChunk) -> Usage | None:
    """Read the usage of a chunk or completion; Groq's streams carry it in `x_groq` too, asked for or not."""
    tree = of.x_groq.get("usage") if of.usage is None and type(of.x_groq) is dict else of.usage
    return read_usage(tree, of.service_tier)


def _size(choice: _LooseChoice) -> int:
    """Count the characters that a choice generated: text, reasoning, arguments of calls."""
    said = choice.delta or choice.message
    if said is None:
        return len(choice.text) if isinstance(choice.text, str) else 0
    if type(said.content) is str and said.content:
        return len(said.content)
    thought = said.reasoning_content or said.reasoning
    size = len(thought) if isinstance(thought, str) else 0
    for call in said.tool_calls or ():
        function = call.get("function") if isinstance(call, dict) else None
        size += len(str(function.get("arguments") or "")) if isinstance(function, dict) else 0
    return size


class _Ends:
    """Whether every choice that began has finished."""

    __slots__ = ("_open", "seen")

    def __init__(self) -> None:
        self.seen = False
        self._open: set[int] = set()

    def note(self, index: int, reason: Any) -> None:
        self.seen = True
        if reason:
            self._open.discard(index)
        else:
            self._open.add(index)

    @property
    def reached(self) -> bool:
        return self.seen and not self._open


class OpaqueStream:
    """Passes events unchanged and watches for usage, errors and the end.

    `hide_usage` leaves out the chunk that carries nothing but usage, which the caller did not ask for.
    """

    proves_end = True

    def __init__(self, *, hide_usage: bool = False) -> None:
        self._split = EventSplitter()
        self._hide = hide_usage
        self._ends = _Ends()
        self._over = False

    def receive(self, data: bytes) -> list[Delta]:
        try:
            events = self._split.feed(data)
        except Fault as fault:
            self._over = True
            return [Broke(fault)]
        return self._pass(events) if not self._over else []

    def close(self) -> list[Delta]:
        rest = self._split.flush()
        deltas = self._pass([rest], ending=True) if rest and not self._over else []
        if self._over:
            return deltas
        if self._ends.reached:
            # Complete without the terminator: the caller gets one, so that it can see that too.
            kept = [d for d in deltas if not isinstance(d, Broke)]
            return [*kept, Frame(b"data: [DONE]\n\n", ended=True)]
        return [Broke(Truncated())] if deltas and isinstance(deltas[-1], Broke) else deltas

    def _pass(self, events: list[Event], *, ending: bool = False) -> list[Delta]:
        kept: list[bytes] = []
        size = 0
        usage = None
        broke = None
        for event in events:
            if event.data is None:
                kept.append(event.raw)
                continue
            if event.data == b"[DONE]":
                self._over = True
                if self._ends.seen:
                    kept.append(event.raw)
                else:
                    broke = Broke(Broken("The provider ended its stream without an answer."))
                break
            try:
                chunk = _decode_loose(event.data)
            except _NONSENSE:
                broke = _nonsense()
                self._over = not ending
                break
            if chunk.error is not None:
                self._over = True
                broke = Broke(fault_in_stream(error_in({"error": chunk.error})))
                break
            if chunk.usage is not None or chunk.x_groq is not None:
                usage = _usage(chunk) or usage
                if self._hide and not chunk.choices:
                    continue
            for choice in chunk.choices or ():
                self._ends.note(choice.index, choice.finish_reason)
                size += _size(choice)
            kept.append(event.raw)
        deltas: list[Delta] = []
        if kept or usage:
            ended = self._over and broke is None
            deltas.append(Frame(kept[0] if len(kept) == 1 else b"".join(kept), size, usage, ended))
        if broke:
            deltas.append(broke)
        return deltas


class OpaqueWhole:
    """Passes a whole completion unchanged once it has proved to be one."""

    proves_end = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def receive(self, data: bytes) -> list[Delta]:
        self._pieces.append(data)
        return []

    def close(self) -> list[Delta]:
        body = b"".join(self._pieces)
        try:
            whole = _decode_loose(body)
        except _NONSENSE:
            return [_nonsense()]
        if whole.error is not None or whole.choices is None:
            return [Broke(fault_in_stream(error_in({"error": whole.error})))]
        size = sum(map(_size, whole.choices))
        return [Frame(body, size, _usage(whole), ended=True)]


class OpenStream:
    """Reads a stream into deltas; of several choices the first."""

    __slots__ = ("_over", "_split", "_words")

    proves_end = True

    def __init__(self) -> None:
        self._split = EventSplitter()
        self._words = _Words()
        self._over = False

    def receive(self, data: bytes) -> list[Delta]:
        deltas: list[Delta] = []
        if self._over:
            return deltas
        try:
            for event in self._split.feed(data):
                if self._take(event, deltas):
                    break
        except Fault as fault:
            self._over = True
            deltas.append(Broke(fault))
        return deltas

    def close(self) -> list[Delta]:
        deltas: list[Delta] = []
        rest = self._split.flush()
        if rest and not self._over:
            before = self._words.reason
            self._take(rest, deltas)
            if deltas and isinstance(deltas[-1], Broke):
                # Half an event: what counts is what had been said before it.
                deltas = [] if before else [Broke(Truncated())]
                self._over = not before
        if not self._over and self._words.reason:
            self._words.finish(deltas)
        return deltas

    def _take(self, event: Event, deltas: list[Delta]) -> bool:
        """Read one event. Returns whether nothing may follow it."""
        if event.data is None:
            return False
        if event.data == b"[DONE]":
            self._over = True
            self._words.finish(deltas)
            return True
        try:
            chunk = _decode_chunk(event.data)
        except _NONSENSE:
            self._over = True
            deltas.append(_nonsense())
            return True
        if chunk.error is not None:
            self._over = True
            deltas.append(Broke(fault_in_stream(error_in({"error": chunk.error}))))
            return True
        self._words.read(chunk, deltas)
        return False


class OpenWhole:
    """Reads a whole completion into the deltas that it means."""

    proves_end = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def receive(self, data: bytes) -> list[Delta]:
        self._pieces.append(data)
        return []

    def close(self) -> list[Delta]:
        try:
            whole = _decode_chunk(b"".join(self._pieces))
        except _NONSENSE:
            return [_nonsense()]
        if whole.error is not None or not whole.choices:
            return [Broke(fault_in_stream(error_in({"error": whole.error})))]
        deltas: list[Delta] = []
        words = _Words()
        first = whole.choices[0]
        first.delta, first.finish_reason = first.message, first.finish_reason or "stop"
        for index, call in enumerate((first.delta and first.delta.tool_calls) or ()):
            call.index = index
        words.read(whole, deltas)
        words.finish(deltas)
        return deltas


class _Words:
    """What has been said so far in one answer: chunks to deltas."""

    __slots__ = ("_begun", "_calls", "_ids", "reason")

    def __init__(self) -> None:
        self._begun = False
        self._calls: dict[int, int] = {}
        self._ids: list[str | None] = []
        self.reason: Reason | None = None

    def read(self, chunk: _Chunk, deltas: list[Delta]) -> None:
        if not self._begun:
            self._begun = True
            deltas.append(Begin(chunk.id, chunk.model, chunk.created))
        if (chunk.usage is not None or chunk.x_groq is not None) and (usage := _usage(chunk)):
            deltas.append(Tally(usage))
        for choice in chunk.choices:
            if choice.index:
                continue
            if said := choice.delta:
                if thought := said.reasoning_content or said.reasoning:
                    deltas.append(ThinkDelta(thought))
                if text := said.content or said.refusal:
                    deltas.append(TextDelta(text))
                for call in said.tool_calls or ():
                    self._call(call, deltas)
            if choice.finish_reason:
                self.reason = REASONS.get(choice.finish_reason, "stop")

    def _call(self, call: _Call, deltas: list[Delta]) -> None:
        """Some servers number every call 0 and tell calls apart by id only."""
        number = self._calls.get(call.index)
        if number is None or (call.id and self._ids[number] and call.id != self._ids[number]):
            number = len(self._ids)
            self._calls[call.index] = number
            self._ids.append(call.id)
            name = (call.function and call.function.name) or ""
            deltas.append(ToolOpen(number, call.id or f"call_{number}", name))
        if call.function and call.function.arguments:
            deltas.append(ToolArgs(number, call.function.arguments))

    def finish(self, deltas: list[Delta]) -> None:
        if not self._begun:
            deltas.append(Broke(Broken("The provider ended its stream without an answer.")))
            return
        # A forced tool call ends with "stop" in this format; who called a tool waits for its result.
        reason = "tool" if self._ids and self.reason in (None, "stop") else self.reason or "stop"
        deltas.append(End(reason))
