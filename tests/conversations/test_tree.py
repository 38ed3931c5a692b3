"""A conversation is a tree: siblings, the current message, the root, and how answers end."""

import uuid

import pytest
from c_clients import (
    NOBODYS_ID,
    Channel,
    arrived,
    ask,
    broken,
    failed,
    failure,
    held,
    in_background,
    native,
    open_socket,
    told,
)
from speakers import SPEAKERS, Ask, EventsWs, GetInfo, read, rows, settled

from upstream import Signal, stream

TELLING = [speaker for speaker in SPEAKERS if speaker is not GetInfo]


@pytest.fixture(scope="module")
def relay(relay_on_either):
    return relay_on_either


def by_content(story):
    return {row["content"]: row for row in story["messages"]}


# --- branches --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_question_below_an_earlier_answer_is_a_sibling_of_what_stands_there(relay, lane, speaker):
    first = Ask(relay).turn("one")
    Ask(relay).turn("two", first.conversation_id)
    third = speaker(relay).turn("instead of two", first.conversation_id, first.message_id)
    story = read(relay, first.conversation_id)
    found = by_content(story)
    assert found["two"]["parent"] == found["instead of two"]["parent"] == first.message_id
    assert story["current"] == third.message_id
    assert len(story["messages"]) == 6


@pytest.mark.parametrize("speaker", TELLING)
def test_the_current_message_is_where_the_last_turn_was(relay, lane, speaker):
    first = Ask(relay).turn("one")
    second = Ask(relay).turn("two", first.conversation_id)
    Ask(relay).turn("instead of two", first.conversation_id, first.message_id)
    speaker(relay).turn("four", first.conversation_id)
    assert [text for _, text in told(lane.requests[-1])] == [
        "one",
        "first answer 1",
        "instead of two",
        "first answer 3",
        "four",
    ]
    speaker(relay).turn("five", first.conversation_id, second.message_id)
    assert [text for _, text in told(lane.requests[-1])] == ["one", "first answer 1", "two", "first answer 2", "five"]


def test_a_question_below_the_root_begins_again_in_the_same_conversation(relay, lane):
    first = Ask(relay).turn("one")
    root = read(relay, first.conversation_id)["root"]
    again = Ask(relay).turn("anew", first.conversation_id, root)
    assert again.conversation_id == first.conversation_id
    assert told(lane.requests[1]) == [("user", "anew")]
    story = read(relay, first.conversation_id)
    assert [row["parent"] for row in story["messages"] if row["role"] == "user"] == [root, root]


def test_messages_come_after_their_parents_and_have_ids_of_their_own(relay, lane):
    first = Ask(relay).turn("one")
    for number in range(3):
        Ask(relay).turn(f"branch {number}", first.conversation_id, first.message_id)
    story = read(relay, first.conversation_id)
    seen = {story["root"]}
    for row in story["messages"]:
        assert row["parent"] in seen
        assert row["id"] not in seen
        assert uuid.UUID(row["id"]).version == 4
        seen.add(row["id"])
    assert story["current"] in seen


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_parent_that_is_not_in_this_conversation_is_not_found(relay, lane, speaker):
    first, other = Ask(relay).turn("one"), Ask(relay).turn("two")
    strange = [NOBODYS_ID, "no id", "../../x"] + ([] if speaker is GetInfo else [other.message_id])
    for parent in strange:
        assert speaker(relay).refusal("x", first.conversation_id, parent) in ("not_found", None)
    assert len(lane.requests) == 2
    assert len(read(relay, first.conversation_id)["messages"]) == 2


@pytest.mark.parametrize("speaker", TELLING)
def test_a_conversation_that_is_not_there_is_not_found(relay, lane, speaker):
    for conversation in (NOBODYS_ID, "111222333", "a/../../b", "x" * 5000):
        assert speaker(relay).refusal("x", conversation) in ("not_found", None)
    assert lane.requests == []


def test_upper_case_ids_are_the_same_ids_or_none(relay, lane):
    first = Ask(relay).turn("one")
    reply = ask(relay, "two", first.conversation_id.upper())
    if "message" in reply.json:
        assert reply.json["conversation_id"] == first.conversation_id
    else:
        failure(reply)


# --- how answers end -------------------------------------------------------------------------------------


def test_a_complete_answer(relay, lane):
    first = Ask(relay).turn("one")
    assert rows(read(relay, first.conversation_id)) == [
        ("user", "one", "complete"),
        ("assistant", "first answer 1", "complete"),
    ]


def test_a_broken_answer_keeps_what_was_said_and_says_so(relay, lane):
    first = Ask(relay).turn("one")
    lane.play(broken(lane))
    with Channel(relay.grpc_port) as channel:
        channel.error("two", first.conversation_id)
    story = read(relay, first.conversation_id)
    assert rows(story)[2:] == [("user", "two", "complete"), ("assistant", "so far", "broken")]
    assert story["current"] == story["messages"][-1]["id"], "what was said can be gone on with"
    Ask(relay).turn("three", first.conversation_id)
    spoken = [text for _, text in told(lane.requests[-1])]
    assert spoken == ["one", "first answer 1", "two", "so far", "three"]


def test_a_cancelled_answer_keeps_what_was_said_and_says_so(relay, lane):
    first = Ask(relay).turn("one")
    lane.play(held(lane, None))
    with Channel(relay.grpc_port) as channel:
        texts = iter(channel.begin("two", first.conversation_id))
        said = ""
        while said != "so far":
            said += next(texts).response
    assert settled(relay, first.conversation_id, 3) == ("assistant", "so far", "cancelled")
    Ask(relay).turn("three", first.conversation_id)
    assert [text for _, text in told(lane.requests[-1])][-2:] == ["so far", "three"]


def test_an_answer_that_failed_before_its_first_word_keeps_the_question(relay, lane):
    first = Ask(relay).turn("one")
    lane.play(failed(lane))
    failure(ask(relay, "two", first.conversation_id))
    story = read(relay, first.conversation_id)
    assert ("user", "two", "complete") in rows(story)
    assert [state for role, content, state in rows(story) if role == "assistant" and not content] in ([], ["broken"])
    Ask(relay).turn("two again", first.conversation_id)
    assert told(lane.requests[-1])[-1] == ("user", "two again")
    roles = [role for role, _ in told(lane.requests[-1])]
    assert roles == ["user", "assistant", "user"], "providers want questions and answers in turn"


def test_a_new_conversation_whose_first_answer_failed_can_be_gone_on_with(relay, lane):
    lane.play(failed(lane))
    with open_socket(relay.port, "/v1/ws") as socket:
        socket.send('{"type":"ask","content":"remember the milk"}')
        socket.recv(timeout=15)
    found = native(relay, "GET", "/api/conversations?q=remember").json["conversations"]
    assert len(found) == 1
    Ask(relay).turn("again", found[0]["id"])
    assert told(lane.requests[-1]) == [("user", "again")]


def test_an_answer_under_way_is_pending_and_its_question_is_there(relay, lane):
    first, signal = Ask(relay).turn("one"), Signal()
    lane.play(held(lane, signal))
    slow = in_background(EventsWs(relay).turn, "two", first.conversation_id)
    arrived(lane, 1)
    role, _, state = rows(read(relay, first.conversation_id))[-1]
    assert (role, state) == ("assistant", "pending")
    assert rows(read(relay, first.conversation_id))[2] == ("user", "two", "complete")
    signal.fire()
    slow.result(15)
    assert rows(read(relay, first.conversation_id))[3] == ("assistant", "so far and on", "complete")


def test_an_answer_cut_short_by_the_models_limit_is_complete(relay, lane):
    speaker = lane.speaker
    events = [*speaker.opening(), speaker.text("cut"), speaker.chunk(finish="length"), *speaker.closing()[1:]]
    lane.play(stream(events))
    first = EventsWs(relay).turn("one")
    assert rows(read(relay, first.conversation_id))[1] == ("assistant", "cut", "complete")
