"""C1 to C4: `POST /ask/{conversation_id}`, with the README's curl and with clients written as the original's (5.1)."""

import http.client
import json
import re
import shutil
import subprocess

import pytest
from c_clients import (
    KEY,
    NOBODYS_ID,
    OTHER_KEY,
    UUID4,
    arrived,
    ask,
    asked,
    broken,
    call,
    failed,
    failure,
    held,
    in_background,
    mint,
    native,
    started_relay,
    told,
)

from upstream import Signal, close, head, reset, send, stream

ORIGIN = "http://localhost:5173"
# The README's, with its typographic quote.
CURL = """curl -X 'POST' \\
  'http://localhost:8000/ask/new' \\
  -H 'accept: application/json' \\
  -H 'Content-Type: application/json' \\
  -d '{
  "prompt": "你好",
  “parent_id": null
}'
"""


@pytest.fixture(scope="module")
def relay(upstream, tmp_path_factory):
    yield from started_relay(upstream, tmp_path_factory)


@pytest.fixture(scope="module")
def open_relay(upstream, tmp_path_factory):
    """No key is needed on `/ask`."""
    yield from started_relay(upstream, tmp_path_factory, auth={"anonymous": ["ask"]})


@pytest.fixture
def lane(relay):
    return relay.fresh().first


# --- C1: new, resumed, branched --------------------------------------------------------------------------


def test_C1_new_answers_with_the_three_keys_of_the_contract(relay, lane):
    reply = ask(relay, "hello")
    assert reply.status == 200, reply
    assert reply.headers["content-type"].partition(";")[0] == "application/json"
    assert list(reply.json)[:3] == ["message", "conversation_id", "parent_id"]
    assert reply.json["message"] == "first answer 1"
    assert re.fullmatch(UUID4, reply.json["conversation_id"])
    assert re.fullmatch(UUID4, reply.json["parent_id"])
    assert told(lane.requests[0]) == [("user", "hello")]


@pytest.mark.parametrize("names_parent", [True, False], ids=["with parent_id", "with null"])
def test_C1_a_conversation_is_resumed(relay, lane, names_parent):
    first = asked(relay, "one")
    second = asked(relay, "two", first["conversation_id"], first["parent_id"] if names_parent else None)
    assert second["conversation_id"] == first["conversation_id"]
    assert second["parent_id"] != first["parent_id"]
    assert told(lane.requests[1]) == [("user", "one"), ("assistant", "first answer 1"), ("user", "two")]


def test_C1_null_continues_at_the_current_message_of_several_turns(relay, lane):
    first = asked(relay, "one")
    for number in range(2, 5):
        asked(relay, f"turn {number}", first["conversation_id"])
    spoken = [text for _, text in told(lane.requests[3])]
    assert spoken == ["one", "first answer 1", "turn 2", "first answer 2", "turn 3", "first answer 3", "turn 4"]


def test_C1_an_earlier_parent_id_makes_a_branch(relay, lane):
    first = asked(relay, "one")
    asked(relay, "two", first["conversation_id"], first["parent_id"])
    asked(relay, "instead of two", first["conversation_id"], first["parent_id"])
    assert [text for _, text in told(lane.requests[2])] == ["one", "first answer 1", "instead of two"]


def test_C1_a_parent_given_with_new_is_ignored(relay, lane):
    first = asked(relay, "one")
    for parent in (first["parent_id"], NOBODYS_ID, "no id at all"):
        other = asked(relay, "two", "new", parent)
        assert other["conversation_id"] != first["conversation_id"]
        assert told(lane.requests[-1]) == [("user", "two")]


def test_C1_new_never_goes_on_with_what_was_asked_before(relay, lane):
    """The original kept one conversation for the whole process, whoever asked."""
    ids = {
        asked(relay, f"question {number}", key=key)["conversation_id"]
        for number, key in enumerate([KEY, KEY, OTHER_KEY])
    }
    assert len(ids) == 3
    assert [len(told(request)) for request in lane.requests] == [1, 1, 1]


def test_C1_only_the_exact_word_means_new(relay, lane):
    failure(ask(relay, "x", "NEW"))
    failure(ask(relay, "x", "new2"))
    assert lane.requests == []


@pytest.mark.parametrize(
    ("prompt", "arrives"),
    [
        ("one\n\n \t \ntwo\r\n\r\nthree\n", "one\ntwo\nthree"),
        ("costs $5 $$ now", "costs $5 $$ now"),
        ("quotes \" and \\ and '", "quotes \" and \\ and '"),
        ("100% %s %d", "100% %s %d"),
        ("早上好 😀 e\u0301", "早上好 😀 e\u0301"),
        ("  kept  ", "  kept  "),
        (5, "5"),
        (1.5, "1.5"),
    ],
    ids=["blank lines", "dollar", "quotes", "percent", "wide", "edges", "integer", "float"],
)
def test_C1_what_a_prompt_becomes(relay, lane, prompt, arrives):
    asked(relay, prompt)
    assert told(lane.requests[0]) == [("user", arrives)]


@pytest.mark.parametrize("kind", [None, "application/json; charset=utf-8", "application/vnd.ask+json"])
def test_C1_json_may_be_called_so_or_be_called_nothing(relay, lane, kind):
    connection = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=15)
    headers = {"Authorization": KEY} | ({"Content-Type": kind} if kind else {})
    connection.request("POST", "/ask/new", b'{"prompt": "hi"}', headers)
    assert "message" in json.loads(connection.getresponse().read())
    connection.close()


@pytest.mark.parametrize("texts", [[], ["one"], ["long " * 20_000]], ids=["empty", "short", "long"])
def test_C1_an_answer_of_any_size_is_whole(relay, lane, texts):
    lane.play(stream(lane.speaker.events(texts)))
    assert asked(relay, "x")["message"] == "".join(texts)


# --- C2 --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_C2_the_readmes_curl_works_as_it_is_written(open_relay):
    lane = open_relay.fresh().first
    command = CURL.replace("http://localhost:8000", f"http://127.0.0.1:{open_relay.port}")
    ran = subprocess.run(
        ["sh", "-c", command.replace("curl", "curl -sS", 1)], capture_output=True, timeout=20, check=True
    )
    answer = json.loads(ran.stdout)
    assert answer["message"] == "first answer 1"
    assert told(lane.requests[0]) == [("user", "你好")]


def test_C2_typographic_quotes_inside_a_good_body_are_kept(relay, lane):
    asked(relay, "say “hi”")
    assert told(lane.requests[0]) == [("user", "say “hi”")]


# --- C3: what is not valid, in pydantic 1's words ----------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "loc", "message", "kind"),
    [
        ({}, ["body", "prompt"], "field required", "value_error.missing"),
        ({"parent_id": None}, ["body", "prompt"], "field required", "value_error.missing"),
        ({"prompt": None}, ["body", "prompt"], "none is not an allowed value", "type_error.none.not_allowed"),
        ({"prompt": ["x"]}, ["body", "prompt"], "str type expected", "type_error.str"),
        ({"prompt": {"a": 1}}, ["body", "prompt"], "str type expected", "type_error.str"),
        ({"prompt": "x", "parent_id": {}}, ["body", "parent_id"], "str type expected", "type_error.str"),
        ([], ["body"], "value is not a valid dict", "type_error.dict"),
        ("text", ["body"], "value is not a valid dict", "type_error.dict"),
        (b"", ["body"], "field required", "value_error.missing"),
    ],
)
def test_C3_the_words_of_a_refusal(relay, lane, body, loc, message, kind):
    reply = call(relay.port, "POST", "/ask/new", body)
    assert reply.status == 422, reply
    assert reply.json == {"detail": [{"loc": loc, "msg": message, "type": kind}]}
    assert lane.requests == []


@pytest.mark.parametrize(
    "body", [b"{", b'{"prompt": }', b"\xff", b'{"prompt": "x"} y', b"[" * 100_000, b'{prompt: "x"}']
)
def test_C3_what_is_no_json(relay, lane, body):
    reply = call(relay.port, "POST", "/ask/new", body)
    assert reply.status == 422, reply
    [row] = reply.json["detail"]
    assert row["type"] == "value_error.jsondecode"
    assert row["loc"][0] == "body"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_C3_another_content_type_is_no_dict(relay, lane, kind):
    reply = call(relay.port, "POST", "/ask/new", b'{"prompt": "x"}', Content_Type=kind)
    assert reply.status == 422, reply
    assert reply.json == {"detail": [{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}]}


@pytest.mark.parametrize("prompt", ["", " \n\t\r\n "], ids=["empty", "blank"])
def test_C3_an_empty_prompt_is_refused_and_not_sent(relay, lane, prompt):
    reply = ask(relay, prompt)
    assert reply.status == 422, reply
    assert reply.json["detail"][0]["loc"] == ["body", "prompt"]
    assert lane.requests == []


# --- C4: failures ----------------------------------------------------------------------------------------


FAILURES = {
    "status 500": failed,
    "status 400": lambda lane: failed(lane, 400),
    "error in the stream": broken,
    "no end": lambda lane: [*stream(lane.speaker.opening(), end=False), close],
    "reset": lambda lane: [reset],
    "no HTTP": lambda lane: [send(b"nonsense\r\n\r\n"), close],
    "no JSON": lambda lane: [send(head(200, {"content-length": "5"}) + b"hello")],
}


@pytest.mark.parametrize("name", FAILURES)
def test_C4_a_failure_upstream_is_told_with_status_200(relay, lane, name):
    lane.play(FAILURES[name](lane))
    reply = ask(relay, "x")
    detail = failure(reply)
    assert "upstream-key" not in detail
    assert "Traceback" not in detail
    assert asked(relay, "again")["message"].startswith("first answer")


def test_C4_a_failed_turn_does_not_end_its_conversation(relay, lane):
    first = asked(relay, "one")
    lane.play(failed(lane))
    failure(ask(relay, "two", first["conversation_id"], first["parent_id"]))
    assert (
        asked(relay, "three", first["conversation_id"], first["parent_id"])["conversation_id"]
        == first["conversation_id"]
    )
    assert [text for _, text in told(lane.requests[2])] == ["one", "first answer 1", "three"]


@pytest.mark.parametrize(
    "conversation",
    [NOBODYS_ID, "111222333", "a.json", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%00", "%F0%9F%98%80", "a" * 2000],
)
def test_C4_a_conversation_that_is_not_there(relay, lane, conversation):
    failure(ask(relay, "x", conversation))
    assert lane.requests == []


@pytest.mark.parametrize("parent", [NOBODYS_ID, "444", "../x", "\0"])
def test_C4_a_parent_that_is_not_there(relay, lane, parent):
    first = asked(relay, "one")
    failure(ask(relay, "x", first["conversation_id"], parent))
    assert len(lane.requests) == 1


def test_C4_a_parent_of_another_conversation_is_not_there(relay, lane):
    first, other = asked(relay, "one"), asked(relay, "two")
    failure(ask(relay, "x", first["conversation_id"], other["parent_id"]))
    assert len(lane.requests) == 2


def test_C4_a_busy_conversation(relay, lane):
    first, signal = asked(relay, "one"), Signal()
    lane.play(held(lane, signal))
    slow = in_background(ask, relay, "two", first["conversation_id"])
    arrived(lane, 1)
    reply = ask(relay, "three", first["conversation_id"])
    signal.fire()
    assert reply.status == 409, reply
    assert reply.json["detail"]
    assert slow.result(15).json["message"] == "so far and on"
    asked(relay, "four", first["conversation_id"])
    assert [text for _, text in told(lane.requests[2])] == ["one", "first answer 1", "two", "so far and on", "four"]


def test_C4_who_leaves_ends_the_work_upstream(relay, lane):
    lane.play(held(lane, None))
    connection = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=15)
    connection.request(
        "POST", "/ask/new", b'{"prompt":"x"}', {"Content-Type": "application/json", "Authorization": KEY}
    )
    request = arrived(lane)
    connection.close()
    request.left.wait_here(5)


# --- credentials, paths, pages ---------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "", "wrong", "Bearer wrong", "Basic a2V5"])
def test_a_caller_without_a_good_key(relay, lane, key):
    reply = ask(relay, "x", key=key)
    assert reply.status == 401, reply
    assert list(reply.json) == ["detail"]
    assert isinstance(reply.json["detail"], str)
    assert lane.requests == []


@pytest.mark.parametrize("scheme", ["", "Bearer ", "bearer "])
def test_raw_keys_and_bearer_keys_and_tokens(relay, lane, scheme):
    asked(relay, "x", key=scheme + KEY)
    asked(relay, "x", key=scheme + mint(relay, "somebody"))


def test_the_open_door_opens_no_other(open_relay):
    open_relay.fresh()
    asked(open_relay, "x", key=None)
    assert call(open_relay.port, "POST", "/v1/chat/completions", {}, key=None).status == 401
    assert native(open_relay, "GET", "/api/conversations", key=None).status == 401


def test_paths_and_methods_that_are_not_there(relay):
    reply = call(relay.port, "GET", "/ask/new")
    assert (reply.status, reply.json) == (405, {"detail": "Method Not Allowed"})
    assert "POST" in reply.headers["allow"]
    for path in ("/ask", "/ask/", "/ask/new/more"):
        assert call(relay.port, "POST", path, {"prompt": "x"}).status == 404, path


def test_pages_of_any_origin_may_read_every_answer(relay, lane):
    lane.play(failed(lane))
    answers = [ask(relay, "x", Origin=ORIGIN), ask(relay, "", Origin=ORIGIN), ask(relay, "x", key=None, Origin=ORIGIN)]
    assert [answer.status for answer in answers] == [200, 422, 401]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == ORIGIN, answer
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "origin" in answer.headers["vary"].lower()
    asked(relay, "x")


def test_a_preflight_is_answered_as_everywhere(relay):
    wanted = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,content-type"}
    reply = call(relay.port, "OPTIONS", "/ask/new", key=None, Origin=ORIGIN, **wanted)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert reply.headers["access-control-allow-headers"].replace(" ", "") == "authorization,content-type"
    assert reply.headers["access-control-max-age"] == "600"


def test_the_documentation_has_the_operation_and_needs_no_network(relay):
    page = call(relay.port, "GET", "/docs", key=None)
    assert page.status == 200, page
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(rb"(src|href)=[\"'](https?:)?//", page.body)
    document = call(relay.port, "GET", "/openapi.json", key=None)
    assert document.status == 200
    operation = document.json["paths"]["/ask/{conversation_id}"]["post"]
    assert {"200", "401", "409", "422"} <= set(operation["responses"])


# --- odd content -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a\0b", "\u2028\u2029", "\ufeffx", "<|end|>$a$b", "😀" * 1000, "\x7f\x1b[0m"])
def test_odd_characters_go_there_and_back(relay, lane, text):
    lane.play(stream(lane.speaker.events([text])))
    reply = ask(relay, text + "x")
    if reply.status == 200:
        assert reply.json["message"] == text
        again = asked(relay, "next", reply.json["conversation_id"])
        assert told(lane.requests[1])[1] == ("assistant", text)
        assert again["conversation_id"] == reply.json["conversation_id"]
    else:
        assert reply.status == 422, reply


def test_half_a_character_is_refused_or_answered(relay, lane):
    reply = call(relay.port, "POST", "/ask/new", b'{"prompt": "\\ud83d"}')
    assert reply.status in (200, 422), reply
    asked(relay, "still here")


def test_ten_megabytes_are_refused_clearly(relay, lane):
    reply = ask(relay, "x" * 10_000_000)
    assert reply.status in (200, 413, 422), reply
    assert reply.json["detail"]
    assert lane.requests == []
    asked(relay, "still here")
