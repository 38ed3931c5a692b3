import base64
import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.faults import Broken, Busy, Fault, KeyRejected, Misconfigured, Silent, Unauthenticated
from dragoman.legs import Outbound, Reply
from dragoman.people import Secret
from dragoman.sections import Oidc
from dragoman.wires.oidc import OpenIdIssuer, build_issuer

NOW = 1_800_000_000
URL = "https://login.example/realms/a"
TOKEN_URL = f"{URL}/token"
DOCUMENT = {"issuer": URL, "token_endpoint": TOKEN_URL}


def configured(secret: str = "secret", **fields: str) -> OpenIdIssuer:
    return build_issuer(Oidc(**{"issuer": URL, "client_id": "us"} | fields), Secret(secret))


def reply(tree: Any, status: int = 200, headers: Any = ()) -> Reply:
    return Reply(status, list(headers), tree if isinstance(tree, bytes) else json.dumps(tree).encode())


def ready(secret: str = "secret", **document: Any) -> OpenIdIssuer:
    return configured(secret).discovered(reply(DOCUMENT | document))


def form_of(outbound: Outbound) -> dict[str, list[str]]:
    assert isinstance(outbound.body, bytes)
    assert outbound.length == len(outbound.body)
    assert (b"content-type", b"application/x-www-form-urlencoded") in outbound.headers
    return parse_qs(outbound.body.decode("ascii"), strict_parsing=True)


def id_token(claims: Any) -> str:
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.c2ln"


CLAIMS = {"iss": URL, "sub": "42", "aud": "us", "exp": NOW + 60, "iat": NOW}


def granted(**claims: Any) -> Any:
    answer = {"access_token": "a", "token_type": "Bearer", "id_token": id_token(CLAIMS | claims)}
    return ready().granted(reply(answer), NOW)


# --- discovery


@pytest.mark.parametrize(
    ("issuer", "path"),
    [
        ("https://login.example", "/.well-known/openid-configuration"),
        ("https://login.example/", "/.well-known/openid-configuration"),
        (URL, "/realms/a/.well-known/openid-configuration"),
        ("http://localhost:8080/x/", "/x/.well-known/openid-configuration"),
    ],
)
def test_discovery_is_asked_below_the_issuer(issuer: str, path: str) -> None:
    request = configured(issuer=issuer).discovery()
    assert request is not None
    assert (request.method, request.path, request.body, request.length) == ("GET", path, b"", 0)


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        (TOKEN_URL, "/realms/a/token"),
        ("https://login.example:443/o/token/", "/o/token/"),
        ("https://LOGIN.example/t?policy=p%201&x=y", "/t?policy=p%201&x=y"),
    ],
)
def test_the_discovered_token_end_point_is_asked(endpoint: str, path: str) -> None:
    found = ready(token_endpoint=endpoint)
    assert found.discovery() is None
    request = found.by_password("n", Secret("p"))
    assert (request.method, request.path, request.origin) == ("POST", path, configured().origin)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.example/realms/a/token",
        "https://login.example.evil.example/token",
        "https://login.example:8443/token",
        "http://login.example/token",
        "http://127.0.0.1/token",
        "http://169.254.169.254/latest",
        "https://login.example@evil.example/token",
        "https://user:password@login.example/token",
        "https://login.example/token#x",
        "https://login.example/a b",
        "https://login.example/\u2028",
        "https://login.example:99999/token",
        "https://[login.example/token",
        "//login.example/token",
        "/token",
        "file:///etc/passwd",
        "",
        None,
        7,
    ],
)
def test_no_password_goes_to_another_origin(endpoint: Any) -> None:
    with pytest.raises(Broken) as caught:
        ready(token_endpoint=endpoint)
    assert caught.value.detail


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (reply(DOCUMENT | {"issuer": URL + "/"}), Broken),
        (reply({"issuer": URL}), Broken),
        (reply(b"<html>"), Broken),
        (reply(b""), Broken),
        (reply(b"[" * 100_000), Broken),
        (reply(b"", 404), Broken),
        (reply(b"", 302, [(b"location", TOKEN_URL.encode())]), Broken),
        (reply(b"", 204), Broken),
        (reply(b"", 503, [(b"retry-after", b"3")]), Busy),
        (reply(b"", 504), Silent),
    ],
)
def test_discovery_that_fails(answer: Reply, fault: type[Fault]) -> None:
    with pytest.raises(fault) as caught:
        configured().discovered(answer)
    assert caught.value.blame == "upstream"


def test_a_configured_token_url_needs_no_discovery_and_may_be_anywhere() -> None:
    issuer = configured(token_url="https://elsewhere.example/token/?a=b", ca_file="ca.pem")
    assert issuer.discovery() is None
    request = issuer.by_refresh(Secret("r"))
    assert (request.origin.host, request.path, request.origin.ca_file) == ("elsewhere.example", "/token/?a=b", "ca.pem")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"issuer": "http://login.example"}, "not an https"),
        ({"issuer": "http://127.0.0.1.nip.example"}, "not an https"),
        ({"issuer": "login.example"}, "not an http"),
        ({"issuer": "https://a:b@login.example"}, "no user"),
        ({"issuer": "https://login.example#x"}, "not an address"),
        ({"token_url": "http://login.example/token"}, "not an https"),
    ],
)
def test_a_wrong_configuration_is_told(fields: dict[str, str], told: str) -> None:
    with pytest.raises(Misconfigured, match=f"auth.oidc: .*{told}"):
        configured(**fields)


@pytest.mark.parametrize("issuer", ["http://localhost:1", "http://127.0.0.1:1/x", "http://127.9.9.9", "http://[::1]:1"])
def test_this_machine_needs_no_tls(issuer: str) -> None:
    assert configured(issuer=issuer).discovery() is not None


def test_an_issuer_is_told_from_others_by_its_address() -> None:
    assert configured().name == "login.example/realms/a"
    assert configured(issuer="https://login.example:8443/").name == "login.example:8443"


# --- requests


def test_the_password_grant() -> None:
    request = configured(scope="openid offline_access").discovered(reply(DOCUMENT)).by_password("é&=", Secret("p+ %☃"))
    assert form_of(request) == {
        "grant_type": ["password"],
        "username": ["é&="],
        "password": ["p+ %☃"],
        "scope": ["openid offline_access"],
    }


def test_no_scope_is_asked_for_where_none_is_configured() -> None:
    request = configured(scope="").discovered(reply(DOCUMENT)).by_password("n", Secret("p"))
    assert set(form_of(request)) == {"grant_type", "username", "password"}


def test_the_refresh_grant() -> None:
    assert form_of(ready().by_refresh(Secret("r/+="))) == {"grant_type": ["refresh_token"], "refresh_token": ["r/+="]}


def test_the_clients_secret_goes_into_the_header_encoded() -> None:
    issuer = build_issuer(Oidc(URL, "us:them", token_url=TOKEN_URL), Secret("s e+c%é"))
    header = dict(issuer.by_refresh(Secret("r")).headers)[b"authorization"]
    assert base64.b64decode(header.removeprefix(b"Basic ")) == b"us%3Athem:s+e%2Bc%25%C3%A9"


@pytest.mark.parametrize(
    ("methods", "in_body"),
    [
        (["client_secret_basic", "client_secret_post"], False),
        (["client_secret_post"], True),
        (["private_key_jwt", "client_secret_post"], True),
        (["private_key_jwt"], False),
        ([], False),
    ],
)
def test_the_clients_secret_goes_where_the_issuer_takes_it(methods: list[str], in_body: bool) -> None:
    request = ready(token_endpoint_auth_methods_supported=methods).by_refresh(Secret("r"))
    assert (b"authorization" in dict(request.headers)) is not in_body
    assert (form_of(request).get("client_secret") == ["secret"]) is in_body
    assert (form_of(request).get("client_id") == ["us"]) is in_body


def test_a_public_client_says_only_who_it_is() -> None:
    request = ready(secret="").by_refresh(Secret("r"))
    assert b"authorization" not in dict(request.headers)
    assert form_of(request) == {"grant_type": ["refresh_token"], "refresh_token": ["r"], "client_id": ["us"]}


def test_secrets_are_masked() -> None:
    assert "hush-hush" not in repr(configured(secret="hush-hush-hush"))


# --- answers


def test_a_grant_says_who_and_how_to_renew_it() -> None:
    answer = {"access_token": "a", "id_token": id_token(CLAIMS), "refresh_token": "r", "expires_in": "60", "x": None}
    grant = ready().granted(reply(answer), NOW)
    assert grant.subject == "42"
    assert grant.refresh is not None
    assert grant.refresh.reveal() == "r"


@pytest.mark.parametrize("rest", [{}, {"id_token": None, "refresh_token": None}, {"id_token": "", "refresh_token": ""}])
def test_a_grant_without_an_id_token_says_nothing_of_who(rest: dict[str, Any]) -> None:
    grant = ready().granted(reply({"access_token": "a"} | rest), NOW)
    assert (grant.subject, grant.refresh) == ("", None)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"aud": ["us"]},
        {"aud": ["them", "us"], "azp": "us"},
        {"azp": None},
        {"exp": NOW - 59},
        {"sub": "x" * 255},
        {"nonce": "n", "extra": [1]},
    ],
)
def test_a_good_id_token(claims: dict[str, Any]) -> None:
    assert granted(**claims).subject == claims.get("sub", "42")


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"},
        {"iss": URL + "/"},
        {"iss": None},
        {"aud": "them"},
        {"aud": ["them"]},
        {"aud": []},
        {"aud": "us2"},
        {"azp": "them"},
        {"exp": NOW - 60},
        {"exp": "later"},
        {"exp": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": 42},
        {"sub": None},
    ],
)
def test_a_bad_id_token_is_not_a_login(claims: dict[str, Any]) -> None:
    with pytest.raises(Broken) as caught:
        granted(**claims)
    assert "ID token" in caught.value.detail


@pytest.mark.parametrize("token", ["x", "a.b", "a.b.c.d.e", "a.!.c", "a.e30.c", id_token(b"[" * 9_000), "é.é.é"])
def test_what_is_no_id_token_is_not_a_login(token: str) -> None:
    with pytest.raises(Broken):
        ready().granted(reply({"access_token": "a", "id_token": token}), NOW)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (reply({"error": "invalid_grant", "error_description": "no such user"}, 400), Unauthenticated),
        (reply({"error": "invalid_grant"}, 401), Unauthenticated),
        (reply({"error": "invalid_client"}, 401), KeyRejected),
        (reply({"error": "unauthorized_client"}, 400), KeyRejected),
        (reply(b"", 401), KeyRejected),
        (reply({"error": "invalid_scope"}, 400), Broken),
        (reply({"error": "unsupported_grant_type"}, 400), Broken),
        (reply({"error": ["invalid_grant"]}, 400), Broken),
        (reply(b"no JSON", 400), Broken),
        (reply(b"", 404), Broken),
        (reply(b"", 307, [(b"location", b"https://evil.example")]), Broken),
        (reply({"error": "server_error"}, 500), Broken),
        (reply({"error": "slow_down"}, 429), Busy),
        (reply(b"", 504), Silent),
        (reply({"token_type": "Bearer"}), Broken),
        (reply({"access_token": 7}), Broken),
        (reply(b""), Broken),
        (reply(b"null"), Broken),
        (reply(b"[" * 100_000), Broken),
    ],
)
def test_what_an_error_means(answer: Reply, fault: type[Fault]) -> None:
    with pytest.raises(fault) as caught:
        ready().granted(answer, NOW)
    assert type(caught.value) is fault
    assert "no such user" not in caught.value.message + caught.value.detail


def test_the_operator_is_told_what_the_caller_is_not() -> None:
    answer = reply({"error": "invalid_scope", "error_description": "AADSTS70011: offline_access"}, 400)
    with pytest.raises(Broken) as caught:
        ready().granted(answer, NOW)
    assert caught.value.detail == "HTTP 400 invalid_scope AADSTS70011: offline_access"
    assert "AADSTS" not in caught.value.message


@given(st.integers(100, 599), st.binary(max_size=100) | st.from_regex(rb'\{"(access_token|id_token|error)":.{0,20}\}'))
def test_whatever_an_issuer_sends_is_a_fault_of_its_own(status: int, body: bytes) -> None:
    for read in (configured().discovered, lambda answer: ready().granted(answer, NOW)):
        try:
            read(Reply(status, [], body))
        except Fault as fault:
            assert isinstance(fault, Unauthenticated) or fault.blame == "upstream"
