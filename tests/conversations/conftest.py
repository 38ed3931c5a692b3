"""A gateway with two scripted providers and every listener, shared by the tests of one file."""

import itertools
import sys
from pathlib import Path

import pytest

# The clients of system C are written once, beside its tests; so is the way to run a real PostgreSQL.
sys.path += [str(Path(__file__).parent.parent / folder) for folder in ("legacy", "store")]

from c_clients import started_relay
from postgres import Postgres


@pytest.fixture(scope="module")
def relay(upstream, tmp_path_factory):
    yield from started_relay(upstream, tmp_path_factory)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def relay_on_either(request, upstream, tmp_path_factory, url_of):
    """For tests to which it matters where conversations are kept."""
    yield from started_relay(upstream, tmp_path_factory, store={"url": url_of(request.param)})


@pytest.fixture
def lane(relay):
    """The upstream of the default model, with nothing asked yet; it answers `first answer 1`, …"""
    return relay.fresh().first


@pytest.fixture(scope="session")
def postgres():
    running = Postgres()
    yield running
    running.remove()


@pytest.fixture(scope="session")
def url_of(request):
    """An empty database of a kind, as `[store] url`."""
    numbers = itertools.count()

    def make(kind):
        if kind == "sqlite":
            return ""
        name = f"conversations_{next(numbers)}"
        server = request.getfixturevalue("postgres")
        server.execute(f"CREATE SCHEMA {name}")
        return server.url(f"-csearch_path={name}")

    return make
