"""Tokens of System A (seed protocols, 1.1 and 1.2) and our own, against tokens that the standard library signed."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.admission.tokens import LARGEST_CHARACTERS, Tokens
from dragoman.faults import Forbidden
from dragoman.people import Secret

NOW = 1_800_000_000
KEY = "test-secret"
OWN = b"our own key, thirty-two bytes ab"
TOKENS = Tokens(Secret(KEY), OWN, lambda: NOW)
HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed(payload: Any, key: str | bytes = KEY, alg: Any = "HS256", **header: Any) -> Secret:
    """Make a token as RFC 7515 says, without the library that is tested."""
    key = key.encode() if isinstance(key, str) else key
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    text = f"{part(json.dumps({'alg': alg, 'typ': 'JWT', **header}).encode())}.{part(body)}"
    return Secret(f"{text}.{part(hmac.digest(key, text.encode(), HASHES.get(str(alg), 'sha256')))}")


def payload_of(token: str) -> bytes:
    middle = token.split(".")[1]
    return base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4))


# --- System A's


def test_the_originals_test_vector() -> None:
    tokens = Tokens(Secret(KEY), OWN, lambda: 4102444800 - 10 * 3600)
    assert tokens.mint("1000", 10) == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
        "eyJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjEwMDAifQ.AyU2EwrI0qCXT0XneaO9VMDJOQ4qZUFxLDAi3htKQ_M"
    )


@pytest.mark.parametrize(
    ("id_", "hours", "payload"),
    [
        ("", 1, b'{"exp":1800003600}'),
        ("a b", 0, b'{"exp":1800000000,"jti":"a b"}'),
        ("x", -1, b'{"exp":1799996400,"jti":"x"}'),
        ("张三", 1, '{"exp":1800003600,"jti":"张三"}'.encode()),
        ("x", 2**63 - 1, b'{"exp":11023369200,"jti":"x"}'),
        ("x", -(2**63), b'{"exp":-7423369200,"jti":"x"}'),
    ],
)
def test_what_is_minted(id_: str, hours: int, payload: bytes) -> None:
    assert payload_of(TOKENS.mint(id_, hours)) == payload


def test_what_was_minted_is_read_until_it_expires() -> None:
    token = Secret(TOKENS.mint("1000", 10))
    assert TOKENS.read(token) == "token:1000"
    assert Tokens(Secret(KEY), OWN, lambda: NOW + 36_000 - 1).read(token) == "token:1000"
    assert Tokens(Secret(KEY), OWN, lambda: NOW + 36_000).read(token) is None
    assert Tokens(Secret("another"), OWN, lambda: NOW).read(token) is None
    assert TOKENS.read(Secret(TOKENS.mint("", 1))) == "token:"


@pytest.mark.parametrize("alg", HASHES)
@pytest.mark.parametrize(
    ("claims", "valid"),
    [
        ({}, True),
        ({"exp": NOW + 1}, True),
        ({"exp": NOW + 0.5}, True),
        ({"exp": NOW}, False),
        ({"exp": 0}, False),
        ({"nbf": NOW}, True),
        ({"nbf": NOW + 1}, False),
        ({"iat": NOW}, True),
        ({"iat": NOW + 1}, False),
        ({"exp": None, "iat": None}, True),
        ({"exp": str(NOW + 1)}, False),
        ({"exp": [NOW + 1]}, False),
        ({"exp": True}, False),
        ({"exp": 10**400}, False),
        ({"nbf": -(10**300)}, True),
        ({"roles": {"any": ["thing"]}}, True),
    ],
)
def test_times_are_honoured(alg: str, claims: dict[str, Any], valid: bool) -> None:
    token = signed({"jti": "7", **claims}, alg=alg)
    assert TOKENS.read(token) == ("token:7" if valid else None)
    assert TOKENS.signed_by_secret(token), "routing looks at the signature alone"


@pytest.mark.parametrize(
    "token",
    [
        signed({"jti": "1"}, alg="none"),
        Secret(signed({"jti": "1"}, alg="none").reveal().rpartition(".")[0] + "."),
        signed({"jti": "1"}, alg="None"),
        signed({"jti": "1"}, alg="RS256"),
        signed({"jti": "1"}, alg="ES256"),
        signed({"jti": "1"}, alg="hs256"),
        signed({"jti": "1"}, alg=""),
        signed({"jti": "1"}, alg=["HS256"]),
        signed({"jti": "1"}, key="another"),
        signed({"jti": "1"}, key=""),
        signed({"jti": "1"}, crit=["x"]),
        signed({"jti": "1"}, b64=False),
        signed(b"[" * 3_000),
        signed(b""),
        signed(b"\xff"),
        signed([1]),
        signed({"jti": 7}),
    ],
)
def test_anything_else_is_nobody(token: Secret) -> None:
    assert TOKENS.read(token) is None


def test_a_header_too_deep_to_read_is_nobody() -> None:
    text = f"{part(b'[' * 5_000)}.e30.e30"
    assert TOKENS.read(Secret(text)) is None
    assert not TOKENS.signed_by_secret(Secret(text))


@pytest.mark.parametrize(("missing", "key"), [(None, ""), (Secret(""), ""), (Secret(""), "x"), (None, "x")])
def test_without_a_secret_nothing_is_open(missing: Secret | None, key: str) -> None:
    tokens = Tokens(missing, OWN, lambda: NOW)
    with pytest.raises(Forbidden):
        tokens.mint("1000", 10)
    assert not tokens.check_key(Secret(key))
    assert tokens.read(signed({"jti": "1"}, key=key)) is None
    assert not tokens.signed_by_secret(signed({"jti": "1"}, key=key))
    assert tokens.read(Secret(tokens.issue("alice"))) == "user:alice"


def test_the_secret_itself_is_the_key() -> None:
    assert TOKENS.check_key(Secret(KEY))
    for wrong in ("", KEY[:-1], KEY + "x", KEY.upper()):
        assert not TOKENS.check_key(Secret(wrong))


@pytest.mark.parametrize("key", ["s", "-----BEGIN PUBLIC KEY-----", "ssh-rsa AAAA", '{"kty":"oct"}', "密钥", "x" * 500])
def test_a_secret_may_be_any_text(key: str) -> None:
    tokens = Tokens(Secret(key), OWN, lambda: NOW)
    assert tokens.read(Secret(tokens.mint("1", 1))) == "token:1"
    assert tokens.read(signed({"jti": "2"}, key=key, alg="HS512")) == "token:2"


# --- ours


def test_ours() -> None:
    token = TOKENS.issue("alice", days=2)
    assert payload_of(token) == b'{"iss":"dragoman","sub":"alice","iat":1800000000,"exp":1800172800}'
    assert TOKENS.read(Secret(token)) == "user:alice"
    assert not TOKENS.signed_by_secret(Secret(token))
    assert Tokens(None, OWN, lambda: NOW + 2 * 86_400).read(Secret(token)) is None
    assert Tokens(None, OWN[::-1], lambda: NOW).read(Secret(token)) is None


def test_ours_last_two_weeks() -> None:
    token = Secret(TOKENS.issue("alice"))
    assert Tokens(None, OWN, lambda: NOW + 14 * 86_400 - 1).read(token) == "user:alice"
    assert Tokens(None, OWN, lambda: NOW + 14 * 86_400).read(token) is None


GOOD = {"iss": "dragoman", "sub": "alice", "iat": NOW, "exp": NOW + 9}


@pytest.mark.parametrize(
    ("changes", "alg"),
    [
        ({"iss": "x"}, "HS256"),
        ({"iss": None}, "HS256"),
        ({"sub": ""}, "HS256"),
        ({"exp": None}, "HS256"),
        ({}, "HS384"),
    ],
)
def test_only_what_we_issue_is_ours(changes: dict[str, Any], alg: str) -> None:
    assert TOKENS.read(signed(GOOD, OWN)) == "user:alice"
    assert TOKENS.read(signed(GOOD | changes, OWN, alg)) is None


def test_who_holds_the_secret_key_cannot_become_an_account() -> None:
    assert TOKENS.read(signed(GOOD | {"jti": "7"})) == "token:7"


# --- both


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "x" * 401, "\u202ename", "#" + "0" * 64])
def test_an_unfit_name_becomes_its_digest(name: str) -> None:
    digest = hashlib.sha256(name.encode()).hexdigest()
    assert TOKENS.read(signed({"jti": name})) == f"token:#{digest}"
    assert TOKENS.read(Secret(TOKENS.issue(name))) == f"user:#{digest}"


def test_a_token_of_8_kib_is_read_and_a_longer_one_is_not() -> None:
    def of(characters: int) -> Secret:
        return signed({"jti": "1", "x": "y" * characters})

    short = next(of(n) for n in range(6_100, 0, -1) if len(of(n).reveal()) <= LARGEST_CHARACTERS)
    long = of(6_100)
    assert TOKENS.read(short) == "token:1"
    assert len(long.reveal()) > LARGEST_CHARACTERS
    assert TOKENS.read(long) is None
    assert not TOKENS.signed_by_secret(long)


def test_what_is_not_shaped_like_a_token_does_not_even_load_the_library() -> None:
    code = """
import sys
from dragoman.people import Secret
from dragoman.admission.tokens import Tokens
tokens = Tokens(Secret("k"), b"o" * 32)
for text in ("", "sk-proj-abc", "dgm-abc", "a.b", "a.b.c.d", "a.b.c ", "..", "a..c", "é.b.c", "a.b.c\\n", "x" * 10**6):
    assert tokens.read(Secret(text)) is None and not tokens.signed_by_secret(Secret(text))
assert "jwt" not in sys.modules
tokens.read(Secret("a.b.c"))
assert "jwt" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@given(st.text() | st.from_regex(r"[\w-]{1,40}\.[\w-]{1,40}\.[\w-]{1,40}", fullmatch=True))
def test_no_text_makes_it_raise(text: str) -> None:
    assert TOKENS.read(Secret(text)) is None


@given(
    st.recursive(st.none() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=5),
    st.sampled_from(["exp", "nbf", "iat", "jti", "iss", "sub"]),
)
def test_no_signed_claim_makes_it_raise(value: Any, name: str) -> None:
    for key in (KEY, OWN):
        found = TOKENS.read(signed({name: value}, key))
        assert found is None or found.startswith("token:")


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_signed_bytes_make_it_raise(header: bytes, payload: bytes) -> None:
    text = f"{part(header)}.{part(payload)}"
    token = Secret(f"{text}.{part(hmac.digest(KEY.encode(), text.encode(), 'sha256'))}")
    assert TOKENS.read(token) is None
