"""B1 to B5 and B8: `POST /api/v1/gpt/getInfo` (sections 4.1, 4.2, 4.4)."""

import time

import b_client
import jwts
import pytest
from b_client import FAILED, INFO, UUID
from relays import SECRET_KEY

from upstream import Signal, close, hold, mark, stream, unary

MODES = ["1", "2"]
NEEDED = "有效值为1或2,模式mode必填,有效值为1,类型type必填,gpt请求参数opts必填"
GOOD = {"key": "k", "content": "c", "isFollow": False}


def said(request):
    return [(m["role"], m["content"]) for m in request.json["messages"]]


# --- B1 -------------------------------------------------------------------------------------------------


def test_B1_mode_1_answers_201_with_its_keys_in_order(relay, token):
    before = time.time() * 1000 - 1000
    answer = b_client.ask(relay, token, "Hello, 你好!")
    found = b_client.data(answer)
    assert list(found) == ["role", "id", "parentMessageId", "text", "detail"]
    assert (found["role"], found["text"]) == ("assistant", "Hello, 你好!")
    assert found["id"]
    assert UUID.fullmatch(found["parentMessageId"])
    assert found["id"] != found["parentMessageId"]
    assert found["detail"]["object"] == "chat.completion"
    assert found["detail"]["choices"][0]["message"]["content"] == found["text"]
    assert before <= answer.json["timestamp"] <= time.time() * 1000


def test_B1_mode_2_answers_201_with_its_keys_in_order(relay, token):
    found = b_client.data(b_client.ask(relay, token, "Hello!", mode="2"))
    assert list(found) == ["role", "id", "parentMessageId", "conversationId", "text"]
    assert (found["role"], found["text"]) == ("assistant", "Hello!")
    ids = [found["id"], found["parentMessageId"], found["conversationId"]]
    assert all(UUID.fullmatch(id_) for id_ in ids)
    assert len(set(ids)) == 3


@pytest.mark.parametrize("mode", MODES)
def test_B1_ids_are_unique_although_models_repeat_theirs(told, model_lane, mode):
    """The scripted upstream calls every completion chatcmpl-7, as local models do."""
    token = told.owner()
    ids = [b_client.data(b_client.ask(told, token, "x", mode))["id"] for _ in range(3)]
    assert len(set(ids)) == 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "content",
    ['"', "\\", "a\nb\r\n", "100%d", "$1 ${x}", "😀", "\x00"],
    ids=["quote", "backslash", "line", "percent", "dollar", "wide", "null"],
)
def test_B1_any_content_reaches_the_model_as_it_was_said(told, model_lane, mode, content):
    assert b_client.data(b_client.ask(told, told.owner(), content, mode))["text"] == "answer 1"
    assert said(model_lane.requests[0])[-1] == ("user", content)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("content", [" ", "\n"])
def test_B1_a_blank_prompt_is_answered_or_refused_in_the_envelope(relay, token, mode, content):
    answer = b_client.ask(relay, token, content, mode)
    assert answer.status in (201, 400), answer
    if answer.status == 400:
        assert b_client.refusal(answer, 400)


@pytest.mark.parametrize("mode", MODES)
def test_B1_unknown_fields_are_ignored(relay, token, mode):
    tree = b_client.body(token, "hi", mode, colour="red", stream=True)
    assert b_client.data(relay.ask("POST", INFO, {**tree, "more": [1]}))["text"] == "hi"


def test_B1_a_form_with_brackets_is_taken_too(relay, token):
    form = f"mode=1&type=1&opts[key]={token}&opts[content]=from+a%20form&opts[isFollow]=".encode()
    answer = relay.ask(
        "POST", INFO, form + b"yes&opts[parentMessageId]=", Content_Type="application/x-www-form-urlencoded"
    )
    assert b_client.refusal(answer, 400) == "opts.当isFollow为true时，parentMessageId必填"
    tree = form.replace(b"&opts[isFollow]=", b"&opts[isFollow]=false&opts[parentMessageId]=x")
    answer = relay.ask("POST", INFO, tree, Content_Type="application/x-www-form-urlencoded")
    assert answer.status in (201, 500, 404), answer


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("key", ["master", "static", "minted"])
def test_B1_every_key_of_the_gateway_will_do(relay, mode, key):
    shown = {"master": SECRET_KEY, "static": relay.key, "minted": relay.owner()}[key]
    assert b_client.data(b_client.ask(relay, shown, "hi", mode))["text"] == "hi"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "key",
    ["nonsense", "sk-0123456789", jwts.token_of("x", SECRET_KEY, -1), jwts.token_of("x", "?")],
    ids=["nonsense", "provider's", "expired", "foreign"],
)
def test_B1_a_key_that_is_none_of_ours_is_401(relay, mode, key):
    answer = b_client.ask(relay, key, "hi", mode)
    message = b_client.refusal(answer, 401)
    assert message
    assert key not in answer.text


# --- B2 -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modes", [("1", "1"), ("2", "2"), ("1", "2"), ("2", "1")], ids="-".join)
def test_B2_the_parent_alone_carries_the_context(told, model_lane, modes):
    """It never did: mode 1 forgot silently, mode 2 failed always."""
    token = told.owner()
    first = b_client.data(b_client.ask(told, token, "my name is Ada", modes[0]))
    second = b_client.data(b_client.ask(told, token, "what is my name?", modes[1], parent=first["id"]))
    b_client.data(b_client.ask(told, token, "and again?", modes[0], parent=second["id"]))
    turns = [(role, text) for role, text in said(model_lane.requests[2]) if role != "system"]
    assert turns == [
        ("user", "my name is Ada"),
        ("assistant", "answer 1"),
        ("user", "what is my name?"),
        ("assistant", "answer 2"),
        ("user", "and again?"),
    ]
    if modes == ("2", "2"):
        assert first["conversationId"] == second["conversationId"]


@pytest.mark.parametrize("mode", MODES)
def test_B2_two_follow_ups_of_one_answer_are_two_branches(told, model_lane, mode):
    token = told.owner()
    first = b_client.data(b_client.ask(told, token, "one", mode))
    for content in ("left", "right"):
        b_client.data(b_client.ask(told, token, content, mode, parent=first["id"]))
    assert [text for role, text in said(model_lane.requests[2]) if role != "system"] == ["one", "answer 1", "right"]


@pytest.mark.parametrize("mode", MODES)
def test_B2_without_a_parent_each_question_stands_alone(told, model_lane, mode):
    token = told.owner()
    for content in ("one", "two"):
        b_client.data(b_client.ask(told, token, content, mode))
    assert [text for role, text in said(model_lane.requests[1]) if role != "system"] == ["two"]


@pytest.mark.parametrize("mode", MODES)
def test_B2_a_parent_of_somebody_else_tells_nothing(told, model_lane, mode):
    first = b_client.data(b_client.ask(told, told.owner(), "my secret plan", mode))
    model_lane.requests.clear()
    answer = b_client.ask(told, told.owner(), "what did I say?", mode, parent=first["id"])
    assert "secret" not in answer.text
    assert all(b"secret" not in request.body for request in model_lane.requests)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("parent", ["7", "../../x", "a" * 10_000, "\x00", "9b2c7c3e-0000-4000-8000-000000000000"])
def test_B2_a_parent_that_does_not_exist_is_said_in_the_envelope_or_starts_anew(relay, token, mode, parent):
    answer = b_client.ask(relay, token, "hi", mode, parent=parent)
    if answer.status == 201:
        assert b_client.data(answer)["text"] == "hi"
    else:
        assert b_client.refusal(answer, answer.status)
        assert answer.status < 500


# --- B3 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, NEEDED),
        ({"mode": "", "type": "", "opts": ""}, None),
        ({"mode": "3", "type": "1", "opts": GOOD}, "有效值为1或2"),
        ({"mode": 1, "type": "1", "opts": GOOD}, "有效值为1或2"),
        ({"mode": "", "type": "1", "opts": GOOD}, "有效值为1或2,模式mode必填"),
        ({"mode": None, "type": "1", "opts": GOOD}, "有效值为1或2,模式mode必填"),
        ({"mode": "1", "type": "2", "opts": GOOD}, "有效值为1"),
        ({"mode": "1", "type": 1, "opts": GOOD}, "有效值为1"),
        ({"mode": "1", "type": "", "opts": GOOD}, "有效值为1,类型type必填"),
        ({"mode": "1", "type": "1"}, "gpt请求参数opts必填"),
        ({"mode": "1", "type": "1", "opts": None}, "gpt请求参数opts必填"),
        ({"mode": "1", "type": "1", "opts": "x"}, "nested property opts must be either object or array"),
        ({"mode": "1", "type": "1", "opts": {}}, "opts.key必填,opts.content必填,opts.isFollow必填"),
        ({"mode": "1", "type": "1", "opts": {**GOOD, "key": ""}}, "opts.key必填"),
        ({"mode": "1", "type": "1", "opts": {**GOOD, "content": ""}}, "opts.content必填"),
        ({"mode": "1", "type": "1", "opts": {"key": "k", "content": "c"}}, "opts.isFollow必填"),
        (
            {"mode": "1", "type": "1", "opts": {**GOOD, "isFollow": True}},
            "opts.当isFollow为true时，parentMessageId必填",
        ),
        (
            {"mode": "3", "type": "2", "opts": {}},
            "有效值为1或2,有效值为1,opts.key必填,opts.content必填,opts.isFollow必填",
        ),
    ],
)
def test_B3_the_validation_texts(relay, tree, message):
    found = b_client.refusal(relay.ask("POST", INFO, tree), 400)
    assert message is None or found == message


@pytest.mark.parametrize(
    "tree", [{"key": 7}, {"content": {"a": 1}}, {"content": 7}, {"opts": "x"}, {"parentMessageId": 9}]
)
def test_B3_values_of_the_wrong_kind_are_no_failure(relay, token, tree):
    given = {"key": token, "content": "hi", "isFollow": False, **tree}
    answer = relay.ask("POST", INFO, {"mode": "1", "type": "1", "opts": given})
    assert answer.status < 500, answer
    if answer.status != 201:
        b_client.refusal(answer, answer.status)


# --- B4 -----------------------------------------------------------------------------------------------------


def of(lane):
    return {"completionParams": {"model": lane.model}}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_B4_a_provider_that_fails_is_500_with_the_text_before_it(relay, token, mode, status):
    lane = relay.fresh_lane()
    lane.always(unary(lane.speaker.refusal("no"), status=status))
    message = b_client.refusal(b_client.ask(relay, token, "hi", mode, opts=of(lane)), 500)
    assert message.startswith(FAILED)
    assert len(message) > len(FAILED)


@pytest.mark.parametrize("mode", MODES)
def test_B4_an_answer_that_breaks_is_no_success(relay, token, mode):
    lane = relay.fresh_lane()
    lane.always([*stream(lane.speaker.events(["half "])[:2], end=False), close])
    assert b_client.refusal(b_client.ask(relay, token, "hi", mode, opts=of(lane)), 500).startswith(FAILED)


def test_B4_a_caller_who_leaves_is_not_answered_upstream(relay, token):
    lane = relay.shared_lane()
    asked = Signal()
    lane.play([mark(asked), hold()])
    call = relay.begin("POST", INFO, b_client.body(token, "hi", opts=of(lane)))
    asked.wait_here()
    call.leave()
    lane.requests[0].left.wait_here()


# --- B5 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"mode":', b"[" * 90_000])
def test_B5_malformed_json(relay, body):
    assert b_client.refusal(relay.ask("POST", INFO, body), 400) == "客户端错误"


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/gpt", "/api/v1/gpt/getInfo/more", "/api/v1/"])
def test_B5_a_path_that_is_not_there(relay, path):
    assert b_client.refusal(relay.ask("GET", path), 404, path) == "客户端错误"


def test_B5_the_path_of_an_error_has_its_query(relay):
    answer = relay.ask("POST", f"{INFO}?a=1&b=2", {})
    assert answer.json["path"] == f"{INFO}?a=1&b=2"


def test_B5_a_wrong_method(relay):
    answer = relay.ask("GET", INFO)
    b_client.refusal(answer, 405)
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize("mode", MODES)
def test_B5_a_prompt_of_10_mb_is_refused_in_the_envelope(relay, token, mode):
    b_client.refusal(b_client.ask(relay, token, "a" * 10_000_000, mode), 413)
    assert b_client.data(b_client.ask(relay, token, "hi", mode))["text"] == "hi"


def test_B5_a_body_beyond_the_limit_is_refused_in_the_envelope(brisk_relay):
    b_client.refusal(b_client.ask(brisk_relay, SECRET_KEY, "a" * 2_000_000), 413)


def test_B5_more_than_the_originals_100_kb_is_fine(told, model_lane):
    content = "a" * 20_000
    b_client.data(b_client.ask(told, told.owner(), content, padding="b" * 200_000))
    assert said(model_lane.requests[0])[-1] == ("user", content)


# --- B8 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_B8_options_cannot_send_us_elsewhere(told, model_lane, upstream, mode):
    """They were spread over the library's constructor: any host could be asked, with the caller's key."""
    elsewhere = upstream.lane("elsewhere", "openai")
    options = {
        "apiBaseUrl": elsewhere.root,
        "apiReverseProxyUrl": f"{elsewhere.root}/api/conversation",
        "apiKey": "another",
        "accessToken": "another",
        "headers": {"X-Injected": "yes"},
        "fetch": "x",
        "debug": True,
        "messageStore": {},
        "__proto__": {"apiBaseUrl": elsewhere.root},
    }
    assert b_client.data(b_client.ask(told, told.owner(), "hi", mode, opts=options))["text"] == "answer 1"
    assert elsewhere.requests == []
    [request] = model_lane.requests
    assert b"injected" not in request.head.lower()
    assert request.credential.startswith("upstream-key")


@pytest.mark.parametrize("mode", MODES)
def test_B8_options_that_shape_the_answer_are_understood(told, model_lane, mode):
    params = {"temperature": 0.25, "top_p": 0.5, "presence_penalty": 0.75, "max_tokens": 33, "stop": ["END"]}
    options = {"completionParams": params, "systemMessage": "Speak like a pirate."}
    b_client.data(b_client.ask(told, told.owner(), "hi", mode, opts=options))
    sent = model_lane.requests[0].json
    assert {name: sent.get(name) for name in ("temperature", "top_p", "max_tokens")} == {
        "temperature": 0.25,
        "top_p": 0.5,
        "max_tokens": 33,
    }
    assert sent["stop"] in ("END", ["END"])
    assert said(model_lane.requests[0])[0] == ("system", "Speak like a pirate.")
    assert sent.get("presence_penalty") == 0.75


@pytest.mark.parametrize("mode", MODES)
def test_B8_a_model_may_be_named(relay, token, mode):
    lane = relay.shared_lane()
    lane.always(stream(lane.speaker.events(["from the lane"])))
    place = of(lane) if mode == "1" else {"model": lane.model}
    assert b_client.data(b_client.ask(relay, token, "hi", mode, opts=place))["text"] == "from the lane"


@pytest.mark.parametrize(
    "options", [{"completionParams": 7}, {"completionParams": {"temperature": "hot"}}, {"model": 3}, []]
)
def test_B8_options_of_the_wrong_kind_are_no_failure(relay, token, options):
    answer = b_client.ask(relay, token, "hi", opts=options)
    assert answer.status in (201, 400), answer
