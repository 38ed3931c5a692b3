"""Item 10 of the security checklist: the page's session, and that its cookie opens nothing but `/api/session`.

Through a gateway as it runs (docs/security.md, "The page's session").
"""

import json
import re
from http.client import HTTPConnection

import pytest
from operators import Reply
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from dragoman.mounting import all_mounts
from gateway import free_port

SESSION, TOKEN = "/api/session", "/api/session/token"
MESSAGES = ("WS", "GRPC")
MOUNTS = [mount for mount in all_mounts(["echo"]) if mount.method not in (*MESSAGES, "*")]
GUARDED = [mount for mount in MOUNTS if not mount.public]
PATIENCE_S = 15
# What differs between any two answers of one kind.
OWN = re.compile(rb'"(request_id|created|id)":("[^"]*"|\d+)')


class Page:
    """Somebody at the page, with a browser that keeps one cookie."""

    def __init__(self, house, **by):
        self.house = house
        reply = self.log_in(house, **by)
        assert reply.status == 200, reply
        self.set = reply.headers["set-cookie"]
        self.cookie = self.set.partition(";")[0]
        self.csrf = reply.json["csrf"]
        self.token = reply.json["token"]["secret"]

    @staticmethod
    def log_in(house, headers=(), **by):
        return house.ask("POST", SESSION, body=by, headers=headers)

    def ask(self, method, target, headers=(), body=None):
        return self.house.ask(method, target, body=body, headers=[("Cookie", self.cookie), *headers])


@pytest.fixture(scope="module")
def house(start):
    return start()


@pytest.fixture
def page(house):
    return Page(house, key=house.master)


def named(mount):
    return f"{mount.method} {mount.path} {mount.dialect}"


def target_of(mount):
    return mount.path.removesuffix("*") + "x" * mount.path.endswith("*")


def body_of(mount):
    return {} if mount.method in ("POST", "PUT", "PATCH") else None


def seen(reply):
    """What a caller is told, without what no two answers share."""
    return reply.status, OWN.sub(b"", reply.body), reply.headers["set-cookie"]


# --- the cookie is no key --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mount", GUARDED, ids=named)
def test_item_10_with_the_cookie_alone_one_is_nobody(house, page, mount):
    target, body = target_of(mount), body_of(mount)
    assert seen(page.ask(mount.method, target, body=body)) == seen(house.ask(mount.method, target, body=body))


@pytest.mark.parametrize("mount", GUARDED, ids=named)
def test_item_10_the_cookies_value_is_a_wrong_key(house, page, mount):
    target, body = target_of(mount), body_of(mount)
    value = page.cookie.partition("=")[2]
    wrong = house.ask(mount.method, target, "nobody", body)
    assert seen(house.ask(mount.method, target, value, body)) == seen(wrong)


@pytest.mark.parametrize("shows", ["Cookie", "Authorization"])
def test_item_10_the_cookie_opens_no_websocket(house, page, shows):
    value = page.cookie if shows == "Cookie" else f"Bearer {page.cookie.partition('=')[2]}"
    assert not hears(house, {shows: value})
    assert hears(house, {"Authorization": f"Bearer {page.token}"})


def hears(house, headers):
    """Whether somebody who sends these headers gets an answer at `/v1/ws`."""
    url = f"ws://127.0.0.1:{house.port}/v1/ws"
    try:
        with connect(url, additional_headers=headers, compression=None, proxy=None, open_timeout=PATIENCE_S) as socket:
            socket.send(json.dumps({"type": "ask", "id": "q1", "content": "hello"}))
            kind = ""
            while kind not in ("end", "error"):
                kind = json.loads(socket.recv(PATIENCE_S))["type"]
    except InvalidStatus:
        return False
    return kind == "end"


def test_item_10_the_token_is_the_key_and_no_cookie(house, page):
    assert house.ask("GET", "/v1/models", page.token).status == 200
    assert house.ask("GET", "/api/admin/keys", page.token).status == 200
    name = page.cookie.partition("=")[0]
    reply = house.ask("GET", SESSION, headers=[("Cookie", f"{name}={page.token}"), ("X-CSRF-Token", page.csrf)])
    assert (reply.status, reply.code) == (401, "invalid_api_key")
    assert house.ask("GET", SESSION, page.token).status == 401


# --- how the cookie is set -------------------------------------------------------------------------------------


def test_item_10_no_script_no_other_path_and_no_other_site_gets_the_cookie(house, page):
    name, *attributes = page.set.split("; ")
    assert name.startswith(f"dragoman-{house.port}=")
    assert attributes == ["Max-Age=1209600", "Path=/api/session", "HttpOnly", "SameSite=Strict"]


def test_item_10_behind_tls_the_cookie_is_secure(house):
    reply = Page.log_in(house, [("X-Forwarded-Proto", "https")], key=house.master)
    assert reply.headers["set-cookie"].endswith("; Secure")


# --- other sites -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [[("Origin", "https://evil.example")], [("Origin", "null")], [("Sec-Fetch-Site", "cross-site")]],
    ids=str,
)
def test_item_10_another_site_logs_nobody_in_or_out(house, page, headers):
    proof = [*headers, ("X-CSRF-Token", page.csrf)]
    replies = [
        Page.log_in(house, headers, key=house.master),
        page.ask("POST", TOKEN, proof),
        page.ask("DELETE", SESSION, proof),
    ]
    for reply in replies:
        assert (reply.status, reply.code) == (403, "forbidden")
        assert reply.headers["set-cookie"] is None
        assert not [name for name in reply.headers if name.lower().startswith("access-control-")]
    assert page.ask("GET", SESSION, [("X-CSRF-Token", page.csrf)]).status == 200


def test_item_10_no_form_logs_anybody_in(house):
    connection = HTTPConnection("127.0.0.1", house.port, timeout=PATIENCE_S)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"):
        connection.request("POST", SESSION, json.dumps({"key": house.master}), {"Content-Type": kind})
        reply = Reply(connection.getresponse())
        assert (reply.status, reply.field) == (400, "content-type")
        assert reply.headers["set-cookie"] is None
    connection.close()


@pytest.mark.parametrize(("method", "target"), [("GET", SESSION), ("POST", TOKEN), ("DELETE", SESSION)])
def test_item_10_without_the_csrf_token_nothing_is_done(house, page, method, target):
    other = Page(house, key=house.master)
    for headers in ([], [("X-CSRF-Token", "")], [("X-CSRF-Token", "x" * 64)], [("X-CSRF-Token", other.csrf)]):
        reply = page.ask(method, target, headers)
        assert (reply.status, reply.code) == (403, "forbidden")
        assert reply.headers["set-cookie"] is None
    assert page.ask(method, target, [("X-CSRF-Token", page.csrf)]).status < 300


# --- its end ---------------------------------------------------------------------------------------------------


def test_item_10_a_page_ends_with_its_key(house):
    id_, secret = house.make(name="short-lived")
    page = Page(house, key=secret)
    assert house.ask("GET", "/v1/models", page.token).status == 200
    assert house.ask("PATCH", f"/api/admin/keys/{id_}", house.master, {"disabled": True}).status == 200
    assert house.ask("GET", "/v1/models", page.token).status == 401
    reply = page.ask("POST", TOKEN, [("X-CSRF-Token", page.csrf)])
    assert reply.status == 401
    assert "Max-Age=0" in reply.headers["set-cookie"]


def test_item_10_who_shows_many_wrong_keys_waits_and_nobody_else(start):
    house = start()
    replies = [Page.log_in(house, key=f"wrong {number}") for number in range(21)]
    assert [reply.status for reply in replies] == [401] * 20 + [429]
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 3
    assert Page.log_in(house, key=house.master).status == 200


def test_item_10_operators_log_in_on_their_own_port(start):
    port = free_port()
    house = start(admin={"port": port})
    reply = house.ask("POST", SESSION, body={"key": house.master}, port=port)
    assert reply.headers["set-cookie"].startswith(f"dragoman-{port}=")
    token = reply.json["token"]["secret"]
    assert house.ask("GET", "/api/admin/keys", token, port=port).status == 200
