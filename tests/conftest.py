"""What every test may use: the scripted upstream and a way to start gateways."""

import pytest

from gateway import Gateway, House
from upstream import Upstream


def pytest_addoption(parser):
    parser.addoption("--screens", action="store_true", help="renew the pictures of the page in docs/screens")


@pytest.fixture(scope="session")
def upstream():
    running = Upstream()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def start_gateway(tmp_path_factory):
    """Start a gateway with a configuration; it ends with the module."""
    started = []

    def start(config):
        started.append(Gateway(config, tmp_path_factory.mktemp("gateway")))
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()


@pytest.fixture(scope="module")
def start_house(upstream, tmp_path_factory):
    """Start a gateway whose providers are lanes of the upstream; it ends with the module."""
    started = []

    def start(**settings):
        started.append(House(upstream, tmp_path_factory.mktemp("house"), **settings))
        return started[-1]

    yield start
    for house in started:
        house.stop()
