"""A line that carries many answers at once: `/v1/ws`, or `dragoman.v1.Chat/Converse`, with one way to use both.

What is sent and received are the JSON objects of `/v1/ws`; the other line translates them to Protobuf and back. A
Protobuf string that is empty is null.
"""

import json
import queue
from contextlib import ExitStack

from c_clients import KEY, PATIENCE_S, open_channel, open_socket
from google.protobuf.json_format import MessageToDict
from speakers import event_types


class WsLine:
    """`/v1/ws`, on the HTTP port."""

    def __init__(self, relay, key=KEY):
        self._open = ExitStack()
        self.socket = self._open.enter_context(open_socket(self.port(relay), "/v1/ws", key))

    def port(self, relay):
        return relay.port

    def send(self, **message):
        self.socket.send(json.dumps(message))

    def receive(self):
        data = self.socket.recv(timeout=PATIENCE_S)
        assert isinstance(data, str), data
        return json.loads(data)

    def close(self):
        self._open.close()


class Ws9001Line(WsLine):
    """The same on WebSocket's own port."""

    def port(self, relay):
        return relay.websocket_port


class GrpcLine:
    """One call of `Converse`."""

    def __init__(self, relay, key=KEY):
        self.ask, self.client_event, event = event_types()
        self.channel = open_channel(relay.grpc_port)
        method = self.channel.stream_stream(
            "/dragoman.v1.Chat/Converse", self.client_event.SerializeToString, event.FromString
        )
        self._out = queue.SimpleQueue()
        metadata = [("authorization", key)] if key else []
        self.call = method(iter(self._out.get, None), metadata=metadata, timeout=PATIENCE_S, wait_for_ready=True)

    def send(self, type, **fields):
        given = {name: value for name, value in fields.items() if value is not None}
        if isinstance(given.get("stop"), str):
            given["stop"] = [given["stop"]]
        self._out.put(self.client_event(**{type: given}))

    def receive(self):
        message = next(self.call)
        kind = message.WhichOneof("event")
        inner = MessageToDict(
            getattr(message, kind), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        if kind == "end":
            counts = inner["usage"]
            inner["usage"] = {**counts, **{name: int(counts[name]) for name in ("prompt_tokens", "completion_tokens")}}
        if not inner.get("field", "."):
            del inner["field"]
        return {"type": kind, "id": message.id or None, **inner}

    def close(self):
        self._out.put(None)
        self.channel.close()


LINES = [WsLine, Ws9001Line, GrpcLine]


class Conversation:
    """A line and what has been heard on it, by the id of the question."""

    def __init__(self, line):
        self.line = line
        self.heard = {}
        self.order = []

    def ask(self, content, id="q1", **fields):
        """Send a question without waiting."""
        self.line.send(type="ask", id=id, content=content, **fields)

    def cancel(self, id):
        self.line.send(type="cancel", id=id)

    def next(self):
        event = self.line.receive()
        self.heard.setdefault(event["id"], []).append(event)
        self.order.append(event["id"])
        return event

    def until(self, kind, id="q1"):
        """Listen until this answer has an event of this type; returns that event."""
        while not (found := [event for event in self.heard.get(id, []) if event["type"] == kind]):
            event = self.next()
            assert event["type"] == kind or event["id"] != id or event["type"] not in ("end", "error"), event
        return found[-1]

    def until_said(self, text, id="q1"):
        while self.text(id) != text:
            self.next()

    def text(self, id="q1"):
        return "".join(event["text"] for event in self.heard.get(id, []) if event["type"] == "delta")

    def turn(self, content, id="q1", **fields):
        """Ask and hear the whole answer; returns its `begin`, its text and its `end`."""
        self.heard.pop(id, None)
        self.ask(content, id, **fields)
        end = self.until("end", id)
        begin = self.heard[id][0]
        assert begin["type"] == "begin", begin
        return begin, self.text(id), end

    def refusal(self, content, id="q1", **fields):
        """Ask and see that it is refused at once; returns the `error`."""
        self.heard.pop(id, None)
        self.ask(content, id, **fields)
        error = self.until("error", id)
        assert self.heard.pop(id) == [error]
        assert set(error) - {"field", "retry_after_s"} == {"type", "id", "code", "message"}, error
        assert error["message"]
        return error
