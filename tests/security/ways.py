"""Every way in which a text reaches a model, and every way to show a key: for tests that must leave none out."""

import json
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import grpc
from operators import ask
from websockets.sync.client import connect

from dragoman.wires.proto import chat_pb2, dragoman_pb2

PATIENCE_S = 15
VERSION = ("anthropic-version", "2023-06-01")
LINES = ("Content-Type", "application/json")
TYPED, LEGACY = "/dragoman.v1.Chat/Ask", "/chat.Chat/Ask"


def messages(text):
    return [{"role": "user", "content": text}]


@dataclass
class Way:
    """One request of a dialect of HTTP. `tree` makes its body of a model and a text."""

    name: str
    path: str
    tree: object
    shows: str = "Bearer"
    method: str = "POST"
    headers: list = field(default_factory=list)

    def __str__(self):
        return self.name

    def shown(self, key):
        """The header that shows a key as this dialect's clients do."""
        if self.shows == "opts.key":
            return []
        if self.shows == "x-api-key":
            return [("x-api-key", key)]
        return [("Authorization", f"Bearer {key}" if self.shows == "Bearer" else key)]

    def ask(self, port, key, model="", text="hello", headers=()):
        rows = [*self.headers, *headers, *(self.shown(key) if key else [])]
        body = None if self.tree is None else self.tree(model, text)
        if key and self.shows == "opts.key":
            body["opts"]["key"] = key
        return ask(port, self.method, self.path, "", body, rows)


def _chat(stream):
    return lambda model, text: {"model": model, "max_tokens": 9, "stream": stream, "messages": messages(text)}


def _envelope(_, text):
    opts = {"key": "none", "content": text, "isFollow": False, "parentMessageId": ""}
    return {"mode": "1", "type": "1", "opts": opts}


def _backend(model, text):
    content = {"content_type": "text", "parts": [text]}
    asked = {"id": "6c0d1b3e-8b1c-4f0e-9d0a-0123456789ab", "role": "user", "content": content}
    return {"action": "next", "messages": [asked], "model": model, "parent_message_id": "root"}


TALKS = [
    Way("openai", "/v1/chat/completions", _chat(False)),
    Way("openai stream", "/v1/chat/completions", _chat(True)),
    Way("anthropic", "/v1/messages", _chat(False), "x-api-key", headers=[VERSION]),
    Way("anthropic stream", "/v1/messages", _chat(True), "x-api-key", headers=[VERSION]),
    Way("sse_chat", "/sse/chat", _chat(False), "raw"),
    Way("sse_chat stream", "/sse/chat", _chat(True), "raw"),
    Way("ndjson", "/ndjson/chat", lambda model, text: {"model": model, "messages": messages(text)}, "raw"),
    Way("ask", "/ask/new", lambda _, text: {"prompt": text}, "raw"),
    Way("conversation", "/conv", lambda _, text: {"content": text}, "raw", headers=[("Chat-Type", "conversation")]),
    Way("envelope", "/api/v1/gpt/getInfo", _envelope, "opts.key"),
    Way("backend_api", "/backend-api/conversation", _backend),
]
"""Whatever asks a model over HTTP with words of its own."""

OTHERS = [
    Way("completions", "/v1/completions", lambda model, text: {"model": model, "prompt": text}),
    Way("embeddings", "/v1/embeddings", lambda model, text: {"model": model, "input": text}),
    Way("models", "/v1/models", None, method="GET"),
    Way("anthropic models", "/v1/models", None, "x-api-key", "GET", [VERSION]),
    Way("count", "/v1/messages/count_tokens", _chat(False), "x-api-key", headers=[VERSION]),
    Way("listing", "/api/conversations", None, method="GET"),
    Way("backend listing", "/backend-api/conversations", None, method="GET"),
    Way("own keys", "/api/keys", None, method="GET"),
    Way("own usage", "/api/usage", None, method="GET"),
    Way("admin", "/api/admin/keys", None, method="GET"),
    Way("metrics", "/metrics", None, method="GET"),
    Way("nowhere", "/v1/nowhere", None, method="GET"),
]


# --- messages


@contextmanager
def _socket(port, path, key):
    headers = {"Authorization": key} if key else {}
    url = f"ws://127.0.0.1:{port}{path}"
    with connect(url, additional_headers=headers, compression=None, proxy=None, open_timeout=PATIENCE_S) as socket:
        yield socket


def websocket(house, key, text="hello"):
    """Ask in system C's text protocol; returns all frames of the answer."""
    with _socket(house.websocket_port, "/", key) as socket:
        socket.send(f"<|ask|>$new$new${text}")
        frames = [socket.recv(PATIENCE_S)]
        while not frames[-1].startswith(("<|end|>", "<|err|>")):
            frames.append(socket.recv(PATIENCE_S))
    return frames


def events_websocket(house, key, text="hello"):
    """Ask at `/v1/ws`; returns all messages of the answer."""
    with _socket(house.port, "/v1/ws", key) as socket:
        socket.send(json.dumps({"type": "ask", "id": "q1", "content": text}))
        frames = [socket.recv(PATIENCE_S)]
        while json.loads(frames[-1])["type"] not in ("end", "error"):
            frames.append(socket.recv(PATIENCE_S))
    return frames


def _grpc(house, key, path, request, kind):
    own = [("grpc.use_local_subchannel_pool", 1)]
    said = []
    with grpc.insecure_channel(f"127.0.0.1:{house.grpc_port}", own) as channel:
        method = channel.unary_stream(
            path, request_serializer=type(request).SerializeToString, response_deserializer=kind.FromString
        )
        metadata = [("authorization", key)] if key else []
        call = method(request, timeout=PATIENCE_S, metadata=metadata, wait_for_ready=True)
        try:
            said += [str(message) for message in call]
        except grpc.RpcError:
            pass
        trailing = [(name, str(value)) for name, value in call.trailing_metadata() or () if name != "x-request-id"]
        return [*said, str(call.code()), str(call.details()), str(sorted(trailing))]


def legacy_grpc(house, key, text="hello"):
    return _grpc(house, key, LEGACY, chat_pb2.askrequest(prompt=text), chat_pb2.askresponse)


def typed_grpc(house, key, text="hello"):
    return _grpc(house, key, TYPED, dragoman_pb2.AskRequest(content=text), dragoman_pb2.Event)


MESSAGES = [websocket, events_websocket, legacy_grpc, typed_grpc]


# --- what a secret may look like


def forms(secret):
    """A secret as it stands, as it would stand in a header, an address or a dump, and its first half cut off."""
    raw = secret.encode()
    shapes = {raw, quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode(), raw.hex().encode()}
    if not secret.startswith("ey"):
        # All tokens begin alike. Of a key eight characters are shown.
        shapes.add(raw[:16])
    return shapes | {b64encode(b" " * shift + raw)[4:-4] for shift in (0, 1, 2)}
