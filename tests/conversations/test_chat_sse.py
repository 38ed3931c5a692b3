"""`POST /api/chat`: an answer in a conversation as an event stream, its branches, stops, images and tools."""

import http.client
import json
import time

import pytest
from c_clients import KEY, NOBODYS_ID, PATIENCE_S, broken, call, failed, held, mint, native, told
from speakers import native_error, read, rows, settled, until

from upstream import Signal, stream

PIXEL = "data:image/png;base64,iVBORw0KGgo="
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def relay(relay_on_either):
    return relay_on_either


class Stream:
    """One answer as it comes."""

    def __init__(self, relay, key=KEY, **body):
        self._connection = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._connection.request("POST", "/api/chat", json.dumps(body).encode(), headers)
        self.answer = self._connection.getresponse()
        self.heard = []

    def next(self):
        """Return the next event; None at the end of the stream."""
        while line := self.answer.readline():
            if line.startswith(b"data: "):
                assert self.answer.readline() == b"\n"
                self.heard.append(json.loads(line[6:]))
                return self.heard[-1]
            assert line.startswith(b":") or line == b"\n", line
        return None

    def until_said(self, text):
        while self.text != text:
            assert self.next() is not None

    def rest(self):
        while self.next():
            pass
        return self

    def close(self):
        self.answer.close()
        self._connection.close()

    @property
    def text(self):
        return "".join(event["text"] for event in self.heard if event["type"] == "delta")

    @property
    def begin(self):
        return self.heard[0]


def turn(relay, content=None, **fields):
    """Ask and hear the whole answer."""
    body = fields if content is None else {"content": content, **fields}
    said = Stream(relay, **body)
    assert said.answer.status == 200, said.answer.read()
    said.rest().close()
    assert (said.heard[0]["type"], said.heard[-1]["type"]) == ("begin", "end"), said.heard
    return said


def refusal(relay, status, code=None, **body):
    return native_error(native(relay, "POST", "/api/chat", body), status, code)


def messages(relay, said):
    return {row["id"]: row for row in read(relay, said.begin["conversation_id"])["messages"]}


# --- an answer -----------------------------------------------------------------------------------------------


def test_the_events_of_an_answer(relay, lane):
    said = turn(relay, "hello")
    begin, *deltas, end = said.heard
    assert said.text == "first answer 1"
    assert {delta["type"] for delta in deltas} == {"delta"}
    usage = {"prompt_tokens": 25, "completion_tokens": 7, "estimated": False}
    assert end == {"type": "end", "reason": "stop", "usage": usage}
    story = read(relay, begin["conversation_id"])
    assert [row["id"] for row in story["messages"]] == [begin["question_id"], begin["message_id"]]
    assert begin["parent_id"] == story["root"]
    assert begin["model"] == relay.model
    assert [row["request_id"] for row in story["messages"]] == [None, begin["request_id"]]
    assert said.answer.getheader("x-request-id") == begin["request_id"]
    assert said.answer.getheader("content-type") == "text/event-stream; charset=utf-8"


def test_the_call_of_an_answer_is_found_by_its_id(relay, lane):
    said = turn(relay, "hello")

    def look():
        reply = native(relay, "GET", f"/api/requests/{said.begin['request_id']}")
        return reply.status == 200 and reply.json

    call = until(look)
    assert call["outcome"] == "completed", call
    assert (call["tokens"]["input"], call["tokens"]["output"]) == (25, 7), call
    assert call["cost_micro"] is None
    assert call["total_ms"] >= call["first_byte_ms"] >= 0


def test_a_conversation_goes_on(relay, lane):
    first = turn(relay, "one")
    second = turn(relay, "two", conversation_id=first.begin["conversation_id"], system="be kind")
    assert second.begin["parent_id"] == first.begin["message_id"]
    assert told(lane.requests[1]) == [("user", "one"), ("assistant", "first answer 1"), ("user", "two")]
    assert lane.requests[1].json["messages"][0] == {"role": "system", "content": "be kind"}


def test_settings_reach_the_provider(relay, lane):
    turn(relay, "x", max_tokens=50, temperature=0.5, top_p=0.9, stop=["a"])
    given = lane.requests[0].json
    assert [given[name] for name in ("max_tokens", "temperature", "top_p", "stop")] == [50, 0.5, 0.9, ["a"]]


# --- branches ------------------------------------------------------------------------------------------------


def test_a_question_is_answered_once_more(relay, lane):
    first = turn(relay, "one")
    again = turn(relay, parent_id=first.begin["question_id"])
    assert again.begin["question_id"] == first.begin["question_id"]
    assert told(lane.requests[1]) == [("user", "one")]
    found = messages(relay, first)
    assert len(found) == 3
    assert {found[said.begin["message_id"]]["parent"] for said in (first, again)} == {first.begin["question_id"]}
    assert found[again.begin["message_id"]]["content"] == "first answer 2"
    assert found[again.begin["message_id"]]["request_id"] == again.begin["request_id"]


def test_an_early_answer_is_given_once_more_without_what_follows(relay, lane):
    first = turn(relay, "one")
    conversation = first.begin["conversation_id"]
    turn(relay, "two", conversation_id=conversation)
    turn(relay, parent_id=first.begin["question_id"], conversation_id=conversation)
    assert told(lane.requests[2]) == [("user", "one")]


def test_siblings_of_questions(relay, lane):
    """Of the first, below the root, and of a later one."""
    first = turn(relay, "one")
    ids = {"conversation_id": first.begin["conversation_id"]}
    second = turn(relay, "two", **ids)
    other_second = turn(relay, "other two", **ids, parent_id=first.begin["message_id"])
    assert told(lane.requests[2])[-1] == ("user", "other two")
    root = read(relay, ids["conversation_id"])["root"]
    other_first = turn(relay, "other one", **ids, parent_id=root)
    assert told(lane.requests[3]) == [("user", "other one")]
    found = messages(relay, first)
    assert found[other_first.begin["question_id"]]["parent"] == root == first.begin["parent_id"]
    parents = {found[said.begin["question_id"]]["parent"] for said in (second, other_second)}
    assert parents == {first.begin["message_id"]}


def test_every_branch_goes_on(relay, lane):
    first = turn(relay, "one")
    ids = {"conversation_id": first.begin["conversation_id"]}
    left = turn(relay, "left", **ids)
    turn(relay, "right", **ids, parent_id=first.begin["message_id"])
    turn(relay, "left on", parent_id=left.begin["message_id"])
    assert [text for role, text in told(lane.requests[3]) if role == "user"] == ["one", "left", "left on"]
    turn(relay, "on", **ids)
    assert [text for role, text in told(lane.requests[4]) if role == "user"] == ["one", "left", "left on", "on"]


# --- how answers end badly -----------------------------------------------------------------------------------


def test_who_leaves_in_mid_answer_keeps_what_was_said_and_goes_on_at_once(relay, lane):
    lane.play(held(lane, Signal()))
    said = Stream(relay, content="hello")
    said.until_said("so far")
    said.close()
    conversation = said.begin["conversation_id"]
    left = time.monotonic()

    def next_question():
        more = Stream(relay, content="more", conversation_id=conversation)
        if more.answer.status == 200:
            return more
        more.close()
        assert more.answer.status == 409
        return None

    more = until(next_question)
    assert time.monotonic() - left < 1
    more.rest().close()
    assert rows(read(relay, conversation))[:2] == [("user", "hello", "complete"), ("assistant", "so far", "cancelled")]
    assert told(lane.requests[-1]) == [("user", "hello"), ("assistant", "so far"), ("user", "more")]


def test_a_second_question_meanwhile_is_a_conflict(relay, lane):
    signal = Signal()
    lane.play(held(lane, signal))
    said = Stream(relay, content="hello")
    said.until_said("so far")
    refusal(relay, 409, "conflict", content="x", conversation_id=said.begin["conversation_id"])
    signal.fire()
    assert said.rest().heard[-1]["type"] == "end"
    said.close()


def test_an_answer_that_breaks_ends_with_an_error_event(relay, lane):
    lane.play(broken(lane))
    said = Stream(relay, content="hello").rest()
    assert (said.answer.status, said.text) == (200, "so far")
    assert [event["type"] for event in said.heard if event["type"] != "delta"] == ["begin", "error"]
    assert {"code", "message"} <= set(said.heard[-1])
    assert settled(relay, said.begin["conversation_id"], 1) == ("assistant", "so far", "broken")


def test_a_provider_that_refuses(relay, lane):
    lane.play(failed(lane))
    error = refusal(relay, 502, content="hello")
    assert error["type"] == "server_error"


def test_a_refusal_before_the_first_event(relay, lane):
    assert refusal(relay, 400, content="")["param"] == "content"
    refusal(relay, 404, content="x", model="nobody's")
    assert refusal(relay, 404, content="x", conversation_id=NOBODYS_ID)["param"] == "conversation_id"
    assert refusal(relay, 404, content="x", parent_id=NOBODYS_ID)["param"] == "parent_id"
    assert refusal(relay, 404, parent_id=NOBODYS_ID)["param"] == "parent_id"
    assert lane.requests == []


@pytest.mark.parametrize("key", [None, "wrong"])
def test_no_good_key(relay, key):
    native_error(native(relay, "POST", "/api/chat", {"content": "x"}, key), 401)


def test_a_cookie_is_no_key(relay):
    reply = call(relay.port, "POST", "/api/chat", {"content": "x"}, None, Cookie=f"dragoman-{relay.port}={KEY}")
    native_error(reply, 401)


def test_anothers_conversation_is_not_there(relay, lane):
    said = turn(relay, "mine")
    theirs = mint(relay, "somebody-else")
    for ids in ({"conversation_id": said.begin["conversation_id"]}, {"parent_id": said.begin["message_id"]}):
        native_error(native(relay, "POST", "/api/chat", {"content": "x", **ids}, theirs), 404)


def test_a_page_elsewhere_may_ask(relay):
    reply = call(relay.port, "OPTIONS", "/api/chat", key=None, Origin="https://page.example")
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (204, "https://page.example")


# --- images and tools ----------------------------------------------------------------------------------------


def test_an_image(relay, lane):
    parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    said = turn(relay, parts)
    assert lane.requests[0].json["messages"] == [{"role": "user", "content": parts}]
    question = messages(relay, said)[said.begin["question_id"]]
    assert question["content"] == "what?"
    assert [part["type"] for part in question["parts"]] == ["text", "image"]
    turn(relay, "and then?", conversation_id=said.begin["conversation_id"])
    assert lane.requests[1].json["messages"][0]["content"] == parts


def calling(lane, *names, text=""):
    """A script that calls tools."""
    speaker = lane.speaker
    opened = [
        {"index": number, "id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": ""}}
        for number, name in enumerate(names)
    ]
    pieces = [
        {"index": number, "function": {"arguments": piece}}
        for number in range(len(names))
        for piece in ('{"town":', '"Oslo"}')
    ]
    said = [speaker.text(text)] if text else []
    calls = [speaker.chunk({"tool_calls": [piece]}) for piece in (*opened, *pieces)]
    end = [speaker.chunk(finish="tool_calls"), speaker.usage_event(), b"data: [DONE]\n\n"]
    return stream([*speaker.opening(), *said, *calls, *end])


def result(name, content="sunny"):
    return {"type": "tool_result", "tool_call_id": f"call_{name}", "content": content}


def test_a_tool_is_called_and_its_result_answered(relay, lane):
    lane.play(calling(lane, "weather"))
    asked = turn(relay, "how is it?", tools=[WEATHER])
    assert asked.heard[1:-1] == [
        {"type": "tool_call", "index": 0, "id": "call_weather", "name": "weather"},
        {"type": "tool_arguments", "index": 0, "json": '{"town":'},
        {"type": "tool_arguments", "index": 0, "json": '"Oslo"}'},
    ]
    assert asked.heard[-1]["reason"] == "tool"
    assert lane.requests[0].json["tools"][0]["function"]["name"] == "weather"
    answer = messages(relay, asked)[asked.begin["message_id"]]
    assert (answer["content"], answer["state"]) == ("", "complete")
    use = {"type": "tool_use", "id": "call_weather", "name": "weather", "arguments": '{"town":"Oslo"}'}
    assert answer["parts"] == [use]
    then = turn(relay, [result("weather")], parent_id=asked.begin["message_id"], tools=[WEATHER])
    assert then.text == "first answer 2"
    call = {"id": use["id"], "type": "function", "function": {"name": "weather", "arguments": use["arguments"]}}
    history = [
        {"role": "user", "content": "how is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_weather", "content": "sunny"},
    ]
    assert lane.requests[1].json["messages"] == history
    turn(relay, "thanks", parent_id=then.begin["message_id"], tools=[WEATHER])
    assert lane.requests[2].json["messages"][:3] == history


def test_a_call_that_nobody_answered_is_left_out_of_the_history(relay, lane):
    lane.play(calling(lane, "weather", "news", text="let me see"))
    asked = turn(relay, "how is it?", tools=[WEATHER])
    turn(relay, "never mind", parent_id=asked.begin["message_id"])
    assert lane.requests[1].json["messages"] == [
        {"role": "user", "content": "how is it?"},
        {"role": "assistant", "content": "let me see"},
        {"role": "user", "content": "never mind"},
    ]
    turn(relay, [result("news", "none")], parent_id=asked.begin["message_id"])
    _, answer, answered = lane.requests[2].json["messages"]
    assert [use["id"] for use in answer["tool_calls"]] == ["call_news"]
    assert answered == {"role": "tool", "tool_call_id": "call_news", "content": "none"}


def test_the_result_of_a_tool_that_was_not_called(relay, lane):
    said = turn(relay, "hello")
    for ids in ({}, {"parent_id": said.begin["message_id"]}):
        assert refusal(relay, 400, "malformed", content=[result("weather")], **ids)["param"] == "content"
    assert len(lane.requests) == 1
    assert len(messages(relay, said)) == 2
