"""What is reserved before a call, and what it costs."""

import msgspec
import pytest

from dragoman.admission.till import TOKENS_PER_BLOB, Till
from dragoman.chat import ChatRequest, Image, Message, Text, Tool, Usage
from dragoman.faults import OverBudget, Unsupported
from dragoman.intents import Ask, Count, Forward
from dragoman.money import Price, cost
from dragoman.routes import Route, Target

CHEAP = Price(input=100_000, output=400_000)
DEAR = Price(input=3_000_000, output=15_000_000)
LIST = {("a", "small"): CHEAP, ("b", "large"): DEAR}
ROUTE = Route("m", (Target("a", "small"),), (Target("b", "large"),))


def till(attempts=1, refuses=False, prices=LIST, **outputs):
    return Till(
        lambda provider, model, at: prices.get((provider, model)),
        refuses=refuses,
        output_tokens=1000,
        outputs=outputs,
        usual_tokens=200,
        attempts=attempts,
    )


def ask(body=b"x" * 400, request=None, **fields):
    def parsed():
        if isinstance(request, Exception):
            raise request
        return request

    return Ask("w", "m", body, lambda values: body, True, parsed, **fields)


def quote(given, intent, route=ROUTE, size=0):
    return given.quote(intent, route, 0.0, size, budgeted=True)


def test_the_dearest_target_is_reserved_with_a_token_a_byte_and_the_longest_answer():
    found = quote(till(), ask())
    assert found.bound.micro == 400 * 3 + 1000 * 15
    assert (found.prompt_tokens, found.prompt_micro) == (100, 300)


@pytest.mark.parametrize(
    ("fields", "outputs", "tokens"),
    [
        ({"max_tokens": 7}, {}, 7),
        ({"max_tokens": 7, "choices": 3}, {}, 21),
        ({}, {"m": 50}, 50),
        ({}, {"other": 50}, 1000),
    ],
)
def test_the_longest_answer_is_what_was_asked_for_each_choice_else_what_is_configured(fields, outputs, tokens):
    assert quote(till(**outputs), ask(b"", ChatRequest([]), **fields)).bound.micro == 32 * 3 + tokens * 15


def test_attempts_that_fail_may_have_cost_their_prompt():
    once, thrice = quote(till(1), ask()).bound.micro, quote(till(3), ask()).bound.micro
    assert thrice - once == 2 * 400 * 3


def test_without_a_budget_nothing_is_reserved_in_money():
    assert till().quote(ask(), ROUTE, 0.0, 0, budgeted=False).bound.micro == 0


def test_limits_on_tokens_count_the_estimate_not_the_worst():
    bound = quote(till(), ask()).bound
    assert (bound.prompt_tokens, bound.output_tokens) == (100, 200)
    assert quote(till(), ask(max_tokens=9, choices=2)).bound.output_tokens == 18


def test_an_image_is_a_bounded_number_of_tokens_however_large_its_bytes():
    image = ChatRequest([Message("user", (Text("look: ä"), Image(data="A" * 100_000, media_type="image/png")))])
    body = b'{"type":"image_url","image_url":"data:image/png;base64,' + b"A" * 100_000
    reserved = quote(till(), ask(body, image, max_tokens=1)).bound.micro
    assert reserved == (len("look: ä".encode()) + 2 * 32 + TOKENS_PER_BLOB) * 3 + 15


def test_tools_and_what_cannot_be_read_count_as_bytes():
    tools = ChatRequest([], tools=[Tool("f", "does", {"type": "object"})])
    size = len(msgspec.json.encode(tools.tools[0])) + 64
    assert quote(till(), ask(b"", tools, max_tokens=1)).bound.micro == size * 3 + 15
    unread = ask(b'{"file":' + b"x" * 92, Unsupported(), max_tokens=1)
    assert quote(till(), unread).bound.micro == 100 * 3 + 15


def test_a_side_end_point_is_bounded_by_its_size():
    intent = Forward("w", "m", "POST", "/embeddings", lambda model: b"", b"application/json")
    assert quote(till(), intent, size=50).bound.micro == 50 * 3 + 1000 * 15


def test_counting_tokens_costs_nothing():
    intent = Count("w", "m", b"", lambda values: b"", "/count", lambda: ChatRequest([]))
    assert msgspec.to_builtins(quote(till(), intent))["bound"]["micro"] == 0


def test_a_service_tier_is_reserved_only_where_the_request_speaks_of_one():
    prices = {("a", "small"): Price(input=1_000_000, output=1_000_000, tiers=(("priority", DEAR),))}
    route = Route("m", (Target("a", "small"),))
    plain = quote(till(prices=prices), ask(max_tokens=1), route).bound.micro
    body = b'{"service_tier":"priority"}'
    dear = quote(till(prices=prices), ask(body, max_tokens=1), route).bound.micro
    assert (plain, dear) == (400 + 1, len(body) * 3 + 15)


def test_item_39_an_unknown_price_is_refused_or_none_and_never_silently_zero():
    route = Route("m", (Target("a", "small"), Target("a", "new")))
    found = quote(till(), ask(), route)
    assert found.bound.micro is None and found.prompt_micro is None
    assert till().cost(Usage(input=5), Target("a", "new"), 0.0) is None
    with pytest.raises(OverBudget, match="no known price") as refused:
        quote(till(refuses=True), ask(), route)
    assert refused.value.kind == "no_price"


def test_cost_is_what_the_target_that_answered_costs():
    usage = Usage(input=1000, output=10)
    assert till().cost(usage, Target("b", "large"), 0.0) == cost(usage, DEAR) == 3150
