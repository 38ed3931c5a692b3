"""A conversation has one turn at a time; a second is refused in the dialect's own shape, and is not kept."""

import itertools
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest
from c_clients import arrived, ask, held, in_background, native
from speakers import SPEAKERS, Ask, EventsWs, Grpc, WebSocket, native_error, read, rows

from upstream import Signal

HOLDERS = [WebSocket, Grpc, Ask, EventsWs]


@pytest.fixture
def busy(relay, lane):
    """A conversation with a turn under way, which `signal` ends."""
    first, signal = Ask(relay).turn("one"), Signal()
    lane.play(held(lane, signal))
    slow = in_background(EventsWs(relay).turn, "two", first.conversation_id)
    arrived(lane, 1)
    yield first, signal, slow
    signal.fire()


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_a_second_turn_is_refused_in_every_dialect(relay, lane, busy, speaker):
    first, signal, slow = busy
    assert speaker(relay).refusal("three", first.conversation_id, first.message_id) in ("conflict", None)
    assert len(lane.requests) == 2
    signal.fire()
    assert slow.result(15).text == "so far and on"
    assert [content for _, content, _ in rows(read(relay, first.conversation_id))] == [
        "one",
        "first answer 1",
        "two",
        "so far and on",
    ]
    speaker(relay).turn("three", first.conversation_id, slow.result().message_id)


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_turn_of_any_dialect_holds_the_conversation(relay, lane, holder):
    first, signal = Ask(relay).turn("one"), Signal()
    lane.play(held(lane, signal))
    slow = in_background(holder(relay).turn, "two", first.conversation_id)
    arrived(lane, 1)
    assert ask(relay, "three", first.conversation_id).status == 409
    signal.fire()
    slow.result(15)
    assert ask(relay, "three", first.conversation_id).json["message"] == "first answer 3"


def test_a_branch_is_the_same_conversation(relay, lane, busy):
    first, _, _ = busy
    assert ask(relay, "branch", first.conversation_id, first.message_id).status == 409


def test_other_conversations_are_not_held(relay, lane, busy):
    for speaker in SPEAKERS:
        speaker(relay).turn("elsewhere")


def test_of_many_at_once_one_wins(relay, lane):
    first, signal = Ask(relay).turn("one"), Signal()
    lane.always(lambda request: held(lane, signal))
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(ask, relay, f"racer {number}", first.conversation_id) for number in range(12)]
        # Only the winner is still waiting once eleven have their refusal.
        refused = list(itertools.islice(as_completed(calls, 15), 11))
        signal.fire()
        statuses = sorted(call.result(15).status for call in calls)
    assert {call.result().status for call in refused} == {409}
    assert statuses == [200, *[409] * 11]
    assert len(lane.requests) == 2
    assert len(read(relay, first.conversation_id)["messages"]) == 4


def test_a_conversation_may_be_read_and_renamed_while_it_answers(relay, lane, busy):
    first, _, _ = busy
    path = f"/api/conversations/{first.conversation_id}"
    assert native(relay, "PATCH", path, {"title": "renamed"}).json["title"] == "renamed"
    assert read(relay, first.conversation_id)["title"] == "renamed"


def test_a_conversation_deleted_while_it_answers_is_gone_and_nothing_breaks(relay, lane, busy):
    first, signal, slow = busy
    path = f"/api/conversations/{first.conversation_id}"
    reply = native(relay, "DELETE", path)
    assert reply.status in (204, 409), reply
    signal.fire()
    slow.exception(15)
    if reply.status == 204:
        native_error(native(relay, "GET", path), 404)
    assert Ask(relay).turn("still here").text.startswith("first answer")
