"""The journal: what was appended is there at the next start, each call ends once, and a full disk loses nothing."""

import errno
import os
import threading

import pytest

from dragoman.chat import Usage
from dragoman.faults import JournalFull
from dragoman.records import Attempt, Caller, Charge, Content, Opened, Record
from dragoman.store import journal as journals
from dragoman.store.journal import CALL_BYTES, RESERVE_BYTES, Journal
from dragoman.store.segments import Batch, Segment

CALLER = Caller("alice", "key-1", "platform", ("ci", "nightly"))
CHARGES = (Charge("key:key-1", 1_700_000_000, 12), Charge("team:platform", 1_700_000_000, 12))
SEGMENT = 128 << 10


def opened(id_, **fields):
    return Opened(id_, 1000.0, CALLER, "openai", "gpt", 120, 34, CHARGES, **fields)


def record(id_, detail="", **fields):
    attempts = [Attempt("openai", "gpt", "abcd", "upstream_busy", detail, 5), Attempt("azure", "gpt", "efgh", "ok")]
    return Record(
        id_, 1000.0, CALLER, "openai", "openai", "gpt", "completed", "", 200, Usage(120, output=7), attempts, **fields
    )


class Disk:
    """Takes so many more files, and then is full."""

    def __init__(self, monkeypatch):
        self.files = 1_000_000
        self._take = os.posix_fallocate
        monkeypatch.setattr(os, "posix_fallocate", self.allocate)

    def allocate(self, file, offset, size):
        if not self.files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.files -= 1
        self._take(file, offset, size)


class Clock:
    def __init__(self):
        self.now = 5000.0

    def __call__(self):
        return self.now


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def start(tmp_path, clock):
    """Open the folder as the next process does; the one before may have been killed."""

    def start_(position=None, segment_bytes=SEGMENT):
        made = Journal(tmp_path, "one", segment_bytes=segment_bytes, now=clock)
        made.open()
        made.interrupted = made.replay(position)
        return made

    return start_


def load(journal, batches=1_000_000):
    """Take batches as the store does. Returns their entries and the last position."""
    entries, position = [], None
    while batches and (stretch := journal.unread()) is not None:
        batch, skipped = stretch.read()
        entries += batch.entries
        position = batch.segment, batch.offset
        journal.advance(batch, skipped)
        batches -= 1
    return entries, position


def files(tmp_path):
    return sorted(int(path.stem) for path in (tmp_path / "journal").iterdir())


def fill(journal, calls, first=0):
    for number in range(first, first + calls):
        journal.append(opened(f"call-{number}"))
        journal.append(record(f"call-{number}"))


def test_what_was_appended_is_loaded_in_order_without_intents(start):
    journal = start()
    said = Content("a", 1000.0, "question", "answer")
    for entry in (opened("a"), record("a"), said, opened("b"), record("b")):
        journal.append(entry)
    assert load(journal)[0] == [record("a"), said, record("b")]
    assert journal.unread() is None
    assert journal.open_calls == 0


def test_what_was_appended_outlives_a_process_that_is_not_asked(start):
    fill(start(), 500)
    journal = start()
    assert journal.interrupted == 0
    assert load(journal)[0] == [record(f"call-{number}") for number in range(500)]


def test_a_position_says_where_the_store_goes_on(start):
    journal = start()
    fill(journal, 300)
    assert len(files(journal._folder.parent)) > 1
    entries, position = load(journal, batches=1)
    fill(journal, 10, first=300)
    rest, _ = load(start(position))
    assert entries + rest == [record(f"call-{number}") for number in range(310)]


def test_a_call_that_its_process_did_not_end_is_interrupted_at_the_price_of_its_intent(start):
    journal = start()
    journal.append(opened("a"))
    journal.append(opened("b"))
    journal.append(record("b"))
    journal = start()
    assert journal.interrupted == 1
    ended = Record(
        "a",
        1000.0,
        CALLER,
        "openai",
        "",
        "gpt",
        outcome="interrupted",
        code="interrupted",
        status=0,
        usage=Usage(120, estimated=True),
        cost_micro=34,
        charges=CHARGES,
    )
    assert load(journal)[0] == [record("b"), ended]


def test_a_call_is_interrupted_once_however_often_the_process_starts(start):
    start().append(opened("a"))
    assert [start().interrupted for _ in range(3)] == [1, 0, 0]
    assert [entry.id for entry in load(start())[0]] == ["a"]


def test_intents_before_the_position_are_found_as_well(start):
    journal = start()
    journal.append(opened("a"))
    fill(journal, 20)
    _, position = load(journal)
    again = start(position)
    assert again.interrupted == 1
    assert [entry.id for entry in load(again)[0]] == ["a"]


def test_files_are_deleted_when_all_in_them_is_loaded(start, tmp_path):
    journal = start()
    fill(journal, 2000)
    assert len(files(tmp_path)) > 4
    load(journal)
    current = journal._segments[-1].number
    assert [number for number in files(tmp_path) if number <= current] == [current]


def test_nothing_is_deleted_before_the_store_has_it(start, tmp_path):
    journal = start()
    fill(journal, 1000)
    before = files(tmp_path)
    stretch = journal.unread()
    stretch.read()
    assert files(tmp_path) == before


def test_an_open_call_keeps_its_intent_and_what_came_after_it(start, tmp_path):
    journal = start()
    journal.append(opened("long"))
    fill(journal, 500)
    _, position = load(journal)
    assert journal._segments[-1].number > 1
    assert files(tmp_path)[0] == 1
    assert start(position).interrupted == 1


def test_a_call_that_lasts_does_not_keep_files_for_ever(start, tmp_path):
    journal = start()
    journal.append(opened("long"))
    position = None
    for turn in range(40):
        fill(journal, 200, first=turn * 200)
        position = load(journal)[1]
        assert len(files(tmp_path)) < 12
    assert files(tmp_path)[0] > 1
    assert start(position).interrupted == 1


def test_a_call_that_lasted_ends_once(start):
    journal = start()
    journal.append(opened("long"))
    for turn in range(20):
        fill(journal, 200, first=turn * 200)
        load(journal)
    journal.append(record("long"))
    entries, position = load(journal)
    assert [entry.id for entry in entries] == ["long"]
    assert start(position).interrupted == 0


def test_an_id_that_is_opened_twice_keeps_the_files_in_order(start, tmp_path):
    journal = start()
    for id_ in ("a", "b"):
        journal.append(opened(id_))
    fill(journal, 500)
    journal.append(opened("a"))
    journal.append(record("a"))
    load(journal)
    assert journal._segments[-1].number > 1
    assert files(tmp_path)[0] == 1, "b is still open in it"


def test_a_start_without_calls_leaves_no_files_behind(start, tmp_path):
    for _ in range(5):
        start()
    assert len(files(tmp_path)) == 1
    start().close()
    assert files(tmp_path) == []


def test_what_the_next_start_finds_takes_no_more_room_than_it_needs(start, tmp_path):
    start().append(record("a"))
    start()
    assert (tmp_path / "journal" / f"{1:012}.log").stat().st_size < 1000


def test_a_close_keeps_what_is_not_loaded(start):
    journal = start()
    fill(journal, 3)
    journal.append(opened("open"))
    journal.close()
    journal = start()
    assert journal.interrupted == 1
    assert [entry.id for entry in load(journal)[0]] == ["call-0", "call-1", "call-2", "open"]


def test_a_new_folder_under_an_old_name_is_loaded_whole(start, tmp_path):
    """The store knows higher numbers than there are: those of files that were lost."""
    journal = start((57, 100_000))
    assert files(tmp_path)[0] == 58
    fill(journal, 3)
    journal = start((57, 100_000))
    assert len(load(journal)[0]) == 3
    fill(start((90, 5)), 2)
    assert files(tmp_path)[-1] >= 91


def test_a_folder_that_lost_its_end_is_loaded_whole(start):
    fill(start(), 3)
    journal = start((57, 100_000))
    assert [entry.id for entry in load(journal)[0]] == ["call-0", "call-1", "call-2"]


def test_damage_is_counted_once_and_the_rest_is_read(start, tmp_path):
    journal = start()
    fill(journal, 10)
    journal.close()
    (path,) = (tmp_path / "journal").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data + b"torn at the end")
    journal = start()
    entries, _ = load(journal)
    assert journal.skipped == 2
    assert len(entries) == 10, "the record is lost, or its intent: a call ends either way"
    assert len({entry.id for entry in entries}) == 10


def test_lag_is_what_is_not_loaded_also_after_a_start(start):
    journal = start()
    fill(journal, 900)
    _, position = load(journal, batches=1)
    lag = journal.lag
    assert 0 < lag.entries < 900
    again = start(position)
    assert again.lag == lag
    load(again)
    assert (again.lag.entries, again.lag.bytes) == (0, 0)


def test_a_full_disk_refuses_intents_and_says_so(start, disk):
    journal = start()
    disk.files = 0
    with pytest.raises(JournalFull, match="disk of the gateway is full") as caught:
        for number in range(10_000):
            journal.append(opened(f"call-{number}"))
    assert caught.value.status == 503
    assert "No space left" in journal.trouble
    assert journal.open_calls > 5


def test_a_full_disk_takes_the_records_of_all_open_calls_however_long(start, disk, tmp_path):
    journal = start()
    disk.files = 0
    begun = []
    with pytest.raises(JournalFull):
        for number in range(10_000):
            journal.append(opened(f"call-{number}"))
            begun.append(f"call-{number}")
    for id_ in begun:
        journal.append(record(id_, detail="x" * 50_000, charges=CHARGES))
    assert journal.lost == 0
    disk.files = 100
    again = start()
    assert again.interrupted == 0
    entries = load(again)[0]
    assert [entry.id for entry in entries] == begun
    assert all(entry.charges == CHARGES and entry.usage == Usage(120, output=7) for entry in entries)
    assert len(entries[-1].attempts) == 2


def test_a_full_disk_with_many_open_calls(start, disk):
    journal = start(segment_bytes=1 << 20)
    disk.files = 3
    begun = []
    with pytest.raises(JournalFull):
        for number in range(100_000):
            journal.append(opened(f"call-{number}"))
            begun.append(f"call-{number}")
    assert len(begun) > 600
    for id_ in begun:
        journal.append(record(id_, detail="é" * 30_000))
    assert journal.lost == 0
    assert [entry.id for entry in load(journal)[0]] == begun


def test_a_full_disk_drops_what_was_said_and_counts_it(start, disk):
    journal = start()
    disk.files = 0
    said = Content("a", 1000.0, "q" * 5_000, "a" * 5_000)
    for _ in range(100):
        journal.append(said)
    kept = len(load(journal)[0])
    assert 0 < kept < 100
    assert journal.lost == 100 - kept


def test_room_that_comes_back_is_used_after_a_second(start, disk, clock):
    journal = start()
    disk.files = 0
    with pytest.raises(JournalFull):
        for number in range(10_000):
            journal.append(opened(f"call-{number}"))
    disk.files = 100
    with pytest.raises(JournalFull):
        journal.append(opened("too early"))
    clock.now += 1
    journal.append(opened("now"))
    assert journal.trouble == ""


def test_no_room_for_a_record_at_all_leaves_its_call_open(start, disk, monkeypatch):
    journal = start()
    journal.append(opened("a"))
    disk.files = 0
    for _ in range(300):
        journal.append(record("other", detail="x" * 3_000))
    before = journal.lost
    assert before > 0
    journal.append(record("a", detail="x" * 3_000))
    assert journal.lost == before + 1
    disk.files = 100
    assert start().interrupted == 1


def test_a_disk_that_is_full_at_the_start_is_an_error_that_says_so(start, disk):
    disk.files = 0
    with pytest.raises(JournalFull) as caught:
        start()
    assert "No space left" in caught.value.detail


def test_a_record_that_is_too_long_is_shortened(start):
    journal = start()
    long = record("a", detail="x" * 1_000_000, charges=CHARGES, cost_micro=77)
    long.attempts *= 100
    long.model = "m" * 100_000
    journal.append(long)
    (found,) = load(journal)[0]
    assert (found.id, found.charges, found.cost_micro, found.usage) == ("a", CHARGES, 77, long.usage)
    assert found.attempts[-1] == long.attempts[-1]


def test_an_intent_that_is_too_long_is_shortened(start):
    journal = start()
    long = Opened("a", 1000.0, Caller("alice", tags=("t" * 9_000,) * 99), "openai", "m" * 500_000, 120, 34, CHARGES)
    journal.append(long)
    (found,) = load(start())[0]
    assert (found.id, found.cost_micro, found.charges) == ("a", 34, CHARGES)


def test_what_was_said_is_dropped_when_it_is_too_long_for_a_segment(start):
    journal = start()
    journal.append(Content("a", 1000.0, "q" * SEGMENT, ""))
    assert (journal.lost, load(journal)[0]) == (1, [])


def test_halves_of_characters_and_numbers_without_bounds_are_written(start):
    journal = start()
    journal.append(record("a", detail="\ud800 left", cost_micro=2**70))
    (found,) = load(journal)[0]
    assert found.attempts[0].detail == "? left"
    assert found.cost_micro == 2**63 - 1


def test_the_next_segment_is_asked_for_when_one_is_half_full(start, monkeypatch):
    journal = start()
    asked = []
    journal.on_half = lambda: asked.append(journal._segments[-1].end)
    while journal._segments[-1].number == 1:
        journal.append(record("a"))
    assert len(asked) == 1
    assert SEGMENT // 2 <= asked[0] < SEGMENT // 2 + 1000


def test_a_segment_that_was_prepared_is_taken_without_asking_the_disk(start, disk):
    journal = start()
    assert journal.prepare()
    disk.files = 0
    for number in range(SEGMENT // 100):
        journal.append(record(f"call-{number}"))
    assert journal._segments[-1].number == 2
    assert journal.lost == 0


def test_two_that_prepare_at_once_make_no_segment_twice(start, tmp_path):
    journal = start()
    threads = [threading.Thread(target=journal.prepare) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files(tmp_path) == list(range(1, len(journal._spare) + 2))
    assert len(journal._spare) <= 2


def test_the_first_entry_that_can_be_loaded_is_told_once(start):
    journal = start()
    told = []
    journal.on_entry = lambda: told.append("entry")
    journal.append(opened("a"))
    assert told == []
    journal.append(record("a"))
    journal.append(record("b"))
    assert told == ["entry"]


def test_sync_reaches_every_segment_that_was_written_since(start, monkeypatch):
    journal = start()
    fill(journal, 300)
    synced = []
    whole = Segment.sync
    monkeypatch.setattr(Segment, "sync", lambda segment: (synced.append(segment.number), whole(segment)))
    journal.sync()
    assert sorted(synced) == [segment.number for segment in journal._segments]
    journal.sync()
    assert len(synced) == len(journal._segments), "nothing is new"
    journal.append(record("a"))
    journal.sync()
    assert synced[-1] == journal._segments[-1].number


def test_a_sync_that_failed_is_made_up_for(start, monkeypatch):
    journal = start()
    fill(journal, 1500)
    failures = [OSError(errno.EIO, "Input/output error")]
    flush = os.fdatasync

    def fdatasync(file):
        if failures:
            raise failures.pop()
        flush(file)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    with pytest.raises(OSError, match="Input/output"):
        journal.sync()
    journal.sync()
    assert len(journal._segments) > 2
    assert all(segment.synced == segment.end for segment in journal._segments)


def test_batches_name_the_journal_and_its_position(start):
    journal = start()
    journal.append(record("a"))
    batch, _ = journal.unread().read()
    assert batch == Batch("one", [record("a")], 1, journal._segments[0].end)


def test_the_reserve_is_what_the_documents_say():
    assert (RESERVE_BYTES, CALL_BYTES, journals.SEGMENT_BYTES) == (64 << 10, 4 << 10, 8 << 20)
