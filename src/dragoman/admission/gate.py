"""Who is asking: a shown key to a principal. One hash and one look-up for a key, a signature for a token."""

from collections.abc import Collection

import msgspec

from dragoman.admission.bucket import Bucket
from dragoman.admission.directory import DENIED, Directory
from dragoman.admission.tokens import Kind, Passes, Tokens
from dragoman.faults import Forbidden, TooMany, Unauthenticated
from dragoman.keys import PREFIX
from dragoman.people import MASTER, Principal, Secret
from dragoman.ports import Mount
from dragoman.standing import NO_LIMITS, Holder, Limits

ANONYMOUS = Principal("anonymous")
WRONG_SECRETS_A_MINUTE = 20
_DOTS_OF_A_TOKEN = 2
_KEY = "key:"


class Gate:
    """Knows keys by keyed digest only, so no comparison ever depends on how much of a key is right.

    Args:
        principals: those of configured keys, by the digest that the directory makes of each.
        kinds: which kind of legacy key is which, by the same digest.
        tokens: reads signed tokens.
        directory: knows the stored keys.
        doors: what `[auth] anonymous` opens.
        own_keys: whether callers may bring a provider's key.
        default_limits: of each caller for whom there is no row: fixed keys, owners of tokens, nobody.
        passes: reads what the page shows as its key; without it there is no page.

    """

    def __init__(  # noqa: PLR0913 - it meets every way in which somebody may be known
        self,
        principals: dict[bytes, Principal],
        kinds: dict[bytes, str],
        tokens: Tokens,
        directory: Directory,
        doors: Collection[str],
        *,
        own_keys: bool,
        default_limits: Limits = NO_LIMITS,
        passes: Passes | None = None,
    ) -> None:
        self._default_limits = default_limits
        self._passes = passes
        self._principals = {digest: self._limited(principal) for digest, principal in principals.items()}
        self._anonymous = self._limited(ANONYMOUS)
        self._kinds = kinds
        self._tokens = tokens
        self._directory = directory
        self._doors = doors
        self._own_keys = own_keys
        self._wrong = Bucket(WRONG_SECRETS_A_MINUTE, 60.0)

    def admit(self, claim: Secret | None, mount: Mount) -> Principal:
        """Return whose key this is. O(1). Raises Unauthenticated, and Forbidden where its owner may not enter.

        Whatever is wrong with a key, it is the same fault after the same work.
        """
        principal = self._whose(claim, mount)
        if not principal.may_enter(mount.dialect):
            raise Forbidden("This key may not be used here.")
        if mount.role == "admin" and principal.role != "admin":
            raise Forbidden("This is for administrators.")
        return principal

    def subject(self, claim: Secret) -> str:
        """Name whom a key stands for, as `represented` takes it. Raises Unauthenticated."""
        digest = self._directory.digest(claim)
        principal = self._known(digest)
        if principal is None:
            raise Unauthenticated(
                "This key is not valid: a key of this gateway logs in, a token or a provider's does not."
            )
        if principal == MASTER and digest not in self._kinds:
            # It is another in every folder, and all processes of a database are to know its sessions.
            return MASTER.name
        return f"{_KEY}{digest.hex()}"

    def represented(self, subject: str) -> Principal:
        """Return whom a subject names, as the key or the account itself would be known now. O(1).

        Raises Unauthenticated once the key has been disabled, deleted, exchanged or is over.
        """
        if subject == MASTER.name:
            return MASTER
        if subject.startswith(_KEY):
            principal = self._known(bytes.fromhex(subject.removeprefix(_KEY)))
            if principal is None:
                raise _refused()
            return principal
        return self._owner(subject)

    def kin(self, key: Secret) -> str:
        """Say which kind of legacy key this is: a fixed one's kind, "minted" for a signed token, else ""."""
        kind = self._kinds.get(self._directory.digest(key))
        return kind or ("minted" if self._tokens.signed_by_secret(key) else "")

    def mint(self, id_: str, hours: int, key: Secret) -> str:
        """Make a token for whoever shows the secret. Raises Forbidden, and TooMany after many wrong ones."""
        if self._wrong.is_empty():
            raise TooMany("Too many wrong keys were given; try again later.", retry_after_s=self._wrong.wait_s())
        if not self._tokens.check_key(key):
            self._wrong.take()
            raise Forbidden("The key is not valid.", field="key")
        return self._tokens.mint(id_, hours)

    def _whose(self, claim: Secret | None, mount: Mount) -> Principal:
        text = claim.reveal() if claim else ""
        if claim is None or not text or text.isspace():
            if mount.door in self._doors:
                return self._anonymous
            raise Unauthenticated("No key was given: send it as `Authorization: Bearer …` or `x-api-key`.")
        digest = self._directory.digest(claim)
        principal = self._known(digest)
        if principal is not None:
            return principal
        if text.count(".") == _DOTS_OF_A_TOKEN:
            principal = self._bearer(claim)
            if principal is not None:
                return principal
        if mount.own_key and self._own_keys and not self._is_ours(claim):
            return self._limited(Principal(f"own:{claim.digest().hex()[:32]}", own_key=claim))
        raise _refused()

    def _is_ours(self, claim: Secret) -> bool:
        """Whether this is no provider's and must not be told to one: a key of ours that is over, a cookie, a link."""
        return claim.reveal().startswith(PREFIX) or (self._passes is not None and self._passes.has_made(claim))

    def _bearer(self, claim: Secret) -> Principal | None:
        """Return whose token this is, None if it is none of ours."""
        owner = self._tokens.read(claim)
        if owner is not None:
            return self._owner(owner)
        shown = self._passes.read(Kind.PAGE, claim) if self._passes else None
        return self.represented(shown.sub) if shown else None

    def _known(self, digest: bytes) -> Principal | None:
        """Return whose key has this digest, None if nobody's who may come in now."""
        return self._principals.get(digest) or self._directory.by_digest(digest)

    def _owner(self, name: str) -> Principal:
        """Return whom a valid token stands for."""
        found = self._directory.named(name)
        if found is DENIED:
            raise _refused()
        return found or self._limited(Principal(name))

    def _limited(self, principal: Principal) -> Principal:
        """Give somebody for whom there is no row in the store the limits of all such; operators have none."""
        if principal.role == "admin" or principal.holders or not self._default_limits:
            return principal
        return msgspec.structs.replace(principal, holders=(Holder(principal.name, self._default_limits),))


def _refused() -> Unauthenticated:
    return Unauthenticated("This key is not valid.")
