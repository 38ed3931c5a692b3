"""One conversation walks through every dialect and two providers, and each turn carries all that came before."""

import json

import pytest
from c_clients import KEY, call, mint, told
from speakers import SPEAKERS, Ask, BackEnd, Conv, EventsGrpc, EventsWs, GetInfo, Grpc, WebSocket, listed, read, rows

from upstream import stream


def history(turns):
    """What a model must be told at the next turn."""
    return [row for question, answer in turns for row in (("user", question), ("assistant", answer))]


def test_one_conversation_through_eight_dialects_and_two_providers(relay, lane):
    second = {"model": relay.second_model}
    speakers = [
        (WebSocket, {}),
        (Grpc, {}),
        (Conv, {}),
        (Ask, {}),
        (EventsWs, second),
        (EventsGrpc, second),
        (GetInfo, {"opts": {"completionParams": {"model": relay.second_model}}}),
        (BackEnd, {}),
        (EventsWs, {}),
    ]
    conversation, parent, turns = "", "", []
    for number, (speaker, more) in enumerate(speakers):
        asked_of = relay.second if more else relay.first
        question = f'{number}: "quoted", $5, 100%, 早上好'
        said = speaker(relay).turn(question, conversation, parent, **more)
        assert told(asked_of.requests[-1]) == [*history(turns), ("user", question)], speaker
        assert not conversation or said.conversation_id == conversation, speaker
        conversation, parent = said.conversation_id, said.message_id
        turns.append((question, said.text))
    assert [answer for _, answer in turns] == [
        *(f"first answer {number}" for number in (1, 2, 3, 4)),
        *(f"second answer {number}" for number in (1, 2, 3)),
        *(f"first answer {number}" for number in (5, 6)),
    ]
    story = read(relay, conversation)
    assert [(role, content) for role, content, _ in rows(story)] == history(turns)
    assert {state for _, _, state in rows(story)} == {"complete"}
    assert story["current"] == parent == story["messages"][-1]["id"]
    models = [row["model"] for row in story["messages"] if row["role"] == "assistant"]
    assert models == [relay.model] * 4 + [relay.second_model] * 3 + [relay.model] * 2


@pytest.mark.parametrize("first", SPEAKERS)
def test_what_begins_in_one_dialect_goes_on_in_every_other(relay, lane, first):
    begun = first(relay).turn("one")
    parent, count = begun.message_id, 1
    for speaker in SPEAKERS:
        said = speaker(relay).turn("more", begun.conversation_id, parent)
        assert said.conversation_id == begun.conversation_id, speaker
        count += 2
        assert len(told(lane.requests[-1])) == count, speaker
        parent = said.message_id


@pytest.mark.parametrize("speaker", [s for s in SPEAKERS if s is not GetInfo])
def test_without_a_parent_it_goes_on_at_the_current_message(relay, lane, speaker):
    begun = Ask(relay).turn("one")
    speaker(relay).turn("two", begun.conversation_id)
    assert [text for _, text in told(lane.requests[-1])] == ["one", "first answer 1", "two"]


def test_the_lists_of_three_dialects_show_it(relay, lane):
    key = mint(relay, "lister")
    begun = WebSocket(relay, key).turn("What is 100% of $5?")
    Grpc(relay, key).turn("and then", begun.conversation_id)
    native = listed(relay, key)
    conv = call(relay.port, "GET", "/conv?limit=5", key=key, Chat_Type="conversations").json
    back_end = call(relay.port, "GET", "/backend-api/conversations", key=f"Bearer {key}").json
    shown = [native["conversations"], conv["items"], back_end["items"]]
    assert [[(row["id"], row["title"]) for row in rows] for rows in shown] == [
        [(begun.conversation_id, "What is 100% of $5?")]
    ] * 3


def test_detail_of_three_dialects_agree(relay, lane):
    begun = EventsWs(relay).turn("one")
    current = Grpc(relay).turn("two", begun.conversation_id).message_id
    native = read(relay, begun.conversation_id)
    conv = call(relay.port, "GET", "/conv", Chat_Type=f"conversation/{begun.conversation_id}").json
    path = f"/backend-api/conversation/{begun.conversation_id}"
    back_end = call(relay.port, "GET", path, key=f"Bearer {KEY}").json
    assert {native["current"], conv["current_node"], back_end["current_node"]} == {current}
    texts = {node["message"]["content"]["parts"][0] for node in back_end["mapping"].values() if node.get("message")}
    assert {"one", "two", "first answer 1", "first answer 2"} <= texts


def test_what_a_model_thought_is_not_told_to_the_next(relay, lane):
    speaker = lane.speaker
    thought = speaker.chunk({"reasoning_content": "secret thought"})
    lane.play(stream([*speaker.opening(), thought, speaker.text("said"), *speaker.closing()]))
    begun = EventsWs(relay).turn("one")
    EventsWs(relay).turn("two", begun.conversation_id, model=relay.second_model)
    assert "secret thought" not in json.dumps(relay.second.requests[-1].json)
    assert [text for _, text in told(relay.second.requests[-1])] == ["one", "said", "two"]
