"""A data folder with a year of usage in it, filled through SQL before a gateway starts there; once in a run.

Rows stand as the loader would have left them: one a call, and the sums by hour, day and block. They are of many keys,
teams and models, so that the sums of an hour have hundreds of rows; one key of them is the benchmark's caller.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.accounts import KEY_ID, OWNER, TEAM, open_account
from bench.rig import Rig
from bench.script import PUBLIC_MODEL, UPSTREAM_MODEL

YEAR_S = 365 * 86_400
KEYS = 200
_TEAMS = 20
_PORTIONS = 100
_SPREAD = 2_654_435_761  # Knuth's multiplicative hash: neighbours in time differ in everything else
_TUNING = ("journal_mode=OFF", "synchronous=OFF", "cache_size=-2000000", "temp_store=MEMORY")

# What a call is made of, from its number `n`, its moment `t`, and what it draws: key `k`, choice `c`.
_CALLS = {
    "id": "lower(hex(randomblob(16)))",
    "at": "t",
    "principal": f"iif(k, printf('key:%020x', k), '{OWNER}')",
    "key": f"iif(k, printf('%020x', k), '{KEY_ID}')",
    "team": f"iif(k, 'team-' || (k % {_TEAMS}), '{TEAM}')",
    "tags": "',bench,' || iif(k % 4, '', 'ci,')",
    "dialect": "iif(c & 1, 'openai', 'anthropic')",
    "wire": "'openai'",
    "model": f"iif(c % 3, 'model-' || (c % 3), '{PUBLIC_MODEL}')",
    "provider": "'mock'",
    "target": f"iif(c % 3, 'target-' || (c % 3), '{UPSTREAM_MODEL}')",
    "credential": "'-key'",
    "outcome": "iif(n % 50, 'completed', 'failed')",
    "code": "iif(n % 50, '', 'unavailable')",
    "status": "iif(n % 50, 200, 503)",
    "input": "100 + c",
    "cache_read": "c",
    "output": "150 + c",
    "estimated": "n % 50 = 1",
    "streamed": "c & 1",
    "cost_micro": "120 + c",
    "reserved_micro": "10000",
    "first_byte_ms": "400",
    "total_ms": "1500",
    "attempts": '\'[["mock","target","-key","ok","",1500]]\'',
}
_DRAWN = f"""
WITH numbers(n) AS (SELECT :low UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :high),
     drawn AS (SELECT n, :since + n * :step_s AS t, (n * {_SPREAD} >> 7) & 0xffffff AS h FROM numbers),
     calls_of AS (SELECT n, t, h % {KEYS} AS k, h / {KEYS} % 12 AS c FROM drawn)
"""


@dataclass(frozen=True)
class Year:
    """Where it is, how many calls it holds, and when the first of them was (Unix seconds)."""

    data: Path
    rows: int
    since: int


def filled(rig: Rig) -> Year:
    """Return the year of this run, made when it is first asked for: some minutes and 6 GB for 10 million calls."""
    data, rows = rig.stage.folder / "year", rig.plan.usage_rows
    if not data.exists():
        open_account(data, others=8)
        _fill(rig, data, rows)
    with contextlib.closing(_connect(data)) as connection:
        return Year(data, rows, connection.execute("SELECT min(slot) FROM usage_hours").fetchone()[0])


def _connect(data: Path) -> sqlite3.Connection:
    from dragoman.store.database import SQLITE_FILE

    return sqlite3.connect(data / SQLITE_FILE, isolation_level=None)


def _fill(rig: Rig, data: Path, rows: int) -> None:
    # Whole days, since those before `since` do not count.
    since = int(time.time()) // 86_400 * 86_400 - YEAR_S
    bounds = [rows * portion // _PORTIONS for portion in range(_PORTIONS + 1)]
    with contextlib.closing(_connect(data)) as connection:
        for pragma in _TUNING:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        for low, high in rig.progress(f"{rows:,} calls", list(pairwise(bounds))):
            _add_calls(connection, since, low, high, YEAR_S / rows)
        _add_sums(rig, connection, since)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=WAL")


def _add_calls(connection: sqlite3.Connection, since: int, low: int, high: int, step_s: float) -> None:
    from dragoman.store.call_tables import BUCKETS

    zero = dict.fromkeys((*BUCKETS, "queued_ms"), "0")
    made = {**zero, "tier": "''", **_CALLS}
    connection.execute(
        f"{_DRAWN} INSERT INTO calls ({', '.join(made)}) SELECT {', '.join(made.values())} FROM calls_of",
        {"low": low, "high": high, "since": since, "step_s": step_s},
    )


def _add_sums(rig: Rig, connection: sqlite3.Connection, since: int) -> None:
    """Sum up by hour a few days at a time, then days from hours, and blocks from days; days are those of UTC."""
    from dragoman.store.call_tables import BLOCK_S, BUCKETS, DIMENSIONS, HOUR_S, SUMS

    tokens = " + ".join(BUCKETS)
    own = {
        "calls": "count(*)",
        "failed": "sum(outcome IN ('refused', 'failed', 'interrupted'))",
        "unpriced": f"sum(cost_micro IS NULL AND ({tokens}) > 0)",
    }
    first = [own.get(name, f"sum({name})") for name in SUMS]
    names, group = ", ".join((*DIMENSIONS, *SUMS)), ", ".join(DIMENSIONS)
    few_days_s = 5 * 86_400
    for start in rig.progress("sums of usage", range(since, since + YEAR_S, few_days_s)):
        connection.execute(
            f"INSERT INTO usage_hours (slot, {names}) SELECT CAST(at AS INTEGER) / {HOUR_S} * {HOUR_S} AS s, {group}, "
            f"{', '.join(first)} FROM calls WHERE at >= ? AND at < ? GROUP BY s, {group}",
            (start, min(start + few_days_s, since + YEAR_S)),
        )
    again = ", ".join(f"sum({name})" for name in SUMS)
    for table, source, span_s in (("usage_days", "usage_hours", 86_400), ("usage_blocks", "usage_days", BLOCK_S)):
        connection.execute(
            f"INSERT INTO {table} (slot, {names}) SELECT slot / {span_s} * {span_s} AS s, {group}, {again} "
            f"FROM {source} GROUP BY s, {group}"
        )
