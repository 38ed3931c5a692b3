"""Whatever is sent, it is read into words within their bounds, or refused by name."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.errands import KeyFields
from dragoman.faults import Malformed
from dragoman.standing import MOST, Budget
from dragoman.usage import MOST_ROWS
from dragoman.wires import admin_ask as ask

FIELDS = [name for name in KeyFields.__struct_fields__ if name != "disabled"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MONEY = st.fixed_dictionaries(
    {}, optional={"amount": st.text(string.digits + ".-eE", max_size=24), "micro": st.integers(), "window": JSON}
)
BODIES = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=8), JSON | MONEY, max_size=4)


@given(BODIES, st.booleans())
def test_a_key_is_within_its_bounds_or_refused(body, own):
    try:
        fields = ask.new_key(json.dumps(body).encode(), own=own)
    except Malformed:
        return
    given_ = fields.given()
    assert given_.keys() == body.keys()
    assert not own or not given_.keys() & {"owner", "team", "role", "principal", "keeps_content", "priority"}
    if (budget := given_.get("budget")) is not None:
        assert isinstance(budget, Budget)
        assert 0 <= budget.micro <= MOST
    if (expires := given_.get("expires")) is not None:
        assert 0 < expires <= ask.LATEST


@given(st.binary(max_size=60))
def test_a_body_of_any_bytes_is_read_or_refused(body):
    for read in (ask.overlap_s, ask.person, lambda b: ask.team("t", b), lambda b: ask.key_change(b, own=True)):
        try:
            read(body)
        except Malformed as fault:
            assert fault.message


@given(st.binary(max_size=60).filter(lambda query: b"#" not in query))
def test_a_query_of_any_bytes_is_read_or_refused(query):
    for read, known in ((ask.usage_query, ask.USAGE), (ask.call_query, ask.CALLS)):
        try:
            assert 1 <= read(ask.read_query(query, known)).limit <= MOST_ROWS
        except Malformed as fault:
            assert fault.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"nope": 1}', "There is no field 'nope' here."),
        (b'{"limits": {"nope": 1}}', "There is no field 'limits.nope' here."),
        (b'{"expires": -1}', "expires: Expected `float` > 0.0."),
        (b"[]", "The body: Expected `object`, got `array`."),
    ],
)
def test_a_refusal_says_what_is_wrong_and_where(body, said):
    with pytest.raises(Malformed) as caught:
        ask.new_key(body, own=True)
    assert caught.value.message == said


def test_too_many_parameters_are_refused():
    with pytest.raises(Malformed):
        ask.read_query(b"&".join(b"limit=1" for _ in range(ask.PARAMETERS + 1)), ("limit",))


def test_a_value_that_is_too_long_is_refused():
    with pytest.raises(Malformed) as caught:
        ask.read_query(b"after=" + b"a" * (ask.LONGEST_VALUE + 1), ("after",))
    assert caught.value.field == "after"
