"""Typed events on one line, alike over `/v1/ws` (on both ports) and over `dragoman.v1.Chat/Converse`."""

import re

import pytest
from c_clients import NOBODYS_ID, UUID4, arrived, broken, failed, held, mint, native, told
from event_lines import LINES, Conversation, GrpcLine
from speakers import read, rows

from upstream import Signal, stream


@pytest.fixture(params=LINES, ids=lambda line: line.__name__)
def open_line(relay, lane, request):
    opened = []

    def open_one(**settings):
        opened.append(Conversation(request.param(relay, **settings)))
        return opened[-1]

    yield open_one
    for conversation in opened:
        conversation.line.close()


@pytest.fixture
def line(open_line):
    return open_line()


# --- an answer -------------------------------------------------------------------------------------------


def test_the_events_of_an_answer(relay, lane, line):
    line.ask("hello")
    line.until("end")
    begin, *deltas, end = line.heard["q1"]
    more = [] if isinstance(line.line, GrpcLine) else ["parent_id", "request_id"]
    assert sorted(begin) == sorted(["type", "id", "conversation_id", "question_id", "message_id", "model", *more])
    ids = [begin[name] for name in ("conversation_id", "question_id", "message_id")]
    assert all(re.fullmatch(UUID4, id_) for id_ in ids)
    assert len(set(ids)) == 3
    assert begin["model"]
    assert {tuple(delta) for delta in deltas} == {("type", "id", "text")}
    assert "".join(delta["text"] for delta in deltas) == "first answer 1"
    usage = {"prompt_tokens": 25, "completion_tokens": 7, "estimated": False}
    assert end == {"type": "end", "id": "q1", "reason": "stop", "usage": usage}
    story = read(relay, begin["conversation_id"])
    assert [row["id"] for row in story["messages"]] == [begin["question_id"], begin["message_id"]]


def test_usage_that_nobody_reported_is_estimated_and_says_so(relay, lane, line):
    speaker = lane.speaker
    lane.play(stream([*speaker.opening(), speaker.text("x" * 400), speaker.finish(), b"data: [DONE]\n\n"]))
    _, _, end = line.turn("hello")
    assert end["usage"]["estimated"] is True
    assert 50 <= end["usage"]["completion_tokens"] <= 400
    assert end["usage"]["prompt_tokens"] > 0


def test_the_id_may_be_absent(line):
    line.line.send(type="ask", content="hello")
    line.until("end", None)
    assert {event["id"] for event in line.heard[None]} == {None}


@pytest.mark.parametrize("id", ["0", "😀", '"', "a b", "x" * 100])
def test_the_id_is_the_callers_own(line, id):
    line.turn("hello", id)
    assert set(line.heard) == {id}


def test_what_goes_with_a_question_reaches_the_provider(relay, lane, line):
    line.turn("hi", system="Be brief.", max_tokens=77, temperature=0.5, top_p=0.25, stop=["END", "\n\n"])
    body = lane.requests[0].json
    assert [(m["role"], m["content"]) for m in body["messages"]] == [("system", "Be brief."), ("user", "hi")]
    assert (body.get("max_tokens") or body.get("max_completion_tokens")) == 77
    assert (body["temperature"], body["top_p"], body["stop"]) == (0.5, 0.25, ["END", "\n\n"])


def test_zero_is_a_value(relay, lane, line):
    line.turn("hi", temperature=0.0, top_p=0.0)
    assert (lane.requests[0].json["temperature"], lane.requests[0].json["top_p"]) == (0, 0)


def test_one_stop_word_may_be_a_string(relay, lane, line):
    line.turn("hi", stop="END")
    assert lane.requests[0].json["stop"] in ("END", ["END"])


def test_the_model_may_be_chosen_for_each_turn(relay, lane, line):
    begin, _, _ = line.turn("one")
    ids = {"conversation_id": begin["conversation_id"]}
    _, text, _ = line.turn("two", model=relay.second_model, **ids)
    assert text == "second answer 1"
    assert [said for _, said in told(relay.second.requests[0])] == ["one", "first answer 1", "two"]
    assert line.turn("three", **ids)[1] == "first answer 2"


def test_a_system_text_holds_for_its_turn(relay, lane, line):
    begin, _, _ = line.turn("one", system="Be brief.")
    line.turn("two", conversation_id=begin["conversation_id"])
    assert "system" not in [message["role"] for message in lane.requests[1].json["messages"]]
    assert [row["role"] for row in read(relay, begin["conversation_id"])["messages"]] == ["user", "assistant"] * 2


def test_thoughts_are_events_of_their_own(relay, lane, line):
    speaker = lane.speaker
    thoughts = [speaker.chunk({"reasoning_content": text}) for text in ("let me ", "see")]
    lane.play(stream([*speaker.opening(), *thoughts, speaker.text("42"), *speaker.closing()]))
    line.ask("hello")
    line.until("end")
    assert "".join(event["text"] for event in line.heard["q1"] if event["type"] == "thinking") == "let me see"
    assert line.text() == "42"
    kinds = [event["type"] for event in line.heard["q1"]]
    assert kinds[0] == "begin"
    assert kinds.index("thinking") < kinds.index("delta")


def test_the_reason_of_an_end(relay, lane, line):
    speaker = lane.speaker
    cut = [*speaker.opening(), speaker.text("cut"), speaker.chunk(finish="length"), *speaker.closing()[1:]]
    lane.play(stream(cut))
    assert line.turn("hello")[2]["reason"] == "length"


@pytest.mark.parametrize("text", ["", "\0", '"\\\n\r\t', "😀早上好", "\u2028", "x" * 300_000])
def test_any_text_arrives_as_it_was_given(relay, lane, line, text):
    lane.play(stream(lane.speaker.events([text])))
    begin, said, _ = line.turn("x")
    assert said == text
    assert read(relay, begin["conversation_id"])["messages"][1]["content"] == text


@pytest.mark.parametrize("text", ["\n\n blank lines \n\n", "$1 $$", "<|ask|>$new$new$x", '100% \\ "', "a\0b"])
def test_a_question_is_sent_as_it_is(relay, lane, line, text):
    line.turn(text)
    assert told(lane.requests[0]) == [("user", text)]


# --- where in the tree -----------------------------------------------------------------------------------


def test_conversation_and_parent(relay, lane, line):
    begin, _, _ = line.turn("one")
    ids = {"conversation_id": begin["conversation_id"]}
    line.turn("two", **ids)
    line.turn("instead", parent_id=begin["message_id"], **ids)
    line.turn("more", **ids)
    texts = [[said for _, said in told(request)][-3:] for request in lane.requests[1:]]
    assert texts[0] == ["one", "first answer 1", "two"]
    assert texts[1] == ["one", "first answer 1", "instead"]
    assert texts[2] == ["instead", "first answer 3", "more"]


def test_a_parent_alone_names_its_conversation(relay, lane, line):
    begin, _, _ = line.turn("one")
    again, _, _ = line.turn("two", parent_id=begin["message_id"])
    assert again["conversation_id"] == begin["conversation_id"]


def test_without_ids_each_question_is_a_conversation(relay, lane, line):
    assert line.turn("one")[0]["conversation_id"] != line.turn("two")[0]["conversation_id"]
    assert [len(told(request)) for request in lane.requests] == [1, 1]


# --- several at once -------------------------------------------------------------------------------------


def test_several_answers_at_once(relay, lane, line):
    signals = [Signal() for _ in range(4)]
    lane.play(*(held(lane, signal) for signal in signals))
    order = {}
    for number in range(4):
        line.ask(f"question {number}", f"q{number}")
        order[told(arrived(lane, number))[-1][1]] = signals[number]
    for number in reversed(range(4)):
        order[f"question {number}"].fire()
        line.until("end", f"q{number}")
        assert line.text(f"q{number}") == "so far and on"
        assert not any(e["type"] == "end" for other in range(number) for e in line.heard.get(f"q{other}", []))
    assert len({line.heard[f"q{number}"][0]["conversation_id"] for number in range(4)}) == 4


def test_many_more_than_run_at_once_are_all_answered(relay, lane, line):
    for number in range(100):
        line.ask(f"question {number}", str(number))
    for number in range(100):
        line.until("end", str(number))
    assert len({line.heard[str(number)][0]["conversation_id"] for number in range(100)}) == 100


def test_an_id_in_use_is_refused_and_the_first_goes_on(relay, lane, line):
    signal = Signal()
    lane.play(held(lane, signal))
    line.ask("one")
    line.until_said("so far")
    line.ask("two")
    error = line.next()
    assert (error["type"], error["id"]) == ("error", "q1"), error
    assert error["code"] in ("conflict", "malformed")
    line.heard["q1"].remove(error)
    signal.fire()
    line.until("end")
    assert line.text() == "so far and on"
    assert line.turn("three")[1] == "first answer 2", "an id may be used again when its answer has ended"


def test_two_turns_of_one_conversation_at_once(relay, lane, line):
    begin, _, _ = line.turn("one")
    signal = Signal()
    lane.play(held(lane, signal))
    line.ask("two", "slow", conversation_id=begin["conversation_id"])
    line.until_said("so far", "slow")
    error = line.refusal("three", "fast", conversation_id=begin["conversation_id"])
    assert error["code"] == "conflict"
    signal.fire()
    line.until("end", "slow")
    line.turn("four", "fast", conversation_id=begin["conversation_id"])


# --- cancelling ------------------------------------------------------------------------------------------


def test_a_cancelled_answer(relay, lane, line):
    line.turn("warm up", "other")
    signal = Signal()
    lane.play(held(lane, None), held(lane, signal))
    line.ask("one")
    line.until_said("so far")
    line.ask("two", "bystander")
    line.until_said("so far", "bystander")
    line.cancel("q1")
    error = line.until("error")
    assert error["code"] == "cancelled"
    lane.requests[1].left.wait_here(5)
    begin = line.heard["q1"][0]
    assert rows(read(relay, begin["conversation_id"]))[1] == ("assistant", "so far", "cancelled")
    signal.fire()
    line.until("end", "bystander")
    line.turn("go on", conversation_id=begin["conversation_id"])
    assert [said for _, said in told(lane.requests[-1])] == ["one", "so far", "go on"]


def test_cancelled_before_the_first_word(relay, lane, line):
    lane.play([*held(lane, None, before=())])
    line.ask("one")
    arrived(lane)
    line.cancel("q1")
    assert line.until("error")["code"] == "cancelled"
    lane.requests[0].left.wait_here(5)
    assert line.turn("two")[1] == "first answer 2"


def test_what_is_under_way_can_be_cancelled_however_many_wait(relay, lane, open_line):
    line = open_line()
    lane.always(lambda request: held(lane, None))
    for number in range(40):
        line.ask("x", f"q{number}")
    line.until_said("so far", "q0")
    line.cancel("q0")
    assert line.until("error", "q0")["code"] == "cancelled"


def test_cancelling_what_is_not_there_hurts_nobody(relay, lane, line):
    signal = Signal()
    lane.play(held(lane, signal))
    line.ask("one")
    line.until_said("so far")
    line.cancel("nothing of this name")
    signal.fire()
    line.until("end")
    line.cancel("q1")
    line.turn("two", "q2")


def test_nobody_cancels_on_another_line(relay, lane, open_line):
    mine, theirs, signal = open_line(), open_line(), Signal()
    lane.play(held(lane, signal))
    mine.ask("one")
    mine.until_said("so far")
    theirs.cancel("q1")
    theirs.turn("two", "q2")
    signal.fire()
    mine.until("end")


def test_a_line_that_closes_ends_all_its_answers(relay, lane, open_line):
    line = open_line()
    lane.play(held(lane, None), held(lane, None))
    for number in range(2):
        line.ask("x", f"q{number}")
        arrived(lane, number)
    line.line.close()
    for number in range(2):
        lane.requests[number].left.wait_here(5)


# --- errors ----------------------------------------------------------------------------------------------


def test_refusals_name_what_is_wrong(relay, lane, line):
    strange = NOBODYS_ID
    assert line.refusal("x", conversation_id=strange)["code"] == "not_found"
    assert line.refusal("x", conversation_id="111222333")["code"] == "not_found"
    assert line.refusal("x", parent_id=strange)["code"] == "not_found"
    for field, value in (
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("temperature", -0.5),
        ("temperature", 1e9),
        ("top_p", 7.0),
    ):
        error = line.refusal("x", **{field: value})
        assert (error["code"], error["field"]) == ("malformed", field), error
    for content in ("", " \n "):
        error = line.refusal(content)
        assert (error["code"], error["field"]) == ("malformed", "content"), error
    assert lane.requests == []
    line.turn("still here")


def test_an_unknown_model_is_an_error_that_lists_the_nearest(relay, lane, line):
    for unknown in (relay.model.replace("first", "frist"), "gpt-3.5-turbo"):
        error = line.refusal("x", model=unknown)
        assert error["code"] == "model_not_found"
        assert error["message"].partition("Nearest: ")[2], error
    assert lane.requests == []


def test_a_refused_question_leaves_no_conversation(relay, lane, open_line):
    key = mint(relay, "refused")
    line = open_line(key=key)
    line.refusal("x", model="no such model")
    line.refusal("")
    assert native(relay, "GET", "/api/conversations", key=key).json["total"] == 0


@pytest.mark.parametrize("key", [None, "wrong"])
def test_no_good_key(relay, lane, open_line, key):
    line = open_line(key=key)
    for id_ in ("q1", "q2"):
        assert line.refusal("x", id_)["code"] == "unauthenticated"
    assert lane.requests == []


def test_a_failure_upstream_before_the_first_word(relay, lane, line):
    lane.play(failed(lane))
    line.ask("x")
    error = line.until("error")
    assert error["code"].startswith("upstream")
    assert "upstream-key" not in str(line.heard)
    assert not any(event["type"] == "delta" for event in line.heard["q1"])
    line.turn("again", "q2")


def test_a_failure_upstream_in_the_middle_is_an_error_and_no_end(relay, lane, line):
    lane.play(broken(lane))
    line.ask("x")
    error = line.until("error")
    assert error["code"].startswith("upstream")
    assert line.text() == "so far"
    begin = line.heard["q1"][0]
    assert rows(read(relay, begin["conversation_id"]))[1] == ("assistant", "so far", "broken")
    line.turn("again", "q2", conversation_id=begin["conversation_id"])


def test_ten_megabytes(relay, lane, line):
    assert line.refusal("x" * 10_000_000)["code"] == "too_large"
    line.turn("still here")
