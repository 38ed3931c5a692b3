"""Signed tokens: those of System A, and our own for accounts (RFC 7519, RFC 7515). PyJWT does the cryptography."""

import hmac
import re
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from dragoman.faults import Forbidden
from dragoman.people import Secret, digest

if TYPE_CHECKING:
    from jwt import PyJWS

ISSUER = "dragoman"
HMAC = ("HS256", "HS384", "HS512")
SHAPE = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
LARGEST_CHARACTERS = 8 * 1024
# What Go's time.Duration holds, so that no `exp` leaves the integers that JSON readers agree on.
LONGEST_HOURS = 2_562_047
OWNER_CHARACTERS = 400


class Minted(msgspec.Struct, omit_defaults=True):
    """System A's payload, in its order (seed protocols, 1.2)."""

    exp: int
    jti: str = ""


class Issued(msgspec.Struct):
    """The payload of a token of ours."""

    iss: str
    sub: str
    iat: int
    exp: int


class Claims(msgspec.Struct):
    """What is read of any token: times in Unix seconds (RFC 7519, 4.1). Another type is an invalid token."""

    exp: float | None = None
    nbf: float | None = None
    iat: float | None = None
    jti: str = ""
    iss: str = ""
    sub: str = ""

    def holds(self, now: float) -> bool:
        return (
            (self.exp is None or now < self.exp)
            and (self.nbf is None or self.nbf <= now)
            and (self.iat is None or self.iat <= now)
        )


class Tokens:
    """Makes and reads tokens. Without a `secret_key`, or with an empty one, System A's kind does not exist.

    Args:
        secret_key: what signs System A's tokens, and is its master key.
        own: the key for tokens of ours, at least 32 bytes that nothing else is signed with.
        now: Unix seconds.

    """

    def __init__(self, secret_key: Secret | None, own: bytes, now: Callable[[], float] = time.time) -> None:
        self._secret = secret_key.reveal().encode() if secret_key else b""
        self._own = own
        self._now = now

    def mint(self, id_: str, hours: int) -> str:
        """Sign a token of System A's for `id_`, byte for byte as it did. Raises Forbidden without a `secret_key`."""
        if not self._secret:
            raise Forbidden("This gateway makes no such tokens.")
        hours = max(-LONGEST_HOURS, min(hours, LONGEST_HOURS))
        return self._sign(Minted(int(self._now()) + hours * 3600, id_), self._secret)

    def check_key(self, key: Secret) -> bool:
        """Say whether this is the `secret_key`, in a time that does not depend on how much of it is right."""
        return bool(self._secret) and hmac.compare_digest(key.digest(), digest(self._secret))

    def issue(self, name: str, days: float = 14) -> str:
        """Sign a token of ours for an account."""
        now = int(self._now())
        return self._sign(Issued(ISSUER, name, now, int(now + days * 86_400)), self._own)

    def read(self, token: Secret) -> str | None:
        """Return whose token this is, `token:JTI` for System A's or `user:NAME` for ours; None unless it is valid.

        Never raises, and costs a look at its shape if it is no token at all.
        """
        claims = self._claims(token, self._secret, HMAC)
        if claims is not None:
            return f"token:{_owner(claims.jti)}"
        claims = self._claims(token, self._own, HMAC[:1])
        # What expires is ours only if it says when: a token without `exp` was not made by `issue`.
        if claims is not None and claims.iss == ISSUER and claims.sub and claims.exp is not None:
            return f"user:{_owner(claims.sub)}"
        return None

    def signed_by_secret(self, token: Secret) -> bool:
        """Say whether the `secret_key` signed this, expired or not."""
        return self._payload(token, self._secret, HMAC) is not None

    def _sign(self, payload: Minted | Issued, key: bytes) -> str:
        return self._jws.encode(msgspec.json.encode(payload), key, "HS256")

    def _claims(self, token: Secret, key: bytes, algorithms: tuple[str, ...]) -> Claims | None:
        payload = self._payload(token, key, algorithms)
        if payload is None:
            return None
        try:
            claims = msgspec.json.decode(payload, type=Claims)
        except (ValueError, RecursionError):
            return None
        return claims if claims.holds(self._now()) else None

    def _payload(self, token: Secret, key: bytes, algorithms: tuple[str, ...]) -> bytes | None:
        text = token.reveal()
        if not key or len(text) > LARGEST_CHARACTERS or not SHAPE.fullmatch(text):
            return None
        from jwt import PyJWTError

        try:
            payload: bytes = self._jws.decode(text, key, algorithms)
        except (PyJWTError, RecursionError):
            return None
        return payload

    @cached_property
    def _jws(self) -> "PyJWS":
        """Make a signer that knows HMAC and nothing else, `none` least of all."""
        # Here and not at the top: most gateways never see a token, and PyJWT takes long to load.
        from jwt import PyJWS
        from jwt.algorithms import HMACAlgorithm

        class AnyLength(HMACAlgorithm):
            """System A never asked how long or of what shape a SECRET_KEY is, so neither can we."""

            def prepare_key(self, key: str | bytes) -> bytes:
                return key if isinstance(key, bytes) else key.encode()

            def check_key_length(self, key: bytes) -> str | None:  # noqa: ARG002 - any length will do
                return None

        jws = PyJWS(algorithms=[])
        for name, hash_ in zip(HMAC, (AnyLength.SHA256, AnyLength.SHA384, AnyLength.SHA512), strict=True):
            jws.register_algorithm(name, AnyLength(hash_))
        return jws


def _owner(name: str) -> str:
    """Make a name fit to be stored and logged: a very long or unprintable one becomes its digest."""
    is_plain = len(name) <= OWNER_CHARACTERS and name.isprintable() and not name.startswith("#")
    return name if is_plain else f"#{digest(name.encode()).hex()}"
