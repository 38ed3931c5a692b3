"""Errands over a real store: who may have what done, and whose it is."""

from zoneinfo import ZoneInfo

import msgspec
import pytest

from dragoman import errands
from dragoman.admission.directory import Directory
from dragoman.admission.keysmith import Keysmith
from dragoman.admission.office import Office, Views
from dragoman.admission.passwords import Passwords
from dragoman.admission.spending import Spending
from dragoman.chat import Usage
from dragoman.errands import (
    CredentialCheck,
    JournalState,
    KeyFields,
    KeyFound,
    ProviderState,
    Setting,
    Spent,
    TeamFound,
)
from dragoman.faults import Conflict, Forbidden, Malformed, NotFound
from dragoman.keys import Team
from dragoman.people import MASTER, Principal, Secret
from dragoman.records import Attempt, Caller, Charge, Content, Record
from dragoman.standing import Budget, Limits
from dragoman.store import open_store
from dragoman.usage import CallQuery, UsageQuery

NOW = 1_800_000_000.0
HASH_KEY = b"h" * 32
POOL = (ProviderState(name="openai", kind="openai", state="up"),)
SETTINGS = (Setting("server.port", "8000", "default"),)
JOURNAL = JournalState(lag_bytes=0, lag_s=0.0)
CHECKED = CredentialCheck(is_good=True, models=("gpt-4o",), ms=3)
DAY = int(NOW) // 86_400 * 86_400
OPERATORS_ERRANDS = [
    errands.ListKeys(),
    errands.MakeKey(KeyFields()),
    errands.ReadKey("k"),
    errands.ChangeKey("k", KeyFields(disabled=True)),
    errands.RotateKey("k", 0.0),
    errands.DropKey("k"),
    errands.ListTeams(),
    errands.PutTeam(Team(name="t")),
    errands.DropTeam("t"),
    errands.ListAccounts(),
    errands.MakeAccount("eve", Secret("correct horse")),
    errands.DropAccount("eve"),
    errands.ReadUsage(UsageQuery()),
    errands.ListCalls(CallQuery()),
    errands.ReadCall("r"),
    errands.ReadState("pool"),
    errands.ReadState("settings"),
    errands.ReadState("journal"),
    errands.CheckCredential("openai", Secret("sk-1")),
]


class House:
    """An office over a store, and the directory that says who shows a secret."""

    def __init__(self, folder):
        self.store = open_store("", folder, "test", now=lambda: NOW)
        self.directory = Directory(self.store.keyring, HASH_KEY, lambda: NOW)
        keysmith = Keysmith(self.store.keyring, self.directory, HASH_KEY, lambda: NOW)
        spending = Spending(self.store.bank, ZoneInfo("UTC"), lambda: NOW)
        self.checked = []
        views = Views(lambda: POOL, lambda: SETTINGS, lambda: JOURNAL, spending.of, self.check)
        self.passwords = Passwords()
        self.office = Office(keysmith, self.store.books, self.store, self.passwords, views)

    async def check(self, provider, credential):
        self.checked.append((provider, credential.reveal()))
        return CHECKED

    async def do(self, wish, principal=MASTER):
        return await self.office.find(wish, principal)

    async def holder(self, *, by=MASTER, own=False, **fields):
        """Make a key; return it and the principal that shows it."""
        fresh = await self.do(errands.MakeKey(KeyFields(**fields), own), by)
        return fresh.key, self.directory.find(fresh.secret)

    async def write_down(self, *entries):
        await self.store.books.keep_calls(entries, "j", 1, 1, "test", lambda at: int(at) // 86_400 * 86_400)


@pytest.fixture
async def house(tmp_path):
    house = House(tmp_path)
    await house.directory.load()
    yield house
    house.store.close()


def call(id_, principal, key="", provider="openai"):
    return Record(
        id=id_,
        at=NOW,
        caller=Caller(principal, key),
        dialect="openai",
        wire="openai-chat",
        model="gpt-4o",
        outcome="completed",
        status=200,
        usage=Usage(input=10, output=5),
        attempts=[Attempt(provider, "m", "u7Kd", "ok", "", 5)],
        provider=provider,
        target="m",
        credential="u7Kd",
        cost_micro=7,
    )


def spending(id_, *charges):
    return msgspec.structs.replace(call(id_, "key:x"), charges=[Charge(*charge) for charge in charges])


# --- operators ------------------------------------------------------------------------------------------------


def test_every_errand_is_tried_by_somebody_who_may_not():
    tried = {type(wish) for wish in OPERATORS_ERRANDS}
    assert tried == set(errands.Errand.__args__)


@pytest.mark.parametrize("wish", OPERATORS_ERRANDS, ids=lambda wish: type(wish).__name__)
async def test_an_operators_errand_is_for_nobody_else(house, wish):
    """Whatever mount it came through; and nothing is changed."""
    _, ann = await house.holder(name="ann")
    before = await house.do(errands.ListKeys())
    for principal in (ann, Principal("anonymous"), Principal("user:bob"), Principal("")):
        with pytest.raises(Forbidden):
            await house.do(wish, principal)
    assert await house.do(errands.ListKeys()) == before
    assert list(await house.do(errands.ListTeams())) == []
    assert await house.do(errands.ListAccounts()) == []
    assert house.checked == []


async def test_keys_are_made_changed_turned_and_deleted(house):
    fresh = await house.do(errands.MakeKey(KeyFields(name="ci", budget=Budget(5, "day"), limits=Limits(parallel=1))))
    assert (fresh.key.name, fresh.key.budget, fresh.key.maker) == ("ci", Budget(5, "day"), "")
    assert house.directory.find(fresh.secret).key == fresh.key.id
    assert await house.do(errands.ReadKey(fresh.key.id)) == KeyFound(fresh.key, fresh.spent)
    changed = (await house.do(errands.ChangeKey(fresh.key.id, KeyFields(budget=None, disabled=True)))).key
    assert (changed.budget, changed.disabled, changed.limits) == (None, True, Limits(parallel=1))
    assert house.directory.find(fresh.secret) is None
    await house.do(errands.ChangeKey(fresh.key.id, KeyFields(disabled=False)))
    turned = await house.do(errands.RotateKey(fresh.key.id, 0.0))
    assert house.directory.find(fresh.secret) is None
    assert house.directory.find(turned.secret).key == fresh.key.id
    await house.do(errands.DropKey(fresh.key.id))
    with pytest.raises(NotFound):
        await house.do(errands.ReadKey(fresh.key.id))


async def test_lists_of_keys_are_read_page_by_page(house):
    made = sorted([(await house.holder(name=str(number)))[0].id for number in range(3)])
    first = await house.do(errands.ListKeys(limit=2))
    assert [row.key.id for row in first] == made[:2]
    assert [row.key.id for row in await house.do(errands.ListKeys(after=first[-1].key.id, limit=2))] == made[2:]


async def test_teams_are_put_and_dropped(house):
    team = Team(name="research", budget=Budget(9, "month"))
    put = await house.do(errands.PutTeam(team))
    assert put.team == team
    assert await house.do(errands.ListTeams()) == [put]
    key, _ = await house.holder(team="research")
    assert [row.key.id for row in await house.do(errands.ListKeys(team="research"))] == [key.id]
    with pytest.raises(Conflict):
        await house.do(errands.DropTeam("research"))
    await house.do(errands.DropKey(key.id))
    await house.do(errands.DropTeam("research"))
    assert list(await house.do(errands.ListTeams())) == []
    with pytest.raises(NotFound):
        await house.do(errands.DropTeam("research"))


async def test_what_is_wrong_is_refused_and_nothing_is_changed(house):
    for fields, field in (({"team": "nowhere"}, "team"), ({"expires": NOW - 1}, "expires")):
        with pytest.raises(Malformed) as caught:
            await house.do(errands.MakeKey(KeyFields(**fields)))
        assert caught.value.field == field
    assert list(await house.do(errands.ListKeys())) == []


async def test_accounts_are_made_once_and_kept_as_digests(house):
    wish = errands.MakeAccount("Ada", Secret("correct horse"))
    assert await house.do(wish) == "Ada"
    digest = await house.store.account("ada")
    assert house.passwords.fits(digest, Secret("correct horse"))
    with pytest.raises(Conflict):
        await house.do(errands.MakeAccount("ADA", Secret("another password")))
    assert await house.store.account("ada") == digest
    assert await house.do(errands.ListAccounts()) == ["Ada"]
    for name in ("bob", "Carl"):
        await house.store.put_account(name, digest)
    assert await house.do(errands.ListAccounts(limit=2)) == ["Ada", "bob"]
    assert await house.do(errands.ListAccounts("BOB", 2)) == ["Carl"]
    await house.do(errands.DropAccount("ada"))
    with pytest.raises(NotFound):
        await house.do(errands.DropAccount("ada"))


@pytest.mark.parametrize(
    ("name", "password", "field"),
    [
        ("", "correct horse", "name"),
        (" ada", "correct horse", "name"),
        ("oidc:ada", "correct horse", "name"),
        ("a\nb", "correct horse", "name"),
        ("ada", "short", "password"),
        ("ada", "x" * 1025, "password"),
    ],
)
async def test_an_account_that_cannot_be_is_refused_by_name(house, name, password, field):
    with pytest.raises(Malformed) as caught:
        await house.do(errands.MakeAccount(name, Secret(password)))
    assert caught.value.field == field
    assert await house.do(errands.ListAccounts()) == []


async def test_the_state_is_what_those_say_who_run_it(house):
    found = [await house.do(errands.ReadState(of)) for of in ("pool", "settings", "journal")]
    assert found == [POOL, SETTINGS, JOURNAL]


async def test_a_credential_is_tried_where_it_is_said(house):
    assert await house.do(errands.CheckCredential("openai", Secret("sk-1"))) == CHECKED
    assert house.checked == [("openai", "sk-1")]


async def test_budgets_say_what_was_spent_of_them_and_when_they_begin_anew(house):
    key, ann = await house.holder(name="ann", budget=Budget(100, "day"))
    below, _ = await house.holder(by=ann, own=True, budget=Budget(50))
    free, _ = await house.holder(name="free")
    await house.do(errands.PutTeam(Team(name="blue", budget=Budget(9, "hour"))))
    await house.write_down(
        spending("r1", (f"key:{key.id}/money.day", DAY, 7), (f"key:{below.id}/money.total", 0, 5)),
        spending("r2", (f"key:{key.id}/money.day", DAY, 4), ("team:blue/money.hour", int(NOW) // 3600 * 3600, 2)),
        spending("yesterday", (f"key:{key.id}/money.day", DAY - 86_400, 1000)),
    )
    found = {row.key.id: row.spent for row in await house.do(errands.ListKeys())}
    assert found == {key.id: Spent(11, DAY + 86_400), below.id: Spent(5), free.id: Spent()}
    assert await house.do(errands.ListTeams()) == [
        TeamFound(Team(name="blue", budget=Budget(9, "hour")), Spent(2, (int(NOW) // 3600 + 1) * 3600))
    ]
    assert [row.spent for row in await house.do(errands.ListKeys(own=True), ann)] == [Spent(5)]
    assert (await house.do(errands.ReadKey(key.id, own=True), ann)).spent == Spent(11, DAY + 86_400)
    assert (await house.do(errands.RotateKey(key.id, 0.0))).spent == Spent(11, DAY + 86_400)
    changed = await house.do(errands.ChangeKey(key.id, KeyFields(budget=Budget(100, "month"))))
    assert changed.spent.micro == 0, "another window is another account"


# --- whoever has a key ----------------------------------------------------------------------------------------


async def test_item_16_a_key_below_another_never_has_more_than_it(house):
    key, ann = await house.holder(
        models=("gpt-*",), dialects=("openai",), expires=NOW + 100, budget=Budget(5, "day"), limits=Limits(parallel=1)
    )
    below, child = await house.holder(by=ann, own=True, name="below", budget=Budget(10**9, "day"))
    assert (below.maker, below.expires, below.models) == (key.id, NOW + 100, ("gpt-*",))
    assert child.may_use("gpt-4o")
    assert not child.may_use("claude")
    # Its own budget may be named higher: the maker's holds beside it.
    assert {holder.budget for holder in child.holders} == {Budget(5, "day"), Budget(10**9, "day")}
    for fields in ({"expires": NOW + 101}, {"expires": None}, {"models": ("*",)}, {"dialects": ("anthropic",)}):
        wish = errands.ChangeKey(below.id, KeyFields(**fields), own=True)
        with pytest.raises(Forbidden) as caught:
            await house.do(wish, ann)
        assert caught.value.field == next(iter(fields))
    assert (await house.do(errands.ReadKey(below.id))).key == below


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "admin"},
        {"role": "user"},
        {"owner": "Ada"},
        {"team": ""},
        {"principal": "user:bob"},
        {"keeps_content": False},
        {"priority": 0},
    ],
    ids=lambda fields: next(iter(fields)),
)
async def test_item_13_what_follows_from_the_makers_key_is_not_the_callers_to_say(house, fields):
    key, ann = await house.holder(role="admin")
    for wish in (errands.MakeKey(KeyFields(**fields), own=True), errands.ChangeKey(key.id, KeyFields(**fields), True)):
        with pytest.raises(Forbidden) as caught:
            await house.do(wish, ann)
        assert caught.value.field == next(iter(fields))


async def test_item_14_what_is_not_below_ones_own_key_is_not_there(house):
    ann_key, ann = await house.holder(name="ann")
    bob_key, bob = await house.holder(name="bob")
    below, _ = await house.holder(by=bob, own=True, name="below bob")
    for id_ in (bob_key.id, below.id, "none"):
        for wish in (
            errands.ReadKey(id_, own=True),
            errands.ChangeKey(id_, KeyFields(disabled=True), own=True),
            errands.RotateKey(id_, 0.0, own=True),
            errands.DropKey(id_, own=True),
        ):
            with pytest.raises(NotFound):
                await house.do(wish, ann)
    assert list(await house.do(errands.ListKeys(own=True), ann)) == []
    assert await house.do(errands.ListKeys(own=True), bob) == [KeyFound(below)]
    assert await house.do(errands.ReadKey(ann_key.id, own=True), ann) == KeyFound(ann_key)
    assert {row.key.id for row in await house.do(errands.ListKeys())} == {ann_key.id, bob_key.id, below.id}


async def test_an_operator_has_no_more_rights_over_its_own_keys_than_anybody(house):
    _, root = await house.holder(role="admin")
    other, _ = await house.holder(name="other")
    with pytest.raises(NotFound):
        await house.do(errands.DropKey(other.id, own=True), root)
    assert list(await house.do(errands.ListKeys(own=True), root)) == []


@pytest.mark.parametrize("principal", [MASTER, Principal("user:bob"), Principal("anonymous")], ids=lambda p: p.name)
async def test_who_has_no_key_in_the_store_has_none_below_it(house, principal):
    await house.holder(name="somebody's")
    assert list(await house.do(errands.ListKeys(own=True), principal)) == []
    with pytest.raises(Forbidden):
        await house.do(errands.MakeKey(KeyFields(), own=True), principal)


# --- usage and calls ------------------------------------------------------------------------------------------


async def test_item_14_usage_and_calls_are_the_callers_own(house):
    ann_key, ann = await house.holder(name="ann")
    _, bob = await house.holder(name="bob")
    await house.write_down(call("r-ann", ann.name, ann_key.id), call("r-bob", bob.name))
    mine = await house.do(errands.ReadUsage(UsageQuery(), own=True), ann)
    assert [(row.calls, row.cost_micro) for row in mine.rows] == [(1, 7)]
    assert [row.id for row in await house.do(errands.ListCalls(CallQuery(), own=True), ann)] == ["r-ann"]
    assert (await house.do(errands.ReadCall("r-ann", own=True), ann)).id == "r-ann"
    with pytest.raises(NotFound):
        await house.do(errands.ReadCall("r-bob", own=True), ann)
    for wish in (
        errands.ReadUsage(UsageQuery(principal=bob.name), own=True),
        errands.ReadUsage(UsageQuery(principal=""), own=True),
        errands.ListCalls(CallQuery(principal=bob.name), own=True),
        errands.ListCalls(CallQuery(team="research"), own=True),
    ):
        with pytest.raises(Forbidden):
            await house.do(wish, ann)
    everything = await house.do(errands.ReadUsage(UsageQuery(group=("principal",))))
    assert {row.by for row in everything.rows} == {(ann.name,), (bob.name,)}
    assert len(await house.do(errands.ListCalls(CallQuery()))) == 2


@pytest.mark.parametrize("word", ["provider", "target"])
async def test_which_provider_answered_is_for_operators(house, word):
    _, ann = await house.holder(name="ann")
    wishes = [
        errands.ReadUsage(UsageQuery(group=("day", word)), own=True),
        errands.ReadUsage(UsageQuery(**{word: "openai"}), own=True),
    ]
    if word == "provider":
        wishes.append(errands.ListCalls(CallQuery(provider="openai"), own=True))
    for wish in wishes:
        with pytest.raises(Forbidden):
            await house.do(wish, ann)
        assert (await house.do(msgspec.structs.replace(wish, own=False))) is not None


async def test_one_call_comes_with_what_was_said(house):
    _, ann = await house.holder(name="ann", keeps_content=True)
    await house.write_down(call("r1", ann.name), Content("r1", NOW, "What?", "That."))
    found = await house.do(errands.ReadCall("r1", own=True), ann)
    assert (found.question, found.answer) == ("What?", "That.")
