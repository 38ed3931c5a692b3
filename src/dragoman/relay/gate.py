"""Who is asking: a shown key to a principal. One hash and one look-up, whether the key is good or not."""

from dragoman.faults import Unauthenticated
from dragoman.people import Principal, Secret


class Gate:
    """Knows keys by digest only, so no comparison ever depends on how much of a key is right."""

    def __init__(self, principals: dict[bytes, Principal]) -> None:
        self._principals = principals

    def admit(self, claim: Secret | None) -> Principal:
        """Return whose key this is. O(1). Raises Unauthenticated."""
        if not claim or not claim.reveal().strip():
            raise Unauthenticated("No key was given: send it as `Authorization: Bearer …` or `x-api-key`.")
        principal = self._principals.get(claim.digest())
        if principal is None:
            raise Unauthenticated("This key is not valid.")
        return principal
