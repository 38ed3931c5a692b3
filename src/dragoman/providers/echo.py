"""A provider without a model: says back what it was told, and fails on demand. For demonstrations and tests.

It speaks OpenAI's format. The model's name, or a first word of the question, chooses what happens:
`echo`; `echo-slow` or `/slow` (a word every 200 ms); `echo-stall` or `/stall` (two words, then silence);
`echo-fail` or `/fail` (500); `echo-busy` or `/busy` (429, Retry-After 2); `echo-truncate` or `/truncate`
(two words, then a cut); `echo-tool` (calls the first tool, with the question as arguments if that is JSON).
"""

import re

import msgspec

from dragoman.chat import (
    Begin,
    ChatRequest,
    Delta,
    End,
    Part,
    Tally,
    Text,
    TextDelta,
    ToolArgs,
    ToolOpen,
    ToolResult,
    Usage,
    estimate_tokens,
    tokens_of,
)
from dragoman.faults import Fault, Unsupported
from dragoman.intents import Ask, Count, Forward
from dragoman.legs import Child, Headers, Origin, Outbound, Script, Step
from dragoman.ports import Provider, Reader
from dragoman.routes import Credential
from dragoman.wires import openai_chat, openai_voice
from dragoman.wires.openai_client import is_event_stream
from dragoman.wires.refusals import fault_of

MODES = ("slow", "stall", "fail", "busy", "truncate", "tool")
# What a row without `models` serves.
MODELS = ("echo", "echo-*")
NOWHERE = Origin("script", "echo", 0)
FOREVER_S = 86_400.0
_WORD = re.compile(r"\S+\s*|\s+")


FREE = True


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`kind = "echo"` has no keys of its own."""


class Echo:
    wire = openai_chat.WIRE
    child: Child | None = None

    def request(self, intent: Ask | Forward | Count, model: str, credential: Credential) -> Outbound:  # noqa: ARG002
        if not isinstance(intent, Ask):
            raise Unsupported("The echo provider only chats.")
        asked = intent.request()
        script = self._script(asked, model, stream=intent.stream)
        return Outbound(NOWHERE, "POST", "/echo", [], b"", 0, script)

    def _script(self, asked: ChatRequest, model: str, *, stream: bool) -> Script:
        text = _last_text(asked)
        mode = model.removeprefix("echo-") if model.startswith("echo-") else ""
        if text.startswith("/") and text[1:].partition(" ")[0] in MODES:
            mode, _, text = text[1:].partition(" ")
        if mode == "fail":
            return _refusal(500, "server_error", "The echo provider failed, as it was told to.")
        if mode == "busy":
            return _refusal(429, "rate_limit_error", "The echo provider is busy, as it was told to be.")
        deltas = _answer(asked, text, model, mode)
        if not stream:
            wait_s = FOREVER_S if mode == "stall" else 0.2 if mode == "slow" else 0.0
            body = openai_voice.write_whole(deltas, 0)
            steps: tuple[Step, ...] = (Step(wait_s, body[:40] if mode == "truncate" else body, cut=mode == "truncate"),)
            return Script(200, [(b"content-type", b"application/json")], steps)
        voice = openai_voice.StreamWriter(wants_usage=True, now=0)
        pieces = [b"".join(voice.write([delta])) for delta in deltas]
        pace_s = 0.2 if mode == "slow" else 0.0
        steps = tuple(Step(pace_s if number else 0.0, piece) for number, piece in enumerate(pieces) if piece)
        if mode in ("stall", "truncate"):
            steps = (*steps[:3], Step(FOREVER_S if mode == "stall" else 0.0, b"", cut=True))
        return Script(200, [(b"content-type", b"text/event-stream")], steps)

    def reader(self, intent: Ask | Forward | Count, headers: Headers) -> Reader:
        streamed = is_event_stream(headers)
        if isinstance(intent, Ask) and intent.wire == self.wire:
            return openai_chat.OpaqueStream(hide_usage=bool(intent.metered)) if streamed else openai_chat.OpaqueWhole()
        return openai_chat.OpenStream() if streamed else openai_chat.OpenWhole()

    def fault(self, status: int, headers: Headers, body: bytes) -> Fault:
        return fault_of(status, headers, body)

    def probe(self, credential: Credential) -> Outbound | None:  # noqa: ARG002 - there is nothing to ask
        return None

    def listing(self, body: bytes) -> list[str]:  # noqa: ARG002 - the names are known
        return ["echo", *(f"echo-{mode}" for mode in MODES)]


def _last_text(asked: ChatRequest) -> str:
    for message in reversed(asked.messages):
        if message.role == "user":
            parts: list[Part] = []
            for part in message.parts:
                parts += part.parts if isinstance(part, ToolResult) else (part,)
            return "".join(part.text for part in parts if isinstance(part, Text))
    return ""


def _answer(asked: ChatRequest, text: str, model: str, mode: str) -> list[Delta]:
    is_json = _is_json_object(text)
    if (asked.json_schema or asked.json_object) and not is_json:
        text = msgspec.json.encode({"echo": text}).decode()
    prompt = estimate_tokens(asked)
    deltas: list[Delta] = [Begin(f"chatcmpl-echo-{prompt}-{len(text)}", model, 0)]
    results = any(isinstance(p, ToolResult) for p in asked.messages[-1].parts) if asked.messages else False
    if mode == "tool" and asked.tools and not results:
        arguments = text if is_json else "{}"
        deltas += (ToolOpen(0, "call_echo_0", asked.tools[0].name), ToolArgs(0, arguments))
        reason: End = End("tool")
    else:
        words = _WORD.findall(text)
        limit = asked.max_tokens or len(words)
        deltas += (TextDelta(word) for word in words[:limit])
        reason = End("length" if len(words) > limit else "stop")
    usage = Usage(input=prompt, output=tokens_of(len(text)))
    return [*deltas, Tally(usage), reason]


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False


def _refusal(status: int, kind: str, message: str) -> Script:
    body = msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": None}})
    headers: Headers = [(b"content-type", b"application/json")]
    if status == 429:
        headers.append((b"retry-after", b"2"))
    return Script(status, headers, (Step(0.0, body),))


def build(options: Options) -> Provider:  # noqa: ARG001 - there are none
    return Echo()
