"""OpenAI Chat Completions requests, both directions.

Source: OpenAI API reference, "Create chat completion". `peek` looks at what policy needs and leaves
the rest as bytes; `parse` reads everything into words for another wire; `compose` is its opposite.
What other wires cannot say is refused or listed in `ChatRequest.dropped`: docs/translation.md.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from dragoman.chat import (
    Audio,
    ChatRequest,
    File,
    Image,
    JsonSchema,
    Message,
    Part,
    Text,
    Think,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from dragoman.faults import Malformed, Unsupported
from dragoman.wires.checks import HOSTS, Messages, ModelName, Tokens, Tools, decode, refuse_hosts, refuse_twins
from dragoman.wires.framing import Document

encode = msgspec.json.encode


class _Policy(msgspec.Struct):
    """What limits and routing need. Messages and tools stay bytes."""

    model: ModelName
    messages: Messages
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    tools: Tools | None = None
    stop: str | list[str] | None = None


EXACT = frozenset(_Policy.__struct_fields__) | frozenset(HOSTS)
_decode_policy = msgspec.json.Decoder(_Policy)


class Peek(msgspec.Struct):
    """What is known of a request without reading its messages."""

    document: Document
    model: str
    stream: bool
    wants_usage: bool
    max_tokens: int | None = None
    choices: int = 1
    metered: dict[str, bytes] = {}


def peek(body: bytes) -> Peek:
    """Check what routing and limits need. Raises Malformed that names the field."""
    document = Document(body, EXACT)
    refuse_hosts(document)
    policy = decode(document, _decode_policy)
    if policy.tools:
        refuse_twins(document, "tools")
    stream = policy.stream or False
    wants, metered = usage_options(policy.stream_options) if stream or policy.stream_options else (False, {})
    max_tokens = policy.max_completion_tokens or policy.max_tokens
    asks = {} if wants or not stream else metered
    return Peek(document, policy.model, stream, wants, max_tokens, policy.n or 1, asks)


def usage_options(given: dict[str, Any] | None) -> tuple[bool, dict[str, bytes]]:
    """Return whether the caller asked a stream for its usage, and what to splice to ask for it."""
    wants = (given or {}).get("include_usage") or False
    if not isinstance(wants, bool):
        raise Malformed("stream_options.include_usage must be true or false.", field="stream_options.include_usage")
    return wants, {"stream_options": encode({**(given or {}), "include_usage": True})}


# --- reading into words ------------------------------------------------------------------------


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(msgspec.Struct):
    type: str
    function: _Function | None = None


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str = ""


class _Call(msgspec.Struct):
    id: str
    type: str = "function"
    function: _CalledFunction | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    function_call: Any = None
    audio: Any = None


class _Request(msgspec.Struct):
    """The whole request, as far as it can be said in other words."""

    messages: list[_Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, Any] | None = None
    modalities: list[str] | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    web_search_options: dict[str, Any] | None = None


_decode_request = msgspec.json.Decoder(_Request)
_CARRIED = frozenset(_Request.__struct_fields__) | {"model", "stream", "stream_options", "audio"}


def parse(document: Document) -> ChatRequest:
    """Read a whole request into words. Raises Malformed, or Unsupported for what no other wire can say."""
    given = decode(document, _decode_request)
    _refuse_unsayable(given)
    request = ChatRequest(
        messages=_messages(given.messages),
        max_tokens=given.max_completion_tokens or given.max_tokens,
        temperature=given.temperature,
        top_p=given.top_p,
        top_k=given.top_k,
        stop=(given.stop,) if isinstance(given.stop, str) else tuple(given.stop or ()),
        tools=tuple(tool_of(tool, number) for number, tool in enumerate(given.tools or ())),
        tool_choice=_tool_choice(given),
        effort=given.reasoning_effort,
        user=given.user,
    )
    _response_format(given, request)
    fields = document.fields
    request.dropped += sorted(k for k in fields if k not in _CARRIED and bytes(fields[k]) != b"null")
    return request


def _refuse_unsayable(given: _Request) -> None:
    for key, wanted, why in (
        ("n", (given.n or 1) > 1, "only one choice can be had from this model's provider"),
        ("logprobs", given.logprobs, "this model's provider does not report them"),
        ("logit_bias", given.logit_bias, "this model's provider has no counterpart"),
        ("modalities", "audio" in (given.modalities or ()), "this model's provider does not speak"),
        ("functions", given.functions, "use tools instead"),
        ("function_call", given.function_call, "use tool_choice instead"),
        ("web_search_options", given.web_search_options, "this model's provider has no counterpart"),
    ):
        if wanted:
            raise Unsupported(f"{key}: {why}.", field=key)


def _messages(given: list[_Message]) -> list[Message]:
    messages: list[Message] = []
    for number, message in enumerate(given):
        where = f"messages[{number}]"
        if message.function_call or message.audio:
            raise Unsupported(f"{where}: only tool_calls can be translated.", field=where)
        parts = _parts(message.content, f"{where}.content")
        match message.role:
            case "system" | "developer":
                messages.append(Message("system", parts))
            case "user":
                messages.append(Message("user", parts))
            case "assistant":
                if message.refusal:
                    parts += (Text(message.refusal),)
                for call in message.tool_calls or ():
                    if call.function is None:
                        raise Unsupported(f"{where}.tool_calls: only functions can be translated.", field=where)
                    parts += (ToolUse(call.id, call.function.name, call.function.arguments),)
                messages.append(Message("assistant", parts))
            case "tool":
                if not message.tool_call_id:
                    raise Malformed(f"{where}.tool_call_id is required.", field=f"{where}.tool_call_id")
                messages.append(Message("user", (ToolResult(message.tool_call_id, parts),)))
            case role:
                raise Malformed(f"{where}.role: {role!r} is not a role.", field=f"{where}.role")
    return messages


def _parts(content: str | list[dict[str, Any]] | None, where: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),) if content else ()
    return tuple(part_of(part, f"{where}[{number}]") for number, part in enumerate(content))


def part_of(part: dict[str, Any], where: str) -> Part:
    """Read one part of a content. Raises Malformed that names the field, which begins with `where`."""
    try:
        match part.get("type"):
            case "text":
                return Text(_string(part["text"]))
            case "refusal":
                return Text(_string(part["refusal"]))
            case "image_url":
                image = part["image_url"]
                url, detail = _string(image["url"]), image.get("detail") or ""
                media_type, data = split_data_url(url)
                return Image("" if data else url, data, media_type, detail=detail)
            case "input_audio":
                return Audio(_string(part["input_audio"]["data"]), _string(part["input_audio"]["format"]))
            case "file":
                file = part["file"]
                media_type, data = split_data_url(file.get("file_data") or "")
                name, file_id = file.get("filename") or "", file.get("file_id") or ""
                return File(data or file.get("file_data") or "", file_id=file_id, media_type=media_type, name=name)
            case kind:
                raise Malformed(f"{where}.type: {kind!r} is not a kind of content.", field=f"{where}.type")
    except (KeyError, TypeError, AttributeError):
        raise Malformed(f"{where}: this {part.get('type')} part is not complete.", field=where) from None


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def split_data_url(url: str) -> tuple[str, str]:
    """Return (media type, base64 data) of a data URL (RFC 2397), empty strings for any other."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return "", ""
    return head[5:-7].partition(";")[0], data


def tool_of(tool: FunctionTool, number: int) -> Tool:
    """Read a tool, the one of that number. Raises Unsupported for what is no function."""
    if tool.type != "function" or tool.function is None:
        raise Unsupported(f"tools[{number}]: only functions can be translated.", field=f"tools[{number}].type")
    made = tool.function
    return Tool(made.name, made.description or "", made.parameters or {}, made.strict)


def _tool_choice(given: _Request) -> ToolChoice | None:
    parallel = given.parallel_tool_calls
    choice = given.tool_choice
    match choice:
        case None:
            return ToolChoice(parallel=parallel) if parallel is not None else None
        case "auto" | "none":
            return ToolChoice(choice, parallel=parallel)
        case "required":
            return ToolChoice("any", parallel=parallel)
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice("tool", name, parallel)
    raise Unsupported("tool_choice: this form has no counterpart at this model's provider.", field="tool_choice")


def _json_schema(schema: dict[Any, Any], rest: dict[Any, Any]) -> JsonSchema:
    strict = rest.get("strict")
    return JsonSchema(schema, str(rest.get("name") or "answer"), strict if isinstance(strict, bool) else None)


def _response_format(given: _Request, request: ChatRequest) -> None:
    match given.response_format:
        case None | {"type": "text"}:
            return
        case {"type": "json_object"}:
            request.json_object = True
        case {"type": "json_schema", "json_schema": {"schema": dict(schema), **rest}}:
            request.json_schema = _json_schema(schema, rest)
        case _:
            raise Malformed("response_format: not a known form.", field="response_format")


# --- composing from words ------------------------------------------------------------------------


def compose(request: ChatRequest, model: str, *, stream: bool) -> bytes:
    """Write words as a request for an OpenAI-compatible server; usage is always asked for."""
    body: dict[str, Any] = {"model": model, "messages": _compose_messages(request)}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    plain = {
        "max_tokens": request.max_tokens,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
        "reasoning_effort": request.effort,
        "user": request.user,
    }
    body |= {key: value for key, value in plain.items() if value is not None}
    if request.top_k is not None:
        request.dropped.append("top_k")
    if request.tools:
        body["tools"] = [{"type": "function", "function": _compose_tool(tool)} for tool in request.tools]
    if choice := request.tool_choice:
        named = {"type": "function", "function": {"name": choice.name}}
        if request.tools:
            body["tool_choice"] = {"any": "required", "tool": named}.get(choice.mode, choice.mode)
        if choice.parallel is not None and request.tools:
            body["parallel_tool_calls"] = choice.parallel
    if wanted := request.json_schema:
        inner: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema}
        if wanted.strict is not None:
            inner["strict"] = wanted.strict
        body["response_format"] = {"type": "json_schema", "json_schema": inner}
    elif request.json_object:
        body["response_format"] = {"type": "json_object"}
    return encode(body)


def _compose_tool(tool: Tool) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name, "parameters": tool.schema}
    if tool.description:
        made["description"] = tool.description
    if tool.strict is not None:
        made["strict"] = tool.strict
    return made


def _compose_messages(request: ChatRequest) -> list[dict[str, Any]]:
    composed: list[dict[str, Any]] = []
    for message in request.messages:
        results = [p for p in message.parts if isinstance(p, ToolResult)]
        composed += ({"role": "tool", "tool_call_id": r.id, "content": _result_text(r)} for r in results)
        calls = [p for p in message.parts if isinstance(p, ToolUse)]
        thoughts = [p for p in message.parts if isinstance(p, Think)]
        if thoughts and "thinking blocks" not in request.dropped:
            request.dropped.append("thinking blocks")
        rest = [p for p in message.parts if not isinstance(p, ToolResult | ToolUse | Think)]
        if not rest and not calls and results:
            continue
        made: dict[str, Any] = {"role": message.role, "content": _compose_content(rest)}
        if calls:
            made["content"] = made["content"] or None
            made["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments or "{}"}}
                for c in calls
            ]
        composed.append(made)
    return composed


def _result_text(result: ToolResult) -> str:
    if any(not isinstance(part, Text) for part in result.parts):
        raise Unsupported("A tool result for this model's provider can hold text only.", field="messages")
    return "".join(part.text for part in result.parts if isinstance(part, Text))


def _compose_content(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    if all(isinstance(part, Text) for part in parts) and len(parts) <= 1:
        return "".join(part.text for part in parts if isinstance(part, Text))
    return [_compose_part(part) for part in parts]


def _compose_part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(url, data, media_type, file_id, detail):
            if file_id:
                raise Unsupported("An image by file id belongs to another provider.", field="messages")
            image: dict[str, Any] = {"url": url or f"data:{media_type};base64,{data}"}
            return {"type": "image_url", "image_url": image | ({"detail": detail} if detail else {})}
        case Audio(data, form):
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
        case File(data, text, url, file_id, media_type, name):
            if text:
                return {"type": "text", "text": f"{name}\n\n{text}" if name else text}
            if url or file_id:
                raise Unsupported("A document by URL or file id has no counterpart here.", field="messages")
            named = {"filename": name or "document.pdf"}
            return {"type": "file", "file": named | {"file_data": f"data:{media_type};base64,{data}"}}
    raise Unsupported("This content has no counterpart at this model's provider.", field="messages")
