"""What needs no relay: models, tokens, and the conversations as things to list, read and change."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from dragoman.admission.gate import Gate
from dragoman.admission.login import Logins
from dragoman.admission.office import Office
from dragoman.admission.sessions import Sessions
from dragoman.errands import Errand
from dragoman.faults import NotFound
from dragoman.intents import (
    Adopt,
    DropThread,
    ListModels,
    ListThreads,
    Login,
    Mint,
    OpenSession,
    ReadListeners,
    ReadMetrics,
    ReadSession,
    ReadThread,
    RenameThread,
    RenewToken,
    Wish,
)
from dragoman.people import Principal
from dragoman.relay.plan import Atlas
from dragoman.routes import ModelCard
from dragoman.threads import Shelf, Thread, Threads, title_of

Reads = Mapping[type[Wish], Callable[[], Any]]
"""What answers wishes that say nothing more than which one they are."""


class Lookups:
    """Answers wishes from what the gateway knows and keeps."""

    def __init__(  # noqa: PLR0913 - each wish has its keeper
        self,
        atlas: Atlas,
        gate: Gate,
        threads: Threads,
        logins: Logins,
        office: Office,
        reads: Reads,
        *,
        sessions: Sessions,
    ) -> None:
        self._atlas = atlas
        self._gate = gate
        self._threads = threads
        self._logins = logins
        self._sessions = sessions
        self._office = office
        self._reads = reads

    async def find(self, wish: Wish, principal: Principal) -> Any:
        """Return what the wish asks for, as `Lookup.answer` takes it. Raises what the keepers raise."""
        owner = principal.name
        match wish:
            case ListModels():
                return self._cards(wish, principal)
            case Mint(id_, hours, key):
                return self._gate.mint(id_, hours, key)
            case Login(name, password, refresh):
                return await self._logins.login(name, password, refresh=refresh)
            case OpenSession() | ReadSession() | RenewToken():
                return await self._sessions.find(wish)
            case ListThreads():
                return await self._shelf(wish, owner)
            case ReadThread(id_, whole):
                return await (self._threads.story if whole else self._threads.thread)(owner, id_)
            case RenameThread(id_, title):
                return await self._rename(owner, id_, title)
            case DropThread(id_):
                return await self._threads.drop(owner, id_)
            case Adopt(chronicles):
                return await self._threads.adopt(owner, chronicles)
            case ReadListeners() | ReadMetrics():
                return self._reads[type(wish)]()
        return await self._office.find(cast("Errand", wish), principal)

    def _cards(self, wish: ListModels, principal: Principal) -> list[ModelCard]:
        cards = self._atlas.cards(principal)
        if wish.name is None:
            return cards
        named = [card for card in cards if card.name == wish.name]
        if not named:
            raise NotFound(f"The model {wish.name[:100]!r} is not served here.", field="model")
        return named

    async def _shelf(self, wish: ListThreads, owner: str) -> Shelf:
        shelf = await self._threads.shelf(owner, wish.offset, wish.limit, wish.query, wish.before)
        if wish.never_none and shelf.total == 0:
            return Shelf([await self._threads.first(owner)][: wish.limit], 1)
        return shelf

    async def _rename(self, owner: str, id_: str, title: str) -> Thread:
        if not title:
            story = await self._threads.story(owner, id_)
            asked = [node.text for node in story.nodes if node.role == "user"]
            title = title_of(asked[0] if asked else "")
        return await self._threads.rename(owner, id_, title)
