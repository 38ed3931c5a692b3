"""Every fault is tried for each caller's dialect and each kind of provider behind it."""

import pytest
from rawcalls import DIALECTS

from upstream import KINDS


@pytest.fixture(params=list(DIALECTS))
def caller(request):
    return DIALECTS[request.param]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def lane(house, kind):
    """A fresh provider of the module's gateway."""
    return house.lane(kind)
