"""The tables, once for SQLite and PostgreSQL. What changes here needs a file in `migrations/versions`."""

from typing import Any

from sqlalchemy import Column, Connection, Double, ForeignKey, Index, Integer, MetaData, Table, Text, literal_column

REVISIONS = ("0001", "0002", "0003")
"""Every version of the schema that this code can bring up to date, the oldest first; the last is the one it uses."""
HEAD = REVISIONS[-1]


def text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, default="")


def _seconds(name: str) -> Column[float]:
    return Column(name, Double, nullable=False, default=0.0)


metadata = MetaData()

# A thread's lease: `run` is the process that answers, `answering` its answer, `previous` what was current
# before. The lease is over when `run` is "" or `busy_until` (Unix seconds) has passed.
threads = Table(
    "threads",
    metadata,
    Column("id", Text, primary_key=True),
    text("owner"),
    text("title"),
    text("folded_title"),
    text("root"),
    text("current"),
    _seconds("created"),
    _seconds("updated"),
    text("run"),
    text("answering"),
    text("previous"),
    _seconds("busy_until"),
)
# Databases use a partial index only where its condition is in the statement as it stands here, not as a parameter.
is_leased = threads.c.run != literal_column("''")
Index("threads_by_update", threads.c.owner, threads.c.updated, threads.c.id)
leased = Index("threads_leased", threads.c.id, sqlite_where=is_leased)


def speak_postgresql() -> None:
    """Say in PostgreSQL's words too which rows an index holds: as they are said, SQLAlchemy loads its dialect."""
    leased.dialect_options["postgresql"]["where"] = is_leased


# `parts` is JSON text, not a JSON type: PostgreSQL's knows no NUL.
nodes = Table(
    "nodes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("thread", Text, ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
    text("parent"),
    Column("depth", Integer, nullable=False),
    text("role"),
    text("parts"),
    _seconds("at"),
    text("state"),
    text("model"),
    # Its default is the database's own, since it was added to tables that had rows.
    Column("request", Text, nullable=False, server_default=""),
)
Index("nodes_by_depth", nodes.c.thread, nodes.c.depth)

# How many threads an owner has, so that a list need not count them.
owners = Table(
    "owners",
    metadata,
    Column("name", Text, primary_key=True),
    Column("threads", Integer, nullable=False),
)

# Conversations that a back end keeps: whose they are, since its account is everybody's.
holdings = Table(
    "holdings",
    metadata,
    Column("id", Text, primary_key=True),
    text("owner"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("folded_name", Text, primary_key=True),
    text("name"),
    text("digest"),
)

# Links that log in once and were used, until (Unix seconds) they would not work anyway.
used_links = Table(
    "used_links",
    metadata,
    Column("id", Text, primary_key=True),
    _seconds("until"),
)


def upsert(connection: Connection, table: Table) -> Any:
    """Begin an INSERT that can say ON CONFLICT, for the database of a connection."""
    return upsert_of(connection.dialect.name, table)


def upsert_of(kind: str, table: Table) -> Any:
    """Begin an INSERT that can say ON CONFLICT: both databases have it, SQLAlchemy has it for each apart.

    The result's `rowcount` can be relied on, which SQLAlchemy promises for no INSERT by itself.
    """
    if kind == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table).execution_options(preserve_rowcount=True)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table).execution_options(preserve_rowcount=True)
