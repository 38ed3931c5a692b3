"""Signed tokens: System A's, and our own for accounts and the page (RFC 7519, RFC 7515). PyJWT does the rest."""

import enum
import hmac
import re
import secrets
import time
from base64 import b64decode, urlsafe_b64encode
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


class Kind(enum.Enum):
    """What the page holds: its session, and the key that it shows meanwhile."""

    SESSION = "dragoman/session"
    PAGE = "dragoman/page"


LIFETIMES_S = {Kind.SESSION: 14 * 86_400, Kind.PAGE: 900}
LINK_S = 86_400
LINK_ID_BYTES, LINK_EXPIRY_BYTES, LINK_SEAL_BYTES = 12, 5, 16


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


class Pass(msgspec.Struct):
    """The payload of what the page holds: `iss` is its kind, `jti` one session."""

    iss: str
    sub: str
    exp: int
    jti: str


class Link(msgspec.Struct, frozen=True):
    """One link that logs an operator in once, until `expires` (Unix seconds)."""

    id: str
    expires: int


class Signer:
    """Signs with one key, and reads what was signed with it."""

    def __init__(self, key: bytes, algorithms: tuple[str, ...] = HMAC[:1]) -> None:
        self._key = key
        self._algorithms = algorithms

    def __bool__(self) -> bool:
        return bool(self._key)

    def sign(self, payload: msgspec.Struct) -> str:
        return self._jws.encode(msgspec.json.encode(payload), self._key, "HS256")

    def claims(self, token: Secret, now: float) -> Claims | None:
        """Read what was signed and holds now (Unix seconds). Never raises."""
        payload = self.payload(token)
        if payload is None:
            return None
        try:
            claims = msgspec.json.decode(payload, type=Claims)
        except (ValueError, RecursionError):
            return None
        return claims if claims.holds(now) else None

    def payload(self, token: Secret) -> bytes | None:
        """Return what was signed, whether it still holds or not. Never raises."""
        text = token.reveal()
        if not self._key or len(text) > LARGEST_CHARACTERS or not SHAPE.fullmatch(text):
            return None
        from jwt import PyJWTError

        try:
            payload: bytes = self._jws.decode(text, self._key, self._algorithms)
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


class Tokens:
    """Makes and reads tokens. Without a `secret_key`, or with an empty one, System A's kind does not exist.

    Args:
        secret_key: what signs System A's tokens, and is its master key.
        own: the key for tokens of ours, at least 32 bytes that nothing else is signed with.
        now: Unix seconds.

    """

    def __init__(self, secret_key: Secret | None, own: bytes, now: Callable[[], float] = time.time) -> None:
        self._secret = secret_key.reveal().encode() if secret_key else b""
        self._minted = Signer(self._secret, HMAC)
        self._issued = Signer(own)
        self._now = now

    def mint(self, id_: str, hours: int) -> str:
        """Sign a token of System A's for `id_`, byte for byte as it did. Raises Forbidden without a `secret_key`."""
        if not self._secret:
            raise Forbidden("This gateway makes no such tokens.")
        hours = max(-LONGEST_HOURS, min(hours, LONGEST_HOURS))
        return self._minted.sign(Minted(int(self._now()) + hours * 3600, id_))

    def check_key(self, key: Secret) -> bool:
        """Say whether this is the `secret_key`, in a time that does not depend on how much of it is right."""
        return bool(self._secret) and hmac.compare_digest(key.digest(), digest(self._secret))

    def issue(self, name: str, days: float = 14) -> str:
        """Sign a token of ours for an account."""
        now = int(self._now())
        return self._issued.sign(Issued(ISSUER, name, now, int(now + days * 86_400)))

    def read(self, token: Secret) -> str | None:
        """Return whose token this is, `token:JTI` for System A's or `user:NAME` for ours; None unless it is valid.

        Never raises, and costs a look at its shape if it is no token at all.
        """
        claims = self._minted.claims(token, self._now())
        if claims is not None:
            return f"token:{_owner(claims.jti)}"
        claims = self._issued.claims(token, self._now())
        # What expires is ours only if it says when: a token without `exp` was not made by `issue`.
        if claims is not None and claims.iss == ISSUER and claims.sub and claims.exp is not None:
            return f"user:{_owner(claims.sub)}"
        return None

    def signed_by_secret(self, token: Secret) -> bool:
        """Say whether the `secret_key` signed this, expired or not."""
        return self._minted.payload(token) is not None


class Passes:
    """Makes and reads what the page logs in with. Each kind is good for one thing and is never taken for another.

    The code of a link is no JWT, so that it fits a line of a terminal, and a start need not load PyJWT.

    Args:
        key: at least 32 bytes that nothing else is signed with, the same in all processes of a database.
        now: Unix seconds.

    """

    def __init__(self, key: bytes, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._signer = Signer(key)
        self._now = now

    def make_link(self) -> Secret:
        """Make the code of a link: an id that nobody can guess, when it expires, and our seal on both."""
        expires = int(self._now() + LINK_S).to_bytes(LINK_EXPIRY_BYTES, "big")
        plain = secrets.token_bytes(LINK_ID_BYTES) + expires
        return Secret(urlsafe_b64encode(plain + self._seal(plain)).decode())

    def read_link(self, code: Secret) -> Link | None:
        """Return what a link's code says, None unless it is valid. Never raises."""
        try:
            sealed = b64decode(code.reveal().encode("ascii"), b"-_", validate=True)
        except ValueError:
            return None
        plain, seal = sealed[:-LINK_SEAL_BYTES], sealed[-LINK_SEAL_BYTES:]
        if len(plain) != LINK_ID_BYTES + LINK_EXPIRY_BYTES or not hmac.compare_digest(seal, self._seal(plain)):
            return None
        expires = int.from_bytes(plain[LINK_ID_BYTES:], "big")
        return Link(plain[:LINK_ID_BYTES].hex(), expires) if self._now() < expires else None

    def _seal(self, plain: bytes) -> bytes:
        return hmac.digest(self._key, b"link " + plain, "sha256")[:LINK_SEAL_BYTES]

    def make(self, kind: Kind, sub: str, id_: str = "") -> tuple[Secret, Pass]:
        """Sign a pass of a kind for whom `sub` names. Without an `id_` it gets one that nobody can guess."""
        made = Pass(kind.value, sub, int(self._now() + LIFETIMES_S[kind]), id_ or secrets.token_hex(16))
        return Secret(self._signer.sign(made)), made

    def read(self, kind: Kind, token: Secret) -> Pass | None:
        """Return what a pass of this kind says, None unless it is valid. Never raises."""
        claims = self._signer.claims(token, self._now())
        if claims is None or claims.iss != kind.value or claims.exp is None or not (claims.sub and claims.jti):
            return None
        return Pass(claims.iss, claims.sub, int(claims.exp), claims.jti)

    def has_made(self, text: Secret) -> bool:
        """Say whether this is a pass of any kind, valid or not, or the code of a link that still holds."""
        return self._signer.payload(text) is not None or self.read_link(text) is not None

    def is_half_over(self, given: Pass) -> bool:
        return given.exp - self._now() < LIFETIMES_S[Kind(given.iss)] / 2

    def csrf(self, given: Pass) -> Secret:
        """Make what proves that somebody has read the session; it stays the same while the session is renewed."""
        return Secret(hmac.digest(self._key, b"csrf " + given.jti.encode(), "sha256").hex())


def _owner(name: str) -> str:
    """Make a name fit to be stored and logged: a very long or unprintable one becomes its digest."""
    is_plain = len(name) <= OWNER_CHARACTERS and name.isprintable() and not name.startswith("#")
    return name if is_plain else f"#{digest(name.encode()).hex()}"
