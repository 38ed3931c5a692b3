"""What is shown and what is not: every field of our words is one or the other, and nobody has to remember it."""

import json

import msgspec
import pytest

from dragoman.chat import Usage
from dragoman.errands import KeyFound
from dragoman.keys import Key
from dragoman.records import Attempt
from dragoman.usage import CallRow
from dragoman.wires import admin_voice as voice

SHOWN_AS = {"tail": "last_four", "previous_until": "overlap_until", "usage": "tokens"}
CALL = CallRow(
    id="r1",
    at=1.0,
    principal="key:k1",
    key="k1",
    team="",
    tags=(),
    dialect="openai",
    wire="openai-chat",
    model="",
    provider="",
    target="",
    credential="",
    outcome="refused",
    code="rate_limited",
    status=429,
    usage=Usage(),
    streamed=False,
    cost_micro=None,
    reserved_micro=0,
    queued_ms=0,
    first_byte_ms=None,
    total_ms=3,
    attempts=(),
)


def names(kind):
    return {SHOWN_AS.get(name, name) for name in kind.__struct_fields__}


def test_every_field_of_a_key_is_shown_to_operators_but_its_hashes():
    assert set(voice.any_key(KeyFound(Key(id="k1")))) == names(Key) - {"digest", "previous"}


def test_what_the_holder_sees_of_a_key_is_less():
    hidden = {"owner", "team", "role", "maker", "principal", "keeps_content", "priority"}
    found = KeyFound(Key(id="k1"))
    assert set(voice.own_key(found)) == set(voice.any_key(found)) - hidden


def test_no_bytes_of_a_key_are_shown_whatever_they_are():
    key = KeyFound(Key(id="k1", digest=b"\xfe" * 32, previous=b"\xfd" * 32, previous_until=5.0))
    for write in (voice.own_key, voice.any_key):
        assert not any(isinstance(value, bytes) for value in write(key).values())
        assert write(key)["overlap_until"] == 5.0
        json.dumps(write(key))


def test_every_field_of_a_call_is_shown_to_operators():
    assert set(voice.any_call_whole(CALL)) == names(CallRow) | {"estimated", "tier", "story", "route"}


def test_every_bucket_of_tokens_is_shown():
    buckets = {name for name in Usage.__struct_fields__ if name not in ("estimated", "tier")}
    assert set(voice.own_call(CALL)["tokens"]) == buckets == set(voice.BUCKETS)


def test_a_call_that_asked_nobody_is_told_as_such():
    assert voice.story(CALL) == [
        "key:k1 asked for the default model through openai.",
        "No provider was asked.",
        "It was refused (rate_limited) with status 429 after 3 ms.",
        "It used 0 tokens of prompt and 0 of answer.",
        "Its price is not known.",
    ]


@pytest.mark.parametrize(
    ("attempts", "told"),
    [
        ([], ""),
        ([Attempt("a", "m", "abcd", "ok")], "a/m (…abcd)"),
        ([Attempt("a", "m", "", "ok")], "a/m"),
        ([Attempt("a", "m", "abcd", "upstream_busy"), Attempt("b", "n", "", "ok")], "b/n after a/m (upstream_busy)"),
        (
            [Attempt("a", "m", "abcd", "upstream_busy"), Attempt("b", "n", "efgh", "upstream_error")],
            "a/m (upstream_busy), b/n (upstream_error)",
        ),
    ],
)
def test_a_route_is_told_in_one_line(attempts, told):
    call = msgspec.structs.replace(CALL, attempts=tuple(attempts))
    assert voice.route(call) == voice.any_call(call)["route"] == told
    assert "route" not in voice.own_call(call)


def test_what_was_counted_by_us_is_told_as_such():
    call = msgspec.structs.replace(
        CALL, usage=Usage(input=1, output=2, estimated=True), cost_micro=0, attempts=(Attempt("p", "m", "", "ok"),)
    )
    assert voice.story(call)[1:] == [
        "Attempt 1, p/m, answered after 0 ms.",
        "It was refused (rate_limited) with status 429 after 3 ms.",
        "It used 1 tokens of prompt and 2 of answer (counted by the gateway).",
        "It cost 0.00.",
    ]
