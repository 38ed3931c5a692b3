"""A3 to A5: `POST /chat` for clients that read every chunk without guards (sections 1.1, 1.4, 3)."""

import json

import a_client
import jwts
import pytest
import sse_js
from relays import SECRET_KEY

from upstream import chunk, close, dribble, head, pause, reset, send, stream, unary

WORDS = ["The ", "bridge ", '"over" ', "the\n", "river \\ ", "is 100% ", "closed: 你好 😀$."]
SENTENCE = "".join(WORDS)
EVENTS = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}


def asked(relay, lane, token, **more):
    return a_client.chat(relay, token, model=lane.model, **more).rest()


def check_refused(answer):
    assert (answer.status, answer.body) == (403, b""), answer
    assert answer.headers["access-control-allow-origin"] == "*"


def check_page(answer, text=SENTENCE):
    """The page shows the answer, saw [DONE] and then the end, and nothing threw."""
    page = sse_js.shown(answer, sse_js.ChatPage)
    assert page.thrown == [], answer
    assert page.answer == text
    assert page.done
    assert not page.failed
    assert answer.ended == "clean"
    return page


# --- A3: who may ---------------------------------------------------------------------------------


def test_A3_the_page_with_a_minted_token(relay):
    minted = relay.ask("GET", f"/token?id=7&hour=1&key={SECRET_KEY.replace(' ', '+')}").json["token"]
    check_page(a_client.chat(relay, minted).rest(), "Hello!")


@pytest.mark.parametrize("scheme", ["", "Bearer "])
def test_A3_the_secret_itself(relay, scheme):
    check_page(a_client.chat(relay, scheme + SECRET_KEY).rest(), "Hello!")


@pytest.mark.parametrize(
    "credential",
    [
        None,
        "",
        "undefined",
        jwts.token_of("1", SECRET_KEY, hours=-1),
        jwts.token_of("1", "other key"),
        SECRET_KEY + "x",
    ],
    ids=["none", "empty", "undefined", "expired", "other key", "longer"],
)
def test_A3_a_bad_credential_is_403_and_nothing_else(relay, credential):
    check_refused(a_client.chat(relay, credential).rest())


def test_A3_without_a_secret_configured_nobody_gets_in(open_relay):
    for credential in (None, "", jwts.token_of("1", "")):
        check_refused(a_client.chat(open_relay, credential).rest())


def test_A3_a_refusal_through_old_sse_js_is_one_error_event(relay):
    page = sse_js.shown(a_client.chat(relay, "nonsense").rest(), sse_js.ChatPage)
    assert page.seen == [("error", "")]


def test_A3_a_cookie_is_no_credential(relay, token):
    check_refused(relay.ask("POST", "/chat", a_client.chat_body(), Cookie=f"authorization={token}; token={token}"))


# --- A4: what old sse.js can read ------------------------------------------------------------------


def test_A4_deltas_join_to_the_answer(relay, lane, token):
    lane.play(stream(lane.speaker.events(WORDS)))
    answer = asked(relay, lane, token)
    assert answer.status == 200
    assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert answer.headers["x-accel-buffering"] == "no", "nginx without `proxy_buffering off` would hold the stream"
    check_page(answer)
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_A4_the_first_chunk_says_who_and_the_last_says_nothing(relay, lane, token):
    lane.play(stream(lane.speaker.events(WORDS)))
    chunks = [json.loads(data) for data in sse_js.shown(asked(relay, lane, token)).messages if data != "[DONE]"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"][0]["delta"] == {}
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}


def nasty(speaker):
    """Everything that a page cannot read, between what it can."""
    empty = speaker.event({"id": "x", "object": "chat.completion.chunk", "choices": [], "prompt_filter_results": []})
    no_delta = speaker.event({"id": "x", "choices": [{"index": 0, "finish_reason": None}]})
    null = speaker.chunk({"role": "assistant", "content": None})
    between = [b": OPENROUTER PROCESSING\n\n", b"retry: 1000\n\n", b"id: 7\n\n", empty, no_delta]
    texts = [piece for word in WORDS for piece in (*between, speaker.text(word))]
    return [b"\xef\xbb\xbf: first\n\n", null, *texts, speaker.finish(), speaker.usage_event(), b"data: [DONE]\n\n"]


def test_A4_comments_usage_and_filter_chunks_never_reach_the_page(relay, lane, token):
    lane.play(stream(nasty(lane.speaker)))
    check_page(asked(relay, lane, token))


def test_A4_crlf_becomes_lf(relay, lane, token):
    events = [event.replace(b"\n", b"\r\n") for event in lane.speaker.events(WORDS)]
    lane.play(stream(events))
    answer = asked(relay, lane, token)
    check_page(answer)
    assert b"\r" not in answer.body


@pytest.mark.parametrize("prepare", [lambda e: e, lambda e: e.replace(b"\n", b"\r\n")], ids=["LF", "CRLF"])
def test_A4_an_upstream_that_sends_byte_by_byte(relay, lane, token, prepare):
    body = prepare(b"".join(lane.speaker.events(WORDS)))
    framed = b"".join(chunk(body[at : at + 1]) for at in range(len(body)))
    lane.play([send(head(200, EVENTS)), dribble(framed), send(b"0\r\n\r\n")])
    answer = asked(relay, lane, token)
    check_page(answer)
    assert all(map(sse_js.whole_events, answer.reads)), "an event was cut between two reads"


def test_A4_a_data_field_without_a_space_and_multi_line_data(relay, lane, token):
    """JSON may stand on several data lines upstream; old sse.js joins them, so one line must go out."""
    spread = lane.speaker.text("spread").replace(b',"choices"', b'\ndata: ,"choices"')
    tight = lane.speaker.text(" tight").replace(b"data: ", b"data:")
    lane.play(stream([*lane.speaker.opening(), spread, tight, *lane.speaker.closing()]))
    answer = asked(relay, lane, token)
    check_page(answer, "spread tight")
    assert all(event.count(b"\n") == 0 for event in answer.body.split(b"\n\n"))


def test_A4_a_line_separator_inside_json(relay, lane, token):
    lane.play(stream(lane.speaker.events(["a\u2028b\u2029c\u0085d"])))
    check_page(asked(relay, lane, token), "a\u2028b\u2029c\u0085d")


def test_A4_a_beat_during_silence_does_not_wedge_the_page(brisk_relay):
    lane = brisk_relay.shared_lane()
    events = lane.speaker.events(WORDS)
    first, rest = events[:3], events[3:]
    framed = [b"".join(map(chunk, part)) for part in (first, rest)]
    quiet = pause(0.7)
    lane.play([send(head(200, EVENTS)), quiet, send(framed[0]), quiet, send(framed[1], b"0\r\n\r\n")])
    check_page(a_client.chat(brisk_relay, brisk_relay.owner(), model=lane.model).rest())


@pytest.mark.parametrize("end", [close, reset], ids=["FIN", "RST"])
def test_A4_an_error_in_mid_stream_reaches_the_error_listener(relay, fresh_lane, token, end):
    fresh_lane.play([send(head(200, EVENTS), b"".join(map(chunk, fresh_lane.speaker.events(WORDS)[:4]))), end])
    answer = asked(relay, fresh_lane, token)
    page = sse_js.shown(answer, sse_js.ChatPage)
    assert page.answer == "".join(WORDS[:3])
    assert page.failed
    assert not page.done
    assert page.thrown == []
    name, data = next(event for event in page.seen if event[0] == "error")
    assert json.loads(data), name
    assert b"[DONE]" not in answer.body


def test_A4_an_error_that_the_provider_announces_in_its_stream(relay, fresh_lane, token):
    broken = [*fresh_lane.speaker.events(WORDS)[:4], fresh_lane.speaker.stream_error("overloaded, try later")]
    fresh_lane.play(stream(broken))
    page = sse_js.shown(asked(relay, fresh_lane, token), sse_js.ChatPage)
    assert page.thrown == [], "an error that comes as a message throws in the page"
    assert page.failed
    assert not page.done


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_A4_an_upstream_error_before_the_stream_is_a_status(relay, fresh_lane, token, status):
    fresh_lane.always(unary(fresh_lane.speaker.refusal("no", code="x"), status=status))
    answer = asked(relay, fresh_lane, token)
    assert answer.status >= 400, answer
    assert answer.ended == "clean"
    assert answer.json["error"]["message"], "the page's console shows the body"
    page = sse_js.shown(answer, sse_js.ChatPage)
    assert [name for name, _ in page.seen] == ["error"]


# --- A5: whole answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [False, None], ids=["false", "null"])
def test_A5_without_streaming_the_answer_is_one_object(relay, lane, token, given):
    lane.play(unary(lane.speaker.whole(SENTENCE)))
    answer = asked(relay, lane, token, stream=given)
    assert answer.status == 200, answer
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    assert answer.json["object"] == "chat.completion"
    assert answer.json["choices"][0]["message"]["content"] == SENTENCE
