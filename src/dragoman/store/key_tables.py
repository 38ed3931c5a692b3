"""The tables of keys and teams. `data` is JSON of `dragoman.keys.Key` or `Team`; the other columns are for finding."""

from sqlalchemy import BigInteger, Column, Index, Table, Text

from dragoman.store.schema import metadata, text

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("holder", Text, nullable=False, unique=True),
    text("team"),
    text("maker"),
    text("data"),
    Column("seq", BigInteger, nullable=False),
)
Index("keys_by_seq", keys.c.seq)
Index("keys_by_team", keys.c.team, keys.c.id)
Index("keys_by_maker", keys.c.maker, keys.c.id)

teams = Table(
    "teams",
    metadata,
    Column("name", Text, primary_key=True),
    text("data"),
    Column("seq", BigInteger, nullable=False),
)
Index("teams_by_seq", teams.c.seq)

# What was deleted, so that processes which know it forget it. `kind` is "key" or "team".
gone = Table(
    "gone",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)
Index("gone_by_seq", gone.c.seq)

# Numbers and words that the deployment has one of: the last sequence number, the check of the hash key.
facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    text("value"),
)
