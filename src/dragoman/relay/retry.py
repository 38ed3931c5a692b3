"""May we try again, and when? Pure but for the dice."""

import random

from dragoman.faults import Fault

LEAST_RETRIES = 3
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


class Budget:
    """Bounds retries over all calls: those in flight are at most a share of the calls in flight, or three."""

    __slots__ = ("_retrying", "_share", "calls")

    def __init__(self, share: float) -> None:
        self._share = share
        self._retrying = 0
        self.calls = 0

    def take(self) -> bool:
        """Whether one more retry may be in flight; give it back when its attempt is over."""
        if self._retrying >= max(LEAST_RETRIES, int(self.calls * self._share)):
            return False
        self._retrying += 1
        return True

    def give(self) -> None:
        self._retrying -= 1


def pause_s(number: int) -> float:
    """How long to wait before the retry of that number (from 1), with full jitter."""
    return random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**number))  # noqa: S311 - jitter


def worth_it(fault: Fault, *, delivered: bool) -> bool:
    """Nothing is retried once a byte has gone to the caller, nor what the caller did wrong."""
    return not delivered and fault.retry != "never"
