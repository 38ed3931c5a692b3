"""Where a call is written down: in the journal first, then in what people watch."""

from typing import Protocol

from dragoman.ports import Note
from dragoman.records import Content, Entry, Opened, Record
from dragoman.watch.log import CallLog
from dragoman.watch.metrics import Metrics


class Appends(Protocol):
    def append(self, entry: Entry) -> None:
        """Keep an entry, whatever happens to this process. Raises JournalFull for an intent."""


class Syncs(Protocol):
    async def durable(self) -> None:
        """Return when all that was appended so far is on disk."""


class Watches(Protocol):
    def settled(self, record: Record) -> None:
        """See a call that ended; never waits."""


class Ledger:
    """Keeps `dragoman.ports.Ledger`: the journal, the lines of the log, and whoever else watches."""

    def __init__(
        self, journal: Appends, lines: CallLog, metrics: Metrics, traces: Watches | None, sync: Syncs | None
    ) -> None:
        self._journal = journal
        self._sync = sync
        self.is_durable = sync is not None
        self._lines = lines
        self._metrics = metrics
        self._traces = traces

    def open(self, opened: Opened) -> None:
        self._journal.append(opened)

    def settle(self, record: Record) -> None:
        self._journal.append(record)
        self._lines.settle(record)
        self._metrics.settled(record)
        if self._traces is not None:
            self._traces.settled(record)

    def keep(self, content: Content) -> None:
        self._journal.append(content)

    async def durable(self) -> None:
        if self._sync is not None:
            await self._sync.durable()

    def note(self, note: Note) -> None:
        self._lines.note(note)
        if note.code:
            self._metrics.refused(note.code)
