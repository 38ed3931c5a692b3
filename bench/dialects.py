"""What callers speak: how each dialect asks for one streamed answer, and how a right one reads.

Keys are named as each dialect's own clients show them. The legacy dialects and gRPC name no length of an answer:
the upstream takes it from the question.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from bench.framing import Framing, Grpc, Http, WebSocket
from bench.script import PUBLIC_MODEL, WrongAnswerError, question, token

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
Listener = Literal["http", "websocket", "grpc"]


@dataclass(frozen=True)
class Dialect:
    """`ask` makes one exchange from key, question and chunks; `texts` reads what its messages said, in order."""

    ask: Callable[[str, str, int], Framing]
    texts: Callable[[list[bytes]], list[str]]
    listener: Listener = "http"


def exchange(dialect: str, key: str, stream_id: int, chunks: int) -> Framing:
    return DIALECTS[dialect].ask(key, question(stream_id, chunks), chunks)


def check_stream(dialect: str, framing: Framing, raw: bytes, stream_id: int, chunks: int) -> int:
    """Check a whole raw answer: framing, every token in its place, a proper end. Returns how many events it came in."""
    texts = [text for text in DIALECTS[dialect].texts(framing.messages(raw)) if text]
    said, expected = "".join(texts), "".join(token(stream_id, place) for place in range(chunks))
    if said != expected:
        wrong = next((i for i, pair in enumerate(zip(said, expected, strict=False)) if pair[0] != pair[1]), len(said))
        raise WrongAnswerError(f"{len(said)} of {len(expected)} characters, wrong from {wrong}: {said[wrong:][:60]!r}")
    return len(texts)


def headers(key: str) -> dict[str, str]:
    return {**JSON, "Authorization": f"Bearer {key}"}


def chat_body(text: str, *, chunks: int = 256, stream: bool) -> bytes:
    """Make the body that OpenAI's dialect sends."""
    body: dict[str, Any] = {
        "model": PUBLIC_MODEL,
        "max_tokens": chunks,
        "messages": [{"role": "user", "content": text}],
    }
    body["temperature"] = 0.5
    if stream:
        body["stream"] = True
    return json.dumps(body).encode()


# --- the modern dialects --------------------------------------------------------------------------


def _openai(key: str, text: str, chunks: int) -> Framing:
    return Http(CHAT, headers(key), chat_body(text, chunks=chunks, stream=True))


def _openai_texts(messages: list[bytes]) -> list[str]:
    events = _events(messages)
    if not events or events[-1] != "[DONE]":
        raise WrongAnswerError("the stream does not end with [DONE]")
    choices = [choice for event in events[:-1] for choice in event["choices"]]
    if not any(choice.get("finish_reason") == "stop" for choice in choices):
        raise WrongAnswerError("the stream has no finish reason")
    return [choice["delta"].get("content") or "" for choice in choices]


def _anthropic(key: str, text: str, chunks: int) -> Framing:
    body = {"model": PUBLIC_MODEL, "max_tokens": chunks, "messages": [{"role": "user", "content": text}]}
    shown = {**JSON, "x-api-key": key, "anthropic-version": "2023-06-01"}
    return Http("/v1/messages", shown, json.dumps({**body, "stream": True}).encode())


def _anthropic_texts(messages: list[bytes]) -> list[str]:
    events = _events(messages)
    if not events or events[-1]["type"] != "message_stop":
        raise WrongAnswerError("the stream does not end with message_stop")
    return [event["delta"].get("text") or "" for event in events if event["type"] == "content_block_delta"]


def _json_socket(key: str, text: str, chunks: int) -> Framing:
    ask = {"type": "ask", "id": "1", "content": text, "model": PUBLIC_MODEL, "max_tokens": chunks}
    return WebSocket("/v1/ws", {"Authorization": f"Bearer {key}"}, json.dumps(ask).encode(), b'"type":"end"')


def _json_socket_texts(messages: list[bytes]) -> list[str]:
    events = [json.loads(message) for message in messages]
    if not events or events[-1]["type"] != "end":
        raise WrongAnswerError(f"the answer does not end: {messages[-1:]!r}")
    return [event["text"] for event in events if event["type"] == "delta"]


# --- the legacy dialects --------------------------------------------------------------------------


def _ndjson(key: str, text: str, chunks: int) -> Framing:
    body = {"model": PUBLIC_MODEL, "max_tokens": chunks, "messages": [{"role": "user", "content": text}]}
    return Http("/ndjson/chat", {**JSON, "Authorization": key}, json.dumps(body).encode())


def _ndjson_texts(messages: list[bytes]) -> list[str]:
    lines = [json.loads(line) for line in messages[0].split(b"\n") if line]
    if not lines or not lines[-1]["done"] or any(line["error"] for line in lines):
        raise WrongAnswerError(f"an error, or no last line: {messages[0][-300:]!r}")
    return [line["content"] for line in lines[:-1]]


def _conv(key: str, text: str, _chunks: int) -> Framing:
    shown = {**JSON, "Authorization": key, "Chat-Type": "conversation"}
    return Http("/conv", shown, json.dumps({"content": text}).encode())


def _conv_texts(messages: list[bytes]) -> list[str]:
    """Read the pieces by which one event is longer than the one before: each holds the whole text so far."""
    events = _events(messages)
    if len(events) < 2 or events[-1] != "[DONE]" or events[-2]["message"]["status"] != "finished_successfully":
        raise WrongAnswerError(f"the answer does not end: {messages[0][-300:]!r}")
    wholes = ["", *(event["message"]["content"]["parts"][0] for event in events[:-1])]
    if not all(later.startswith(earlier) for earlier, later in pairwise(wholes)):
        raise WrongAnswerError("an event takes back what one before it said")
    return [later[len(earlier) :] for earlier, later in pairwise(wholes)]


def _text_socket(key: str, text: str, _chunks: int) -> Framing:
    return WebSocket("/", {"Authorization": f"Bearer {key}"}, f"<|ask|>$new$new${text}".encode(), b"<|end|>$")


def _grpc(key: str, text: str, _chunks: int) -> Framing:
    from dragoman.wires.proto.chat_pb2 import askrequest

    asked = askrequest(conversation_id="new", parent_id="new", prompt=text)
    return Grpc("/chat.Chat/Ask", {"authorization": f"Bearer {key}"}, asked.SerializeToString())


def _grpc_texts(messages: list[bytes]) -> list[str]:
    from dragoman.wires.proto.chat_pb2 import askresponse

    return _before_the_end([askresponse.FromString(message).response for message in messages])


def _text_socket_texts(messages: list[bytes]) -> list[str]:
    return _before_the_end([message.decode() for message in messages])


def _before_the_end(texts: list[str]) -> list[str]:
    if not texts or not texts[-1].startswith("<|end|>$"):
        raise WrongAnswerError(f"the answer does not end: {texts[-1:]!r}")
    return texts[:-1]


def _events(messages: list[bytes]) -> list[Any]:
    """Read server-sent events: their data as JSON, or as text where it is a mark."""
    events: list[Any] = []
    for frame in messages[0].split(b"\n\n"):
        data = b"\n".join(line[5:].strip() for line in frame.split(b"\n") if line.startswith(b"data:"))
        if data:
            events.append("[DONE]" if data == b"[DONE]" else json.loads(data))
    return events


DIALECTS: Mapping[str, Dialect] = {
    "openai": Dialect(_openai, _openai_texts),
    "anthropic": Dialect(_anthropic, _anthropic_texts),
    "ndjson": Dialect(_ndjson, _ndjson_texts),
    "conv": Dialect(_conv, _conv_texts),
    "websocket": Dialect(_text_socket, _text_socket_texts, "websocket"),
    "ws_json": Dialect(_json_socket, _json_socket_texts),
    "grpc": Dialect(_grpc, _grpc_texts, "grpc"),
}
