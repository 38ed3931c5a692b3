"""C6: the text protocol over WebSocket, with a client that reads every frame (5.3)."""

import uuid

import pytest
from c_clients import (
    ERROR,
    FORMAT,
    KEY,
    NOBODYS_ID,
    OTHER_KEY,
    arrived,
    ask,
    asked,
    broken,
    failed,
    frame,
    heard,
    held,
    listen,
    mint,
    open_socket,
    say,
    started_relay,
    told,
)

from upstream import Signal, close, stream


@pytest.fixture(scope="module")
def relay(upstream, tmp_path_factory):
    yield from started_relay(upstream, tmp_path_factory)


@pytest.fixture(scope="module")
def open_relay(upstream, tmp_path_factory):
    """No key is needed on WebSocket: the original asked for none."""
    yield from started_relay(upstream, tmp_path_factory, auth={"anonymous": ["websocket"]})


@pytest.fixture
def lane(relay):
    return relay.fresh().first


@pytest.fixture
def socket(relay, lane):
    with open_socket(relay.websocket_port) as socket:
        yield socket


# --- asking ----------------------------------------------------------------------------------------------


def test_C6_the_readmes_two_frames(relay, lane, socket):
    socket.send("<|ask|>$new$new$早上好")
    first = heard(listen(socket))
    assert first.text == "first answer 1"
    assert told(lane.requests[0]) == [("user", "早上好")]
    socket.send(f"<|ask|>${first.conversation_id}${first.parent_id}$早上好")
    second = heard(listen(socket))
    assert second.conversation_id == first.conversation_id
    assert [text for _, text in told(lane.requests[1])] == ["早上好", "first answer 1", "早上好"]


def test_C6_new_as_parent_goes_on_at_the_current_message(relay, lane, socket):
    first = say(socket, "one")
    say(socket, "two", first.conversation_id, "new")
    say(socket, "three", first.conversation_id, "")
    assert [len(told(request)) for request in lane.requests] == [1, 3, 5]


def test_C6_an_earlier_parent_makes_a_branch(relay, lane, socket):
    first = say(socket, "one")
    say(socket, "two", first.conversation_id, first.parent_id)
    say(socket, "instead of two", first.conversation_id, first.parent_id)
    assert [text for _, text in told(lane.requests[2])] == ["one", "first answer 1", "instead of two"]


def test_C6_new_is_always_new_for_one_client_and_for_two(relay, lane, socket):
    with open_socket(relay.websocket_port, key=OTHER_KEY) as other:
        ids = {say(each, "hello").conversation_id for each in (socket, other, socket, other)}
    assert len(ids) == 4
    assert [told(request) for request in lane.requests] == [[("user", "hello")]] * 4


@pytest.mark.parametrize("prompt", ["price $5 now", "$", "$$a$b$$", "<|ask|>$new$new$x", "<|end|>$a$b", "${HOME}"])
def test_C6_a_prompt_keeps_its_dollars(relay, lane, socket, prompt):
    """The original lost everything behind the first."""
    say(socket, prompt)
    assert told(lane.requests[0]) == [("user", prompt)]


@pytest.mark.parametrize("prompt", ["a\n\n \t\nb\r\n", "a\0b", "😀" * 1000, "\u2028", '"\\', "x" * 20_000])
def test_C6_prompts(relay, lane, socket, prompt):
    socket.send(frame(prompt))
    texts = listen(socket)
    if prompt in ("a\0b", "\u2028") and texts[-1].startswith(ERROR):
        assert lane.requests == []
    else:
        heard(texts)
        arrives = "a\nb" if prompt.startswith("a\n") else prompt
        assert told(lane.requests[0]) == [("user", arrives)]
    assert say(socket, "still here").text.startswith("first answer")


def test_C6_each_piece_comes_as_a_frame_of_its_own(relay, lane, socket):
    signal = Signal()
    lane.play(held(lane, signal))
    socket.send(frame("x"))
    early = ""
    while early != "so far":
        early += socket.recv(timeout=15)
    signal.fire()
    assert heard([early, *listen(socket)]).text == "so far and on"


@pytest.mark.parametrize("text", ["", "$", "\0", "😀", "a\n\nb", "x" * 200_000])
def test_C6_answers_arrive_as_they_were_given(relay, lane, socket, text):
    lane.play(stream(lane.speaker.events([text])))
    assert say(socket, "x").text == text


# --- one after another -----------------------------------------------------------------------------------


def test_C6_a_second_ask_waits_for_the_first(relay, lane, socket):
    signal = Signal()
    lane.play(held(lane, signal))
    socket.send(frame("one"))
    socket.send(frame("two"))
    arrived(lane)
    # Pong comes back although an answer is under way, and by then the second ask has been read.
    assert socket.ping().wait(15)
    assert len(lane.requests) == 1
    signal.fire()
    assert heard(listen(socket)).text == "so far and on"
    assert heard(listen(socket)).text == "first answer 2"


def test_C6_two_asks_in_one_conversation_are_both_answered_in_order(relay, lane, socket):
    first, signal = say(socket, "one"), Signal()
    lane.play(held(lane, signal))
    for prompt in ("two", "three"):
        socket.send(frame(prompt, first.conversation_id))
    arrived(lane, 1)
    signal.fire()
    assert [heard(listen(socket)).text for _ in range(2)] == ["so far and on", "first answer 3"]
    assert [text for _, text in told(lane.requests[2])] == ["one", "first answer 1", "two", "so far and on", "three"]


def test_C6_a_conversation_that_is_busy_elsewhere(relay, lane, socket):
    first, signal = say(socket, "one"), Signal()
    lane.play(held(lane, signal))
    with open_socket(relay.websocket_port) as other:
        other.send(frame("two", first.conversation_id))
        arrived(lane, 1)
        socket.send(frame("three", first.conversation_id))
        assert listen(socket) == [ERROR]
        signal.fire()
        assert heard(listen(other)).text == "so far and on"
    say(socket, "four", first.conversation_id)
    assert "three" not in [text for _, text in told(lane.requests[2])]


def test_C6_a_bad_frame_behind_an_ask_waits_its_turn(relay, lane, socket):
    signal = Signal()
    lane.play(held(lane, signal))
    socket.send(frame("one"))
    socket.send("nonsense")
    arrived(lane)
    signal.fire()
    assert heard(listen(socket)).text == "so far and on"
    assert socket.recv(timeout=15) == FORMAT


# --- credentials -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["raw", "bearer", "query", "token", "token in the query"])
def test_C6_a_key_in_the_handshake(relay, lane, how):
    token = mint(relay, "somebody")
    key = {"raw": KEY, "bearer": f"Bearer {KEY}", "token": token}.get(how)
    path = {"query": f"/?key={KEY}", "token in the query": f"/x?a=b&key={token}"}.get(how, "/")
    with open_socket(relay.websocket_port, path, key) as socket:
        say(socket, "x")


@pytest.mark.parametrize(("key", "path"), [(None, "/"), ("wrong", "/"), (None, "/?key=wrong"), (None, "/?key=")])
def test_C6_without_a_good_key_each_ask_is_refused(relay, lane, key, path):
    with open_socket(relay.websocket_port, path, key) as socket:
        for _ in range(2):
            socket.send(frame("x"))
            said = socket.recv(timeout=15)
            assert said.startswith(f"{ERROR}$"), said
            assert len(said) > len(ERROR) + 1
        assert socket.ping().wait(5)
    assert lane.requests == []


def test_C6_the_open_door(open_relay):
    open_relay.fresh()
    with open_socket(open_relay.websocket_port, key=None) as socket:
        first = say(socket, "one")
        assert say(socket, "two", first.conversation_id, first.parent_id).conversation_id == first.conversation_id
    assert ask(open_relay, "x", key=None).status == 401


# --- failures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "said"),
    [(failed, ""), (broken, "so far"), (lambda lane: [*stream(lane.speaker.opening(), end=False), close], "")],
    ids=["at once", "in the middle", "cut"],
)
def test_C6_a_failure_upstream_is_the_mark_alone_and_nothing_is_said_twice(relay, lane, socket, script, said):
    """The original sent the partial answer four times before the mark."""
    lane.play(script(lane))
    socket.send(frame("x"))
    *deltas, last = listen(socket)
    assert last == ERROR
    assert "".join(deltas) == said
    assert say(socket, "again").text.startswith("first answer")


@pytest.mark.parametrize("conversation", [NOBODYS_ID, "111222333", "../../etc/passwd", "a\0b", "😀"])
def test_C6_a_conversation_that_is_not_there(relay, lane, socket, conversation):
    socket.send(frame("x", conversation, "444"))
    assert socket.recv(timeout=15).startswith(ERROR)
    assert say(socket, "still here").text == "first answer 1"


def test_C6_a_parent_that_is_not_there(relay, lane, socket):
    first, other = say(socket, "one"), say(socket, "two")
    for parent in (NOBODYS_ID, "444", other.parent_id):
        socket.send(frame("x", first.conversation_id, parent))
        assert socket.recv(timeout=15).startswith(ERROR)
    assert len(lane.requests) == 2


def test_C6_what_began_here_goes_on_over_http(relay, lane, socket):
    first = say(socket, "one")
    second = asked(relay, "two", first.conversation_id, first.parent_id)
    assert uuid.UUID(second["parent_id"]).version == 4
    assert say(socket, "three", first.conversation_id, second["parent_id"]).text == "first answer 3"
    assert [len(told(request)) for request in lane.requests] == [1, 3, 5]
