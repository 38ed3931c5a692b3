"""Files of the journal: what was written is read, whatever happened to the bytes around it."""

import errno
import os
import stat
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.records import Caller, Content, Opened, Record
from dragoman.store import segments
from dragoman.store.segments import BATCH_ENTRIES, HEADER_BYTES, MAGIC, MOST_BYTES, Scan, Segment, Stretch

ROOM = 64 << 10


def framed(payload):
    size = len(payload).to_bytes(4, "little")
    return MAGIC + size + crc32(payload, len(payload)).to_bytes(4, "little") + payload


def payloads_in(data, *, is_end=True):
    return [bytes(payload) for payload in Scan(data, is_end=is_end)]


def everything(segment):
    """Read a segment as the loader does, from its beginning to its end."""
    entries, offset, skipped = [], 0, 0
    while offset < segment.end:
        batch, damaged = Stretch("one", segment, offset, segment.end).read()
        assert batch.offset > offset
        entries += batch.entries
        offset = batch.offset
        skipped += damaged
    return entries, skipped


def test_what_is_written_is_read_in_order(tmp_path):
    segment = Segment.make(tmp_path, 7, ROOM)
    for number in range(50):
        segment.write(b"payload %d" % number)
    assert payloads_in(segment.read(0, ROOM)) == [b"payload %d" % number for number in range(50)]
    assert segment.room == ROOM - segment.end


def test_only_the_owner_may_read_a_file_and_all_its_room_is_taken(tmp_path):
    segment = Segment.make(tmp_path, 7, ROOM)
    found = segment.path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_blocks * 512 >= ROOM


def test_a_full_disk_is_seen_when_a_file_is_made_and_leaves_none(tmp_path, monkeypatch):
    def full(file, offset, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        Segment.make(tmp_path, 7, ROOM)
    assert list(tmp_path.iterdir()) == []


def test_files_are_found_by_their_numbers_the_oldest_first_and_others_are_left_alone(tmp_path):
    for number in (10, 9, 11):
        Segment.make(tmp_path, number, ROOM)
    (tmp_path / "notes.log").write_text("mine")
    (tmp_path / "12.txt").write_text("mine")
    assert [segment.number for segment in Segment.find(tmp_path)] == [9, 10, 11]
    assert all(segment.is_sealed for segment in Segment.find(tmp_path))


def test_a_sealed_file_is_as_long_as_what_it_holds_and_takes_nothing(tmp_path):
    segment = Segment.make(tmp_path, 7, ROOM)
    segment.write(b"only")
    segment.seal()
    assert segment.path.stat().st_size == HEADER_BYTES + 4
    assert segment.room == 0
    with pytest.raises(ValueError, match="sealed"):
        segment.write(b"more")
    assert payloads_in(segment.read(0, ROOM)) == [b"only"]


def test_a_file_that_somebody_deleted_is_damage_and_no_error(tmp_path):
    segment = Segment.make(tmp_path, 7, ROOM)
    segment.write(b"only")
    segment.path.unlink()
    assert everything(segment) == ([], 1)
    segment.sync()
    segment.seal()
    segment.delete()


def test_what_the_disk_cannot_read_is_damage(tmp_path, monkeypatch):
    segment = Segment.make(tmp_path, 7, ROOM)
    segment.write(b"only")

    def broken(file, size, offset):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    assert everything(segment) == ([], 1)


def test_sync_takes_note_of_how_much_is_on_disk(tmp_path):
    segment = Segment.make(tmp_path, 7, ROOM)
    assert segment.synced == -1
    segment.write(b"only")
    segment.sync()
    assert segment.synced == segment.end


def test_a_record_without_its_header_is_not_there(tmp_path):
    """The payload is copied first: this is what a process killed before the header leaves."""
    whole = framed(b"first")
    torn = bytes(HEADER_BYTES) + b"second"
    scan = Scan(whole + torn + bytes(100), is_end=True)
    assert [bytes(payload) for payload in scan] == [b"first"]
    assert scan.skipped == 1


def test_nothing_that_is_said_can_pass_for_a_record():
    for at in range(len(MAGIC)):
        with pytest.raises(UnicodeDecodeError):
            MAGIC[at:].decode()
    with pytest.raises(UnicodeDecodeError):
        MAGIC[:1].decode()


def test_a_length_that_was_flipped_hides_no_other_record():
    first, second = framed(b"first" * 10), framed(b"second")
    for bit in range(32):
        data = bytearray(first + second)
        data[4 + bit // 8] ^= 1 << bit % 8
        assert payloads_in(bytes(data)) == [b"second"]


def test_a_record_that_goes_on_behind_the_data_is_left_for_the_next_scan():
    first, second = framed(b"first"), framed(b"second" * 10)
    for cut in range(1, len(second)):
        scan = Scan(first + second[:cut], is_end=False)
        assert [bytes(payload) for payload in scan] == [b"first"]
        assert scan.at == len(first)
        assert payloads_in((first + second)[scan.at :]) == [b"second" * 10]


def test_room_that_nobody_used_is_no_damage():
    scan = Scan(framed(b"first\0\0") + bytes(1000), is_end=True)
    assert [bytes(payload) for payload in scan] == [b"first\0\0"]
    assert (scan.skipped, scan.used, scan.at) == (0, HEADER_BYTES + 7, HEADER_BYTES + 7 + 1000)


def _record(number):
    return Record(f"call-{number}", 1.0, Caller("alice"), "openai", "openai", "gpt", "completed")


def test_a_batch_has_records_and_what_was_said_but_no_intents(tmp_path):
    segment = Segment.make(tmp_path, 7, ROOM)
    said = Content("call-1", 1.0, "question", "answer")
    for entry in (Opened("call-1", 1.0, Caller("alice"), "openai", "gpt"), said, _record(1)):
        segment.write(msgspec.msgpack.encode(entry))
    batch, skipped = Stretch("one", segment, 0, segment.end).read()
    assert batch == segments.Batch("one", [said, _record(1)], 7, segment.end)
    assert skipped == 0


def test_a_batch_is_bounded(tmp_path):
    segment = Segment.make(tmp_path, 7, 4 << 20)
    many = [_record(number) for number in range(2 * BATCH_ENTRIES + 1)]
    for entry in many:
        segment.write(msgspec.msgpack.encode(entry))
    batch, _ = Stretch("one", segment, 0, segment.end).read()
    assert batch.entries == many[:BATCH_ENTRIES]
    assert everything(segment) == (many, 0)


def test_what_another_version_wrote_is_passed_over(tmp_path):
    segment = Segment.make(tmp_path, 7, ROOM)
    segment.write(b"\x93\xa1z\xa1a\xa1b")
    segment.write(msgspec.msgpack.encode(_record(1)))
    assert everything(segment) == ([_record(1)], 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("segments")


PAYLOADS = st.lists(
    st.binary(min_size=1, max_size=60) | st.integers(1, 9).map(lambda size: MAGIC * size), min_size=1, max_size=20
)
HARM = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "splice", "zero"]), st.integers(0, 10_000), st.integers(1, 80)),
    min_size=1,
    max_size=4,
)


def harm(pieces, damages):
    """Damage records that stand one behind the other; returns their bytes, and which are whole."""
    data = bytearray().join(pieces)
    owners = [index for index, piece in enumerate(pieces) for _ in piece]
    hurt = set()
    for kind, place, size in damages:
        at = place % (len(data) + 1)
        end = min(at + size, len(data))
        inside = at < len(owners) and 0 < at and owners[at - 1] == owners[at]
        match kind:
            case "flip" if at < len(data):
                hurt.add(owners[at])
                data[at] ^= size
            case "zero":
                hurt |= set(owners[at:end])
                data[at:end] = bytes(end - at)
            case "cut":
                hurt |= set(owners[at:end])
                del data[at:end], owners[at:end]
            case "splice":
                hurt |= {owners[at]} if inside else set()
                data[at:at] = bytes(range(200, 200 + size % 50)) + MAGIC
                owners[at:at] = [-1] * (size % 50 + len(MAGIC))
    return bytes(data), [index for index in range(len(pieces)) if index not in hurt]


@given(PAYLOADS, HARM, st.integers(0, 200))
def test_all_that_is_not_damaged_is_read_and_nothing_is_invented(payloads, damages, unused):
    data, whole = harm([framed(payload) for payload in payloads], damages)
    found = payloads_in(data + bytes(unused))
    left = iter(found)
    assert all(payloads[index] in left for index in whole), "one is missing, or out of order"
    assert all(payload in payloads for payload in found)


@given(PAYLOADS, HARM, st.integers(130, 400))
def test_where_the_bytes_are_parted_does_not_matter(payloads, damages, chunk):
    data, whole = harm([framed(payload) for payload in payloads], damages)
    left, at = [], 0
    while at < len(data):
        scan = Scan(data[at : at + chunk], is_end=at + chunk >= len(data))
        left += [bytes(payload) for payload in scan]
        if not scan.at:
            # A length that lies goes on further than a chunk here; in a file a chunk holds the longest.
            break
        at += scan.at
    else:
        found = iter(left)
        assert all(payloads[index] in found for index in whole)
    assert all(payload in payloads for payload in left)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=40), HARM)
def test_a_damaged_file_is_read_to_its_end(folder, sizes, damages):
    records = [_record("x" * size) for size in sizes]
    data, whole = harm([framed(msgspec.msgpack.encode(record)) for record in records], damages)
    path = folder / f"{1:012}.log"
    path.write_bytes(data)
    (segment,) = Segment.find(folder)
    found, _ = everything(segment)
    left = iter(found)
    assert all(records[index] in left for index in whole)
    assert all(record in records for record in found)


def test_a_magic_with_zeros_behind_it_is_no_record():
    scan = Scan(MAGIC + bytes(20) + framed(b"only"), is_end=True)
    assert [bytes(payload) for payload in scan] == [b"only"]
    assert scan.skipped == 1


def test_the_longest_record_fits_into_what_is_read_at_once(tmp_path):
    segment = Segment.make(tmp_path, 7, 4 << 20)
    segment.write(b"short")
    segment.write(b"x" * MOST_BYTES)
    first = Scan(segment.read(0, segments.CHUNK_BYTES), is_end=False)
    assert [len(payload) for payload in first] == [5]
    second = Scan(segment.read(first.at, segments.CHUNK_BYTES), is_end=True)
    assert [len(payload) for payload in second] == [MOST_BYTES]
