"""The tables of calls: one row a request, their content where it is kept, and the sums by hour and by day."""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, Table, Text

from dragoman.store.schema import metadata, text


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, default=0)


BUCKETS = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_in",
    "image_in",
    "output",
    "reasoning",
    "audio_out",
    "image_out",
)
"""The token counts of `dragoman.chat.Usage`, disjoint."""

calls = Table(
    "calls",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", Double, nullable=False),
    text("principal"),
    text("key"),
    text("team"),
    text("tags"),
    text("dialect"),
    text("wire"),
    text("model"),
    text("provider"),
    text("target"),
    text("credential"),
    text("outcome"),
    text("code"),
    Column("status", Integer, nullable=False),
    *map(_count, BUCKETS),
    text("tier"),
    Column("estimated", Integer, nullable=False),
    Column("streamed", Integer, nullable=False),
    Column("cost_micro", BigInteger),
    _count("reserved_micro"),
    _count("queued_ms"),
    Column("first_byte_ms", BigInteger),
    _count("total_ms"),
    text("attempts"),
)
Index("calls_by_at", calls.c.at, calls.c.id)
Index("calls_by_principal", calls.c.principal, calls.c.at, calls.c.id)

contents = Table(
    "contents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", Double, nullable=False),
    text("question"),
    text("answer"),
)
Index("contents_by_at", contents.c.at)

DIMENSIONS = ("principal", "team", "tags", "model", "provider", "target", "dialect")
"""What usage is summed by, beside time. `tags` are joined by commas, sorted, with one before and behind."""
SUMS = ("calls", "failed", "estimated", "unpriced", *BUCKETS, "cost_micro")
"""`failed`: no answer came of it, refused ones included; `unpriced`: tokens were used, and nobody knows their price."""
HOUR_S = 3600
BLOCK_S = 28 * 86400
"""Days are summed by blocks as well: those that began in the same 28 days since 1970, so that no zone is needed."""


def _sums(name: str) -> Table:
    """Unix seconds at which the span began are its `slot`. SQLite keeps the rows in the key's own tree."""
    return Table(
        name,
        metadata,
        Column("slot", BigInteger, primary_key=True),
        *(Column(dimension, Text, primary_key=True) for dimension in DIMENSIONS),
        *map(_count, SUMS),
        sqlite_with_rowid=False,
    )


# Hours of UTC, days of the deployment's zone, and blocks of such days, for sums over long times.
usage_hours = _sums("usage_hours")
usage_days = _sums("usage_days")
usage_blocks = _sums("usage_blocks")
Index("usage_days_by_principal", usage_days.c.principal, usage_days.c.slot)
Index("usage_blocks_by_principal", usage_blocks.c.principal, usage_blocks.c.slot)

# How far each journal has been loaded.
journals = Table(
    "journals",
    metadata,
    Column("journal", Text, primary_key=True),
    Column("segment", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
)
