"""Between rows and words."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert, select

from dragoman.chat import Audio, File, Image, Part, Text, Think, ToolResult, ToolUse
from dragoman.store.rows import (
    FOLDED_LIMIT,
    NO_PARTS,
    TITLE_LIMIT,
    clean,
    encode,
    fold,
    id_of,
    key_of,
    new_id,
    node_of,
    title_columns,
)
from dragoman.store.schema import nodes

WORDS = st.text(max_size=20)
FLAT = st.one_of(
    st.builds(Text, WORDS.filter(bool)),
    st.builds(Image, WORDS, WORDS, WORDS, WORDS, WORDS),
    st.builds(Audio, WORDS, WORDS),
    st.builds(File, WORDS, WORDS, WORDS, WORDS, WORDS, WORDS),
    st.builds(Think, WORDS, WORDS, WORDS),
    st.builds(ToolUse, WORDS, WORDS, WORDS),
)
PARTS = st.lists(FLAT | st.builds(ToolResult, WORDS, st.lists(FLAT, max_size=2).map(tuple), st.booleans()), max_size=4)


def kept(parts: tuple[Part, ...], state: str = "complete", *, is_alive: bool = True):
    """Read a node back from a row of a database."""
    engine = create_engine("sqlite://")
    nodes.metadata.create_all(engine)
    with engine.begin() as connection:
        row = {"id": "n", "thread": "t", "depth": 1, "role": "user", "parts": encode(parts), "state": state}
        connection.execute(insert(nodes), row)
        read = node_of(connection.execute(select(nodes)).one(), is_alive=is_alive)
    engine.dispose()
    return read


@given(parts=PARTS)
def test_parts_come_back(parts) -> None:
    assert kept(tuple(parts)).parts == tuple(parts)
    assert "\0" not in encode(tuple(parts))


def test_parts_without_a_word_are_none() -> None:
    assert encode(()) == encode((Text(""),)) == NO_PARTS
    assert encode((Think(""),)) != NO_PARTS


@pytest.mark.parametrize(
    ("state", "is_alive", "shown"),
    [("pending", True, "pending"), ("pending", False, "broken"), ("complete", False, "complete")],
)
def test_a_state(state, is_alive, shown) -> None:
    assert kept((), state, is_alive=is_alive).state == shown


def test_ids() -> None:
    made = new_id()
    assert uuid.UUID(made).version == 4
    assert id_of(made) == id_of(made.upper()) == made


@pytest.mark.parametrize(
    "text",
    ["", "new", "{%s}", "urn:uuid:%s", "%s\n", " %s", "%s0", "%.35s", "\0", "\ud800", "x" * 100_000, "١%s"],
)
def test_what_is_no_id(text) -> None:
    assert id_of(text.replace("%s", str(uuid.uuid4())) if "%s" in text else text) == ""


@given(one=st.text(st.characters(), max_size=8), two=st.text(st.characters(), max_size=8))
def test_no_two_names_have_one_key(one, two) -> None:
    assert (key_of(one) == key_of(two)) == (one == two)


@given(name=st.text(st.characters(), max_size=300))
def test_a_key_can_be_kept(name) -> None:
    assert clean(key_of(name)) == key_of(name)
    assert len(key_of(name)) <= 200


@given(title=st.text(st.characters(), max_size=2 * TITLE_LIMIT))
def test_a_title_can_be_kept(title) -> None:
    columns = title_columns(title)
    assert 0 < len(columns["title"]) <= TITLE_LIMIT
    assert len(columns["folded_title"]) <= FOLDED_LIMIT
    for text in columns.values():
        assert clean(text) == text


@given(text=st.text())
def test_folding_twice_is_folding_once_for_what_people_write(text) -> None:
    assert fold(text.swapcase().casefold()) == fold(fold(text.swapcase().casefold()))
