from typing import get_args

import pytest
from msgspec import UNSET

from dragoman import errands, intents
from dragoman.errands import FreshKey, KeyFields
from dragoman.keys import Key
from dragoman.people import Secret


def test_only_what_is_said_is_given_and_none_is_something_said():
    assert KeyFields().given() == {}
    assert KeyFields(name="", expires=None, disabled=False).given() == {"name": "", "expires": None, "disabled": False}
    assert KeyFields(name="ci").budget is UNSET


@pytest.mark.parametrize("kind", get_args(errands.Errand), ids=lambda kind: kind.__name__)
def test_every_errand_is_a_wish(kind):
    assert kind in get_args(intents.Wish)


def test_a_fresh_secret_is_not_seen_by_chance():
    assert "dgk_secret-text" not in repr(FreshKey(Key(id="k"), Secret("dgk_secret-text")))
