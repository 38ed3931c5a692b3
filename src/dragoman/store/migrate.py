"""Brings a database to the schema of this code. Alembic is loaded only for one that holds an older schema."""

from pathlib import Path

from sqlalchemy import Connection, text

from dragoman.faults import Misconfigured
from dragoman.store import call_tables, key_tables, share_tables  # noqa: F401 - they add tables to the metadata
from dragoman.store.schema import HEAD, REVISIONS, metadata

TABLES = tuple(metadata.sorted_tables)
"""Every table, those first that others refer to."""

_VERSIONS = "alembic_version"
_LOCK = 0x647261676F6D616E  # "dragoman"; any number that others on the same server do not use


def migrate(connection: Connection) -> None:
    """Bring the schema up to date, inside the transaction of `connection`.

    The transaction excludes others that migrate: on SQLite it must be IMMEDIATE, on PostgreSQL a lock is taken here.

    Raises:
        Misconfigured: the schema is newer than this code.
        SQLAlchemyError: the database refuses.

    """
    if _version(connection) == HEAD:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    version = _version(connection)
    if version and version not in REVISIONS:
        raise Misconfigured(
            f"the database has the schema {version!r} of a newer Dragoman; this one knows schemas up to {HEAD!r}"
        )
    if version is None:
        _create(connection)
    elif version != HEAD:
        _upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, _VERSIONS):
        return None
    version: str | None = connection.execute(text(f"SELECT version_num FROM {_VERSIONS}")).scalar()  # noqa: S608
    return version


def _create(connection: Connection) -> None:
    """Make an empty database what all migrations would: they cost a start ten times the time and the memory."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS {_VERSIONS} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text(f"INSERT INTO {_VERSIONS} (version_num) VALUES (:head)"), {"head": HEAD})  # noqa: S608


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    # Its values are templates in which a percent sign is special.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
