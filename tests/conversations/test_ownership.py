"""Nobody sees, lists, continues, renames, exports or deletes another's conversation, whoever they are."""

import pytest
from c_clients import (
    KEY,
    OTHER_KEY,
    SECRET_KEY,
    Channel,
    Relay,
    arrived,
    call,
    held,
    in_background,
    mint,
    native,
    open_socket,
    say,
    started_relay,
)
from speakers import SPEAKERS, Ask, EventsWs, WebSocket, listed, native_error, read

from upstream import Signal

OWNERS = ["key", "other key", "token", "other token", "anonymous"]
DOORS = {"Ask", "Grpc", "WebSocket"}
"""The dialects that `[auth] anonymous` opens to callers without a key."""


@pytest.fixture(scope="module")
def relay(upstream, tmp_path_factory):
    anonymous = {"anonymous": ["ask", "grpc", "websocket", "relay"]}
    yield from started_relay(upstream, tmp_path_factory, auth=anonymous)


@pytest.fixture
def keys(relay):
    tokens = [mint(relay, id_) for id_ in ("1000", "1001")]
    return dict(zip(OWNERS, [KEY, OTHER_KEY, *tokens, None], strict=True))


@pytest.fixture(params=OWNERS)
def owner(request):
    return request.param


@pytest.fixture
def theirs(relay, lane, keys, owner):
    """A conversation of `owner`."""
    return WebSocket(relay, keys[owner]).turn(f"the secret of {owner}")


def others(keys, owner):
    return {name: key for name, key in keys.items() if name != owner}


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_nobody_else_continues_it(relay, lane, keys, owner, theirs, speaker):
    for name, key in others(keys, owner).items():
        if key is None and speaker.__name__ not in DOORS:
            assert speaker(relay, None).refusal("go on", theirs.conversation_id, theirs.message_id) == "unauthenticated"
            continue
        code = speaker(relay, key).refusal("go on", theirs.conversation_id, theirs.message_id)
        assert code in ("not_found", None), name
    assert len(lane.requests) == 1
    if keys[owner] is not None or speaker.__name__ in DOORS:
        said = speaker(relay, keys[owner]).turn("go on", theirs.conversation_id, theirs.message_id)
        assert said.conversation_id == theirs.conversation_id


def test_nobody_else_reads_lists_renames_exports_or_deletes_it(relay, keys, owner, theirs):
    path = f"/api/conversations/{theirs.conversation_id}"
    ways = [
        ("GET", path, None),
        ("PATCH", path, {"title": "mine now"}),
        ("GET", f"{path}/export?format=json", None),
        ("GET", f"{path}/export?format=markdown", None),
        ("DELETE", path, None),
        ("GET", f"/api/conversations?before={theirs.conversation_id}", None),
    ]
    for name, key in others(keys, owner).items():
        for method, where, body in ways:
            reply = native(relay, method, where, body, key)
            native_error(reply, 401 if key is None else 404)
            assert b"secret" not in reply.body, name
    if keys[owner] is None:
        return
    assert theirs.conversation_id in {row["id"] for row in listed(relay, keys[owner])["conversations"]}
    assert read(relay, theirs.conversation_id, keys[owner])["title"] == f"the secret of {owner}"


def test_every_list_has_ones_own_only(relay, lane, keys):
    secrets = {name: f"{name} only" for name in OWNERS}
    made = {name: WebSocket(relay, keys[name]).turn(secret).conversation_id for name, secret in secrets.items()}
    for name, key in keys.items():
        if key is None:
            continue
        shown = [
            native(relay, "GET", "/api/conversations?limit=100", key=key).body,
            native(relay, "GET", "/api/conversations?q=only", key=key).body,
            call(relay.port, "GET", "/conv?limit=100", key=key, Chat_Type="conversations").body,
            call(relay.port, "GET", "/backend-api/conversations?limit=100", key=f"Bearer {key}").body,
        ]
        for body in shown:
            assert made[name].encode() in body
            assert not [other for other, id_ in made.items() if other != name and id_.encode() in body]


def test_the_back_ends_operations_are_scoped_too(relay, lane, keys, owner, theirs):
    path = f"/backend-api/conversation/{theirs.conversation_id}"
    for key in others(keys, owner).values():
        if key is None:
            continue
        bearer = f"Bearer {key}"
        for method, body in (("GET", None), ("PATCH", {"title": "mine"}), ("PATCH", {"is_visible": False})):
            assert call(relay.port, method, path, body, bearer).status == 404
        chat_type = {"Chat_Type": f"conversation/{theirs.conversation_id}"}
        assert call(relay.port, "GET", "/conv", key=key, **chat_type).status == 404
    if keys[owner] is not None:
        assert call(relay.port, "GET", path, key=f"Bearer {keys[owner]}").json["title"] == f"the secret of {owner}"


def test_deleting_all_deletes_ones_own_only(relay, lane, keys):
    mine = WebSocket(relay, keys["token"]).turn("mine")
    theirs = WebSocket(relay, keys["other token"]).turn("theirs")
    reply = call(relay.port, "PATCH", "/backend-api/conversations", {"is_visible": False}, f"Bearer {keys['token']}")
    assert reply.status == 200, reply
    native_error(native(relay, "GET", f"/api/conversations/{mine.conversation_id}", key=keys["token"]), 404)
    assert read(relay, theirs.conversation_id, keys["other token"])


def test_one_token_minted_twice_is_one_owner(relay, lane, keys):
    begun = Ask(relay, keys["token"]).turn("one")
    again = mint(relay, "1000")
    assert Ask(relay, f"Bearer {again}").turn("two", begun.conversation_id).conversation_id == begun.conversation_id


def test_the_master_key_of_system_a_is_nobody_elses_owner(relay, lane, keys, owner, theirs):
    native_error(native(relay, "GET", f"/api/conversations/{theirs.conversation_id}", key=SECRET_KEY), 404)


def test_a_token_whose_id_looks_like_another_owner_is_not_that_owner(relay, lane, keys, owner, theirs):
    for id_ in ("anonymous", "", "token:1000", "user:1000", "key", "0"):
        token = mint(relay, id_)
        native_error(native(relay, "GET", f"/api/conversations/{theirs.conversation_id}", key=token), 404)


def test_a_busy_conversation_of_another_is_not_found_rather_than_busy(relay, lane, keys):
    begun, signal = Ask(relay, KEY).turn("one"), Signal()
    lane.play(held(lane, signal))
    slow = in_background(EventsWs(relay, KEY).turn, "two", begun.conversation_id)
    arrived(lane, 1)
    assert EventsWs(relay, OTHER_KEY).refusal("three", begun.conversation_id) == "not_found"
    signal.fire()
    slow.result(15)


def test_anonymous_callers_never_share_a_new_conversation(relay, lane):
    with open_socket(relay.websocket_port, key=None) as one, open_socket(relay.websocket_port, key=None) as other:
        ids = [say(one, "x").conversation_id, say(other, "x").conversation_id]
        with Channel(relay.grpc_port) as channel, Channel(relay.grpc_port) as second:
            ids += [channel.ask("x", key=None).conversation_id, second.ask("x", key=None).conversation_id]
    assert len(set(ids)) == 4


def test_keys_keep_their_conversations_when_their_order_changes(upstream, tmp_path):
    relay = Relay(upstream, tmp_path)
    begun = Ask(relay, OTHER_KEY).turn("one")
    relay.stop()
    relay.tree["auth"]["keys"] = ["a new key", OTHER_KEY, KEY]
    relay.start()
    try:
        assert read(relay, begun.conversation_id, OTHER_KEY)
        for key in ("a new key", KEY):
            native_error(native(relay, "GET", f"/api/conversations/{begun.conversation_id}", key=key), 404)
    finally:
        relay.stop()
