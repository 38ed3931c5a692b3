"""A gateway with an operator, and whoever it gave keys to; asked with every byte of a request as it stands."""

import json
import socket
import time
from http.client import HTTPResponse

from dragoman.building import MASTER_KEY_FILE
from gateway import Gateway

WAIT_S = 10


class Reply:
    """A whole answer."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The code of an error in OpenAI's shape."""
        return self.json["error"]["code"]

    @property
    def field(self):
        return self.json["error"]["param"]

    def __repr__(self):
        return f"<{self.status} {self.headers.items()} {self.body[:2000]!r}>"


def ask(port, method, target, key="", body=None, headers=()):
    """Send a request line and headers exactly as given; the first `Host` among `headers` stands for ours."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    rows = list(headers)
    if not any(name.lower() == "host" for name, _ in rows):
        rows.append(("Host", f"127.0.0.1:{port}"))
    if key:
        rows.append(("Authorization", f"Bearer {key}"))
    if body is not None:
        rows += [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
    head = "".join(f"{name}: {value}\r\n" for name, value in rows)
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
        connection.sendall(f"{method} {target} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode() + data)
        response = HTTPResponse(connection, method=method)
        response.begin()
        return Reply(response)


class House:
    """A gateway and its master key."""

    def __init__(self, folder, **sections):
        providers = [{"name": "echo", "kind": "echo"}]
        self.gateway = Gateway({**sections, "providers": providers}, folder)
        self.port = self.gateway.port
        self.master = (folder / "data" / MASTER_KEY_FILE).read_text(encoding="ascii").strip()

    def ask(self, method, target, key="", body=None, headers=(), port=None):
        return ask(port or self.port, method, target, key, body, headers)

    def make(self, by="", path="/api/admin/keys", **fields):
        """Make a key; returns its id and its secret."""
        reply = self.ask("POST", path, by or self.master, fields)
        assert reply.status == 201, reply
        return reply.json["id"], reply.json["secret"]

    def chat(self, key, model="echo/echo"):
        """Ask the model; returns the id of the request."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        reply = self.ask("POST", "/v1/chat/completions", key, body)
        assert reply.status == 200, reply
        return reply.headers["x-request-id"]

    def begin(self, key):
        """Begin a conversation; returns its id."""
        reply = self.ask("POST", "/ask/new", key, {"prompt": "The capital of France"})
        assert reply.status == 200, reply
        return reply.json["conversation_id"]

    def until(self, found):
        """Return the first true value of `found()`; the store follows the journal in the background."""
        deadline = time.monotonic() + WAIT_S
        while not (value := found()):
            assert time.monotonic() < deadline, "the store did not follow"
        return value

    def stop(self):
        self.gateway.stop()
