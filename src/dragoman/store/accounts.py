"""Local accounts. Names are compared without case. Each function is one transaction's work."""

from sqlalchemy import Connection, bindparam, delete, select, update

from dragoman.store.rows import clean, fold, key_of
from dragoman.store.schema import accounts, upsert

_THE_ONE = accounts.c.folded_name == bindparam("sought")
_DIGEST = select(accounts.c.digest).where(_THE_ONE)
_CHANGE = update(accounts).where(_THE_ONE)
_NAMES = select(accounts.c.name).order_by(accounts.c.folded_name)
_DROP = delete(accounts).where(_THE_ONE)


def find_digest(connection: Connection, name: str) -> str | None:
    return connection.execute(_DIGEST, _key(name)).scalar()


def put_account(connection: Connection, name: str, digest: str) -> bool:
    """Make an account or change its password. Returns whether it is new."""
    new = upsert(connection, accounts).on_conflict_do_nothing()
    columns = {"folded_name": _key(name)["sought"], "name": clean(name), "digest": digest}
    if connection.execute(new, columns).rowcount:
        return True
    connection.execute(_CHANGE, _key(name) | {"digest": digest})
    return False


def list_accounts(connection: Connection, after: str, limit: int | None) -> list[str]:
    """List names in order, those behind `after`."""
    rows = _NAMES.where(accounts.c.folded_name > _key(after)["sought"]) if after else _NAMES
    return list(connection.execute(rows.limit(limit)).scalars())


def drop_account(connection: Connection, name: str) -> bool:
    """Returns whether there was one."""
    return connection.execute(_DROP, _key(name)).rowcount > 0


def _key(name: str) -> dict[str, str]:
    return {"sought": key_of(fold(name))}
