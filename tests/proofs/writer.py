"""What the proof kills: a process that writes a journal and loads it into SQLite, and says on a pipe what it did.

It runs as `writer.py FOLDER`, imports once, and forks a writer for each line on its input, so that a life costs
little more than a fork. The lines are "SEED\n"; what a writer does and where it pauses follows from its seed.
The pipe has lines of the kind and the id of an entry: "?o id" before it is appended, "!o id" after.
"""

import asyncio
import os
import random
import signal
import sqlite3
import sys
import threading
from pathlib import Path

from dragoman.faults import StoreFailed
from dragoman.records import Attempt, Caller, Charge, Content, Opened, Record
from dragoman.store import journal as journals
from dragoman.store import loading, segments
from dragoman.store.journal import Journal
from dragoman.store.loading import Loader

SEGMENT = 96 << 10
TRACED = {journals.__file__, segments.__file__, loading.__file__}
CALLER = Caller("alice", "key-1", "platform", ("ci",))
CHARGES = (Charge("key:key-1", 0, 3),)
SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (id TEXT PRIMARY KEY, outcome TEXT NOT NULL, units INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS spent (account TEXT PRIMARY KEY, units INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS position (segment INTEGER NOT NULL, place INTEGER NOT NULL);
"""


class Books:
    """Rows in SQLite that are kept once, with the position, as the store keeps calls."""

    def __init__(self, folder, chance=None):
        self._chance = chance
        self.connection = sqlite3.connect(folder / "books.db", isolation_level=None, timeout=30)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=OFF")
        self.connection.executescript(SCHEMA)

    def position(self):
        return self.connection.execute("SELECT segment, place FROM position").fetchone()

    async def keep(self, batch):
        if self._chance is not None and self._chance.random() < 0.1:
            raise StoreFailed
        run = self.connection.execute
        run("BEGIN IMMEDIATE")
        for entry in batch.entries:
            if isinstance(entry, Record):
                self._keep(entry)
        run("DELETE FROM position")
        run("INSERT INTO position VALUES (?, ?)", (batch.segment, batch.offset))
        run("COMMIT")
        await asyncio.sleep(0)

    def _keep(self, record):
        run = self.connection.execute
        units = sum(charge.units for charge in record.charges)
        row = (record.id, record.outcome, units)
        if run("INSERT INTO calls VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row).rowcount:
            run(
                "INSERT INTO spent VALUES ('all', ?) ON CONFLICT DO UPDATE SET units = units + excluded.units",
                (units,),
            )


def opened(id_):
    return Opened(id_, 1.0, CALLER, "openai", "gpt", 10, 3, CHARGES)


def record(id_, chance):
    attempts = [Attempt("openai", "gpt", "abcd", "upstream_busy", "x" * chance.choice((5, 50, 3_000, 20_000)))]
    return Record(
        id_, 1.0, CALLER, "openai", "openai", "gpt", "completed", attempts=attempts, charges=CHARGES, cost_micro=3
    )


async def live(folder, seed, tell):
    """Serve calls, some at once, until killed."""
    chance = random.Random(seed)
    books = Books(folder, chance)
    if chance.random() < 0.5:
        die_at_a_line(chance)
    journal = Journal(folder, "one", segment_bytes=SEGMENT)
    journal.open()
    loader = Loader(journal, books.keep, every_s=chance.choice((0.0, 0.002)), retry_s=0.0, last_retry_s=0.001)
    journal.replay(books.position())
    running = asyncio.create_task(loader.run())
    waiting = []
    number = 0
    while not running.done():
        for _ in range(chance.randrange(1, 60)):
            if waiting and chance.random() < 0.5:
                id_ = waiting.pop(chance.randrange(len(waiting)))
                report(journal, record(id_, chance), "r", tell)
                if chance.random() < 0.1:
                    journal.append(Content(id_, 1.0, "question", "answer" * 100))
            elif len(waiting) < 20:
                number += 1
                waiting.append(f"{seed}-{number}")
                report(journal, opened(waiting[-1]), "o", tell)
        await asyncio.sleep(0)
    running.result()


def die_at_a_line(chance):
    """End this process before the n-th line of the journal's code that it comes to, as SIGKILL does."""
    left = int(10 ** chance.uniform(0, 4))

    def step(frame, event, argument):
        nonlocal left
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return step

    def trace(frame, event, argument):
        return step if frame.f_code.co_filename in TRACED else None

    sys.settrace(trace)
    threading.settrace(trace)


def report(journal, entry, kind, tell):
    os.write(tell, f"?{kind} {entry.id}\n".encode())
    journal.append(entry)
    os.write(tell, f"!{kind} {entry.id}\n".encode())


def main(folder):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    tell = sys.stdout.fileno()
    for line in sys.stdin:
        child = os.fork()
        if child:
            os.write(tell, f"pid {child}\n".encode())
            continue
        asyncio.run(live(folder, int(line), tell))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
