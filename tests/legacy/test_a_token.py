"""A1: `GET /token` mints what `/chat` and `/conv` accept, and nothing else is accepted there (sections 1.1, 1.2)."""

import json
import re
import subprocess
import time

import a_client
import jwts
import pytest
from relays import SECRET_KEY

MISSING = b"Missing required parameters\n"
NO_HOURS = b"Invalid param time\n"


@pytest.fixture(scope="module")
def named_relay(start_relay):
    """The README's placeholder as the key, so that its line works as it stands."""
    return start_relay({"SECRET_KEY": "YOUR_KEY"})


def minted(relay, query, **headers):
    return relay.ask("GET", f"/token?{query}", **headers)


def query(id_="1000", hour="10", key=SECRET_KEY.replace(" ", "%20")):
    return f"id={id_}&hour={hour}&key={key}"


def payload(answer):
    return jwts.read(answer.json["token"])[1]


def check_text_refusal(answer, status, body=None):
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "text/plain; charset=utf-8", answer
    assert answer.headers["x-content-type-options"] == "nosniff", answer
    assert answer.body == body or (body is None and b"token" not in answer.body), answer


def is_admitted(relay, credential):
    """Whether `/conv` knows this credential; a refusal is 403 with nothing in it."""
    answer = a_client.conversations(relay, credential)
    if answer.status == 403:
        assert answer.body == b"", answer
        return False
    assert answer.status == 200, answer
    return True


def test_A1_the_token_is_what_the_original_made(relay):
    before = int(time.time())
    answer = minted(relay, query())
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert re.fullmatch(rb'\{"token":"[^"]+"\}\n', answer.body)
    header, claims = jwts.read(answer.json["token"])
    assert header == b'{"alg":"HS256","typ":"JWT"}'
    found = re.fullmatch(rb'\{"exp":(\d+),"jti":"1000"\}', claims)
    assert found, claims
    assert before + 36_000 <= int(found[1]) <= time.time() + 36_000
    assert answer.json["token"] == jwts.sign(claims, SECRET_KEY)


def test_A1_the_readme_line_in_a_shell(named_relay):
    line = rf"curl -v http://localhost:{named_relay.port}/token\?id\=1000\&hour\=10\&key\=YOUR_KEY"
    done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=10, check=True)
    assert b"< HTTP/1.1 200" in done.stderr
    token = json.loads(done.stdout)["token"]
    assert is_admitted(named_relay, token)


def test_A1_the_test_vector_of_the_original_is_admitted(named_relay):
    claims = jwts.read(jwts.VECTOR)[1]
    assert jwts.sign(claims, jwts.VECTOR_KEY) == jwts.VECTOR
    assert not is_admitted(named_relay, jwts.VECTOR)
    again = jwts.sign(claims, "YOUR_KEY")
    assert is_admitted(named_relay, again)


@pytest.mark.parametrize(
    "given", ["", "id=1&hour=1", "id=1&key=k", "hour=1&key=k", "ID=1&hour=1&key=k"], ids=lambda q: q or "nothing"
)
def test_A1_a_missing_parameter(relay, given):
    check_text_refusal(minted(relay, given), 400, MISSING)


@pytest.mark.parametrize("hour", ["1.5", "", "ten", "1e3", "0x10", "9223372036854775808", "%D9%A1"])
def test_A1_hours_that_are_no_integer(relay, hour):
    check_text_refusal(minted(relay, query(hour=hour)), 400, NO_HOURS)


def test_A1_an_expiry_beyond_all_time_is_no_failure_of_ours(relay):
    answer = minted(relay, query(hour="9223372036854775807"))
    assert answer.status in (200, 400, 503), answer


def test_A1_an_empty_id_leaves_no_jti(relay):
    assert re.fullmatch(rb'\{"exp":\d+\}', payload(minted(relay, query(id_=""))))


@pytest.mark.parametrize("id_", ["%22%5C%0A", "%E7%94%A8%E6%88%B7", "a%26b%3Dc", "%00", "a+b"])
def test_A1_any_text_may_be_an_id(relay, id_):
    answer = minted(relay, query(id_=id_))
    assert answer.status == 200, answer
    given = {"%22%5C%0A": '"\\\n', "%E7%94%A8%E6%88%B7": "用户", "a%26b%3Dc": "a&b=c", "%00": "\x00", "a+b": "a b"}
    assert json.loads(payload(answer))["jti"] == given[id_]
    assert is_admitted(relay, answer.json["token"])


def test_A1_negative_hours_give_a_token_that_has_expired(relay):
    answer = minted(relay, query(hour="-1"))
    assert answer.status == 200, answer
    assert not is_admitted(relay, answer.json["token"])


@pytest.mark.parametrize(
    "key", ["wrong", "", SECRET_KEY.replace(" ", "%20") + "x", SECRET_KEY[:-1].replace(" ", "%20")]
)
def test_A1_a_wrong_key_mints_nothing(relay, key):
    check_text_refusal(minted(relay, query(key=key)), 403)


def test_A1_guessing_keys_is_slowed_down(brisk_relay):
    statuses = []
    while 429 not in statuses:
        assert len(statuses) < 100, "keys can be guessed without limit"
        answer = minted(brisk_relay, query(key=f"guess-{len(statuses)}"))
        statuses.append(answer.status)
    check_text_refusal(answer, 429)
    assert set(statuses[:-1]) == {403}
    assert len(statuses) > 3, "an honest mistake must be forgiven"


def test_A1_no_header_is_needed_and_none_helps(relay):
    assert minted(relay, query(), Authorization="nonsense").status == 200
    check_text_refusal(minted(relay, query(key="wrong"), Authorization=SECRET_KEY), 403)


def test_A1_the_key_of_the_gateway_itself_mints_no_token(relay):
    check_text_refusal(minted(relay, query(key=relay.key)), 403)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_A1_every_hmac_token_under_the_secret_is_admitted(relay, algorithm):
    assert is_admitted(relay, jwts.token_of("hmac", SECRET_KEY, algorithm=algorithm))


@pytest.mark.parametrize(
    ("claims", "admitted"),
    [
        ({"jti": "for ever"}, True),
        ({}, True),
        ({"jti": "x", "nbf": time.time() - 60, "iat": time.time() - 60, "exp": time.time() + 3600}, True),
        ({"jti": "x", "exp": int(time.time()) - 5}, False),
        ({"jti": "x", "nbf": int(time.time()) + 600}, False),
        ({"jti": "x", "iat": int(time.time()) + 600}, False),
    ],
    ids=["no exp", "no claims", "all in order", "expired", "not yet", "from the future"],
)
def test_A1_the_times_of_a_token(relay, claims, admitted):
    assert is_admitted(relay, jwts.sign(claims, SECRET_KEY)) is admitted


@pytest.mark.parametrize(
    "forged",
    [
        jwts.token_of("x", "another secret"),
        jwts.token_of("x", ""),
        jwts.sign({"jti": "x"}, SECRET_KEY, "none"),
        jwts.sign({"jti": "x"}, SECRET_KEY, "None"),
        jwts.sign({"jti": "x"}, SECRET_KEY, "HS256")[:-4],
        jwts.sign({"jti": "x"}, SECRET_KEY, "HS256") + "AAAA",
        jwts.sign({"jti": "x"}, SECRET_KEY).replace("eyJhbGciOiJIUzI1NiI", "eyJhbGciOiJSUzI1NiI", 1),
        jwts.sign(b"not json", SECRET_KEY),
        jwts.sign(b"[]", SECRET_KEY),
        jwts.sign({"exp": "soon"}, SECRET_KEY),
        "..",
        "a.b.c",
        "é" * 10,
    ],
    ids=["key", "empty key", "none", "None", "cut", "longer", "RS256", "text", "list", "exp", "dots", "abc", "latin"],
)
def test_A1_a_forged_token_is_not(relay, forged):
    assert not is_admitted(relay, forged)


@pytest.mark.parametrize("scheme", ["", "Bearer ", "bearer ", "Bearer  "])
def test_A1_raw_or_bearer(relay, scheme):
    assert is_admitted(relay, scheme + relay.owner())
    assert is_admitted(relay, scheme + SECRET_KEY)
    assert not is_admitted(relay, scheme + "nonsense")


def test_A1_no_secret_configured_is_not_an_open_door(open_relay):
    """The original compared empty with empty."""
    assert not is_admitted(open_relay, None)
    assert not is_admitted(open_relay, "")
    assert not is_admitted(open_relay, jwts.token_of("x", ""))
    check_text_refusal(minted(open_relay, "id=1&hour=1&key="), 403)


def test_A1_a_wrong_method_is_said_to_be_one(relay):
    answer = relay.ask("DELETE", f"/token?{query()}")
    assert answer.status == 405, answer
    assert "GET" in answer.headers["allow"]
    assert b"eyJ" not in answer.body
