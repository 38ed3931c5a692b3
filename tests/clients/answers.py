"""What the vendors' servers answer, in bytes: the shapes and the order of events are theirs."""

import json

OPENAI_USAGE = {
    "prompt_tokens": 50,
    "completion_tokens": 7,
    "total_tokens": 57,
    "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
ANTHROPIC_USAGE = {
    "input_tokens": 25,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 20,
    "output_tokens": 7,
}
SIGNATURE = "EqQBCkYIBxgCKkA/+signed==\u00fc"
CALLS = (
    ("call_A1", "weather", '{"city": "Zürich", "days": 2}'),
    ("call_B2", "clock", '{"zone":"Europe/Zurich"}'),
)


def events(*documents, done=True):
    """OpenAI's framing."""
    lines = [b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents]
    return lines + [b"data: [DONE]\n\n"] * done


def named_events(*documents):
    """Anthropic's framing."""
    return [
        b"event: " + document["type"].encode() + b"\ndata: " + json.dumps(document).encode() + b"\n\n"
        for document in documents
    ]


def completion(text=None, calls=(), finish=None, usage=OPENAI_USAGE, reasoning=None):
    message = {"role": "assistant", "content": text, "refusal": None}
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id_, name, arguments in calls
        ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-test",
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": finish or ("tool_calls" if calls else "stop"),
            }
        ],
        "usage": usage,
    }


def chunk(delta, finish=None, **more):
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-test",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        **more,
    }


def completion_stream(words=(), calls=(), finish=None, usage=OPENAI_USAGE, reasoning=()):
    """Arguments of calls come in pieces, as they do from the vendor."""
    documents = [chunk({"role": "assistant", "content": "" if words else None})]
    documents += [chunk({"reasoning_content": piece}) for piece in reasoning]
    documents += [chunk({"content": word}) for word in words]
    for index, (id_, name, arguments) in enumerate(calls):
        opened = {"index": index, "id": id_, "type": "function", "function": {"name": name, "arguments": ""}}
        documents.append(chunk({"tool_calls": [opened]}))
        for start in range(0, len(arguments), 5):
            piece = {"index": index, "function": {"arguments": arguments[start : start + 5]}}
            documents.append(chunk({"tool_calls": [piece]}))
    documents.append(chunk({}, finish or ("tool_calls" if calls else "stop")))
    if usage:
        documents.append({**chunk({}), "choices": [], "usage": usage})
    return events(*documents)


def message(text=None, calls=(), stop=None, usage=ANTHROPIC_USAGE, thinking=None, stop_sequence=None):
    content = []
    if thinking:
        content.append({"type": "thinking", "thinking": thinking, "signature": SIGNATURE})
    if text is not None:
        content.append({"type": "text", "text": text})
    content += [
        {"type": "tool_use", "id": id_, "name": name, "input": json.loads(arguments)} for id_, name, arguments in calls
    ]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-test",
        "content": content,
        "stop_reason": stop or ("tool_use" if calls else "end_turn"),
        "stop_sequence": stop_sequence,
        "usage": usage,
    }


def message_stream(words=(), calls=(), stop=None, usage=ANTHROPIC_USAGE, thinking=(), stop_sequence=None):
    begun = {**message(usage={**usage, "output_tokens": 1}), "content": [], "stop_reason": None}
    documents = [{"type": "message_start", "message": begun}]
    index = 0

    def block(opening, deltas):
        nonlocal index
        documents.append({"type": "content_block_start", "index": index, "content_block": opening})
        documents.extend({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
        documents.append({"type": "content_block_stop", "index": index})
        index += 1

    if thinking:
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in thinking]
        signed = [{"type": "signature_delta", "signature": SIGNATURE}]
        block({"type": "thinking", "thinking": "", "signature": ""}, thoughts + signed)
    documents.append({"type": "ping"})
    if words:
        block({"type": "text", "text": ""}, [{"type": "text_delta", "text": word} for word in words])
    for id_, name, arguments in calls:
        pieces = ["", *(arguments[start : start + 5] for start in range(0, len(arguments), 5))]
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        block({"type": "tool_use", "id": id_, "name": name, "input": {}}, deltas)
    ended = {"stop_reason": stop or ("tool_use" if calls else "end_turn"), "stop_sequence": stop_sequence}
    documents.append({"type": "message_delta", "delta": ended, "usage": {"output_tokens": usage["output_tokens"]}})
    documents.append({"type": "message_stop"})
    return named_events(*documents)
