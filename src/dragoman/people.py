"""Who asks: secrets, and the principal that a key stands for."""

import hashlib
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from dragoman.standing import Holder


class Secret:
    """A value that must not be seen: repr and str are masked, equality is by identity.

    `reveal()` is the only way to the text; search for it to see every use.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def digest(self) -> bytes:
        return digest(self._text.encode())

    @property
    def tail(self) -> str:
        """The last four characters, or nothing when that would give away too much."""
        return self._text[-4:] if len(self._text) >= 12 else ""

    def __repr__(self) -> str:
        return f"Secret(…{self.tail})"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._text)


def digest(key: bytes) -> bytes:
    """SHA-256 of a key: what look-ups use, so that no comparison ever sees the key itself."""
    return hashlib.sha256(key).digest()


class Principal(msgspec.Struct, frozen=True):
    """Somebody who may ask. `models` and `dialects` are shell-style patterns of public model names and of ways in; one
    of each of the bounds (those of the keys that made this one) must fit as well. Conversations belong to
    `name`, so it must not depend on the order of anything. `own_key` is a provider's key that the caller brought.
    `key` is the id of a stored key. `holders` are those whose limits and budgets hold. `expires` is Unix seconds.
    """

    name: str
    models: tuple[str, ...] = ("*",)
    own_key: Secret | None = None
    role: Literal["user", "admin"] = "user"
    key: str = ""
    team: str = ""
    tags: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ("*",)
    holders: tuple[Holder, ...] = ()
    bounds: tuple[tuple[str, ...], ...] = ()
    dialect_bounds: tuple[tuple[str, ...], ...] = ()
    expires: float | None = None
    keeps_content: bool = False
    priority: int = 0

    def may_use(self, model: str) -> bool:
        if not self.bounds:
            return _fits(model, self.models)
        return all(_fits(model, patterns) for patterns in (self.models, *self.bounds))

    def may_enter(self, dialect: str) -> bool:
        if not self.dialect_bounds:
            return _fits(dialect, self.dialects)
        return all(_fits(dialect, patterns) for patterns in (self.dialects, *self.dialect_bounds))


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return patterns == ("*",) or any(fnmatchcase(name, pattern) for pattern in patterns)


MASTER = Principal("master", role="admin")


def shown_key(value: bytes | None) -> Secret | None:
    """Read the value of an Authorization header: a raw key, or one behind `Bearer`."""
    if not value:
        return None
    scheme, space, rest = value.strip().partition(b" ")
    key = rest.strip() if space and scheme.lower() == b"bearer" else value.strip()
    return Secret(key.decode("latin-1")) if key else None
