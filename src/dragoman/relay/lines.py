"""Waiting for a provider whose credentials are all at their limits or at rest, where a queue is configured."""

import asyncio

from dragoman.admission.queue import FairQueue, Ticket
from dragoman.legs import Leg
from dragoman.ports import Turn
from dragoman.relay.settle import Call


class Line:
    """The queue of one provider, and the timer that calls the next when a limit has room again."""

    def __init__(self, queue: FairQueue, loop: asyncio.AbstractEventLoop, wait_s: float, quiet_s: float) -> None:
        self.queue = queue
        self.wait_s = wait_s
        self._loop = loop
        self._quiet_s = quiet_s
        self._timer: asyncio.TimerHandle | None = None

    def call_in(self, wait_s: float) -> None:
        """Give the first its turn in `wait_s` seconds, or sooner where that was asked for already."""
        at = self._loop.time() + wait_s
        if self._timer is not None and not self._timer.cancelled() and self._timer.when() <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._call)

    def _call(self) -> None:
        self._timer = None
        self.queue.free()

    async def wait(self, turn: Turn, call: Call, leg: Leg, ticket: Ticket | None) -> Ticket:
        """Wait for a turn to try, saying the place now and then where the dialect can. Raises what the queue raises."""
        place = 0

        def moved(position: int) -> None:
            nonlocal place
            place = position

        principal = call.principal
        began = self._loop.time()
        waiting = asyncio.ensure_future(
            self.queue.wait(principal.name, principal.priority, moved, again=ticket),
        )
        has_turn = False
        try:
            while not (await asyncio.wait({waiting}, timeout=self._quiet_s))[0]:
                await _say(turn, call, leg, max(1, place))
            ticket = waiting.result()
            has_turn = True
            return ticket
        finally:
            call.waited(self._loop.time() - began)
            # A turn that came in the very moment in which this caller gave up is the next one's.
            if not has_turn and not waiting.cancel() and not waiting.cancelled() and waiting.exception() is None:
                self.queue.free()


async def _say(turn: Turn, call: Call, leg: Leg, place: int) -> None:
    pieces = turn.beat(place)
    if pieces:
        if not leg.opened:
            await leg.open(turn.status, turn.opening([]) + call.headers(), None)
        await leg.write(pieces)
