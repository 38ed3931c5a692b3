import pytest
from operators import House


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Start a gateway with sections of a configuration; it ends with the module."""
    started = []

    def start_(**sections):
        started.append(House(tmp_path_factory.mktemp("operators"), **sections))
        return started[-1]

    yield start_
    for house in started:
        house.stop()
