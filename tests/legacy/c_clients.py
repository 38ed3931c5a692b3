"""Clients of system C, written as the originals were, and a gateway for them (seed protocols, section 5).

A `Relay` has two providers, both scripted: `first` speaks OpenAI's format and serves the default model, `second`
speaks Anthropic's. Each test takes fresh lanes, so that it sees only what it caused.
"""

import asyncio
import functools
import http.client
import json
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc
from websockets.sync.client import connect

import dragoman
from gateway import CREDENTIALS, Gateway, free_port
from upstream import LAST_CHUNK, chunk, hold, send, stream, unary

KEY, OTHER_KEY, SECRET_KEY = "key-of-alice", "key-of-bob", "the secret of system A"
PATIENCE_S = 15
BUSY = "访问人数过多，请重试。"
FORMAT = "<|err|>$请使用“<|ask|>$会话ID$上条消息ID$消息内容”为格式发送消息"
ERROR = "<|err|>"
UUID4 = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
END = re.compile(rf"<\|end\|>\$({UUID4})\$({UUID4})")
NOBODYS_ID = "7d9f6f0e-3c1a-4f5b-9a6e-0123456789ab"
"""As good an id as any, of nothing."""
PROTOS = Path(dragoman.__file__).parent / "wires" / "proto"


# --- the gateway -----------------------------------------------------------------------------------------


class Relay:
    """A running gateway with every listener on; `sections` replace parts of its configuration."""

    kinds = {"first": "openai", "second": "anthropic"}

    def __init__(self, upstream, folder, kind=Gateway, **sections):
        self.upstream, self.folder, self.kind = upstream, folder, kind
        self.prefix = f"c{len(upstream.lanes)}"
        self.grpc_port, self.websocket_port = free_port(), free_port()
        self.model, self.second_model = f"{self.prefix}-first/m", f"{self.prefix}-second/m"
        self.fresh()
        server = {
            "host": "127.0.0.1",
            "grpc_port": self.grpc_port,
            "websocket_port": self.websocket_port,
            "default_model": self.model,
        }
        tree = {
            "server": server,
            "auth": {"keys": [KEY, OTHER_KEY]},
            "compat": {"secret_key": SECRET_KEY},
            "upstream": {"attempts": 1, "bench_s": 0.001},
            "log": {"requests": "all"},
        }
        for name, values in sections.items():
            tree[name] = {**tree.get(name, {}), **values} if isinstance(values, dict) else values
        tree["providers"] = [*map(self._provider, (self.first, self.second)), *tree.get("providers", [])]
        self.tree = tree
        self.start()

    @staticmethod
    def _provider(lane):
        row = {"name": lane.name, "kind": lane.kind, "base_url": lane.base_url}
        return {**row, "credentials": CREDENTIALS, "models": ["m"]}

    def fresh(self):
        """Begin with lanes that nobody asked yet; they answer `first answer 1`, `second answer 1`, …"""
        for name, kind in self.kinds.items():
            lane = self.upstream.lane(f"{self.prefix}-{name}", kind)
            lane.always(numbered(name, lane))
            setattr(self, name, lane)
        return self

    def start(self):
        self.gateway = self.kind(self.tree, self.folder)
        self.port = self.gateway.port
        return self

    def kill(self):
        """End it as `kill -9` does."""
        self.gateway.process.kill()
        self.gateway.stop()

    def stop(self):
        self.gateway.stop()


def numbered(name, lane):
    return lambda request: stream(lane.speaker.events([f"{name} ", "answer ", str(len(lane.requests))]))


def started_relay(upstream, tmp_path_factory, **settings):
    """The body of a fixture: a relay that ends with the module."""
    relay = Relay(upstream, tmp_path_factory.mktemp("relay"), **settings)
    yield relay
    relay.stop()


def held(lane, signal, before=("so ", "far"), after=(" and on",)):
    """A script that says `before`, waits for `signal`, and says `after`. Without a signal it waits for ever."""
    speaker = lane.speaker
    rest = [*map(speaker.text, after), *speaker.closing()]
    steps = stream([*speaker.opening(), *map(speaker.text, before)], end=False)
    return [*steps, hold(signal), send(*map(chunk, rest), LAST_CHUNK)]


def broken(lane, before=("so ", "far")):
    """A script that says `before` and then an error, inside a good stream."""
    speaker = lane.speaker
    return stream([*speaker.opening(), *map(speaker.text, before), speaker.stream_error("upstream fell over")])


def failed(lane, status=500):
    return unary(lane.speaker.refusal("upstream fell over"), status=status)


def told(request):
    """What a model was told, as (role, text), whichever provider it was. The system's part is left out."""
    rows = [(message["role"], _text(message["content"])) for message in request.json["messages"]]
    return [(role, text) for role, text in rows if role in ("user", "assistant")]


def _text(content):
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def arrived(lane, number=0):
    """Wait for the request with this number, the first being 0."""
    return asyncio.run(lane.request(number))


def in_background(function, *args, **settings):
    """Begin a call; its `result(timeout)` is what it returned."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(function, *args, **settings)
    pool.shutdown(wait=False)
    return future


# --- HTTP ------------------------------------------------------------------------------------------------


@dataclass
class Reply:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def call(port, method, path, body=None, key=KEY, **headers):
    """One HTTP request. A `body` that is no bytes is sent as JSON; `key` None sends no credential."""
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    if body is not None:
        shown.setdefault("Content-Type", "application/json")
    if key is not None:
        shown.setdefault("Authorization", key)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, shown)
        answer = connection.getresponse()
        return Reply(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def native(relay, method, path, body=None, key=KEY):
    """A request to the native interface, whose keys stand behind `Bearer` like OpenAI's."""
    return call(relay.port, method, path, body, key and f"Bearer {key.removeprefix('Bearer ')}")


def ask(relay, prompt, conversation="new", parent=None, key=KEY, **headers):
    """`POST /ask/…` as the README's curl sends it."""
    body = {"prompt": prompt, "parent_id": parent}
    return call(relay.port, "POST", f"/ask/{conversation}", body, key, accept="application/json", **headers)


def asked(relay, *args, **settings):
    """Ask and see that it was answered; returns the JSON."""
    reply = ask(relay, *args, **settings)
    assert reply.status == 200, reply
    assert "message" in reply.json, reply
    return reply.json


def failure(reply):
    """See that this is how system C tells a failure over HTTP; returns its detail."""
    assert reply.status == 200, reply
    assert list(reply.json) == ["response", "detail"], reply
    assert reply.json["response"] == BUSY
    assert isinstance(reply.json["detail"], str)
    return reply.json["detail"]


def mint(relay, id_):
    """A token of system A for somebody."""
    query = f"id={id_}&hour=1&key={SECRET_KEY.replace(' ', '+')}"
    return call(relay.port, "GET", f"/token?{query}", key=None).json["token"]


# --- the marks of gRPC and WebSocket -------------------------------------------------------------------------


@dataclass
class Heard:
    """An answer up to its end mark."""

    text: str
    conversation_id: str
    parent_id: str
    deltas: list


def heard(texts):
    """See that these are deltas and one end mark."""
    assert texts, "nothing was said"
    *deltas, last = texts
    end = END.fullmatch(last)
    assert end, texts
    assert not any(text.startswith(("<|end|>", ERROR)) for text in deltas), texts
    return Heard("".join(deltas), end[1], end[2], deltas)


# --- gRPC ------------------------------------------------------------------------------------------------


@functools.cache
def compiled(source, *names, file="chat.proto"):
    """Compile a proto with protoc. Its messages live in a pool of their own: one cannot hold two shapes of a file."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / file).write_text(source, encoding="utf-8")
        made = Path(folder) / "set"
        assert protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={made}", file]) == 0
        files = descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for each in files.file:
        pool.AddSerializedFile(each.SerializeToString())
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names]


def three_fields():
    return (PROTOS / "chat.proto").read_text(encoding="utf-8")


def two_fields():
    """The proto before 2023-02-20."""
    lines = three_fields().splitlines(keepends=True)
    return "".join(line for line in lines if "parent_id" not in line)


class Channel:
    """A channel with a connection of its own; channels of one process otherwise share one."""

    def __init__(self, port, credentials=None, proto=None):
        self.request, self.response = compiled(proto or three_fields(), "chat.askrequest", "chat.askresponse")
        self.channel = open_channel(port, credentials)
        self._ask = self.channel.unary_stream(
            "/chat.Chat/Ask", self.request.SerializeToString, self.response.FromString
        )

    def begin(self, prompt, conversation="", parent=None, key=KEY, timeout_s=PATIENCE_S):
        """Begin a call. A `parent` that is None is not sent at all, which the shape with two fields cannot."""
        fields = {"prompt": prompt, "conversation_id": conversation} | ({} if parent is None else {"parent_id": parent})
        metadata = [("authorization", key)] if key is not None else []
        return self._ask(self.request(**fields), timeout=timeout_s, metadata=metadata, wait_for_ready=True)

    def texts(self, *args, **settings):
        """Ask; returns all that was said and the call, whose status is OK."""
        under_way = self.begin(*args, **settings)
        texts = [message.response for message in under_way]
        assert under_way.code() is grpc.StatusCode.OK
        return texts, under_way

    def ask(self, *args, **settings):
        return heard(self.texts(*args, **settings)[0])

    def error(self, *args, **settings):
        """Ask; see that it failed as system C fails, and return what was said before and the code of the failure."""
        texts, under_way = self.texts(*args, **settings)
        assert texts[-1:] == [ERROR], texts
        assert texts.count(ERROR) == 1, texts
        trailing = dict(under_way.trailing_metadata())
        assert trailing["x-dragoman-error"], trailing
        assert trailing["x-dragoman-message"].isascii(), trailing
        return texts[:-1], trailing["x-dragoman-error"]

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def open_channel(port, credentials=None):
    own = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    target = f"127.0.0.1:{port}"
    if credentials is None:
        return grpc.insecure_channel(target, own)
    return grpc.secure_channel(target, credentials, [*own, ("grpc.ssl_target_name_override", "localhost")])


# --- WebSocket -------------------------------------------------------------------------------------------


def open_socket(port, path="/", key=KEY, scheme="ws", **settings):
    headers = {**({"Authorization": key} if key else {}), **settings.pop("headers", {})}
    return connect(
        f"{scheme}://127.0.0.1:{port}{path}",
        additional_headers=headers,
        compression=None,
        max_size=None,
        proxy=None,
        ping_interval=None,
        open_timeout=PATIENCE_S,
        close_timeout=2,
        **settings,
    )


def frame(prompt, conversation="new", parent="new"):
    return f"<|ask|>${conversation}${parent}${prompt}"


def listen(socket):
    """Read frames up to an end mark or an error; all are text."""
    texts = []
    while not (texts and (END.fullmatch(texts[-1]) or texts[-1].startswith(ERROR))):
        texts.append(socket.recv(timeout=PATIENCE_S))
        assert isinstance(texts[-1], str), texts
    return texts


def say(socket, *args, **settings):
    """Ask on a WebSocket and see that it was answered."""
    socket.send(frame(*args, **settings))
    return heard(listen(socket))
