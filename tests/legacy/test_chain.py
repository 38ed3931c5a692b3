"""Two gateways in a row, joined by the ChatGPT web dialect (section 2), behave like one: issue 3, "chatgpt-web"."""

import a_client
import ndjson_loop
import pytest
import sse_js
from backend_client import Revchat, bearer
from relays import AUTHORIZATION_KEY, SECRET_KEY

from gateway import KEY, House
from upstream import Signal, chunk, close, head, hold, send, stream, unary

EVENTS = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
MODEL = "back/any"


@pytest.fixture(scope="module", params=["/backend-api", "/api"])
def front(request, upstream, start_relay):
    """The gateway that clients see; the one behind it, `front.back`, asks the lane `front.lane`."""
    lane = upstream.lane(f"behind{request.param.replace('/', '-')}", "openai")
    providers = [House.provider(lane)]
    back = start_relay({}, slots=0, providers=providers, server={"default_model": f"{lane.name}/m"})
    row = {
        "name": "back",
        "kind": "chatgpt-web",
        "base_url": back.url + request.param,
        "credentials": [KEY],
        "models": ["*"],
    }
    environment = {"SECRET_KEY": SECRET_KEY, "AUTHORIZATION_KEY": AUTHORIZATION_KEY}
    running = start_relay(environment, slots=0, providers=[row], server={"default_model": MODEL})
    running.back, running.lane = back, lane
    return running


@pytest.fixture
def lane(front):
    front.lane.requests.clear()
    return front.lane.always(
        lambda request: stream(front.lane.speaker.events(["answer ", str(len(front.lane.requests))]))
    )


def turn(front, token, content, page=None):
    ids = (page.parent_message_id, page.conversation_id) if page else ("", "")
    page = sse_js.shown(a_client.converse(front, token, content, *ids), sse_js.ConvPage)
    assert page.done
    assert page.thrown == []
    return page


def told(request):
    return "\n".join(str(message["content"]) for message in request.json["messages"])


def completion(front, messages, **more):
    body = {"model": MODEL, "messages": messages, **more}
    return front.ask("POST", "/v1/chat/completions", body, **bearer(KEY))


def user(text):
    return {"role": "user", "content": text}


def test_chain_a_conversation_goes_on_through_both(front, lane):
    token = front.owner()
    first = turn(front, token, 'my name is "Ada" \\ \n%d $1')
    second = turn(front, token, "what is my name?", first)
    assert (first.answer, second.answer) == ("answer 1", "answer 2")
    heard = told(lane.requests[1])
    assert 'my name is "Ada" \\ \n%d $1' in heard
    assert "answer 1" in heard
    assert "what is my name?" in heard
    assert "Ada" not in told(lane.requests[0]).replace('my name is "Ada"', "")


def test_chain_the_back_end_dialect_in_front_as_well(front, lane):
    library = Revchat(front, front.owner())
    first = library.ask("my name is Ada")
    second = library.ask("what is my name?", first["conversation_id"], first["parent_id"])
    assert second["message"] == "answer 2"
    assert "my name is Ada" in told(lane.requests[1])


@pytest.mark.parametrize("streamed", [False, True])
def test_chain_a_stateless_question(front, lane, streamed):
    history = [
        {"role": "system", "content": "Speak like a pirate."},
        user("my name is Ada"),
        {"role": "assistant", "content": "Ahoy Ada"},
        user("what is my name?"),
    ]
    answer = completion(front, history, stream=streamed)
    assert answer.status == 200, answer
    if streamed:
        assert sse_js.shown(answer, sse_js.ChatPage).answer == "answer 1"
    else:
        assert answer.json["choices"][0]["message"]["content"] == "answer 1"
    for text in ("pirate", "my name is Ada", "Ahoy Ada", "what is my name?"):
        assert text in told(lane.requests[0])


def test_chain_system_d_in_front(front, lane):
    answer = ndjson_loop.chat(front, AUTHORIZATION_KEY, model=MODEL).rest()
    assert ndjson_loop.heard(answer).shown == "answer 1"
    assert ndjson_loop.QUESTION in told(lane.requests[0])


def test_chain_words_come_as_they_are_said(front, lane):
    """The second word is not said before the first was seen in front of both."""
    seen = Signal()
    speaker = lane.speaker
    closing = [chunk(speaker.text("two")), *map(chunk, speaker.closing()), b"0\r\n\r\n"]
    lane.play([send(head(200, EVENTS), chunk(speaker.text("one "))), hold(seen), send(*closing)])
    answer = a_client.start(front, front.owner(), "hi").until(b"one ")
    seen.fire()
    assert sse_js.shown(answer.rest(), sse_js.ConvPage).answer == "one two"


def test_chain_who_leaves_in_front_is_left_behind(front, lane):
    lane.play([send(head(200, EVENTS), chunk(lane.speaker.text("one "))), hold()])
    answer = a_client.start(front, front.owner(), "hi").until(b"one ")
    answer.leave()
    lane.requests[0].left.wait_here()


def test_chain_two_owners_share_nothing(front, lane):
    for text in ("my secret plan", "hello"):
        turn(front, front.owner(), text)
    assert told(lane.requests[1]) == "hello"


def test_chain_many_stateless_questions_share_nothing(front, lane):
    for text in ("my secret plan", "hello"):
        completion(front, [user(text)])
    assert told(lane.requests[1]) == "hello"


def test_chain_any_text_comes_through_unchanged(front, lane):
    text = 'a "b" \\ \n\r\n\t 100% $5 ${x} <b> 你好 😀 \u2028 end '
    lane.always(stream(lane.speaker.events([text[:7], text[7:]])))
    assert turn(front, front.owner(), text).answer == text
    assert told(lane.requests[0]) == text


def test_chain_a_break_behind_is_a_break_in_front(front, lane):
    lane.play([send(head(200, EVENTS), b"".join(map(chunk, map(lane.speaker.text, ["half ", "an "])))), close])
    page = sse_js.shown(a_client.converse(front, front.owner(), "hi"), sse_js.ConvPage)
    assert page.failed
    assert not page.done
    assert page.answer == "half an "


def test_chain_a_refusal_behind_is_a_refusal_in_front(front, lane):
    lane.always(unary(lane.speaker.refusal("no"), status=500))
    answer = a_client.converse(front, front.owner(), "hi")
    assert answer.status in (502, 503), answer
    assert KEY not in answer.text
