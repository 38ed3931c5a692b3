"""The ChatGPT-web format, both directions. Source: seed protocols, sections 1.5 and 2."""

import msgspec
import pytest

from dragoman.chat import Begin, Broke, ChatRequest, Delta, End, Frame, Message, Tally, Text, TextDelta, Usage, fold
from dragoman.faults import Busy, Malformed, Truncated, Unsupported
from dragoman.threads import Node, Place, Story, Thread
from dragoman.wires import chatgpt_ask, chatgpt_voice, chatgpt_web

THREAD = Thread("c", "me", "T", "r", "a", 1.5, 2.5)
PLACE = Place(THREAD, "q", "a", "r", (), True, 1.5)
DELTAS: list[Delta] = [
    Begin("x", "m", 0),
    TextDelta("He"),
    TextDelta('l"lo\n'),
    TextDelta("\U0001f600"),
    Tally(Usage()),
    End(),
]
# April 2023: no space after `data:`, older shape, echoes, moderation, code, pings, and a close event after the end.
QUIRKS = (
    b'data:{"message":{"id":"s","role":"system","content":{"content_type":"text","parts":[""]}},"error":null}\n\n'
    b'data:{"message":{"id":"u","author":{"role":"user"},"content":{"content_type":"text","parts":["hi"]}}}\n\n'
    b'data:{"message":{"id":"k","author":{"role":"assistant"},"recipient":"browser","content":{"content_type":"code","text":"x"}}}\n\n'
    b"event: ping\ndata: 1\n\n"
    b'data:{"message":{"id":"a","role":"assistant","user":null,"content":{"content_type":"text","parts":["He"]}},"error":null}\n\n'
    b'data:{"conversation_id":"c","message_id":"a","is_completion":true,"moderation_response":{}}\n\n'
    b'data:{"message":{"id":"a","role":"assistant","content":{"content_type":"text","parts":["Hello"]},"metadata":{"finish_details":{"type":"max_tokens"}}}}\n\n'
    b"data:[DONE]\n\nevent: close\ndata: close\n\n"
)


def read(reader: object, data: bytes) -> list[Delta]:
    return [*reader.receive(data), *reader.close()]  # type: ignore[attr-defined]


def test_what_is_written_is_cumulative_and_carries_the_ids() -> None:
    writer = chatgpt_voice.CumulativeWriter(PLACE)
    pieces = [piece for delta in DELTAS for piece in writer.write([delta])]
    events = [msgspec.json.decode(piece[6:]) for piece in pieces[:-1]]
    assert [event["message"]["content"]["parts"][0] for event in events] == [
        "He",
        'Hel"lo\n',
        'Hel"lo\n\U0001f600',
        'Hel"lo\n\U0001f600',
    ]
    assert {
        (e["message"]["id"], e["conversation_id"], e["message"]["author"]["role"], e["message"]["role"]) for e in events
    } == {("a", "c", "assistant", "assistant")}
    assert [event["message"]["end_turn"] for event in events] == [None, None, None, True]
    assert pieces[-1] == b"data: [DONE]\n\n"
    assert all(piece.endswith(b"\n\n") and piece.count(b"\n") == 2 for piece in pieces)


def test_what_came_together_is_one_event() -> None:
    writer = chatgpt_voice.CumulativeWriter(PLACE)
    assert len(writer.write(DELTAS[:4])) == 1


def test_a_round_trip_means_the_same_however_it_is_cut() -> None:
    writer = chatgpt_voice.CumulativeWriter(PLACE)
    data = b"".join(piece for delta in DELTAS for piece in writer.write([delta]))
    whole = read(chatgpt_web.OpenStream(7), data)
    answer = fold(whole)
    assert answer.parts == [Text('Hel"lo\n\U0001f600')]
    assert answer.end == End("stop")
    assert answer.usage.estimated
    assert answer.usage.prompt_tokens == 7
    for at in range(1, len(data)):
        reader = chatgpt_web.OpenStream(7)
        assert fold([*reader.receive(data[:at]), *reader.receive(data[at:]), *reader.close()]) == answer


def test_the_quirks_of_the_time() -> None:
    answer = fold(read(chatgpt_web.OpenStream(0), QUIRKS))
    assert (answer.id, answer.parts, answer.end) == ("a", [Text("Hello")], End("length"))
    frames = read(chatgpt_web.OpaqueStream(), QUIRKS)
    assert all(isinstance(frame, Frame) for frame in frames)
    said = b"".join(frame.data for frame in frames).split(b"\n\n")[:-1]
    assert [b'"He"' in said[0], b'"Hello"' in said[1], said[2]] == [True, True, b"data: [DONE]"]
    assert frames[-1].ended


@pytest.mark.parametrize("make", [lambda: chatgpt_web.OpenStream(0), chatgpt_web.OpaqueStream])
def test_no_prefix_is_complete(make: object) -> None:
    end = QUIRKS.index(b"[DONE]") + len(b"[DONE]")
    for at in range(len(QUIRKS)):
        deltas = read(make(), QUIRKS[:at])  # type: ignore[operator]
        ended = any(isinstance(d, End) or getattr(d, "ended", False) for d in deltas)
        assert ended == (at >= end), at
        if not ended:
            assert isinstance(deltas[-1], Broke)
            assert isinstance(deltas[-1].fault, Truncated)


def test_failures_in_a_good_stream() -> None:
    assert isinstance(read(chatgpt_web.OpenStream(0), b"data:429\n\n")[-1].fault, Busy)
    broke = read(chatgpt_web.OpenStream(0), b'data: {"message":null,"error":"gone wrong"}\n\n')[-1]
    assert "gone wrong" in broke.fault.message


def test_questions_are_composed_and_read() -> None:
    request = ChatRequest(
        [
            Message("system", (Text("s"),)),
            Message("user", (Text("q"),)),
            Message("assistant", (Text("a"),)),
            Message("user", (Text("z"),)),
        ]
    )
    asked = chatgpt_ask.read(chatgpt_ask.compose(request, "m", as_transcript=False))
    assert [chatgpt_ask.words(m, 0) for m in asked.messages] == request.messages
    assert (asked.model, asked.conversation_id, asked.action) == ("m", None, "next")
    assert len({m.id for m in asked.messages}) == 4
    (only,) = chatgpt_ask.read(chatgpt_ask.compose(request, "m", as_transcript=True)).messages
    assert only.content.parts == ["System: s\n\nUser: q\n\nAssistant: a\n\nz"]


def test_what_is_no_text_is_refused() -> None:
    from dragoman.chat import Image

    with pytest.raises(Unsupported):
        chatgpt_ask.compose(ChatRequest([Message("user", (Image(url="x"),))]), "m", as_transcript=False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"messages":[]}',
        b'{"action":"continue","messages":[{}]}',
        b'{"messages":[{"content":5}]}',
        b'{"messages":5}',
    ],
)
def test_questions_that_are_none(body: bytes) -> None:
    with pytest.raises(Malformed):
        chatgpt_ask.read(body)


def test_a_tree_has_its_root_without_a_message() -> None:
    nodes = [
        Node("q", "c", "r", 1, "user", (Text("hi"),), 1.0),
        Node("a", "c", "q", 2, "assistant", (Text("yo"),), 1.0, "broken", "m"),
    ]
    tree = chatgpt_voice.detail(Story(THREAD, nodes))
    assert tree["mapping"]["r"] == {"id": "r", "children": ["q"]}
    assert tree["mapping"]["q"]["children"] == ["a"]
    assert tree["mapping"]["a"]["message"]["status"] == "finished_partial_completion"
    assert (tree["current_node"], tree["create_time"]) == ("a", 1.5)
