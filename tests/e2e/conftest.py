import itertools

import pytest

from gateway import free_port

numbers = itertools.count()


@pytest.fixture
def vendor(upstream):
    """A lane of the scripted upstream for one test alone."""
    return upstream.lane(f"vendor-{next(numbers)}", "openai")


@pytest.fixture
def dead_port():
    return free_port()
