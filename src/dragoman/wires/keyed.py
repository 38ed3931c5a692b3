"""Sessions whose key is shown as the legacy relays' clients show it."""

from dragoman.faults import Malformed
from dragoman.legs import Head
from dragoman.people import Secret, shown_key


class Keyed:
    """One whole body, and a key in Authorization, raw or behind `Bearer`. Dialects add `receive` and `refuse`."""

    whole = True
    late = False

    def __init__(self, head: Head) -> None:
        self.head = head

    def claim(self) -> Secret | None:
        return one_key(self.head)


def one_key(head: Head, *others: str) -> Secret | None:
    """Return the key in `Authorization`, or the one of `others` that is not empty. Raises Malformed if they differ."""
    found = [shown_key(value) for name, value in head.headers if name == b"authorization"]
    keys = {key.digest(): key for key in (*found, *map(Secret, others)) if key}
    if len(keys) > 1:
        raise Malformed("Two keys that disagree were given.", field="authorization")
    return next(iter(keys.values()), None)
