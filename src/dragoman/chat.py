"""The words of a conversation with a model, in nobody's format.

`ChatRequest` is what is asked; a superset of what the wires can say. `Delta` is the closed
alphabet in which every answer travels: Begin first, then content, Tally (usage) before End.
An answer without End is not complete, whatever the socket said. `Frame` is content that nobody
needed to open: the provider's own bytes with the marks seen on them in passing.

Numbers of tokens are integers. Buckets of `Usage` are disjoint: what is counted in one is not
counted in another.
"""

from typing import Any, Literal

import msgspec

from dragoman.faults import Fault

# --- what is asked ---------------------------------------------------------------------------


class Text(msgspec.Struct, frozen=True, tag="text"):
    text: str


class Image(msgspec.Struct, frozen=True, tag="image"):
    """An image by `url`, or base64 `data` with its media type, or a provider's `file_id`."""

    url: str = ""
    data: str = ""
    media_type: str = ""
    file_id: str = ""
    detail: str = ""


class Audio(msgspec.Struct, frozen=True, tag="audio"):
    data: str
    format: str


class File(msgspec.Struct, frozen=True, tag="file"):
    """A document: base64 `data` with its media type, plain `text`, a `url`, or a provider's `file_id`."""

    data: str = ""
    text: str = ""
    url: str = ""
    file_id: str = ""
    media_type: str = ""
    name: str = ""


class Think(msgspec.Struct, frozen=True, tag="think"):
    """Reasoning that a model showed. `signature` or `redacted` bind it to the provider that made it."""

    text: str = ""
    signature: str = ""
    redacted: str = ""


class ToolUse(msgspec.Struct, frozen=True, tag="tool_use"):
    """A call of a tool by the model; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result"):
    id: str
    parts: tuple["Part", ...] = ()
    is_error: bool = False


Part = Text | Image | Audio | File | Think | ToolUse | ToolResult

Role = Literal["system", "user", "assistant"]


class Message(msgspec.Struct, frozen=True):
    role: Role
    parts: tuple[Part, ...]


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `schema` is a JSON Schema as decoded JSON."""

    name: str
    description: str = ""
    schema: dict[str, Any] = {}
    strict: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """`mode`: auto, none, any (some tool must be called) or tool (the one named)."""

    mode: Literal["auto", "none", "any", "tool"] = "auto"
    name: str = ""
    parallel: bool | None = None


class JsonSchema(msgspec.Struct, frozen=True):
    """An answer that must fit a JSON Schema."""

    schema: dict[str, Any]
    name: str = "answer"
    strict: bool | None = None


class ChatRequest(msgspec.Struct):
    """One question with all that came before it.

    `effort` is the reasoning effort by name (none … max); `dropped` lists fields of the caller's
    request that no other wire can carry, in the caller's notation.
    """

    messages: list[Message]
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    json_schema: JsonSchema | None = None
    json_object: bool = False
    effort: str | None = None
    user: str | None = None
    dropped: list[str] = []


# --- what is answered ------------------------------------------------------------------------


class Usage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Tokens in disjoint buckets. `estimated`: counted by us, not reported by the provider. `tier` is the provider's
    name of the service tier that answered, "" for the usual one.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio_in: int = 0
    output: int = 0
    reasoning: int = 0
    audio_out: int = 0
    estimated: bool = False
    image_in: int = 0
    image_out: int = 0
    tier: str = ""

    @property
    def prompt_tokens(self) -> int:
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h + self.audio_in + self.image_in

    @property
    def completion_tokens(self) -> int:
        return self.output + self.reasoning + self.audio_out + self.image_out


class Begin(msgspec.Struct, frozen=True, gc=False):
    """The answer has an id, a model and a time (Unix seconds)."""

    id: str
    model: str
    created: int


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    text: str


class ThinkDelta(msgspec.Struct, frozen=True, gc=False):
    text: str = ""
    signature: str = ""
    redacted: str = ""


class ToolOpen(msgspec.Struct, frozen=True, gc=False):
    """The model begins to call a tool; `index` counts the calls of this answer from 0."""

    index: int
    id: str
    name: str


class ToolArgs(msgspec.Struct, frozen=True, gc=False):
    """A piece of the JSON text of a call's arguments."""

    index: int
    json: str


class Tally(msgspec.Struct, frozen=True):
    usage: Usage


Reason = Literal["stop", "stop_sequence", "length", "tool", "filter", "pause"]


class End(msgspec.Struct, frozen=True, gc=False):
    """The provider proved that its answer is complete."""

    reason: Reason = "stop"
    stop_sequence: str | None = None


class Broke(msgspec.Struct, frozen=True):
    """The provider said, inside a good stream, that it failed. Nothing follows."""

    fault: Fault


class Frame(msgspec.Struct, frozen=True):
    """Bytes to pass unchanged, with what was seen on them.

    `size` counts the characters of generated text inside (for an estimate when nobody reports),
    `ended` is the proof of completion, `content` whether anything was generated at all.
    """

    data: bytes
    size: int = 0
    usage: Usage | None = None
    ended: bool = False


Delta = Begin | TextDelta | ThinkDelta | ToolOpen | ToolArgs | Tally | End | Broke | Frame


class Answer(msgspec.Struct):
    """A whole answer: what `fold` makes of deltas."""

    id: str = ""
    model: str = ""
    created: int = 0
    parts: list[Part] = []
    usage: Usage = Usage()
    end: End | None = None


def fold(deltas: list[Delta]) -> Answer:
    """Join deltas into the answer that they mean; a unary answer is a stream that someone waited for.

    O(bytes): pieces are joined once a block, not once a delta.
    """
    answer = Answer()
    run: list[TextDelta | ThinkDelta] = []
    calls: dict[int, tuple[ToolOpen, list[str]]] = {}
    for delta in deltas:
        match delta:
            case TextDelta() | ThinkDelta():
                if run and not _continues(run[-1], delta):
                    answer.parts.append(_join(run))
                    run = []
                run.append(delta)
            case ToolOpen(index):
                calls[index] = (delta, [])
            case ToolArgs(index, json):
                calls[index][1].append(json)
            case Begin(id_, model, created):
                answer.id, answer.model, answer.created = id_, model, created
            case Tally(usage):
                answer.usage = usage
            case End():
                answer.end = delta
    if run:
        answer.parts.append(_join(run))
    answer.parts += [ToolUse(opened.id, opened.name, "".join(args)) for opened, args in calls.values()]
    return answer


def _continues(last: TextDelta | ThinkDelta, new: TextDelta | ThinkDelta) -> bool:
    """Whether two pieces belong to one block: a signature ends a block of reasoning."""
    if isinstance(last, ThinkDelta) and isinstance(new, ThinkDelta):
        return not (last.signature or last.redacted or new.redacted)
    return isinstance(last, TextDelta) and isinstance(new, TextDelta)


def _join(run: list[TextDelta | ThinkDelta]) -> Text | Think:
    text = "".join(piece.text for piece in run)
    last = run[-1]
    return Think(text, last.signature, last.redacted) if isinstance(last, ThinkDelta) else Text(text)


# --- counting without a tokenizer ------------------------------------------------------------

CHARS_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 1_200


def tokens_of(characters: int) -> int:
    """Estimate tokens from a number of characters: one for four, rounded up. Never exact."""
    return -(-characters // CHARS_PER_TOKEN)


def estimate_tokens(request: ChatRequest) -> int:
    """Estimate the prompt tokens of a request.

    Rule (docs/dialects.md, "Counting tokens"): characters of text, tool definitions and tool calls
    over four, plus four a message, plus 1,200 an image or document page set.
    """
    characters = 0
    tokens = 0
    stack: list[Part] = [part for message in request.messages for part in message.parts]
    while stack:
        match stack.pop():
            case Text(text):
                characters += len(text)
            case Think(text):
                characters += len(text)
            case ToolUse(_, name, arguments):
                characters += len(name) + len(arguments)
            case ToolResult(_, parts):
                stack.extend(parts)
            case File(_, text):
                characters += len(text)
                tokens += 0 if text else TOKENS_PER_IMAGE
            case _:
                tokens += TOKENS_PER_IMAGE
    for tool in request.tools:
        characters += len(tool.name) + len(tool.description) + len(msgspec.json.encode(tool.schema))
    return tokens + tokens_of(characters) + TOKENS_PER_MESSAGE * len(request.messages)
