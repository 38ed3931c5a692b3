"""`python -m bench.parts`: what single steps of a call cost, each alone and again and again, in µs of CPU.

It needs neither nginx nor a second core, and starts nothing: the parts are made here as the gateway makes them, on a
data folder with the benchmark's account. Loading is what the background does for a call, in batches of so many.

Exit code: 0 all within their limits, 1 one is over.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from bench.accounts import CONFIGURATION, KEY, KEY_ID, OWNER, TEAM, WRONG_KEY, open_account
from bench.dialects import CHAT, chat_body
from bench.script import PUBLIC_MODEL, UPSTREAM_MODEL, question
from dragoman.accounting import desk_of, prices_of, till_of
from dragoman.admission.desk import Bound
from dragoman.admission.directory import Directory
from dragoman.admission.gate import Gate
from dragoman.admission.hashing import read_hash_key
from dragoman.admission.tokens import Tokens
from dragoman.admission.windows import day_of
from dragoman.chat import ChatRequest, Usage
from dragoman.dialects import openai
from dragoman.faults import Unauthenticated
from dragoman.intents import Ask
from dragoman.people import Principal, Secret
from dragoman.records import Attempt, Caller, Charge, Opened, Record
from dragoman.routes import Route, Target
from dragoman.settings import load
from dragoman.store import Store, open_store
from dragoman.store.calls import keep
from dragoman.store.database import open_database
from dragoman.store.journal import Journal
from dragoman.store.segments import Batch
from dragoman.watch.metrics import Metrics

BLOCK = 200
_MOUNT = next(mount for mount in openai.mounts if (mount.method, mount.path) == ("POST", CHAT))
_TARGET = Target("mock", UPSTREAM_MODEL)
_ROUTE = Route(PUBLIC_MODEL, (_TARGET,))
_BODY = chat_body(question(0, 16), stream=False)
_INTENT = Ask(
    "openai", PUBLIC_MODEL, _BODY, lambda _: _BODY, stream=False, request=lambda: ChatRequest([]), max_tokens=16
)
_USAGE = Usage(input=180, output=150)
_BATCHES = (20, 200)


@dataclass(frozen=True)
class Part:
    """A step that is timed `BLOCK` times in a row; `after` is done between the blocks, off the clock."""

    name: str
    step: Callable[[], object] = lambda: None
    limit_us: float | None = None
    after: Callable[[], object] | None = None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.parts", description=__doc__)
    parser.add_argument("--blocks", type=int, default=100, help=f"blocks of {BLOCK} repetitions (default 100)")
    blocks = parser.parse_args().blocks
    with tempfile.TemporaryDirectory(prefix="dragoman-parts-") as folder:
        data = Path(folder) / "data"
        open_account(data, others=98)
        store = open_store("", data, "bench", sole=True)
        try:
            measured = asyncio.run(_measure(data, store, blocks))
            measured += [
                (Part(f"loading a call, {size} at once"), _loading_us(data, size, blocks)) for size in _BATCHES
            ]
        finally:
            store.close()
    print(f"{'part':<44}{'limit':>8}{'median':>9}{'min':>9}  µs of CPU, {blocks} blocks of {BLOCK}")
    is_over = False
    for part, found_us in measured:
        median_us = statistics.median(found_us)
        is_over |= part.limit_us is not None and median_us > part.limit_us
        limit = "" if part.limit_us is None else f"{part.limit_us:.0f}"
        print(f"{part.name:<44}{limit:>8}{median_us:>9.2f}{min(found_us):>9.2f}")
    return int(is_over)


async def _measure(data: Path, store: Store, blocks: int) -> list[tuple[Part, list[float]]]:
    """Take turns, so that slow drift favours nobody."""
    parts = [part async for part in _parts(data, store)]
    found: dict[str, list[float]] = {part.name: [] for part in parts}
    for _ in range(blocks):
        for part in parts:
            found[part.name].append(_block_us(part.step))
            if part.after is not None:
                part.after()
    return [(part, found[part.name]) for part in parts]


def _block_us(step: Callable[[], object]) -> float:
    started_ns = time.thread_time_ns()
    for _ in range(BLOCK):
        step()
    return (time.thread_time_ns() - started_ns) / BLOCK / 1000


async def _parts(data: Path, store: Store) -> AsyncIterator[Part]:
    """Make what a gateway makes of the benchmark's configuration. Every part that takes also gives back."""
    (config := data.with_name("dragoman.toml")).write_text(
        f'[[providers]]\nname = "mock"\nkind = "openai"\ncredentials = ["upstream-key"]\n{CONFIGURATION}'
    )
    settings = load(config, environment={}, folder=data)
    directory = Directory(store.keyring, read_hash_key(data, None), time.time)
    await directory.load()
    gate = Gate({}, {}, Tokens(None, bytes(32)), directory, (), own_keys=False)
    right, wrong = Secret(KEY), Secret(WRONG_KEY)
    principal = gate.admit(right, _MOUNT)

    desk = desk_of(settings, store.bank)
    (await desk.admit(principal, PUBLIC_MODEL, Bound(250, 16, 100))).release()
    till = till_of(settings, prices_of(settings))
    now = time.time()
    quote = till.quote(_INTENT, _ROUTE, now, len(_BODY), budgeted=True)

    def refuse() -> None:
        with contextlib.suppress(Unauthenticated):
            gate.admit(wrong, _MOUNT)

    def account() -> tuple[Charge, ...]:
        grant = desk.enter(principal, PUBLIC_MODEL, quote.bound)
        if grant is None:
            raise RuntimeError("what was asked for a moment ago is known no more")
        return grant.settle(117, 330)

    charges = account()
    journal = Journal(data, "bench")
    journal.open()
    journal.replay(None)
    opened = _opened("0" * 32, principal, charges)
    record = _record("0" * 32, principal, charges)
    metrics = Metrics()

    def write() -> None:
        journal.append(opened)
        journal.append(record)

    yield Part("gate.admit, a known key", lambda: gate.admit(right, _MOUNT))
    yield Part("gate.admit, a wrong key", refuse, 20.0)
    yield Part("till.quote", lambda: till.quote(_INTENT, _ROUTE, now, len(_BODY), budgeted=True))
    yield Part("till.cost", lambda: till.cost(_USAGE, _TARGET, now))
    yield Part(f"desk.enter and grant.settle, {len(charges)} budgets", account)
    yield Part("journal.append, intent and record", write, 6.0, lambda: _skip(journal))
    yield Part("metrics.settled", lambda: metrics.settled(record))


def _skip(journal: Journal) -> None:
    """Let the journal forget what was written, as if it had been loaded, and make its next segment."""
    while (stretch := journal.unread()) is not None:
        journal.advance(Batch(stretch.journal, [], stretch.segment.number, stretch.end))
    journal.prepare()


def _loading_us(data: Path, size: int, batches: int) -> list[float]:
    """Read batches of calls from a journal and load them into SQLite as the background does; for each call."""
    principal = Principal(OWNER, key=KEY_ID, team=TEAM, tags=("bench",))
    charges = tuple(Charge(f"{holder}/money.month", 0, 117) for holder in (OWNER, f"team:{TEAM}", "all"))
    journal = Journal(data / f"loading-{size}", f"loading-{size}")
    journal.open()
    journal.replay(None)
    database = open_database("", data)
    found = []
    try:
        for _ in range(batches):
            for _ in range(size):
                record = _record(secrets.token_hex(16), principal, charges)
                journal.append(_opened(record.id, principal, charges))
                journal.append(record)
            journal.prepare()
            started_ns = time.thread_time_ns()
            while (stretch := journal.unread()) is not None:
                batch, _ = stretch.read()
                with database.writer.begin() as connection:
                    keep(connection, batch.entries, batch.journal, batch.segment, batch.offset, "bench", _day_of)
                journal.advance(batch)
            found.append((time.thread_time_ns() - started_ns) / size / 1000)
    finally:
        database.close()
        journal.close()
    return found


def _day_of(at: float) -> int:
    return day_of(at, ZoneInfo("UTC"))


def _caller(principal: Principal) -> Caller:
    return Caller(principal.name, principal.key, principal.team, principal.tags)


def _opened(id_: str, principal: Principal, charges: tuple[Charge, ...]) -> Opened:
    return Opened(id_, time.time(), _caller(principal), _MOUNT.dialect, PUBLIC_MODEL, 250, 40, charges)


def _record(id_: str, principal: Principal, charges: tuple[Charge, ...]) -> Record:
    return Record(
        id=id_,
        at=time.time(),
        caller=_caller(principal),
        dialect=_MOUNT.dialect,
        wire="openai",
        model=PUBLIC_MODEL,
        outcome="completed",
        status=200,
        usage=_USAGE,
        attempts=[Attempt("mock", UPSTREAM_MODEL, "-key", "ok", "", 2)],
        first_byte_ms=2,
        total_ms=2,
        provider="mock",
        target=UPSTREAM_MODEL,
        credential="-key",
        cost_micro=117,
        reserved_micro=10_000,
        charges=charges,
    )


if __name__ == "__main__":
    sys.exit(main())
