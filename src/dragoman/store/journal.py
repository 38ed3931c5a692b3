"""What is written down before and after every call, in files that outlive the process however it ends.

An entry costs a copy into a mapped file: the kernel keeps it whatever happens to this process. Against loss of power
there is `sync`. One thread appends; `prepare` and `sync` may run in others; `Stretch.read` in any.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from dragoman.chat import Usage
from dragoman.faults import JournalFull
from dragoman.records import Content, Entry, Opened, Record
from dragoman.store.segments import BATCH_ENTRIES, CHUNK_BYTES, HEADER_BYTES, MOST_BYTES, Batch, Scan, Segment, Stretch

SEGMENT_BYTES = 8 << 20
RESERVE_BYTES = 64 << 10
CALL_BYTES = 4 << 10
"""Room that is kept for the record of each open call, beside the reserve; a longer one is cut when there is no more."""
_CARRY_SEGMENTS = 4
_FRESH_ENTRIES = 2 * BATCH_ENTRIES
_RETRY_S = 1.0
_MOST_INT = 2**63 - 1
_FOLDER = "journal"
_FULL = "The disk of the gateway is full: it cannot write down what calls use, so it takes none."
# What is left of a record that is too long.
_TEXT = 60
_TAGS = 8
_ATTEMPTS = 8


class Lag(msgspec.Struct, frozen=True):
    """What is not loaded: entries, and bytes of the journal."""

    entries: int
    bytes: int


class _Ended(msgspec.Struct, array_like=True, tag="r"):
    """A record, where only intents are of interest."""

    id: str


class _Said(msgspec.Struct, array_like=True, tag="c"):
    pass


_read_intents = msgspec.msgpack.Decoder(Opened | _Ended | _Said)


class Journal:
    """The journal in `<folder>/journal`. `name` is under which the store keeps how far it was loaded.

    Use: `open`, `replay` once, then `append`; whoever loads it takes `unread` stretches and tells `advance` what the
    store has.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is read or made before `open`. `now` returns Unix seconds."""
        self.name = name
        self.skipped = 0
        """Damaged places that were found and passed over since the start."""
        self.lost = 0
        """Entries for which there was no room."""
        self.trouble = ""
        """Why there is no next segment, "" when all is well."""
        self.on_entry: Callable[[], None] | None = None
        """Called once at the next entry that is there to be loaded, and then forgotten."""
        self.on_half: Callable[[], None] | None = None
        """Called each time that a segment is half full and `prepare` should run in a thread."""
        self._folder = folder / _FOLDER
        self._segment_bytes = segment_bytes
        self._most = min(MOST_BYTES, segment_bytes // 8)
        self._now = now
        self._encode = msgspec.msgpack.Encoder().encode
        self._making = threading.Lock()
        self._failed_at = float("-inf")
        self._next_number = 1
        self._first_number = 1
        self._half = segment_bytes
        self._open: dict[str, tuple[Opened, int]] = {}
        self._found: list[Segment] = []
        self._loaded: deque[Segment] = deque()
        self._segments: deque[Segment] = deque()
        self._spare: deque[Segment] = deque()
        self._offset = 0
        self._entries = 0
        # All that is unread as it was appended, from this offset on; None where there was too much of it.
        self._fresh: list[Record | Content] | None = None
        self._fresh_from = -1

    def open(self) -> None:
        """Find what earlier processes left. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._found = Segment.find(self._folder)

    def replay(self, position: tuple[int, int] | None) -> int:
        """Read what `open` found, and write down how the calls ended that they opened and never ended.

        Those are `interrupted`, and cost what their intent says. Being written down, they are so once however often
        this is killed. `position` is that of the last `Batch` in the store; what follows it is `unread`.
        Returns how many calls were interrupted. Raises JournalFull, OSError.
        """
        number, offset = position or (0, 0)
        last = self._found[-1].number if self._found else 0
        self._next_number = self._first_number = max(last, number) + 1
        if number > last:
            # The folder is not the one that was loaded from, or lost its end with the power: all may be new.
            number = 0
        for segment in self._found:
            self._study(segment, number, offset)
        self._found.clear()
        if not self._roll():
            raise JournalFull(_FULL, detail=self.trouble)
        if self._segments[0].number == number:
            self._offset = min(offset, self._segments[0].end)
        interrupted = [opened for opened, _ in self._open.values()]
        for opened in interrupted:
            self.append(_interrupted(opened))
        self._delete_loaded()
        return len(interrupted)

    @property
    def open_calls(self) -> int:
        """How many calls were opened and have no record."""
        return len(self._open)

    @property
    def lag(self) -> Lag:
        return Lag(self._entries, sum(segment.end for segment in self._segments) - self._offset)

    def append(self, entry: Entry) -> None:
        """Write an entry down. Raises JournalFull for an intent when the disk is full; nothing for another.

        A record finds the room that is kept for it, if need be shortened; what was said is kept only while there is
        more room than that.
        """
        try:
            payload = self._encode(entry)
        except (UnicodeEncodeError, OverflowError):
            payload = self._encode(_encodable(msgspec.to_builtins(entry)))
            self._fresh = None
        kind = type(entry)
        segment = self._segments[-1]
        end = segment.end + len(payload) + HEADER_BYTES
        if end + self._reserve < segment.size and end < self._half and len(payload) < CALL_BYTES:
            # As below, for nearly all there are: nothing to make room for, and nothing too long.
            segment.write(payload)
        elif kind is Opened:
            self._make_room_for(cast("Opened", entry), payload)
        elif not self._squeeze(cast("Record | Content", entry), payload):
            self.lost += 1
            return
        if kind is Opened:
            # Taken out first, so that the calls stand in the order of their segments.
            self._open.pop(entry.id, None)
            self._open[entry.id] = (cast("Opened", entry), self._segments[-1].number)
            return
        if kind is Record:
            self._open.pop(entry.id, None)
        if self._fresh is not None:
            self._fresh.append(cast("Record | Content", entry))
            if len(self._fresh) > _FRESH_ENTRIES:
                self._fresh = None
        self._entries += 1
        if self.on_entry is not None:
            told, self.on_entry = self.on_entry, None
            told()

    def prepare(self) -> bool:
        """Make the segments that come next, so that nobody waits for the disk then. Called from any thread.

        Returns whether there is at least one.
        """
        with self._making:
            while not self._spare or self._spare_bytes < self._reserve + self._most:
                try:
                    segment = Segment.make(self._folder, self._next_number, self._segment_bytes)
                except OSError as error:
                    self.trouble = f"the journal gets no room on the disk: {error.strerror}"
                    self._failed_at = self._now()
                    break
                self._next_number += 1
                self._spare.append(segment)
                self.trouble = ""
            return bool(self._spare)

    def unread(self) -> Stretch | None:
        """Return the oldest part that was not loaded, None if there is none."""
        while self._offset >= self._segments[0].end:
            if len(self._segments) == 1:
                if self._fresh is None or self._fresh_from != self._offset:
                    self._fresh, self._fresh_from = [], self._offset
                return None
            self._loaded.append(self._segments.popleft())
            self._offset = 0
        return Stretch(self.name, self._segments[0], self._offset, self._segments[0].end)

    def fresh(self) -> Batch | None:
        """Return all that is unread without reading it, if it is still at hand; then only `advance` may follow."""
        fresh, current = self._fresh, self._segments[-1]
        if not fresh or self._fresh_from != self._offset or len(self._segments) > 1:
            return None
        self._fresh, self._fresh_from = [], current.end
        return Batch(self.name, fresh, current.number, current.end)

    def advance(self, batch: Batch, skipped: int = 0) -> None:
        """Take note that the store has the batch that was read from `unread`, and delete what nobody needs."""
        self._offset = batch.offset
        self._entries = max(0, self._entries - len(batch.entries))
        if batch.segment >= self._first_number:
            self.skipped += skipped
        self.unread()
        self._delete_loaded()

    def sync(self) -> None:
        """Wait until all that was appended before is on disk. Called from any thread, one at a time. Raises OSError."""
        # In this order: one that is passed on meanwhile is then seen twice, and never missed.
        segments = list(self._segments)
        segments = [*self._loaded, *segments]
        behind = list(takewhile(lambda segment: segment.synced < segment.end, reversed(segments)))
        # The oldest first, so that after a failure none is left behind one that counts as done.
        for segment in reversed(behind):
            segment.sync()

    def close(self) -> None:
        """Let go of the files. What is not loaded is there at the next start."""
        with self._making:
            while self._spare:
                self._spare.pop().delete()
            if self._segments:
                current = self._segments[-1]
                current.seal() if current.end else current.delete()

    def _study(self, segment: Segment, number: int, offset: int) -> None:
        """Learn what an old segment holds; all of it up to `offset` in `number` was loaded. An empty one is deleted."""
        at = end = 0
        while at < segment.size:
            data = segment.read(at, CHUNK_BYTES)
            scan = Scan(data, is_end=at + len(data) >= segment.size)
            for payload in scan:
                try:
                    self._learn(
                        _read_intents.decode(payload),
                        segment,
                        is_loaded=segment.number == number and at + scan.at <= offset,
                    )
                except msgspec.DecodeError:
                    self.skipped += 1
            end = at + scan.used if scan.used else end
            at += scan.at
            self.skipped += scan.skipped
        if not end:
            segment.delete()
            return
        segment.seal(end)
        (self._loaded if segment.number < number else self._segments).append(segment)

    def _learn(self, entry: Opened | _Ended | _Said, segment: Segment, *, is_loaded: bool) -> None:
        if type(entry) is Opened:
            self._open[entry.id] = (entry, segment.number)
            return
        if type(entry) is _Ended:
            self._open.pop(entry.id, None)
        self._entries += not is_loaded

    def _make_room_for(self, entry: Opened, payload: bytes) -> None:
        """Write an intent where room has to be found. Raises JournalFull."""
        if len(payload) > self._most:
            payload = self._encode(_encodable(msgspec.to_builtins(_shortened(entry))))
        if not (self._fits(len(payload) + HEADER_BYTES + CALL_BYTES) and self._write(payload)):
            raise JournalFull(_FULL, detail=self.trouble)

    def _squeeze(self, entry: Record | Content, payload: bytes) -> bool:
        """Write what follows an intent where room has to be found: a record has it, if need be shortened; what was
        said may have none. Returns whether it was written.
        """
        size = len(payload) + HEADER_BYTES
        if isinstance(entry, Record):
            if size > CALL_BYTES and not self._fits(size):
                payload = self._encode(_encodable(msgspec.to_builtins(_shortened(entry))))
                self._fresh = None
        elif not self._fits(size):
            return False
        return self._write(payload)

    @property
    def _reserve(self) -> int:
        return RESERVE_BYTES + CALL_BYTES * len(self._open)

    @property
    def _spare_bytes(self) -> int:
        """Room in the segments to come, without what may be left over at the end of one."""
        return len(self._spare) * (self._segment_bytes - CALL_BYTES)

    def _fits(self, size: int) -> bool:
        """Whether an entry of that many bytes leaves the room that open calls may need; makes more where it can."""
        if size > self._most:
            return False
        reserve = self._reserve
        current = self._segments[-1]
        room = current.size - current.end - size
        if room >= reserve:
            return True
        # What an entry leaves over at the end of a segment is no room any more.
        room = room if room >= 0 else -size
        return room + self._spare_bytes >= reserve or (self._make_now() and room + self._spare_bytes >= reserve)

    def _make_now(self) -> bool:
        """Make room while callers wait; on a full disk not for each of them anew."""
        if 0 <= self._now() - self._failed_at < _RETRY_S:
            return bool(self._spare)
        return self.prepare()

    def _write(self, payload: bytes) -> bool:
        """Append to the current segment or the next. Returns False when there is none."""
        size = len(payload) + HEADER_BYTES
        segment = self._segments[-1]
        if size > segment.room:
            if size > self._segment_bytes or not self._roll():
                return False
            segment = self._segments[-1]
        segment.write(payload)
        if segment.end >= self._half:
            self._half = self._segment_bytes
            if self.on_half is not None:
                self.on_half()
        return True

    def _roll(self) -> bool:
        """Go on in the next segment."""
        if not self._spare and not self._make_now():
            return False
        if self._segments:
            self._segments[-1].seal()
        self._segments.append(self._spare.popleft())
        self._fresh = None
        self._half = self._segment_bytes // 2
        return True

    def _delete_loaded(self) -> None:
        """Delete the oldest segments whose calls have ended. The order matters: a record is never deleted before its
        intent, which would look interrupted without it.

        A call that lasts long would keep all that came after it, so its intent moves to the current segment in time.
        """
        while self._loaded:
            number = self._loaded[0].number
            while self._open and (oldest := next(iter(self._open.values())))[1] == number:
                if len(self._loaded) < _CARRY_SEGMENTS:
                    return
                try:
                    self.append(oldest[0])
                except JournalFull:
                    return
            self._loaded.popleft().delete()


def _interrupted(opened: Opened) -> Record:
    """Return the record of a call that ended with its process: nobody knows more than its intent."""
    return Record(
        id=opened.id,
        at=opened.at,
        caller=opened.caller,
        dialect=opened.dialect,
        wire="",
        model=opened.model,
        outcome="interrupted",
        code="interrupted",
        usage=Usage(input=opened.prompt_tokens, estimated=True),
        cost_micro=opened.cost_micro,
        charges=opened.charges,
    )


_Long = TypeVar("_Long", Opened, Record)


def _shortened(entry: _Long) -> _Long:
    """Leave out what is long: money, tokens and the last attempts stay."""
    caller = msgspec.structs.replace(entry.caller, tags=tuple(tag[:_TEXT] for tag in entry.caller.tags[:_TAGS]))
    short = msgspec.structs.replace(entry, caller=caller, model=entry.model[:_TEXT])
    if isinstance(short, Record):
        short.attempts = [
            msgspec.structs.replace(attempt, model=attempt.model[:_TEXT], detail=attempt.detail[:_TEXT])
            for attempt in short.attempts[-_ATTEMPTS:]
        ]
        short.target = short.target[:_TEXT]
    return short


def _encodable(value: Any) -> Any:
    """Return what can be written of a value: text without halves of characters, integers of 64 bits."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return max(-_MOST_INT, min(value, _MOST_INT))
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
