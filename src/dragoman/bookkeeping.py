"""What every call is written into: this process's journal, the store, metrics and lines. Part of the assembly."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from dragoman.admission.windows import day_of
from dragoman.faults import JournalFull, Misconfigured, StoreFailed
from dragoman.settings import Settings
from dragoman.store import Store
from dragoman.store.journal import Journal
from dragoman.store.loading import Batch, GroupSync, Loader
from dragoman.store.slots import Slot, claim, orphans
from dragoman.watch.ledger import Ledger
from dragoman.watch.log import CallLog
from dragoman.watch.metrics import Metrics

if TYPE_CHECKING:
    from dragoman.watch.traces import Traces

log = logging.getLogger("dragoman.journal")
DAY_S = 86_400
FORGET_EVERY_S = 3600.0
PAUSE_S = 0.05
FORGET_ROWS = 500
"""Rows deleted in one transaction, so that nobody waits long for the one writer."""


class Bookkeeping:
    """The journal of this process and all that follows from it."""

    def __init__(self, settings: Settings, store: Store, run: str, folder: Path, zone: ZoneInfo) -> None:
        self._settings = settings
        self._store = store
        self._run = run
        self._folder = folder / "journals"
        self._day_of: Callable[[float], int] = partial(day_of, zone=zone)
        self.lines = CallLog(settings.log.requests)
        self.metrics = Metrics()
        self.slot: Slot | None = None
        self._traces: Traces | None = None

    async def open(self) -> None:
        """Take a journal, and load what it and those of dead processes hold. Raises Misconfigured, StoreFailed."""
        self.slot = claim(self._folder)
        self.journal, self.loader = await self._load(self.slot)
        for orphan in orphans(self._folder):
            journal, _ = await self._load(orphan)
            journal.close()
            orphan.release()

    def ledger(self) -> Ledger:
        endpoint = self._settings.log.traces
        if endpoint:
            from dragoman.watch.traces import open_traces

            self._traces = open_traces(endpoint)
        given = self._settings.journal
        sync = GroupSync(self.journal, given.group_ms / 1000) if given.sync == "grouped" else None
        return Ledger(self.journal, self.lines, self.metrics, self._traces, sync)

    async def run(self) -> None:
        """Follow the journal into the store, and forget what is old enough."""
        await asyncio.gather(self.loader.run(), self._forget())

    async def close(self, timeout_s: float = 5.0) -> None:
        """Load what is left, as far as the store takes it; the rest is loaded at the next start."""
        if self.slot is None:
            return
        await self.loader.drain(timeout_s)
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)
        self.journal.close()
        self.slot.release()

    async def _load(self, slot: Slot) -> tuple[Journal, Loader]:
        journal = Journal(slot.folder, slot.name)
        try:
            journal.open()
            loader = Loader(journal, self._keep)
            interrupted = await loader.replay(await self._store.books.position(slot.name))
        except (OSError, JournalFull) as error:
            raise Misconfigured(f"{slot.folder}: the journal cannot be kept here: {error}") from None
        if interrupted:
            log.warning("%d calls were under way when a process ended; they are in the log as interrupted", interrupted)
        return journal, loader

    async def _keep(self, batch: Batch) -> None:
        await self._store.books.keep_calls(
            batch.entries, batch.journal, batch.segment, batch.offset, self._run, self._day_of
        )

    async def _forget(self) -> None:
        """Delete old rows, a few at a time. The sums of their days stay."""
        given, books = self._settings.usage, self._store.books
        while True:
            now = time.time()
            for forget, days in (
                (books.forget_calls, given.retention_days),
                (books.forget_contents, given.content_days),
            ):
                try:
                    # Others write in between.
                    while await forget(now - days * DAY_S, FORGET_ROWS) == FORGET_ROWS:  # noqa: ASYNC110
                        await asyncio.sleep(PAUSE_S)
                except StoreFailed as fault:
                    log.warning("old requests are not deleted now: %s", fault.detail)
            await asyncio.sleep(FORGET_EVERY_S)
