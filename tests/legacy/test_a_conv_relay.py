"""A6 with `UNOFFICIAL_PROXY` and `ACCESS_TOKEN`: `/conv` relays to a back end of April 2023 (sections 1.5, 2, 3)."""

import json

import a_client
import pytest
import sse_js
from april import ACCESS_TOKEN, CLOSE, DONE, April
from relays import SECRET_KEY

HABITS = ["usual", "no close", "code between", "byte by byte", "repeats"]


@pytest.fixture(scope="module")
def running():
    back_end = April()
    yield back_end
    back_end.stop()


@pytest.fixture
def april(running):
    running.reset()
    return running


@pytest.fixture(scope="module")
def relay(start_relay, running):
    environment = {"SECRET_KEY": SECRET_KEY, "UNOFFICIAL_PROXY": running.address, "ACCESS_TOKEN": ACCESS_TOKEN}
    return start_relay(environment)


def page_of(answer):
    page = sse_js.shown(answer, sse_js.ConvPage)
    assert answer.status == 200, answer
    assert page.thrown == [], answer
    assert page.done, answer
    return page


def turn(relay, token, content, page=None):
    ids = (page.parent_message_id, page.conversation_id) if page else ("", "")
    return page_of(a_client.converse(relay, token, content, *ids))


def behave(habit):
    """The events of an answer `one two`, told in one of the ways that were seen."""

    def events(reply):
        reply.answer = "one two"
        usual = reply.events()
        if habit == "no close":
            return usual[:-1]
        if habit == "code between":
            return [*usual[:5], reply.code(), *usual[5:]]
        if habit == "byte by byte":
            whole = b"".join(usual)
            return [whole[at : at + 1] for at in range(len(whole))]
        if habit == "repeats":
            return [piece for piece in usual[:-2] for _ in range(2)] + [DONE, CLOSE]
        return usual

    return events


@pytest.mark.parametrize("habit", HABITS)
def test_A6_the_page_reads_the_back_end(relay, april, token, habit):
    april.answers = [behave(habit)]
    answer = a_client.converse(relay, token, 'say "one two" \\ \n%d $1')
    page = page_of(answer)
    assert page.answer == "one two"
    assert page.conversation_id
    for data in page.messages[:-1]:
        tree = json.loads(data)
        assert tree["message"]["author"]["role"] == "assistant", "an echo would replace the answer"
        assert tree["message"]["content"]["content_type"] == "text"
    assert [name for name, _ in page.seen if name not in ("message", "close", "ping")] == []
    assert all(map(sse_js.whole_events, answer.reads))


def test_A6_the_question_is_good_json_there(relay, april, token):
    """It was printed into the body: a quote in the question broke it."""
    content = 'quotes " and \\ backslashes,\nlines, 100% and $5, 你好 😀'
    turn(relay, token, content)
    [seen] = april.questions
    assert seen.path == "/conversation"
    assert content in seen.text
    assert seen.json["action"] == "next"
    assert seen.json["messages"][-1]["author"]["role"] == "user"
    assert seen.json["parent_message_id"]
    assert seen.json["model"]


def test_A6_the_operators_token_goes_there_and_the_callers_stays_here(relay, april, token):
    turn(relay, token, "hi")
    [seen] = april.questions
    assert seen.headers["authorization"].removeprefix("Bearer ") == ACCESS_TOKEN
    assert token not in str(seen.headers)
    assert token.encode() not in seen.body
    assert "chat-type" not in seen.headers


def test_A6_the_back_end_remembers_the_first_turn(relay, april, token):
    first = turn(relay, token, "my name is Ada")
    second = turn(relay, token, "what is my name?", first)
    assert second.conversation_id == first.conversation_id
    asked, reply = april.questions[1], april.replies[0]
    if asked.json.get("conversation_id"):
        assert asked.json["conversation_id"] == reply.conversation_id
        assert asked.json["parent_message_id"] == reply.message_id
    else:
        assert "my name is Ada" in asked.text
        assert "answer 1" in asked.text
    assert "what is my name?" in asked.text


def test_A6_the_documented_three_steps_with_a_back_end(relay, april, token):
    first = a_client.conversations(relay, token).json["items"][0]["id"]
    node = a_client.conversation(relay, token, first).json["current_node"]
    page = page_of(a_client.converse(relay, token, "hi", node, first))
    assert (page.answer, page.conversation_id) == ("answer 1", first)


def test_A6_two_owners_of_one_account_share_nothing(relay, april):
    """Lists are scoped to the token's id, whoever keeps the conversations."""
    mine, yours = relay.owner(), relay.owner()
    page = turn(relay, mine, "my secret plan")
    assert page.conversation_id in a_client.conversations(relay, mine, "limit=100").text
    assert page.conversation_id not in a_client.conversations(relay, yours, "limit=100").text
    assert a_client.conversation(relay, yours, page.conversation_id).status == 404
    answer = a_client.converse(relay, yours, "what did I say?", page.parent_message_id, page.conversation_id)
    assert answer.status == 404
    assert len(april.questions) == 1


def test_A6_a_back_end_that_is_cut_off(relay, april, token):
    april.cut = True
    april.answers = [lambda reply: [*reply.opening(), reply.says("half ")]]
    check_failed(a_client.converse(relay, token, "hi"))


def limited(reply, *spoken):
    return [*spoken, b"data:429\n\n", DONE, CLOSE]


def test_A6_a_bare_429_after_a_part_is_no_end(relay, april, token):
    april.answers = [lambda reply: limited(reply, *reply.opening(), reply.says("half "))]
    check_failed(a_client.converse(relay, token, "hi"))


def check_failed(answer):
    """An error event or an error status, and nothing that looks like an end."""
    page = sse_js.shown(answer, sse_js.ConvPage)
    assert page.failed, answer
    assert not page.done, answer
    assert page.thrown == [], answer
    assert answer.status in (200, 429, 502, 503), answer


@pytest.fixture
def rested(start_relay, april):
    """Start a relay of its own for a back end whose credential the gateway will rest."""
    environment = {"SECRET_KEY": SECRET_KEY, "UNOFFICIAL_PROXY": april.address, "ACCESS_TOKEN": ACCESS_TOKEN}
    return start_relay(environment, slots=0)


def test_A6_a_bare_429_at_once_is_no_answer(rested, april):
    april.answers = [limited] * 8
    answer = a_client.converse(rested, rested.owner(), "hi")
    check_failed(answer)
    assert answer.status != 200


@pytest.mark.parametrize("status", [500, 403])
def test_A6_a_back_end_that_refuses_is_a_status(rested, april, status):
    april.status = status
    answer = a_client.converse(rested, rested.owner(), "hi")
    check_failed(answer)
    assert answer.status != 200
