"""C5: `/chat.Chat/Ask` with the shipped client, with stubs of three and of two fields, and with raw bytes (5.2)."""

import contextlib
import re
import socket as sockets
import struct
import subprocess
import sys
import time

import grpc
import pytest
from c_clients import (
    END,
    KEY,
    NOBODYS_ID,
    OTHER_KEY,
    Channel,
    arrived,
    broken,
    failed,
    heard,
    held,
    in_background,
    mint,
    native,
    open_channel,
    started_relay,
    three_fields,
    told,
    two_fields,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_tools import protoc

from gateway import free_port
from upstream import Signal, close, stream

# The shipped client: one insecure channel, ids from the command line, questions until an empty line; the end
# frame is printed like any other text (5.6).
CLIENT = """
import argparse, sys
import grpc, chat_pb2, chat_pb2_grpc

parser = argparse.ArgumentParser()
parser.add_argument("--url")
parser.add_argument("--conversation_id", default="")
parser.add_argument("--parent_id", default="")
args = parser.parse_args()
stub = chat_pb2_grpc.ChatStub(grpc.insecure_channel(args.url))
for line in sys.stdin:
    if not line.strip():
        break
    ids = {"conversation_id": args.conversation_id, "parent_id": args.parent_id}
    for answer in stub.Ask(chat_pb2.askrequest(prompt=line.rstrip("\\n"), **ids)):
        print(answer.response, end="", flush=True)
    print(flush=True)
"""


@pytest.fixture(scope="module")
def relay(upstream, tmp_path_factory):
    yield from started_relay(upstream, tmp_path_factory)


@pytest.fixture(scope="module")
def open_relay(upstream, tmp_path_factory):
    """No key is needed over gRPC: the shipped client has none."""
    yield from started_relay(upstream, tmp_path_factory, auth={"anonymous": ["grpc"]})


@pytest.fixture
def lane(relay):
    return relay.fresh().first


@pytest.fixture
def channel(relay, lane):
    with Channel(relay.grpc_port) as channel:
        yield channel


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The shipped client with generated stubs; returns how to run it."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "chat.proto").write_text(three_fields(), encoding="utf-8")
    out = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert protoc.main(["protoc", f"-I{folder}", *out, "chat.proto"]) == 0
    (folder / "grpc_client.py").write_text(CLIENT, encoding="utf-8")

    def run(relay, *questions, **ids):
        options = [option for name, value in ids.items() for option in (f"--{name}", value)]
        command = [sys.executable, "grpc_client.py", "--url", f"127.0.0.1:{relay.grpc_port}", *options]
        lines = "".join(f"{question}\n" for question in questions) + "\n"
        ran = subprocess.run(command, cwd=folder, input=lines, capture_output=True, text=True, timeout=30, check=True)
        return ran.stdout.splitlines()

    return run


# --- the shipped client ----------------------------------------------------------------------------------


def test_C5_the_shipped_client_keeps_its_context_within_a_session(open_relay, shipped):
    lane = open_relay.fresh().first
    lines = shipped(open_relay, "one", "two")
    assert [END.sub("", line) for line in lines] == ["first answer 1", "first answer 2"]
    assert END.search(lines[0])[1] == END.search(lines[1])[1]
    assert [text for _, text in told(lane.requests[1])] == ["one", "first answer 1", "two"]


def test_C5_another_session_of_the_shipped_client_begins_anew(open_relay, shipped):
    lane = open_relay.fresh().first
    ids = {END.search(shipped(open_relay, "one")[0])[1] for _ in range(2)}
    assert len(ids) == 2
    assert [len(told(request)) for request in lane.requests] == [1, 1]


def test_C5_the_shipped_client_goes_back_by_ids(open_relay, shipped):
    lane = open_relay.fresh().first
    end = END.search(shipped(open_relay, "one")[0])
    shipped(open_relay, "two", conversation_id=end[1], parent_id=end[2])
    assert [text for _, text in told(lane.requests[1])] == ["one", "first answer 1", "two"]


# --- the wire --------------------------------------------------------------------------------------------


def test_C5_the_bytes_on_the_wire(relay, lane):
    lane.play(stream(lane.speaker.events(["x"])))
    with open_channel(relay.grpc_port) as channel:
        raw = channel.unary_stream("/chat.Chat/Ask")
        said = list(raw(b"\x0a\x02hi", metadata=[("authorization", KEY)], wait_for_ready=True, timeout=15))
        assert said[-2] == b"\x0a\x01x"
        assert re.fullmatch(rb"\n.<\|end\|>\$[0-9a-f-]{36}\$[0-9a-f-]{36}", said[-1])
        assert told(lane.requests[0]) == [("user", "hi")]
        refused = list(
            raw(bytes.fromhex("0a 02 68 69 12 01 63 1a 01 64"), metadata=[("authorization", KEY)], timeout=15)
        )
        assert refused == [b"\x0a\x07<|err|>"]


def test_C5_each_piece_of_the_answer_is_a_message_as_it_comes(relay, lane, channel):
    signal = Signal()
    lane.play(held(lane, signal))
    texts = iter(channel.begin("x"))
    early = ""
    while early != "so far":
        early += next(texts).response
    signal.fire()
    assert heard([early, *(message.response for message in texts)]).text == "so far and on"


@pytest.mark.parametrize("word", ["", "new"])
def test_C5_a_new_conversation(relay, lane, channel, word):
    answer = channel.ask("one", word, word)
    assert answer.text == "first answer 1"
    assert told(lane.requests[0]) == [("user", "one")]


def test_C5_ids_resume_with_three_fields_and_with_two(relay, lane):
    with Channel(relay.grpc_port) as three, Channel(relay.grpc_port, proto=two_fields()) as two:
        first = three.ask("one")
        second = two.ask("two", first.conversation_id)
        third = three.ask("instead of two", first.conversation_id, first.parent_id)
    assert {first.conversation_id, second.conversation_id, third.conversation_id} == {first.conversation_id}
    assert [text for _, text in told(lane.requests[1])] == ["one", "first answer 1", "two"]
    assert [text for _, text in told(lane.requests[2])] == ["one", "first answer 1", "instead of two"]


def test_C5_two_fields_ask_alone(relay, lane):
    with Channel(relay.grpc_port, proto=two_fields()) as two:
        first, second = two.ask("one", "new"), two.ask("two")
    assert first.conversation_id == second.conversation_id


@pytest.mark.parametrize("prompt", ["price $5 now", "a\n\n  \nb", "<|end|>$x$y", "早上好 😀", '"quoted" \\ 100%'])
def test_C5_prompts(relay, lane, channel, prompt):
    channel.ask(prompt)
    arrives = "\n".join(line for line in prompt.split("\n") if line.strip())
    assert told(lane.requests[0]) == [("user", arrives)]


# --- the last conversation of a channel ----------------------------------------------------------------------


def test_C5_a_channel_goes_on_where_it_was_and_no_other_does(relay, lane):
    with Channel(relay.grpc_port) as one, Channel(relay.grpc_port) as other:
        first, stranger = one.ask("one"), other.ask("mine")
        again = one.ask("two")
    assert again.conversation_id == first.conversation_id != stranger.conversation_id
    assert [text for _, text in told(lane.requests[1])] == ["mine"]
    assert [text for _, text in told(lane.requests[2])] == ["one", "first answer 1", "two"]


def test_C5_new_begins_anew_on_a_channel_that_has_asked(relay, lane, channel):
    first = channel.ask("one")
    second = channel.ask("two", "new")
    third = channel.ask("three")
    assert first.conversation_id != second.conversation_id == third.conversation_id


def test_C5_two_keys_on_one_channel_share_nothing(relay, lane, channel):
    first = channel.ask("one")
    other = channel.ask("two", key=OTHER_KEY)
    assert other.conversation_id != first.conversation_id
    assert told(lane.requests[1]) == [("user", "two")]
    assert channel.ask("three").conversation_id == first.conversation_id


class Detour:
    """One connection to the gateway that comes from a port of our choice, and ends with a reset."""

    def __init__(self, target, source):
        self._listening = sockets.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._out = sockets.socket()
        self._out.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        self._out.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        self._out.bind(("127.0.0.1", source))
        self._out.connect(("127.0.0.1", target))
        self.ended = in_background(self._forward)

    def _forward(self):
        caller, _ = self._listening.accept()
        back = in_background(self._pump, self._out, caller)
        self._pump(caller, self._out)
        back.result(15)
        for each in (caller, self._out, self._listening):
            each.close()

    @staticmethod
    def _pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(sockets.SHUT_RDWR)


def test_C5_another_callers_channel_from_the_same_port_does_not_go_on(open_relay):
    """Ports come round again: behind a proxy soon, elsewhere later."""
    lane, source, ids = open_relay.fresh().first, free_port(), []
    for question in ("a secret", "what did I say?"):
        detour = Detour(open_relay.grpc_port, source)
        with Channel(detour.port) as channel:
            ids.append(channel.ask(question, key=None).conversation_id)
        detour.ended.result(15)
    assert told(lane.requests[1]) == [("user", "what did I say?")]
    assert ids[0] != ids[1]


def test_C5_a_channel_outlives_the_conversation_it_was_in(relay, lane, channel):
    first = channel.ask("one")
    assert native(relay, "DELETE", f"/api/conversations/{first.conversation_id}").status == 204
    assert channel.ask("two").conversation_id != first.conversation_id


# --- failures: one mark, status OK -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "said"),
    [(failed, []), (broken, ["so far"]), (lambda lane: [*stream(lane.speaker.opening(), end=False), close], [])],
    ids=["at once", "in the middle", "cut"],
)
def test_C5_a_failure_upstream(relay, lane, channel, script, said):
    """The original said everything four times over before it gave up."""
    lane.play(script(lane))
    before, code = channel.error("x")
    assert ["".join(before)] == said or before == said == []
    assert code.startswith(("upstream", "no_target"))
    assert channel.ask("again", "new").text.startswith("first answer")


def test_C5_failures_of_the_caller(relay, lane, channel):
    first = channel.ask("one", "new")
    for conversation, parent in ((NOBODYS_ID, ""), ("../../etc/passwd", ""), ("111222333", "444"), ("\0", "")):
        assert channel.error("x", conversation, parent) == ([], "not_found")
    for parent in (NOBODYS_ID, "444"):
        assert channel.error("x", first.conversation_id, parent) == ([], "not_found")
    for empty in ("", " \n "):
        assert channel.error(empty, "new")[0] == []
    assert len(lane.requests) == 1


def test_C5_bytes_that_are_no_request(relay, lane):
    with open_channel(relay.grpc_port) as channel:
        raw = channel.unary_stream("/chat.Chat/Ask")
        for data in (b"\xff\xff", b"\x0a\x05hi", b"\x0a\x01\xff"):
            assert list(raw(data, metadata=[("authorization", KEY)], wait_for_ready=True, timeout=15)) == [
                b"\x0a\x07<|err|>"
            ]
    assert lane.requests == []


@pytest.mark.parametrize("key", [None, "wrong", "Bearer wrong"])
def test_C5_no_good_key(relay, lane, channel, key):
    assert channel.error("x", key=key) == ([], "unauthenticated")
    assert lane.requests == []


@pytest.mark.parametrize("scheme", ["", "Bearer "])
def test_C5_keys_and_tokens(relay, lane, channel, scheme):
    channel.ask("x", key=scheme + KEY)
    channel.ask("x", key=scheme + mint(relay, "somebody"))


def test_C5_a_busy_conversation(relay, lane, channel):
    first, signal = channel.ask("one"), Signal()
    lane.play(held(lane, signal))
    slow = channel.begin("two", first.conversation_id)
    arrived(lane, 1)
    assert channel.error("three", first.conversation_id) == ([], "conflict")
    signal.fire()
    assert heard([message.response for message in slow]).text == "so far and on"
    channel.ask("four", first.conversation_id)
    assert [text for _, text in told(lane.requests[2])] == ["one", "first answer 1", "two", "so far and on", "four"]


def test_C5_ten_megabytes(relay, lane, channel):
    assert channel.error("x" * 10_000_000, "new") == ([], "too_large")
    assert lane.requests == []
    channel.ask("still here", "new")


# --- deadlines, cancelling -------------------------------------------------------------------------------


def test_C5_a_deadline_ends_the_work_upstream(relay, lane, channel):
    lane.play(held(lane, None))
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.begin("x", timeout_s=0.5))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert lane.requests[0].left.wait_here(5) - began < 2


def test_C5_a_cancelled_call_ends_the_work_upstream(relay, lane, channel):
    lane.play(held(lane, None))
    under_way = channel.begin("x")
    next(iter(under_way))
    began = time.monotonic()
    under_way.cancel()
    assert lane.requests[0].left.wait_here(5) - began < 1


def test_C5_a_channel_that_closes_ends_the_work_upstream(relay, lane):
    lane.play(held(lane, None))
    with Channel(relay.grpc_port) as channel:
        next(iter(channel.begin("x")))
    lane.requests[0].left.wait_here(5)


def test_C5_after_a_cancelled_turn_the_conversation_goes_on(relay, lane, channel):
    first = channel.ask("one")
    lane.play(held(lane, None))
    under_way = channel.begin("two", first.conversation_id)
    next(iter(under_way))
    under_way.cancel()
    lane.requests[1].left.wait_here(5)
    path = f"/api/conversations/{first.conversation_id}"
    while native(relay, "GET", path).json["messages"][-1]["state"] == "pending":
        pass
    assert channel.ask("three", first.conversation_id, first.parent_id).text == "first answer 3"


# --- the rest of the service -----------------------------------------------------------------------------


def test_C5_health(relay):
    with open_channel(relay.grpc_port) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "chat.Chat", "dragoman.v1.Chat"):
            reply = health.Check(health_pb2.HealthCheckRequest(service=service), wait_for_ready=True, timeout=15)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=15)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        first = next(iter(health.Watch(health_pb2.HealthCheckRequest(service=""), timeout=15)))
        assert first.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("method", ["/chat.Chat/Nothing", "/nothing.Nothing/Ask", "/chat.chat/ask"])
def test_C5_methods_that_are_not_there(relay, method):
    with open_channel(relay.grpc_port) as channel, pytest.raises(grpc.RpcError) as caught:
        list(channel.unary_stream(method)(b"", metadata=[("authorization", KEY)], wait_for_ready=True, timeout=15))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_C5_more_callers_than_the_originals_ten_threads(relay, lane, channel):
    signal = Signal()
    lane.always(lambda request: held(lane, signal))
    calls = [channel.begin(f"question {number}", "new") for number in range(20)]
    arrived(lane, 19)
    signal.fire()
    answers = [heard([message.response for message in under_way]) for under_way in calls]
    assert {answer.text for answer in answers} == {"so far and on"}
    assert len({answer.conversation_id for answer in answers}) == 20
