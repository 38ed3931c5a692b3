"""Halves of surrogate pairs: an answer is not lost for one."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.wires.halves import forgiving, mended

decode = forgiving(msgspec.json.Decoder(list[str]).decode)


def written(text: str) -> bytes:
    return json.dumps([text]).encode()


@given(st.text(st.one_of(st.characters(), st.characters(categories=["Cs"]), st.sampled_from('\\"u'))))
def test_what_is_read_is_the_text_with_a_mark_for_each_half(text):
    """`json` writes escapes only, and joins two halves that happen to stand side by side, as every reader does."""
    joined = json.loads(written(text))[0]
    marked = "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in joined)
    assert decode(written(text)) == [marked]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (rb'["half \ud800 done"]', "half \ufffd done"),
        (rb'["\uD83D\uDE00"]', "😀"),
        (rb'["\ude00\ud83d"]', "\ufffd\ufffd"),
        (rb'["\ud83d\ud83d\ude00"]', "\ufffd😀"),
        (rb'["\\ud800 \ud800"]', r"\ud800 " + "\ufffd"),
        (rb'["\ud83d"]', "\ufffd"),
    ],
)
def test_halves(data, text):
    assert decode(data) == [text]


@pytest.mark.parametrize("data", [b"", b"{", b'["\\ud8"]', b'["\\ud800"', b"[1]", b'["\\ud800", 1]'])
def test_nonsense_stays_nonsense(data):
    with pytest.raises(msgspec.DecodeError):
        decode(data)


def test_what_needs_no_mending_is_not_touched():
    whole = rb'["\ud83d\ude00 \\ud800 \n \u00e9"]'
    assert mended(whole) == whole
