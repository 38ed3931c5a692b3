"""The number of an owner's conversations is exact, whatever happens at once, and owners never see one another's."""

import asyncio
import random

import pytest
from keeping import again, ask, said, turn

from dragoman.faults import NotFound
from dragoman.store.rows import key_of
from dragoman.threads import Chronicle


async def exact(store, owner="ann"):
    """Return the number that is kept, having counted."""
    shelf = await store.shelf(owner, 0, 10_000)
    assert shelf.total == len(shelf.threads)
    return shelf.total


async def test_many_at_once(start) -> None:
    stores = [start(str(number)) for number in range(3)]
    chance = random.Random(5)
    doomed = [await turn(stores[0]) for _ in range(12)]
    work = [stores[number % 3].begin(ask()) for number in range(12)]
    work += [stores[number % 3].drop("ann", place.thread.id) for number, place in enumerate(doomed * 2)]
    work += [stores[number % 3].adopt("ann", [Chronicle("a", []), Chronicle("b", [])]) for number in range(6)]
    work += [stores[number % 3].first("ann") for number in range(6)]
    chance.shuffle(work)
    results = await asyncio.gather(*work, return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    assert [type(fault) for fault in failed] == [NotFound] * 12
    assert await exact(stores[0]) in (24, 25)


async def test_dropping_all_while_others_add(start) -> None:
    stores = [start(str(number)) for number in range(3)]
    for _ in range(5):
        work = [stores[number % 3].begin(ask(owner="ann")) for number in range(9)]
        work += [store.drop("ann", "") for store in stores]
        await asyncio.gather(*work)
        await exact(stores[0])
    await stores[0].drop("ann", "")
    assert await exact(stores[0]) == 0


async def test_dropping_all_while_others_answer(start) -> None:
    """The rows are locked in one order, so that nobody waits for whom he holds up."""
    one, two = start("one"), start("two")
    for _ in range(4):
        places = [await one.begin(ask()) for _ in range(8)]
        kept = [one.keep([(place, ()) for place in places]) for _ in range(4)]
        ended = [one.end(place, "complete", ()) for place in places]
        await asyncio.gather(*kept, two.drop("ann", ""), *ended, two.drop("ann", ""))
        assert await exact(one) == 0


OWNERS = ["ann", "Ann", "bob", "", "a%", "_nn", "ann\0", "\0ann", "\ud800", "x" * 10_000, "x" * 9_999, "sha256:", "🦊"]
OWNERS.append(key_of("x" * 10_000))


async def test_no_two_owners_are_one(store) -> None:
    for number, owner in enumerate(OWNERS):
        await store.adopt(owner, [Chronicle(f"{number}", [])])
    for number, owner in enumerate(OWNERS):
        shelf = await store.shelf(owner, 0, 10)
        assert [(thread.title, thread.owner) for thread in shelf.threads] == [(f"{number}", owner)]
        assert await store.thread(owner, shelf.threads[0].id) == shelf.threads[0]
        assert shelf.total == 1
    await store.drop("ann", "")
    assert [(await store.shelf(owner, 0, 10)).total for owner in OWNERS] == [0] + [1] * (len(OWNERS) - 1)


async def test_what_another_has_is_not_found(store) -> None:
    """And cannot be told from what nobody has."""
    hers = await turn(store, "hers", "HERS", owner="ann")
    id_ = hers.thread.id
    before = await store.story("ann", id_)
    attempts = [
        lambda i, m: store.thread("bob", i),
        lambda i, m: store.story("bob", i),
        lambda i, m: store.rename("bob", i, "mine"),
        lambda i, m: store.drop("bob", i),
        lambda i, m: store.begin(ask(owner="bob", thread=i)),
        lambda i, m: store.begin(ask(owner="bob", thread=i, parent=m)),
        lambda i, m: store.begin(ask(owner="bob", parent=m)),
        lambda i, m: store.begin(again(owner="bob", parent=m)),
        lambda i, m: store.shelf("bob", 0, 10, before=i),
    ]
    nobodys = await turn(store, owner="ann")
    await store.drop("ann", nobodys.thread.id)
    for attempt in attempts:
        told = []
        for place in (hers, nobodys):
            with pytest.raises(NotFound) as raised:
                await attempt(place.thread.id, place.answer)
            told.append((raised.value.message, raised.value.field, raised.value.detail))
        assert told[0] == told[1]
    await store.drop("bob", "")
    assert await store.story("ann", id_) == before
    assert (await store.shelf("bob", 0, 10, "hers")).threads == []


async def test_a_busy_conversation_of_another_is_not_found(store) -> None:
    hers = await store.begin(ask(owner="ann"))
    with pytest.raises(NotFound):
        await store.begin(ask(owner="bob", thread=hers.thread.id))


async def test_a_parent_of_ones_own_does_not_open_anothers_conversation(store) -> None:
    hers = await turn(store, "hers", "HERS", owner="ann")
    his = await turn(store, "his", "HIS", owner="bob")
    with pytest.raises(NotFound):
        await store.begin(ask(owner="bob", thread=his.thread.id, parent=hers.answer))
    with pytest.raises(NotFound):
        await store.begin(ask(owner="bob", thread=hers.thread.id, parent=his.answer))
    assert said((await store.begin(ask("on", owner="bob", parent=his.answer))).history) == ["his", "HIS", "on"]
