"""Every dialect that streams, as one function each: ask through nginx, yield each word as it comes.

A voice ends when the dialect's own end has come, and raises `Broken` when the dialect says, in its own way, that the
answer broke. Closing it early closes its connection, as a caller does who leaves.
"""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing

import grpc
from front import HOST, PATIENCE_S
from wss import Socket

from dragoman.wires.proto import chat_pb2, dragoman_pb2

KEY = "key-of-alice"
RAW = {"authorization": KEY, "content-type": "application/json"}
BEARER = {**RAW, "authorization": f"Bearer {KEY}"}
TYPED, LEGACY = "/dragoman.v1.Chat/Ask", "/chat.Chat/Ask"


class Broken(Exception):
    """The dialect said that the answer is not whole."""


def post(front, path, tree, headers=BEARER):
    """Ask, and yield the lines of the answer as they come."""
    with closing(front.connect()) as connection:
        connection.request("POST", path, json.dumps(tree), headers)
        answer = connection.getresponse()
        assert answer.status == 200, (answer.status, answer.read())
        yield from lines(answer)


def lines(answer):
    """Cut what arrives into lines, each as soon as it is there. An unclean end is `Broken`."""
    rest = b""
    try:
        while read := answer.read1():
            *whole, rest = (rest + read).split(b"\n")
            yield from (line.decode() for line in whole)
    except http.client.IncompleteRead as error:
        raise Broken("cut") from error
    if rest:
        yield rest.decode()


def events(front, path, tree, headers=BEARER):
    """Yield the data of each event, with what the event is called."""
    name = ""
    for line in post(front, path, tree, headers):
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, value
            name = ""


def messages(text):
    return [{"role": "user", "content": text}]


def openai(front, text) -> Iterator[str]:
    tree = {"model": "echo", "stream": True, "messages": messages(text)}
    ended = yield from openai_words(events(front, "/v1/chat/completions", tree))
    assert ended


def sse_chat(front, text):
    """System A's `/chat`, chosen by the body's `stream`."""
    tree = {"model": "gpt-3.5-turbo", "stream": True, "messages": messages(text)}
    ended = yield from openai_words(events(front, "/chat", tree, RAW))
    assert ended


def openai_words(found):
    """Yield the words of chunks in OpenAI's shape; return whether `[DONE]` came."""
    for name, data in found:
        if data == "[DONE]":
            return True
        if name == "error" or "error" in json.loads(data):
            raise Broken(data)
        for choice in json.loads(data)["choices"]:
            if word := choice["delta"].get("content"):
                yield word
    return False


def anthropic(front, text):
    tree = {"model": "echo", "max_tokens": 100, "stream": True, "messages": messages(text)}
    last = ""
    for last, data in events(front, "/v1/messages", tree, {**BEARER, "anthropic-version": "2023-06-01"}):
        if last == "error":
            raise Broken(data)
        if last == "content_block_delta":
            yield json.loads(data)["delta"]["text"]
    assert last == "message_stop"


def conversation(front, text):
    """System A's `/conv`: each event has the whole text so far."""
    said = ""
    for name, data in events(front, "/conv", {"content": text}, {**RAW, "chat-type": "conversation"}):
        if data == "[DONE]":
            return
        if name == "error":
            raise Broken(data)
        now = json.loads(data)["message"]["content"]["parts"][0]
        if now != said:
            yield now.removeprefix(said)
        said = now
    raise AssertionError("no end came")


def ndjson(front, text):
    """System D's `/chat`, chosen by its key."""
    headers = {**RAW, "authorization": "the key of system D"}
    found = [{"done": False}]
    for line in post(front, "/chat", {"messages": messages(text)}, headers):
        found.append(json.loads(line))
        if found[-1]["error"]:
            raise Broken(line)
        if not found[-1]["done"]:
            yield found[-1]["content"]
    assert found[-1]["done"]


def websocket(front, text):
    """System C's text protocol, on any path."""
    with Socket(front, "/", {"authorization": KEY}) as socket:
        socket.send(f"<|ask|>$new$new${text}")
        while not (said := socket.receive()).startswith("<|end|>$"):
            if said == "<|err|>":
                raise Broken(said)
            yield said


def events_websocket(front, text):
    with Socket(front, "/v1/ws", {"authorization": KEY}) as socket:
        socket.send(json.dumps({"type": "ask", "id": "q1", "content": text}))
        while (said := json.loads(socket.receive()))["type"] != "end":
            if said["type"] == "error":
                raise Broken(said)
            if said["type"] == "delta":
                yield said["text"]


def channel_of(front):
    root = front.authority.cert_pem.bytes()
    return grpc.secure_channel(f"{HOST}:{front.port}", grpc.ssl_channel_credentials(root))


def ask_grpc(channel, path, request, answer_type):
    """Ask on an open channel and return the call, whose messages come one by one."""
    method = channel.unary_stream(
        path, request_serializer=type(request).SerializeToString, response_deserializer=answer_type.FromString
    )
    return method(request, timeout=PATIENCE_S, metadata=(("authorization", KEY),))


def legacy_grpc(front, text):
    with channel_of(front) as channel:
        for message in ask_grpc(channel, LEGACY, chat_pb2.askrequest(prompt=text), chat_pb2.askresponse):
            if message.response == "<|err|>":
                raise Broken(message.response)
            if message.response.startswith("<|end|>$"):
                return
            yield message.response
    raise AssertionError("no end came")


def typed_grpc(front, text):
    kind = ""
    with channel_of(front) as channel:
        try:
            for event in ask_grpc(channel, TYPED, dragoman_pb2.AskRequest(content=text), dragoman_pb2.Event):
                kind = event.WhichOneof("event")
                if kind == "delta":
                    yield event.delta.text
        except grpc.RpcError as error:
            raise Broken(error.code()) from error
    assert kind == "end"


VOICES = [
    openai,
    anthropic,
    sse_chat,
    conversation,
    ndjson,
    websocket,
    events_websocket,
    legacy_grpc,
    typed_grpc,
]
