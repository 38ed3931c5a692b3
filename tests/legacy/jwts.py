"""JSON Web Tokens made by hand, good ones and bad ones (RFC 7515, HMAC only)."""

import base64
import hashlib
import hmac
import json
import time

HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
# Of the original, with the key `test-secret`: expires in 2100, belongs to "1000".
VECTOR_KEY = "test-secret"
VECTOR = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjEwMDAifQ."
    "AyU2EwrI0qCXT0XneaO9VMDJOQ4qZUFxLDAi3htKQ_M"
)


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sign(claims, key, algorithm="HS256", **header):
    """`claims` as they are to stand in the token: a dict, or bytes. An algorithm that is not HMAC gives no signature."""
    shown = {"alg": algorithm, "typ": "JWT", **header}
    payload = claims if isinstance(claims, bytes) else compact(claims)
    signed = f"{encode(compact(shown))}.{encode(payload)}"
    kind = HASHES.get(algorithm)
    signature = hmac.new(key.encode(), signed.encode(), kind).digest() if kind else b""
    return f"{signed}.{encode(signature)}"


def compact(tree):
    return json.dumps(tree, separators=(",", ":")).encode()


def token_of(id_, key, hours=1.0, algorithm="HS256"):
    """A token as `/token` makes it."""
    return sign({"exp": int(time.time() + hours * 3600), "jti": id_}, key, algorithm)


def read(token):
    """Return the header's bytes and the payload's bytes."""
    header, payload, _ = token.split(".")
    return decode(header), decode(payload)
