"""Anthropic Messages requests, both directions.

Source: Anthropic API reference, "Create a Message". `peek`, `parse` and `compose` are the
counterparts of those in `openai_ask`; docs/translation.md has the table.
"""

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


class _Counted(msgspec.Struct):
    """What counting tokens needs."""

    model: ModelName
    messages: Messages
    tools: Tools | None = None
    stream: bool | None = None


class _Policy(msgspec.Struct):
    """What limits and routing need. Messages and tools stay bytes."""

    model: ModelName
    messages: Messages
    max_tokens: Tokens
    stream: bool | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    tools: Tools | None = None
    stop_sequences: list[str] | None = None


EXACT = frozenset(_Policy.__struct_fields__) | frozenset(HOSTS)
_decode_policy = msgspec.json.Decoder(_Policy)
_decode_counted = msgspec.json.Decoder(_Counted)


class Peek(msgspec.Struct):
    """What is known of a request without reading its messages."""

    document: Document
    model: str
    stream: bool
    max_tokens: int | None = None


def peek(body: bytes, *, counting: bool = False) -> Peek:
    """Check what routing and limits need. Raises Malformed that names the field."""
    document = Document(body, EXACT)
    refuse_hosts(document)
    if counting:
        return Peek(document, decode(document, _decode_counted).model, stream=False)
    policy = decode(document, _decode_policy)
    if policy.tools:
        refuse_twins(document, "tools")
    return Peek(document, policy.model, policy.stream or False, policy.max_tokens)


# --- reading into words ------------------------------------------------------------------------


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]]


class _Request(msgspec.Struct):
    messages: list[_Message]
    max_tokens: int | None = None
    system: str | list[dict[str, Any]] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


_decode_request = msgspec.json.Decoder(_Request)
_CARRIED = frozenset(_Request.__struct_fields__) | {"model", "stream"}


def parse(document: Document) -> ChatRequest:
    """Read a whole request into words. Raises Malformed, or Unsupported for what no other wire can say."""
    given = decode(document, _decode_request)
    fields = document.fields
    request = ChatRequest(
        messages=[],
        max_tokens=given.max_tokens,
        temperature=given.temperature,
        top_p=given.top_p,
        top_k=given.top_k,
        stop=tuple(given.stop_sequences or ()),
        tools=tuple(_tool(tool, f"tools[{number}]") for number, tool in enumerate(given.tools or ())),
        tool_choice=_tool_choice(given.tool_choice),
        effort=_effort(given),
        dropped=sorted(k for k in fields if k not in _CARRIED and bytes(fields[k]) != b"null"),
    )
    if b'"cache_control"' in document.body and "cache_control" not in request.dropped:
        request.dropped.append("cache_control")
    if given.system:
        request.messages.append(Message("system", _parts(given.system, "system")))
    for number, message in enumerate(given.messages):
        where = f"messages[{number}]"
        if message.role not in ("user", "assistant", "system"):
            raise Malformed(f"{where}.role: {message.role!r} is not a role.", field=f"{where}.role")
        parts = _parts(message.content, f"{where}.content")
        request.messages.append(Message(message.role, parts))  # type: ignore[arg-type]
    match (given.output_config or {}).get("format"):
        case None:
            pass
        case {"type": "json_schema", "schema": dict(schema)}:
            request.json_schema = JsonSchema(schema, strict=True)
        case _:
            raise Malformed("output_config.format: not a known form.", field="output_config.format")
    user = (given.metadata or {}).get("user_id")
    request.user = user if isinstance(user, str) else None
    return request


def _effort(given: _Request) -> str | None:
    """Effort by name where it is given, else by thinking budget: up to 4,096 low, 16,384 medium, more high."""
    effort = (given.output_config or {}).get("effort")
    if isinstance(effort, str):
        return effort
    match given.thinking:
        case {"type": "disabled"}:
            return "none"
        case {"type": "enabled", "budget_tokens": int(budget)}:
            return "low" if budget <= 4_096 else "medium" if budget <= 16_384 else "high"
    return None


def _parts(content: str | list[dict[str, Any]], where: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),) if content else ()
    return tuple(_part(block, f"{where}[{number}]") for number, block in enumerate(content))


def _part(block: dict[str, Any], where: str) -> Part:
    try:
        match block.get("type"):
            case "text":
                return Text(_string(block["text"]))
            case "image":
                return _image(block["source"], where)
            case "document":
                return _document(block, where)
            case "thinking":
                return Think(_string(block["thinking"]), block.get("signature") or "")
            case "redacted_thinking":
                return Think(redacted=_string(block["data"]))
            case "tool_use":
                arguments = encode(block["input"]).decode()
                return ToolUse(_string(block["id"]), _string(block["name"]), arguments)
            case "tool_result":
                inner = _parts(block.get("content") or "", f"{where}.content")
                return ToolResult(_string(block["tool_use_id"]), inner, bool(block.get("is_error")))
            case str(kind):
                raise Unsupported(f"{where}: a {kind} block has no counterpart elsewhere.", field=f"{where}.type")
            case _:
                raise Malformed(f"{where}.type is required.", field=f"{where}.type")
    except (KeyError, TypeError, AttributeError):
        raise Malformed(f"{where}: this {block.get('type')} block is not complete.", field=where) from None


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _image(source: dict[str, Any], where: str) -> Image:
    match source:
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            return Image(data=data, media_type=media_type)
        case {"type": "url", "url": str(url)}:
            return Image(url)
        case {"type": "file", "file_id": str(file_id)}:
            return Image(file_id=file_id)
    raise Malformed(f"{where}.source: not a known form.", field=f"{where}.source")


def _document(block: dict[str, Any], where: str) -> File:
    name = block.get("title") or ""
    match block["source"]:
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            return File(data, media_type=media_type, name=name)
        case {"type": "text", "data": str(text)}:
            return File(text=text, media_type="text/plain", name=name)
        case {"type": "url", "url": str(url)}:
            return File(url=url, name=name)
        case {"type": "file", "file_id": str(file_id)}:
            return File(file_id=file_id, name=name)
    raise Unsupported(f"{where}.source: this form has no counterpart elsewhere.", field=f"{where}.source")


def _tool(tool: dict[str, Any], where: str) -> Tool:
    if tool.get("type") not in (None, "custom"):
        raise Unsupported(f"{where}: {tool['type']} runs at Anthropic only.", field=f"{where}.type")
    name, schema, strict = tool.get("name"), tool.get("input_schema"), tool.get("strict")
    if not isinstance(name, str) or not isinstance(schema, dict):
        raise Malformed(f"{where}: name and input_schema are required.", field=where)
    return Tool(name, tool.get("description") or "", schema, strict if isinstance(strict, bool) else None)


def _tool_choice(choice: dict[str, Any] | None) -> ToolChoice | None:
    if choice is None:
        return None
    alone = choice.get("disable_parallel_tool_use")
    parallel = None if alone is None else not alone
    match choice.get("type"):
        case "auto" | "none" | "any" as mode:
            return ToolChoice(mode, parallel=parallel)
        case "tool" if isinstance(choice.get("name"), str):
            return ToolChoice("tool", choice["name"], parallel)
    raise Malformed("tool_choice: not a known form.", field="tool_choice")


# --- composing from words ------------------------------------------------------------------------


def compose(request: ChatRequest, model: str, *, stream: bool, default_max_tokens: int) -> bytes:
    """Write words as a Messages request; the format requires `max_tokens`, so there is a default."""
    if request.json_object:
        raise Unsupported(
            "response_format json_object: this model's provider takes json_schema.", field="response_format"
        )
    body: dict[str, Any] = {"model": model, "max_tokens": request.max_tokens or default_max_tokens}
    system = [p for m in request.messages if m.role == "system" for p in m.parts]
    if system:
        body["system"] = [_compose_part(part) for part in system]
    body["messages"] = _compose_messages(request)
    if stream:
        body["stream"] = True
    plain = {
        # This format's range ends at 1 where OpenAI's ends at 2.
        "temperature": None if request.temperature is None else min(request.temperature, 1.0),
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop_sequences": list(request.stop) or None,
        "metadata": {"user_id": request.user} if request.user else None,
        "thinking": {"type": "disabled"} if request.effort == "none" else None,
    }
    body |= {key: value for key, value in plain.items() if value is not None}
    output: dict[str, Any] = {}
    if request.effort and request.effort != "none":
        output["effort"] = "low" if request.effort == "minimal" else request.effort
    if request.json_schema:
        output["format"] = {"type": "json_schema", "schema": request.json_schema.schema}
    if output:
        body["output_config"] = output
    if request.tools:
        body["tools"] = [_compose_tool(tool) for tool in request.tools]
        if request.tool_choice:
            body["tool_choice"] = _compose_tool_choice(request.tool_choice)
    return encode(body)


def _compose_tool(tool: Tool) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name, "input_schema": tool.schema or {"type": "object"}}
    if tool.description:
        made["description"] = tool.description
    if tool.strict is not None:
        made["strict"] = tool.strict
    return made


def _compose_tool_choice(choice: ToolChoice) -> dict[str, Any]:
    made: dict[str, Any] = {"type": choice.mode}
    if choice.mode == "tool":
        made["name"] = choice.name
    if choice.parallel is not None and choice.mode != "none":
        made["disable_parallel_tool_use"] = not choice.parallel
    return made


def _compose_messages(request: ChatRequest) -> list[dict[str, Any]]:
    """Turns of one role that follow each other become one message: tool results must stand together."""
    composed: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role == "system":
            continue
        blocks = [_compose_part(part) for part in message.parts if not (isinstance(part, Text) and not part.text)]
        if not blocks:
            continue
        if composed and composed[-1]["role"] == message.role:
            composed[-1]["content"] += blocks
        else:
            composed.append({"role": message.role, "content": blocks})
    return composed


def _compose_part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(url, data, media_type, file_id):
            by_data = {"type": "base64", "media_type": media_type, "data": data}
            by_name = {"type": "file", "file_id": file_id} if file_id else {"type": "url", "url": url}
            return {"type": "image", "source": by_data if data else by_name}
        case File():
            return _compose_document(part)
        case Think(text, signature, redacted):
            if redacted:
                return {"type": "redacted_thinking", "data": redacted}
            return {"type": "thinking", "thinking": text, "signature": signature}
        case ToolUse(id_, name, arguments):
            return {"type": "tool_use", "id": id_, "name": name, "input": _arguments(arguments, name)}
        case ToolResult(id_, parts, is_error):
            made: dict[str, Any] = {"type": "tool_result", "tool_use_id": id_}
            if parts:
                made["content"] = [_compose_part(p) for p in parts]
            return made | ({"is_error": True} if is_error else {})
        case Audio():
            raise Unsupported("Audio has no counterpart at this model's provider.", field="messages")


def _compose_document(file: File) -> dict[str, Any]:
    if file.text:
        source: dict[str, Any] = {"type": "text", "media_type": "text/plain", "data": file.text}
    elif file.data:
        source = {"type": "base64", "media_type": file.media_type or "application/pdf", "data": file.data}
    elif file.url:
        source = {"type": "url", "url": file.url}
    else:
        raise Unsupported("A document by file id belongs to another provider.", field="messages")
    return {"type": "document", "source": source} | ({"title": file.name} if file.name else {})


def _arguments(text: str, name: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise Malformed(f"The arguments of the call of {name!r} are not a JSON object.", field="messages") from None
