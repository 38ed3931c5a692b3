"""What is peculiar to `/v1/ws`: messages that are no questions, frames, keys, the handshake."""

import json
import os
import struct

import pytest
from c_clients import KEY, PATIENCE_S, arrived, call, frame, heard, held, listen, mint, open_socket, told
from websockets.exceptions import ConnectionClosed

from upstream import Signal, stream

WRONG = {
    "no JSON": ("hello", None),
    "half": ('{"type":"ask"', None),
    "empty": ("", None),
    "array": ("[]", None),
    "string": ('"ask"', None),
    "null": ("null", None),
    "no type": ('{"id":"q1","content":"x"}', "q1"),
    "unknown type": ('{"type":"shout","id":"q1","content":"x"}', "q1"),
    "no content": ('{"type":"ask","id":"q1"}', "q1"),
    "null content": ('{"type":"ask","id":"q1","content":null}', "q1"),
    "content of parts": ('{"type":"ask","id":"q1","content":[{"type":"text","text":"x"}]}', "q1"),
    "number as id": ('{"type":"ask","id":7,"content":"x"}', None),
    "word as number": ('{"type":"ask","id":"q1","content":"x","max_tokens":"many"}', "q1"),
    "fraction of a token": ('{"type":"ask","id":"q1","content":"x","max_tokens":1.5}', "q1"),
    "number as stop": ('{"type":"ask","id":"q1","content":"x","stop":3}', "q1"),
    "ids that are no text": ('{"type":"ask","id":"q1","content":"x","conversation_id":{}}', "q1"),
    "cancel of nothing": ('{"type":"cancel"}', None),
    "deep": ('{"type":"ask","id":"q1","content":' + "[" * 50_000, None),
    "legacy frame": (frame("x"), None),
    "number beyond floats": ('{"type":"ask","id":"q1","content":"x","temperature":1e999}', "q1"),
}


@pytest.fixture
def socket(relay, lane):
    with open_socket(relay.port, "/v1/ws") as socket:
        yield socket


def hear(socket):
    return json.loads(socket.recv(timeout=PATIENCE_S))


def turn(socket, content="hello"):
    socket.send(json.dumps({"type": "ask", "id": "good", "content": content}))
    while (event := hear(socket))["type"] != "end":
        assert event["type"] != "error", event
        assert event["id"] == "good"


@pytest.mark.parametrize("name", WRONG)
def test_a_message_that_is_no_question(relay, lane, socket, name):
    text, id_ = WRONG[name]
    socket.send(text)
    error = hear(socket)
    assert (error["type"], error["code"]) == ("error", "malformed"), error
    assert error["message"]
    assert error["id"] in (id_, None) if name in ("deep", "number beyond floats") else error["id"] == id_
    turn(socket)
    assert len(lane.requests) == 1


def test_a_field_that_is_wrong_is_named(socket):
    for field, value in (("max_tokens", "many"), ("temperature", []), ("content", 7), ("model", {})):
        socket.send(json.dumps({"type": "ask", "id": "q1", "content": "x"} | {field: value}))
        assert hear(socket)["field"] == field


def test_an_unknown_field_hurts_nobody(socket):
    socket.send('{"type":"ask","id":"good","content":"x","colour":"green"}')
    assert hear(socket)["type"] == "begin"


def test_binary_frames_get_an_error_and_the_line_lives(relay, lane, socket):
    socket.send(b'{"type":"ask","id":"q1","content":"x"}')
    event = hear(socket)
    if event["type"] == "error":
        assert event["code"] == "malformed"
    else:
        while hear(socket)["type"] != "end":
            pass
    turn(socket)


def test_fragments_are_put_together(relay, lane, socket):
    text = json.dumps({"type": "ask", "id": "good", "content": "早上好"}, ensure_ascii=False)
    socket.send([text[:9], text[9:10], text[10:]])
    assert hear(socket)["type"] == "begin"
    assert told(lane.requests[0]) == [("user", "早上好")]


def test_a_violation_ends_this_line_and_no_other(relay, lane, socket):
    with open_socket(relay.port, "/v1/ws") as other, pytest.raises(ConnectionClosed):
        other.socket.sendall(b"\x83\x81" + struct.pack("!I", 0) + b"x")
        other.recv(timeout=PATIENCE_S)
    turn(socket)


def test_messages_have_a_largest_size(relay, lane, socket):
    with open_socket(relay.port, "/v1/ws") as endless, pytest.raises(ConnectionClosed):
        endless.send("x" * 1_000_000 for _ in range(400))
    turn(socket)


@pytest.mark.parametrize("how", ["raw", "bearer", "query", "token", "token in the query"])
def test_a_key_in_the_handshake(relay, lane, how):
    token = mint(relay, "somebody")
    key = {"raw": KEY, "bearer": f"Bearer {KEY}", "token": token}.get(how)
    path = {"query": f"/v1/ws?key={KEY}", "token in the query": f"/v1/ws?x=1&key={token}"}.get(how, "/v1/ws")
    with open_socket(relay.port, path, key) as socket:
        turn(socket)


def test_pings_are_answered_while_answers_are_under_way(relay, lane, socket):
    signal = Signal()
    lane.play(held(lane, signal))
    socket.send('{"type":"ask","id":"q1","content":"x"}')
    arrived(lane)
    assert socket.ping(os.urandom(8)).wait(5)
    signal.fire()


def test_the_text_protocol_is_what_every_other_path_speaks(relay, lane):
    with open_socket(relay.websocket_port, "/v1/ws/more") as socket:
        socket.send(frame("x"))
        assert heard(listen(socket)).text.startswith("first answer")


def test_a_plain_request_to_the_path_is_answered(relay):
    reply = call(relay.port, "GET", "/v1/ws")
    assert 400 <= reply.status < 500, reply


def test_a_line_that_nobody_reads_does_not_stop_the_gateway(relay, lane, socket):
    """Its answers fill the kernel's buffers; others go on."""
    lane.always(lambda request: stream(lane.speaker.events(["x" * 100_000] * 20)))
    with open_socket(relay.port, "/v1/ws") as sleeper:
        for number in range(20):
            sleeper.send(json.dumps({"type": "ask", "id": str(number), "content": "x"}))
        turn(socket)
