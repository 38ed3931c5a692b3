"""The conversation with the bank: one request at a time, and everybody who waits shares it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Protocol

from dragoman.faults import Overloaded, StoreFailed
from dragoman.standing import Account, Bank, Got, Want

RENEW_S = 5.0
IDLE_S = 30.0
"""What was not needed for so long goes back."""
STALE_S = 25.0
"""After so long without an answer of the bank, it is asked before what is held is used: the lease may have ended."""
_RETRY_S = 1.0
_PORTION = 500


class Slice(Protocol):
    """What this process was granted of one account and window."""

    used_at: float

    @property
    def account(self) -> Account: ...

    @property
    def window(self) -> int: ...

    @property
    def ends(self) -> float: ...

    @property
    def owed(self) -> int: ...

    @property
    def is_empty(self) -> bool: ...

    def recall(self) -> None: ...

    def want(self, least: int, total: int) -> Want: ...

    def got(self, want: Want, got: Got, now: float) -> None: ...

    def lost(self, want: Want) -> None: ...


class Learner(Protocol):
    """Who must know what was spent."""

    def asks(self) -> list[tuple[str, int]]: ...

    def know(self, keys: Sequence[tuple[str, int]], sums: Sequence[int], /) -> None: ...


class _Round:
    """One request to the bank, and who waits for it."""

    def __init__(self) -> None:
        self.needs: dict[Slice, tuple[int, int]] = {}
        self.learners: dict[Learner, None] = {}
        self.done = asyncio.Event()
        self.failed = True

    def add(self, slice_: Slice, units: int) -> None:
        least, total = self.needs.get(slice_, (units, 0))
        self.needs[slice_] = min(least, units), total + units


class Leases:
    """Asks the bank for those who lack something, renews what is held, and gives back what nobody needs.

    Args:
        bank: whom to ask.
        clock: seconds of a monotonic clock.

    """

    def __init__(self, bank: Bank, clock: Callable[[], float]) -> None:
        self._bank = bank
        self._clock = clock
        self._round: _Round | None = None
        self._task: asyncio.Task[None] | None = None
        self._held: dict[Slice, None] = {}
        self._asked_at = clock()
        """When the last request was sent that the bank answered: leases last from then on at least."""
        self._failed_at = float("-inf")

    def is_stale(self, now: float) -> bool:
        """Whether leases may have ended unnoticed. While the bank fails, nobody else is granted what is held here."""
        return now - self._asked_at > STALE_S and now - self._failed_at > _RETRY_S

    async def ask(self, needs: Iterable[tuple[Slice, int]], timeout_s: float) -> None:
        """Return when the bank has answered. Raises Overloaded if it has not, or failed."""
        round_ = self._next()
        for slice_, units in needs:
            round_.add(slice_, units)
        await self._answered(round_, timeout_s)

    def ask_soon(self, needs: Iterable[tuple[Slice, int]]) -> None:
        """Ask without waiting."""
        round_ = self._next()
        for slice_, units in needs:
            round_.add(slice_, units)

    def ask_ahead(self, slice_: Slice) -> None:
        """Have more before anybody lacks it."""
        if self._task is None and self._clock() - self._failed_at > _RETRY_S:
            self._next().add(slice_, 1)

    async def learn(self, learners: Iterable[Learner], timeout_s: float) -> None:
        """Return when those know what was spent who did not. Raises Overloaded."""
        learners = [learner for learner in learners if learner.asks()]
        if learners:
            await self._answered(self.learn_soon(learners), timeout_s)

    def learn_soon(self, learners: Iterable[Learner]) -> _Round:
        """Ask without waiting."""
        round_ = self._next()
        round_.learners |= dict.fromkeys(learners)
        return round_

    async def renew(self, at: float) -> None:
        """Renew everything, and give back what is owed, idle, or of a window that is over at `at` (Unix seconds).

        Waits for the bank, and raises nothing if it fails.
        """
        now = self._clock()
        round_ = self._next()
        for slice_ in list(self._held):
            if slice_.is_empty:
                del self._held[slice_]
                continue
            if now - slice_.used_at >= IDLE_S or at >= slice_.ends:
                slice_.recall()
            if slice_.owed and slice_ not in round_.needs:
                round_.needs[slice_] = 0, 0
        await round_.done.wait()

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _answered(self, round_: _Round, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await round_.done.wait()
        except TimeoutError:
            self._failed_at = self._clock()
        if round_.failed:
            raise Overloaded("What may be used up cannot be confirmed now.", retry_after_s=1.0)

    def _next(self) -> _Round:
        """Return the request that is sent as soon as the one under way is answered."""
        if self._round is None:
            self._round = _Round()
        if self._task is None:
            self._task = asyncio.create_task(self._rounds())
        return self._round

    async def _rounds(self) -> None:
        try:
            while self._round is not None:
                round_, self._round = self._round, None
                try:
                    await self._hold(round_)
                except StoreFailed:
                    self._failed_at = self._clock()
                finally:
                    round_.done.set()
        finally:
            self._task = None

    async def _hold(self, round_: _Round) -> None:
        """Exchange with the bank. Raises StoreFailed."""
        learners = list(round_.learners)
        for start in range(0, len(learners), _PORTION):
            asks = [(learner, learner.asks()) for learner in learners[start : start + _PORTION]]
            sums = iter(await self._bank.spent([key for _, keys in asks for key in keys]))
            for learner, keys in asks:
                learner.know(keys, list(islice(sums, len(keys))))
        if not self._bank.is_sole:
            if self._clock() - self._asked_at > STALE_S:
                # What ended meanwhile is only said of what is asked about.
                round_.needs |= {slice_: (0, 0) for slice_ in self._held if slice_ not in round_.needs}
            await self._exchange([(slice_, slice_.want(*need)) for slice_, need in round_.needs.items()])
        round_.failed = False

    async def _exchange(self, wants: list[tuple[Slice, Want]]) -> None:
        answered = 0
        asked_at = self._clock()
        try:
            for start in range(0, max(1, len(wants)), _PORTION):
                portion = wants[start : start + _PORTION]
                gots = await self._bank.lease([want for _, want in portion])
                now = self._clock()
                for (slice_, want), got in zip(portion, gots, strict=True):
                    self._held[slice_] = None
                    slice_.got(want, got, now)
                answered += len(portion)
            self._asked_at = asked_at
        finally:
            for slice_, want in wants[answered:]:
                slice_.lost(want)
