"""How secrets of keys are hashed, and with which key, so that a stolen database opens nothing and tells nothing."""

import hashlib
import secrets
from pathlib import Path

from dragoman.faults import Misconfigured
from dragoman.people import Secret

HASH_KEY_FILE = "hash.key"
SHORTEST_CHARACTERS = 32
_CHECKED = b"dragoman: the hash key of this deployment's keys"


def hashed(secret: Secret, hash_key: bytes) -> bytes:
    """BLAKE2b (RFC 7693) of a secret, keyed: 32 bytes. Takes any text, and costs one pass over it."""
    return hashlib.blake2b(secret.reveal().encode("utf-8", "surrogatepass"), key=hash_key, digest_size=32).digest()


def check_value(hash_key: bytes) -> str:
    """What may be stored to recognise a hash key by, and gives nothing of it away."""
    return hashlib.blake2b(_CHECKED, key=hash_key, digest_size=16).hexdigest()


def read_hash_key(folder: Path, given: Secret | None) -> bytes:
    """Return the hash key that was `given`, else that of the folder, which is made if there is none (mode 0600).

    A text given is the same hash key as a file with that text. Raises Misconfigured.
    """
    if given is not None:
        return _derived(given.reveal(), "auth.hash_key")
    path = folder / HASH_KEY_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            made = path.with_name(f"{HASH_KEY_FILE}.{secrets.token_hex(8)}")
            made.touch(mode=0o600)
            made.write_text(secrets.token_urlsafe(32) + "\n", encoding="ascii")
            try:
                path.hardlink_to(made)
            except FileExistsError:
                pass
            finally:
                made.unlink()
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeError) as error:
        raise Misconfigured(f"{path}: the hash key cannot be kept here: {error}") from None
    return _derived(text, str(path))


def _derived(text: str, where: str) -> bytes:
    if len(text.strip()) < SHORTEST_CHARACTERS:
        raise Misconfigured(f"{where}: a hash key has at least {SHORTEST_CHARACTERS} random characters")
    return hashlib.sha256(text.strip().encode("utf-8", "surrogatepass")).digest()
