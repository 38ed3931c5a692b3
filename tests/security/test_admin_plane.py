"""The operators' interface: who gets in, by which ways nobody does, and whose things are whose.

Items 9 to 16 of the security checklist (docs/admin.md), through a gateway as it runs.
"""

import itertools
import json

import pytest
from operators import House, ask

from dragoman.mounting import all_mounts, parted
from dragoman.sections import Admin, Server
from dragoman.settings import Settings
from gateway import free_port

NO_KEY, WRONG = "", "dgk_nobodys-key-nobodys-key-nobodys-key-nob"
MESSAGES = ("WS", "GRPC")
MOUNTS = [mount for mount in all_mounts(["echo"]) if mount.method not in (*MESSAGES, "*")]
ADMIN = [mount for mount in MOUNTS if mount.role == "admin"]
KEYS = "/api/admin/keys"


@pytest.fixture(scope="module")
def house(start):
    return start()


@pytest.fixture(scope="module")
def keys(house):
    """Whoever may show up: by name, the key it shows."""
    return {
        "no key": NO_KEY,
        "a wrong key": WRONG,
        "a user": house.make(name="user")[1],
        "an admin": house.make(name="admin", role="admin")[1],
        "the master": house.master,
    }


@pytest.fixture
def two(house):
    """Two users, and what each of them has: a key below its own, a request, a conversation."""
    return [Tenant(house, name) for name in ("ann", "bob")]


class Tenant:
    def __init__(self, house, name):
        self.id, self.key = house.make(name=name)
        self.child, _ = house.make(self.key, "/api/keys", name=f"below {name}")
        self.request = house.chat(self.key)
        self.conversation = house.begin(self.key)
        house.until(lambda: house.ask("GET", f"/api/requests/{self.request}", self.key).status == 200)


def target_of(mount):
    return mount.path.removesuffix("*") + "x" * mount.path.endswith("*")


def named(mount):
    return f"{mount.method} {mount.path} {mount.dialect}"


def body_of(mount):
    return {} if mount.method in ("POST", "PUT", "PATCH") else None


# --- item 9: where it is served -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moved(start):
    port = free_port()
    return start(admin={"port": port}), port


@pytest.mark.parametrize("mount", ADMIN, ids=named)
def test_item_09_on_a_public_address_without_tls_there_is_no_admin_plane(start_public, mount):
    house = start_public()
    reply = house.ask(mount.method, target_of(mount), house.master, body_of(mount))
    assert reply.status == 404, reply


@pytest.fixture(scope="module")
def start_public(start):
    started = []

    def start_public_():
        if not started:
            started.append(start(server={"host": "0.0.0.0", "grpc_port": 0, "websocket_port": 0}))
        return started[0]

    return start_public_


@pytest.mark.parametrize(
    ("server", "admin", "port", "where"),
    [
        ({"host": "127.0.0.1"}, {}, None, "main"),
        ({"host": "::1"}, {}, None, "main"),
        ({"host": "localhost"}, {}, None, "main"),
        ({"host": "0.0.0.0"}, {}, None, "nowhere"),
        ({"host": "::"}, {}, None, "nowhere"),
        ({"host": "gateway.example"}, {}, None, "nowhere"),
        ({"host": "127.0.0.1.example"}, {}, None, "nowhere"),
        ({"host": "::ffff:0.0.0.0"}, {}, None, "nowhere"),
        ({"host": "0.0.0.0", "tls_cert": "cert.pem", "tls_key": "key.pem"}, {}, None, "main"),
        ({"host": "0.0.0.0"}, {"public": True}, None, "main"),
        ({"host": "127.0.0.1"}, {"port": 9}, 9, "apart"),
        ({"host": "0.0.0.0"}, {"port": 9, "public": True}, 9, "apart"),
    ],
    ids=str,
)
def test_item_09_where_it_is_served(server, admin, port, where):
    main, apart = parted(MOUNTS, Settings(server=Server(**server), admin=Admin(**admin)), port)
    assert [mount for mount in main if mount.role == "user"] == [m for m in MOUNTS if m.role == "user"]
    assert [mount for mount in main if mount.role == "admin"] == (ADMIN if where == "main" else [])
    if where == "apart":
        # With the page, which any origin may serve: it holds nothing of anybody's.
        assert apart == [mount for mount in MOUNTS if mount.role == "admin" or mount.everywhere]
    # Without a port there is no listener for what stands apart.
    assert where == "apart" or port is None


def test_item_09_beside_a_public_address_what_users_have_is_there(start_public):
    house = start_public()
    assert house.ask("GET", "/api/keys", house.master).status == 200
    assert house.ask("GET", "/v1/models", house.master).status == 200


def test_item_09_it_is_public_only_if_the_operator_says_so(start):
    house = start(server={"host": "0.0.0.0"}, admin={"public": True})
    assert house.ask("GET", KEYS, house.master).status == 200
    assert house.ask("GET", KEYS).status == 401


@pytest.mark.parametrize("mount", ADMIN, ids=named)
def test_item_09_on_a_port_of_its_own_it_is_nowhere_else(moved, mount):
    house, port = moved
    target, body = target_of(mount), body_of(mount)
    assert house.ask(mount.method, target, house.master, body).status == 404
    assert house.ask(mount.method, target, NO_KEY, body, port=port).status == 401
    assert house.ask("GET", KEYS, house.master, port=port).status == 200


def test_item_09_on_a_port_of_its_own_there_is_no_chat(moved):
    house, port = moved
    assert house.ask("POST", "/v1/chat/completions", house.master, {}, port=port).status == 404


@pytest.mark.parametrize("text", ["", " \n", "short", "admin"])
def test_item_09_a_master_key_that_could_be_guessed_is_refused(tmp_path, text):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "master.key").write_text(text, encoding="ascii")
    with pytest.raises(AssertionError, match="this is not a master key"):
        House(tmp_path)


@pytest.mark.parametrize("section", [{"auth": {"keys": [""]}}, {"auth": {"hash_key": "short"}}], ids=str)
def test_item_09_an_empty_or_short_secret_is_refused(tmp_path, section):
    with pytest.raises(AssertionError, match="the gateway ended with"):
        House(tmp_path, **section)


# --- item 10: browsers ----------------------------------------------------------------------------------------


def test_item_10_a_cookie_is_never_a_key_and_none_is_ever_set(house):
    for name in ("key", "session", "Authorization", "x-api-key"):
        reply = house.ask("GET", KEYS, headers=[("Cookie", f"{name}={house.master}")])
        assert (reply.status, reply.code) == (401, "invalid_api_key")
        assert "set-cookie" not in reply.headers
    for mount in ADMIN:
        reply = house.ask(mount.method, target_of(mount), house.master, body_of(mount))
        assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("mount", ADMIN, ids=named)
def test_item_10_no_page_on_another_origin_can_read_an_answer(house, mount):
    headers = [("Origin", "https://evil.example")]
    for key in (NO_KEY, house.master):
        reply = house.ask(mount.method, target_of(mount), key, body_of(mount), headers)
        assert not [name for name in reply.headers if name.lower().startswith("access-control-")], reply
    asked = [*headers, ("Access-Control-Request-Method", mount.method)]
    preflight = house.ask("OPTIONS", target_of(mount), headers=asked)
    assert preflight.status == 405
    assert not [name for name in preflight.headers if name.lower().startswith("access-control-")]


def test_item_10_answers_are_not_kept_by_caches(house):
    for reply in (house.ask("GET", KEYS, house.master), house.ask("GET", KEYS)):
        assert reply.headers["cache-control"] == "no-store"


def test_item_10_there_is_no_way_in_by_websocket(house):
    headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    for mount in ADMIN:
        assert house.ask("GET", target_of(mount), house.master, headers=headers).status != 101
    assert not [mount for mount in all_mounts(["echo"]) if mount.role == "admin" and mount.method in MESSAGES]


# --- item 11: every route, every role -------------------------------------------------------------------------


def is_let_in(reply):
    """Whether something was done for this caller. System D says no with 200 and an error."""
    if reply.headers.get_content_type() == "application/x-ndjson":
        return json.loads(reply.body.splitlines()[0]).get("error") is not True
    return reply.status < 400


@pytest.mark.parametrize("mount", [mount for mount in MOUNTS if not mount.public], ids=named)
@pytest.mark.parametrize("who", ["no key", "a wrong key"])
def test_item_11_without_a_key_nothing_is_done(house, keys, mount, who):
    reply = house.ask(mount.method, target_of(mount), keys[who], body_of(mount))
    assert not is_let_in(reply), reply
    if mount.role == "admin":
        assert (reply.status, reply.code) == (401, "invalid_api_key")


@pytest.mark.parametrize("mount", ADMIN, ids=named)
def test_item_11_what_is_the_operators_is_for_admins_only(house, keys, mount):
    target, body = target_of(mount), body_of(mount)
    reply = house.ask(mount.method, target, keys["a user"], body)
    assert (reply.status, reply.code) == (403, "forbidden")
    for who in ("an admin", "the master"):
        assert house.ask(mount.method, target, keys[who], body).status not in (401, 403), who


@pytest.mark.parametrize("mount", [m for m in MOUNTS if m.role == "user" and not m.public], ids=named)
def test_item_11_what_is_the_users_is_for_whoever_has_a_key(house, keys, mount):
    target, body = target_of(mount), body_of(mount)
    for who in ("a user", "an admin", "the master"):
        status = house.ask(mount.method, target, keys[who], body).status
        assert status != 401, who
        # One without a key of the store has none below it; see test_office.
        assert status != 403 or (who == "the master" and mount.path == "/api/keys"), who


def test_item_11_everything_of_the_operators_says_so():
    """A mount that forgets its role would be a user's."""
    assert {m.path for m in MOUNTS if m.path.startswith(("/api/admin", "/metrics"))} == {m.path for m in ADMIN}
    assert not [mount for mount in ADMIN if mount.public or mount.door or mount.own_key or mount.stays]


def test_item_11_a_body_of_a_user_is_not_even_read(house, keys):
    before = house.ask("GET", KEYS, house.master).json
    for body in (b"{", {"role": "admin"}, b"\xff" * 1000):
        assert house.ask("POST", KEYS, keys["a user"], body).status == 403
    assert house.ask("GET", KEYS, house.master).json == before


# --- item 12: one path, and nothing but the path --------------------------------------------------------------

LIES = [
    ("Host", "localhost"),
    ("Host", "admin.internal"),
    ("Host", "evil.example"),
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Forwarded-Host", "127.0.0.1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Prefix", "/api/admin"),
    ("X-Forwarded-User", "master"),
    ("X-Real-IP", "127.0.0.1"),
    ("Forwarded", "for=127.0.0.1;host=localhost;proto=https"),
    ("X-Original-URL", KEYS),
    ("X-Rewrite-URL", KEYS),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Remote-User", "admin"),
    ("X-Role", "admin"),
    ("X-Client-Cert", "admin"),
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: f"{lie[0]} {lie[1]}")
def test_item_12_what_a_proxy_might_say_changes_nothing(house, keys, lie):
    assert house.ask("GET", KEYS, headers=[lie]).status == 401
    assert house.ask("GET", KEYS, keys["a user"], headers=[lie]).status == 403
    assert house.ask("GET", KEYS, house.master, headers=[lie]).status == 200
    assert house.ask("GET", "/health/live", headers=[lie]).json == {"live": True}
    for row in house.ask("GET", "/api/keys", keys["a user"], headers=[lie]).json["keys"]:
        assert set(row) == OWN_KEY


def test_item_12_a_lie_does_not_open_what_is_not_served(start_public):
    house = start_public()
    for lie in LIES:
        assert house.ask("GET", KEYS, house.master, headers=[lie]).status == 404, lie


TRICKS = [
    "//api/admin/keys",
    "/api//admin/keys",
    "/api/admin//keys",
    "/api/./admin/keys",
    "/api/admin/./keys",
    "/api/x/../admin/keys",
    "/v1/../api/admin/keys",
    "/health/live/../../api/admin/keys",
    "/api/keys/../admin/keys",
    "/docs/assets/../../api/admin/keys",
    "/api/%61dmin/keys",
    "/api%2fadmin%2fkeys",
    "/api/admin%2fkeys",
    "/api/x/%2e%2e/admin/keys",
    "/api/%2e/admin/keys",
    "/api/x/..%2fadmin/keys",
    "/api/x/%252e%252e/admin/keys",
    "/api/admin;x/keys",
    "/api/admin/keys;x=1",
    "/api/admin/keys;",
    "/api;/admin/keys",
    "/API/ADMIN/KEYS",
    "/api/Admin/keys",
    "/api/admin/Keys",
    "/api/admin/keys.",
    "/api/admin./keys",
    "/api/admin/keys/",
    "/api/admin/keys/.",
    "/api/admin/keys/..",
    "/api/admin/keys/x/../",
    "/api/admin/keys.json",
    "/api/admin/keys%20",
    "/api/admin/keys%00",
    "/api/admin/keys%23",
    "/api\\admin\\keys",
    "/api/admin\\keys",
    "/\\api/admin/keys",
]


@pytest.mark.parametrize("path", TRICKS)
def test_item_12_no_other_spelling_leads_there(house, keys, path):
    """What is authorised is what is served: a spelling that the table does not know is nobody's, the master's too."""
    for key, method in itertools.product((NO_KEY, keys["a user"]), ("GET", "POST")):
        assert house.ask(method, path, key, {} if method == "POST" else None).status in (400, 401, 403, 404, 405)
    before = house.ask("GET", KEYS, house.master).json
    assert house.ask("GET", path, house.master).status in (400, 404, 405)
    assert house.ask("POST", path, house.master, {}).status in (400, 404, 405)
    assert house.ask("GET", KEYS, house.master).json == before


@pytest.mark.parametrize(
    "form", ["http://evil.example/api/admin/keys", "http://127.0.0.1/api/admin/keys", "api/admin/keys", "*"]
)
def test_item_12_another_form_of_target_needs_the_same_key(house, keys, form):
    assert house.ask("GET", form).status in (400, 401, 404)
    assert house.ask("GET", form, keys["a user"]).status in (400, 403, 404)


@pytest.mark.parametrize("method", ["get", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "LIST", "GETX"])
def test_item_12_another_method_does_nothing(house, keys, method):
    for key in (NO_KEY, keys["a user"], house.master):
        assert ask(house.port, method, KEYS, key).status >= 400


def test_item_12_two_keys_that_disagree_are_refused(house, keys):
    headers = [("x-api-key", keys["a user"])]
    assert house.ask("GET", KEYS, house.master, headers=headers).status == 400
    assert house.ask("GET", KEYS, keys["a user"], headers=[("Authorization", f"Bearer {house.master}")]).status == 400


def test_item_12_a_key_in_the_query_is_none(house):
    assert house.ask("GET", f"{KEYS}?key={house.master}&api_key={house.master}").status == 401


# --- item 13: who may say what --------------------------------------------------------------------------------

SAID = {
    "role": "admin",
    "owner": "Eve",
    "team": "research",
    "maker": "",
    "principal": "user:bob",
    "priority": 1000,
    "keeps_content": True,
    "id": "mine",
    "digest": "x",
    "created": 0,
    "prefix": "dgk_",
}


@pytest.mark.parametrize("field", SAID)
def test_item_13_a_user_cannot_say_what_follows_from_its_key(house, two, field):
    ann, _ = two
    reply = house.ask("POST", "/api/keys", ann.key, {"name": "child", field: SAID[field]})
    assert (reply.status, reply.field) == (400, field)
    for id_ in (ann.id, ann.child):
        before = house.ask("GET", f"{KEYS}/{id_}", house.master).json
        reply = house.ask("PATCH", f"/api/keys/{id_}", ann.key, {field: SAID[field]})
        assert (reply.status, reply.field) == (400, field)
        assert house.ask("GET", f"{KEYS}/{id_}", house.master).json == before


@pytest.mark.parametrize("field", ["maker", "id", "digest", "created", "prefix", "secret", "last_four"])
def test_item_13_what_the_gateway_says_nobody_else_does(house, field):
    reply = house.ask("POST", KEYS, house.master, {field: "x"})
    assert (reply.status, reply.field) == (400, field)


def test_item_13_nobody_lifts_its_own_limits(house):
    id_, key = house.make(budget={"micro": 5, "window": "day"}, limits={"parallel": 1}, models=["echo/*"])
    wanted = {
        "budget": {"micro": 10**9},
        "limits": {"parallel": 1000},
        "models": ["*"],
        "dialects": ["*"],
        "expires": None,
        "tags": ["vip"],
    }
    before = house.ask("GET", f"{KEYS}/{id_}", house.master).json
    for field, value in wanted.items():
        assert house.ask("PATCH", f"/api/keys/{id_}", key, {field: value}).status == 403, field
    assert house.ask("GET", f"{KEYS}/{id_}", house.master).json == before


# --- item 14: whose is whose ----------------------------------------------------------------------------------


def test_item_14_keys_are_not_there_for_others(house, two):
    for mine, others in itertools.permutations(two):
        for id_ in (others.id, others.child):
            for method, rest, body in (
                ("GET", "", None),
                ("PATCH", "", {"disabled": True}),
                ("POST", "/rotate", {}),
                ("DELETE", "", None),
            ):
                reply = house.ask(method, f"/api/keys/{id_}{rest}", mine.key, body)
                nowhere = house.ask(method, f"/api/keys/nobodys{rest}", mine.key, body)
                assert (reply.status, reply.body) == (404, nowhere.body)
        listed = house.ask("GET", "/api/keys", mine.key).json["keys"]
        assert [row["id"] for row in listed] == [mine.child]
    for tenant in two:
        assert house.ask("GET", f"/api/keys/{tenant.child}", tenant.key).json["disabled"] is False


def test_item_14_usage_is_not_told_to_others(house, two):
    for mine, others in itertools.permutations(two):
        for query in (f"principal=key:{others.id}", "principal=", "principal=master", "team=research"):
            reply = house.ask("GET", f"/api/usage?{query}", mine.key)
            assert (reply.status, reply.code) == (403, "forbidden"), query
        own = house.ask("GET", "/api/usage?group=principal", mine.key).json["rows"]
        assert [row["principal"] for row in own] == [f"key:{mine.id}"]
        assert house.ask("GET", f"/api/usage?principal=key:{mine.id}", mine.key).status == 200
    everybody = house.ask("GET", "/api/admin/usage?group=principal&limit=250", house.master).json["rows"]
    assert {f"key:{tenant.id}" for tenant in two} <= {row["principal"] for row in everybody}


def test_item_14_requests_are_not_there_for_others(house, two):
    for mine, others in itertools.permutations(two):
        reply = house.ask("GET", f"/api/requests/{others.request}", mine.key)
        assert (reply.status, reply.body) == (404, house.ask("GET", "/api/requests/nobodys", mine.key).body)
        assert house.ask("GET", f"/api/requests?principal=key:{others.id}", mine.key).status == 403
        assert house.ask("GET", f"/api/requests?key={others.id}", mine.key).json["requests"] == []
        listed = {row["id"] for row in house.ask("GET", "/api/requests", mine.key).json["requests"]}
        assert mine.request in listed
        assert others.request not in listed


def test_item_14_conversations_are_not_there_for_others(house, two):
    for mine, others in itertools.permutations(two):
        path = f"/api/conversations/{others.conversation}"
        for method, target, body in (
            ("GET", path, None),
            ("GET", f"{path}/export", None),
            ("PATCH", path, {"title": "Mine now"}),
            ("DELETE", path, None),
        ):
            assert house.ask(method, target, mine.key, body).status == 404
        listed = house.ask("GET", "/api/conversations", mine.key).json["conversations"]
        assert [row["id"] for row in listed] == [mine.conversation]
    for tenant in two:
        assert house.ask("GET", f"/api/conversations/{tenant.conversation}", tenant.key).status == 200


# --- item 15: what is shown to whom ---------------------------------------------------------------------------

OWN_KEY = {
    *("id", "name", "prefix", "last_four", "tags", "created", "expires", "disabled", "models", "dialects"),
    *("limits", "budget", "overlap_until"),
}
ANY_KEY = OWN_KEY | {"owner", "team", "role", "maker", "principal", "keeps_content", "priority"}
OWN_CALL = {
    *("id", "at", "key", "dialect", "wire", "model", "outcome", "code", "status", "streamed", "tokens", "estimated"),
    *("cost_micro", "queued_ms", "first_byte_ms", "total_ms"),
}
ANY_CALL = OWN_CALL | {
    *("principal", "team", "tags", "provider", "target", "credential", "tier", "route", "reserved_micro", "attempts"),
}


def test_item_15_each_role_is_shown_its_fields_and_no_others(house, two):
    ann, _ = two
    master, key = house.master, ann.key
    for shown, path, by in ((ANY_KEY, KEYS, master), (OWN_KEY, "/api/keys", key)):
        assert set(house.ask("GET", f"{path}/{ann.child}", by).json) == shown
        assert set(house.ask("GET", path, by).json["keys"][0]) == shown
        assert set(house.ask("PATCH", f"{path}/{ann.child}", by, {"name": "n"}).json) == shown
        assert set(house.ask("POST", path, by, {}).json) == shown | {"secret"}
        assert set(house.ask("POST", f"{path}/{ann.child}/rotate", by, {}).json) == shown | {"secret"}
    for shown, path, by, more in (
        (ANY_CALL, "/api/admin/requests", master, {"question", "answer", "story"}),
        (OWN_CALL, "/api/requests", key, {"question", "answer"}),
    ):
        assert set(house.ask("GET", path, by).json["requests"][0]) == shown
        assert set(house.ask("GET", f"{path}/{ann.request}", by).json) == shown | more


def test_item_15_no_secret_and_no_digest_is_shown_to_anybody(house, two):
    fresh = house.make(name="canary")[1]
    shown = b"".join(
        house.ask("GET", path, house.master).body
        for path in (KEYS, "/api/admin/users", "/api/admin/teams", "/api/admin/pool", "/api/admin/settings")
    )
    for secret in (fresh, house.master, *(tenant.key for tenant in two)):
        assert secret.encode() not in shown
        assert secret[8:-4].encode() not in shown
    for word in (b"digest", b"argon2", b"hash_key="):
        assert word not in shown.replace(b'"auth.hash_key"', b"")


def test_item_15_a_secret_is_shown_once(house):
    id_, secret = house.make(name="once")
    assert house.ask("GET", "/v1/models", secret).status == 200
    for path in (KEYS, f"{KEYS}/{id_}"):
        assert b"secret" not in house.ask("GET", path, house.master).body


def test_item_15_what_was_said_is_not_kept_unless_the_key_says_so(house, two):
    ann, _ = two
    one = house.ask("GET", f"/api/admin/requests/{ann.request}", house.master).json
    assert (one["question"], one["answer"]) == (None, None)
    _, key = house.make(keeps_content=True)
    request = house.chat(key)
    path = f"/api/requests/{request}"
    kept = house.until(lambda: (r := house.ask("GET", path, key)).status == 200 and r.json["question"] and r.json)
    assert "Hello" in kept["question"]


# --- item 16: keys below keys ---------------------------------------------------------------------------------


@pytest.fixture
def bounded(house):
    """A key with bounds of every kind: its id, its secret, and when it ends."""
    expires = 4_000_000_000
    fields = {"models": ["echo/*"], "dialects": ["openai", "own_keys"], "expires": expires}
    return *house.make(**fields, budget={"amount": "0.50", "window": "day"}, limits={"parallel": 1}), expires


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("models", ["*"]),
        ("models", ["echo/*", "gpt-4o"]),
        ("models", ["*/*"]),
        ("models", ["echo/[a-z]*", "e*"]),
        ("dialects", ["*"]),
        ("dialects", ["anthropic"]),
        ("expires", 4_000_000_001),
    ],
)
def test_item_16_more_than_the_maker_has_is_refused(house, bounded, field, value):
    _, key, _ = bounded
    reply = house.ask("POST", "/api/keys", key, {field: value})
    assert (reply.status, reply.code) == (403, "forbidden")
    child, _ = house.make(key, "/api/keys")
    before = house.ask("GET", f"{KEYS}/{child}", house.master).json
    assert house.ask("PATCH", f"/api/keys/{child}", key, {field: value}).status == 403
    assert house.ask("GET", f"{KEYS}/{child}", house.master).json == before


def test_item_16_what_is_not_said_is_the_makers(house, bounded):
    _, key, expires = bounded
    reply = house.ask("POST", "/api/keys", key, {})
    assert (reply.json["models"], reply.json["dialects"]) == (["echo/*"], ["openai", "own_keys"])
    assert reply.json["expires"] == expires
    assert house.ask("GET", f"{KEYS}/{reply.json['id']}", house.master).json["role"] == "user"


def test_item_16_a_right_that_the_maker_loses_its_children_lose(house):
    id_, key = house.make(models=["echo/*"])
    _, child = house.make(key, "/api/keys")
    _, grandchild = house.make(child, "/api/keys")
    body = {"model": "echo/echo", "messages": [{"role": "user", "content": "Hello"}]}

    def statuses():
        return [house.ask("POST", "/v1/chat/completions", k, body).status for k in (child, grandchild)]

    assert statuses() == [200, 200]
    assert house.ask("PATCH", f"{KEYS}/{id_}", house.master, {"models": ["nothing"]}).status == 200
    assert statuses() == [404, 404]
    assert house.ask("PATCH", f"{KEYS}/{id_}", house.master, {"models": ["*"], "disabled": True}).status == 200
    assert statuses() == [401, 401]
    assert house.ask("PATCH", f"{KEYS}/{id_}", house.master, {"disabled": False}).status == 200
    assert statuses() == [200, 200]
    assert house.ask("DELETE", f"{KEYS}/{id_}", house.master).status == 204
    assert statuses() == [401, 401]


def test_item_16_an_admins_key_is_not_made_by_a_user_at_any_remove(house):
    _, admin = house.make(role="admin")
    _, below = house.make(admin, "/api/keys")
    assert house.ask("GET", KEYS, below).status == 403
    _, user = house.make()
    assert house.ask("POST", "/api/keys", user, {"role": "admin"}).status == 400
    assert house.ask("POST", KEYS, user, {"role": "admin"}).status == 403
