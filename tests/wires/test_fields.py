import pytest

from dragoman.faults import Malformed
from dragoman.wires.fields import media_type, read_form, read_object, text_of_query, whole_number


def test_forms_nest_by_brackets() -> None:
    assert read_form(b"a=1&opts[key]=k&opts[opts][model]=m&m[0][role]=user&m[1][role]=x&m[0][content]=h%20i") == {
        "a": "1",
        "opts": {"key": "k", "opts": {"model": "m"}},
        "m": [{"role": "user", "content": "h i"}, {"role": "x"}],
    }
    assert read_form("名=值".encode()) == {"名": "值"}
    assert read_form(b"") == {}


@pytest.mark.parametrize("body", [b"\xff\xfe=1", b"a[b][c][d][e][f]=1", b"a=1&a[b]=2", b"&".join([b"a=1"] * 1001)])
def test_forms_that_are_none(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_form(body)


@pytest.mark.parametrize("body", [b"[1]", b'"x"', b"{", b"\xff", b"[" * 100_000, b"1"])
def test_bodies_that_are_no_object(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_object(body)


def test_an_empty_body_is_an_empty_object() -> None:
    assert read_object(b" \n") == {}


def test_queries() -> None:
    assert text_of_query(b"a=1&a=2&b=%E4%BD%A0+x&c") == {"a": "1", "b": "你 x", "c": ""}
    assert media_type(b" Application/JSON; charset=utf-8") == b"application/json"
    assert media_type(None) == b""


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "11", "9" * 30, "١", " 1"])
def test_numbers_are_within_bounds(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        whole_number(text, 5, 1, 10, "limit")
    assert caught.value.field == "limit"


def test_a_number_that_is_not_there_is_the_default() -> None:
    assert (whole_number("", 5, 1, 10, "limit"), whole_number("10", 5, 1, 10, "limit")) == (5, 10)
