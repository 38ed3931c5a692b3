"""C6: frames and handshakes that are not as they should be, and the life of a connection (5.3; RFC 6455)."""

import os
import socket as sockets
import struct

import pytest
from c_clients import ERROR, FORMAT, arrived, frame, heard, held, listen, open_socket, say, started_relay, told
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from upstream import Signal


@pytest.fixture(scope="module")
def relay(upstream, tmp_path_factory):
    yield from started_relay(upstream, tmp_path_factory)


@pytest.fixture
def lane(relay):
    return relay.fresh().first


@pytest.fixture
def socket(relay, lane):
    with open_socket(relay.websocket_port) as socket:
        yield socket


def refused(socket, sent=None):
    """Send, see the format error and nothing else, and that the connection is alive."""
    if sent is not None:
        socket.send(sent)
    assert socket.recv(timeout=15) == FORMAT
    assert say(socket, "still here").text.startswith("first answer")


# --- frames that are not as they should be --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "<|ask|>",
        "<|ask|>$",
        "<|ask|>$new",
        "<|ask|>$new$new",
        "<|ask|>$$$",
        " <|ask|>$new$new$x",
        "<|ASK|>$new$new$x",
        "$<|ask|>$new$new$x",
        "<|ask|>new$new$x",
        "{}",
    ],
)
def test_C6_a_wrong_format(relay, lane, socket, text):
    refused(socket, text)
    assert len(lane.requests) == 1


@pytest.mark.parametrize("prompt", ["", " ", "\n \n"])
def test_C6_an_empty_prompt(relay, lane, socket, prompt):
    socket.send(frame(prompt))
    assert socket.recv(timeout=15).startswith(ERROR)
    say(socket, "still here")
    assert len(lane.requests) == 1


def test_C6_binary_frames(relay, lane, socket):
    """They killed the original's connection."""
    refused(socket, frame("x").encode())
    refused(socket, b"\xff\x00")


@pytest.mark.parametrize("size", [1, 3, 7])
def test_C6_fragments_are_put_together(relay, lane, socket, size):
    """They killed the original's connection."""
    text = frame("早上好 and more")
    socket.send([text[at : at + size] for at in range(0, len(text), size)])
    heard(listen(socket))
    assert told(lane.requests[0]) == [("user", "早上好 and more")]


def test_C6_fragments_cut_inside_a_character_and_with_a_ping_between(relay, lane, socket):
    data = frame("早").encode()
    pieces = [(0x01, data[:-2]), (0x89, b"ping"), (0x80, data[-2:])]
    socket.socket.sendall(b"".join(masked(first, piece) for first, piece in pieces))
    heard(listen(socket))
    assert told(lane.requests[0]) == [("user", "早")]


def masked(first, data):
    """One frame as a client sends it, RFC 6455, 5.2. `first` holds FIN and the opcode."""
    mask = os.urandom(4)
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))
    return bytes([first]) + size + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


VIOLATIONS = {
    "no mask": b"\x81\x02hi",
    "unknown opcode": masked(0x83, b"x"),
    "reserved bit": masked(0xC1, b"x"),
    "continuation of nothing": masked(0x80, b"x"),
    "text inside a message": masked(0x01, b"x") + masked(0x81, b"y"),
    "no UTF-8": masked(0x81, b"\xff"),
    "long ping": masked(0x89, b"x" * 126),
    "ping in pieces": masked(0x09, b"x"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_C6_what_is_no_websocket_ends_that_connection_only(relay, lane, socket, name):
    with open_socket(relay.websocket_port) as other:
        other.socket.sendall(VIOLATIONS[name])
        with pytest.raises(ConnectionClosed) as caught:
            other.recv(timeout=15)
        if caught.value.rcvd is not None:
            assert caught.value.rcvd.code in (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA)
    say(socket, "still here")


def test_C6_ten_megabytes_are_refused_clearly(relay, lane, socket):
    socket.send(frame("x" * 10_000_000))
    mark, _, why = socket.recv(timeout=15).partition("$")
    assert mark == ERROR
    assert why
    assert lane.requests == []
    say(socket, "still here")


def test_C6_fragments_without_end_are_capped(relay, lane, socket):
    before = relay.gateway.resident_bytes()
    with open_socket(relay.websocket_port) as endless, pytest.raises(ConnectionClosed):
        endless.send("x" * 1_000_000 for _ in range(400))
    assert relay.gateway.resident_bytes() - before < 150_000_000
    say(socket, "still here")


# --- the connection --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/ws", "/a/b%20c?x=1&y", "/ask/new"])
def test_C6_any_path_will_do(relay, lane, path):
    with open_socket(relay.websocket_port, path) as socket:
        say(socket, "x")


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example"])
def test_C6_any_origin_and_no_subprotocol_is_chosen(relay, lane, origin):
    with open_socket(relay.websocket_port, origin=origin, subprotocols=["chat", "v1"]) as socket:
        assert socket.subprotocol is None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
        say(socket, "x")


def test_C6_a_ping_is_answered_with_its_own_words_while_an_answer_is_under_way(relay, lane, socket):
    signal = Signal()
    lane.play(held(lane, signal))
    socket.send(frame("x"))
    arrived(lane)
    assert socket.ping(b"are you there").wait(5)
    signal.fire()
    heard(listen(socket))


def test_C6_a_close_is_answered(relay, lane):
    with open_socket(relay.websocket_port) as socket:
        socket.close(1000, "bye")
        assert socket.close_code == 1000


def test_C6_a_plain_request_gets_an_answer_and_no_silence(relay):
    with sockets.create_connection(("127.0.0.1", relay.websocket_port), 15) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.recv(100).startswith(b"HTTP/1.1 4")


def test_C6_who_leaves_ends_the_work_upstream(relay, lane):
    lane.play(held(lane, None), held(lane, None))
    for number, leave in enumerate((lambda s: s.close(), lambda s: s.socket.shutdown(sockets.SHUT_RDWR))):
        with open_socket(relay.websocket_port) as socket:
            socket.send(frame("x"))
            request = arrived(lane, number)
            leave(socket)
            request.left.wait_here(5)


def test_C6_asks_that_wait_are_dropped_when_their_caller_leaves(relay, lane, socket):
    lane.play(held(lane, None))
    with open_socket(relay.websocket_port) as leaving:
        leaving.send(frame("one"))
        leaving.send(frame("two"))
        request = arrived(lane)
    request.left.wait_here(5)
    say(socket, "three")
    assert [told(each)[-1][1] for each in lane.requests] == ["one", "three"]


def test_C6_with_many_asks_waiting_a_ping_is_answered_and_leaving_is_noticed(relay, lane):
    lane.play(held(lane, None))
    with open_socket(relay.websocket_port) as socket:
        for number in range(12):
            socket.send(frame(f"question {number}"))
        request = arrived(lane)
        assert socket.ping().wait(5)
        socket.close_socket()
        request.left.wait_here(5)
    assert len(lane.requests) == 1
