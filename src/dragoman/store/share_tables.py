"""The tables of budgets: what was spent of each account, and which process holds how much of it."""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, Table, Text

from dragoman.store.schema import metadata

# `window`: Unix seconds at which a budget's window began, else 0. The row is also the account's lock.
spent = Table(
    "spent",
    metadata,
    Column("account", Text, primary_key=True),
    Column("window", BigInteger, primary_key=True),
    Column("units", BigInteger, nullable=False),
)

# `run` may use up `held` units as long as it has a row in `leases`.
shares = Table(
    "shares",
    metadata,
    Column("account", Text, primary_key=True),
    Column("window", BigInteger, primary_key=True),
    Column("run", Text, primary_key=True),
    Column("held", BigInteger, nullable=False),
)
Index("shares_by_run", shares.c.run)

# One row a process, so that renewing costs the same however much it holds. `until`: Unix seconds by the database's
# clock. Who finds that a lease has run out sets `doubted` to 1 and `until` to `lease_s` later; who finds that it has
# run out again, deletes it.
leases = Table(
    "leases",
    metadata,
    Column("run", Text, primary_key=True),
    Column("until", Double, nullable=False),
    Column("lease_s", Double, nullable=False),
    Column("doubted", Integer, nullable=False),
)

# A rate's bucket: how much was in it at `at` (Unix seconds by the database's clock). The row is also its lock.
rates = Table(
    "rates",
    metadata,
    Column("account", Text, primary_key=True),
    Column("level", Double, nullable=False),
    Column("at", Double, nullable=False),
)
