"""Relays. One with everything on serves most tests; each test takes an owner (a minted token's id) and upstream
lanes of its own, so that none sees what another left.
"""

import pytest
from relays import AUTHORIZATION_KEY, SECRET_KEY, Relay

from gateway import House
from upstream import stream


@pytest.fixture(scope="session")
def start_relay(upstream, tmp_path_factory):
    """Start a relay; it ends with the session."""
    started = []

    def start(environment, /, **sections):
        started.append(Relay(upstream, tmp_path_factory.mktemp("relay"), environment, **sections))
        return started[-1]

    yield start
    for relay in started:
        relay.gateway.terminate()
    for relay in started:
        relay.stop()


@pytest.fixture(scope="session")
def relay(start_relay):
    """Everything on, every legacy secret set, no door open to callers without a key."""
    return start_relay({"SECRET_KEY": SECRET_KEY, "AUTHORIZATION_KEY": AUTHORIZATION_KEY}, slots=48)


@pytest.fixture(scope="session")
def told(upstream, start_relay):
    """A relay whose default model is a lane of the upstream, `told.model_lane`: it shows what a model is told."""
    lane = upstream.lane("told", "openai")
    environment = {"SECRET_KEY": SECRET_KEY, "AUTHORIZATION_KEY": AUTHORIZATION_KEY}
    running = start_relay(environment, slots=0, providers=[House.provider(lane)], server={"default_model": "told/m"})
    running.model_lane = lane
    return running


@pytest.fixture
def model_lane(told):
    """The lane of `told`, with nothing asked yet. It answers `answer 1`, `answer 2`, … unless told otherwise."""
    lane = told.model_lane
    lane.requests.clear()
    return lane.always(lambda request: stream(lane.speaker.events(["answer ", str(len(lane.requests))])))


@pytest.fixture
def lane(relay):
    return relay.shared_lane()


@pytest.fixture
def fresh_lane(relay):
    return relay.fresh_lane()


@pytest.fixture
def token(relay):
    return relay.owner()


@pytest.fixture(scope="session")
def open_relay(start_relay):
    """No legacy secret at all, written as empty; only the NDJSON door is open to callers without a key."""
    empty = {"SECRET_KEY": "", "AUTHORIZATION_KEY": ""}
    return start_relay(empty, slots=4, auth={"anonymous": ["relay"]})


@pytest.fixture(scope="session")
def brisk_relay(start_relay):
    """Little patience with silence, and small bodies only. No key for system D, and its door is shut."""
    environment = {"SECRET_KEY": SECRET_KEY, "AUTHORIZATION_KEY": ""}
    return start_relay(environment, slots=8, server={"max_body_bytes": 1_000_000}, upstream={"quiet_s": 0.2})
