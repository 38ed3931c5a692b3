"""`dragoman.v1.Chat/Ask`: typed events, and what goes wrong as a status code (gRPC: "Status codes and their use")."""

import time

import grpc
import pytest
from c_clients import KEY, NOBODYS_ID, arrived, broken, failed, held, in_background, mint, open_channel, told
from event_lines import Conversation, GrpcLine
from speakers import Ask, event_types, read, rows, settled

from upstream import Signal, close, stream

Code = grpc.StatusCode


class Chat:
    """A generated client of the service."""

    def __init__(self, port):
        self.request, _, self.event = event_types()
        self.channel = open_channel(port)
        self._ask = self.channel.unary_stream(
            "/dragoman.v1.Chat/Ask", self.request.SerializeToString, self.event.FromString
        )

    def begin(self, content, key=KEY, timeout_s=15, **fields):
        metadata = [("authorization", key)] if key else []
        return self._ask(
            self.request(content=content, **fields), timeout=timeout_s, metadata=metadata, wait_for_ready=True
        )

    def refusal(self, content, **settings):
        """Ask and see an error; returns its code and the name of its fault."""
        under_way = self.begin(content, **settings)
        events = []
        with pytest.raises(grpc.RpcError) as caught:
            events += under_way
        assert caught.value.details(), "an error without words"
        assert "upstream-key" not in caught.value.details()
        return caught.value.code(), dict(caught.value.trailing_metadata()).get("x-dragoman-error")


@pytest.fixture
def chat(relay, lane):
    chat = Chat(relay.grpc_port)
    yield chat
    chat.channel.close()


def kinds(events):
    return [event.WhichOneof("event") for event in events]


def test_an_answer_is_begin_deltas_end_and_ok(relay, lane, chat):
    under_way = chat.begin("hello", id="mine")
    events = list(under_way)
    assert under_way.code() is Code.OK
    assert {event.id for event in events} == {"mine"}
    assert kinds(events)[0] == "begin"
    assert set(kinds(events)[1:-1]) == {"delta"}
    assert kinds(events)[-1] == "end"
    assert "".join(event.delta.text for event in events) == "first answer 1"
    end = events[-1].end
    assert (end.reason, end.usage.prompt_tokens, end.usage.completion_tokens, end.usage.estimated) == (
        "stop",
        25,
        7,
        False,
    )


def test_settings_are_told_apart_from_their_absence(relay, lane, chat):
    list(chat.begin("x", temperature=0.0, max_tokens=5, stop=["a", "b"], system="Be brief."))
    list(chat.begin("x"))
    with_all, without = (request.json for request in lane.requests)
    assert (with_all["temperature"], with_all["stop"]) == (0, ["a", "b"])
    assert with_all["messages"][0] == {"role": "system", "content": "Be brief."}
    assert not {"temperature", "max_tokens", "max_completion_tokens", "top_p", "stop"} & set(without)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"conversation_id": NOBODYS_ID}, Code.NOT_FOUND),
        ({"conversation_id": "111222333"}, Code.NOT_FOUND),
        ({"parent_id": NOBODYS_ID}, Code.NOT_FOUND),
        ({"model": "no such model"}, Code.NOT_FOUND),
        ({"max_tokens": -1}, Code.INVALID_ARGUMENT),
        ({"temperature": -1.0}, Code.INVALID_ARGUMENT),
        ({"temperature": float("nan")}, Code.INVALID_ARGUMENT),
        ({"top_p": 2.0}, Code.INVALID_ARGUMENT),
        ({"key": None}, Code.UNAUTHENTICATED),
        ({"key": "wrong"}, Code.UNAUTHENTICATED),
    ],
)
def test_what_the_caller_did_wrong(relay, lane, chat, fields, code):
    assert chat.refusal("x", **fields)[0] is code
    assert lane.requests == []


def test_an_empty_question(relay, lane, chat):
    for content in ("", " \n"):
        assert chat.refusal(content)[0] is Code.INVALID_ARGUMENT
    assert lane.requests == []


def test_bytes_that_are_no_request(relay, lane):
    with open_channel(relay.grpc_port) as channel, pytest.raises(grpc.RpcError) as caught:
        raw = channel.unary_stream("/dragoman.v1.Chat/Ask")
        list(raw(b"\xff\xff", metadata=[("authorization", KEY)], timeout=15, wait_for_ready=True))
    assert caught.value.code() in (Code.INVALID_ARGUMENT, Code.INTERNAL)


def test_a_busy_conversation(relay, lane, chat):
    begun, signal = Ask(relay).turn("one"), Signal()
    lane.play(held(lane, signal))
    slow = in_background(lambda: list(chat.begin("two", conversation_id=begun.conversation_id)))
    arrived(lane, 1)
    code, name = chat.refusal("three", conversation_id=begun.conversation_id)
    assert (code, name) == (Code.ABORTED, "conflict")
    signal.fire()
    assert kinds(slow.result(15))[-1] == "end"


@pytest.mark.parametrize(
    ("script", "codes"),
    [
        (failed, {Code.UNAVAILABLE, Code.INTERNAL}),
        (broken, {Code.UNAVAILABLE, Code.INTERNAL, Code.DATA_LOSS}),
        (
            lambda lane: [*stream([*lane.speaker.opening(), lane.speaker.text("so far")], end=False), close],
            {Code.UNAVAILABLE, Code.DATA_LOSS},
        ),
    ],
    ids=["at once", "in the middle", "cut"],
)
def test_a_failure_upstream(relay, lane, chat, script, codes):
    lane.play(script(lane))
    code, name = chat.refusal("x")
    assert code in codes
    assert name.startswith(("upstream", "no_target"))
    assert kinds(chat.begin("again"))[-1] == "end"


def test_the_ids_are_known_before_a_failure(relay, lane, chat):
    lane.play(broken(lane))
    events = iter(chat.begin("x"))
    begun = next(events).begin
    with pytest.raises(grpc.RpcError):
        list(events)
    assert rows(read(relay, begun.conversation_id))[1] == ("assistant", "so far", "broken")


def test_a_deadline_ends_the_work_upstream_and_keeps_what_was_said(relay, lane, chat):
    lane.play(held(lane, None))
    began, events = time.monotonic(), []
    with pytest.raises(grpc.RpcError) as caught:
        for event in chat.begin("x", timeout_s=0.7):
            events.append(event)
    assert caught.value.code() is Code.DEADLINE_EXCEEDED
    assert lane.requests[0].left.wait_here(5) - began < 2
    conversation = events[0].begin.conversation_id
    assert settled(relay, conversation, 1) == ("assistant", "so far", "cancelled")


def test_a_cancelled_call_ends_the_work_upstream(relay, lane, chat):
    lane.play(held(lane, None))
    under_way = chat.begin("x")
    next(iter(under_way))
    under_way.cancel()
    lane.requests[0].left.wait_here(5)


def test_tokens_and_bearer_keys(relay, lane, chat):
    for key in (f"Bearer {KEY}", mint(relay, "somebody")):
        assert kinds(chat.begin("x", key=key))[-1] == "end"


def test_converse_ends_with_ok_when_the_caller_has_no_more_to_ask(relay, lane):
    line = Conversation(GrpcLine(relay))
    line.turn("one")
    line.line._out.put(None)
    assert list(line.line.call) == []
    assert line.line.call.code() is Code.OK
    line.line.close()


def test_converse_still_answers_what_was_asked_before_the_caller_ended_its_half(relay, lane):
    signal = Signal()
    lane.play(held(lane, signal))
    line = Conversation(GrpcLine(relay))
    line.ask("one")
    line.line._out.put(None)
    arrived(lane)
    signal.fire()
    line.until("end")
    assert line.text() == "so far and on"
    line.line.close()


def test_an_event_that_is_neither_ask_nor_cancel(relay, lane):
    line = Conversation(GrpcLine(relay))
    line.line._out.put(line.line.client_event())
    event = line.next()
    assert (event["type"], event["code"]) == ("error", "malformed")
    line.turn("still here")
    line.line.close()


def test_conversations_of_a_cancelled_converse_go_on(relay, lane):
    begun = Ask(relay).turn("one")
    lane.play(held(lane, None))
    line = Conversation(GrpcLine(relay))
    line.ask("two", conversation_id=begun.conversation_id)
    line.until_said("so far")
    line.line.call.cancel()
    lane.requests[1].left.wait_here(5)
    line.line.close()
    assert settled(relay, begun.conversation_id, 3) == ("assistant", "so far", "cancelled")
    Ask(relay).turn("three", begun.conversation_id)
    assert [text for _, text in told(lane.requests[2])] == ["one", "first answer 1", "two", "so far", "three"]
