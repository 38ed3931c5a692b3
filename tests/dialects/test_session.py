"""`/api/session` as a browser meets it: what is read of a request, which cookie is set, and who is refused."""

import json

import pytest
from msgspec.structs import replace

from dragoman.dialects.session import LARGEST_BYTES, mounts
from dragoman.faults import Fault, Forbidden, Malformed, NotFound, TooLarge, Unauthenticated
from dragoman.intents import OpenSession, PageSession, PageToken, ReadSession, RenewToken
from dragoman.legs import Head
from dragoman.people import Secret

AT = 1_700_000_000
DAY_S = 86_400
HOST = [(b"host", b"127.0.0.1:8000")]
JSON = [(b"content-type", b"application/json")]
SESSION = PageSession("master", "admin", Secret("the csrf"), AT + 14 * DAY_S)
NEW = replace(SESSION, cookie=Secret("a.b.c"), token=PageToken(Secret("d.e.f"), AT + 900))
ROUTES = {(mount.method, mount.path): mount for mount in mounts}
LOGIN, READ = ("POST", "/api/session"), ("GET", "/api/session")
LOGOUT, RENEW = ("DELETE", "/api/session"), ("POST", "/api/session/token")
CHANGES = pytest.mark.parametrize("route", [LOGIN, LOGOUT, RENEW], ids=" ".join)


def begin(route, headers=(), host=HOST):
    head = Head(*route, b"", [*host, *headers], "id", AT)
    return ROUTES[route].session(head)


def receive(route, headers=(), body=b"", host=HOST):
    return begin(route, headers, host).receive(body)


def log_in(body, headers=JSON):
    return receive(LOGIN, headers, body if isinstance(body, bytes) else json.dumps(body).encode()).intent


def texts(wish):
    """What a wish says, with its secrets told."""
    values = {name: getattr(wish, name) for name in wish.__struct_fields__}
    return {name: v.reveal() if isinstance(v, Secret) else v for name, v in values.items() if v}


def cookies(reply):
    return [value.decode() for name, value in reply.headers if name == b"set-cookie"]


# --- logging in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [{"link": "a.b.c"}, {"key": "dgk_x"}, {"name": "ann", "password": "correct horse"}],
    ids=["a link", "a key", "an account"],
)
def test_a_login_is_one_of_three(body):
    wish = log_in(body)
    assert isinstance(wish, OpenSession)
    assert texts(wish) == body


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "ann"},
        {"password": "x"},
        {"link": "a", "key": "b"},
        {"key": "b", "name": "ann"},
        {"link": "a", "name": "ann", "password": "x"},
        {"key": ""},
        {"key": None},
        {"key": 1},
        {"key": "k", "role": "admin"},
        [],
        b"",
        b"{",
        b"[" * 5000,
        b'{"key": "\xff"}',
        {"key": "k" * 9000},
    ],
    ids=lambda body: str(body)[:40],
)
def test_anything_else_is_refused(body):
    with pytest.raises(Malformed):
        log_in(body)


def test_no_refusal_repeats_a_secret():
    for body in ({"key": "the secret", "link": "the secret"}, b'{"key": "the secret"', {"password": "the secret"}):
        with pytest.raises(Malformed) as caught:
            log_in(body)
        assert "the secret" not in caught.value.message


def test_a_login_is_short():
    with pytest.raises(TooLarge):
        log_in(b" " * (LARGEST_BYTES + 1))


@pytest.mark.parametrize(
    "kind", [b"", b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=b"]
)
def test_no_form_logs_anybody_in(kind):
    with pytest.raises(Malformed) as caught:
        log_in({"key": "k"}, [(b"content-type", kind)])
    assert caught.value.field == "content-type"
    with pytest.raises(Malformed):
        log_in({"key": "k"}, [])


def test_a_charset_does_no_harm():
    assert log_in({"key": "k"}, [(b"content-type", b"Application/JSON; charset=utf-8")])


# --- what is told ----------------------------------------------------------------------------------------------


def test_a_new_session_sets_its_cookie():
    reply = receive(LOGIN, JSON, b'{"key": "k"}').answer(NEW)
    assert reply.status == 200
    assert cookies(reply) == [
        "dragoman-8000=a.b.c; Max-Age=1209600; Path=/api/session; HttpOnly; SameSite=Strict",
    ]
    assert json.loads(reply.body) == {
        "principal": "master",
        "role": "admin",
        "csrf": "the csrf",
        "expires": AT + 14 * DAY_S,
        "token": {"secret": "d.e.f", "expires": AT + 900},
    }


def test_reading_it_sets_nothing_and_gives_no_key():
    reply = receive(READ, [(b"cookie", b"dragoman-8000=a.b.c")]).answer(SESSION)
    assert cookies(reply) == []
    assert set(json.loads(reply.body)) == {"principal", "role", "csrf", "expires"}


def test_logging_out_takes_the_cookie_away():
    found = receive(LOGOUT, [(b"cookie", b"dragoman-8000=a.b.c"), (b"x-csrf-token", b"t")])
    assert texts(found.intent) == {"cookie": "a.b.c", "csrf": "t"}
    reply = found.answer(NEW)
    assert (reply.status, reply.body) == (204, b"")
    assert cookies(reply) == ["dragoman-8000=; Max-Age=0; Path=/api/session; HttpOnly; SameSite=Strict"]


def test_nothing_is_kept_by_a_cache_or_read_by_another_origin():
    origin = [(b"origin", b"http://127.0.0.1:8000")]
    replies = [
        receive(LOGIN, JSON + origin, b'{"key": "k"}').answer(NEW),
        receive(READ, origin).answer(SESSION),
        receive(RENEW, origin).answer(NEW),
        receive(LOGOUT, origin).answer(NEW),
        *(begin(route, origin).refuse(Unauthenticated()) for route in ROUTES),
    ]
    for reply in replies:
        assert (b"cache-control", b"no-store") in reply.headers
        assert not [name for name, _ in reply.headers if name.startswith(b"access-control-")]
    assert not [mount for mount in mounts if mount.method == "OPTIONS"]


# --- the cookie ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "more", "session", "name", "is_secure"),
    [
        (b"127.0.0.1:8000", [], NEW, "dragoman-8000", False),
        (b"[::1]:9", [], NEW, "dragoman-9", False),
        (b"[fe80::1234]", [], NEW, "dragoman-80", False),
        (b"gateway.example", [], NEW, "dragoman-80", False),
        (b"gateway.example", [(b"x-forwarded-proto", b"https")], NEW, "dragoman-443", True),
        (b"gateway.example", [(b"x-forwarded-proto", b"http")], NEW, "dragoman-80", False),
        (b"gateway.example", [], replace(NEW, is_secure=True), "dragoman-443", True),
        (b"gateway.example:8443", [], replace(NEW, is_secure=True), "dragoman-8443", True),
        (b"a; Domain=example:x\xff", [], NEW, "dragoman-80", False),
    ],
)
def test_the_cookie_is_of_one_port_and_of_tls_where_there_is_tls(host, more, session, name, is_secure):
    reply = receive(LOGIN, [*JSON, *more], b'{"key": "k"}', [(b"host", host)]).answer(session)
    [cookie] = cookies(reply)
    assert cookie.startswith(f"{name}=a.b.c; ")
    assert cookie.endswith("; Secure") is is_secure
    shown = receive(READ, [(b"cookie", f"{name}=a.b.c".encode())], host=[(b"host", host)]).intent
    assert isinstance(shown, ReadSession)
    assert shown.cookie.reveal() == "a.b.c"


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], ""),
        ([b"dragoman-8000=a.b.c"], "a.b.c"),
        ([b"a=b; dragoman-8000=a.b.c;  d=e"], "a.b.c"),
        ([b"a=b", b"dragoman-8000=a.b.c"], "a.b.c"),
        ([b"dragoman-8000=first; dragoman-8000=second"], "first"),
        ([b"dragoman-8001=a.b.c; dragoman=a.b.c; Dragoman-8000=a.b.c"], ""),
        ([b"dragoman-8000"], ""),
        ([b"dragoman-8000=\xff=;;="], "\xff="),
    ],
)
def test_the_cookie_is_found_among_others(rows, found):
    wish = receive(READ, [(b"cookie", row) for row in rows]).intent
    assert wish.cookie.reveal() == found


def test_a_cookie_that_holds_no_more_is_taken_away():
    headers = [(b"cookie", b"dragoman-8000=a.b.c")]
    assert cookies(begin(READ, headers).refuse(Unauthenticated()))[0].startswith("dragoman-8000=; Max-Age=0")
    assert cookies(begin(READ).refuse(Unauthenticated())) == []
    assert cookies(begin(READ, headers).refuse(Forbidden())) == []


def test_no_key_in_a_header_is_a_cookie():
    headers = [(b"authorization", b"Bearer a.b.c"), (b"x-api-key", b"a.b.c"), (b"x-csrf-token", b"t")]
    assert receive(READ, headers).intent.cookie.reveal() == ""
    wish = receive(RENEW, headers).intent
    assert isinstance(wish, RenewToken)
    assert (wish.cookie.reveal(), wish.csrf.reveal()) == ("", "t")


# --- other sites -----------------------------------------------------------------------------------------------


def verdict(route, headers):
    try:
        receive(route, [*JSON, *headers], b'{"key": "k"}')
    except Fault as fault:
        return type(fault)
    return None


@CHANGES
@pytest.mark.parametrize(
    "headers",
    [
        [(b"sec-fetch-site", b"cross-site")],
        [(b"sec-fetch-site", b"same-site")],
        [(b"sec-fetch-site", b"")],
        [(b"origin", b"https://evil.example")],
        [(b"origin", b"http://127.0.0.1:8001")],
        [(b"origin", b"http://127.0.0.1")],
        [(b"origin", b"http://127.0.0.1:8000.evil.example")],
        [(b"origin", b"http://x@127.0.0.1:8000")],
        [(b"origin", b"null")],
        [(b"origin", b"")],
        [(b"origin", b"http://[")],
        [(b"sec-fetch-site", b"same-origin"), (b"origin", b"https://evil.example")],
        [(b"sec-fetch-site", b"cross-site"), (b"origin", b"http://127.0.0.1:8000")],
    ],
    ids=str,
)
def test_item_10_what_another_site_sends_is_refused(route, headers):
    assert verdict(route, headers) is Forbidden


@CHANGES
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"sec-fetch-site", b"none")],
        [(b"sec-fetch-site", b"same-origin"), (b"origin", b"http://127.0.0.1:8000")],
        [(b"origin", b"HTTP://127.0.0.1:8000")],
    ],
    ids=str,
)
def test_what_the_page_and_programs_send_is_not(route, headers):
    assert verdict(route, headers) is None


def test_an_origin_needs_a_host_to_be_the_same_as():
    with pytest.raises(Forbidden):
        receive(RENEW, [(b"origin", b"http://127.0.0.1:8000")], host=[])
    with pytest.raises(Forbidden):
        receive(RENEW, [(b"origin", b"null")], host=[])


def test_errors_have_openais_shape():
    reply = begin(READ).refuse(NotFound("There is no such thing."))
    assert reply.status == 404
    assert json.loads(reply.body)["error"]["message"] == "There is no such thing."
