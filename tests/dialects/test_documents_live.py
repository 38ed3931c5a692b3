"""The documents tell the truth: every operation, asked with its own examples, answers as its document says."""

import json
import re
import time
from urllib.parse import quote, urlencode

import pytest
from described import Document, ask, examples_of

from dragoman.dialects.documents import gateway
from gateway import KEY

SECRET = "the secret of system A"
DOCUMENT = Document(gateway())
ECHO = {"name": "echo", "kind": "echo"}
# What the examples call a conversation, its question and its answer.
CONVERSATION = "4c1dc1a8-2d5b-4c26-8a5e-6d7a3f0f9b12"
QUESTION = "1c6e2b0a-93f4-4f0e-8a39-0f6a1de5b7a4"
ANSWER = "8b1f7c52-6c0e-4a3f-9a55-2f4dd9f1c7e3"
# What they call a key, and a request that was made with it.
STORED = "k_7Qm2xTf9"
REQUEST = "req-5f0c2a9e41d7"
# What they show of the page's session, and the cookie that stands for it.
CSRF = "9f86d081884c7d65"
COOKIE = "dragoman-8000"
# The echo provider only chats; nobody has the account of the example; the team of the example has keys.
REFUSED = {"admin_drop_team": 409, "admin_check_credential": 404}
REFUSED |= {"GetTokenController_getInfo": 500, "GetTokenController_postInfo": 500, "/v1/(?!chat|models|messages)": 400}


def cases():
    for method, path, operation in DOCUMENT.operations():
        body = DOCUMENT.resolve(operation.get("requestBody", {})).get("content", {})
        named = examples_of(body.get("application/json", {})) or [("form" if body else "", None)]
        for name, value in named:
            yield pytest.param(method, path, operation, value, id=f"{operation['operationId']} {name}".strip())


def doors():
    for method, path, operation in DOCUMENT.operations():
        if operation.get("security", True):
            yield pytest.param(method, path, operation, id=operation["operationId"])


@pytest.fixture(scope="module")
def running(start_gateway):
    names = {row["model"] for _, _, row in DOCUMENT.examples() if isinstance(row, dict) and row.get("model")}
    routes = [{"name": name, "targets": [{"provider": "echo", "model": "echo", "weight": 1}]} for name in sorted(names)]
    compat = {"secret_key": SECRET}
    return start_gateway({"auth": {"keys": [KEY]}, "compat": compat, "providers": [ECHO], "models": routes})


@pytest.fixture(scope="module")
def holder(running):
    """The secret of a key of the store, of the team of the examples, and the id of a request made with it."""
    head = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    assert ask(running, "PUT", "/api/admin/teams/research", head, b"{}").status == 200
    key = ask(running, "POST", "/api/admin/keys", head, b'{"team":"research"}').json["secret"]
    said = json.dumps({"model": "echo/echo", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    request = ask(running, "POST", "/v1/chat/completions", head | {"Authorization": f"Bearer {key}"}, said).headers[
        "x-request-id"
    ]
    deadline = time.monotonic() + 10
    while ask(running, "GET", f"/api/requests/{request}", {"Authorization": f"Bearer {key}"}).status != 200:
        assert time.monotonic() < deadline, "the store did not follow the journal"
    return key, request


@pytest.fixture
def ids(running, holder):
    """A conversation with a question and an answer, a key below the holder's and its request, an account: for whichever
    example needs one.
    """
    key, request = holder
    head = {"Authorization": KEY, "Content-Type": "application/json"}
    made = ask(running, "POST", "/ask/new", head, b'{"prompt":"The capital of France"}').json
    below = ask(running, "POST", "/api/keys", head | {"Authorization": f"Bearer {key}"}, b"{}").json["id"]
    bob = b'{"name":"bob","password":"correct horse battery"}'
    assert ask(running, "POST", "/api/admin/users", head | {"Authorization": f"Bearer {SECRET}"}, bob).status in (
        201,
        409,
    )
    session = ask(
        running, "POST", "/api/session", {"Content-Type": "application/json"}, json.dumps({"key": key}).encode()
    )
    page = {CSRF: session.json["csrf"], COOKIE: session.headers["set-cookie"].partition(";")[0]}
    return page | {CONVERSATION: made["conversation_id"], ANSWER: made["parent_id"], STORED: below, REQUEST: request}


def key_of(operation, holder):
    """Whose key an operation wants: an operator's, that of somebody in the store, or any."""
    return {"Administration": SECRET, "Own keys": holder[0]}.get(operation["tags"][0], KEY)


def request_of(operation, path, value, key, ids):
    """Fill in an operation: its examples, with real ids and keys in place of those that they show."""
    query, headers = {}, {"Accept": "*/*"}
    for row in operation["parameters"]:
        shown = dict(examples_of(row)).get("example")
        if row["in"] == "path":
            path = path.replace("{%s}" % row["name"], ids.get(shown, shown))
        elif row["in"] == "query" and shown is not None:
            query[row["name"]] = SECRET if row["name"] == "key" else shown
        elif row["in"] == "header" and not (row["name"] == "anthropic-version" and "OpenAI" in operation["tags"]):
            headers[row["name"]] = ids.get(shown, shown)
    scheme = next(iter(operation.get("security", [{"bearer": []}])), {})
    if key and "session" in scheme:
        headers["Cookie"] = ids.get(COOKIE, f"{COOKIE}={key}")
    elif key and scheme:
        headers["Authorization"] = key if "raw" in scheme else f"Bearer {key}"
    body = b""
    if value is not None:
        text = json.dumps(value, ensure_ascii=False).replace('"your-key"', json.dumps(key or "nobody"))
        for shown, real in ids.items():
            text = text.replace(shown, real)
        headers["Content-Type"], body = "application/json", text.encode()
    elif "requestBody" in operation:
        headers["Content-Type"] = "multipart/form-data; boundary=b"
        body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o\r\n--b--\r\n'
    return f"{path}?{urlencode(query, quote_via=quote)}" if query else path, headers, body


def check(operation, path, answer):
    """An answer has a documented status, a documented type, and a body that fits the type's schema."""
    responses = operation["responses"]
    row = DOCUMENT.resolve(responses.get(str(answer.status)) or responses.get("default", {}))
    assert row, f"a status that is not documented: {answer}"
    content = row.get("content", {})
    if not content:
        assert answer.body == b"", answer
        return
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in content or "*/*" in content, answer
    wrong = []
    if kind == "application/json" and kind in content:
        wrong = DOCUMENT.misfits(content[kind].get("schema", {}), answer.json)
    elif kind == "application/x-ndjson" or (kind == "text/event-stream" and path != "/event"):
        wrong = pieces_that_misfit(kind, path, answer.text)
    elif kind in content:
        wrong = DOCUMENT.misfits(content[kind].get("schema", {}), answer.text)
    assert wrong == [], answer


def pieces_that_misfit(kind, path, text):
    if kind == "application/x-ndjson":
        name, rows = "Line", text.splitlines()
    else:
        name = "ChatCompletionChunk" if "chat" in path else "WebEvent"
        name = {"/api/chat": "ChatEvent"}.get(path, name)
        rows = [row for row in re.findall(r"^data: (.*)$", text, re.MULTILINE) if row != "[DONE]"]
        if path == "/v1/messages":
            return [row for row in rows if "type" not in json.loads(row)]
    assert rows
    return [
        wrong
        for row in rows
        for wrong in DOCUMENT.misfits(DOCUMENT.tree["components"]["schemas"][name], json.loads(row))
    ]


@pytest.mark.parametrize(("method", "path", "operation", "value"), list(cases()))
def test_an_operation_answers_its_own_example(running, ids, holder, method, path, operation, value):
    target, headers, body = request_of(operation, path, value, key_of(operation, holder), ids)
    answer = ask(running, method, target, headers, body)
    check(operation, path, answer)
    expected = [
        status for place, status in REFUSED.items() if place == operation["operationId"] or re.match(place, path)
    ]
    assert answer.status == expected[0] if expected else answer.status < 400, answer


@pytest.mark.parametrize(("method", "path", "operation"), list(doors()))
@pytest.mark.parametrize("key", ["", "nobody"], ids=["no key", "a wrong key"])
def test_an_operation_that_needs_a_key_refuses_as_documented(running, method, path, operation, key):
    content = DOCUMENT.resolve(operation.get("requestBody", {})).get("content", {}).get("application/json", {})
    value = dict(examples_of(content)) if content else {}
    target, headers, body = request_of(operation, path, next(iter(value.values()), None), key, {})
    answer = ask(running, method, target, headers, body)
    check(operation, path, answer)
    if answer.status == 200:
        assert answer.headers["content-type"].startswith("application/x-ndjson"), "only system D says no with 200"
        assert json.loads(answer.text.splitlines()[0])["error"] is True
    else:
        assert answer.status in (401, 403), answer


def test_every_kind_of_error_body_has_its_schema(running, holder):
    """What is wrong with a request is told in the shape that each dialect's document shows."""
    operations = {(method, path): operation for method, path, operation in DOCUMENT.operations()}
    for (method, path), operation in operations.items():
        if "requestBody" not in operation or "multipart/form-data" in str(operation["requestBody"]):
            continue
        target, headers, _ = request_of(operation, path, {}, key_of(operation, holder), {CONVERSATION: CONVERSATION})
        answer = ask(running, method, target, headers, b"[]")
        check(operation, path, answer)
        assert answer.status in (400, 404, 422), (path, answer)
