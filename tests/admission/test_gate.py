import pytest

from dragoman.admission.gate import WRONG_SECRETS_A_MINUTE, Gate
from dragoman.admission.tokens import Tokens
from dragoman.faults import Forbidden, TooMany, Unauthenticated
from dragoman.people import Principal, Secret
from dragoman.ports import Mount

SECRET = "the secret that signs"
KEYS = {"right-key": Principal("me"), "ndjson-key": Principal("relay"), SECRET: Principal("master")}
KINDS = {Secret("ndjson-key").digest(): "relay", Secret(SECRET).digest(): "minted"}
PLAIN = Mount("POST", "/", lambda head: None)  # type: ignore[arg-type, return-value]
DOOR = Mount("POST", "/", PLAIN.session, door="ask")
OWN = Mount("POST", "/", PLAIN.session, own_key=True)


def gate(*doors: str, own_keys: bool = False) -> Gate:
    principals = {Secret(key).digest(): who for key, who in KEYS.items()}
    return Gate(principals, KINDS, Tokens(Secret(SECRET), b"own"), doors, own_keys=own_keys)


def test_a_good_key() -> None:
    assert gate().admit(Secret("right-key"), PLAIN).name == "me"


@pytest.mark.parametrize("claim", [None, Secret(""), Secret("  "), Secret("wrong"), Secret("right-key ")])
def test_any_other(claim: Secret | None) -> None:
    with pytest.raises(Unauthenticated):
        gate().admit(claim, PLAIN)


def test_a_door_opens_to_nobody_but_those_without_a_key() -> None:
    assert gate("ask").admit(None, DOOR).name == "anonymous"
    for claim, mount in ((None, PLAIN), (Secret("wrong"), DOOR)):
        with pytest.raises(Unauthenticated):
            gate("ask").admit(claim, mount)
    with pytest.raises(Unauthenticated):
        gate("grpc").admit(None, DOOR)


def test_a_minted_token_is_its_id() -> None:
    opened = gate()
    token = Secret(opened.mint("1000", 1, Secret(SECRET)))
    assert opened.admit(token, PLAIN).name == "token:1000"
    with pytest.raises(Unauthenticated):
        opened.admit(Secret(opened.mint("1000", -1, Secret(SECRET))), PLAIN)


def test_kinds_of_keys() -> None:
    opened = gate()
    assert opened.kin(Secret("ndjson-key")) == "relay"
    assert opened.kin(Secret(SECRET)) == "minted"
    assert opened.kin(Secret("right-key")) == ""
    # An expired token is still one of this kind, so that its refusal has the right shape.
    assert opened.kin(Secret(opened.mint("1", -1, Secret(SECRET)))) == "minted"


def test_wrong_secrets_are_counted() -> None:
    opened = gate()
    for _ in range(WRONG_SECRETS_A_MINUTE):
        with pytest.raises(Forbidden):
            opened.mint("1", 1, Secret("guess"))
    with pytest.raises(TooMany) as caught:
        opened.mint("1", 1, Secret(SECRET))
    assert 0 < caught.value.retry_after_s <= 60


def test_a_key_that_is_not_ours_is_one_for_the_provider_only_where_that_is_switched_on() -> None:
    own = Secret("sk-of-the-caller")
    principal = gate(own_keys=True).admit(own, OWN)
    assert principal.own_key is own
    assert "sk-of" not in principal.name
    assert gate(own_keys=True).admit(Secret("right-key"), OWN).own_key is None
    for opened, mount in ((gate(own_keys=True), PLAIN), (gate(), OWN)):
        with pytest.raises(Unauthenticated):
            opened.admit(own, mount)
