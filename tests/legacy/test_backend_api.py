"""The ChatGPT web dialect as a server, at `/backend-api/…` and `/api/conversation(s)` (section 2)."""

import re
import uuid

import a_client
import pytest
from backend_client import MODEL, bearer, events, messages, post_body, user_message
from relays import SECRET_KEY

from upstream import chunk, close, head, send

PREFIXES = ["/backend-api", "/api"]
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
EVENTS = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
SOME_ID = "9b2c7c3e-5a0e-4d0b-9c5f-3f2f6a1d7e10"


@pytest.fixture(params=PREFIXES)
def at(request):
    return request.param


def call(relay, token, method, path, body=b"", **headers):
    return relay.ask(method, path, body, **bearer(token), **headers)


def post(relay, token, at, text, conversation_id=None, parent=None, **more):
    body = post_body(text, conversation_id, parent, **more)
    return call(relay, token, "POST", f"{at}/conversation", body, Accept="text/event-stream")


def last(answer):
    return messages(answer)[-1]


def listed(relay, token, at="/api", query=""):
    answer = call(relay, token, "GET", f"{at}/conversations{query}")
    assert answer.status == 200, answer
    return answer.json


def detail(relay, token, at, id_):
    answer = call(relay, token, "GET", f"{at}/conversation/{id_}")
    assert answer.status == 200, answer
    return answer.json


def said(request):
    return [message["content"] for message in request.json["messages"]]


# --- the stream -------------------------------------------------------------------------------------------


def test_events_are_cumulative_and_have_both_generations_of_keys(relay, token, at):
    answer = post(relay, token, at, 'one "two" three\n')
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    found = messages(answer)
    mine = [event for event in found if event["message"]["author"]["role"] == "assistant"]
    texts = [event["message"]["content"]["parts"][0] for event in mine]
    assert texts[-1] == 'one "two" three\n'
    assert all(late.startswith(early) for early, late in zip(texts, texts[1:], strict=False))
    for event in mine:
        message = event["message"]
        assert {"message", "conversation_id", "error"} <= event.keys()
        assert (event["error"], message["recipient"], message["weight"]) == (None, "all", 1.0)
        assert message["author"] == {"role": "assistant", "name": None, "metadata": {}}
        assert message["role"] == "assistant"
        assert message["content"]["content_type"] == "text"
        assert message["metadata"]["message_type"] == "next"
        assert UUID4.fullmatch(message["id"])
    assert len({event["message"]["id"] for event in mine}) == 1
    assert {event["message"]["status"] for event in mine[:-1]} <= {"in_progress"}
    final = mine[-1]["message"]
    assert (final["status"], final["end_turn"]) == ("finished_successfully", True)
    assert final["metadata"]["finish_details"]["type"] == "stop"


@pytest.mark.parametrize("absent", ["omitted", "null"])
def test_no_conversation_is_a_new_one(relay, token, at, absent):
    more = {} if absent == "omitted" else {"conversation_id": None}
    first, second = (last(post(relay, token, at, "x", **more))["conversation_id"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("author", [{"role": "user"}, {"author": {"role": "user"}}], ids=["role", "author"])
def test_the_question_of_either_generation(relay, token, at, author):
    body = {**post_body("x"), "messages": [user_message("from me", **author)]}
    answer = call(relay, token, "POST", f"{at}/conversation", body)
    assert last(answer)["message"]["content"]["parts"] == ["from me"]


def test_the_next_turn_carries_the_first(told, model_lane, at):
    token = told.owner()
    first = last(post(told, token, at, "first"))
    second = last(post(told, token, at, "second", first["conversation_id"], first["message"]["id"]))
    assert second["conversation_id"] == first["conversation_id"]
    assert said(model_lane.requests[1]) == ["first", "answer 1", "second"]


def test_a_variant_answers_the_question_once_more(told, model_lane, at):
    token = told.owner()
    first = last(post(told, token, at, "first"))
    tree = detail(told, token, at, first["conversation_id"])
    question = tree["mapping"][tree["current_node"]]["parent"]
    asked = tree["mapping"][question]["message"]
    root = tree["mapping"][question]["parent"]
    body = post_body("first", first["conversation_id"], root)
    again = {**body, "action": "variant", "messages": [user_message("first", asked["id"])]}
    second = last(call(told, token, "POST", f"{at}/conversation", again))
    assert second["message"]["content"]["parts"] == ["answer 2"]
    assert said(model_lane.requests[1]) == ["first"]
    children = detail(told, token, at, first["conversation_id"])["mapping"][question]["children"]
    assert {first["message"]["id"], second["message"]["id"]} == set(children)


def test_the_question_keeps_the_id_that_the_client_chose(relay, token, at):
    chosen = str(uuid.uuid4())
    body = {**post_body("x"), "messages": [user_message("x", chosen)]}
    final = last(call(relay, token, "POST", f"{at}/conversation", body))
    mapping = detail(relay, token, at, final["conversation_id"])["mapping"]
    assert mapping[final["message"]["id"]]["parent"] == chosen


def test_an_answer_that_breaks_has_no_done(told, model_lane, at):
    model_lane.play([send(head(200, EVENTS), chunk(model_lane.speaker.text("half "))), close])
    answer = post(told, told.owner(), at, "x")
    assert b"half" in answer.body
    assert b"[DONE]" not in answer.body


# --- lists and details -----------------------------------------------------------------------------------------


def test_the_list(relay, token, at):
    empty = {"items": [], "total": 0, "limit": 20, "offset": 0, "has_missing_conversations": False}
    assert empty.items() <= listed(relay, token, at).items()
    ids = [last(post(relay, token, at, f"question {n}"))["conversation_id"] for n in range(3)][::-1]
    tree = listed(relay, token, at, "?offset=1&limit=1&order=updated")
    assert (tree["total"], tree["limit"], tree["offset"]) == (3, 1, 1)
    [item] = tree["items"]
    assert item["id"] == ids[1]
    assert item["title"]
    assert ISO.fullmatch(item["create_time"])
    assert ISO.fullmatch(item["update_time"])


def test_the_detail_is_a_tree_with_an_empty_root(relay, token, at):
    first = last(post(relay, token, at, "first"))
    id_ = first["conversation_id"]
    second = last(post(relay, token, at, "second", id_, first["message"]["id"]))
    tree = detail(relay, token, at, id_)
    assert {"title", "create_time", "update_time", "mapping", "moderation_results", "current_node"} <= tree.keys()
    assert isinstance(tree["create_time"], float)
    assert isinstance(tree["update_time"], float)
    assert tree["moderation_results"] == []
    assert tree["current_node"] == second["message"]["id"]
    mapping = tree["mapping"]
    [root] = [node for node in mapping.values() if node.get("parent") is None]
    assert root.get("message") is None
    roles, texts, node = [], [], mapping[tree["current_node"]]
    while node.get("parent"):
        message = node["message"]
        roles.append(message["author"]["role"])
        texts.append("".join(message["content"]["parts"]))
        assert node["id"] in mapping[node["parent"]]["children"]
        node = mapping[node["parent"]]
    assert [role for role in roles if role != "system"] == ["assistant", "user", "assistant", "user"]
    assert [text for text in texts if text] == ["second", "second", "first", "first"]


def test_titles_are_changed_and_made(relay, token, at):
    final = last(post(relay, token, at, "How do bridges stand?"))
    path = f"{at}/conversation/{final['conversation_id']}"
    title = 'A "new" title: 100% \\ $5 你好'
    changed = call(relay, token, "PATCH", path, {"title": title})
    assert (changed.status, changed.json) == (200, {"success": True})
    assert listed(relay, token, at)["items"][0]["title"] == title
    body = {"message_id": final["message"]["id"], "model": MODEL}
    made = call(relay, token, "POST", f"{at}/conversation/gen_title/{final['conversation_id']}", body)
    assert made.status == 200, made
    assert made.json["title"]
    assert listed(relay, token, at)["items"][0]["title"] == made.json["title"]


def test_hiding_one_and_all(relay, token, at):
    ids = [last(post(relay, token, at, str(n)))["conversation_id"] for n in range(3)]
    hidden = call(relay, token, "PATCH", f"{at}/conversation/{ids[0]}", {"is_visible": False})
    assert (hidden.status, hidden.json) == (200, {"success": True})
    assert {item["id"] for item in listed(relay, token, at)["items"]} == set(ids[1:])
    hidden = call(relay, token, "PATCH", f"{at}/conversations", {"is_visible": False})
    assert (hidden.status, hidden.json) == (200, {"success": True})
    assert listed(relay, token, at)["total"] == 0


def test_the_same_conversations_stand_behind_conv(relay, token, at):
    final = last(post(relay, token, at, "from the back end"))
    [item] = a_client.conversations(relay, token).json["items"]
    assert item["id"] == final["conversation_id"]
    assert a_client.conversation(relay, token, item["id"]).json["current_node"] == final["message"]["id"]


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credential", [None, "Bearer nonsense", "Bearer ", "Basic abc"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "conversations"),
        ("GET", f"conversation/{SOME_ID}"),
        ("POST", "conversation"),
        ("PATCH", "conversations"),
    ],
)
def test_without_a_credential_nothing_is_told(relay, at, method, path, credential):
    body = b"" if method == "GET" else post_body("x")
    answer = relay.ask(method, f"{at}/{path}", body, Authorization=credential)
    assert answer.status in (401, 403), answer
    assert answer.json


def test_owners_see_only_their_own(relay, at):
    mine, yours = relay.owner(), relay.owner()
    id_ = last(post(relay, mine, at, "my secret plan"))["conversation_id"]
    path = f"{at}/conversation/{id_}"
    refused = [
        call(relay, yours, "GET", path),
        call(relay, yours, "PATCH", path, {"title": "x"}),
        call(relay, yours, "PATCH", path, {"is_visible": False}),
        call(relay, yours, "POST", f"{at}/conversation/gen_title/{id_}", {"message_id": SOME_ID, "model": MODEL}),
        post(relay, yours, at, "what did I say?", id_),
    ]
    assert [answer.status for answer in refused] == [404] * 5
    assert all("secret" not in answer.text for answer in refused)
    call(relay, yours, "PATCH", f"{at}/conversations", {"is_visible": False})
    assert detail(relay, mine, at, id_)["title"]


@pytest.mark.parametrize("id_", [SOME_ID, "7", "..%2F..%2Fx", "a" * 3_000, "%00"])
def test_what_is_not_there_is_404(relay, token, at, id_):
    answer = call(relay, token, "GET", f"{at}/conversation/{id_}")
    assert answer.status == 404, answer
    assert answer.json["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"",
        {},
        {"action": "next", "messages": []},
        {"action": "next", "messages": [7]},
        {"action": "fly", "messages": [user_message("x")], "parent_message_id": SOME_ID},
        {"action": "next", "messages": [user_message(7)], "parent_message_id": SOME_ID},
        {"action": "next", "messages": [user_message("x")], "conversation_id": 7},
    ],
    ids=["cut", "list", "nothing", "empty", "no messages", "number", "action", "part", "id"],
)
def test_a_body_that_says_nothing_is_refused(relay, token, at, body):
    answer = call(relay, token, "POST", f"{at}/conversation", body)
    assert answer.status in (400, 422), answer
    assert answer.json["detail"]


def test_a_second_turn_at_once_is_refused(relay, token, at):
    first = last(post(relay, token, at, "x"))
    body = post_body("/slow one two three", first["conversation_id"], first["message"]["id"])
    slow = relay.begin("POST", f"{at}/conversation", body, **bearer(token)).until(b"one")
    answer = post(relay, token, at, "me too", first["conversation_id"], first["message"]["id"])
    assert answer.status in (409, 429), answer
    assert answer.json["detail"]
    assert events(slow.rest())[-1][1] == "[DONE]"


def test_a_prompt_of_10_mb_is_refused(relay, token, at):
    answer = post(relay, token, at, "a" * 10_000_000)
    assert answer.status == 413, answer
    assert answer.json["detail"]


def test_the_master_key_will_do(relay, at):
    assert last(post(relay, SECRET_KEY, at, "hi"))["message"]["content"]["parts"] == ["hi"]
