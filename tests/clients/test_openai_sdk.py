"""The official `openai` package, unmodified, in front of every kind of provider."""

import json
import time

import openai
import pydantic
import pytest
from answers import CALLS

WORDS = ["Grüezi", " ", "wohl", " 🐉", "\n\nline"]
TEXT = "".join(WORDS)
ASK = [{"role": "user", "content": "Hello?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Tells the {name}.",
            "parameters": {"type": "object", "properties": {key: {"type": "string"}}, "required": [key]},
        },
    }
    for name, key in (("weather", "city"), ("clock", "zone"))
]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Person(pydantic.BaseModel):
    name: str
    age: int


ADA = '{"name": "Ada", "age": 36}'


@pytest.fixture(params=["sync", "async"])
def caller(request, gateway, callers):
    """The same calls through both clients of the package."""
    return callers(openai.OpenAI if request.param == "sync" else openai.AsyncOpenAI, f"{gateway.url}/v1")


@pytest.fixture(params=["openai", "anthropic"])
def model(request, models):
    return models(request.param)


def complete(caller, model, **more):
    return caller.ask(lambda client: client.chat.completions.create(**{"model": model.name, "messages": ASK, **more}))


def stream(caller, model, **more):
    return caller.iterate(
        lambda client: client.chat.completions.create(**{"model": model.name, "messages": ASK, **more}, stream=True)
    )


def joined(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# --- text, usage, reasons -------------------------------------------------------------------------


def test_answer(caller, model):
    model.says(WORDS)
    answer = complete(caller, model)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.tool_calls is None
    assert answer.choices[0].finish_reason == "stop"


def test_usage_counts_cached_tokens_inside_the_prompt(caller, model):
    model.says(WORDS)
    usage = complete(caller, model).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (50, 7, 57)
    assert usage.prompt_tokens_details.cached_tokens == 20


def test_streamed_answer(caller, model):
    model.says(WORDS)
    chunks = stream(caller, model)
    assert joined(chunks) == TEXT
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]


def test_streamed_pieces_stay_pieces(caller, model):
    model.says(WORDS)
    pieces = [chunk.choices[0].delta.content for chunk in stream(caller, model)]
    assert [piece for piece in pieces if piece] == WORDS


def test_streamed_usage_comes_last_when_asked_for(caller, model):
    model.says(WORDS)
    chunks = stream(caller, model, stream_options={"include_usage": True})
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.prompt_tokens == 50
    assert chunks[-1].usage.completion_tokens == 7
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 20


def test_streamed_usage_stays_away_when_not_asked_for(caller, model):
    """Programs take `choices[0]` of every chunk; the one with the usage has none."""
    model.says(WORDS)
    chunks = stream(caller, model)
    assert all(len(chunk.choices) == 1 for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)


def test_reasoning(caller, model):
    model.says(WORDS, thinking=["Let me", " see."])
    answer = complete(caller, model)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].message.reasoning_content == "Let me see."
    chunks = stream(caller, model)
    thoughts = [getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks]
    assert "".join(thoughts) == "Let me see."
    assert joined(chunks) == TEXT


@pytest.mark.parametrize(
    ("kind", "theirs", "ours"),
    [
        ("openai", "stop", "stop"),
        ("openai", "length", "length"),
        ("openai", "content_filter", "content_filter"),
        ("anthropic", "end_turn", "stop"),
        ("anthropic", "stop_sequence", "stop"),
        ("anthropic", "max_tokens", "length"),
        ("anthropic", "refusal", "content_filter"),
    ],
)
def test_finish_reasons(caller, models, kind, theirs, ours):
    model = models(kind)
    model.says(WORDS, reason=theirs)
    assert complete(caller, model).choices[0].finish_reason == ours
    assert [c.choices[0].finish_reason for c in stream(caller, model)][-1] == ours


# --- what is asked --------------------------------------------------------------------------------


def test_settings_reach_the_provider(caller, model):
    model.says(WORDS)
    system = {"role": "system", "content": "Be brief."}
    complete(
        caller,
        model,
        messages=[system, *ASK],
        max_tokens=33,
        temperature=0.25,
        top_p=0.5,
        stop=["END", "\n\n\n"],
    )
    asked = model.asked()
    assert (asked["max_tokens"], asked["temperature"], asked["top_p"]) == (33, 0.25, 0.5)
    if model.kind == "openai":
        assert asked["model"] == "m"
        assert asked["messages"] == [system, *ASK]
        assert asked["stop"] == ["END", "\n\n\n"]
    else:
        assert asked["model"] == "m"
        assert "Be brief." in json.dumps(asked["system"])
        assert [turn["role"] for turn in asked["messages"]] == ["user"]
        assert asked["stop_sequences"] == ["END", "\n\n\n"]


def test_provider_that_needs_a_limit_gets_one(caller, models):
    model = models("anthropic")
    model.says(WORDS)
    complete(caller, model)
    assert model.asked()["max_tokens"] > 0


def test_unknown_fields_pass_untouched(caller, models):
    model = models("openai")
    model.says(WORDS)
    extra = {"vendor_option": {"nested": [1, 2.50, None, "ü"]}, "seed": 7}
    complete(caller, model, extra_body=extra)
    asked = model.asked()
    assert {key: asked[key] for key in extra} == extra


def test_same_wire_sends_the_very_bytes(caller, models):
    model = models("openai")
    model.says(WORDS)
    raw = caller.ask(
        lambda client: client.chat.completions.with_raw_response.create(
            model=model.name,
            messages=[{"role": "user", "content": "é 🐉 </p>"}],
            tools=TOOLS,
            temperature=1.0,
        )
    )
    sent = raw.http_request.content
    assert model.last().body == sent.replace(f'"{model.name}"'.encode(), b'"m"')
    assert raw.http_response.content == model.sent


@pytest.mark.parametrize("url", [f"data:image/png;base64,{PIXEL}", "https://images.test/one.png"])
def test_image(caller, model, url):
    model.says(WORDS)
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    complete(caller, model, messages=[{"role": "user", "content": parts}])
    turn = model.asked()["messages"][0]
    if model.kind == "openai":
        assert turn["content"] == parts
    else:
        source = {"type": "url", "url": url}
        if url.startswith("data:"):
            source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        assert turn["content"] == [
            {"type": "text", "text": "What is it?"},
            {"type": "image", "source": source},
        ]


def test_several_choices(caller, models):
    model = models("openai")
    model.says(WORDS)
    complete(caller, model, n=2)
    assert model.asked()["n"] == 2
    with pytest.raises(openai.BadRequestError) as refused:
        complete(caller, models("anthropic"), n=2)
    assert refused.value.param == "n"


# --- tools ----------------------------------------------------------------------------------------


def calls_of(message):
    return [(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]


@pytest.mark.parametrize("calls", [CALLS[:1], CALLS], ids=["one", "parallel"])
def test_tool_calls(caller, model, calls):
    model.says(calls=calls)
    choice = complete(caller, model, tools=TOOLS).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert calls_of(choice.message) == [(id_, name, json.loads(text)) for id_, name, text in calls]


@pytest.mark.parametrize("calls", [CALLS[:1], CALLS], ids=["one", "parallel"])
def test_streamed_tool_calls(caller, model, calls):
    model.says(["Looking."], calls=calls)
    chunks = stream(caller, model, tools=TOOLS)
    found = {}
    for chunk in chunks:
        for piece in chunk.choices[0].delta.tool_calls or []:
            call = found.setdefault(piece.index, [piece.id, piece.function.name, ""])
            call[2] += piece.function.arguments or ""
    assert sorted(found) == list(range(len(calls)))
    assert [tuple(found[index]) for index in sorted(found)] == list(calls)
    assert joined(chunks) == "Looking."
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_tools_reach_the_provider(caller, model):
    model.says(calls=CALLS)
    chosen = {"type": "function", "function": {"name": "clock"}}
    complete(caller, model, tools=TOOLS, tool_choice=chosen, parallel_tool_calls=False)
    asked = model.asked()
    if model.kind == "openai":
        assert (asked["tools"], asked["tool_choice"], asked["parallel_tool_calls"]) == (TOOLS, chosen, False)
        return
    functions = [tool["function"] for tool in TOOLS]
    assert [(t["name"], t["description"], t["input_schema"]) for t in asked["tools"]] == [
        (f["name"], f["description"], f["parameters"]) for f in functions
    ]
    assert asked["tool_choice"] == {"type": "tool", "name": "clock", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(("choice", "theirs"), [("auto", "auto"), ("required", "any"), ("none", "none")])
def test_tool_choices_are_translated(caller, models, choice, theirs):
    model = models("anthropic")
    model.says(calls=CALLS[:1])
    complete(caller, model, tools=TOOLS, tool_choice=choice)
    assert model.asked()["tool_choice"]["type"] == theirs


def test_second_turn_with_tool_results(caller, model):
    model.says(["Checking."], calls=CALLS)
    first = complete(caller, model, tools=TOOLS).choices[0].message
    results = [
        {"role": "tool", "tool_call_id": CALLS[0][0], "content": "sunny"},
        {"role": "tool", "tool_call_id": CALLS[1][0], "content": "noon"},
    ]
    model.says(["Sunny at noon."])
    answer = complete(caller, model, tools=TOOLS, messages=[*ASK, first, *results])
    assert answer.choices[0].message.content == "Sunny at noon."
    turns = model.asked()["messages"]
    if model.kind == "openai":
        assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "tool"]
        assert [call["id"] for call in turns[1]["tool_calls"]] == [id_ for id_, _, _ in CALLS]
        assert turns[2:] == results
        return
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    used = [block for block in turns[1]["content"] if block["type"] == "tool_use"]
    assert [(b["id"], b["name"], b["input"]) for b in used] == [(i, n, json.loads(a)) for i, n, a in CALLS]
    assert [block for block in turns[1]["content"] if block["type"] == "text"][0]["text"] == "Checking."
    assert [(block["type"], block["tool_use_id"]) for block in turns[2]["content"]] == [
        ("tool_result", id_) for id_, _, _ in CALLS
    ]
    assert ["sunny" in json.dumps(turns[2]["content"][0]), "noon" in json.dumps(turns[2]["content"][1])] == [
        True,
        True,
    ]


# --- structured output ----------------------------------------------------------------------------


def test_structured_output(caller, model):
    model.says([ADA])
    answer = caller.ask(
        lambda client: client.chat.completions.parse(model=model.name, messages=ASK, response_format=Person)
    )
    assert answer.choices[0].message.parsed == Person(name="Ada", age=36)
    asked = model.asked()
    if model.kind == "openai":
        schema = asked["response_format"]["json_schema"]["schema"]
    else:
        assert asked["output_config"]["format"]["type"] == "json_schema"
        schema = asked["output_config"]["format"]["schema"]
    assert schema["properties"].keys() == {"name", "age"}


def test_structured_output_streamed(caller, model):
    model.says([ADA[:9], ADA[9:]])
    final = caller.within(
        lambda client: client.chat.completions.stream(model=model.name, messages=ASK, response_format=Person),
        lambda running: running.get_final_completion(),
    )
    assert final.choices[0].message.parsed == Person(name="Ada", age=36)


def test_tools_through_the_stream_helper(caller, model):
    model.says(calls=CALLS)
    final = caller.within(
        lambda client: client.chat.completions.stream(model=model.name, messages=ASK, tools=TOOLS),
        lambda running: running.get_final_completion(),
    )
    assert calls_of(final.choices[0].message) == [(id_, name, json.loads(text)) for id_, name, text in CALLS]


# --- echo -----------------------------------------------------------------------------------------


def test_echo(caller):
    answer = caller.ask(lambda client: client.chat.completions.create(model="parrot", messages=ASK))
    assert answer.choices[0].message.content == "Hello?"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    chunks = caller.iterate(
        lambda client: client.chat.completions.create(
            model="parrot", messages=[{"role": "user", "content": "one two three"}], stream=True
        )
    )
    assert joined(chunks) == "one two three"
    assert len([chunk for chunk in chunks if chunk.choices[0].delta.content]) >= 3


def test_echo_calls_tools_and_keeps_to_a_schema(caller):
    asked = {"model": "echo/echo-tool", "messages": [{"role": "user", "content": '{"city": "Bern"}'}]}
    answer = caller.ask(lambda client: client.chat.completions.create(**asked, tools=TOOLS))
    [(id_, name, arguments)] = calls_of(answer.choices[0].message)
    assert id_
    assert (name, arguments) == ("weather", {"city": "Bern"})
    messages = [{"role": "user", "content": ADA}]
    parsed = caller.ask(
        lambda client: client.chat.completions.parse(model="parrot", messages=messages, response_format=Person)
    )
    assert parsed.choices[0].message.parsed == Person(name="Ada", age=36)


def test_echo_makes_json_of_anything(caller):
    wanted = {"type": "json_object"}
    answer = caller.ask(
        lambda client: client.chat.completions.create(model="parrot", messages=ASK, response_format=wanted)
    )
    assert json.loads(answer.choices[0].message.content) == {"echo": "Hello?"}


def test_echo_keeps_a_pace(gateway):
    """Paced answers arrive word by word, not at the end."""
    words = [{"role": "user", "content": "/slow one two three"}]
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="test-key") as client:
        chunks = client.chat.completions.create(model="parrot", messages=words, stream=True)
        came = [(time.monotonic(), chunk) for chunk in chunks]
    assert joined([chunk for _, chunk in came]) == "one two three"
    assert came[-1][0] - came[0][0] >= 0.35


# --- models ---------------------------------------------------------------------------------------


def test_models(caller):
    listed = caller.iterate(lambda client: client.models.list())
    assert "parrot" in {card.id for card in listed}
    assert {card.object for card in listed} == {"model"}
    assert all(isinstance(card.created, int) for card in listed)
    assert caller.ask(lambda client: client.models.retrieve("parrot")).id == "parrot"
    with pytest.raises(openai.NotFoundError):
        caller.ask(lambda client: client.models.retrieve("nobody"))
