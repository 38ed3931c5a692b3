"""A caller who sees everything: status, headers, bytes, and whether the answer ended as whole."""

import http.client
import json
from dataclasses import dataclass

OFF = "[server]\ngrpc_port = 0\nwebsocket_port = 0"
"""Listeners on fixed ports would collide between tests that run at once."""


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes
    whole: bool = True

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        said = self.json
        return said["choices"][0]["message"]["content"] if "choices" in said else said["content"][0]["text"]


def chat(model, text="hello there", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def ask(gateway, path, body=None, headers=None, key="test-key", timeout=10):
    """Ask once, on a connection of its own."""
    shown = {"content-type": "application/json", **(headers or {})}
    if key:
        shown["authorization"] = f"Bearer {key}"
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=timeout)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", path, data, shown)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        try:
            return Answer(answer.status, found, answer.read())
        except http.client.IncompleteRead as cut:
            return Answer(answer.status, found, cut.partial, whole=False)
        except ConnectionError:
            return Answer(answer.status, found, b"", whole=False)
    finally:
        connection.close()


def complete(gateway, model, text="hello there", **more):
    return ask(gateway, "/v1/chat/completions", chat(model, text, **more))
