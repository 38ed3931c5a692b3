"""Conversations that a back end keeps. Its account is everybody's; who began what is noted here."""

from dragoman.faults import NotFound
from dragoman.intents import Elsewhere
from dragoman.people import MASTER, Principal
from dragoman.threads import State, Threads


class Holding:
    """Notes whose a new conversation is, as its first answer ends. Keeps `dragoman.relay.settle.Kept`."""

    def __init__(self, threads: Threads, owner: str, elsewhere: Elsewhere) -> None:
        self._threads = threads
        self._owner = owner
        self._elsewhere = elsewhere

    async def end(self, state: State) -> None:  # noqa: ARG002 - a conversation that broke is still somebody's
        id_ = self._elsewhere.begun() if self._elsewhere.begun else ""
        if id_:
            await self._threads.hold(self._owner, id_)


class Holdings:
    """Who may see what of the back end's conversations: one's own, and those that nobody began through this gateway.
    The master key sees all.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def enter(self, elsewhere: Elsewhere, principal: Principal) -> Holding | None:
        """Check or prepare a call; return what is to be noted as it ends. Raises NotFound."""
        if elsewhere.is_list or elsewhere.thread:
            if principal == MASTER:
                return None
            if elsewhere.is_list:
                elsewhere.hidden = await self._threads.held_by_others(principal.name)
            elif not await self._threads.may_enter(principal.name, elsewhere.thread):
                raise NotFound("There is no conversation of this id.", field="conversation_id")
            return None
        return Holding(self._threads, principal.name, elsewhere)
