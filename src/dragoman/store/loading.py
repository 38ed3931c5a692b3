"""The journal's way into the store: in the background, in order, and again until the store has it."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from dragoman.faults import JournalFull, StoreFailed
from dragoman.records import Record
from dragoman.store.journal import Journal
from dragoman.store.segments import Batch, Stretch

__all__ = ["Batch", "Behind", "GroupSync", "Loader"]

_INLINE_BYTES = 32 << 10
_BUSY_ENTRIES = 50


class Behind(msgspec.Struct, frozen=True):
    """What the store does not have yet: entries, bytes of the journal, and how old the oldest is (seconds)."""

    entries: int
    bytes: int
    age_s: float


class Loader:
    """Gives a journal to `keep`, one batch after the other. There is one for a journal, from its `open` on.

    `keep` saves a batch and its position in one transaction, or raises StoreFailed: then it gets the batch again,
    after `retry_s` seconds at first, up to `last_retry_s`. New entries wait for others for
    `every_s`, for `busy_s` while there are many: a call costs the store half as much among a thousand.
    """

    def __init__(  # noqa: PLR0913 - each of the waits may be set
        self,
        journal: Journal,
        keep: Callable[[Batch], Awaitable[object]],
        *,
        every_s: float = 0.1,
        busy_s: float = 0.6,
        retry_s: float = 0.1,
        last_retry_s: float = 5.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Nothing runs before `run`. `now` returns Unix seconds."""
        self.trouble = ""
        """Why the store did not take the last batch, "" when it did."""
        self._journal = journal
        self._keep = keep
        self._every_s = every_s
        self._busy_s = busy_s
        self._is_busy = False
        self._retry_s = retry_s
        self._last_retry_s = last_retry_s
        self._now = now
        self._since: float | None = None
        self._busy = asyncio.Lock()
        self._draining = asyncio.Event()
        self._preparing: asyncio.Future[bool] | None = None

    async def replay(self, position: tuple[int, int] | None) -> int:
        """Begin: load what earlier processes left, from the store's `position` on. Returns how many calls they left
        open. Raises StoreFailed at once, JournalFull and OSError; to try again takes another journal.
        """
        interrupted = await asyncio.to_thread(self._journal.replay, position)
        async with self._busy:
            await self._load_all(self._keep)
        return interrupted

    async def run(self) -> None:
        """Load what is there and all that comes, until cancelled. Raises what `keep` raises, but for StoreFailed."""
        self._journal.on_half = self._prepare
        try:
            while True:
                await self._entry()
                await asyncio.sleep(self._busy_s if self._is_busy else self._every_s)
                await self._load()
        finally:
            self._journal.on_half = None

    async def drain(self, timeout_s: float) -> bool:
        """Load everything, for a process that ends. Returns False if the store does not take it in time."""
        self._draining.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._load(is_last=True)
                if self._preparing is not None:
                    await self._preparing
        except TimeoutError:
            return False
        return True

    @property
    def behind(self) -> Behind:
        lag = self._journal.lag
        return Behind(lag.entries, lag.bytes, 0.0 if self._since is None else max(0.0, self._now() - self._since))

    async def _entry(self) -> None:
        """Wait until there is something to load."""
        if self._journal.unread() is not None:
            self._since = self._since or self._now()
            return
        come = asyncio.Event()
        self._since = None

        def tell() -> None:
            self._since = self._now()
            come.set()

        self._journal.on_entry = tell
        await come.wait()

    async def _load(self, *, is_last: bool = False) -> None:
        async with self._busy:
            await self._load_all(self._insist, is_last=is_last)

    async def _load_all(self, keep: Callable[[Batch], Awaitable[object]], *, is_last: bool = True) -> None:
        """Load what is there. What comes meanwhile waits for more, unless this `is_last`: the fewer there are in a
        batch, the more each costs.
        """
        while (stretch := self._journal.unread()) is not None:
            fresh = self._journal.fresh()
            batch, skipped = (fresh, 0) if fresh is not None else await self._read(stretch)
            self._is_busy = len(batch.entries) >= _BUSY_ENTRIES
            if batch.entries:
                await keep(batch)
            self._journal.advance(batch, skipped)
            if fresh is not None and not is_last:
                break
        self._since = None

    async def _read(self, stretch: Stretch) -> tuple[Batch, int]:
        """Read a batch, in another thread when it takes long. The disk may fail as the store may."""
        delay_s = self._retry_s
        while True:
            try:
                if stretch.end - stretch.offset <= _INLINE_BYTES:
                    return stretch.read()
                return await asyncio.to_thread(stretch.read)
            except OSError as error:
                delay_s = await self._rest(f"the journal cannot be read: {error.strerror}", delay_s)

    async def _insist(self, batch: Batch) -> None:
        ends = [entry.at + entry.total_ms / 1000 for entry in batch.entries if isinstance(entry, Record)]
        if ends:
            self._since = ends[0]
        delay_s = self._retry_s
        while True:
            try:
                await self._keep(batch)
            except StoreFailed as fault:
                delay_s = await self._rest(fault.detail or fault.message, delay_s)
            else:
                self.trouble = ""
                return

    async def _rest(self, trouble: str, delay_s: float) -> float:
        """Wait before the next try, less long while the process waits for it to end. Returns the next delay."""
        self.trouble = trouble
        if self._draining.is_set():
            await asyncio.sleep(self._retry_s)
            return self._retry_s
        try:
            async with asyncio.timeout(delay_s):
                await self._draining.wait()
        except TimeoutError:
            pass
        return min(2 * delay_s, self._last_retry_s)

    def _prepare(self) -> None:
        if self._preparing is None or self._preparing.done():
            self._preparing = asyncio.get_running_loop().run_in_executor(None, self._journal.prepare)


class GroupSync:
    """Against loss of power: callers wait together until what they appended is on disk.

    The first one begins a wait of `group_s` seconds, after which one write serves all who came meanwhile.
    """

    def __init__(self, journal: Journal, group_s: float = 0.02) -> None:
        self._journal = journal
        self._group_s = group_s
        self._busy = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def durable(self) -> None:
        """Return when everything that was appended before this call is on disk.

        Raises JournalFull when the disk does not take it; it is in the journal all the same.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._flush())
        try:
            await asyncio.shield(self._next)
        except OSError as error:
            raise JournalFull(detail=f"the journal cannot be written to disk: {error.strerror}") from None

    async def _flush(self) -> None:
        await asyncio.sleep(self._group_s)
        async with self._busy:
            # Who comes from here on may come too late for this write.
            self._next = None
            await asyncio.to_thread(self._journal.sync)
