"""What the upstream says: OpenAI's chat completions, whole and streamed, and what asks it for them.

A prompt says how its answer shall be (`stream-0017 chunks-0256 …`), because that is what every dialect passes on.
Every streamed token names its stream and its place, so a piece that is lost, doubled, reordered or handed to the
wrong caller cannot go unseen.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

UPSTREAM_MODEL = "bench-model"
PUBLIC_MODEL = "public"
# A stream of this many chunks sends the first and then falls silent: what the memory figure needs.
SILENT_CHUNKS = 9999

# A prompt and an answer that make bodies of about 1 KB, with no character that needs escaping anywhere.
PROMPT = ("Explain to a patient listener how a relay passes a message on without changing it. " * 12)[:900]
ANSWER = ("A relay reads only what it must, keeps its place in the line, and lets the rest go by. " * 12)[:700]

_ASKED = re.compile(rb"stream-(\d{4}) chunks-(\d{4})")
_CHUNK_HEAD = (
    'data: {"id":"chatcmpl-bench00000000000000000000","object":"chat.completion.chunk","created":1760000000,'
    f'"model":"{UPSTREAM_MODEL}","system_fingerprint":null,"choices":[{{"index":0,"delta":'
)
_CHUNK_TAIL = ',"logprobs":null,"finish_reason":null}]}\n\n'
_CONTENT_HEAD = (_CHUNK_HEAD + '{"content":"').encode()
_CONTENT_TAIL = ('"}' + _CHUNK_TAIL).encode()


class WrongAnswerError(Exception):
    """An answer that is not, byte for meaning, the one the upstream gave."""


def question(stream_id: int, chunks: int, rest: str = PROMPT) -> str:
    return f"stream-{stream_id:04d} chunks-{chunks:04d} {rest}"


def asked_for(body: bytes) -> tuple[int, int]:
    """Find what the newest question in a request asks for: the stream's number and the chunks of its answer."""
    found = _ASKED.findall(body)
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 16)


def token(stream: int, place: int) -> str:
    """Make a piece of an answer: 26 characters, about six words' worth."""
    return f"s{stream:04d} tok{place:04d} of the text "


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


def check_unary(body: bytes) -> None:
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise WrongAnswerError(f"not a chat completion: {body[:200]!r}") from error
    if content != ANSWER:
        raise WrongAnswerError(f"the answer's text was changed: {content[:200]!r}")


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True)
class StreamedAnswer:
    """The upstream's side of one stream, framed for chunked transfer and ready to be written.

    Usage, where it is asked for, reports the bytes of the request as its prompt's tokens.
    """

    stream_id: int
    chunks: int
    request_bytes: int
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
                "prompt_tokens": self.request_bytes,
                "completion_tokens": self.chunks,
                "total_tokens": self.request_bytes + self.chunks,
            }
            start = _CHUNK_HEAD.partition('"choices"')[0]
            frames.append(f'{start}"choices":[],"usage":{json.dumps(usage)}}}\n\n'.encode())
        frames.append(b"data: [DONE]\n\n")
        return b"".join(map(http_chunk, frames)) + b"0\r\n\r\n"
