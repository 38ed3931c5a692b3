"""What `/chat` of system A takes and what it sends on (section 1.4), and whose environment it runs on (1.6)."""

import a_client
import pytest
import reads
import sse_js
from relays import SECRET_KEY

from gateway import Gateway, free_port
from upstream import stream, unary

BIG = 10_000_000
HOST_KEY = "the key of the API host"


def chat_answer(relay, token, body, **headers):
    return relay.ask("POST", "/chat", body, authorization=token, **headers)


def upstream_body(relay, token, **body):
    lane = relay.shared_lane()
    lane.play(stream(lane.speaker.events(["yes"])))
    answer = chat_answer(relay, token, {"model": lane.model, "stream": True, **body})
    assert answer.status == 200, answer
    return lane.requests[0].json


@pytest.mark.parametrize(
    "question",
    [
        '"quoted"',
        "back\\slash",
        "two\nlines\r\n",
        "100% %s %d",
        "$5 and ${x}",
        "\x00\x1f",
        "😀 你好",
        "",
        " ",
        "\u2028",
    ],
    ids=["quotes", "backslash", "newline", "percent", "dollar", "control", "wide", "empty", "blank", "separator"],
)
def test_A4_any_question_reaches_the_model_as_it_was_asked(relay, token, question):
    sent = upstream_body(relay, token, messages=[{"role": "user", "content": question}])
    assert sent["messages"][-1] == {"role": "user", "content": question}


def test_A4_what_the_original_dropped_is_kept(relay, token):
    """temperature and parts were lost without a word."""
    parts = [{"type": "text", "text": "look"}]
    sent = upstream_body(relay, token, messages=[{"role": "user", "content": parts}], temperature=0.1)
    assert sent["temperature"] == 0.1
    assert "look" in str(sent["messages"][-1]["content"])


def test_A4_a_model_that_nobody_serves_is_the_default_model(relay, token):
    page = sse_js.shown(a_client.chat(relay, token, model="gpt-3.5-turbo").rest(), sse_js.ChatPage)
    assert page.answer == "Hello!"
    answer = chat_answer(relay, token, {"stream": False, "messages": [{"role": "user", "content": "no model"}]})
    assert answer.json["choices"][0]["message"]["content"] == "no model"


@pytest.mark.parametrize("content_type", ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", None])
def test_A4_the_content_type_of_the_request_is_not_looked_at(relay, token, content_type):
    answer = chat_answer(relay, token, a_client.chat_body(), Content_Type=content_type)
    assert sse_js.shown(answer, sse_js.ChatPage).answer == "Hello!"


@pytest.mark.parametrize("body", [b"{", b"", b"not json", b'{"stream":true,', b"\xff\xfe", b"[" * 100_000])
def test_A4_a_body_that_is_no_json_is_400_in_json(relay, token, body):
    """The original forwarded an empty question."""
    answer = chat_answer(relay, token, body)
    assert answer.status == 400, answer
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"stream": True},
        {"stream": True, "messages": None},
        {"stream": True, "messages": "hello"},
        {"stream": True, "messages": [{"role": 7, "content": "x"}]},
        {"stream": "yes", "messages": [{"role": "user", "content": "x"}]},
        {"stream": True, "model": 3, "messages": [{"role": "user", "content": "x"}]},
    ],
    ids=["no messages", "null", "text", "role", "stream", "model"],
)
def test_A4_a_body_of_the_wrong_kinds_is_refused_or_asked_but_never_a_failure(relay, token, body):
    answer = chat_answer(relay, token, body)
    assert answer.status < 500, answer
    assert answer.ended == "clean"
    if answer.status != 200:
        assert answer.status == 400
        assert answer.json["error"]["message"]


def test_A4_a_prompt_of_10_mb_arrives_whole(relay, token):
    sent = upstream_body(relay, token, messages=[{"role": "user", "content": "a" * BIG}])
    assert len(sent["messages"][0]["content"]) == BIG


def test_A4_a_body_beyond_the_limit_is_413_and_the_relay_lives(brisk_relay):
    token = brisk_relay.owner()
    answer = chat_answer(brisk_relay, token, a_client.chat_body("a" * BIG))
    assert answer.status == 413, answer
    assert answer.headers["access-control-allow-origin"] == "*"
    page = sse_js.shown(a_client.chat(brisk_relay, token).rest(), sse_js.ChatPage)
    assert page.answer == "Hello!"


class Host:
    """A gateway with nothing but an original's `.env`, in front of an API host that knows one key."""

    def __init__(self, upstream, folder):
        # The API host's only path is /v1/…, so that is its lane.
        self.lane = upstream.lane("v1", "openai")
        self.port_of_d = free_port()
        lines = {
            "API_PROXY": f"127.0.0.1:{upstream.port}",
            "CHAT_API_KEY": HOST_KEY,
            "SECRET_KEY": SECRET_KEY,
            "SERVER_PORT": self.port_of_d,
        }
        (folder / ".env").write_text("".join(f"{name}={value!r}\n" for name, value in lines.items()), encoding="utf-8")
        self.gateway = Gateway({"server": {"grpc_port": 0, "websocket_port": 0}}, folder)


@pytest.fixture
def host(upstream, tmp_path):
    running = Host(upstream, tmp_path)
    yield running
    running.gateway.stop()


def test_A4_the_api_host_of_the_originals_environment(host):
    """API_PROXY is a bare host and port; the caller's credential stays here, the host's own key goes out."""
    lane = host.lane
    lane.play(stream(lane.speaker.events(["over", " there"])), unary(lane.speaker.refusal("no", "x"), status=400))
    headers = {"authorization": SECRET_KEY, "Content-Type": "application/json", "Cookie": "a=b", "X-Private": "c"}
    answer = reads.ask(host.gateway.port, "POST", "/chat", headers, a_client.chat_body())
    assert sse_js.shown(answer, sse_js.ChatPage).answer == "over there"
    request = lane.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {HOST_KEY}"
    assert request.json["model"] == "gpt-3.5-turbo"
    assert SECRET_KEY.encode() not in request.head + request.body
    assert "cookie" not in request.headers
