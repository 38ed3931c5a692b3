"""What a model is told fits its context: whole turns from the latest back, and the newest question always or not at all."""

import pytest
from c_clients import native, started_relay, told
from speakers import SPEAKERS, Ask, EventsGrpc, EventsWs, GetInfo, read

from upstream import stream

CONTEXT = 1024
LONG = "word " * 100
"""Some 100 to 175 tokens, whoever counts."""


@pytest.fixture(scope="module")
def relay(upstream, tmp_path_factory):
    small = {"context_tokens": CONTEXT, "answer_tokens": 128}
    yield from started_relay(upstream, tmp_path_factory, conversations=small)


def talk(relay, turns, text=LONG):
    """A conversation with so many turns, whose answers are long too."""
    relay.first.always(
        lambda request: stream(relay.first.speaker.events([f"answer {len(relay.first.requests)} {LONG}"]))
    )
    conversation = ""
    for number in range(1, turns + 1):
        conversation = Ask(relay).turn(f"question {number} {text}", conversation).conversation_id
    return conversation


def numbers(request):
    """The messages that a model was told, as q1, a1, …"""
    return [f"{role[0].replace('u', 'q')}{text.split()[1]}" for role, text in told(request)]


def test_older_turns_are_left_out_whole(relay, lane):
    talk(relay, 12)
    for number, request in enumerate(lane.requests, 1):
        sent = numbers(request)
        oldest = int(sent[0][1:])
        whole = [name for n in range(oldest, number) for name in (f"q{n}", f"a{n}")]
        assert sent == [*whole, f"q{number}"]
        assert sum(len(text) for _, text in told(request)) / 4 < CONTEXT
    assert 1 < len(numbers(lane.requests[-1])) < 12
    assert len(numbers(lane.requests[-1])) == len(numbers(lane.requests[-2])), "as much as fits, each time"


def test_all_is_still_kept(relay, lane):
    conversation = talk(relay, 8)
    assert len(read(relay, conversation)["messages"]) == 16


def test_one_long_old_turn_is_left_out_and_those_before_it_do_not_jump_over(relay, lane):
    conversation = Ask(relay).turn("question 1").conversation_id
    Ask(relay).turn("question 2 " + "word " * 400, conversation)
    Ask(relay).turn("question 3", conversation)
    Ask(relay).turn("question 4 " + "word " * 200, conversation)
    texts = [text for _, text in told(lane.requests[-1])]
    assert texts[0].startswith("question 3")
    assert texts[-1].startswith("question 4")


def test_the_system_text_is_always_there_and_takes_its_room(relay, lane):
    conversation = talk(relay, 6)
    before = len(told(lane.requests[-1]))
    EventsWs(relay).turn("question 7", conversation, system="Be brief. " + "word " * 300)
    body = lane.requests[-1].json
    assert body["messages"][0]["content"].startswith("Be brief.")
    assert body["messages"][-1]["content"] == "question 7"
    assert len(told(lane.requests[-1])) < before


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_question_that_alone_is_too_large_is_refused_clearly(relay, lane, speaker):
    first = Ask(relay).turn("one")
    code = speaker(relay).refusal("word " * 5000, first.conversation_id, first.message_id)
    assert code in ("too_large", None)
    assert len(lane.requests) == 1
    assert len(read(relay, first.conversation_id)["messages"]) == 2
    speaker(relay).turn("shorter", first.conversation_id, first.message_id)


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_first_question_that_is_too_large_makes_no_conversation(relay, lane, speaker):
    total = native(relay, "GET", "/api/conversations").json["total"]
    assert speaker(relay).refusal("word " * 5000) in ("too_large", None)
    assert native(relay, "GET", "/api/conversations").json["total"] == total
    assert lane.requests == []


@pytest.mark.parametrize("speaker", [EventsWs, EventsGrpc, GetInfo])
def test_wide_characters_are_not_counted_as_narrow_ones(relay, lane, speaker):
    """A Chinese character is about a token, not a quarter of one."""
    assert speaker(relay).refusal("早" * 2 * CONTEXT) == "too_large"
    assert lane.requests == []


def test_each_model_has_its_own_context(upstream, tmp_path_factory):
    started = started_relay(
        upstream,
        tmp_path_factory,
        conversations={"context_tokens": 100_000, "answer_tokens": 128},
        providers=[{"name": "tiny", "kind": "echo", "context": 512}, {"name": "roomy", "kind": "echo"}],
        models=[{"name": "narrow", "targets": [{"provider": "roomy", "model": "echo"}], "context": 256}],
    )
    relay = next(started)
    for name, fits in (("tiny/echo", 300), ("narrow", 100), ("roomy/echo", 5000)):
        EventsWs(relay).turn("word " * (fits // 2), model=name)
        assert name == "roomy/echo" or EventsWs(relay).refusal("word " * fits * 4, model=name) == "too_large"
    started.close()
