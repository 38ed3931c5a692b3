"""Whatever a caller sends wrongly is answered clearly, quickly and in the caller's own dialect.

Every case runs for both dialects, on a connection that must serve a good request afterwards.
"""

import http.client
import json
import socket
import statistics
import time

import pytest

KEY = "test-key"
CANARY = "sk-canary-5f0c2d9e7b"
LIMIT = 100_000
OPENAI = "/v1/chat/completions"
ANTHROPIC = "/v1/messages"
PATHS = pytest.mark.parametrize("path", [OPENAI, ANTHROPIC])
USER = {"role": "user", "content": "still here"}


@pytest.fixture(scope="module")
def gateway(start_gateway):
    config = f"""
        [server]
        max_body_bytes = {LIMIT}
        [auth]
        keys = ["{KEY}"]
        [log]
        requests = "all"
        level = "debug"
        [[providers]]
        name = "echo"
        kind = "echo"
        [[models]]
        name = "parrot"
        targets = [{{ provider = "echo", model = "echo" }}]
    """
    return start_gateway(config)


class Line:
    """One connection, never replaced by a new one. A request is one write, as most clients make it."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)

    def send(self, method, path, lines, body):
        if body is not None:
            lines = [*lines, ("content-length", len(body))]
        head = "".join(f"{name}: {value}\r\n" for name, value in [("host", "gateway"), *lines])
        self.sock.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b""))
        return self.answer(method)

    def answer(self, method="POST"):
        answer = http.client.HTTPResponse(self.sock, method=method)
        try:
            answer.begin()
            return answer, answer.read()
        except http.client.RemoteDisconnected:
            raise AssertionError("the connection was closed") from None
        finally:
            answer.close()


@pytest.fixture
def line(gateway):
    line = Line(gateway.port)
    yield line
    line.sock.close()


def good(path, **changes):
    return {"model": "parrot", "max_tokens": 100, "messages": [USER], **changes}


def without(path, field):
    return {key: value for key, value in good(path).items() if key != field}


def headers_for(path, key=KEY):
    if path == ANTHROPIC:
        return {"content-type": "application/json", "x-api-key": key, "anthropic-version": "2023-06-01"}
    return {"content-type": "application/json", "authorization": f"Bearer {key}"}


def send(line, path, body, headers=None, method="POST"):
    if not isinstance(body, bytes | None):
        body = json.dumps(body).encode()
    started = time.perf_counter()
    shown = headers_for(path) if headers is None else headers
    answer, data = line.send(method, path, list(shown.items()), body)
    took = time.perf_counter() - started
    assert took < 1, f"{method} {path} took {took:.3f} s"
    return answer, data


def check_shape(path, answer, data, status):
    """Return (message, param) after checking that the error is one of the path's dialect."""
    assert answer.status == status, (answer.status, data[:500])
    assert answer.getheader("content-type", "").split(";")[0] == "application/json"
    said = json.loads(data)
    if path.startswith(ANTHROPIC):
        assert said["type"] == "error"
        assert isinstance(said["error"]["type"], str)
        assert isinstance(said["error"]["message"], str)
        assert isinstance(said["request_id"], str)
        return said["error"]["message"], None
    error = said["error"]
    assert {"message", "type", "param", "code"} <= error.keys()
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    return error["message"], error["param"]


def check_refused(line, path, body, status=400, field=None, headers=None, method="POST"):
    answer, data = send(line, path, body, headers, method)
    message, param = check_shape(path, answer, data, status)
    assert message
    if field is not None:
        assert field in message, message
        if path == OPENAI:
            assert param is not None, message
            assert param.startswith(field), (param, message)
    check_alive(line, path)
    return message


def check_alive(line, path):
    answer, data = send(line, path, good(path))
    assert answer.status == 200, data
    said = json.loads(data)
    text = said["content"][0]["text"] if path == ANTHROPIC else said["choices"][0]["message"]["content"]
    assert text == "still here"


# --- bodies that cannot be read -------------------------------------------------------------------


def nested(opening, closing, depth=100_000 // 20):
    return opening * depth + b"1" + closing * depth


MALFORMED = {
    "empty": b"",
    "blank": b"  \n",
    "not-json": b"hello",
    "cut-short": b'{"model": "parrot", "messages": [{"role": "user", "content": "x"}',
    "array": b"[]",
    "string": b'"parrot"',
    "number": b"7",
    "null": b"null",
    "two-documents": b'{"model": "parrot"} {"model": "parrot"}',
    "trailing-comma": b'{"model": "parrot",}',
    "single-quotes": b"{'model': 'parrot'}",
    "nan": b'{"model": "parrot", "max_tokens": 5, "messages": [{"role":"user","content":"x"}], "temperature": NaN}',
    "infinity": b'{"model": "parrot", "max_tokens": 5, "messages": [{"role":"user","content":"x"}], "top_p": Infinity}',
    "not-utf-8": b'{"model": "parrot", "max_tokens": 5, "messages": [{"role":"user","content":"\xff\xfe"}]}',
    "latin-1": '{"model": "parrot", "max_tokens": 5, "messages": [{"role":"user","content":"é"}]}'.encode("latin-1"),
    "raw-surrogate": b'{"model": "parrot", "max_tokens": 5, "messages": [{"role":"user","content":"\xed\xa0\x80"}]}',
    "escaped-surrogate": rb'{"model": "parrot", "max_tokens": 5, "messages": [{"role":"user","content":"\ud800"}]}',
    "nul-byte": b'{"model": "parrot\x00", "max_tokens": 5, "messages": [{"role":"user","content":"x"}]}',
    "utf-16": json.dumps({"model": "parrot"}).encode("utf-16"),
    "deep-arrays": nested(b"[", b"]", 40_000),
    "deep-objects": nested(b'{"a":', b"}", 15_000),
    "deep-field": b'{"model": "parrot", "max_tokens": 5, "messages": [{"role":"user","content":"x"}], "tools": '
    + nested(b"[", b"]", 40_000)
    + b"}",
    "deep-unknown-field": b'{"model": "parrot", "max_tokens": 5, "messages": [{"role":"user","content":"x"}], "x": '
    + nested(b'{"a":', b"}", 15_000)
    + b"}",
    "deep-unclosed": b"[" * 90_000,
}


@PATHS
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_body(line, path, body):
    check_refused(line, path, body)


@PATHS
@pytest.mark.parametrize("field", ["model", "messages", "max_tokens", "stream"])
def test_duplicate_key(line, path, field):
    twice = json.dumps(good(path)).encode()[:-1] + b', "%s": %s}' % (
        field.encode(),
        json.dumps(good(path, stream=False)[field]).encode(),
    )
    if field == "stream":
        twice = twice[:-1] + b', "stream": true}'
    check_refused(line, path, twice, field=field)


@PATHS
def test_key_in_another_case_cannot_smuggle_a_model(line, path):
    check_refused(line, path, good(path, Model="echo/echo-fail"), field="Model")


@PATHS
def test_moderate_nesting_is_no_error(line, path):
    deep = {"a": 1}
    for _ in range(50):
        deep = {"a": deep}
    schema = {"type": "object", "properties": {"deep": {"const": deep}}}
    if path == OPENAI:
        tools = [{"type": "function", "function": {"name": "dig", "parameters": schema}}]
    else:
        tools = [{"name": "dig", "input_schema": schema}]
    answer, data = send(line, path, good(path, tools=tools))
    assert answer.status == 200, data


# --- fields of the wrong type ---------------------------------------------------------------------

OPENAI_WRONG = [
    *(("model", value) for value in (None, 5, "", [], {}, True)),
    *(("messages", value) for value in (None, "hello", {}, [], [5], [None], ["hello"], 7)),
    *(("messages", [value]) for value in ({"content": "x"}, {"role": 5, "content": "x"})),
    *(("stream", value) for value in ("yes", 1, [], "true")),
    *(("max_tokens", value) for value in ("10", 1.5, -1, True, [], 10**30)),
    *(("max_completion_tokens", value) for value in ("10", -1)),
    *(("n", value) for value in ("2", 0, -1, 1.5, 10**6, [])),
    *(("temperature", value) for value in ("hot", [], {}, True)),
    *(("top_p", value) for value in ("x", [])),
    *(("tools", value) for value in ("x", {}, [5], 5)),
    *(("tool_choice", value) for value in (5, [])),
    *(("stop", value) for value in (5, {}, [5])),
    *(("response_format", value) for value in ("json", 5)),
    *(("stream_options", value) for value in ("x", 5)),
]
ANTHROPIC_WRONG = [
    *(("model", value) for value in (None, 5, "", [], {}, True)),
    *(("messages", value) for value in (None, "hello", {}, [], [5], [None], ["hello"], 7)),
    *(("messages", [value]) for value in ({"content": "x"}, {"role": 5, "content": "x"})),
    *(("max_tokens", value) for value in (None, "10", 1.5, -1, 0, True, [], 10**30)),
    *(("stream", value) for value in ("yes", 1, [], "true")),
    *(("temperature", value) for value in ("hot", [], {}, True)),
    *(("top_p", value) for value in ("x", [])),
    *(("tools", value) for value in ("x", {}, [5], 5)),
    *(("tool_choice", value) for value in (5, "auto")),
    *(("stop_sequences", value) for value in (5, "x", [5])),
    *(("system", value) for value in (5, {})),
]
WRONG = [(OPENAI, *case) for case in OPENAI_WRONG] + [(ANTHROPIC, *case) for case in ANTHROPIC_WRONG]


@pytest.mark.parametrize(
    ("path", "field", "value"), WRONG, ids=[f"{p.rsplit('/')[-1]}-{f}-{json.dumps(v)}" for p, f, v in WRONG]
)
def test_wrong_type_names_the_field(line, path, field, value):
    check_refused(line, path, good(path, **{field: value}), field=field)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (OPENAI, "model"),
        (OPENAI, "messages"),
        (ANTHROPIC, "model"),
        (ANTHROPIC, "messages"),
        (ANTHROPIC, "max_tokens"),
    ],
)
def test_missing_field_is_named(line, path, field):
    check_refused(line, path, without(path, field), field=field)


def test_wrong_type_in_a_streamed_request_is_a_plain_error(line):
    answer, data = send(line, OPENAI, good(OPENAI, stream=True, messages="hello"))
    check_shape(OPENAI, answer, data, 400)
    check_alive(line, OPENAI)


# --- routes, methods, models ----------------------------------------------------------------------


@PATHS
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_wrong_method(line, path, method):
    answer, data = send(line, path, None, method=method)
    check_shape(path, answer, data, 405)
    check_alive(line, path)


@PATHS
def test_wrong_method_is_told_the_right_one(line, path):
    """RFC 9110, 15.5.6: an answer of 405 must have Allow."""
    answer, _ = send(line, path, None, method="GET")
    assert answer.getheader("allow") == "POST"


@PATHS
@pytest.mark.parametrize(
    ("change", "status"), [({"key": "wrong"}, 401), ({"to": "/v1/nothing"}, 404), ({"method": "PUT"}, 405)]
)
def test_refusal_before_a_small_body_arrived(line, path, change, status):
    """Many clients write head and body one after the other; the answer must not cost them the connection."""
    body = json.dumps(good(path)).encode()
    shown = {**headers_for(path, change.get("key", KEY)), "host": "gateway", "content-length": len(body)}
    head = "".join(f"{name}: {value}\r\n" for name, value in shown.items())
    method = change.get("method", "POST")
    line.sock.sendall(f"{method} {change.get('to', path)} HTTP/1.1\r\n{head}\r\n".encode())
    answer, _ = line.answer(method)
    assert answer.status == status
    line.sock.sendall(body)
    check_alive(line, path)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path", ["/nothing", "/v1/nothing", "/v1/chat/completions/", "/v1/chat/completion", "/v1//messages"]
)
def test_unknown_route(line, path, method):
    answer, data = send(line, path, {} if method == "POST" else None, headers_for(OPENAI), method)
    assert answer.status == 404, data
    message = json.loads(data)["error"]["message"]
    assert message
    check_alive(line, OPENAI)


@PATHS
def test_unknown_model_gets_the_nearest_names(line, path):
    message = check_refused(line, path, good(path, model="parot"), status=404)
    assert "parot" in message
    assert "parrot" in message


@PATHS
@pytest.mark.parametrize("model", ["nobody/echo", "x" * 200, "par\nrot", "../parrot", "PARROT"])
def test_unknown_model_of_odd_shape(line, path, model):
    message = check_refused(line, path, good(path, model=model), status=404)
    assert len(message) < 1000
    assert "\n" not in message


# --- keys -----------------------------------------------------------------------------------------

PLAIN = {"content-type": "application/json"}
VERSION = {"anthropic-version": "2023-06-01"}


@PATHS
@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"authorization": f"Bearer {CANARY}"},
        {"x-api-key": CANARY},
        {"authorization": "Bearer "},
        {"authorization": "Bearer"},
        {"authorization": ""},
        {"x-api-key": ""},
        {"x-api-key": "   "},
        {"authorization": f"Basic {CANARY}"},
        {"authorization": KEY + "x"},
        {"authorization": f"Bearer {KEY} {CANARY}"},
        {"authorization": f"Bearer {KEY.upper()}"},
        {"x-api-key": KEY[:-1]},
        {"cookie": f"key={KEY}"},
    ],
    ids=lambda shown: "+".join(shown) or "none",
)
def test_no_or_wrong_key(line, path, shown):
    message = check_refused(line, path, good(path), 401, headers={**PLAIN, **VERSION, **shown})
    assert CANARY not in message


@PATHS
def test_key_in_the_query_is_no_key(line, path):
    answer, data = send(line, f"{path}?key={KEY}&api_key={KEY}", good(path), PLAIN)
    check_shape(path, answer, data, 401)


@PATHS
def test_two_keys_that_disagree(line, path):
    headers = {**PLAIN, **VERSION, "authorization": f"Bearer {KEY}", "x-api-key": CANARY}
    message = check_refused(line, path, good(path), 400, headers=headers)
    assert CANARY not in message


@PATHS
def test_two_authorization_lines_that_disagree(line, path):
    lines = [("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {CANARY}")]
    answer, data = line.send("POST", path, lines, json.dumps(good(path)).encode())
    message, _ = check_shape(path, answer, data, 400)
    assert CANARY not in message
    check_alive(line, path)


@PATHS
def test_two_keys_that_agree(line, path):
    headers = {**PLAIN, **VERSION, "authorization": f"bearer {KEY}", "x-api-key": KEY}
    answer, data = send(line, path, good(path), headers)
    assert answer.status == 200, data


@PATHS
def test_wrong_key_learns_nothing_of_the_request(line, path):
    """Who has no key must not find out which models or fields there are."""
    wrong = headers_for(path, CANARY)
    told = {
        check_refused(line, path, body, 401, headers=wrong)
        for body in (b"hello", good(path), good(path, model="nobody"), without(path, "messages"))
    }
    assert len(told) == 1


def test_nothing_secret_was_logged(gateway, line):
    for path in (OPENAI, ANTHROPIC):
        check_refused(line, path, good(path), 401, headers=headers_for(path, CANARY))
        send(line, f"{path}?key={CANARY}", good(path), PLAIN)
        check_refused(line, path, b'{"secret": "' + CANARY.encode(), 400)
    output = gateway.output()
    assert CANARY not in output
    assert KEY not in output
    assert "Traceback" not in output


# --- speed ----------------------------------------------------------------------------------------


def test_refusals_are_quick(line, capsys):
    cases = {
        "malformed": (b"hello", None, 400),
        "wrong type": (good(OPENAI, stream="yes"), None, 400),
        "unknown model": (good(OPENAI, model="parot"), None, 404),
        "wrong key": (good(OPENAI), headers_for(OPENAI, CANARY), 401),
        "deeply nested": (MALFORMED["deep-field"], None, 400),
    }
    medians = {}
    for name, (body, headers, status) in cases.items():
        took = []
        for _ in range(40):
            started = time.perf_counter()
            answer, _ = send(line, OPENAI, body, headers)
            took.append(time.perf_counter() - started)
            assert answer.status == status
        medians[name] = statistics.median(took) * 1000
    with capsys.disabled():
        print("\nmedian refusal, goal 5 ms: " + ", ".join(f"{n} {ms:.2f} ms" for n, ms in medians.items()))
