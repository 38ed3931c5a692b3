"""The bytes of the two dialects: requests, the answers the upstream gives, and how a client checks them.

Every streamed token names its stream and its place (`s0017 tok0012 `), so a frame that is lost,
doubled, reordered or handed to the wrong caller cannot go unseen.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

UPSTREAM_MODEL = "bench-model"
PUBLIC_MODEL = "public"
# A stream of this many chunks sends the first and then falls silent: what the memory figure needs.
SILENT_CHUNKS = 9999
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}

# A prompt and an answer that make bodies of about 1 KB, with no character that needs escaping anywhere.
PROMPT = ("Explain to a patient listener how a relay passes a message on without changing it. " * 12)[:900]
ANSWER = ("A relay reads only what it must, keeps its place in the line, and lets the rest go by. " * 12)[:700]

_CHUNK_HEAD = (
    'data: {"id":"chatcmpl-bench00000000000000000000","object":"chat.completion.chunk","created":1760000000,'
    f'"model":"{UPSTREAM_MODEL}","system_fingerprint":null,"choices":[{{"index":0,"delta":'
)
_CHUNK_TAIL = ',"logprobs":null,"finish_reason":null}]}\n\n'
_CONTENT_HEAD = (_CHUNK_HEAD + '{"content":"').encode()
_CONTENT_TAIL = ('"}' + _CHUNK_TAIL).encode()


class WrongAnswerError(Exception):
    """An answer that is not, byte for meaning, the one the upstream gave."""


def token(stream: int, place: int) -> str:
    return f"s{stream:04d} tok{place:04d} "


def unary_answer() -> bytes:
    """The upstream's fixed unary answer, about 1 KB."""
    answer = {
        "id": "chatcmpl-bench00000000000000000000",
        "object": "chat.completion",
        "created": 1760000000,
        "model": UPSTREAM_MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": ANSWER},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 180, "completion_tokens": 150, "total_tokens": 330},
        "system_fingerprint": None,
    }
    return json.dumps(answer, separators=(",", ":")).encode()


def request_body(dialect: str, *, stream: bool, chunks: int = 256, stream_id: int = 0) -> bytes:
    """A request; the upstream takes its number of chunks from `max_tokens`, which any translation keeps."""
    prompt = f"stream-{stream_id:04d} {PROMPT}"
    body: dict[str, Any] = {
        "model": PUBLIC_MODEL,
        "max_tokens": chunks,
        "messages": [{"role": "user", "content": prompt}],
    }
    if dialect == "openai":
        body["temperature"] = 0.5
    if stream:
        body["stream"] = True
    return json.dumps(body).encode()


def request_head(dialect: str, key: str, length: int) -> bytes:
    lines = [
        f"POST {PATHS[dialect]} HTTP/1.1",
        "Host: 127.0.0.1",
        *(f"{name}: {value}" for name, value in headers(dialect, key).items()),
        f"Content-Length: {length}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def headers(dialect: str, key: str) -> dict[str, str]:
    credential = (
        {"Authorization": f"Bearer {key}"}
        if dialect == "openai"
        else {"x-api-key": key, "anthropic-version": "2023-06-01"}
    )
    return {"Content-Type": "application/json", **credential}


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True)
class StreamedAnswer:
    """The upstream's side of one stream, framed for chunked transfer and ready to be written."""

    stream_id: int
    chunks: int
    with_usage: bool

    def opening(self) -> bytes:
        return http_chunk((_CHUNK_HEAD + '{"role":"assistant","content":""}' + _CHUNK_TAIL).encode())

    def content(self, place: int) -> bytes:
        return http_chunk(_CONTENT_HEAD + token(self.stream_id, place).encode() + _CONTENT_TAIL)

    def closing(self) -> bytes:
        finish = (_CHUNK_HEAD + "{}" + _CHUNK_TAIL).replace('"finish_reason":null', '"finish_reason":"stop"')
        frames = [finish.encode()]
        if self.with_usage:
            usage = {
                "prompt_tokens": 180,
                "completion_tokens": self.chunks,
                "total_tokens": 180 + self.chunks,
            }
            start = _CHUNK_HEAD.partition('"choices"')[0]
            frames.append(f'{start}"choices":[],"usage":{json.dumps(usage)}}}\n\n'.encode())
        frames.append(b"data: [DONE]\n\n")
        return b"".join(map(http_chunk, frames)) + b"0\r\n\r\n"


def check_unary(body: bytes) -> None:
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise WrongAnswerError(f"not a chat completion: {body[:200]!r}") from error
    if content != ANSWER:
        raise WrongAnswerError(f"the answer's text was changed: {content[:200]!r}")


def check_stream(dialect: str, raw: bytes, stream_id: int, chunks: int) -> None:
    """Check a whole raw HTTP answer: status, framing, every token in its place, and a proper end."""
    head, _, body = raw.partition(b"\r\n\r\n")
    if b" 200 " not in head[:16]:
        raise WrongAnswerError(f"status: {raw[:300]!r}")
    if b"transfer-encoding: chunked" not in head.lower():
        raise WrongAnswerError(f"the stream is not chunked: {head!r}")
    events = [_event(frame) for frame in _join_http_chunks(body).split(b"\n\n") if frame.strip()]
    texts = _TEXTS[dialect](events)
    expected = [token(stream_id, place) for place in range(chunks)]
    if texts != expected:
        wrong = next((i for i, pair in enumerate(zip(texts, expected, strict=False)) if pair[0] != pair[1]), -1)
        raise WrongAnswerError(f"{len(texts)} of {chunks} tokens, first wrong at {wrong}: {texts[wrong : wrong + 2]}")


def _join_http_chunks(body: bytes) -> bytes:
    data: list[bytes] = []
    at = 0
    while True:
        line_end = body.find(b"\r\n", at)
        if line_end < 0:
            raise WrongAnswerError("the chunked body breaks off")
        size = int(body[at:line_end].split(b";")[0], 16)
        if size == 0:
            return b"".join(data)
        data.append(body[line_end + 2 : line_end + 2 + size])
        at = line_end + 2 + size + 2


def _event(frame: bytes) -> Any:
    data = [line[5:].strip() for line in frame.split(b"\n") if line.startswith(b"data:")]
    joined = b"\n".join(data)
    if not joined or joined == b"[DONE]":
        return joined.decode()
    return json.loads(joined)


def _openai_texts(events: list[Any]) -> list[str]:
    if not events or events[-1] != "[DONE]":
        raise WrongAnswerError("the stream does not end with [DONE]")
    choices = [choice for event in events if isinstance(event, dict) for choice in event["choices"]]
    if not any(choice.get("finish_reason") == "stop" for choice in choices):
        raise WrongAnswerError("the stream has no finish reason")
    texts = (choice["delta"].get("content") for choice in choices)
    return [text for text in texts if text]


def _anthropic_texts(events: list[Any]) -> list[str]:
    messages = [event for event in events if isinstance(event, dict)]
    if not messages or messages[-1].get("type") != "message_stop":
        raise WrongAnswerError("the stream does not end with message_stop")
    deltas = (event["delta"] for event in messages if event["type"] == "content_block_delta")
    return [delta["text"] for delta in deltas if delta.get("text")]


_TEXTS: dict[str, Callable[[list[Any]], list[str]]] = {"openai": _openai_texts, "anthropic": _anthropic_texts}
