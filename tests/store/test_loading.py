"""The loader: all in order, again until the store has it, in flat memory; and waits for the disk that are shared."""

import asyncio
import contextlib
import errno
import os
import threading
import tracemalloc

import pytest

from dragoman.faults import JournalFull, StoreFailed
from dragoman.records import Attempt, Caller, Content, Opened, Record
from dragoman.store.journal import Journal
from dragoman.store.loading import Batch, GroupSync, Loader

CALLER = Caller("alice")


def opened(number):
    return Opened(f"call-{number}", 1000.0, CALLER, "openai", "gpt")


def record(number, **fields):
    attempts = [Attempt("openai", "gpt", "abcd", "upstream_busy", "429 " * 100)]
    return Record(f"call-{number}", 1000.0, CALLER, "openai", "openai", "gpt", "completed", attempts=attempts, **fields)


def fill(journal, calls, first=0):
    for number in range(first, first + calls):
        journal.append(opened(number))
        journal.append(record(number))


class Rows:
    """A store that may be down, and says when it has enough."""

    def __init__(self):
        self.entries = []
        self.positions = []
        self.sizes = []
        self.tried = 0
        self.is_down = False
        self.changed = asyncio.Condition()

    async def keep(self, batch):
        assert isinstance(batch, Batch)
        async with self.changed:
            self.tried += 1
            self.changed.notify_all()
        if self.is_down:
            raise StoreFailed(detail="connection refused")
        self.entries += batch.entries
        self.positions.append((batch.segment, batch.offset))
        self.sizes.append(len(batch.entries))
        async with self.changed:
            self.changed.notify_all()

    async def has(self, entries=0, tries=0):
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.entries) >= entries and self.tried >= tries)

    @property
    def ids(self):
        return [entry.id for entry in self.entries]


class Clock:
    def __init__(self):
        self.now = 2000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def start(tmp_path, clock):
    def start_(rows, segment_bytes=256 << 10, keep=None):
        journal = Journal(tmp_path, "one", segment_bytes=segment_bytes, now=clock)
        journal.open()
        return journal, Loader(
            journal, keep or rows.keep, every_s=0.001, busy_s=0.001, retry_s=0.001, last_retry_s=0.004, now=clock
        )

    return start_


@contextlib.asynccontextmanager
async def running(loader):
    task = asyncio.create_task(loader.run())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_what_is_appended_reaches_the_store_in_order(start):
    rows = Rows()
    journal, loader = start(rows)
    await loader.replay(None)
    async with running(loader):
        fill(journal, 100)
        await rows.has(100)
        fill(journal, 100, first=100)
        journal.append(Content("call-1", 1000.0, "question", "answer"))
        await rows.has(201)
    assert rows.ids == [f"call-{number}" for number in range(200)] + ["call-1"]
    assert rows.positions == sorted(set(rows.positions))


async def test_a_start_loads_what_was_left_and_ends_what_was_open(start):
    journal, loader = start(Rows())
    await loader.replay(None)
    fill(journal, 50)
    journal.append(opened(50))
    rows = Rows()
    _, loader = start(rows)
    assert await loader.replay(None) == 1
    assert rows.ids == [f"call-{number}" for number in range(51)]
    assert rows.entries[-1].outcome == "interrupted"
    again = Rows()
    assert await start(again)[1].replay(rows.positions[-1]) == 0
    assert again.entries == []


async def test_a_start_without_a_store_says_so_at_once(start):
    journal, loader = start(Rows())
    await loader.replay(None)
    fill(journal, 1)
    rows = Rows()
    rows.is_down = True
    _, loader = start(rows)
    with pytest.raises(StoreFailed):
        await loader.replay(None)
    assert rows.tried == 1


async def test_a_store_that_is_down_gets_the_same_again_and_nothing_twice(start):
    rows = Rows()
    journal, loader = start(rows, segment_bytes=4 << 20)
    await loader.replay(None)
    rows.is_down = True
    async with running(loader):
        fill(journal, 2500)
        await rows.has(tries=5)
        assert loader.trouble == "connection refused"
        assert loader.behind.entries == 2500
        fill(journal, 500, first=2500)
        rows.is_down = False
        await rows.has(3000)
    assert rows.ids == [f"call-{number}" for number in range(3000)]
    assert max(rows.sizes) == 1000
    assert loader.trouble == ""


async def test_another_fault_of_the_store_ends_the_loader(start):
    async def keep(batch):
        raise ValueError("a defect")

    journal, loader = start(None, keep=keep)
    await loader.replay(None)
    fill(journal, 1)
    with pytest.raises(ValueError, match="a defect"):
        await loader.run()


async def test_memory_is_flat_while_the_store_is_down_and_as_it_comes_back(start, tmp_path):
    """2,000 calls a second for ten minutes, scaled down to 20,000 calls: about 11 MiB of journal."""

    class Count(Rows):
        async def keep(self, batch):
            await super().keep(batch)
            self.loaded = getattr(self, "loaded", 0) + len(self.entries)
            self.entries.clear()
            if self.loaded == 20_000:
                done.set()

    done = asyncio.Event()
    rows = Count()
    journal, loader = start(rows, segment_bytes=2 << 20)
    await loader.replay(None)
    rows.is_down = True
    async with running(loader):
        fill(journal, 2_000)
        await rows.has(tries=2)
        tracemalloc.start()
        try:
            for first in range(2_000, 20_000, 2_000):
                fill(journal, 2_000, first)
                await asyncio.sleep(0)
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
            written = sum(path.stat().st_size for path in (tmp_path / "journal").iterdir())
            assert written > 10 << 20
            rows.is_down = False
            await done.wait()
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()
    assert sum(path.stat().st_size for path in (tmp_path / "journal").iterdir()) <= 4 << 20


async def test_how_far_the_store_is_behind(start, clock):
    rows = Rows()
    journal, loader = start(rows)
    await loader.replay(None)
    assert (loader.behind.entries, loader.behind.bytes, loader.behind.age_s) == (0, 0, 0.0)
    rows.is_down = True
    async with running(loader):
        # It began at 1000 and took 900 s.
        journal.append(record(1, total_ms=900_000))
        await rows.has(tries=2)
        behind = loader.behind
        assert behind.entries == 1
        assert behind.bytes > 50
        assert behind.age_s == pytest.approx(100.0)
        rows.is_down = False
        assert await loader.drain(10)
        assert (loader.behind.entries, loader.behind.bytes, loader.behind.age_s) == (0, 0, 0.0)


async def test_a_drain_loads_everything(start):
    rows = Rows()
    journal, loader = start(rows)
    await loader.replay(None)
    fill(journal, 3000)
    assert await loader.drain(10)
    assert rows.ids == [f"call-{number}" for number in range(3000)]


async def test_a_drain_does_not_wait_for_a_long_pause_between_tries(start, tmp_path):
    rows = Rows()
    journal = Journal(tmp_path, "one")
    journal.open()
    loader = Loader(journal, rows.keep, every_s=0.0, retry_s=1000.0, last_retry_s=1000.0)
    await loader.replay(None)
    rows.is_down = True
    async with running(loader):
        fill(journal, 1)
        await rows.has(tries=1)
        rows.is_down = False
        assert await loader.drain(10)
    assert rows.ids == ["call-0"]


async def test_a_drain_that_the_store_does_not_take_ends_in_time_and_loses_nothing(start):
    rows = Rows()
    journal, loader = start(rows)
    await loader.replay(None)
    fill(journal, 10)
    rows.is_down = True
    assert not await loader.drain(0.01)
    rows = Rows()
    await start(rows)[1].replay(None)
    assert len(rows.entries) == 10


async def test_the_next_segment_is_made_in_another_thread(start, monkeypatch):
    rows = Rows()
    journal, loader = start(rows)
    await loader.replay(None)
    makers = set()
    take = os.posix_fallocate

    def allocate(file, offset, size):
        makers.add(threading.get_ident())
        take(file, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    async with running(loader):
        fill(journal, 1)
        await rows.has(1)
        for first in range(0, 5_000, 100):
            fill(journal, 100, first)
            # As calls do: the loop goes on in between.
            await rows.has(1 + first + 100)
            if loader._preparing is not None:
                await loader._preparing
    assert makers
    assert threading.get_ident() not in makers


async def test_a_journal_that_cannot_be_read_is_tried_again(start, monkeypatch):
    rows = Rows()
    journal, loader = start(rows)
    await loader.replay(None)
    read = os.pread
    failures = [OSError(errno.EMFILE, "Too many open files")] * 3

    def pread(file, size, offset):
        if failures:
            raise failures.pop()
        return read(file, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    fill(journal, 5)
    assert await loader.drain(10)
    assert len(rows.entries) == 5


async def test_several_that_wait_for_the_disk_share_one_write(start, monkeypatch):
    journal, loader = start(Rows())
    await loader.replay(None)
    journal.sync()
    flushes = []
    flush = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (flushes.append(file), flush(file)))
    group = GroupSync(journal, 0.01)

    async def call(number):
        journal.append(record(number))
        end = journal._segments[-1].end
        await group.durable()
        assert journal._segments[-1].synced >= end

    await asyncio.gather(*map(call, range(100)))
    assert len(flushes) == 1
    await call(101)
    assert len(flushes) == 2


async def test_who_comes_during_a_write_waits_for_the_next(start, monkeypatch):
    journal, loader = start(Rows())
    await loader.replay(None)
    loop = asyncio.get_running_loop()
    begun, go_on = asyncio.Event(), threading.Event()
    flush = os.fdatasync
    flushes = []

    def fdatasync(file):
        flushes.append(file)
        if len(flushes) == 1:
            loop.call_soon_threadsafe(begun.set)
            go_on.wait(10)
        flush(file)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    group = GroupSync(journal, 0)
    journal.append(record(1))
    first = asyncio.create_task(group.durable())
    await begun.wait()
    journal.append(record(2))
    second = asyncio.create_task(group.durable())
    await asyncio.sleep(0)
    go_on.set()
    await first
    await second
    assert len(flushes) == 2
    assert journal._segments[-1].synced == journal._segments[-1].end


async def test_a_waiter_that_leaves_does_not_stop_the_write_for_others(start):
    journal, loader = start(Rows())
    await loader.replay(None)
    journal.append(record(1))
    group = GroupSync(journal, 0.01)
    leaves, stays = asyncio.create_task(group.durable()), asyncio.create_task(group.durable())
    await asyncio.sleep(0)
    leaves.cancel()
    await stays
    assert journal._segments[-1].synced == journal._segments[-1].end


async def test_a_disk_that_fails_is_said_to_all_who_wait(start, monkeypatch):
    journal, loader = start(Rows())
    await loader.replay(None)
    journal.append(record(1))

    def fdatasync(file):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    group = GroupSync(journal, 0)
    found = await asyncio.gather(group.durable(), group.durable(), return_exceptions=True)
    assert [type(fault) for fault in found] == [JournalFull, JournalFull]
    assert "Input/output error" in found[0].detail
