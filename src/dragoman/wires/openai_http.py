"""OpenAI over HTTP: where the key is shown and how errors look.

Source: OpenAI API reference, "Authentication" and "Error codes". Errors are
`{"error": {message, type, param, code}}`.
"""

import msgspec

from dragoman.faults import Fault, Malformed
from dragoman.legs import Head, Headers, Reply
from dragoman.people import Secret
from dragoman.wires.http_turn import refusal_headers

TYPES = {401: "authentication_error", 402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error"}
FORWARDED = frozenset({b"openai-beta"})


def error_body(fault: Fault) -> bytes:
    """Write a fault in OpenAI's shape."""
    kind = TYPES.get(fault.status, "invalid_request_error" if fault.status < 500 else "server_error")
    code = "invalid_api_key" if fault.code == "unauthenticated" else fault.kind or fault.code
    error = {"message": fault.message, "type": kind, "param": fault.field, "code": code}
    return msgspec.json.encode({"error": error})


class Shape:
    """What every OpenAI session shares: one whole body, a Bearer key, errors as above."""

    whole = True
    late = False

    __slots__ = ("head",)

    def __init__(self, head: Head) -> None:
        self.head = head

    def claim(self) -> Secret | None:
        shown = set()
        for name, value in self.head.headers:
            if name == b"authorization":
                scheme, _, key = value.partition(b" ")
                shown.add(key.strip() if scheme.lower() == b"bearer" else b"")
            elif name == b"x-api-key":
                shown.add(value.strip())
        if len(shown) > 1:
            raise Malformed("Two keys that disagree were given.", field="authorization")
        key = shown.pop() if shown else b""
        return Secret(key.decode("latin-1")) if key else None

    def refuse(self, fault: Fault) -> Reply:
        return Reply(fault.status, refusal_headers(fault), error_body(fault))

    def forwarded(self) -> Headers:
        return [(name, value) for name, value in self.head.headers if name in FORWARDED]
