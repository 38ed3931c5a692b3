"""A gateway of its own for each module, whose one provider is a lane of the scripted upstream with a known price."""

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

# The way to run a real PostgreSQL is written once, beside the tests of the store.
sys.path.append(str(Path(__file__).parent.parent / "store"))

from paying import ATTEMPTS, HASH_KEY, PRICE
from postgres import Postgres

from gateway import CREDENTIALS, Gateway
from upstream import unary

numbers = itertools.count()


def _config(lane, sections):
    tree = {
        "server": {"grpc_port": 0, "websocket_port": 0},
        "auth": {"keys": ["test-key"]},
        "log": {"requests": "all"},
        "upstream": ATTEMPTS,
        "prices": [PRICE],
        "providers": [
            {
                "name": "paid",
                "kind": lane.kind,
                "base_url": lane.base_url,
                "credentials": CREDENTIALS[:1],
                "models": ["m"],
            }
        ],
    }
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values} if isinstance(values, dict) else values
    return tree


@pytest.fixture
def opened(upstream, tmp_path):
    """Open a gateway; it ends with the test. Its lane answers every unary call with 25 and 7 tokens."""
    running = []

    def start(kind="openai", folder=tmp_path, **sections):
        lane = upstream.lane(f"paid-{next(numbers)}", kind)
        lane.always(unary(lane.speaker.whole("hello")))
        gateway = Gateway(_config(lane, sections), folder)
        gateway.folder, gateway.lane = folder, lane
        running.append(gateway)
        return gateway

    yield start
    for gateway in running:
        gateway.stop()


@pytest.fixture(scope="module")
def opened_for_all(upstream, tmp_path_factory):
    """Open gateways that all tests of a module share, one of a kind; each test takes keys of its own."""
    running = {}

    def start(kind="openai", **sections):
        if kind not in running:
            lane = upstream.lane(f"paid-{next(numbers)}", kind)
            lane.always(unary(lane.speaker.whole("hello")))
            folder = tmp_path_factory.mktemp("paid")
            gateway = running[kind] = Gateway(_config(lane, sections), folder)
            gateway.folder, gateway.lane = folder, lane
        return running[kind]

    yield start
    for gateway in running.values():
        gateway.stop()


@pytest.fixture(scope="module")
def opened_once(upstream, tmp_path_factory):
    """A gateway that all tests of a module share."""
    lane = upstream.lane(f"paid-{next(numbers)}", "openai")
    lane.always(unary(lane.speaker.whole("hello")))
    folder = tmp_path_factory.mktemp("paid")
    gateway = Gateway(_config(lane, {}), folder)
    gateway.folder, gateway.lane = folder, lane
    yield gateway
    gateway.stop()


@pytest.fixture(scope="session")
def postgres():
    running = Postgres()
    yield running
    running.remove()


@pytest.fixture(scope="session")
def new_url(postgres):
    """Make an empty database, as `[store] url`."""

    def make():
        schema = f"money_{next(numbers)}"
        postgres.execute(f"CREATE SCHEMA {schema}")
        return postgres.url(f"-csearch_path={schema}")

    return make


@pytest.fixture
def url(new_url):
    return new_url()


@pytest.fixture(scope="module")
def fleet(upstream, tmp_path_factory, new_url):
    """Three gateways on one PostgreSQL and one lane, each with a data folder of its own; all tests share them."""
    lane = upstream.lane(f"paid-{next(numbers)}", "openai")
    sections = {"store": {"url": new_url()}, "auth": {"keys": ["test-key"], "hash_key": HASH_KEY}}

    def start(folder):
        gateway = Gateway(_config(lane, sections), folder)
        gateway.folder, gateway.lane, gateway.store_url = folder, lane, sections["store"]["url"]
        return gateway

    with ThreadPoolExecutor() as threads:
        running = list(threads.map(start, [tmp_path_factory.mktemp("process") for _ in range(3)]))
    yield running
    for gateway in running:
        gateway.stop()
