"""The account of the benchmark's caller: a stored key with limits, of a team, under three budgets, at a price.

So each call is admitted, reserved, journalled, settled and loaded into the store, as any call of a real deployment is.
None of the caller's own calls is ever refused: what it may use is more than any run asks for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.script import UPSTREAM_MODEL

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from dragoman.keys import Key

# As long as real keys, since hashing costs by length.
KEY = "dgk_" + "benchmark".center(43, "0")
SLOW_KEY = "dgk_" + "slow".center(43, "0")
WRONG_KEY = "dgk_" + "wrong".center(43, "0")
# Opens a gateway on an empty folder, where there are no keys yet.
OPERATOR_KEY = "bench-operator"
KEY_ID = "bench"
# The principal of the key, to whom its conversations and its usage belong.
OWNER = f"key:{KEY_ID}"
TEAM = "bench-team"
BUDGET = 1_000_000_000
_MICRO = 1_000_000
_REQUESTS = 100_000_000
_TOKENS = 100_000_000_000

CONFIGURATION = f"""
[compat]
secret_key = "{OPERATOR_KEY}"

[money]
budget = "{BUDGET}"
window = "month"

[[prices]]
model = "{UPSTREAM_MODEL}"
input = "0.15"
output = "0.60"
cache_read = "0.075"

# A year of usage is stored for some figures, and must not be deleted meanwhile.
[usage]
retention_days = 400
"""


def open_account(data: Path, others: int = 0) -> None:
    """Put the caller's key and team into a data folder, and `others` more keys, before a gateway runs there."""
    from dragoman.admission.hashing import check_value, read_hash_key
    from dragoman.keys import Team
    from dragoman.standing import Budget
    from dragoman.store.keyring import check_hash_key, put_key, put_team

    hash_key = read_hash_key(data, None)
    with writing(data) as connection:
        check_hash_key(connection, check_value(hash_key))
        put_team(connection, Team(name=TEAM, budget=Budget(BUDGET * _MICRO, "month")))
        for key in _keys(hash_key, others):
            if not put_key(connection, key, is_new=True):
                raise ValueError(f"{data}: there is a key {key.id} already")


@contextlib.contextmanager
def writing(data: Path) -> Iterator[Connection]:
    """Change the store in a data folder in one transaction; makes it if there is none."""
    from dragoman.store import open_store
    from dragoman.store.database import open_database

    data.mkdir(exist_ok=True)
    open_store("", data, "bench").close()
    database = open_database("", data)
    try:
        with database.writer.begin() as connection:
            yield connection
    finally:
        database.close()


def _keys(hash_key: bytes, others: int) -> Iterator[Key]:
    """The caller's key, one that may ask once a minute, and others, of which each is as full as the caller's."""
    from dragoman.admission.hashing import hashed
    from dragoman.keys import PREFIX, Key
    from dragoman.people import Secret
    from dragoman.standing import Budget, Limits

    budget = Budget(BUDGET * _MICRO, "day")
    plenty = Limits(requests_per_minute=_REQUESTS, tokens_per_minute=_TOKENS)

    def key(id_: str, secret: str, limits: Limits) -> Key:
        return Key(
            id=id_,
            digest=hashed(Secret(secret), hash_key),
            prefix=secret[:8],
            tail=secret[-4:],
            name=f"benchmark {id_}",
            owner="benchmark",
            team=TEAM,
            tags=("bench",),
            created=time.time(),
            limits=limits,
            budget=budget,
        )

    yield key(KEY_ID, KEY, plenty)
    yield key("slow", SLOW_KEY, Limits(requests_per_minute=1))
    for number in range(others):
        yield key(f"{number:020x}", f"{PREFIX}{number:043d}", plenty)
