"""Owners of conversations, and how many each has.

The row of an owner is locked before the rows of its threads, everywhere, so that the number is exact and no two
transactions wait for each other.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from dragoman.store.rows import key_of, new_id, title_columns
from dragoman.store.schema import owners, threads, upsert
from dragoman.threads import Thread

_COUNT = select(owners.c.threads).where(owners.c.name == bindparam("owner"))
_LESS = update(owners).where(owners.c.name == bindparam("owner"))
_NONE_LEFT = delete(owners).where(owners.c.name == bindparam("owner"), owners.c.threads == 0)


def count_threads(connection: Connection, owner: str) -> int:
    """Return how many conversations there are. O(1)."""
    return connection.execute(_COUNT, {"owner": key_of(owner)}).scalar() or 0


def lock_owner(connection: Connection, owner: str) -> None:
    """Wait until no other transaction adds or removes conversations of this owner, and have it stay so.

    An owner who is not there yet is made, since there is nothing else to lock; `count_down` removes it.
    """
    _count_up(connection, owner, 0)


def add_threads(connection: Connection, owner: str, titles: Sequence[str], now: float) -> list[Thread]:
    """Make empty conversations; locks the owner."""
    _count_up(connection, owner, len(titles))
    rows = [_row(owner, title, now) for title in titles]
    connection.execute(insert(threads), rows)
    return [Thread(r["id"], owner, r["title"], r["root"], r["current"], now, now) for r in rows]


def count_down(connection: Connection, owner: str, removed: int) -> None:
    """Note fewer conversations; of an owner who has none nothing stays."""
    key = {"owner": key_of(owner)}
    connection.execute(_LESS.values(threads=owners.c.threads - removed), key)
    connection.execute(_NONE_LEFT, key)


def _count_up(connection: Connection, owner: str, added: int) -> None:
    more = upsert(connection, owners).values(name=key_of(owner), threads=added)
    connection.execute(
        more.on_conflict_do_update(
            index_elements=[owners.c.name], set_={"threads": owners.c.threads + more.excluded.threads}
        )
    )


def _row(owner: str, title: str, now: float) -> dict[str, Any]:
    root = new_id()
    place = {"id": new_id(), "owner": key_of(owner), "root": root, "current": root, "created": now, "updated": now}
    return place | title_columns(title)
