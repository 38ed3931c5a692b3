"""The steps between schemas, together, make the tables that the code uses, and which a new database gets at once."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from dragoman.store import migrate as module
from dragoman.store.database import open_database
from dragoman.store.schema import metadata


@pytest.fixture
def connection(database):
    opened = open_database(database.url, database.folder)
    with opened.writer.begin() as connection:
        module._upgrade(connection)
        yield connection
    opened.close()


def test_the_tables_are_those_of_the_code(connection) -> None:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    assert compare_metadata(context, metadata) == []


def test_the_condition_of_an_index_is_that_of_the_code(connection) -> None:
    """Which the comparison does not see."""
    if connection.dialect.name == "sqlite":
        query = "SELECT sql FROM sqlite_master WHERE name = 'threads_leased'"
    else:
        query = "SELECT indexdef FROM pg_indexes WHERE indexname = 'threads_leased' AND schemaname = current_schema()"
    made = connection.exec_driver_sql(query).scalar_one()
    condition = made.partition(" WHERE ")[2]
    assert condition.strip("()").replace("::text", "") in ("run != ''", "run <> ''")
