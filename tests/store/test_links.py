"""Links that log in once: who was first, and what is forgotten when."""

import asyncio

DAY_S = 86_400


def kept(database):
    return [row[0] for row in database.execute("SELECT id FROM used_links ORDER BY id")]


async def test_a_link_is_used_once(store, clock):
    until = clock.now + DAY_S
    assert [await store.use_link("a", until) for _ in range(3)] == [True, False, False]
    assert await store.use_link("b", until)


async def test_of_many_at_once_one_is_first(start, clock):
    store, other = start("one"), start("other")
    uses = [one.use_link("a", clock.now + DAY_S) for one in (store, other) * 10]
    assert sum(await asyncio.gather(*uses)) == 1


async def test_what_is_over_is_forgotten_when_the_next_is_used(store, database, clock):
    await store.use_link("over", clock.now + 10)
    await store.use_link("not yet", clock.now + DAY_S)
    # The clocks of others may be behind ours: for them it may still hold.
    clock.now += 10 + 300
    await store.use_link("a", clock.now + DAY_S)
    assert kept(database) == ["a", "not yet", "over"]
    assert not await store.use_link("over", clock.now)
    clock.now += 1
    await store.use_link("b", clock.now + DAY_S)
    assert kept(database) == ["a", "b", "not yet"]


async def test_an_id_may_be_any_text(store, clock):
    for id_ in ("", "\0", "\ud800", "x" * 10_000, "'; DROP TABLE used_links; --"):
        assert await store.use_link(id_, clock.now + DAY_S)
        assert not await store.use_link(id_, clock.now + DAY_S)
