"""A breaker for each target: closed, open after failures in a row, half-open for one probe at a time."""

import random

FAILURES = 5
FIRST_REST_S = 1.0
LONGEST_REST_S = 60.0


class Breaker:
    """The health of one target. O(1). Times are the loop's clock, in seconds."""

    __slots__ = ("_failures", "_probing", "_rest_s", "opens_until")

    def __init__(self) -> None:
        self._failures = 0
        self._rest_s = FIRST_REST_S
        self._probing = False
        self.opens_until = 0.0

    @property
    def is_open(self) -> bool:
        return self.opens_until > 0

    def admit(self, now: float) -> bool:
        """Whether a call may go there now. After the rest one call goes as a probe; others wait for it."""
        if not self.is_open:
            return True
        if self._probing or now < self.opens_until:
            return False
        self._probing = True
        return True

    def good(self) -> None:
        self._failures = 0
        self._rest_s = FIRST_REST_S
        self._probing = False
        self.opens_until = 0.0

    def bad(self, now: float) -> None:
        """Count a failure; open on the fifth in a row, or again, for twice as long, when a probe failed."""
        self._failures += 1
        if self._probing or (not self.is_open and self._failures >= FAILURES):
            self.opens_until = now + self._rest_s * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
            self._rest_s = min(LONGEST_REST_S, self._rest_s * 2)
        self._probing = False

    def undecided(self) -> None:
        """The call ended without saying anything about the target (its caller left, its request was wrong)."""
        self._probing = False
