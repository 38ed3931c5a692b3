"""Making and changing keys: who may do what, field by field. On a real store."""

import math
import re

import msgspec
import pytest
from keeping_keys import HASH_KEY, Clock, Office

from dragoman.admission.directory import DENIED
from dragoman.admission.drafts import KeyChange, KeyDraft, show
from dragoman.admission.hashing import hashed
from dragoman.admission.keysmith import LONGEST_OVERLAP_S
from dragoman.faults import Conflict, Malformed, NotFound, StoreFailed
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


# --- secrets


async def test_item_1_a_secret_has_256_random_bits_and_is_kept_as_a_keyed_hash_only(office, tmp_path) -> None:
    one, secret = await office.smith.create(KeyDraft(name="ci"), MASTER)
    _, other = await office.smith.create(KeyDraft(name="ci"), MASTER)
    text = secret.reveal()
    assert re.fullmatch(r"dgk_[\w-]{43}", text, re.ASCII)
    assert text != other.reveal()
    assert one.digest == hashed(secret, HASH_KEY) != secret.digest()
    assert (one.prefix, one.tail) == (text[:8], text[-4:])
    office.store.close()
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert one.id.encode() in kept
    assert text[8:-4].encode() not in kept
    assert text[4:20].encode() not in kept
    assert secret.digest() not in kept
    assert secret.digest().hex().encode() not in kept


async def test_item_1_a_secret_is_shown_once(office) -> None:
    key, secret = await office.smith.create(KeyDraft(name="ci"), MASTER)
    shown = msgspec.json.encode(show(await office.smith.key(key.id, MASTER), "admin", 0.0)).decode()
    assert secret.reveal()[8:-4] not in shown
    assert f"{key.prefix}…{key.tail}" in shown


async def test_a_key_made_with_another_hash_key_than_the_others_is_not_kept(start) -> None:
    one, two = start(), start(hash_key=bytes(32))
    await one.directory.load()
    await two.directory.load()
    await two.smith.create(KeyDraft(), MASTER)
    with pytest.raises(StoreFailed):
        await one.smith.create(KeyDraft(), MASTER)
    assert len(await two.smith.keys(MASTER)) == 1


async def test_a_rotated_key_has_two_secrets_for_a_while(office, clock) -> None:
    key, first = await office.smith.create(KeyDraft(), MASTER)
    _, second = await office.smith.rotate(key.id, 10, MASTER)
    assert office.maker(first) == office.maker(second)
    _, third = await office.smith.rotate(key.id, 10, MASTER)
    assert office.directory.find(first) is None
    assert office.maker(second) == office.maker(third)
    clock.now += 10
    assert office.directory.find(second) is None
    assert office.maker(third).key == key.id
    _, fourth = await office.smith.rotate(key.id, 0, MASTER)
    assert office.directory.find(third) is None
    assert office.maker(fourth).key == key.id


@pytest.mark.parametrize("overlap_s", [-1.0, LONGEST_OVERLAP_S + 1, math.inf, -math.inf, math.nan])
async def test_an_overlap_has_bounds(office, overlap_s) -> None:
    key, secret = await office.smith.create(KeyDraft(), MASTER)
    with pytest.raises(Malformed) as caught:
        await office.smith.rotate(key.id, overlap_s, MASTER)
    assert caught.value.field == "overlap_s"
    assert office.maker(secret)


# --- what is asked for


async def test_a_key_as_it_was_asked_for(office, clock) -> None:
    await office.smith.put_team(Team(name="red"), MASTER)
    draft = KeyDraft(
        name="Zoë 👩‍🚒", owner="zoë", team="red", tags=("a", "b", "a"), role="admin", expires=clock.now + 5,
        models=("gpt-*",), dialects=("openai",), limits=Limits(parallel=1), budget=Budget(MOST, "week"),
        keeps_content=True, priority=4,
    )  # fmt: skip
    key, _ = await office.smith.create(draft, MASTER)
    assert await office.smith.key(key.id, MASTER) == key
    shown = show(key, "admin", clock.now)
    assert (shown.name, shown.owner, shown.team, shown.tags, shown.role) == (
        "Zoë 👩‍🚒",
        "zoë",
        "red",
        ("a", "b"),
        "admin",
    )
    assert (shown.models, shown.dialects, shown.expires) == (("gpt-*",), ("openai",), clock.now + 5)
    assert (shown.limits, shown.budget) == (Limits(parallel=1), Budget(MOST, "week"))
    assert (shown.keeps_content, shown.priority, shown.state, key.created) == (True, 4, "active", clock.now)


BAD = [
    ({"name": "x" * 201}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"owner": "a\0"}, "owner"),
    ({"owner": "\ud800"}, "owner"),
    ({"tags": ("ok", "a,b")}, "tags[1]"),
    ({"tags": ("",)}, "tags[0]"),
    ({"tags": (" a",)}, "tags[0]"),
    ({"tags": ("x" * 51,)}, "tags[0]"),
    ({"tags": ("a\x1b",)}, "tags[0]"),
    ({"tags": tuple(map(str, range(21)))}, "tags"),
    ({"team": "nobody's"}, "team"),
    ({"team": "a,b"}, "team"),
    ({"models": ()}, "models"),
    ({"models": ("",)}, "models[0]"),
    ({"models": ("x",) * 201}, "models"),
    ({"dialects": ("a\r",)}, "dialects[0]"),
    ({"role": "owner"}, "role"),
    ({"expires": 1.7e9}, "expires"),
    ({"expires": -1.0}, "expires"),
    ({"expires": math.inf}, "expires"),
    ({"expires": math.nan}, "expires"),
    ({"expires": 1e300}, "expires"),
    ({"limits": Limits(parallel=0)}, "limits.parallel"),
    ({"limits": Limits(requests_per_minute=-5)}, "limits.requests_per_minute"),
    ({"limits": Limits(tokens_per_minute=MOST + 1)}, "limits.tokens_per_minute"),
    ({"limits": Limits(requests_per_day=1.5)}, "limits.requests_per_day"),
    ({"budget": Budget(-1)}, "budget.micro"),
    ({"budget": Budget(MOST + 1)}, "budget.micro"),
    ({"budget": Budget(1, "fortnight")}, "budget.window"),
    ({"priority": 1001}, "priority"),
]


@pytest.mark.parametrize(("fields", "place"), BAD)
async def test_a_bad_field_is_named_and_nothing_is_made(office, fields, place) -> None:
    with pytest.raises(Malformed) as caught:
        await office.smith.create(KeyDraft(**fields), MASTER)
    assert caught.value.field == place
    assert await office.smith.keys(MASTER) == []
    key, _ = await office.smith.create(KeyDraft(), MASTER)
    with pytest.raises(Malformed):
        await office.smith.change(key.id, KeyChange(**fields), MASTER)
    assert await office.smith.key(key.id, MASTER) == key


@pytest.mark.parametrize("principal", ["ann", "key:abc", "user:", "team:red", "user:a\n", "user:" + "x" * 500])
async def test_a_principal_is_an_account_or_a_tokens_owner(office, principal) -> None:
    with pytest.raises(Malformed) as caught:
        await office.smith.create(KeyDraft(principal=principal), MASTER)
    assert caught.value.field == "principal"


async def test_what_holds_for_a_principal_has_no_secret(office) -> None:
    key, secret = await office.smith.create(KeyDraft(principal="user:ann", limits=Limits(parallel=1)), MASTER)
    assert secret.reveal() == ""
    found = office.directory.named("user:ann")
    assert found not in (None, DENIED)
    assert found.holders[0].limits == Limits(parallel=1)
    with pytest.raises(Conflict):
        await office.smith.create(KeyDraft(principal="user:ann"), MASTER)
    with pytest.raises(Malformed):
        await office.smith.rotate(key.id, 0, MASTER)
    await office.smith.change(key.id, KeyChange(disabled=True), MASTER)
    assert office.directory.named("user:ann") is DENIED
    assert show(await office.smith.key(key.id, MASTER), "admin", 0.0).secret == ""


async def test_two_changes_at_once_both_hold(start) -> None:
    here, there = start(), start()
    id_, _ = await made(here)
    swap = here.keyring.swap_key

    async def later(old, new):
        here.keyring.swap_key = swap
        await there.smith.change(id_, KeyChange(disabled=True), MASTER)
        return await swap(old, new)

    here.keyring.swap_key = later
    changed = await here.smith.change(id_, KeyChange(name="new"), MASTER)
    assert (changed.name, changed.disabled) == ("new", True)


# --- teams


async def test_a_team_is_made_changed_and_dropped_when_it_has_no_keys(office) -> None:
    red = Team(name="red", limits=Limits(parallel=3), budget=Budget(5))
    assert await office.smith.put_team(red, MASTER) == red
    id_, me = await made(office, team="red")
    assert me.holders[1].budget == Budget(5)
    assert await office.smith.team("red", me) == red
    await office.smith.put_team(Team(name="blue"), MASTER)
    assert await office.smith.teams(me) == [red]
    assert [team.name for team in await office.smith.teams(MASTER)] == ["blue", "red"]
    with pytest.raises(NotFound):
        await office.smith.team("blue", me)
    with pytest.raises(Conflict):
        await office.smith.drop_team("red", MASTER)
    await office.smith.change(id_, KeyChange(team="blue"), MASTER)
    await office.smith.drop_team("red", MASTER)
    with pytest.raises(NotFound):
        await office.smith.drop_team("red", MASTER)


@pytest.mark.parametrize("name", ["", " ", "a,b", "a\0", "x" * 51, "a ", "\u2028"])
async def test_a_teams_name_is_like_a_tag(office, name) -> None:
    with pytest.raises(Malformed):
        await office.smith.put_team(Team(name=name), MASTER)
    assert await office.smith.teams(MASTER) == []


async def test_an_impossible_team_is_refused(office) -> None:
    for team in (Team(name="a", budget=Budget(-1)), Team(name="a", limits=Limits(parallel=0))):
        with pytest.raises(Malformed):
            await office.smith.put_team(team, MASTER)


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_has_bounds(office, limit) -> None:
    with pytest.raises(Malformed) as caught:
        await office.smith.keys(MASTER, limit=limit)
    assert caught.value.field == "limit"
