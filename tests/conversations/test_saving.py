"""What was said survives: `kill -9` in mid-stream, a stop, a database that goes away; on SQLite and on PostgreSQL."""

import contextlib
import json
from types import SimpleNamespace

import pytest
from c_clients import KEY, Relay, arrived, ask, asked, call, failure, held, in_background, native, open_socket, told
from speakers import Ask, EventsWs, Grpc, WebSocket, native_error, read, rows, settled, until

from gateway import Gateway
from upstream import Signal, hold

KINDS = ["sqlite", "postgresql"]
LEASE_S = 20
"""How long a process that died may hold its conversations where others share the database."""


# --- kill -9 ---------------------------------------------------------------------------------------------


def crash(relay):
    """Leave a conversation in the middle of its third answer and a new one before its first, and kill the gateway."""
    first = WebSocket(relay).turn("one")
    Grpc(relay).turn("two", first.conversation_id)
    relay.first.play(held(relay.first, None), [hold()])
    with open_socket(relay.port, "/v1/ws") as socket:
        socket.send(f'{{"type":"ask","id":"a","content":"three","conversation_id":"{first.conversation_id}"}}')
        arrived(relay.first, 2)
        socket.send('{"type":"ask","id":"b","content":"remember the milk"}')
        arrived(relay.first, 3)
        kept = until(lambda: rows(read(relay, first.conversation_id))[5] == ("assistant", "so far", "pending"))
        relay.kill()
    return SimpleNamespace(relay=relay, id=first.conversation_id, kept=kept)


@pytest.fixture(scope="module")
def crashes(upstream, tmp_path_factory, url_of):
    """Both crashes, and both gateways started again."""
    relays = {kind: Relay(upstream, tmp_path_factory.mktemp(kind), store={"url": url_of(kind)}) for kind in KINDS}
    under_way = {kind: in_background(crash, relay) for kind, relay in relays.items()}
    crashed = {kind: future.result(40) for kind, future in under_way.items()}
    for relay in relays.values():
        relay.fresh().start()
    yield crashed
    for relay in relays.values():
        relay.stop()


@pytest.fixture(params=KINDS)
def crashed(crashes, request):
    return crashes[request.param]


def test_kill_all_that_was_saved_is_there_and_the_answer_is_marked(crashed):
    row = until(lambda: (row := rows(read(crashed.relay, crashed.id))[5])[2] != "pending" and row, LEASE_S)
    assert row == ("assistant", "so far", "broken")
    assert rows(read(crashed.relay, crashed.id))[:5] == [
        ("user", "one", "complete"),
        ("assistant", "first answer 1", "complete"),
        ("user", "two", "complete"),
        ("assistant", "first answer 2", "complete"),
        ("user", "three", "complete"),
    ]


def test_kill_a_question_is_saved_before_a_provider_is_asked(crashed):
    [found] = native(crashed.relay, "GET", "/api/conversations?q=remember").json["conversations"]
    story = read(crashed.relay, found["id"])
    assert rows(story)[0] == ("user", "remember the milk", "complete")
    answers = until(lambda: [r for r in rows(read(crashed.relay, found["id"]))[1:] if r[2] != "pending"], LEASE_S)
    assert answers == [("assistant", "", "broken")]


def test_kill_both_conversations_go_on(crashed):
    lane = crashed.relay.fresh().first
    until(lambda: ask(crashed.relay, "four", crashed.id).status == 200, LEASE_S)
    texts = [text for _, text in told(lane.requests[0])]
    assert texts == ["one", "first answer 1", "two", "first answer 2", "three", "so far", "four"]
    [found] = native(crashed.relay, "GET", "/api/conversations?q=remember").json["conversations"]
    until(lambda: ask(crashed.relay, "again", found["id"]).status == 200, LEASE_S)
    assert told(lane.requests[1]) == [("user", "again")]


def test_kill_the_list_and_the_numbers_are_whole(crashed):
    tree = native(crashed.relay, "GET", "/api/conversations").json
    assert tree["total"] == len(tree["conversations"]) == 2


# --- a stop in good order --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_saves_what_was_said_and_the_conversation_goes_on_at_once(upstream, tmp_path, url_of, kind):
    relay = Relay(upstream, tmp_path, store={"url": url_of(kind)}, server={"grace_s": 0.3})
    try:
        first = Ask(relay).turn("one")
        relay.first.play(held(relay.first, None))
        with open_socket(relay.port, "/v1/ws") as socket:
            socket.send(f'{{"type":"ask","id":"a","content":"two","conversation_id":"{first.conversation_id}"}}')
            said = ""
            while said != "so far":
                said += json.loads(socket.recv(timeout=15)).get("text", "")
            assert relay.gateway.stop() == 0
        relay.fresh().start()
        role, content, state = rows(read(relay, first.conversation_id))[3]
        assert (role, content) == ("assistant", "so far")
        assert state in ("broken", "cancelled")
        asked(relay, "three", first.conversation_id)
        assert [text for _, text in told(relay.first.requests[0])][-2:] == ["so far", "three"]
    finally:
        relay.stop()


# --- two processes, one database -----------------------------------------------------------------------------


def test_two_gateways_on_one_database_are_one(upstream, tmp_path_factory, url_of):
    url = url_of("postgresql")
    one, other = (Relay(upstream, tmp_path_factory.mktemp("pair"), store={"url": url}) for _ in range(2))
    try:
        first, signal = Ask(one).turn("one"), Signal()
        second = Grpc(other).turn("two", first.conversation_id)
        assert [text for _, text in told(other.first.requests[0])] == ["one", "first answer 1", "two"]
        one.first.play(held(one.first, signal))
        slow = in_background(EventsWs(one).turn, "three", first.conversation_id)
        arrived(one.first, 1)
        assert ask(other, "four", first.conversation_id).status == 409
        signal.fire()
        slow.result(15)
        settled(other, first.conversation_id, 5)
        Ask(other).turn("four", first.conversation_id)
        assert len(told(other.first.requests[1])) == 7
        assert second.message_id in {row["id"] for row in read(one, first.conversation_id)["messages"]}
    finally:
        one.stop()
        other.stop()


def test_a_second_gateway_on_one_data_folder_is_refused_or_harms_nothing(upstream, tmp_path):
    """SQLite is for one process: what the first has under way is not the second's to end."""
    one, signal, second = Relay(upstream, tmp_path), Signal(), None
    try:
        first = Ask(one).turn("one")
        one.first.play(held(one.first, signal))
        slow = in_background(EventsWs(one).turn, "two", first.conversation_id)
        arrived(one.first, 1)
        with contextlib.suppress(AssertionError):
            elsewhere = {"grpc_port": 0, "websocket_port": 0}
            second = Gateway({**one.tree, "server": {**one.tree["server"], **elsewhere}}, tmp_path)
        signal.fire()
        slow.result(15)
        assert rows(read(one, first.conversation_id))[3] == ("assistant", "so far and on", "complete")
    finally:
        one.stop()
        if second:
            second.stop()


# --- the database goes away ------------------------------------------------------------------------------


def test_a_database_that_is_away_is_a_clear_refusal_and_comes_back(upstream, tmp_path, postgres, url_of):
    relay = Relay(upstream, tmp_path, store={"url": url_of("postgresql")})
    chat = {"model": relay.model, "messages": [{"role": "user", "content": "hi"}]}
    try:
        first = Ask(relay).turn("one")
        postgres.stop()
        try:
            failure(ask(relay, "two", first.conversation_id))
            assert EventsWs(relay).refusal("two", first.conversation_id) == "store_failed"
            assert Grpc(relay).refusal("two", first.conversation_id) == "store_failed"
            native_error(native(relay, "GET", "/api/conversations"), 503)
            assert len(relay.first.requests) == 1
            assert call(relay.port, "POST", "/v1/chat/completions", chat, f"Bearer {KEY}").status == 200
        finally:
            postgres.start()
        until(lambda: "message" in ask(relay, "two", first.conversation_id).json)
        assert [text for _, text in told(relay.first.requests[-1])] == ["one", "first answer 1", "two"]
    finally:
        relay.stop()
