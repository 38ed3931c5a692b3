"""X1: the rule by which `POST /chat` on a shared port belongs to system A or D, all of it (section 7)."""

import itertools
import json

import a_client
import cors
import jwts
import ndjson_loop
import pytest
import reads
from relays import AUTHORIZATION_KEY, SECRET_KEY

from gateway import free_port

MESSAGES = [{"role": "user", "content": "which?"}]
ACCEPTS = {
    "no accept": None,
    "any": "*/*",
    "events": "text/event-stream",
    "events among others": "application/json;q=0.5, Text/Event-Stream; q=1",
    "ndjson": "application/x-ndjson",
    "both": "application/x-ndjson, text/event-stream",
}
# A name, a credential, the system that it points to, and whether that system lets it in.
CREDENTIALS = {
    "none": (None, None, False),
    "empty": ("", None, False),
    "secret key": (SECRET_KEY, "A", True),
    "minted": (jwts.token_of("x1", SECRET_KEY), "A", True),
    "minted with HS512": (jwts.token_of("x1", SECRET_KEY, algorithm="HS512"), "A", True),
    "expired": (jwts.token_of("x1", SECRET_KEY, hours=-1), "A", False),
    "foreign token": (jwts.token_of("x1", "another"), None, False),
    "unsigned token": (jwts.sign({"jti": "x1"}, "", "none"), None, False),
    "authorization key": (AUTHORIZATION_KEY, "D", True),
    "nonsense": ("nonsense", None, False),
}
BODIES = {
    "stream true": ({"model": "gpt-3.5-turbo", "stream": True, "messages": MESSAGES}, "A"),
    "stream false": ({"stream": False, "messages": MESSAGES}, "A"),
    "stream null": ({"messages": MESSAGES, "stream": None}, "A"),
    "no stream": ({"model": "gpt-3.5-turbo", "messages": MESSAGES}, "D"),
    "stream deeper": ({"messages": [{**MESSAGES[0], "stream": True}]}, "D"),
    "stream in a text": ({"messages": [{"role": "user", "content": '"stream": true'}]}, "D"),
}


def dialect_of(accept, points_to, body):
    """The rule: first match wins."""
    if "text/event-stream" in (accept or "").lower():
        return "A"
    if "application/x-ndjson" in (accept or "").lower():
        return "D"
    return points_to or body


def spoken(answer):
    """Which system's shape an answer has, and whether its caller was let in."""
    if answer.status == 403 and answer.body == b"":
        return "A", False
    assert answer.status == 200, answer
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if kind == "text/event-stream":
        assert answer.body.endswith(b"data: [DONE]\n\n")
        return "A", True
    tree = json.loads(answer.body.split(b"\n")[0]) if b"\n" in answer.body.strip() else answer.json
    if "object" in tree:
        assert kind == "application/json"
        return "A", True
    lines = [json.loads(line) for line in answer.body.split(b"\n") if line.strip()]
    assert lines[-1] == ndjson_loop.DONE
    return "D", lines != ndjson_loop.REFUSED


@pytest.mark.parametrize("scheme", ["", "Bearer "], ids=["raw", "bearer"])
@pytest.mark.parametrize(("accept", "credential"), list(itertools.product(ACCEPTS, CREDENTIALS)))
def test_X1_the_whole_table(relay, accept, credential, scheme):
    secret, points_to, good = CREDENTIALS[credential]
    shown = None if secret is None else scheme + secret
    for name, (body, by_body) in BODIES.items():
        answer = relay.ask("POST", "/chat", body, authorization=shown, Accept=ACCEPTS[accept])
        expected = dialect_of(ACCEPTS[accept], points_to, by_body)
        dialect, admitted = spoken(answer)
        assert dialect == expected, (name, answer)
        if expected == points_to or not good:
            assert admitted is good, (name, answer)
        cors.check(answer, None)


@pytest.mark.parametrize(("accept", "credential"), list(itertools.product(ACCEPTS, CREDENTIALS)))
def test_X1_a_body_that_is_no_json(relay, accept, credential):
    secret, _, good = CREDENTIALS[credential]
    for body in (b"{", b'{"stream":true', b"stream"):
        answer = relay.ask("POST", "/chat", body, authorization=secret, Accept=ACCEPTS[accept])
        cors.check(answer, None)
        decided = dialect_of(ACCEPTS[accept], CREDENTIALS[credential][1], None)
        if decided is None or good:
            assert answer.status == 400, answer
            assert answer.json["error"], answer


@pytest.mark.parametrize(("path", "expected"), [("/sse/chat", "A"), ("/ndjson/chat", "D")])
@pytest.mark.parametrize("credential", CREDENTIALS)
def test_X1_a_path_alias_decides_alone(relay, path, expected, credential):
    secret, points_to, good = CREDENTIALS[credential]
    for accept, (body, _) in itertools.product(("*/*", "text/event-stream", "application/x-ndjson"), BODIES.values()):
        dialect, admitted = spoken(relay.ask("POST", path, body, authorization=secret, Accept=accept))
        assert dialect == expected
        if expected == points_to or not good:
            assert admitted is good


@pytest.fixture(scope="module")
def port_of_d():
    return free_port()


@pytest.fixture(scope="module")
def listening(start_relay, port_of_d):
    """SERVER_PORT opens system D's listener; the shared port is told to be system A's."""
    environment = {
        "SECRET_KEY": SECRET_KEY,
        "AUTHORIZATION_KEY": AUTHORIZATION_KEY,
        "SERVER_PORT": port_of_d,
        "DRAGOMAN_COMPAT__CHAT": "sse",
    }
    return start_relay(environment)


@pytest.fixture(scope="module")
def settled(start_relay):
    environment = {
        "SECRET_KEY": SECRET_KEY,
        "AUTHORIZATION_KEY": AUTHORIZATION_KEY,
        "DRAGOMAN_COMPAT__CHAT": "ndjson",
    }
    return start_relay(environment)


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_X1_the_listener_of_one_system_speaks_its_dialect_only(listening, port_of_d, credential):
    secret, points_to, good = CREDENTIALS[credential]
    for accept, (body, _) in itertools.product(("*/*", "text/event-stream", "application/x-ndjson"), BODIES.values()):
        headers = {"authorization": secret, "Accept": accept, "Content-Type": "application/json"}
        dialect, admitted = spoken(reads.ask(port_of_d, "POST", "/chat", headers, body))
        assert dialect == "D"
        if points_to == "D" or not good:
            assert admitted is good


def test_X1_the_listener_of_system_d_is_its_own_world(listening, port_of_d):
    """Only what the original served is there: an API key must not open the modern dialects on that port."""
    root = reads.ask(port_of_d, "GET", "/", {"Accept": "text/html"})
    assert (root.status, root.body) == (200, b"hello world!")
    answer = ndjson_loop.Console().hear(
        reads.ask(
            port_of_d,
            "POST",
            "/chat",
            {"authorization": AUTHORIZATION_KEY, "Content-Type": "application/json"},
            {"messages": MESSAGES},
        )
    )
    assert answer.shown == "which?"
    for method, path in (("GET", "/conv"), ("GET", "/token"), ("POST", "/v1/chat/completions"), ("GET", "/chat")):
        headers = {"authorization": f"Bearer {listening.key}", "Content-Type": "application/json"}
        assert reads.ask(port_of_d, method, path, headers).status in (404, 405), path


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_X1_the_shared_port_may_be_settled_for_one_system(listening, settled, credential):
    secret, *_ = CREDENTIALS[credential]
    for relay, expected in ((listening, "A"), (settled, "D")):
        for accept, (body, _) in itertools.product(("*/*", "application/x-ndjson"), BODIES.values()):
            dialect, _ = spoken(relay.ask("POST", "/chat", body, authorization=secret, Accept=accept))
            assert dialect == expected


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("accept", ACCEPTS)
def test_X1_where_no_keys_are_configured(open_relay, accept, body):
    """The ambiguous rest goes to D, whose door is open; A's is not."""
    tree, by_body = BODIES[body]
    answer = open_relay.ask("POST", "/chat", tree, Accept=ACCEPTS[accept])
    expected = dialect_of(ACCEPTS[accept], None, by_body)
    assert spoken(answer) == (expected, expected == "D")


def test_X1_the_originals_requests_with_no_hint_but_the_body(open_relay, relay):
    assert spoken(ndjson_loop.chat(open_relay).rest()) == ("D", True)
    assert spoken(ndjson_loop.chat(relay).rest()) == ("D", False)
    assert spoken(a_client.chat(relay, "wrong").rest()) == ("A", False)
    assert spoken(a_client.chat(relay, None).rest()) == ("A", False)


def test_X1_a_large_body_is_told_apart_too(relay):
    """`stream` may come after megabytes of messages."""
    messages = [{"role": "user", "content": "a" * 2_000_000}]
    assert spoken(relay.ask("POST", "/chat", {"messages": messages, "stream": True}, authorization="no"))[0] == "A"
    assert spoken(relay.ask("POST", "/chat", {"messages": messages}, authorization="no"))[0] == "D"


@pytest.mark.parametrize("key", ['"\\u0073tream":true', ' "stream" : false ', '\n"stream"\t:null'])
def test_X1_the_key_counts_however_it_is_written(relay, key):
    body = '{%s,"messages":[{"role":"user","content":"x"}]}' % key
    assert spoken(relay.ask("POST", "/chat", body.encode(), authorization="no"))[0] == "A"
