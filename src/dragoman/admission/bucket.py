"""How many of something in how much time. Pure but for the clock."""

import time
from collections.abc import Callable


class Bucket:
    """A token bucket: `size` at once, refilled evenly over `period_s` seconds."""

    __slots__ = ("_at", "_left", "_now", "_period_s", "_size")

    def __init__(self, size: int, period_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._period_s = period_s
        self._now = now
        self._left = float(size)
        self._at = now()

    def take(self) -> bool:
        """Take one. Returns whether there was one."""
        self._refill()
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def is_empty(self) -> bool:
        self._refill()
        return self._left < 1

    def wait_s(self) -> float:
        """Return the seconds until there is one again."""
        self._refill()
        return max(0.0, (1 - self._left) * self._period_s / self._size)

    def _refill(self) -> None:
        now = self._now()
        self._left = min(self._size, self._left + (now - self._at) * self._size / self._period_s)
        self._at = now
