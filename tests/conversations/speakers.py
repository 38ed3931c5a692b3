"""One turn of a conversation, in each of the eight dialects that have conversations.

A speaker's `turn` asks, sees a whole answer and returns it; its `refusal` asks, sees that the dialect refuses in its
own shape, and returns the code of the fault where the dialect tells one.
"""

import json
import time
from dataclasses import dataclass

import grpc
from c_clients import (
    ERROR,
    KEY,
    PATIENCE_S,
    PROTOS,
    Channel,
    ask,
    call,
    compiled,
    failure,
    frame,
    heard,
    listen,
    native,
    open_channel,
    open_socket,
)

MODELS = {"gpt": "gpt-3.5-turbo", "web": "text-davinci-002-render-sha"}


BY_STATUS = {
    400: "malformed",
    401: "unauthenticated",
    403: "unauthenticated",
    404: "not_found",
    409: "conflict",
    413: "too_large",
    422: "malformed",
}


@dataclass
class Turn:
    text: str
    conversation_id: str
    message_id: str


class Speaker:
    def __init__(self, relay, key=KEY):
        self.relay = relay
        self.key = key

    def __repr__(self):
        return type(self).__name__


# --- system C --------------------------------------------------------------------------------------------


class WebSocket(Speaker):
    def _texts(self, text, conversation, parent):
        with open_socket(self.relay.websocket_port, key=self.key) as socket:
            socket.send(frame(text, conversation or "new", parent or "new"))
            return listen(socket)

    def turn(self, text, conversation="", parent=""):
        said = heard(self._texts(text, conversation, parent))
        return Turn(said.text, said.conversation_id, said.parent_id)

    def refusal(self, text, conversation="", parent=""):
        [only] = self._texts(text, conversation, parent)
        assert only.startswith(ERROR), only


class Grpc(Speaker):
    def turn(self, text, conversation="", parent=""):
        with Channel(self.relay.grpc_port) as channel:
            said = channel.ask(text, conversation, parent, self.key)
        return Turn(said.text, said.conversation_id, said.parent_id)

    def refusal(self, text, conversation="", parent=""):
        with Channel(self.relay.grpc_port) as channel:
            before, code = channel.error(text, conversation, parent, self.key)
        assert before == []
        return code


class Ask(Speaker):
    def turn(self, text, conversation="", parent=""):
        reply = ask(self.relay, text, conversation or "new", parent or None, self.key)
        assert reply.status == 200, reply
        tree = reply.json
        return Turn(tree["message"], tree["conversation_id"], tree["parent_id"])

    def refusal(self, text, conversation="", parent=""):
        reply = ask(self.relay, text, conversation or "new", parent or None, self.key)
        if reply.status == 200:
            failure(reply)
            return None
        assert isinstance(reply.json["detail"], list if reply.status == 422 else str), reply
        return BY_STATUS[reply.status]


# --- system A and the back end -------------------------------------------------------------------------------


def last_event(reply):
    """The last event of a cumulative stream that ended."""
    assert reply.status == 200, reply
    events = [block.removeprefix("data:").strip() for block in reply.body.decode().split("\n\n") if "data:" in block]
    assert events[-1] == "[DONE]", reply
    tree = json.loads(events[-2])
    return Turn(tree["message"]["content"]["parts"][0], tree["conversation_id"], tree["message"]["id"])


class Conv(Speaker):
    def _call(self, text, conversation, parent):
        body = {"content": text, "parent_message_id": parent, "conversation_id": conversation}
        return call(self.relay.port, "POST", "/conv", body, self.key, Chat_Type="conversation")

    def turn(self, *args, **settings):
        return last_event(self._call(*self._full(*args, **settings)))

    def refusal(self, *args, **settings):
        reply = self._call(*self._full(*args, **settings))
        assert reply.body == b"", reply
        return BY_STATUS[reply.status]

    @staticmethod
    def _full(text, conversation="", parent=""):
        return text, conversation, parent


class BackEnd(Conv):
    model = MODELS["web"]

    def _call(self, text, conversation, parent):
        message = {"author": {"role": "user"}, "content": {"content_type": "text", "parts": [text]}}
        body = {"action": "next", "messages": [message], "model": self.model}
        ids = {"parent_message_id": parent or None, "conversation_id": conversation or None}
        key = self.key and f"Bearer {self.key}"
        return call(self.relay.port, "POST", "/backend-api/conversation", {**body, **ids}, key)

    def refusal(self, *args, **settings):
        reply = self._call(*self._full(*args, **settings))
        assert reply.json["detail"], reply
        return BY_STATUS[reply.status]


# --- system B --------------------------------------------------------------------------------------------


class GetInfo(Speaker):
    """Mode 2, whose answer names the conversation. It resumes by the message alone."""

    mode = "2"

    def _call(self, text, parent, more):
        opts = {"key": self.key or "none", "content": text, "isFollow": bool(parent), "parentMessageId": parent, **more}
        body = {"mode": self.mode, "type": "1", "opts": opts}
        return call(self.relay.port, "POST", "/api/v1/gpt/getInfo", body, key=None)

    def turn(self, text, conversation="", parent="", **more):
        reply = self._call(text, parent, more)
        assert reply.status == 201, reply
        data = reply.json["data"]
        return Turn(data["text"], data.get("conversationId", conversation), data["id"])

    def refusal(self, text, conversation="", parent="", **more):
        reply = self._call(text, parent, more)
        assert (reply.json["success"], reply.json["status"]) == (False, reply.status), reply
        assert reply.json["message"]
        return BY_STATUS[reply.status]


# --- the two of our own --------------------------------------------------------------------------------------


class Refused(Exception):
    """The answer ended with an error event."""


class EventsWs(Speaker):
    def _events(self, text, conversation, parent, more):
        asked = {"type": "ask", "content": text, "conversation_id": conversation or None, "parent_id": parent or None}
        with open_socket(self.relay.port, "/v1/ws", self.key) as socket:
            socket.send(json.dumps({**asked, **more}))
            events = [json.loads(socket.recv(timeout=PATIENCE_S))]
            while events[-1]["type"] not in ("end", "error"):
                events.append(json.loads(socket.recv(timeout=PATIENCE_S)))
        return events

    def turn(self, text, conversation="", parent="", **more):
        begin, *deltas, end = self._events(text, conversation, parent, more)
        assert (begin["type"], end["type"]) == ("begin", "end"), (begin, end)
        said = "".join(delta["text"] for delta in deltas if delta["type"] == "delta")
        return Turn(said, begin["conversation_id"], begin["message_id"])

    def refusal(self, text, conversation="", parent="", **more):
        [error] = self._events(text, conversation, parent, more)
        assert error["type"] == "error", error
        assert error["message"]
        return error["code"]


EVENT_TYPES = ("dragoman.v1.AskRequest", "dragoman.v1.ClientEvent", "dragoman.v1.Event")


def event_types():
    """AskRequest, ClientEvent and Event, made from our proto."""
    return compiled((PROTOS / "dragoman.proto").read_text(encoding="utf-8"), *EVENT_TYPES, file="dragoman.proto")


class EventsGrpc(Speaker):
    def _events(self, text, conversation, parent, more):
        request, _, event = event_types()
        with open_channel(self.relay.grpc_port) as channel:
            method = channel.unary_stream("/dragoman.v1.Chat/Ask", request.SerializeToString, event.FromString)
            asked = request(content=text, conversation_id=conversation, parent_id=parent, **more)
            metadata = [("authorization", self.key)] if self.key else []
            return list(method(asked, metadata=metadata, timeout=PATIENCE_S, wait_for_ready=True))

    def turn(self, text, conversation="", parent="", **more):
        begin, *deltas, end = self._events(text, conversation, parent, more)
        assert (begin.WhichOneof("event"), end.WhichOneof("event")) == ("begin", "end")
        said = "".join(delta.delta.text for delta in deltas)
        return Turn(said, begin.begin.conversation_id, begin.begin.message_id)

    def refusal(self, text, conversation="", parent="", **more):
        try:
            events = self._events(text, conversation, parent, more)
        except grpc.RpcError as error:
            assert error.details()
            return dict(error.trailing_metadata())["x-dragoman-error"]
        raise AssertionError(events)


SPEAKERS = [WebSocket, Grpc, Conv, Ask, EventsWs, EventsGrpc, GetInfo, BackEnd]


# --- the native interface ------------------------------------------------------------------------------------


def read(relay, id_, key=KEY):
    """A conversation with its messages."""
    reply = native(relay, "GET", f"/api/conversations/{id_}", key=key)
    assert reply.status == 200, reply
    return reply.json


def settled(relay, id_, number, key=KEY):
    """Wait until the message of that number is no longer pending; returns its row."""
    return until(lambda: (row := rows(read(relay, id_, key))[number])[2] != "pending" and row)


def until(found, timeout_s=8):
    """Return the first true value of `found()`. What only a look shows is looked at again and again."""
    deadline = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < deadline, f"did not come in {timeout_s} s"
        time.sleep(0.02)
    return value


def rows(story):
    """What was said in a conversation, as (role, content, state) in the order of the tree."""
    return [(row["role"], row["content"], row["state"]) for row in story["messages"]]


def listed(relay, key=KEY, query=""):
    reply = native(relay, "GET", f"/api/conversations{query}", key=key)
    assert reply.status == 200, reply
    return reply.json


def native_error(reply, status, code=None):
    """See that this is an error of the native interface: OpenAI's shape."""
    assert reply.status == status, reply
    error = reply.json["error"]
    assert set(error) == {"message", "type", "param", "code"}, reply
    assert error["message"]
    assert code is None or error["code"] == code, reply
    return error
