"""Whose the conversations are that a back end keeps. Each function is one transaction's work."""

from sqlalchemy import Connection, bindparam, select

from dragoman.store.rows import key_of
from dragoman.store.schema import holdings, upsert

_OWNER = select(holdings.c.owner).where(holdings.c.id == bindparam("sought"))
_OTHERS = select(holdings.c.id).where(holdings.c.owner != bindparam("not_of"))


def hold(connection: Connection, owner: str, id_: str) -> None:
    """Note whose a conversation is; whoever was noted first keeps it."""
    new = upsert(connection, holdings).on_conflict_do_nothing()
    connection.execute(new, {"id": key_of(id_), "owner": key_of(owner)})


def is_open(connection: Connection, owner: str, id_: str) -> bool:
    found = connection.execute(_OWNER, {"sought": key_of(id_)}).scalar()
    return found is None or found == key_of(owner)


def list_others(connection: Connection, owner: str) -> frozenset[str]:
    return frozenset(connection.execute(_OTHERS, {"not_of": key_of(owner)}).scalars())
