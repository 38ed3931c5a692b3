import pytest

from dragoman.faults import Unauthenticated
from dragoman.people import Principal, Secret
from dragoman.relay.gate import Gate

GATE = Gate({Secret("right-key").digest(): Principal("me")})


def test_a_good_key() -> None:
    assert GATE.admit(Secret("right-key")).name == "me"


@pytest.mark.parametrize("claim", [None, Secret(""), Secret("  "), Secret("wrong"), Secret("right-key ")])
def test_any_other(claim: Secret | None) -> None:
    with pytest.raises(Unauthenticated):
        GATE.admit(claim)
