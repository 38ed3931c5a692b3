"""The mirror of keys: what a secret stands for, and how soon a change is seen. On a real store."""

import asyncio
import logging

import pytest
from keeping_keys import HASH_KEY, Clock, Office
from msgspec.structs import replace

from dragoman.admission import directory as module
from dragoman.admission.directory import DENIED, MOST_BUILT, MOST_MAKERS
from dragoman.admission.hashing import hashed
from dragoman.faults import Misconfigured, StoreFailed
from dragoman.keys import Key, Team
from dragoman.people import Secret
from dragoman.standing import Budget, Holder, Limits


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def start(tmp_path, clock):
    offices = []

    def start_(**options):
        offices.append(Office(tmp_path, clock, **options))
        return offices[-1]

    yield start_
    for office in offices:
        office.store.close()


@pytest.fixture
def office(start):
    return start()


def key_for(secret: str, id_: str, **fields) -> Key:
    return Key(id=id_, digest=hashed(Secret(secret), HASH_KEY), **fields)


async def put(office, *keys: Key, is_new: bool = True) -> None:
    for key in keys:
        assert await office.keyring.put_key(key, is_new=is_new)
    await office.directory.refresh()


async def test_a_key_is_its_principal(office) -> None:
    limits, budget = Limits(parallel=2), Budget(5, "day")
    await office.keyring.put_team(Team(name="red", limits=Limits(requests_per_day=9)))
    key = key_for(
        "s", "k1", team="red", tags=("a", "b"), role="admin", models=("gpt-*",), dialects=("openai",), limits=limits,
        budget=budget, keeps_content=True, priority=3, expires=2e9,
    )  # fmt: skip
    await put(office, key)
    found = office.directory.find(Secret("s"))
    assert found is not None
    assert (found.name, found.key, found.team, found.tags, found.role) == ("key:k1", "k1", "red", ("a", "b"), "admin")
    assert (found.models, found.dialects, found.expires) == (("gpt-*",), ("openai",), 2e9)
    assert (found.keeps_content, found.priority) == (True, 3)
    assert found.holders == (Holder("key:k1", limits, budget), Holder("team:red", Limits(requests_per_day=9)))
    assert found.may_use("gpt-5")
    assert not found.may_use("claude")
    assert len(office.directory) == 1


@pytest.mark.parametrize("shown", ["", " ", "s ", "S", "t", "x" * 100_000, "\ud800", "ключ", "\0"])
async def test_item_5_only_the_full_digest_finds_a_key(office, shown) -> None:
    await put(office, key_for("s", "k1"))
    assert office.directory.find(Secret(shown)) is None


async def test_item_5_wrong_keys_are_not_remembered(office) -> None:
    await put(office, key_for("s", "k1"))
    office.directory.find(Secret("s"))
    for number in range(100):
        office.directory.find(Secret(f"wrong{number}"))
    assert len(office.directory._built) == 1


async def test_item_5_what_is_kept_ready_is_bounded(office, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_BUILT", 4)
    await put(office, *(key_for(f"s{number}", f"k{number}") for number in range(12)))
    for number in (*range(12), *range(12)):
        found = office.directory.find(Secret(f"s{number}"))
        assert found is not None
        assert found.key == f"k{number}"
        assert len(office.directory._built) <= 4
    assert MOST_BUILT > 4


async def test_an_expired_key_is_nobodys(office, clock) -> None:
    await put(office, key_for("s", "k1", expires=clock.now + 10))
    clock.now += 9.999
    assert office.directory.find(Secret("s"))
    clock.now += 0.001
    assert office.directory.find(Secret("s")) is None


async def test_the_previous_secret_holds_until_its_overlap_is_over(office, clock) -> None:
    key = key_for("new", "k1", previous=hashed(Secret("old"), HASH_KEY), previous_until=clock.now + 5)
    await put(office, key)
    assert office.directory.find(Secret("old")) == office.directory.find(Secret("new"))
    clock.now += 5
    assert office.directory.find(Secret("old")) is None
    assert office.directory.find(Secret("new"))


async def test_a_disabled_and_a_deleted_key_are_nobodys(office) -> None:
    one, two = key_for("s1", "k1"), key_for("s2", "k2")
    await put(office, one, two)
    assert office.directory.find(Secret("s1"))
    await put(office, replace(one, disabled=True), is_new=False)
    assert office.directory.find(Secret("s1")) is None
    assert await office.keyring.drop_key("k2")
    await office.directory.refresh()
    assert office.directory.find(Secret("s2")) is None
    await put(office, one, is_new=False)
    assert office.directory.find(Secret("s1"))
    assert len(office.directory) == 1


async def test_a_replaced_secret_is_forgotten(office) -> None:
    await put(office, key_for("old", "k1"))
    await put(office, key_for("new", "k1"), is_new=False)
    assert office.directory.find(Secret("old")) is None
    assert office.directory.find(Secret("new"))
    assert len(office.directory._mirror.ids) == 1


async def test_item_6_a_revocation_is_seen_by_another_process_after_one_refresh(start) -> None:
    here, there = start(), start()
    await put(here, key_for("s", "k1"))
    await there.directory.load()
    assert there.directory.find(Secret("s"))
    await put(here, key_for("s", "k1", disabled=True), is_new=False)
    await there.directory.refresh()
    assert there.directory.find(Secret("s")) is None


async def test_item_6_the_task_sees_a_revocation_by_itself(start, monkeypatch) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 0.001)
    assert module.REFRESH_S < 1
    here, there = start(), start()
    await put(here, key_for("s", "k1"))
    await there.directory.load()
    seen = asyncio.Event()
    monkeypatch.setattr(there.directory, "_drop_built", lambda drop=there.directory._drop_built: (drop(), seen.set()))
    task = asyncio.create_task(there.directory.run())
    assert await here.keyring.drop_key("k1")
    async with asyncio.timeout(5):
        await seen.wait()
    assert there.directory.find(Secret("s")) is None
    task.cancel()


async def test_item_16_a_derived_key_has_the_least_of_its_chain(office, clock) -> None:
    await office.keyring.put_team(Team(name="red", budget=Budget(7)))
    top = key_for("top", "k0", models=("gpt-*",), dialects=("openai",), expires=clock.now + 5, team="red", priority=1)
    middle = key_for("middle", "k1", maker="k0", role="admin", limits=Limits(parallel=1), keeps_content=True)
    bottom = key_for("bottom", "k2", maker="k1", role="admin", keeps_content=True, expires=clock.now + 9, priority=4)
    await put(office, top, middle, bottom)
    found = office.directory.find(Secret("bottom"))
    assert found is not None
    assert (found.role, found.keeps_content, found.priority, found.expires) == ("user", False, 0, clock.now + 5)
    assert [holder.name for holder in found.holders] == ["key:k2", "key:k1", "key:k0", "team:red"]
    assert found.holders[1].limits == Limits(parallel=1)
    assert found.holders[3].budget == Budget(7)
    assert (found.may_use("gpt-5"), found.may_use("claude")) == (True, False)
    assert (found.may_enter("openai"), found.may_enter("ollama")) == (True, False)
    clock.now += 5
    assert office.directory.find(Secret("bottom")) is None


@pytest.mark.parametrize("end", ["disable", "delete", "expire"])
async def test_item_16_with_its_maker_ends_what_it_made(office, clock, end) -> None:
    top, middle, bottom = key_for("t", "k0"), key_for("m", "k1", maker="k0"), key_for("b", "k2", maker="k1")
    await put(office, top, middle, bottom)
    assert office.directory.find(Secret("b"))
    if end == "delete":
        await office.keyring.drop_key("k0")
        await office.directory.refresh()
    else:
        changed = {"disabled": True} if end == "disable" else {"expires": clock.now}
        await put(office, replace(top, **changed), is_new=False)
    assert office.directory.find(Secret("m")) is None
    assert office.directory.find(Secret("b")) is None


async def test_item_16_a_change_of_a_maker_or_team_holds_at_once_for_what_it_made(office) -> None:
    await office.keyring.put_team(Team(name="red"))
    top, child = key_for("t", "k0", team="red"), key_for("c", "k1", maker="k0")
    await put(office, top, child)
    before = office.directory.find(Secret("c"))
    generation = office.directory.generation
    await office.keyring.put_team(Team(name="red", limits=Limits(parallel=1)))
    await put(office, replace(top, models=("gpt",), limits=Limits(parallel=2)), is_new=False)
    after = office.directory.find(Secret("c"))
    assert before is not None
    assert after is not None
    assert (before.may_use("claude"), after.may_use("claude")) == (True, False)
    assert [holder.limits.parallel for holder in after.holders] == [None, 2, 1]
    assert office.directory.generation > generation


async def test_a_chain_longer_than_can_be_made_is_nobodys(office) -> None:
    keys = [key_for(f"s{n}", f"k{n}", maker=f"k{n - 1}" if n else "") for n in range(MOST_MAKERS + 2)]
    await put(office, *keys)
    assert office.directory.find(Secret(f"s{MOST_MAKERS}"))
    assert office.directory.find(Secret(f"s{MOST_MAKERS + 1}")) is None


async def test_keys_that_made_one_another_are_nobodys(office) -> None:
    await put(office, key_for("a", "k0", maker="k1"), key_for("b", "k1", maker="k0"))
    assert office.directory.find(Secret("a")) is None


async def test_a_row_for_a_principal(office, clock) -> None:
    ann = Key(id="k1", principal="user:ann", limits=Limits(parallel=1), expires=clock.now + 5)
    await put(office, ann)
    found = office.directory.named("user:ann")
    assert found not in (None, DENIED)
    assert (found.name, found.key, found.holders) == ("user:ann", "k1", (Holder("user:ann", Limits(parallel=1)),))
    assert office.directory.named("user:eve") is None
    assert office.directory.find(Secret("user:ann")) is None
    clock.now += 5
    assert office.directory.named("user:ann") is DENIED
    await put(office, replace(ann, expires=None, disabled=True), is_new=False)
    assert office.directory.named("user:ann") is DENIED
    await office.keyring.drop_key("k1")
    await office.directory.refresh()
    assert office.directory.named("user:ann") is None


async def test_nothing_new_costs_one_question(office, monkeypatch) -> None:
    await put(office, key_for("s", "k1"))
    asked, ask, generation = [], office.keyring.changes, office.directory.generation
    monkeypatch.setattr(office.keyring, "changes", lambda after: asked.append(after) or ask(after))
    await office.directory.refresh()
    assert len(asked) == 1
    assert office.directory.generation == generation


async def test_another_hash_key_is_refused_at_the_start(start) -> None:
    await start().directory.load()
    await start(hash_key=bytes(32)).directory.load()
    await put(start(), key_for("s", "k1"))
    await start(hash_key=bytes(32)).directory.load()
    with pytest.raises(Misconfigured, match="another hash key"):
        await start().directory.load()


async def test_an_earlier_state_of_the_store_is_read_anew(office) -> None:
    await put(office, key_for("s1", "k1"))
    await put(office, key_for("s2", "k2"))
    office.execute("DELETE FROM keys WHERE id = 'k2'")
    office.execute("UPDATE facts SET value = '1' WHERE name = 'keys.seq'")
    await office.directory.refresh()
    assert office.directory.find(Secret("s1"))
    assert office.directory.find(Secret("s2")) is None


async def test_while_the_store_fails_what_is_known_holds_and_one_line_says_so(office, monkeypatch, caplog) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 0.001)
    await put(office, key_for("s", "k1"))
    ask, failures, has_failed = office.keyring.changes, 0, asyncio.Event()

    async def fail(after):
        nonlocal failures
        failures += 1
        if failures > 5:
            has_failed.set()
            return await ask(after)
        raise StoreFailed(detail="it is away")

    monkeypatch.setattr(office.keyring, "changes", fail)
    caplog.set_level(logging.WARNING)
    task = asyncio.create_task(office.directory.run())
    async with asyncio.timeout(5):
        await has_failed.wait()
        assert office.directory.find(Secret("s"))
        while "seen again" not in caplog.text:
            await asyncio.sleep(0)
    task.cancel()
    assert caplog.text.count("it is away") == 1
