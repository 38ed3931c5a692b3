"""Event streams after the WHATWG rules (D11), and bodies that are changed in one place only (C2)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.faults import Broken, Malformed
from dragoman.wires.framing import EVENT_LIMIT, Document, EventSplitter

EXACT = frozenset({"model", "stream", "messages"})


def split(*pieces: bytes) -> list[tuple[bytes, bytes | None]]:
    splitter = EventSplitter()
    events = [e for piece in pieces for e in splitter.feed(piece)]
    rest = splitter.flush()
    return [(e.name, e.data) for e in [*events, *([rest] if rest else [])]]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"data: a\r\n\r\n", [(b"", b"a")]),
        (b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
        (b": comment\n\n", [(b"", None)]),
        (b": comment\ndata: a\n\n", [(b"", b"a")]),
        (b"data: a\ndata: b\n\n", [(b"", b"a\nb")]),
        (b"data:a\n\n", [(b"", b"a")]),
        (b"data:  a\n\n", [(b"", b" a")]),
        (b"data\n\n", [(b"", None)]),
        (b"data:\n\n", [(b"", None)]),
        (b"data:\ndata:\n\n", [(b"", b"\n")]),
        (b"event: x\ndata: a\n\n", [(b"x", b"a")]),
        (b"id: 7\nretry: 5\nfoo: bar\ndata: a\n\n", [(b"", b"a")]),
        (b"data: a", [(b"", b"a")]),
        (b"data: a\n", [(b"", b"a")]),
        (b"data: a\r\n\r\ndata: b\n\ndata: c\r\r", [(b"", b"a"), (b"", b"b"), (b"", b"c")]),
    ],
)
def test_d11_event_streams(stream: bytes, events: list[tuple[bytes, bytes | None]]) -> None:
    assert split(stream) == events
    for at in range(1, len(stream)):
        got = [e for e in split(stream[:at], stream[at:]) if e[1] is not None]
        assert got == [e for e in events if e[1] is not None], at
    got = [e for e in split(*(stream[i : i + 1] for i in range(len(stream)))) if e[1] is not None]
    assert got == [e for e in events if e[1] is not None]


def test_d11_a_line_of_a_megabyte_byte_bound() -> None:
    line = b"data: " + b"x" * 1_000_000 + b"\n\n"
    assert split(*(line[i : i + 997] for i in range(0, len(line), 997))) == [(b"", b"x" * 1_000_000)]


def test_d11_the_limit_of_an_event() -> None:
    splitter = EventSplitter()
    with pytest.raises(Broken):
        for _ in range(EVENT_LIMIT // 65_536 + 1):
            splitter.feed(b"x" * 65_536)


names = st.text(st.characters(codec="utf-8"), max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(
    tree=st.dictionaries(names.filter(lambda k: k.lower() not in EXACT), values, max_size=5),
    model=st.none() | names,
    style=st.sampled_from([(",", ":"), (", ", ": "), (" , ", " :\t")]),
    indent=st.sampled_from([None, 1]),
    plain=st.booleans(),
)
def test_put_changes_what_it_should_and_nothing_else(
    tree: dict[str, object], model: str | None, style: tuple[str, str], indent: int | None, plain: bool
) -> None:
    if model is not None:
        tree = {**tree, "model": model}
    body = json.dumps(tree, separators=style, indent=indent, ensure_ascii=plain).encode()
    document = Document(body, EXACT)
    assert document.put({}) == body
    changed = document.put({"model": b'"new"', "stream": b"true"})
    assert json.loads(changed) == {**tree, "model": "new", "stream": True}
    if model is not None:
        # The model stands last, so its value is the last of its kind: all before and behind it must stay.
        before = json.dumps(model, ensure_ascii=plain).encode()
        at = body.rindex(before)
        assert document.put({"model": b'"new"'}) == body[:at] + b'"new"' + body[at + len(before) :]


def test_put_leaves_the_other_bytes_as_they_were() -> None:
    body = b'{ "a" : [1,  2],\n "model":"old" , "b":1.50 }'
    assert Document(body, EXACT).put({"model": b'"n"'}) == b'{ "a" : [1,  2],\n "model":"n" , "b":1.50 }'


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model": "a", "x": 1, "model": "b"}',
        b'{"x":{"a":1},"model":"a","x":{"a":2}}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"Model":"a"}',
        b'{"MODEL":"a","model":"a"}',
        b'{"a":1,"a":1, "b":1, "c":1, "d":1}',
        b'{"model":NaN}',
        b'{"model":"\\ud800"}',
        b'\xef\xbb\xbf{"model":"a"}',
        b'{"model":"\xff"}',
        b'["model"]',
        b'"model"',
        b"",
        b"{",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_c2_one_meaning_or_none(body: bytes) -> None:
    with pytest.raises(Malformed):
        Document(body, EXACT)
