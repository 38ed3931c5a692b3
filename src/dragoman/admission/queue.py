"""A bounded, fair queue for one pool of places, instead of a refusal.

Higher classes go first, whatever waits below. Inside a class principals take turns, so that one with a hundred waiting
and one with one are served alternately; inside a principal whoever came first goes first.

The queue knows no places. Its owner tries to take one, waits if there is none, and calls `free` when one may be had:

    ticket = None
    while not pool.take():
        ticket = await queue.wait(principal, priority, again=ticket)

Newcomers should wait behind those who wait already (`len(queue)`). A turn that is not used must be passed on with
`free()`. Nothing is lost by cancelling: who is cancelled with a turn in hand passes it on. (Who runs `wait` as a task
of its own has the turn once that task is done, and must pass it on itself.) Coming, going and being served take
O(log n) at most (the timer of the deadline); telling positions takes O(n), and happens once in `MOVES_EVERY_S`.
"""

import asyncio
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from dragoman.faults import Fault, Overloaded, TooMany

MOVES_EVERY_S = 1.0
"""Those who wait are told their new positions no more often."""
_PACE_WEIGHT = 0.2


class Ticket:
    """Somebody's place in the queue. `number` and `turn` say in which order all came, and had their first turn (0: not
    yet). `answer` becomes None when it is this one's turn, or why there will be none.
    """

    __slots__ = ("answer", "deadline", "is_waiting", "number", "on_move", "principal", "priority", "told", "turn")

    def __init__(self, principal: str, priority: int, number: int, deadline: float) -> None:
        self.principal = principal
        self.priority = priority
        self.number = number
        self.deadline = deadline
        self.on_move: Callable[[int], None] | None = None
        self.turn = 0
        self.told = 0
        self.is_waiting = False
        self.answer: asyncio.Future[Fault | None]


class FairQueue:
    """The queue of one pool.

    Args:
        most: how many may wait.
        wait_s: how long anybody may wait in all.
        now: a monotonic clock, in seconds.
        moves_every_s: how often positions are told at most.

    """

    def __init__(
        self, most: int, wait_s: float, now: Callable[[], float], *, moves_every_s: float = MOVES_EVERY_S
    ) -> None:
        self._most = most
        self._wait_s = wait_s
        self._now = now
        self._tiers: dict[int, _Tier] = {}
        self._priorities: list[int] = []
        self._length = 0
        self._listeners = 0
        self._comers = 0
        self._turns = 0
        self._pace_s: float | None = None
        self._turn_at: float | None = None
        self._moves_every_s = moves_every_s
        self._moves_at = -moves_every_s
        self._moves: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._length

    @property
    def depth(self) -> dict[int, int]:
        """How many wait in each class that has any."""
        return {priority: len(self._tiers[priority]) for priority in self._priorities}

    async def wait(
        self,
        principal: str,
        priority: int,
        on_move: Callable[[int], None] | None = None,
        *,
        again: Ticket | None = None,
    ) -> Ticket:
        """Return when it is this caller's turn to try.

        Args:
            principal: who takes turns with others of the class.
            priority: the class; higher ones go first.
            on_move: is told the position, 1 being the next, when it changed; it must not raise. With `again` it takes
                the place of the former one.
            again: the ticket of a turn that came to nothing: the caller is next again, within its old deadline.

        Raises TooMany if the queue is full of this principal's own, Overloaded if it is full otherwise, if this caller
        was shed for a more important one, or if the deadline passed.

        """
        loop = asyncio.get_running_loop()
        ticket = again or self._ticket(principal, priority)
        if on_move is not None:
            ticket.on_move, ticket.told = on_move, 0
        left_s = ticket.deadline - self._now()
        if left_s <= 0:
            raise self._late(ticket)
        self._make_room(ticket)
        ticket.answer = loop.create_future()
        timer = loop.call_later(left_s, self._expire, ticket)
        self._take_in(ticket)
        try:
            fault = await ticket.answer
        except asyncio.CancelledError:
            self._abandon(ticket)
            raise
        finally:
            timer.cancel()
        if fault is not None:
            raise fault
        return ticket

    def free(self, n: int = 1) -> None:
        """Give the next `n` their turn: so many places may be had."""
        while n > 0 and self._length:
            ticket = self._tiers[self._priorities[-1]].first()
            # A cancelled caller stands here until its task runs; its turn is the next one's.
            is_there = not ticket.answer.done()
            self._take_out(ticket, is_served=is_there)
            if is_there:
                n -= 1
                self._turns += 1
                ticket.turn = ticket.turn or self._turns
                self._keep_pace()
                ticket.answer.set_result(None)

    def position(self, ticket: Ticket) -> int:
        """Return how many turns from now it is this one's; 0 if it does not wait. O(n), for people who look."""
        if not ticket.is_waiting:
            return 0
        return next(at for at, one in enumerate(self._order(), start=1) if one is ticket)

    def _ticket(self, principal: str, priority: int) -> Ticket:
        self._comers += 1
        return Ticket(principal, priority, self._comers, self._now() + self._wait_s)

    def _take_in(self, ticket: Ticket) -> None:
        tier = self._tiers.get(ticket.priority)
        if tier is None:
            tier = self._tiers[ticket.priority] = _Tier()
            insort(self._priorities, ticket.priority)
        tier.add(ticket)
        ticket.is_waiting = True
        self._length += 1
        self._listeners += ticket.on_move is not None
        self._moved()

    def _take_out(self, ticket: Ticket, *, is_served: bool = False) -> None:
        tier = self._tiers[ticket.priority]
        tier.remove(ticket, is_served=is_served)
        if not len(tier):
            del self._tiers[ticket.priority]
            del self._priorities[bisect_left(self._priorities, ticket.priority)]
        ticket.is_waiting = False
        self._length -= 1
        self._listeners -= ticket.on_move is not None
        self._moved()

    def _make_room(self, ticket: Ticket) -> None:
        if self._length < self._most:
            return
        victim = self._victim(ticket)
        if victim is None:
            raise self._full(ticket)
        self._take_out(victim)
        if not victim.answer.done():
            said = "Your request gave way to a more important one in the queue."
            victim.answer.set_result(Overloaded(said, retry_after_s=self._retry_s(victim)))

    def _victim(self, ticket: Ticket) -> Ticket | None:
        """Find whom this one may displace: of the lowest class, the latest of the principal with most waiting.

        In its own class a newcomer displaces only one of a principal that still has no fewer than its own afterwards:
        else whoever fills the queue first would keep all others out.
        """
        for priority in self._priorities:
            tier = self._tiers[priority]
            if priority > ticket.priority:
                break
            if tier.crowd and (
                priority < ticket.priority or ticket.turn or tier.crowd > tier.waiting(ticket.principal) + 1
            ):
                return tier.latest()
        return None

    def _expire(self, ticket: Ticket) -> None:
        if ticket.is_waiting and not ticket.answer.done():
            fault = self._late(ticket)
            self._take_out(ticket)
            ticket.answer.set_result(fault)

    def _abandon(self, ticket: Ticket) -> None:
        if ticket.is_waiting:
            self._take_out(ticket)
        elif not ticket.answer.cancelled() and ticket.answer.result() is None:
            self.free()

    def _late(self, ticket: Ticket) -> Fault:
        said = f"No place became free within {self._wait_s:g} s."
        return Overloaded(said, retry_after_s=self._retry_s(ticket))

    def _full(self, ticket: Ticket) -> Fault:
        tier = self._tiers.get(ticket.priority)
        if tier is not None and 2 * tier.waiting(ticket.principal) > self._most:
            said = "Too many of your requests wait already; try again later."
            return TooMany(said, retry_after_s=self._retry_s(ticket))
        return Overloaded("The queue is full; try again later.", retry_after_s=self._retry_s(ticket))

    def _keep_pace(self) -> None:
        at = self._now()
        if self._turn_at is not None:
            gap_s = max(0.0, at - self._turn_at)
            self._pace_s = gap_s if self._pace_s is None else self._pace_s + _PACE_WEIGHT * (gap_s - self._pace_s)
        # Turns tell how fast places become free only while somebody waits for them.
        self._turn_at = at if self._length else None

    def _retry_s(self, ticket: Ticket) -> float:
        """Estimate when those before such a caller will be gone: at the latest when all their deadlines have passed."""
        if self._pace_s is None:
            return self._wait_s
        before = sum(len(tier) for priority, tier in self._tiers.items() if priority >= ticket.priority)
        return min(self._wait_s, self._pace_s * max(1, before))

    def _order(self) -> Iterator[Ticket]:
        for priority in reversed(self._priorities):
            yield from self._tiers[priority].order()

    def _moved(self) -> None:
        if self._moves is None and self._listeners:
            wait_s = max(0.0, self._moves_at + self._moves_every_s - self._now())
            self._moves = asyncio.get_running_loop().call_later(wait_s, self._tell)

    def _tell(self) -> None:
        self._moves = None
        self._moves_at = self._now()
        for position, ticket in enumerate(self._order(), start=1):
            if ticket.on_move is not None and ticket.told != position and not ticket.answer.done():
                ticket.told = position
                ticket.on_move(position)


class _Tier:
    """Those of one class: first they who had a turn that came to nothing, then a line for each principal.

    `crowd` is the length of the longest line; principals are kept by the length of theirs, which changes by one.
    """

    __slots__ = ("_back", "_by_length", "_length", "_lines", "crowd")

    def __init__(self) -> None:
        self._lines: OrderedDict[str, OrderedDict[int, Ticket]] = OrderedDict()
        self._back: list[Ticket] = []
        self._by_length: dict[int, OrderedDict[str, None]] = {}
        self._length = 0
        self.crowd = 0

    def __len__(self) -> int:
        return self._length

    def waiting(self, principal: str) -> int:
        return len(self._lines.get(principal, ()))

    def first(self) -> Ticket:
        """Return whose turn it is; as it is served, its principal becomes the last."""
        if self._back:
            return self._back[0]
        line = next(iter(self._lines.values()))
        return next(iter(line.values()))

    def latest(self) -> Ticket:
        """Return who came last of those in the longest line (of several such: the line that grew last)."""
        principal = next(reversed(self._by_length[self.crowd]))
        return next(reversed(self._lines[principal].values()))

    def add(self, ticket: Ticket) -> None:
        self._length += 1
        if ticket.turn:
            insort(self._back, ticket, key=_turn)
            return
        line = self._lines.setdefault(ticket.principal, OrderedDict())
        line[ticket.number] = ticket
        self._recount(ticket.principal, len(line) - 1, len(line))

    def remove(self, ticket: Ticket, *, is_served: bool) -> None:
        self._length -= 1
        if ticket.turn:
            del self._back[bisect_left(self._back, ticket.turn, key=_turn)]
            return
        principal = ticket.principal
        line = self._lines[principal]
        del line[ticket.number]
        self._recount(principal, len(line) + 1, len(line))
        if not line:
            del self._lines[principal]
        elif is_served:
            self._lines.move_to_end(principal)

    def order(self) -> Iterator[Ticket]:
        yield from self._back
        lines = deque(iter(line.values()) for line in self._lines.values())
        while lines:
            line = lines.popleft()
            ticket = next(line, None)
            if ticket is not None:
                yield ticket
                lines.append(line)

    def _recount(self, principal: str, before: int, after: int) -> None:
        if before:
            del self._by_length[before][principal]
            if not self._by_length[before]:
                del self._by_length[before]
        if after:
            alike = self._by_length.setdefault(after, OrderedDict())
            alike[principal] = None
            # So that the last of a length is the one that grew last, and has the latest comer.
            alike.move_to_end(principal, last=after > before)
        if after > self.crowd or self.crowd not in self._by_length:
            self.crowd = after


def _turn(ticket: Ticket) -> int:
    return ticket.turn
