"""Sessions whose key is shown as the legacy relays' clients show it."""

from dragoman.legs import Head
from dragoman.people import Secret, shown_key


class Keyed:
    """One whole body, and a key in Authorization, raw or behind `Bearer`. Dialects add `receive` and `refuse`."""

    whole = True
    late = False

    def __init__(self, head: Head) -> None:
        self.head = head

    def claim(self) -> Secret | None:
        return shown_key(self.head.get(b"authorization"))
