"""Conversations at a back end, on a real store."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dragoman.faults import NotFound
from dragoman.intents import Elsewhere
from dragoman.people import MASTER, Principal
from dragoman.relay.elsewhere import Holding, Holdings
from dragoman.store import open_store

ANN, BOB = Principal("ann"), Principal("bob")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Any]:
    opened = open_store("", tmp_path, "run")
    yield opened
    opened.close()


async def test_who_begins_a_conversation_has_it_for_oneself(store: Any) -> None:
    holdings = Holdings(store)
    holding = await holdings.enter(Elsewhere(begun=lambda: "c"), ANN)
    assert isinstance(holding, Holding)
    await holding.end("broken")
    assert await holdings.enter(Elsewhere("c"), ANN) is None
    assert await holdings.enter(Elsewhere("c"), MASTER) is None
    with pytest.raises(NotFound):
        await holdings.enter(Elsewhere("c"), BOB)


async def test_lists_hide_what_is_somebody_elses(store: Any) -> None:
    holdings = Holdings(store)
    await store.hold("ann", "c")
    for principal, hidden in ((ANN, frozenset()), (BOB, {"c"}), (MASTER, frozenset())):
        listing = Elsewhere(is_list=True)
        await holdings.enter(listing, principal)
        assert listing.hidden == hidden


async def test_an_answer_that_named_no_conversation_notes_nothing(store: Any) -> None:
    holding = await Holdings(store).enter(Elsewhere(begun=lambda: ""), ANN)
    assert holding is not None
    await holding.end("complete")
    assert await store.held_by_others("bob") == frozenset()
