"""What people and models really write goes through every dialect and the store unharmed, or is refused clearly."""

import pytest
from c_clients import native, told
from speakers import SPEAKERS, Ask, EventsWs, listed, read, rows

from upstream import stream

TEXTS = {
    "emoji": "👩‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿 e\u0301",
    "right to left": "\u202eabc\u202c שלום",
    "json": '{"a": [1, "\\u0000"], "b": null}',
    "sse": "data: [DONE]: x",
    "sql": "'; DROP TABLE threads; --",
    "like": "100%_\\",
    "marks": "<|ask|>$a$b$c <|end|>$x$y <|err|>",
    "format": "{0} %s %n ${x} $$",
    "control": "a\x01\x1f\x7fb",
    "astral": "𝒳" * 100,
    "not characters": "\ufffe\uffff\ufdd0",
}


@pytest.fixture(scope="module")
def relay(relay_on_either):
    return relay_on_either


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("speaker", SPEAKERS)
def test_texts_both_ways(relay, lane, speaker, name):
    text = TEXTS[name]
    lane.play(stream(lane.speaker.events([text[:3], text[3:]])))
    said = speaker(relay).turn(text)
    assert said.text == text
    assert told(lane.requests[0]) == [("user", text)]
    again = EventsWs(relay).turn("next", "", said.message_id)
    assert told(lane.requests[1])[1] == ("assistant", text)
    stored = [content for _, content, _ in rows(read(relay, again.conversation_id))]
    assert stored[1] == text


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_nul_is_kept(relay, lane, speaker):
    """PostgreSQL's text cannot hold it, and C strings end with it."""
    lane.play(stream(lane.speaker.events(["x\0y"])))
    said = speaker(relay).turn("a\0b")
    assert said.text == "x\0y"
    EventsWs(relay).turn("next", "", said.message_id)
    assert told(lane.requests[1])[:2] == [("user", "a\0b"), ("assistant", "x\0y")]


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_an_empty_question_is_refused(relay, lane, speaker):
    total = listed(relay)["total"]
    for text in ("", "  \n "):
        assert speaker(relay).refusal(text) in ("malformed", None)
    assert lane.requests == []
    assert listed(relay)["total"] == total
    speaker(relay).turn("still here")


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_question_of_ten_megabytes_does_not_reach_a_model_that_cannot_take_it(relay, lane, speaker):
    before = relay.gateway.resident_bytes()
    for _ in range(3):
        assert speaker(relay).refusal("x" * 10_000_000) in ("too_large", None)
    assert lane.requests == []
    assert relay.gateway.resident_bytes() - before < 120_000_000
    speaker(relay).turn("still here")


def test_a_long_first_line_makes_a_short_title(relay, lane):
    begun = Ask(relay).turn("\n\n  " + "word " * 300)
    title = read(relay, begun.conversation_id)["title"]
    assert 0 < len(title) <= 200
    assert title.startswith("word")
    assert "\n" not in title


def test_a_conversation_of_a_thousand_messages_is_read_whole_and_goes_on(relay, lane):
    turns = [f"User: q{number}\n\n\nChatGPT: a{number}<|im_end|>\n" for number in range(500)]
    imported = native(relay, "POST", "/api/conversations/import", turns).json["conversations"][0]["id"]
    assert len(read(relay, imported)["messages"]) == 1000
    Ask(relay).turn("and now?", imported)
    assert told(lane.requests[0])[-2:] == [("assistant", "a499"), ("user", "and now?")]
