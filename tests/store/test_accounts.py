import asyncio

import pytest


async def test_an_account(store) -> None:
    assert await store.account("Ann") is None
    assert await store.put_account("Ann", "$argon2id$one")
    assert await store.account("Ann") == "$argon2id$one"
    assert not await store.put_account("Ann", "$argon2id$two")
    assert await store.account("Ann") == "$argon2id$two"
    assert await store.accounts() == ["Ann"]
    assert await store.drop_account("Ann")
    assert not await store.drop_account("Ann")
    assert await store.account("Ann") is None
    assert await store.accounts() == []


@pytest.mark.parametrize("other", ["ANN-MARIE GROẞ", "ann-marie gross", "Ann-Marie Groß", "\uff21nn-Marie Groß"])
async def test_names_are_compared_without_case(store, other) -> None:
    await store.put_account("Ann-Marie Groß", "one")
    assert await store.account(other) == "one"
    assert not await store.put_account(other, "two")
    assert await store.accounts() == ["Ann-Marie Groß"]
    assert await store.drop_account(other)


@pytest.mark.parametrize("name", ["", "%", "_nn", "ann\0", "\ud800", "x" * 100_000, "ann'; --", "🦊"])
async def test_odd_names_are_nobodys(store, name) -> None:
    await store.put_account("ann", "one")
    assert await store.account(name) is None
    assert not await store.drop_account(name)


async def test_accounts_are_listed_by_name(store) -> None:
    for name in ("bob", "Carl", "ann"):
        await store.put_account(name, "x")
    assert await store.accounts() == ["ann", "bob", "Carl"]
    assert await store.accounts(limit=2) == ["ann", "bob"]
    assert await store.accounts("BOB", 2) == ["Carl"]
    assert await store.accounts("ann", 1) == ["bob"]
    assert await store.accounts("zoe") == await store.accounts("\x00" + "🦊" * 9) == []


async def test_one_name_at_once_is_one_account(start) -> None:
    stores = [start(str(number)) for number in range(3)]
    new = await asyncio.gather(*(stores[number % 3].put_account("ann", f"{number}") for number in range(12)))
    assert new.count(True) == 1
    assert await stores[0].accounts() == ["ann"]
