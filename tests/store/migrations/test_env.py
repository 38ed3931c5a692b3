"""Alembic's environment works on the connection that it is given, and on no other."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect

import dragoman.store


@pytest.fixture
def config():
    config = Config()
    config.set_main_option("script_location", str(Path(dragoman.store.__path__[0]) / "migrations"))
    return config


@pytest.fixture
def connection():
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_it_migrates_what_it_is_given(config, connection) -> None:
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    assert "threads" in inspect(connection).get_table_names()


def test_it_needs_a_connection(config) -> None:
    with pytest.raises(KeyError):
        command.upgrade(config, "head")
