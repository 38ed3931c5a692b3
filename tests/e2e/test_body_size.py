"""A body above the limit is refused before it is read, however it is announced."""

import gzip
import json
import socket
import time

import pytest

KEY = "test-key"
LIMIT = 50_000
OPENAI = "/v1/chat/completions"
ANTHROPIC = "/v1/messages"
PATHS = pytest.mark.parametrize("path", [OPENAI, ANTHROPIC])


@pytest.fixture(scope="module")
def gateway(start_gateway):
    config = f"""
        [server]
        max_body_bytes = {LIMIT}
        [auth]
        keys = ["{KEY}"]
        [[providers]]
        name = "echo"
        kind = "echo"
        models = ["*"]
    """
    return start_gateway(config)


@pytest.fixture
def wire(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as connection:
        yield connection


def body_of(size):
    body = json.dumps({"model": "echo/echo", "max_tokens": 9, "messages": [{"role": "user", "content": ""}]})
    return body.replace('""', f'"{"a" * (size - len(body))}"').encode()


def head(path, *lines, key=KEY):
    shown = [f"POST {path} HTTP/1.1", "Host: gateway", f"x-api-key: {key}", "content-type: application/json"]
    return "\r\n".join([*shown, *lines, "", ""]).encode()


class Answers:
    """Reads answers one by one, each from its first byte to its last."""

    def __init__(self, wire):
        self.file = wire.makefile("rb")

    def next(self):
        started = time.perf_counter()
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        size = int(headers.get("content-length", 0))
        assert time.perf_counter() - started < 1
        return status, headers, self.file.read(size)

    def at_end(self):
        """Whether nothing but the end of the connection follows."""
        try:
            return self.file.read() == b""
        except ConnectionResetError:
            return True


def check_too_large(path, status, body):
    assert status == 413, body
    said = json.loads(body)
    assert str(LIMIT) in said["error"]["message"] or "large" in said["error"]["message"]
    assert ("type" in said) == (path == ANTHROPIC)


@PATHS
def test_limit_is_exact(wire, path):
    answers = Answers(wire)
    body = body_of(LIMIT)
    assert len(body) == LIMIT
    wire.sendall(head(path, f"content-length: {LIMIT}") + body)
    status, _, said = answers.next()
    assert status == 200, said[:300]
    wire.sendall(head(path, f"content-length: {LIMIT + 1}") + body_of(LIMIT + 1))
    status, _, said = answers.next()
    check_too_large(path, status, said)


@PATHS
def test_announced_size_is_refused_without_reading(wire, path):
    """Not one byte of the body is sent, so the answer cannot have waited for it."""
    wire.sendall(head(path, "content-length: 50000000"))
    status, _, body = Answers(wire).next()
    check_too_large(path, status, body)


@PATHS
def test_chunked_body_is_refused_when_it_passes_the_limit(wire, path):
    wire.sendall(head(path, "transfer-encoding: chunked"))
    piece = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    for _ in range(LIMIT // 0x4000 + 1):
        wire.sendall(piece)
    status, _, body = Answers(wire).next()
    check_too_large(path, status, body)


@PATHS
def test_expectation_of_a_large_body_is_not_met(wire, path):
    wire.sendall(head(path, "content-length: 50000000", "expect: 100-continue"))
    status, _, body = Answers(wire).next()
    check_too_large(path, status, body)


@PATHS
def test_expectation_without_a_key_is_not_met(wire, path):
    wire.sendall(head(path, "content-length: 500", "expect: 100-continue", key="wrong"))
    status, _, body = Answers(wire).next()
    assert status == 401, body


@PATHS
def test_expectation_of_a_good_body_is_met(wire, path):
    answers = Answers(wire)
    body = body_of(500)
    wire.sendall(head(path, f"content-length: {len(body)}", "expect: 100-continue"))
    assert answers.next()[0] == 100
    wire.sendall(body)
    status, _, said = answers.next()
    assert status == 200, said


@PATHS
def test_unread_body_is_never_taken_for_a_request(wire, path):
    """What follows a refused head is the rest of its body: it must not be answered."""
    smuggled = head(path, "content-length: 0")
    wire.sendall(head(path, "content-length: 50000000") + smuggled)
    answers = Answers(wire)
    status, headers, body = answers.next()
    check_too_large(path, status, body)
    if headers.get("connection", "").lower() != "close":
        wire.shutdown(socket.SHUT_WR)
    assert answers.at_end()


@PATHS
def test_others_are_served_after_a_refusal(gateway, wire, path):
    wire.sendall(head(path, "content-length: 50000000"))
    assert Answers(wire).next()[0] == 413
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as other:
        body = body_of(300)
        other.sendall(head(path, f"content-length: {len(body)}") + body)
        assert Answers(other).next()[0] == 200


def test_compressed_body_is_refused(wire):
    """A small body that becomes a large one is not unpacked to find out."""
    body = gzip.compress(body_of(LIMIT * 20))
    wire.sendall(head(OPENAI, f"content-length: {len(body)}", "content-encoding: gzip") + body)
    status, _, said = Answers(wire).next()
    assert status in (400, 415), said
    assert json.loads(said)["error"]["message"]
