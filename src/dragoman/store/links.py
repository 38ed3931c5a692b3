"""Links that log in once. One transaction's work."""

from sqlalchemy import Connection, bindparam, delete

from dragoman.store.rows import key_of
from dragoman.store.schema import upsert, used_links

CLOCKS_DIFFER_S = 300.0
"""By less than this do the clocks of processes differ: so much longer a link is remembered."""
_OVER = delete(used_links).where(used_links.c.until < bindparam("before"))


def use_link(connection: Connection, id_: str, until: float, now: float) -> bool:
    """Note that a link was used. Returns whether it was not yet; of several who try at once, one wins."""
    connection.execute(_OVER, {"before": now - CLOCKS_DIFFER_S})
    new = upsert(connection, used_links).on_conflict_do_nothing()
    return connection.execute(new, {"id": key_of(id_), "until": until}).rowcount > 0
