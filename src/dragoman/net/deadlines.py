"""One timer for everything that may take too long.

Each watched thing has a `due` (the loop's clock, seconds) that its owner may move freely and for
nothing: the wheel looks at each thing every `LOOK_S`. So a chunk that arrives costs one assignment, not
a timer. Never early; late by `LOOK_S` and a tick at most.
"""

import asyncio
from typing import Protocol

TICK_S = 0.05
LOOK_S = 0.1


class Watched(Protocol):
    due: float

    def expire(self, now: float) -> None:
        """`due` has passed. Move it on to be watched further, or leave it to be forgotten."""


class Wheel:
    """Buckets by tick; the clock runs only while something is watched. O(1) to watch and to look."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, list[Watched]] = {}
        self._next = 0
        self._running = False

    def watch(self, thing: Watched) -> None:
        """Call `expire` once `due` has passed; `due` = infinity forgets it."""
        now = self._loop.time()
        self._put(thing, now)
        if not self._running:
            self._running = True
            self._next = int(now / TICK_S)
            self._loop.call_later(TICK_S, self._tick)

    def _put(self, thing: Watched, now: float) -> None:
        """A far deadline is looked at again soon, since its owner may move it nearer meanwhile."""
        look_at = min(thing.due, now + LOOK_S)
        self._buckets.setdefault(max(int(look_at / TICK_S) + 1, self._next), []).append(thing)

    def _tick(self) -> None:
        now = self._loop.time()
        last = int(now / TICK_S)
        if last - self._next > 1000:
            # The process was stopped (or the clock jumped): what is there is all there is to look at.
            slots = sorted(slot for slot in self._buckets if slot <= last)
        else:
            slots = list(range(self._next, last + 1))
        self._next = last + 1
        for slot in slots:
            for thing in self._buckets.pop(slot, ()):
                if thing.due <= now:
                    thing.expire(now)
                if now < thing.due != float("inf"):
                    self._put(thing, now)
        self._running = bool(self._buckets)
        if self._running:
            self._loop.call_later(TICK_S, self._tick)
