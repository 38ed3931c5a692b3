"""D1 to D6: `POST /chat` as NDJSON, for a client that parses each network read alone (section 6)."""

import json

import cors
import ndjson_loop
import pytest
from relays import AUTHORIZATION_KEY, SECRET_KEY

from upstream import Signal, chunk, close, dribble, head, hold, reset, send, stream, unary

WORDS = ["hi ", "i", " am", "\n。", '"quoted" \\ ', "100% $5 ", "😀🧑‍🚀", "\u2028", "€"]
SENTENCE = "".join(WORDS)
EVENTS = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
SMALL_BYTES = 4096


def chat(relay, lane, **more):
    return ndjson_loop.chat(relay, AUTHORIZATION_KEY, model=lane.model, **more).rest()


def check_lines(answer):
    """200, lines of compact JSON with their keys in order, a done line last, and the response's own end."""
    assert (answer.status, answer.ended) == (200, "clean"), answer
    lines = [line for line in answer.text.split("\n") if line.strip()]
    for line in lines:
        tree = json.loads(line)
        assert list(tree) == ["done", "error", "content"], line
        assert line == json.dumps(tree, ensure_ascii=False, separators=(",", ":")), line
    assert json.loads(lines[-1]) == ndjson_loop.DONE
    return ndjson_loop.heard(answer)


# --- D1: the README's loop ---------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", cors.ORIGINS)
def test_D1_the_loop_with_the_key(relay, origin):
    answer = ndjson_loop.chat(relay, AUTHORIZATION_KEY, origin=origin).rest()
    assert check_lines(answer).shown == ndjson_loop.QUESTION
    cors.check(answer, origin)


@pytest.mark.parametrize("origin", cors.ORIGINS)
def test_D1_the_loop_without_a_key_where_the_door_is_open(open_relay, origin):
    answer = ndjson_loop.chat(open_relay, origin=origin).rest()
    assert check_lines(answer).shown == ndjson_loop.QUESTION
    cors.check(answer, origin)


@pytest.mark.parametrize("path", ["/chat", "/ndjson/chat"])
@pytest.mark.parametrize("scheme", ["", "Bearer "])
def test_D1_raw_or_bearer(relay, scheme, path):
    answer = ndjson_loop.chat(relay, scheme + AUTHORIZATION_KEY, path=path).rest()
    assert check_lines(answer).shown == ndjson_loop.QUESTION


def test_D1_the_conversation_is_what_the_client_sends_again(relay, lane):
    console = ndjson_loop.Console()
    lane.always(lambda request: stream(lane.speaker.events(["answer ", str(len(lane.requests))])))
    for number in (1, 2):
        console.hear(chat(relay, lane, console=console, question=f"question {number}"))
        assert console.shown == f"answer {number}"
    assert [(m["role"], m["content"]) for m in lane.requests[1].json["messages"]] == [
        ("user", "question 1"),
        ("assistant", "answer 1"),
        ("user", "question 2"),
    ]


def test_D1_the_wire_of_the_specification(relay, lane):
    lane.play(stream(lane.speaker.events(["hi ", "i"])))
    answer = chat(relay, lane)
    assert (
        answer.text.rstrip("\n")
        == '{"done":false,"error":false,"content":"hi "}\n{"done":false,"error":false,"content":"i"}\n{"done":true,"error":false,"content":"[DONE]"}'
    )


def test_D1_an_empty_answer_is_the_done_line_alone(relay, lane):
    lane.play(stream([*lane.speaker.opening(), *lane.speaker.closing()]))
    assert check_lines(chat(relay, lane)).lines == [ndjson_loop.DONE]


def test_D1_the_upstream_is_asked_for_a_stream(relay, lane):
    lane.always(stream(lane.speaker.events(["x"])))
    for given in ({}, {"stream": True}, {"temperature": 9}):
        check_lines(ndjson_loop.chat(relay, AUTHORIZATION_KEY, path="/ndjson/chat", model=lane.model, **given).rest())
    assert {request.json["stream"] for request in lane.requests} == {True}


def test_D1_no_model_is_the_default_model(relay):
    body = {"messages": [{"role": "user", "content": "one"}]}
    for more in ({}, {"model": "gpt-3.5-turbo"}, {"model": "never heard of"}):
        answer = relay.ask("POST", "/chat", {**body, **more}, authorization=AUTHORIZATION_KEY)
        assert check_lines(answer).shown == "one"


# --- D2: refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/chat", "/ndjson/chat"])
@pytest.mark.parametrize(
    "wrong", [None, "", "wrong", "Bearer wrong", AUTHORIZATION_KEY + "x", AUTHORIZATION_KEY.upper()]
)
def test_D2_a_wrong_key_is_200_and_two_lines(relay, wrong, path):
    answer = ndjson_loop.chat(relay, wrong, path=path).rest()
    assert check_lines(answer).lines == ndjson_loop.REFUSED


def test_D2_a_key_that_is_empty_or_unset_is_no_open_door(brisk_relay):
    for credential in (None, "", "Bearer ", "undefined"):
        answer = ndjson_loop.chat(brisk_relay, credential).rest()
        assert check_lines(answer).lines == ndjson_loop.REFUSED


def test_D2_a_wrong_key_is_refused_although_none_would_be_let_in(open_relay):
    answer = ndjson_loop.chat(open_relay, "wrong").rest()
    assert check_lines(answer).lines == ndjson_loop.REFUSED


# --- D3: failures --------------------------------------------------------------------------------------------------


def check_failed(answer, said=""):
    """The error line, the done line and the end, within a second: the original hung."""
    console = check_lines(answer)
    *before, error, done = console.lines
    assert (error["error"], error["done"]) == (True, False), answer
    assert isinstance(error["content"], str)
    assert error["content"].strip(), "the page shows nothing"
    assert "".join(line["content"] for line in before) == said
    assert not any(line["error"] for line in before)
    assert console.shown == error["content"]
    assert answer.took_s < 1
    return error["content"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_D3_an_upstream_error_is_an_error_line_and_the_end(relay, fresh_lane, status):
    fresh_lane.always(unary(fresh_lane.speaker.refusal("what the provider says", code="x"), status=status))
    check_failed(chat(relay, fresh_lane))


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"error":{}}', b'{"error":"text"}', b"null"])
def test_D3_an_upstream_error_without_a_message_still_says_something(relay, fresh_lane, body):
    fresh_lane.always(unary(body, status=400))
    check_failed(chat(relay, fresh_lane))


@pytest.mark.parametrize("end", [close, reset], ids=["FIN", "RST"])
def test_D3_an_upstream_that_drops_in_mid_answer(relay, fresh_lane, end):
    fresh_lane.play([send(head(200, EVENTS), b"".join(map(chunk, fresh_lane.speaker.events(WORDS)[:4]))), end])
    check_failed(chat(relay, fresh_lane), "".join(WORDS[:3]))


@pytest.mark.parametrize("end", [close, reset], ids=["FIN", "RST"])
def test_D3_an_upstream_that_drops_before_its_answer(relay, fresh_lane, end):
    fresh_lane.always([end])
    check_failed(chat(relay, fresh_lane))


def test_D3_an_upstream_chunk_cut_in_mid_line(relay, fresh_lane):
    """It was a SyntaxError line and a hang."""
    event = fresh_lane.speaker.text("whole")
    pieces = [chunk(event[:9]), chunk(event[9:])]
    fresh_lane.play([send(head(200, EVENTS), *pieces, *map(chunk, fresh_lane.speaker.closing()), b"0\r\n\r\n")])
    assert check_lines(chat(relay, fresh_lane)).shown == "whole"


def test_D3_an_error_inside_the_stream(relay, fresh_lane):
    fresh_lane.play(stream([*fresh_lane.speaker.events(WORDS)[:2], fresh_lane.speaker.stream_error("overloaded")]))
    check_failed(chat(relay, fresh_lane), WORDS[0])


def test_D3_a_client_that_leaves_is_not_answered_upstream(relay, fresh_lane):
    fresh_lane.play([send(head(200, EVENTS), chunk(fresh_lane.speaker.text("half"))), hold()])
    answer = ndjson_loop.chat(relay, AUTHORIZATION_KEY, model=fresh_lane.model).until(b"half")
    answer.leave()
    fresh_lane.requests[0].left.wait_here()


# --- D4: each read parses alone ----------------------------------------------------------------------------------------


def test_D4_four_byte_characters_cut_anywhere_upstream(relay, lane):
    body = b"".join(lane.speaker.events(WORDS))
    framed = b"".join(chunk(body[at : at + 1]) for at in range(len(body)))
    lane.play([send(head(200, EVENTS)), dribble(framed), send(b"0\r\n\r\n")])
    assert check_lines(chat(relay, lane)).shown == SENTENCE


@pytest.mark.parametrize("character", ["a", "é", "你", "😀", '"', "\\", "\n", "\x01"])
def test_D4_a_long_delta_comes_in_small_lines(relay, lane, character):
    long = character * 10_000
    lane.play(stream(lane.speaker.events(["start ", long])))
    answer = chat(relay, lane)
    assert check_lines(answer).shown == "start " + long
    assert max(len(line) for line in answer.body.split(b"\n")) <= SMALL_BYTES


def test_D4_the_head_does_not_wait_for_the_provider(relay, lane):
    """Chromium takes the head out of a read of 4,096 bytes and gives the page what is left of it: a line that comes
    with the head is cut there. A head that is on its way before the provider answers was read before.
    """
    said = Signal()
    lane.play([hold(said), *stream(lane.speaker.events(["one"]))])
    answer = ndjson_loop.chat(relay, AUTHORIZATION_KEY, model=lane.model)
    answer.raw.settimeout(3)
    assert answer.head().status == 200
    assert answer.body == b""
    said.fire()
    assert check_lines(answer.rest()).shown == "one"


def test_D4_characters_of_several_code_points_may_be_parted_but_not_lost(relay, lane):
    long = "👩‍👩‍👧‍👦e\u0301" * 1_500
    lane.play(stream(lane.speaker.events([long])))
    assert check_lines(chat(relay, lane)).shown == long


def test_D4_a_lone_surrogate_cannot_kill_the_page(relay, lane):
    """JSON can name half a character; UTF-8 cannot carry it."""
    event = lane.speaker.text("half").replace(b"half", rb"\ud83d")
    lane.play(stream([*lane.speaker.opening(), event, *lane.speaker.closing()]))
    answer = chat(relay, lane)
    answer.body.decode()
    assert check_lines(answer).lines


def test_D4_a_beat_is_a_blank_line_or_nothing(brisk_relay, open_relay):
    answer = ndjson_loop.chat(brisk_relay, SECRET_KEY, path="/ndjson/chat", question="/slow one two three").rest()
    assert check_lines(answer).shown == "one two three"


# --- D5, D6 and the rest ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [150_000, 10_000_000])
def test_D5_a_long_history_is_fine(relay, lane, size):
    lane.play(stream(lane.speaker.events(["read it"])))
    answer = chat(relay, lane, question="好" * (size // 3))
    assert check_lines(answer).shown == "read it"
    assert len(lane.requests[0].json["messages"][0]["content"]) == size // 3


@pytest.mark.parametrize("accept", [None, "*/*"])
def test_D6_the_root_says_hello(relay, accept):
    answer = relay.ask("GET", "/", Accept=accept)
    assert (answer.status, answer.body) == (200, b"hello world!")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "question",
    ['"', "\\", "a\nb", "100%d", "$1", "", "\x00", "😀"],
    ids=["quote", "backslash", "line", "percent", "dollar", "empty", "null", "wide"],
)
def test_D1_any_question_reaches_the_model_as_it_was_asked(relay, lane, question):
    lane.play(stream(lane.speaker.events(["yes"])))
    assert check_lines(chat(relay, lane, question=question)).shown == "yes"
    assert lane.requests[0].json["messages"] == [{"role": "user", "content": question}]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"messages":null}', b'{"messages":[]}', b'{"messages":"x"}', b"[]", b"7"]
)
def test_D1_a_body_without_messages_ends_in_the_dialects_own_shape(relay, body):
    answer = relay.ask("POST", "/ndjson/chat", body, authorization=AUTHORIZATION_KEY)
    if answer.status == 400:
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.json
    else:
        check_lines(answer)


def test_D1_a_form_is_taken_too(relay):
    form = b"messages[0][role]=user&messages[0][content]=from+a+%22form%22"
    headers = {"authorization": AUTHORIZATION_KEY, "Content-Type": "application/x-www-form-urlencoded"}
    assert check_lines(relay.ask("POST", "/ndjson/chat", form, **headers)).shown == 'from a "form"'


def test_D2_no_secret_and_no_word_is_printed(relay):
    """The original printed both keys at its start and every delta as it came."""
    word = "unmistakable"
    assert word in ndjson_loop.chat(relay, AUTHORIZATION_KEY, question=word).rest().text
    ndjson_loop.chat(relay, "a-wrong-guess", question=word).rest()
    printed = relay.gateway.output()
    assert all(secret not in printed for secret in (SECRET_KEY, AUTHORIZATION_KEY, relay.key, "a-wrong-guess", word))
