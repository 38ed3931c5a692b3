"""Sessions of the page: who may open one, what it is worth, and when it is worth nothing any more."""

import asyncio
import time
from itertools import permutations
from typing import Any

import pytest
from keeping_keys import HASH_KEY, Clock, Office
from logging_in import DIGEST, PASSWORD, Kept
from msgspec.structs import replace

from dragoman.admission.drafts import KeyChange, KeyDraft
from dragoman.admission.gate import WRONG_SECRETS_A_MINUTE, Gate
from dragoman.admission.hashing import hashed
from dragoman.admission.login import Logins
from dragoman.admission.sessions import Sessions
from dragoman.admission.tokens import LIFETIMES_S, Kind, Passes, Tokens
from dragoman.faults import Fault, Forbidden, TooMany, Unauthenticated
from dragoman.intents import OpenSession, PageSession, ReadSession, RenewToken
from dragoman.people import MASTER, Principal, Secret
from dragoman.ports import Mount
from dragoman.standing import Limits

MASTER_KEY = Secret("dgm-" + "m" * 43)
FIXED = Secret("a key. of the. configuration")
MOUNT = Mount("POST", "/", lambda head: None)  # type: ignore[arg-type, return-value]
ADMIN = replace(MOUNT, role="admin")
LIMITED = {"models": ("small",), "dialects": ("openai",), "limits": Limits(parallel=3), "tags": ("team",)}


class House:
    """A gateway's sessions, and everybody who may want one."""

    def __init__(self, folder: Any) -> None:
        self.clock = Clock()
        # The store has a clock of its own.
        self.clock.now = float(int(time.time()))
        self.office = Office(folder, self.clock)
        self.tokens = Tokens(Secret("system A's"), b"o" * 32, self.clock)
        self.passes = Passes(b"p" * 32, self.clock)
        self.people = {MASTER_KEY: MASTER, FIXED: Principal("key:fixed")}
        self.gate = self.make_gate()
        self.sessions = self.make_sessions(self.gate)

    def make_gate(self) -> Gate:
        principals = {hashed(key, HASH_KEY): who for key, who in self.people.items()}
        directory = self.office.directory
        return Gate(principals, {}, self.tokens, directory, ("ask",), own_keys=True, passes=self.passes)

    def make_sessions(self, gate: Gate) -> Sessions:
        upstream: Any = None
        logins = Logins(Kept(ann=DIGEST), self.tokens, None, upstream)
        return Sessions(gate, logins, self.tokens, self.passes, self.office.store)

    def link(self) -> Secret:
        return self.passes.make_link()

    async def open(self, **by: Any) -> PageSession:
        return await self.sessions.find(OpenSession(**by))

    async def read(self, session: PageSession) -> PageSession:
        return await self.sessions.find(ReadSession(cookie_of(session), session.csrf))

    async def renew(self, session: PageSession) -> PageSession:
        return await self.sessions.find(RenewToken(cookie_of(session), session.csrf))

    def admit(self, session: PageSession, mount: Mount = MOUNT) -> Principal:
        assert session.token is not None
        return self.gate.admit(session.token.secret, mount)


@pytest.fixture
def house(tmp_path: Any) -> Any:
    opened = House(tmp_path)
    yield opened
    opened.office.store.close()


def cookie_of(session: PageSession) -> Secret:
    assert session.cookie is not None
    return session.cookie


# --- who may open one ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "name", "role"),
    [
        ({"key": MASTER_KEY}, "master", "admin"),
        ({"key": FIXED}, "key:fixed", "user"),
        ({"name": "Ann", "password": PASSWORD}, "user:ann", "user"),
    ],
    ids=["the master", "a key of the configuration", "an account"],
)
async def test_a_session_is_of_whoever_logged_in(house: House, by: Any, name: str, role: str) -> None:
    opened = await house.open(**by)
    assert (opened.principal, opened.role) == (name, role)
    assert house.admit(opened).name == name
    read = await house.read(opened)
    assert (read.principal, read.role, read.cookie, read.token) == (name, role, None, None)
    assert house.admit(await house.renew(opened)).name == name


async def test_a_stored_key_and_its_page_are_one_principal(house: House) -> None:
    _, secret = await house.office.smith.create(KeyDraft(**LIMITED), MASTER)
    opened = await house.open(key=secret)
    mount = replace(MOUNT, dialect="openai")
    assert house.admit(opened, mount) == house.gate.admit(secret, mount)
    with pytest.raises(Forbidden):
        house.admit(opened, replace(MOUNT, dialect="anthropic"))
    with pytest.raises(Forbidden):
        house.admit(opened, replace(ADMIN, dialect="openai"))


async def test_a_link_logs_in_once(house: House) -> None:
    link = house.link()
    assert house.admit(await house.open(link=link), ADMIN) is MASTER
    with pytest.raises(Unauthenticated, match="used before"):
        await house.open(link=link)
    assert (await house.open(link=house.link())).role == "admin"


async def test_of_many_who_use_a_link_at_once_one_wins(house: House) -> None:
    link = house.link()
    found = await asyncio.gather(*(house.open(link=link) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(one, PageSession) for one in found) == 1
    assert sum(isinstance(one, Unauthenticated) for one in found) == 9


async def test_a_link_is_good_for_a_day(house: House) -> None:
    link, late = house.link(), house.link()
    house.clock.now += 86_400 - 1
    await house.open(link=link)
    house.clock.now += 1
    with pytest.raises(Unauthenticated, match="too old"):
        await house.open(link=late)


async def test_what_is_no_key_of_the_gateway_opens_nothing(house: House) -> None:
    account = Secret(house.tokens.issue("ann"))
    minted = Secret(house.tokens.mint("1000", 1))
    page = (await house.open(key=FIXED)).token
    assert page is not None
    for key in (account, minted, page.secret, Secret("sk-of-a-provider"), Secret(""), Secret("\ud800")):
        with pytest.raises(Unauthenticated, match="a key of this gateway logs in"):
            await house.open(key=key)
    with pytest.raises(Unauthenticated):
        await house.open(name="ann", password=Secret("another password"))


async def test_who_tries_many_keys_must_wait_and_keeps_nobody_else_out(house: House) -> None:
    for number in range(WRONG_SECRETS_A_MINUTE):
        with pytest.raises(Unauthenticated):
            await house.open(**{"key" if number % 2 else "link": Secret(f"wrong {number}")})
    for by in ("key", "link"):
        with pytest.raises(TooMany) as caught:
            await house.open(**{by: Secret("wrong")})
        assert caught.value.retry_after_s is not None
        assert 0 < caught.value.retry_after_s <= 60 / WRONG_SECRETS_A_MINUTE
    assert (await house.open(key=MASTER_KEY)).role == "admin"
    assert (await house.open(link=house.link())).role == "admin"


async def test_right_keys_never_wait(house: House) -> None:
    for _ in range(2 * WRONG_SECRETS_A_MINUTE):
        await house.open(key=MASTER_KEY)


# --- what it is worth ------------------------------------------------------------------------------------------


async def all_kinds(house: House) -> dict[str, Secret]:
    opened = await house.open(key=MASTER_KEY)
    assert opened.token is not None
    return {"link": house.link(), "cookie": cookie_of(opened), "token": opened.token.secret}


async def worth(house: House, use: str, shown: Secret) -> bool:
    """Whether something is taken for what `use` says."""
    csrf = (await house.open(key=MASTER_KEY)).csrf
    try:
        match use:
            case "link":
                await house.open(link=shown)
            case "cookie":
                given = house.passes.read(Kind.SESSION, shown)
                await house.sessions.find(ReadSession(shown, house.passes.csrf(given) if given else csrf))
            case "token":
                house.gate.admit(shown, MOUNT)
            case "renewal":
                await house.sessions.find(RenewToken(shown, csrf))
    except Unauthenticated:
        return False
    return True


@pytest.mark.parametrize(("kind", "other"), [*permutations(("link", "cookie", "token"), 2)])
async def test_no_kind_is_taken_for_another(house: House, kind: str, other: str) -> None:
    assert await worth(house, kind, (await all_kinds(house))[kind])
    assert not await worth(house, other, (await all_kinds(house))[kind])


@pytest.mark.parametrize("kind", ["link", "token"])
async def test_only_a_cookie_is_renewed(house: House, kind: str) -> None:
    assert not await worth(house, "renewal", (await all_kinds(house))[kind])


async def test_what_another_key_signed_is_nothing(house: House) -> None:
    others = Passes(b"q" * 32, house.clock)
    assert not await worth(house, "link", others.make_link())
    assert await worth(house, "link", house.link())
    for kind, use in ((Kind.SESSION, "cookie"), (Kind.PAGE, "token")):
        assert not await worth(house, use, others.make(kind, MASTER.name)[0])
        assert await worth(house, use, house.passes.make(kind, MASTER.name)[0])


def test_a_changed_link_is_nothing(house: House) -> None:
    text = house.link().reveal()
    assert len(text) == 44
    for at, letter in enumerate(text):
        other = "B" if letter != "B" else "C"
        assert house.passes.read_link(Secret(text[:at] + other + text[at + 1 :])) is None
    for wrong in ("", text[:-4], text + "AAAA", "é" * 44, text.replace(text[3], "+"), "=" * 44):
        assert house.passes.read_link(Secret(wrong)) is None


async def test_a_token_needs_the_csrf_of_its_own_session(house: House) -> None:
    mine, other = await house.open(key=FIXED), await house.open(key=FIXED)
    assert mine.csrf.reveal() != other.csrf.reveal()
    assert (await house.read(mine)).csrf.reveal() == mine.csrf.reveal()
    for wrong in ("", "\ud7ff", mine.csrf.reveal()[:-1], other.csrf.reveal(), cookie_of(mine).reveal()):
        with pytest.raises(Forbidden):
            await house.sessions.find(RenewToken(cookie_of(mine), Secret(wrong)))
        with pytest.raises(Forbidden):
            await house.sessions.find(ReadSession(cookie_of(mine), Secret(wrong)))


async def test_another_process_of_the_database_takes_over(house: House) -> None:
    opened = await house.open(key=MASTER_KEY)
    link = house.link()
    await house.open(link=link)
    house.people = {Secret("the master key of another folder"): MASTER, FIXED: Principal("key:fixed")}
    house.gate = house.make_gate()
    house.sessions = house.make_sessions(house.gate)
    assert house.admit(opened, ADMIN) is MASTER
    assert (await house.renew(opened)).role == "admin"
    with pytest.raises(Unauthenticated, match="used before"):
        await house.open(link=link)


# --- when it is worth nothing any more -------------------------------------------------------------------------


async def test_a_token_is_good_for_fifteen_minutes(house: House) -> None:
    opened = await house.open(key=FIXED)
    assert opened.token is not None
    assert opened.token.expires == house.clock.now + 900
    house.clock.now += 899
    house.admit(opened)
    house.clock.now += 1
    with pytest.raises(Unauthenticated):
        house.admit(opened)
    house.admit(await house.renew(opened))


async def test_a_session_that_is_used_goes_on(house: House) -> None:
    first = await house.open(key=FIXED)
    half = LIFETIMES_S[Kind.SESSION] / 2
    house.clock.now += half
    assert (await house.renew(first)).cookie is None
    house.clock.now += 1
    second = await house.renew(first)
    assert second.expires == house.clock.now + 2 * half
    # Another tab was told the first.
    assert second.csrf.reveal() == first.csrf.reveal()
    house.clock.now = first.expires
    with pytest.raises(Unauthenticated, match="the session is over"):
        await house.renew(first)
    house.admit(await house.renew(second))


async def wrongs(house: House) -> dict[str, PageSession]:
    """A session of each stored key with which something is wrong by now."""
    smith, found = house.office.smith, {}

    async def opened(maker: Principal = MASTER, **fields: Any) -> tuple[str, Secret, PageSession]:
        key, secret = await smith.create(KeyDraft(**fields), maker)
        return key.id, secret, await house.open(key=secret)

    id_, _, found["disabled"] = await opened()
    await smith.change(id_, KeyChange(disabled=True), MASTER)
    id_, _, found["deleted"] = await opened()
    await smith.delete(id_, MASTER)
    id_, _, found["rotated"] = await opened()
    await smith.rotate(id_, 0, MASTER)
    maker, secret, _ = await opened()
    _, _, found["maker disabled"] = await opened(house.office.maker(secret))
    await smith.change(maker, KeyChange(disabled=True), MASTER)
    _, _, found["expired"] = await opened(expires=house.clock.now + 60)
    return found


async def test_a_page_ends_with_its_key(house: House) -> None:
    sessions = await wrongs(house)
    house.clock.now += 60
    for name, session in sessions.items():
        for ask in (house.read, house.renew):
            with pytest.raises(Unauthenticated) as caught:
                await ask(session)
            assert caught.value.message == "This key is not valid.", name
        with pytest.raises(Unauthenticated):
            house.admit(session)


async def test_a_key_that_leaves_the_configuration_takes_its_page_along(house: House) -> None:
    opened = await house.open(key=FIXED)
    del house.people[FIXED]
    house.gate = house.make_gate()
    with pytest.raises(Unauthenticated):
        house.admit(opened)


async def test_an_account_that_has_a_row_is_bound_by_it(house: House) -> None:
    opened = await house.open(name="ann", password=PASSWORD)
    key, _ = await house.office.smith.create(KeyDraft(principal="user:ann", limits=Limits(parallel=1)), MASTER)
    assert house.admit(opened).key == key.id
    await house.office.smith.change(key.id, KeyChange(disabled=True), MASTER)
    refused: list[type[Fault]] = []
    for ask in (house.read, house.renew):
        with pytest.raises(Fault) as caught:
            await ask(opened)
        refused.append(caught.type)
    assert refused == [Unauthenticated, Unauthenticated]


async def test_the_cookie_is_for_tls_alone_where_the_gateway_speaks_it(house: House) -> None:
    assert not (await house.open(key=FIXED)).is_secure
    upstream: Any = None
    logins = Logins(Kept(), house.tokens, None, upstream)
    sessions = Sessions(house.gate, logins, house.tokens, house.passes, house.office.store, is_secure=True)
    opened = await sessions.find(OpenSession(key=FIXED))
    assert opened.is_secure
    assert (await sessions.find(RenewToken(cookie_of(opened), opened.csrf))).is_secure
