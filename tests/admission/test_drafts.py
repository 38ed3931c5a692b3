"""What may be asked of a key, and what of one is shown. What is refused field by field is in `test_keysmith`."""

import msgspec
import pytest
from msgspec.structs import replace

from dragoman.admission.drafts import KeyChange, KeyDraft, ShownKey, checked, show
from dragoman.keys import Key

KEY = Key(id="k1", digest=b"d" * 32, prefix="dgk_abcd", tail="wxyz", previous=b"p" * 32, previous_until=5.0, maker="k0")


@pytest.mark.parametrize("field", ["digest", "maker", "id", "created", "prefix", "holder", "previous"])
def test_item_13_fields_that_are_the_servers_cannot_be_asked_for(field) -> None:
    for kind in (KeyDraft, KeyChange):
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            msgspec.json.decode(msgspec.json.encode({field: "x"}), type=kind)


def test_a_change_is_what_is_set_and_nothing_else() -> None:
    change = msgspec.json.decode(b'{"expires": null, "tags": ["a", "b", "a"]}', type=KeyChange)
    assert checked(change, 0.0).fields() == {"expires": None, "tags": ("a", "b")}
    assert KeyChange().fields() == {}


def test_item_15_what_is_shown_is_a_list_of_fields_per_role() -> None:
    told = msgspec.json.decode(msgspec.json.encode(show(KEY, "user", 0.0)))
    assert told == {
        "id": "k1",
        "secret": "dgk_abcd…wxyz",
        "state": "active",
        "role": "user",
        "created": 0.0,
        "previous_until": 5.0,
        "models": ["*"],
        "dialects": ["*"],
    }
    assert not {"digest", "previous", "prefix", "tail"} & set(ShownKey.__struct_fields__)
    assert (show(KEY, "admin", 0.0).maker, show(KEY, "user", 0.0).maker) == ("k0", "")


def test_the_state_of_a_key() -> None:
    assert show(replace(KEY, expires=2.0), "user", 1.0).state == "active"
    assert show(replace(KEY, expires=2.0), "user", 2.0).state == "expired"
    assert show(replace(KEY, expires=2.0, disabled=True), "user", 2.0).state == "disabled"
    assert show(KEY, "user", 5.0).previous_until is None
