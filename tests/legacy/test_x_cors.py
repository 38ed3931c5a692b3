"""A7 and D1: a page of any origin may read every answer of every legacy route, whatever its status (section 7)."""

import json

import a_client
import cors
import pytest
from relays import AUTHORIZATION_KEY, SECRET_KEY

SOME_ID = "9b2c7c3e-5a0e-4d0b-9c5f-3f2f6a1d7e10"
QUESTION = {"messages": [{"role": "user", "content": "hi"}]}
OPTS = {"key": "nonsense", "content": "hi", "isFollow": False}
KEY_QUERY = SECRET_KEY.replace(" ", "+")
CONVS = {"Chat-Type": "conversations"}
LOGIN = "/api/v1/token/getInfo"
INFO = "/api/v1/gpt/getInfo"

# method, path, headers, body, status; `token` in the header authorization stands for a good one.
ANSWERS = {
    "token 200": ("GET", f"/token?id=1&hour=1&key={KEY_QUERY}", {}, b"", 200),
    "token 400": ("GET", "/token", {}, b"", 400),
    "token 403": ("GET", "/token?id=1&hour=1&key=no", {}, b"", 403),
    "token 405": ("DELETE", "/token", {}, b"", 405),
    "event 400": ("GET", "/event", {}, b"", 400),
    "event 405": ("DELETE", "/event", {}, b"", 405),
    "chat A stream": ("POST", "/chat", {"authorization": "token"}, a_client.chat_body(), 200),
    "chat A whole": ("POST", "/chat", {"authorization": "token"}, a_client.chat_body(stream=False), 200),
    "chat A 403": ("POST", "/chat", {}, a_client.chat_body(), 403),
    "chat A alias": ("POST", "/sse/chat", {"authorization": "token"}, a_client.chat_body(), 200),
    "chat A alias 403": ("POST", "/sse/chat", {}, a_client.chat_body(), 403),
    "chat D": ("POST", "/chat", {"authorization": AUTHORIZATION_KEY}, QUESTION, 200),
    "chat D refused": ("POST", "/chat", {"authorization": "no"}, QUESTION, 200),
    "chat D alias": ("POST", "/ndjson/chat", {"authorization": AUTHORIZATION_KEY}, QUESTION, 200),
    "chat 400": ("POST", "/chat", {}, b"{", 400),
    "chat 405": ("GET", "/chat", {}, b"", 405),
    "conv list": ("GET", "/conv", {"authorization": "token", **CONVS}, b"", 200),
    "conv 400": ("GET", "/conv", {"authorization": "token"}, b"", 400),
    "conv 403": ("GET", "/conv", CONVS, b"", 403),
    "conv 404": ("GET", "/conv", {"authorization": "token", "Chat-Type": f"conversation/{SOME_ID}"}, b"", 404),
    "conv 405": ("DELETE", "/conv", {"authorization": "token", **CONVS}, b"", 405),
    "conv stream": ("POST", "/conv", {"authorization": "token", "Chat-Type": "conversation"}, {"content": "hi"}, 200),
    "B 201": ("POST", INFO, {}, {"mode": "1", "type": "1", "opts": {**OPTS, "key": SECRET_KEY}}, 201),
    "B 400": ("POST", INFO, {}, {}, 400),
    "B 401": ("POST", INFO, {}, {"mode": "1", "type": "1", "opts": OPTS}, 401),
    "B malformed": ("POST", INFO, {}, b"{", 400),
    "B 405": ("GET", INFO, {}, b"", 405),
    "B login 400": ("GET", LOGIN, {}, b"", 400),
    "B login 500": ("GET", f"{LOGIN}?type=1&email=a&password=b", {}, b"", 500),
    "B 404": ("GET", "/api/v1/nothing", {}, b"", 404),
    "B page": ("GET", "/api", {}, b"", 200),
    "B document": ("GET", "/api-json", {}, b"", 200),
    "C 200": ("POST", "/ask/new", {"authorization": "token"}, {"prompt": "hi"}, 200),
    "C 401": ("POST", "/ask/new", {}, {"prompt": "hi"}, 401),
    "C 405": ("GET", "/ask/new", {}, b"", 405),
    "C 422": ("POST", "/ask/new", {"authorization": "token"}, {}, 422),
    "back end list": ("GET", "/backend-api/conversations", {"authorization": "bearer token"}, b"", 200),
    "back end 405": ("PUT", "/api/conversation", {"authorization": "bearer token"}, b"", 405),
}
PREFLIGHTS = {
    "/event": "GET",
    "/token": "GET",
    "/chat": "POST",
    "/sse/chat": "POST",
    "/ndjson/chat": "POST",
    "/conv": "POST",
    "/ask/new": "POST",
    f"/ask/{SOME_ID}": "POST",
    INFO: "POST",
    LOGIN: "GET",
    "/backend-api/conversation": "POST",
    f"/backend-api/conversation/{SOME_ID}": "PATCH",
    "/api/conversations": "GET",
}


@pytest.mark.parametrize("origin", ["null", "http://localhost:5173", None])
@pytest.mark.parametrize("name", ANSWERS)
def test_A7_D1_every_answer_may_be_read_by_a_page(relay, token, name, origin):
    method, path, headers, body, status = ANSWERS[name]
    shown = {"Origin": origin, **headers}
    if shown.get("authorization", "").endswith("token"):
        shown["authorization"] = shown["authorization"].replace("token", token)
    answer = relay.ask(method, path, body, **shown)
    assert answer.status == status, answer
    cors.check(answer, origin)
    if status == 405:
        assert {m.strip() for m in answer.headers["allow"].split(",")} & {"GET", "POST"}, answer


@pytest.mark.parametrize("origin", cors.ORIGINS)
@pytest.mark.parametrize("path", PREFLIGHTS)
def test_A7_the_preflight_of_every_route(relay, path, origin):
    cors.check_preflight(cors.preflight(relay, path, origin, PREFLIGHTS[path]), origin)


@pytest.mark.parametrize("wanted", ["authorization,chat-type,content-type", "X-Anything, x-other", None])
def test_A7_what_a_page_wants_to_send_it_may(relay, wanted):
    answer = cors.preflight(relay, "/conv", "http://localhost:5173", wanted=wanted)
    cors.check_preflight(answer, "http://localhost:5173", wanted)


@pytest.mark.parametrize("origin", [None, "null"])
def test_A7_a_preflight_needs_no_headers_of_its_own(relay, origin):
    answer = relay.ask("OPTIONS", "/chat", Origin=origin)
    assert (answer.status, answer.body) == (204, b""), answer
    cors.check(answer, origin)


def test_A7_a_preflight_needs_no_credential_and_gives_none_away(relay):
    answer = cors.preflight(relay, "/conv", "null")
    assert answer.status == 204
    assert "www-authenticate" not in answer.headers


def test_A7_a_conflict_may_be_read_by_a_page(relay, token):
    page = a_client.converse(relay, token, "hi")
    id_ = json.loads(page.text.split("data:")[1].split("\n\n")[0])["conversation_id"]
    slow = a_client.start(relay, token, "/slow one two", "", id_).until(b"one")
    body = {"content": "x", "parent_message_id": "", "conversation_id": id_}
    headers = {"authorization": token, "Chat-Type": "conversation", "Origin": "null"}
    answer = relay.ask("POST", "/conv", body, **headers)
    assert answer.status == 409
    cors.check(answer, "null")
    slow.rest()


def test_A7_a_body_too_large_may_be_said_to_a_page(brisk_relay):
    headers = {"authorization": SECRET_KEY, "Origin": "null"}
    answer = brisk_relay.ask("POST", "/chat", a_client.chat_body("a" * 2_000_000), **headers)
    assert answer.status == 413
    cors.check(answer, "null")


@pytest.mark.parametrize("path", ["/chat", "/conv", "/ask/new", INFO, "/backend-api/conversations"])
def test_A7_no_cookie_authenticates(relay, token, path):
    """Credentials are allowed across origins for one client's sake; a cookie must never be one."""
    cookie = f"token={token}; authorization={token}; key={SECRET_KEY}; session={relay.key}"
    method = "GET" if path.endswith("conversations") else "POST"
    answer = relay.ask(method, path, b"" if method == "GET" else {"stream": True}, Cookie=cookie, **CONVS)
    assert answer.status in (400, 401, 403), answer
