import itertools

import pytest
from callers import Async, Sync
from model import Model

ECHOES = 24


@pytest.fixture(scope="module")
def house(start_house):
    """One gateway for a file. Its many providers are each broken once at most, as failures make it rest them."""
    echoes = [{"name": name, "kind": "echo"} for name in ("echo", *(f"echo-{n}" for n in range(ECHOES)))]
    parrot = {"name": "parrot", "targets": [{"provider": "echo", "model": "echo", "weight": 1}]}
    return start_house(slots=32, providers=echoes, models=[parrot])


@pytest.fixture(scope="module")
def gateway(house):
    return house.gateway


@pytest.fixture(scope="module")
def strict_gateway(start_gateway):
    """No provider here serves every name, so that a name can be unknown."""
    return start_gateway(
        """
        [server]
        grpc_port = 0
        websocket_port = 0
        [auth]
        keys = ["test-key"]
        [[providers]]
        name = "echo"
        kind = "echo"
        [[models]]
        name = "parrot"
        targets = [{ provider = "echo", model = "echo" }]
        """
    )


@pytest.fixture
def callers():
    """Make a caller of a client class of a package; without the package's own retries, which hide errors."""
    made = []

    def make(kind, base_url):
        client = kind(base_url=base_url, api_key="test-key", max_retries=0, timeout=20)
        made.append(Async(client) if kind.__name__.startswith("Async") else Sync(client))
        return made[-1]

    yield make
    for caller in made:
        caller.close()


@pytest.fixture(scope="module")
def shared(house):
    return {kind: house.lane(kind) for kind in ("openai", "anthropic")}


@pytest.fixture
def models(shared):
    """Models that nobody breaks."""
    return lambda kind: Model(shared[kind])


@pytest.fixture
def fresh_models(house):
    """Models that may be broken."""
    return lambda kind: Model(house.lane(kind))


@pytest.fixture(scope="module")
def unused_echoes():
    return itertools.count()


@pytest.fixture
def fresh_echo(unused_echoes):
    return f"echo-{next(unused_echoes)}"


@pytest.fixture
def busy_model(fresh_echo):
    return f"{fresh_echo}/echo-busy"


@pytest.fixture
def failing_model(fresh_echo):
    return f"{fresh_echo}/echo-fail"


@pytest.fixture
def truncating_model(fresh_echo):
    return f"{fresh_echo}/echo-truncate"
