"""Who may make, see and change which keys. On a real store."""

import pytest
from keeping_keys import Clock, Office

from dragoman.admission.directory import MOST_MAKERS
from dragoman.admission.drafts import KeyChange, KeyDraft
from dragoman.faults import Forbidden, NotFound
from dragoman.keys import Team
from dragoman.people import MASTER, Principal
from dragoman.standing import MOST, Budget, Limits

DAY_S = 86_400.0


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


@pytest.fixture
def smith(office):
    return office.smith


async def made(office, maker=MASTER, **fields) -> tuple[str, Principal]:
    """Make a key; return its id and whoever shows its secret."""
    key, secret = await office.smith.create(KeyDraft(**fields), maker)
    return key.id, office.maker(secret)


@pytest.mark.parametrize("nobody", [Principal("key:static"), Principal("user:ann"), Principal("anonymous")])
async def test_item_13_who_has_no_stored_key_and_is_no_administrator_may_nothing(office, nobody) -> None:
    id_, _ = await made(office)
    with pytest.raises(Forbidden):
        await office.smith.create(KeyDraft(), nobody)
    for act in (
        lambda: office.smith.key(id_, nobody),
        lambda: office.smith.change(id_, KeyChange(name="x"), nobody),
        lambda: office.smith.rotate(id_, 0, nobody),
        lambda: office.smith.delete(id_, nobody),
    ):
        with pytest.raises(NotFound):
            await act()
    assert await office.smith.keys(nobody) == []
    assert await office.smith.teams(nobody) == []
    with pytest.raises(Forbidden):
        await office.smith.put_team(Team(name="red"), nobody)


OWN = [
    {"role": "admin"},
    {"budget": Budget(MOST)},
    {"budget": None},
    {"limits": Limits()},
    {"models": ("*",)},
    {"dialects": ("*",)},
    {"owner": "me"},
    {"team": ""},
    {"tags": ()},
    {"expires": None},
    {"keeps_content": True},
    {"priority": 9},
    {"disabled": False},
]


@pytest.mark.parametrize("role", ["user", "admin"])
@pytest.mark.parametrize("fields", OWN)
async def test_item_13_a_key_cannot_change_its_own_rights(office, fields, role) -> None:
    id_, me = await made(office, role=role, budget=Budget(1), limits=Limits(parallel=1), models=("a",))
    before = await office.smith.key(id_, MASTER)
    with pytest.raises(Forbidden) as caught:
        await office.smith.change(id_, KeyChange(**fields), me)
    assert caught.value.field == next(iter(fields))
    assert await office.smith.key(id_, MASTER) == before


async def test_a_key_may_rename_rotate_disable_and_delete_itself(office) -> None:
    id_, me = await made(office)
    assert (await office.smith.change(id_, KeyChange(name="mine"), me)).name == "mine"
    _, secret = await office.smith.rotate(id_, 0, me)
    assert office.maker(secret).key == id_
    await office.smith.change(id_, KeyChange(disabled=True), me)
    assert office.directory.find(secret) is None
    await office.smith.delete(id_, me)
    with pytest.raises(NotFound):
        await office.smith.key(id_, MASTER)


async def test_users_see_what_is_below_them_and_nothing_else(office) -> None:
    mine, me = await made(office)
    other, _ = await made(office)
    child, child_me = await made(office, maker=me)
    grandchild, _ = await made(office, maker=child_me)
    assert [key.id for key in await office.smith.keys(me)] == [child]
    assert [key.id for key in await office.smith.keys(me, made_by=child)] == [grandchild]
    assert {key.id for key in await office.smith.keys(MASTER)} == {mine, other, child, grandchild}
    assert {(await office.smith.key(id_, me)).id for id_ in (mine, child, grandchild)} == {mine, child, grandchild}
    for stranger, hidden in ((me, other), (child_me, mine)):
        for act in (
            lambda who=stranger, id_=hidden: office.smith.key(id_, who),
            lambda who=stranger, id_=hidden: office.smith.keys(who, made_by=id_),
            lambda who=stranger, id_=hidden: office.smith.change(id_, KeyChange(name="x"), who),
            lambda who=stranger, id_=hidden: office.smith.rotate(id_, 0, who),
            lambda who=stranger, id_=hidden: office.smith.delete(id_, who),
        ):
            with pytest.raises(NotFound):
                await act()
    await office.smith.delete(grandchild, me)
    with pytest.raises(NotFound):
        await office.smith.key(grandchild, MASTER)


BEYOND = [
    ({"role": "admin"}, "role"),
    ({"principal": "user:ann"}, "principal"),
    ({"team": "blue"}, "team"),
    ({"models": ("*",)}, "models"),
    ({"models": ("gpt-5*",)}, "models"),
    ({"models": ("claude",)}, "models"),
    ({"models": ("gpt-5", "claude")}, "models"),
    ({"dialects": ("*",)}, "dialects"),
    ({"dialects": ("[o]penai",)}, "dialects"),
    ({"expires": 1_700_000_000.0 + 2 * DAY_S}, "expires"),
    ({"keeps_content": True}, "keeps_content"),
    ({"priority": 1}, "priority"),
]


@pytest.mark.parametrize(("fields", "place"), BEYOND)
async def test_item_16_a_derived_key_never_has_more_than_its_maker(office, clock, fields, place) -> None:
    for team in ("red", "blue"):
        await office.smith.put_team(Team(name=team), MASTER)
    expires = clock.now + DAY_S
    own = {"team": "red", "models": ("gpt-*",), "dialects": ("openai",), "expires": expires}
    id_, me = await made(office, **own)
    with pytest.raises(Forbidden) as caught:
        await office.smith.create(KeyDraft(**fields), me)
    assert caught.value.field == place
    child, _ = await made(office, maker=me)
    if place != "principal":
        with pytest.raises(Forbidden) as caught:
            await office.smith.change(child, KeyChange(**fields), me)
        assert caught.value.field == place
    assert [key.id for key in await office.smith.keys(me)] == [child]
    kept = await office.smith.key(child, MASTER)
    assert (kept.maker, kept.team, kept.models, kept.dialects, kept.expires) == (
        id_, "red", ("gpt-*",), ("openai",), expires,
    )  # fmt: skip


async def test_item_16_a_derived_key_cannot_outlive_its_maker_by_a_change(office, clock) -> None:
    _, me = await made(office, expires=clock.now + DAY_S)
    child, _ = await made(office, maker=me, expires=clock.now + 5)
    for expires in (None, clock.now + DAY_S + 1):
        with pytest.raises(Forbidden):
            await office.smith.change(child, KeyChange(expires=expires), me)
    assert (await office.smith.change(child, KeyChange(expires=clock.now + DAY_S), me)).expires == clock.now + DAY_S


async def test_item_16_what_is_within_the_makers_rights_is_given(office) -> None:
    _, me = await made(office, models=("gpt-*", "claude"), priority=3, keeps_content=True)
    child, who = await made(
        office, maker=me, models=("gpt-5", "claude"), limits=Limits(parallel=10**6), budget=Budget(MOST), priority=-1
    )
    assert (who.may_use("gpt-5"), who.may_use("gpt-4")) == (True, False)
    assert [holder.name for holder in who.holders] == [f"key:{child}", f"key:{me.key}"]
    assert (await office.smith.change(child, KeyChange(models=("gpt-*",)), me)).models == ("gpt-*",)


async def test_item_16_keys_make_keys_a_bounded_number_of_times(office) -> None:
    _, who = await made(office)
    for _ in range(MOST_MAKERS - 1):
        _, who = await made(office, maker=who)
    with pytest.raises(Forbidden):
        await office.smith.create(KeyDraft(), who)


async def test_item_16_an_administrators_key_cannot_lift_its_own_bounds_by_another(office) -> None:
    await office.smith.put_team(Team(name="red", budget=Budget(1)), MASTER)
    other, _ = await made(office, role="admin")
    mine, me = await made(office, role="admin", team="red", models=("gpt",))
    child, child_me = await made(office, maker=me, role="admin")
    user, _ = await made(office)
    for who, id_ in ((me, other), (child_me, mine), (child_me, other)):
        for act in (
            lambda who=who, id_=id_: office.smith.change(id_, KeyChange(name="x"), who),
            lambda who=who, id_=id_: office.smith.rotate(id_, 0, who),
            lambda who=who, id_=id_: office.smith.delete(id_, who),
        ):
            with pytest.raises(Forbidden):
                await act()
    for who in (me, child_me):
        with pytest.raises(Forbidden):
            await office.smith.put_team(Team(name="red"), who)
        with pytest.raises(Forbidden):
            await office.smith.drop_team("red", who)
    with pytest.raises(Forbidden):
        await office.smith.rotate(user, 0, me)
    assert (await office.smith.change(user, KeyChange(disabled=True), me)).disabled
    with pytest.raises(Forbidden):
        await office.smith.change(user, KeyChange(models=("claude",)), me)
    assert len(await office.smith.keys(me)) == 4
    await office.smith.change(child, KeyChange(role="user"), me)
