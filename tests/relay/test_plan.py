from collections import Counter

import pytest

from dragoman.faults import UnknownModel
from dragoman.people import Principal
from dragoman.relay.plan import Atlas, ordered
from dragoman.routes import Route, Target

ANY = Principal("any")


def atlas() -> Atlas:
    fast = Route("fast", (Target("a", "x"),), (Target("b", "y"),))
    made = Atlas([fast], {"a": ["gpt-4o-mini"], "b": ["*"], "c": ["echo-*"]}, 1)
    made.found = {"b": ["claude-one", "claude-two"], "c": ["echo-slow", "hidden"]}
    return made


def test_names_in_order_of_precision() -> None:
    assert atlas().route("fast", ANY).fallbacks == (Target("b", "y"),)
    assert atlas().route("gpt-4o-mini", ANY).targets == (Target("a", "gpt-4o-mini"),)
    assert atlas().route("a/anything", ANY).targets == (Target("a", "anything"),)
    assert atlas().route("echo-fast", ANY).targets == (Target("c", "echo-fast"),)
    assert atlas().route("whatever", ANY).targets == (Target("b", "whatever"),)
    assert atlas().route("nobody/whatever", ANY).targets == (Target("b", "nobody/whatever"),)


def test_provider_and_model_where_nobody_serves_every_name() -> None:
    made = Atlas([], {"a": ["gpt-4o-mini"]}, 1)
    assert made.route("a/other", ANY).targets == (Target("a", "other"),)


def test_unknown_model_names_the_nearest() -> None:
    made = Atlas([Route("fast", (Target("a", "x"),))], {"a": ["gpt-4o-mini"]}, 1)
    with pytest.raises(UnknownModel, match="gpt-4o-mini") as caught:
        made.route("gpt-4o-mni", ANY)
    assert caught.value.field == "model"


def test_a_key_sees_and_uses_only_its_models() -> None:
    narrow = Principal("narrow", ("claude-*",))
    assert [c.name for c in atlas().cards(narrow)] == ["claude-one", "claude-two"]
    with pytest.raises(UnknownModel) as caught:
        atlas().route("fast", narrow)
    assert "fast'" in caught.value.message
    assert "Nearest: fast" not in caught.value.message


def test_listed_models_are_those_it_is_configured_to_serve() -> None:
    names = [c.name for c in atlas().cards(ANY)]
    assert names == ["fast", "gpt-4o-mini", "claude-one", "claude-two", "echo-slow"]


def test_ordered_by_weight_then_fallbacks() -> None:
    heavy, light, back = Target("a", "h", 9), Target("a", "l", 1), Target("b", "f")
    route = Route("r", (light, heavy), (back,))
    first = Counter(ordered(route)[0].model for _ in range(2000))
    assert 0.85 < first["h"] / 2000 < 0.95
    assert all(ordered(route)[2] == back for _ in range(10))
    assert ordered(Route("r", (Target("a", "z", 0), heavy)))[0] == heavy
