"""The official `anthropic` package, unmodified, in front of every kind of provider."""

import json

import anthropic
import pydantic
import pytest
from answers import CALLS, SIGNATURE

WORDS = ["Grüezi", " ", "wohl", " 🐉", "\n\nline"]
TEXT = "".join(WORDS)
ASK = [{"role": "user", "content": "Hello?"}]
TOOLS = [
    {
        "name": name,
        "description": f"Tells the {name}.",
        "input_schema": {"type": "object", "properties": {key: {"type": "string"}}, "required": [key]},
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
    return callers(anthropic.Anthropic if request.param == "sync" else anthropic.AsyncAnthropic, gateway.url)


@pytest.fixture(params=["anthropic", "openai"])
def model(request, models):
    return models(request.param)


def ask(model, **more):
    return {"model": model.name, "max_tokens": 100, "messages": ASK, **more}


def create(caller, model, **more):
    return caller.ask(lambda client: client.messages.create(**ask(model, **more)))


def stream(caller, model, **more):
    return caller.iterate(lambda client: client.messages.create(**ask(model, **more), stream=True))


def final(caller, model, **more):
    return caller.within(
        lambda client: client.messages.stream(**ask(model, **more)),
        lambda running: running.get_final_message(),
    )


def texts(message):
    return "".join(block.text for block in message.content if block.type == "text")


# --- text, usage, reasons -------------------------------------------------------------------------


def test_answer(caller, model):
    model.says(WORDS)
    answer = create(caller, model)
    assert (answer.type, answer.role) == ("message", "assistant")
    assert [block.type for block in answer.content] == ["text"]
    assert answer.content[0].text == TEXT
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)


def test_usage_counts_cached_tokens_beside_the_input(caller, model):
    model.says(WORDS)
    usage = create(caller, model).usage
    written = 5 if model.kind == "anthropic" else 0
    assert usage.input_tokens == 50 - 20 - written
    assert usage.cache_read_input_tokens == 20
    assert (usage.cache_creation_input_tokens or 0) == written
    assert usage.output_tokens == 7


def test_streamed_answer(caller, model):
    model.says(WORDS)
    kinds = [event.type for event in stream(caller, model) if event.type != "ping"]
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * len(WORDS),
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_streamed_answer_through_the_helper(caller, model):
    model.says(WORDS)
    answer = final(caller, model)
    assert texts(answer) == TEXT
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens == 7
    assert answer.usage.cache_read_input_tokens == 20


def test_streamed_pieces_stay_pieces(caller, model):
    model.says(WORDS)
    pieces = [event.delta.text for event in stream(caller, model) if event.type == "content_block_delta"]
    assert pieces == WORDS


def test_thinking(caller, model):
    model.says(WORDS, thinking=["Let me", " see."])
    for answer in (create(caller, model), final(caller, model)):
        assert [block.type for block in answer.content] == ["thinking", "text"]
        assert answer.content[0].thinking == "Let me see."
        if model.kind == "anthropic":
            assert answer.content[0].signature == SIGNATURE
        assert answer.content[1].text == TEXT


def test_thinking_and_signature_survive_both_ways_byte_for_byte(caller, models):
    model = models("anthropic")
    model.says(WORDS, thinking=["Let me", " see."])
    with_thinking = create(caller, model)
    raw = caller.ask(
        lambda client: client.messages.with_raw_response.create(
            **ask(model, messages=[*ASK, {"role": "assistant", "content": with_thinking.content}, *ASK])
        )
    )
    assert raw.http_response.content == model.sent
    sent = raw.http_request.content
    assert SIGNATURE.encode() in sent
    assert model.last().body == sent.replace(f'"{model.name}"'.encode(), b'"m"')


def test_same_wire_streams_the_very_bytes(caller, models):
    model = models("anthropic")
    model.says(WORDS, thinking=["Let me", " see."], calls=CALLS)
    received = caller.bytes_of(lambda client: client.messages.with_streaming_response.create(**ask(model, stream=True)))
    assert received == model.sent


@pytest.mark.parametrize(
    ("kind", "theirs", "ours"),
    [
        ("anthropic", "end_turn", "end_turn"),
        ("anthropic", "max_tokens", "max_tokens"),
        ("anthropic", "refusal", "refusal"),
        ("anthropic", "pause_turn", "pause_turn"),
        ("openai", "stop", "end_turn"),
        ("openai", "length", "max_tokens"),
        ("openai", "content_filter", "refusal"),
    ],
)
def test_stop_reasons(caller, models, kind, theirs, ours):
    model = models(kind)
    model.says(WORDS, reason=theirs)
    assert create(caller, model).stop_reason == ours
    assert final(caller, model).stop_reason == ours


# --- what is asked --------------------------------------------------------------------------------


def test_settings_reach_the_provider(caller, model):
    model.says(WORDS)
    # The package no longer has these two as arguments of their own.
    extra = {"temperature": 0.25, "top_p": 0.5}
    create(caller, model, system="Be brief.", stop_sequences=["END", "\n\n\n"], extra_body=extra)
    asked = model.asked()
    assert (asked["temperature"], asked["top_p"]) == (0.25, 0.5)
    if model.kind == "anthropic":
        assert (asked["model"], asked["max_tokens"], asked["system"]) == ("m", 100, "Be brief.")
        assert asked["stop_sequences"] == ["END", "\n\n\n"]
        return
    assert asked["model"] == "m"
    assert 100 in (asked.get("max_tokens"), asked.get("max_completion_tokens"))
    assert asked["stop"] == ["END", "\n\n\n"]
    assert [turn["role"] for turn in asked["messages"]] == ["system", "user"]
    assert "Be brief." in json.dumps(asked["messages"][0]["content"])
    assert "Hello?" in json.dumps(asked["messages"][1]["content"])


def test_cache_control_survives(caller, models):
    model = models("anthropic")
    model.says(WORDS)
    system = [{"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    create(caller, model, system=system)
    assert model.asked()["system"] == system


@pytest.mark.parametrize("form", ["base64", "url"])
def test_image(caller, model, form):
    model.says(WORDS)
    source = {"type": "url", "url": "https://images.test/one.png"}
    url = source["url"]
    if form == "base64":
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        url = f"data:image/png;base64,{PIXEL}"
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image", "source": source}]
    create(caller, model, messages=[{"role": "user", "content": parts}])
    content = model.asked()["messages"][0]["content"]
    if model.kind == "anthropic":
        assert content == parts
    else:
        assert content[0] == {"type": "text", "text": "What is it?"}
        assert (content[1]["type"], content[1]["image_url"]["url"]) == ("image_url", url)


def test_bearer_token_is_as_good_as_a_key(caller, gateway, callers, models):
    model = models("anthropic")
    model.says(WORDS)
    bearer = caller.like(api_key=None, auth_token="test-key")
    assert texts(create(bearer, model)) == TEXT


# --- tools ----------------------------------------------------------------------------------------


def calls_of(message):
    return [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]


EXPECTED = [(id_, name, json.loads(arguments)) for id_, name, arguments in CALLS]


@pytest.mark.parametrize("calls", [CALLS[:1], CALLS], ids=["one", "parallel"])
def test_tool_calls(caller, model, calls):
    model.says(["Looking."], calls=calls)
    for answer in (create(caller, model, tools=TOOLS), final(caller, model, tools=TOOLS)):
        assert answer.stop_reason == "tool_use"
        assert calls_of(answer) == EXPECTED[: len(calls)]
        assert [block.type for block in answer.content] == ["text"] + ["tool_use"] * len(calls)


def test_arguments_arrive_in_pieces_block_by_block(caller, model):
    model.says(calls=CALLS)
    open_block = None
    pieces = {}
    for event in stream(caller, model, tools=TOOLS):
        if event.type == "content_block_start":
            assert open_block is None
            open_block = event.index
            assert event.content_block.input == {}
        elif event.type == "content_block_delta":
            assert event.index == open_block
            pieces.setdefault(event.index, []).append(event.delta.partial_json)
        elif event.type == "content_block_stop":
            open_block = None
    assert ["".join(pieces[index]) for index in (0, 1)] == [arguments for _, _, arguments in CALLS]
    assert all(len(several) > 2 for several in pieces.values())


def test_tools_reach_the_provider(caller, model):
    model.says(calls=CALLS)
    chosen = {"type": "tool", "name": "clock", "disable_parallel_tool_use": True}
    create(caller, model, tools=TOOLS, tool_choice=chosen)
    asked = model.asked()
    if model.kind == "anthropic":
        assert (asked["tools"], asked["tool_choice"]) == (TOOLS, chosen)
        return
    functions = [tool["function"] for tool in asked["tools"]]
    assert [(f["name"], f["description"], f["parameters"]) for f in functions] == [
        (tool["name"], tool["description"], tool["input_schema"]) for tool in TOOLS
    ]
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "clock"}}
    assert asked["parallel_tool_calls"] is False


@pytest.mark.parametrize(("choice", "theirs"), [("auto", "auto"), ("any", "required"), ("none", "none")])
def test_tool_choices_are_translated(caller, models, choice, theirs):
    model = models("openai")
    model.says(calls=CALLS[:1])
    create(caller, model, tools=TOOLS, tool_choice={"type": choice})
    assert model.asked()["tool_choice"] == theirs


def test_second_turn_with_tool_results(caller, model):
    model.says(["Checking."], calls=CALLS)
    first = create(caller, model, tools=TOOLS)
    results = [
        {"type": "tool_result", "tool_use_id": CALLS[0][0], "content": "sunny"},
        {"type": "tool_result", "tool_use_id": CALLS[1][0], "content": [{"type": "text", "text": "noon"}]},
        {"type": "text", "text": "And now?"},
    ]
    model.says(["Sunny at noon."])
    turns = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    assert texts(create(caller, model, tools=TOOLS, messages=turns)) == "Sunny at noon."
    asked = model.asked()["messages"]
    if model.kind == "anthropic":
        assert asked[2]["content"] == results
        return
    assert [turn["role"] for turn in asked] == ["user", "assistant", "tool", "tool", "user"]
    assert "Checking." in json.dumps(asked[1]["content"])
    assert [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in asked[1]["tool_calls"]
    ] == EXPECTED
    assert [turn["tool_call_id"] for turn in asked[2:4]] == [id_ for id_, _, _ in CALLS]
    for turn, text in zip(asked[2:], ("sunny", "noon", "And now?"), strict=True):
        assert text in json.dumps(turn["content"])


# --- structured output ----------------------------------------------------------------------------


def test_structured_output(caller, model):
    model.says([ADA])
    answer = caller.ask(lambda client: client.messages.parse(**ask(model), output_format=Person))
    assert answer.parsed_output == Person(name="Ada", age=36)
    asked = model.asked()
    if model.kind == "anthropic":
        schema = asked["output_config"]["format"]["schema"]
    else:
        assert asked["response_format"]["type"] == "json_schema"
        schema = asked["response_format"]["json_schema"]["schema"]
    assert schema["properties"].keys() == {"name", "age"}


def test_structured_output_by_schema(caller, model):
    model.says([ADA])
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False}
    answer = create(caller, model, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert json.loads(texts(answer)) == json.loads(ADA)
    asked = model.asked()
    if model.kind == "anthropic":
        assert asked["output_config"]["format"]["schema"] == schema
    else:
        assert asked["response_format"]["json_schema"]["schema"] == schema


# --- counting, models, echo -----------------------------------------------------------------------


def test_tokens_are_counted_by_the_provider_that_can(caller, models):
    model = models("anthropic")
    model.answers({"input_tokens": 123})
    counted = caller.ask(lambda client: client.messages.count_tokens(model=model.name, messages=ASK, tools=TOOLS))
    assert counted.input_tokens == 123
    assert model.asked()["model"] == "m"


def test_tokens_are_estimated_elsewhere_and_the_answer_says_so(caller, models):
    model = models("openai")
    short, long = (
        caller.ask(
            lambda client, text=text: client.messages.with_raw_response.count_tokens(
                model=model.name, messages=[{"role": "user", "content": text}]
            )
        )
        for text in ("Hello?", "Hello? " * 400)
    )
    assert 0 < short.http_response.json()["input_tokens"] < 30
    assert 300 < long.http_response.json()["input_tokens"] < 1500
    assert any("estimate" in f"{name} {value}".lower() for name, value in short.headers.items())


def test_models(caller):
    listed = caller.iterate(lambda client: client.models.list())
    assert "parrot" in {card.id for card in listed}
    assert {card.type for card in listed} == {"model"}
    assert all(card.display_name and card.created_at for card in listed)
    assert caller.ask(lambda client: client.models.retrieve("parrot")).id == "parrot"
    with pytest.raises(anthropic.NotFoundError):
        caller.ask(lambda client: client.models.retrieve("nobody"))


def test_echo(caller):
    asked = {"model": "parrot", "max_tokens": 100, "messages": [{"role": "user", "content": "one two three"}]}
    answer = caller.ask(lambda client: client.messages.create(**asked))
    assert (texts(answer), answer.stop_reason) == ("one two three", "end_turn")
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    events = caller.iterate(lambda client: client.messages.create(**asked, stream=True))
    assert "".join(event.delta.text for event in events if event.type == "content_block_delta") == "one two three"
    assert events[-1].type == "message_stop"


def test_echo_calls_tools_and_keeps_to_a_schema(caller):
    asked = {"max_tokens": 100, "messages": [{"role": "user", "content": '{"city": "Bern"}'}]}
    answer = caller.ask(lambda client: client.messages.create(model="echo/echo-tool", tools=TOOLS, **asked))
    [(id_, name, arguments)] = calls_of(answer)
    assert id_
    assert (name, arguments) == ("weather", {"city": "Bern"})
    asked["messages"] = [{"role": "user", "content": ADA}]
    parsed = caller.ask(lambda client: client.messages.parse(model="parrot", output_format=Person, **asked))
    assert parsed.parsed_output == Person(name="Ada", age=36)
