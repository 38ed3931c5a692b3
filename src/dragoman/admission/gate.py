"""Who is asking: a shown key to a principal. One hash and one look-up for a key, a signature for a token."""

from collections.abc import Collection

from dragoman.admission.bucket import Bucket
from dragoman.admission.tokens import Tokens
from dragoman.faults import Forbidden, TooMany, Unauthenticated
from dragoman.people import Principal, Secret
from dragoman.ports import Mount

ANONYMOUS = Principal("anonymous")
WRONG_SECRETS_A_MINUTE = 20


class Gate:
    """Knows keys by digest only, so no comparison ever depends on how much of a key is right.

    `doors` are those that `[auth] anonymous` opens; `own_keys` says that callers may bring a provider's key.
    """

    def __init__(
        self,
        principals: dict[bytes, Principal],
        kinds: dict[bytes, str],
        tokens: Tokens,
        doors: Collection[str],
        *,
        own_keys: bool,
    ) -> None:
        self._principals = principals
        self._kinds = kinds
        self._tokens = tokens
        self._doors = doors
        self._own_keys = own_keys
        self._wrong = Bucket(WRONG_SECRETS_A_MINUTE, 60.0)

    def admit(self, claim: Secret | None, mount: Mount) -> Principal:
        """Return whose key this is. O(1). Raises Unauthenticated."""
        if not claim or not claim.reveal().strip():
            if mount.door in self._doors:
                return ANONYMOUS
            raise Unauthenticated("No key was given: send it as `Authorization: Bearer …` or `x-api-key`.")
        principal = self._principals.get(claim.digest())
        if principal is not None:
            return principal
        owner = self._tokens.read(claim)
        if owner is not None:
            return Principal(owner)
        if mount.own_key and self._own_keys:
            return Principal(f"own:{claim.digest().hex()[:32]}", own_key=claim)
        raise Unauthenticated("This key is not valid.")

    def kin(self, key: Secret) -> str:
        """Say which kind of legacy key this is: a fixed one's kind, "minted" for a signed token, else ""."""
        return self._kinds.get(key.digest()) or ("minted" if self._tokens.signed_by_secret(key) else "")

    def mint(self, id_: str, hours: int, key: Secret) -> str:
        """Make a token for whoever shows the secret. Raises Forbidden, and TooMany after many wrong ones."""
        if self._wrong.is_empty():
            raise TooMany("Too many wrong keys were given; try again later.", retry_after_s=self._wrong.wait_s())
        if not self._tokens.check_key(key):
            self._wrong.take()
            raise Forbidden("The key is not valid.", field="key")
        return self._tokens.mint(id_, hours)
