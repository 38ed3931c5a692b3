"""Writing OpenAI Chat Completions answers: chunks and whole completions, from deltas.

Source: OpenAI API reference, "The chat completion chunk object" and "The chat completion object".
The schema requires `logprobs`, `refusal` and `finish_reason` to be present, as null where there is
nothing, and `system_fingerprint` to be absent rather than null. Reasoning is written as
`reasoning_content`, as most compatible servers do.
"""

from typing import Any

import msgspec

from dragoman.chat import (
    Answer,
    Begin,
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
from dragoman.wires.openai_usage import write_usage

DONE = b"data: [DONE]\n\n"
FINISH: dict[Reason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "pause": "stop",
    "length": "length",
    "tool": "tool_calls",
    "filter": "content_filter",
}
encode = msgspec.json.encode


_ROLE = b'{"role":"assistant","content":"","refusal":null}'


class StreamWriter:
    """Writes deltas as chunks; the usage chunk only for a caller that asked for it.

    `now` (Unix seconds) stands in where the provider's wire has no time of creation.
    """

    __slots__ = ("_head", "_now", "_null", "_tail", "_usage", "_wants_usage")

    def __init__(self, *, wants_usage: bool, now: int) -> None:
        self._wants_usage = wants_usage
        self._now = now
        self._usage = Usage()
        self._head = b""
        self._null = b',"usage":null' if wants_usage else b""
        self._tail = b',"logprobs":null,"finish_reason":null}]' + self._null + b"}\n\n"

    def write(self, deltas: list[Delta]) -> list[bytes]:
        pieces: list[bytes] = []
        for delta in deltas:
            match delta:
                case TextDelta(text):
                    pieces.append(self._said(b'{"content":%b}' % encode(text)))
                case Frame(data):
                    pieces.append(data)
                case ThinkDelta(text) if text:
                    pieces.append(self._said(b'{"reasoning_content":%b}' % encode(text)))
                case ToolOpen(index, id_, name):
                    function = {"name": name, "arguments": ""}
                    call = {"index": index, "id": id_, "type": "function", "function": function}
                    pieces.append(self._said(encode({"tool_calls": [call]})))
                case ToolArgs(index, json):
                    pieces.append(
                        self._said(encode({"tool_calls": [{"index": index, "function": {"arguments": json}}]}))
                    )
                case Begin(id_, model, created):
                    self._head = (
                        b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":['
                        % (encode(id_), created or self._now, encode(model))
                    )
                    pieces.append(self._said(_ROLE))
                case Tally(usage):
                    self._usage = usage
                case End(reason):
                    pieces += self._end(reason)
        return pieces

    def _said(self, delta: bytes) -> bytes:
        return b'%b{"index":0,"delta":%b%b' % (self._head, delta, self._tail)

    def _end(self, reason: Reason) -> list[bytes]:
        finish = b'%b{"index":0,"delta":{},"logprobs":null,"finish_reason":"%b"}]%b}\n\n'
        pieces = [finish % (self._head, FINISH[reason].encode(), self._null)]
        if self._wants_usage:
            pieces.append(b'%b],"usage":%b}\n\n' % (self._head, encode(write_usage(self._usage))))
        pieces.append(DONE)
        return pieces


def write_whole(deltas: list[Delta], now: int) -> bytes:
    """Write a complete answer as one completion object; `now` as in `StreamWriter`."""
    answer: Answer = fold(deltas)
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    text = "".join(p.text for p in answer.parts if isinstance(p, Text))
    thoughts = "".join(p.text for p in answer.parts if isinstance(p, Think))
    calls = [
        {"id": p.id, "type": "function", "function": {"name": p.name, "arguments": p.arguments or "{}"}}
        for p in answer.parts
        if isinstance(p, ToolUse)
    ]
    if text or not calls:
        message["content"] = text
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    finish = FINISH[answer.end.reason if answer.end else "stop"]
    return encode(
        {
            "id": answer.id,
            "object": "chat.completion",
            "created": answer.created or now,
            "model": answer.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
            "usage": write_usage(answer.usage),
        }
    )
