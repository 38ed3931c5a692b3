"""Whose the conversations are that a back end keeps."""

from typing import Any


async def test_one_sees_ones_own_and_what_is_nobodys(store: Any) -> None:
    await store.hold("ann", "a")
    await store.hold("bob", "b")
    assert await store.held_by_others("ann") == {"b"}
    assert await store.held_by_others("eve") == {"a", "b"}
    assert [await store.may_enter("ann", id_) for id_ in ("a", "b", "nobody's", "\0\ud800")] == [
        True,
        False,
        True,
        True,
    ]


async def test_the_first_to_be_noted_keeps_it(store: Any) -> None:
    await store.hold("ann", "c")
    await store.hold("bob", "c")
    assert await store.may_enter("ann", "c")
    assert not await store.may_enter("bob", "c")
