"""What `POST /api/chat` reads into a question, and the bytes in which it answers, without a gateway."""

import base64
import json

import msgspec
import pytest
from asked import session

from dragoman.chat import (
    Begin,
    End,
    Image,
    Message,
    Tally,
    Text,
    TextDelta,
    ThinkDelta,
    Tool,
    ToolArgs,
    ToolOpen,
    ToolResult,
    Usage,
)
from dragoman.dialects.events_sse import mounts
from dragoman.faults import Cancelled, Malformed, Overloaded, Unsupported
from dragoman.legs import Head
from dragoman.threads import Place, Thread

PNG = base64.b64encode(b"\x89PNG").decode()
WEATHER = {"name": "weather", "description": "of a town", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": WEATHER}
PLACE = Place(Thread("t", "me", "x", "r", "a", 0.0, 0.0), "q", "a", "p", (), False, 0.0)


def turn(**body):
    chat = next(mount for mount in mounts if mount.method == "POST")
    head = Head("POST", "/api/chat", b"", [(b"origin", b"https://page.example")], id="request-1")
    return chat.session(head).receive(json.dumps(body).encode())


def intent(**body):
    return turn(**body).intent


def image(url):
    return {"type": "image_url", "image_url": {"url": url}}


def result(**fields):
    return {"type": "tool_result", "tool_call_id": "c1", "content": "sunny", **fields}


# --- reading -------------------------------------------------------------------------------------------------


def test_text_and_settings():
    say = intent(
        content="hello",
        conversation_id="c",
        parent_id="p",
        model="m",
        system="be kind",
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        stop="x",
        tools=[TOOL],
    )
    assert (say.parts, say.thread, say.parent, say.model) == ((Text("hello"),), "c", "p", "m")
    template = say.template
    assert template.messages == [Message("system", (Text("be kind"),))]
    settings = (template.max_tokens, template.temperature, template.top_p, template.stop)
    assert settings == (5, 0.5, 0.9, ("x",))
    assert template.tools == (Tool("weather", "of a town", {"type": "object"}),)
    assert not say.loose, "a model that nobody serves is an error"


def test_text_with_images():
    parts = [
        {"type": "text", "text": "what is it?"},
        image(f"data:image/png;base64,{PNG}"),
        image("https://a.example/b"),
    ]
    assert intent(content=parts).parts == (
        Text("what is it?"),
        Image(data=PNG, media_type="image/png"),
        Image(url="https://a.example/b"),
    )


def test_results_of_tools_come_first():
    parts = [{"type": "text", "text": "and now?"}, result(), result(tool_call_id="c2", content="")]
    expected = (ToolResult("c1", (Text("sunny"),)), ToolResult("c2"), Text("and now?"))
    assert intent(content=parts).parts == expected


def test_without_content_a_question_is_answered_once_more():
    assert intent(parent_id="q").parts == ()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "content"),
        ({"content": None, "conversation_id": "c"}, "content"),
        ({"content": ""}, "content"),
        ({"content": " \n"}, "content"),
        ({"content": []}, "content"),
        ({"content": [{"type": "text", "text": " "}]}, "content"),
        ({"content": 7}, "content"),
        ({"content": ["x"]}, "content[0]"),
        ({"content": [{}]}, "content.0.type"),
        ({"content": [{"type": "text", "text": "x"}, {"type": "shout"}]}, "content.1.type"),
        ({"content": [{"type": "text"}]}, "content.0"),
        ({"content": [image(None)]}, "content.0"),
        ({"content": [{"type": "text", "text": "x"}, image("")]}, "content.1.image_url.url"),
        ({"content": [image("file:///etc/passwd")]}, "content.0.image_url.url"),
        ({"content": [image("javascript:alert(1)")]}, "content.0.image_url.url"),
        ({"content": [image("data:image/png;base64,")]}, "content.0.image_url.url"),
        ({"content": [image(f"data:image/png,{PNG}")]}, "content.0.image_url.url"),
        ({"content": [image(f"data:text/html;base64,{PNG}")]}, "content.0.image_url.url"),
        ({"content": [result(tool_call_id=None)]}, "content.0.tool_call_id"),
        ({"content": [result(tool_call_id="")]}, "content.0.tool_call_id"),
        ({"content": [result(content=7)]}, "content.0.content"),
        ({"content": "x", "max_tokens": 0}, "max_tokens"),
        ({"content": "x", "max_tokens": "many"}, "max_tokens"),
        ({"content": "x", "temperature": 3}, "temperature"),
        ({"content": "x", "top_p": 2}, "top_p"),
        ({"content": "x", "stop": 3}, "stop"),
        ({"content": "x", "tools": {}}, "tools"),
        ({"content": "x", "tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"content": "x", "parent_id": 7}, "parent_id"),
        ({"content": "x", "base_url": "http://evil.example"}, "base_url"),
    ],
)
def test_what_is_wrong_is_named(body, field):
    with pytest.raises(Malformed) as caught:
        turn(**body)
    assert caught.value.field == field
    assert caught.value.message


def test_only_functions_are_tools():
    with pytest.raises(Unsupported) as caught:
        turn(content="x", tools=[{"type": "web_search"}])
    assert caught.value.field == "tools[0].type"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b'{"content":' + b"[" * 50_000, b"\xff"])
def test_no_json_object(body):
    with pytest.raises(Malformed):
        session(mounts, "POST", "/api/chat").receive(body)


def test_a_name_given_twice_in_a_tool():
    body = b'{"content":"x","tools":[{"type":"function","function":{"name":"a","name":"b"}}]}'
    with pytest.raises(Malformed) as caught:
        session(mounts, "POST", "/api/chat").receive(body)
    assert caught.value.field == "tools"


# --- answering -----------------------------------------------------------------------------------------------


def said(*deltas):
    asked = turn(content="x")
    asked.placed(PLACE)
    return [piece for delta in deltas for piece in asked.write([delta])]


def test_every_event_is_one_data_line_and_a_blank_one():
    pieces = said(
        Begin("x", "m", 0),
        ThinkDelta("hm"),
        ThinkDelta(signature="s"),
        TextDelta("a\nb\r\n\u2028ü"),
        ToolOpen(0, "c1", "weather"),
        ToolArgs(0, '{"a":1}'),
        Tally(Usage(input=3, output=4)),
        End("tool"),
    )
    for piece in pieces:
        assert piece.startswith(b"data: {")
        assert piece.endswith(b"}\n\n")
        assert piece.count(b"\n") == 2
        assert b"\r" not in piece
    assert [msgspec.json.decode(piece[6:]) for piece in pieces] == [
        {
            "type": "begin",
            "conversation_id": "t",
            "question_id": "q",
            "message_id": "a",
            "parent_id": "p",
            "model": "m",
            "request_id": "request-1",
        },
        {"type": "thinking", "text": "hm"},
        {"type": "delta", "text": "a\nb\r\n\u2028ü"},
        {"type": "tool_call", "index": 0, "id": "c1", "name": "weather"},
        {"type": "tool_arguments", "index": 0, "json": '{"a":1}'},
        {
            "type": "end",
            "reason": "tool",
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "estimated": False},
        },
    ]


def test_a_fault_is_an_event():
    asked = turn(content="x")
    fault = Overloaded("full", field="f", retry_after_s=1.2)
    assert [msgspec.json.decode(piece[6:]) for piece in asked.fail(fault)] == [
        {"type": "error", "code": fault.code, "message": "full", "field": "f", "retry_after_s": 2}
    ]
    assert set(msgspec.json.decode(asked.fail(Cancelled())[0][6:])) == {"type", "code", "message"}


def test_waiting_is_a_comment():
    asked = turn(content="x")
    assert asked.beat() == [b": waiting\n\n"]
    assert asked.beat(3) == [b": waiting, place 3\n\n"]


def test_an_event_stream_that_a_page_elsewhere_may_read():
    headers = dict(turn(content="x").opening([]))
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"access-control-allow-origin"] == b"https://page.example"


def test_a_refusal_has_the_shape_of_openai():
    reply = session(mounts, "POST", "/api/chat").refuse(Malformed("no", field="content"))
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["param"] == "content"
    assert b"access-control-allow-origin" in dict(reply.headers)
