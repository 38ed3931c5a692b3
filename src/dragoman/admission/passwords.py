"""Local accounts: what a name and a password may be, and how a password is kept (argon2id, RFC 9106).

Hashing takes 64 MiB and some 50 ms on purpose: whoever serves others meanwhile calls it in a worker thread.
"""

import secrets
import unicodedata
from functools import cached_property
from typing import TYPE_CHECKING

from dragoman.faults import StoreFailed
from dragoman.people import Secret

if TYPE_CHECKING:
    from argon2 import PasswordHasher

NAME_CHARACTERS = 200
FEWEST_CHARACTERS = 8
LARGEST_BYTES = 1024
# Accounts of an OpenID provider are named so (admission/login.py), and nobody else may be.
FOREIGN = ("oidc:", "oidc-name:")


def normal(text: str) -> str:
    """Return the one form of what can be typed in several (NFC, as RFC 8265, 4.2 has it for passwords)."""
    return unicodedata.normalize("NFC", text)


def folded(name: str) -> str:
    """Return what all spellings of an account's name have in common: the store compares names like this."""
    return unicodedata.normalize("NFKC", name).casefold()


def checked_name(name: str) -> str:
    """Return the name of an account in its normal form. Raises ValueError that says what is wrong with it."""
    name = normal(name)
    if not 1 <= len(name) <= NAME_CHARACTERS:
        raise ValueError(f"A name has 1 to {NAME_CHARACTERS} characters.")
    if not name.isprintable():
        raise ValueError("A name has no control characters.")
    if name != name.strip():
        raise ValueError("A name does not begin or end with a space.")
    if folded(name).startswith(FOREIGN):
        raise ValueError(f"A name does not begin with {' or '.join(map(repr, FOREIGN))}.")
    return name


def checked_password(text: str) -> Secret:
    """Return a new password. Raises ValueError that says what is wrong with it."""
    if len(normal(text)) < FEWEST_CHARACTERS:
        raise ValueError(f"A password has at least {FEWEST_CHARACTERS} characters.")
    if not is_possible(Secret(text)):
        raise ValueError(f"A password has at most {LARGEST_BYTES} bytes.")
    return Secret(text)


def is_possible(password: Secret) -> bool:
    """Say whether anybody can have this password; asking before it is hashed keeps a huge one cheap."""
    text = password.reveal()
    try:
        return 0 < len(text) <= LARGEST_BYTES and len(normal(text).encode()) <= LARGEST_BYTES
    except UnicodeEncodeError:
        return False


class Passwords:
    """Makes and checks digests, with argon2-cffi's default parameters."""

    def digest(self, password: Secret) -> str:
        """Return what may be stored of a password."""
        return self._hasher.hash(normal(password.reveal()))

    def fits(self, digest: str | None, password: Secret) -> bool:
        """Say whether a password is the one of a digest. None, for no such account, takes as long to be refused.

        Raises StoreFailed if what was stored is not a digest.
        """
        from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

        # Asked for whatever `digest` is: the first login after the start is slow, and must not tell more than that.
        nobody = self._nobody
        try:
            fits = self._hasher.verify(digest or nobody, normal(password.reveal()))
        except VerifyMismatchError:
            return False
        except (InvalidHashError, VerificationError) as error:
            raise StoreFailed("This account cannot be checked.", detail=type(error).__name__) from None
        return fits and digest is not None

    @cached_property
    def _hasher(self) -> "PasswordHasher":
        from argon2 import PasswordHasher

        return PasswordHasher()

    @cached_property
    def _nobody(self) -> str:
        """Make the digest that stands for an account which does not exist."""
        return self._hasher.hash(secrets.token_urlsafe())
