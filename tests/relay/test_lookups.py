"""What needs no relay, on a real store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dragoman.faults import NotFound
from dragoman.intents import Adopt, DropThread, ListModels, ListThreads, Login, Mint, ReadThread, RenameThread
from dragoman.people import Principal, Secret
from dragoman.relay.lookups import Lookups
from dragoman.relay.plan import Atlas
from dragoman.routes import Route, Target
from dragoman.store import open_store
from dragoman.threads import Chronicle, Line

ME, OTHER = Principal("me"), Principal("other", ("n*",))
CHRONICLE = Chronicle("old", [Line("user", "first line\nsecond"), Line("assistant", "yes")])


class Desk:
    """Stands for the gate and the logins, which have tests of their own."""

    def mint(self, id_: str, hours: int, key: Secret) -> str:
        return f"{id_} {hours} {key.reveal()}"

    async def login(self, name: str, password: Secret, *, refresh: bool) -> str:
        return f"{name} {password.reveal()} {refresh}"


@pytest.fixture
async def lookups(tmp_path: Path) -> AsyncIterator[Lookups]:
    store = open_store("", tmp_path, "run")
    desk: Any = Desk()
    yield Lookups(
        Atlas([Route("m", (Target("p", "m"),))], {"p": ["m"]}, 0), desk, store, desk, desk, desk, sessions=desk
    )
    store.close()


async def test_models(lookups: Lookups) -> None:
    assert [card.name for card in await lookups.find(ListModels(), ME)] == ["m"]
    assert await lookups.find(ListModels(), OTHER) == []
    with pytest.raises(NotFound):
        await lookups.find(ListModels("x"), ME)


async def test_tokens(lookups: Lookups) -> None:
    assert await lookups.find(Mint("1", 2, Secret("k")), ME) == "1 2 k"
    assert await lookups.find(Login("n", Secret("p"), refresh=True), ME) == "n p True"


async def test_an_owner_without_conversations_gets_one_where_that_is_wanted(lookups: Lookups) -> None:
    assert (await lookups.find(ListThreads(), ME)).total == 0
    shelf = await lookups.find(ListThreads(never_none=True), ME)
    assert shelf.total == 1
    assert shelf.threads[0].current == shelf.threads[0].root
    again = await lookups.find(ListThreads(never_none=True), ME)
    assert again.threads[0].id == shelf.threads[0].id


async def test_conversations_are_read_renamed_and_dropped_by_their_owner(lookups: Lookups) -> None:
    (thread,) = await lookups.find(Adopt([CHRONICLE]), ME)
    assert (await lookups.find(ReadThread(thread.id, whole=False), ME)).title == "old"
    assert [n.text for n in (await lookups.find(ReadThread(thread.id), ME)).nodes] == ["first line\nsecond", "yes"]
    assert (await lookups.find(RenameThread(thread.id, "new"), ME)).title == "new"
    assert (await lookups.find(RenameThread(thread.id, ""), ME)).title == "first line"
    for wish in (ReadThread(thread.id), RenameThread(thread.id, "x"), DropThread(thread.id)):
        with pytest.raises(NotFound):
            await lookups.find(wish, OTHER)
    await lookups.find(DropThread(thread.id), ME)
    with pytest.raises(NotFound):
        await lookups.find(ReadThread(thread.id), ME)
