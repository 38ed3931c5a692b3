"""A6: what `/conv` refuses and how, and that nobody sees another's conversations (sections 1.5, 1.8, 7)."""

import json

import a_client
import pytest
import sse_js
from relays import SECRET_KEY

from gateway import House
from upstream import Signal, chunk, close, head, hold, reset, send, unary

EVENTS = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
SOME_ID = "9b2c7c3e-5a0e-4d0b-9c5f-3f2f6a1d7e10"


def refused(answer, status):
    """Nothing but the status, readable for any page."""
    assert (answer.status, answer.body) == (status, b""), answer
    assert answer.ended == "clean"
    assert answer.headers["access-control-allow-origin"] == "*"


def turn(relay, token, content, *ids):
    page = sse_js.shown(a_client.converse(relay, token, content, *ids), sse_js.ConvPage)
    assert page.done
    return page


# --- Chat-Type ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "chat_type",
    [
        None,
        "",
        "anything",
        "conversations/",
        "conversations/x",
        "conversation/not-a-uuid",
        "conversation/../me",
        f"conversation/{SOME_ID}/",
        f"conversation/{SOME_ID}/../../x",
        "conversation/gen_title/x",
        f"conversation/gen_title/{SOME_ID}/x",
        "/conversation",
        "conversation?x=1",
        "anything/../conversation",
        "%63onversations",
        "accounts/check",
    ],
)
def test_A6_a_chat_type_outside_the_list_is_400(relay, token, method, chat_type):
    """It was an open proxy onto the operator's account."""
    body = b"" if method == "GET" else {"content": "x"}
    refused(relay.ask(method, "/conv", body, authorization=token, Chat_type=chat_type), 400)


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH"])
@pytest.mark.parametrize("chat_type", ["conversations", f"conversation/{SOME_ID}", "anything/../x"])
def test_A6_other_methods_change_nothing(relay, token, method, chat_type):
    turn(relay, token, "keep me")
    answer = relay.ask(method, "/conv", b"{}", authorization=token, Chat_type=chat_type)
    assert answer.status in (400, 405), answer
    if answer.status == 405:
        assert {"GET", "POST"} <= {m.strip() for m in answer.headers["allow"].split(",")}
    assert a_client.conversations(relay, token).json["total"] == 1


@pytest.mark.parametrize("name", ["Chat-Type", "Chat-type", "chat-type", "CHAT-TYPE"])
def test_A6_the_header_is_written_in_any_case(relay, token, name):
    answer = relay.ask("GET", "/conv", authorization=token, **{name: "conversations"})
    assert answer.status == 200


def test_A6_gen_title_makes_a_title(relay, token):
    page = turn(relay, token, "How do bridges stand?")
    body = {"message_id": page.parent_message_id, "model": "text-davinci-002-render-sha"}
    headers = {"authorization": token, "Chat_type": f"conversation/gen_title/{page.conversation_id}"}
    answer = relay.ask("POST", "/conv", body, **headers)
    assert answer.status == 200, answer
    assert answer.json["title"]
    assert a_client.conversation(relay, token, page.conversation_id).json["title"] == answer.json["title"]


# --- credentials and owners ----------------------------------------------------------------------------------


@pytest.mark.parametrize("credential", [None, "", "nonsense", "undefined"])
@pytest.mark.parametrize("chat_type", ["conversations", "conversation", "", "anything"])
def test_A6_without_a_credential_nothing_is_told(relay, credential, chat_type):
    answer = relay.ask("GET", "/conv", authorization=credential, Chat_type=chat_type)
    refused(answer, 403)
    refused(relay.ask("POST", "/conv", {"content": "x"}, authorization=credential, Chat_type=chat_type), 403)


def test_A6_lists_belong_to_the_tokens_id(relay):
    mine, yours = relay.owner(), relay.owner()
    page = turn(relay, mine, "my secret plan")
    assert page.conversation_id not in a_client.conversations(relay, yours, "limit=100").text
    assert "secret" not in a_client.conversations(relay, yours, "limit=100").text
    refused(a_client.conversation(relay, yours, page.conversation_id), 404)


def test_A6_two_tokens_of_one_id_see_the_same(relay):
    def minted():
        key = SECRET_KEY.replace(" ", "+")
        return relay.ask("GET", f"/token?id=same&hour=1&key={key}").json["token"]

    page = turn(relay, minted(), "shared")
    assert a_client.conversation(relay, minted(), page.conversation_id).status == 200


def test_A6_the_master_key_has_conversations_of_its_own(relay):
    page = turn(relay, SECRET_KEY, "the operator's")
    refused(a_client.conversation(relay, relay.owner(), page.conversation_id), 404)
    assert a_client.conversation(relay, SECRET_KEY, page.conversation_id).status == 200


def test_A6_nobody_goes_on_with_anothers_conversation(told, model_lane):
    mine, yours = told.owner(), told.owner()
    page = turn(told, mine, "my secret plan")
    model_lane.requests.clear()
    for ids in [
        (page.parent_message_id, page.conversation_id),
        ("", page.conversation_id),
    ]:
        refused(a_client.converse(told, yours, "what did I say?", *ids), 404)
    a_client.converse(told, yours, "what did I say?", page.parent_message_id, "")
    assert all(b"secret" not in request.body for request in model_lane.requests)


def test_A6_new_conversations_of_two_owners_share_nothing(told, model_lane):
    for token in (told.owner(), told.owner(), told.owner()):
        turn(told, token, "hello")
    assert [len(request.json["messages"]) for request in model_lane.requests] == [1, 1, 1]


# --- what does not exist, and bodies ---------------------------------------------------------------------------


def test_A6_an_unknown_conversation_is_404(relay, token):
    refused(a_client.conversation(relay, token, SOME_ID), 404)
    refused(a_client.converse(relay, token, "x", "", SOME_ID), 404)


def test_A6_an_unknown_parent_in_a_known_conversation_is_404(relay, token):
    page = turn(relay, token, "x")
    refused(a_client.converse(relay, token, "y", SOME_ID, page.conversation_id), 404)


@pytest.mark.parametrize("id_", ["7", "../../etc/passwd", "a'b\"", "x" * 10_000, "\x00", "%2e%2e", "你好"])
def test_A6_ids_that_are_no_uuids_are_not_found(relay, token, id_):
    answer = a_client.converse(relay, token, "x", id_, id_)
    assert answer.status in (400, 404), answer
    assert answer.body == b""


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff", b'{"content": 7}', b'{"content": ["x"]}'])
def test_A6_a_body_that_says_nothing_is_refused(relay, token, body):
    answer = relay.ask("POST", "/conv", body, authorization=token, Chat_type="conversation")
    assert answer.status == 400, answer
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("content", ["", " ", "\n\n"])
def test_A6_an_empty_prompt_is_answered_or_refused_but_never_a_failure(relay, token, content):
    answer = a_client.converse(relay, token, content)
    assert answer.status in (200, 400), answer
    if answer.status == 200:
        assert sse_js.shown(answer, sse_js.ConvPage).thrown == []
    else:
        assert answer.body == b""


def test_A6_a_prompt_of_10_mb_is_refused_and_the_conversation_lives(relay, token):
    page = turn(relay, token, "hello")
    answer = a_client.converse(relay, token, "a" * 10_000_000, page.parent_message_id, page.conversation_id)
    refused(answer, 413)
    assert turn(relay, token, "and on", page.parent_message_id, page.conversation_id).answer == "and on"


# --- one at a time ---------------------------------------------------------------------------------------------


def test_A6_two_at_once_in_one_conversation_is_409(relay, token):
    page = turn(relay, token, "hello")
    ids = (page.parent_message_id, page.conversation_id)
    slow = a_client.start(relay, token, "/slow one two three", *ids).until(b"one")
    refused(a_client.converse(relay, token, "me too", *ids), 409)
    assert sse_js.shown(slow.rest(), sse_js.ConvPage).done
    assert turn(relay, token, "now", page.parent_message_id, page.conversation_id).answer == "now"


def test_A6_others_are_not_held_up_by_a_turn_of_mine(relay, token):
    """The original had one lock for the whole process."""
    slow = a_client.start(relay, token, "/slow one two three").until(b"one")
    assert turn(relay, token, "a new one of mine").answer == "a new one of mine"
    assert turn(relay, relay.owner(), "somebody else's").answer == "somebody else's"
    assert slow.ended == "open"
    slow.rest()


def test_A6_a_page_that_leaves_frees_its_conversation(told, model_lane):
    token = told.owner()
    page = turn(told, token, "hello")
    ids = (page.parent_message_id, page.conversation_id)
    model_lane.play([send(head(200, EVENTS), chunk(model_lane.speaker.text("half an answer"))), hold()])
    leaving = a_client.start(told, token, "go on", *ids).until(b"half an answer")
    leaving.leave()
    model_lane.requests[-1].left.wait_here()
    while (answer := a_client.converse(told, token, "again", *ids)).status == 409:
        pass
    assert sse_js.shown(answer, sse_js.ConvPage).done


# --- failures ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failing(upstream, start_relay):
    """A relay whose only provider fails, with the status that its lane is told."""
    lane = upstream.lane("failing", "openai")
    server = {"default_model": "failing/m"}
    providers = [House.provider(lane)]
    running = start_relay({"SECRET_KEY": SECRET_KEY}, slots=0, providers=providers, server=server)
    running.model_lane = lane
    return running


@pytest.mark.parametrize("status", [500, 401, 429])
def test_A6_a_provider_that_fails_before_its_answer_is_a_status(failing, status):
    lane = failing.model_lane
    lane.always(unary(lane.speaker.refusal("no"), status=status))
    answer = a_client.converse(failing, failing.owner(), "hello")
    assert answer.status in (429, 502, 503), answer
    assert (answer.ended, answer.headers["access-control-allow-origin"]) == ("clean", "*")
    page = sse_js.shown(answer, sse_js.ConvPage)
    assert [name for name, _ in page.seen] == ["error"]
    assert page.thrown == []


@pytest.mark.parametrize("end", [close, reset], ids=["FIN", "RST"])
def test_A6_an_error_in_mid_stream_is_an_error_event_without_done(told, model_lane, end):
    token = told.owner()
    gone = Signal()
    part = chunk(model_lane.speaker.text("half "))
    model_lane.play([send(head(200, EVENTS), part), hold(gone), end])
    answer = a_client.start(told, token, "go on").until(b"half ")
    gone.fire()
    page = sse_js.shown(answer.rest(), sse_js.ConvPage)
    assert page.answer == "half "
    assert page.failed
    assert not page.done
    assert page.thrown == []
    data = next(data for name, data in page.seen if name == "error" and data)
    assert json.loads(data)
    turned = a_client.conversation(told, token, page.conversation_id)
    assert turned.status == 200, "what was said so far is kept"
    assert turn(told, token, "again", page.parent_message_id, page.conversation_id).done
