"""Files of a journal: records that bear a checksum, one after the other, and whatever damage lies between them.

A record is `MAGIC`, the payload's length and its checksum (u32 each, little-endian), then the payload. The checksum is
CRC-32 (ISO 3309) of the payload, begun with the length instead of 0, so that it covers both.
"""

import errno
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from zlib import crc32

import msgspec

from dragoman.records import Content, Record

MAGIC = b"\xf5DJ\xff"
"""Neither end of it is ever part of UTF-8, so that nothing that a caller says can pass for the start of a record."""
MOST_BYTES = 1 << 20
"""The longest payload. A length that claims more is damage."""
_HEADER = struct.Struct(f"<{len(MAGIC)}sII")
HEADER_BYTES = _HEADER.size
CHUNK_BYTES = HEADER_BYTES + MOST_BYTES
"""What is read at once: no record is longer."""
BATCH_ENTRIES = 1_000
_SUFFIX = ".log"


class Batch(msgspec.Struct, frozen=True):
    """Entries of the journal `journal`, which are all that it holds up to `offset` in `segment` from the last batch
    on. An entry may come again after a crash.
    """

    journal: str
    entries: list[Record | Content]
    segment: int
    offset: int


class Segment:
    """One file: its `number` gives its place among the others, `end` is the offset behind the last record (bytes)."""

    __slots__ = ("_memory", "end", "number", "path", "size", "synced")

    def __init__(self, path: Path, number: int, size_bytes: int, memory: mmap.mmap | None) -> None:
        self.path = path
        self.number = number
        self.size = size_bytes
        self.end = 0 if memory else size_bytes
        self.synced = -1
        """The offset up to which it is on disk; -1: not even its name is."""
        self._memory = memory

    @classmethod
    def make(cls, folder: Path, number: int, size_bytes: int) -> Self:
        """Make an empty one to write to. All its room is taken at once, so that a full disk is seen here and not
        in the middle of a record. Raises OSError.
        """
        path = folder / f"{number:012}{_SUFFIX}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, size_bytes)
            return cls(path, number, size_bytes, mmap.mmap(file, size_bytes))
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(file)

    @classmethod
    def find(cls, folder: Path) -> list[Self]:
        """Return what an earlier process left in a folder, the oldest first; none of it can be written to."""
        numbers = {int(path.stem): path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal()}
        return [cls(path, number, path.stat().st_size, None) for number, path in sorted(numbers.items())]

    @property
    def room(self) -> int:
        """Bytes that are left, headers included; none in one that is sealed."""
        return self.size - self.end

    @property
    def is_sealed(self) -> bool:
        return self._memory is None

    def write(self, payload: bytes) -> None:
        """Append a record. There must be room for it. It is whole for a reader only once its header is there, and
        that comes last; a process that is killed before leaves bytes without one.
        """
        memory = self._memory
        if memory is None:
            raise ValueError(f"{self.path} is sealed")
        start = self.end
        length = len(payload)
        end = start + HEADER_BYTES + length
        memory[start + HEADER_BYTES : end] = payload
        _HEADER.pack_into(memory, start, MAGIC, length, crc32(payload, length))
        self.end = end

    def read(self, offset: int, most_bytes: int) -> bytes:
        """Return what is there, What the disk cannot read
        comes as ones, which is damage to a scan. Raises OSError.
        """
        wanted = min(most_bytes, self.end - offset)
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b"\1" * wanted
        try:
            found = os.pread(file, wanted, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            found = b""
        finally:
            os.close(file)
        return found.ljust(wanted, b"\1")

    def seal(self, end: int | None = None) -> None:
        """Write no more, and give back the room that was not used. Readers never map the file, so none can fault."""
        if end is not None:
            self.end = end
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        self.size = self.end
        if self.path.exists():
            os.truncate(self.path, self.end)

    def sync(self) -> None:
        """Wait until all that was written before is on disk; called from any thread. Raises OSError.

        fdatasync writes mapped pages as msync does (Linux, mm/msync.c), and unlike `mmap.flush` it lets other
        threads run meanwhile.
        """
        end = self.end
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fdatasync(file)
        finally:
            os.close(file)
        if self.synced < 0:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        self.synced = end

    def delete(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        self.path.unlink(missing_ok=True)


class Scan:
    """Finds the whole records in `data`, whatever lies between them.

    `at` is the offset in `data` up to which it was read, `used` the one behind the last record or damage: zeros that
    follow are room that nobody used. `skipped` counts stretches of damage. `is_end`: nothing comes after `data`, so
    that a record which goes on behind it is damage too; else it is left for the next scan, from `at` on.
    """

    def __init__(self, data: bytes, *, is_end: bool) -> None:
        self._data = data
        self._is_end = is_end
        self.at = 0
        self.used = 0
        self.skipped = 0

    def __iter__(self) -> Iterator[memoryview]:
        """Return the payloads, in order."""
        data, view = self._data, memoryview(self._data)
        size = len(data)
        start = data.find(MAGIC)
        while start >= 0:
            body = start + HEADER_BYTES
            length, checksum = _HEADER.unpack_from(data, start)[1:] if body <= size else (0, 0)
            end = body + length
            if length <= MOST_BYTES and end > size and not self._is_end:
                self._skip(start)
                return
            if body < end <= size and crc32(view[body:end], length) == checksum:
                self._skip(start)
                self.at = self.used = end
                yield view[body:end]
                start = data.find(MAGIC, end)
            else:
                start = data.find(MAGIC, start + 1)
        self._finish()

    def _finish(self) -> None:
        tail = len(self._data.rstrip(b"\0"))
        if tail > self.at:
            # A magic may begin in the last bytes, where more of it can follow.
            self._skip(tail if self._is_end else max(self.at, len(self._data) - len(MAGIC) + 1))
        else:
            self.at = len(self._data)

    def _skip(self, to: int) -> None:
        if to > self.at:
            self.skipped += 1
            self.at = self.used = to


class _Intent(msgspec.Struct, array_like=True, tag="o"):
    """One that is not for the store: what became of it is."""


_decode = msgspec.msgpack.Decoder(_Intent | Record | Content).decode


class Stretch(msgspec.Struct, frozen=True):
    """A part of one segment that may be read in any thread, while the journal goes on."""

    journal: str
    segment: Segment
    offset: int
    end: int

    def read(self) -> tuple[Batch, int]:
        """Return what it holds, and how many damaged places were skipped. Raises OSError."""
        data = self.segment.read(self.offset, min(CHUNK_BYTES, self.end - self.offset))
        scan = Scan(data, is_end=self.offset + len(data) >= self.end)
        entries: list[Record | Content] = []
        unreadable = 0
        for payload in scan:
            try:
                entry = _decode(payload)
            except msgspec.DecodeError:
                unreadable += 1
                continue
            if not isinstance(entry, _Intent):
                entries.append(entry)
                if len(entries) == BATCH_ENTRIES:
                    break
        batch = Batch(self.journal, entries, self.segment.number, self.offset + scan.at)
        return batch, scan.skipped + unreadable
