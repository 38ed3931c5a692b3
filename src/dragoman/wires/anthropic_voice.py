"""Writing Anthropic Messages answers: event streams and whole messages, from deltas.

Source: Anthropic API reference, "Streaming messages" and "Create a Message". Blocks stand one after
another, each closed before the next opens. Usage is known at the end only where the provider speaks
another wire: then message_start says 0 and message_delta, whose counts are totals, says the truth.
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
    Text,
    TextDelta,
    Think,
    ThinkDelta,
    ToolArgs,
    ToolOpen,
    ToolUse,
    Usage,
    fold,
)
from dragoman.faults import Broken

STOPS: dict[Reason, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool": "tool_use",
    "filter": "refusal",
    "pause": "pause_turn",
}
encode = msgspec.json.encode


def write_usage(usage: Usage) -> dict[str, Any]:
    """Cached tokens stand outside `input_tokens` here; reasoning stands inside `output_tokens`."""
    return {
        "input_tokens": usage.input + usage.audio_in,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.completion_tokens,
    }


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields}))


PING = _event("ping")
_TEXT = (
    b"event: content_block_delta\ndata: "
    b'{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%b}}\n\n'
)


class StreamWriter:
    """Writes deltas as events. Raises Broken for tool calls that are interleaved, which blocks cannot say."""

    def __init__(self) -> None:
        self._usage = Usage()
        self._block = -1
        self._kind = ""
        self._tool = -1
        self._signed = False

    def write(self, deltas: list[Delta]) -> list[bytes]:
        pieces: list[bytes] = []
        for delta in deltas:
            match delta:
                case TextDelta(text):
                    if self._kind != "text":
                        self._open("text", pieces, text="")
                    pieces.append(_TEXT % (self._block, encode(text)))
                case Frame(data):
                    pieces.append(data)
                case ThinkDelta():
                    self._think(delta, pieces)
                case ToolOpen(index, id_, name):
                    self._open("tool_use", pieces, id=id_, name=name, input={})
                    self._tool = index
                case ToolArgs(index, json):
                    if self._kind != "tool_use" or index != self._tool:
                        raise Broken("The provider interleaved its tool calls, which this format cannot say.")
                    self._delta(pieces, type="input_json_delta", partial_json=json)
                case Begin(id_, model):
                    message = _message(id_, model, []) | {"usage": write_usage(Usage())}
                    pieces.append(_event("message_start", message=message))
                case Tally(usage):
                    self._usage = usage
                case End(reason, stop_sequence):
                    self._close(pieces)
                    stop = {"stop_reason": STOPS[reason], "stop_sequence": stop_sequence}
                    pieces.append(_event("message_delta", delta=stop, usage=write_usage(self._usage)))
                    pieces.append(_event("message_stop"))
                case Broke():
                    pass
        return pieces

    def _think(self, delta: ThinkDelta, pieces: list[bytes]) -> None:
        if delta.redacted:
            self._open("redacted_thinking", pieces, data=delta.redacted)
            return
        if self._kind != "thinking" or (delta.text and self._signed):
            self._open("thinking", pieces, thinking="", signature="")
        self._signed = bool(delta.signature)
        if delta.text:
            self._delta(pieces, type="thinking_delta", thinking=delta.text)
        if delta.signature:
            self._delta(pieces, type="signature_delta", signature=delta.signature)

    def _open(self, kind: str, pieces: list[bytes], **fields: Any) -> None:
        self._close(pieces)
        self._block += 1
        self._kind = kind
        pieces.append(_event("content_block_start", index=self._block, content_block={"type": kind, **fields}))

    def _close(self, pieces: list[bytes]) -> None:
        if self._kind:
            pieces.append(_event("content_block_stop", index=self._block))
            self._kind = ""

    def _delta(self, pieces: list[bytes], **fields: Any) -> None:
        pieces.append(_event("content_block_delta", index=self._block, delta=fields))


def _message(id_: str, model: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
    }


def write_whole(deltas: list[Delta]) -> bytes:
    """Write a complete answer as one message object. Raises Broken for arguments that are not JSON."""
    answer = fold(deltas)
    content: list[dict[str, Any]] = []
    for part in answer.parts:
        match part:
            case Text(text):
                content.append({"type": "text", "text": text})
            case Think(text, signature, redacted):
                thought = {"type": "thinking", "thinking": text, "signature": signature}
                content.append({"type": "redacted_thinking", "data": redacted} if redacted else thought)
            case ToolUse(id_, name, arguments):
                try:
                    given = msgspec.json.decode(arguments or "{}")
                except (msgspec.DecodeError, RecursionError):
                    raise Broken("The model called a tool with arguments that are not JSON.") from None
                content.append({"type": "tool_use", "id": id_, "name": name, "input": given})
    end = answer.end or End()
    message = _message(answer.id, answer.model, content)
    stop = {"stop_reason": STOPS[end.reason], "stop_sequence": end.stop_sequence}
    return encode(message | stop | {"usage": write_usage(answer.usage)})
