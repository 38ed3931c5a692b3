"""A process killed at any moment loses no entry that it was told is kept, doubles none, and each call ends once."""

import asyncio
import contextlib
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from writer import SEGMENT, Books

from dragoman.store.journal import Journal
from dragoman.store.loading import Loader

WRITER = Path(__file__).parent / "writer.py"
LIFE_S = 0.06
UNITS = 3


class Writers:
    """Processes that live one after the other in a folder, each until it is killed."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [sys.executable, str(WRITER), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.pipe = self.process.stdout.fileno()
        self.opened, self.ended = set(), set()
        self.tried_to_open, self.tried_to_end = set(), set()
        self.born = 0

    def live(self, seed, life_s):
        """Have one live for so long after it was born, unless it dies before; note all that it said."""
        self.process.stdin.write(b"%d\n" % seed)
        said = b""
        while b"\n" not in said:
            said += self._read(20)
        line, _, said = said.partition(b"\n")
        said += self._await_end(int(line.split()[1]), time.monotonic() + life_s)
        while select.select([self.pipe], [], [], 0)[0]:
            said += self._read(0)
        self._note(said)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def _await_end(self, pid, until):
        """Kill a process when its time has come, and return what it said until it was gone."""
        said = b""
        try:
            writer = os.pidfd_open(pid)
        except ProcessLookupError:
            return said
        try:
            while (left := until - time.monotonic()) > 0:
                ready = select.select([self.pipe, writer], [], [], left)[0]
                if self.pipe in ready:
                    said += self._read(0)
                elif writer in ready:
                    return said
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(writer, signal.SIGKILL)
            assert select.select([writer], [], [], 20)[0], "it does not die"
        finally:
            os.close(writer)
        return said

    def _read(self, timeout_s):
        assert select.select([self.pipe], [], [], timeout_s)[0], "no writer was born"
        data = os.read(self.pipe, 1 << 20)
        assert data, "the writers' parent ended"
        return data

    def _note(self, said):
        to = {b"?o": self.tried_to_open, b"!o": self.opened, b"?r": self.tried_to_end, b"!r": self.ended}
        # A line that its writer did not finish says nothing.
        for line in said.split(b"\n")[:-1]:
            kind, id_ = line.split()
            to[kind].add(id_.decode())


@pytest.fixture
def writers(tmp_path):
    made = Writers(tmp_path)
    yield made
    made.stop()


def table(folder, statement):
    connection = sqlite3.connect(folder / "books.db")
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


@pytest.mark.timeout(0)
def test_no_record_is_lost_none_is_doubled_and_every_call_ends_once(writers, tmp_path, request):
    kills = request.config.getoption("kills", 200)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(kills):
        # Some are born only to die, as they replay what others left; others die of themselves, at a line of the journal.
        writers.live(seed + number, chance.choice((0.0, 0.3, 1.0, 2.0)) * LIFE_S * chance.random())
    _finish(tmp_path)
    rows = table(tmp_path, "SELECT id, outcome, units FROM calls")
    outcomes = {id_: outcome for id_, outcome, _ in rows}
    assert len(outcomes) == len(rows)
    assert writers.opened <= set(outcomes) <= writers.tried_to_open, "every call ends, and no other"
    completed = {id_ for id_, outcome in outcomes.items() if outcome == "completed"}
    assert writers.ended <= completed <= writers.tried_to_end, "no record is lost, none is made up"
    assert {outcomes[id_] for id_ in set(outcomes) - completed} == {"interrupted"}
    assert table(tmp_path, "SELECT units FROM spent") == [(UNITS * len(rows),)], "each is paid once"
    assert all(units == UNITS for _, _, units in rows)
    assert len(rows) > 10 * kills


def _finish(folder):
    """Load what the last one left, as the next start does."""

    async def load():
        books = Books(folder)
        journal = Journal(folder, "one", segment_bytes=SEGMENT)
        journal.open()
        await Loader(journal, books.keep).replay(books.position())
        assert journal.open_calls == 0
        assert (journal.lag.entries, journal.lag.bytes) == (0, 0)
        assert journal.lost == 0
        journal.close()
        books.connection.close()

    asyncio.run(load())
    assert len(list((folder / "journal").iterdir())) <= 1, "the others were loaded"
