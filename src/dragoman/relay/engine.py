"""One request from its head to its end: who asks, what for, and what is said when it goes wrong.

This file has the one place that catches everything: what nobody foresaw becomes `Internal`, is logged,
and never shown.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import cast

from dragoman.chat import estimate_tokens
from dragoman.faults import Draining, Fault, Internal, Malformed, NotFound, Refused, SlowReader, WrongMethod
from dragoman.intents import Ask, Count, Forward, ListModels
from dragoman.legs import Head, Leg
from dragoman.people import Principal
from dragoman.ports import Ledger, Lookup, Reply, Session, Turn
from dragoman.relay.dispatch import Dispatch, Rest
from dragoman.relay.gate import Gate
from dragoman.relay.plan import Atlas
from dragoman.relay.retry import Budget
from dragoman.relay.settle import Call
from dragoman.routes import Route

log = logging.getLogger("dragoman.engine")
LEFT = 499


class Engine:
    """Serves turns of any dialect through any provider."""

    def __init__(
        self, gate: Gate, atlas: Atlas, dispatch: Dispatch, budget: Budget, ledger: Ledger, max_body_bytes: int
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._gate = gate
        self._atlas = atlas
        self._dispatch = dispatch
        self._budget = budget
        self._ledger = ledger
        self._max_body_bytes = max_body_bytes
        self._live: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self.draining = False

    # --- a request's life

    async def serve(self, make: Callable[[Head], Session], leg: Leg) -> None:
        """Serve one request, whatever happens."""
        session = make(leg.head)
        task = cast("asyncio.Task[None]", asyncio.current_task(self._loop))
        self._live.add(task)
        leg.on_gone(task.cancel)
        try:
            await self._serve(session, leg)
        except Fault as fault:
            await _refuse(session, leg, fault)
        except asyncio.CancelledError:
            if not leg.gone:
                await _refuse(session, leg, Draining())
        except Exception:
            log.exception("request %s failed", leg.head.id)
            await _refuse(session, leg, Internal())
        finally:
            self._live.discard(task)
            if not self._live:
                self._empty.set()

    async def wrong_method(self, make: Callable[[Head], Session], allowed: str, leg: Leg) -> None:
        """Answer a known path that was asked with another method; Allow is required (RFC 9110, 15.5.6)."""
        reply = make(leg.head).refuse(WrongMethod(f"{leg.head.path} takes {allowed}, not {leg.head.method}."))
        reply.headers.append((b"allow", allowed.encode()))
        await _send(leg, reply)

    async def _serve(self, session: Session, leg: Leg) -> None:
        if self.draining:
            raise Draining
        principal = self._gate.admit(session.claim())
        rest: Rest | None = None
        if session.whole:
            found = session.receive(await leg.body(self._max_body_bytes))
        else:
            found, rest = await self._begin(session, leg)
        if found is None:
            raise Malformed("The body ended before the request was complete.")
        intent = found.intent
        match intent:
            case ListModels():
                await _send(leg, cast("Lookup", found).answer(self._cards(intent, principal)))
            case Count():
                await self._count(found, intent, principal, leg)
            case Ask() | Forward():
                route = self._atlas.route(intent.model, principal)
                await self._relay(cast("Turn", found), route, principal, leg, rest)

    async def _begin(self, session: Session, leg: Leg) -> tuple[Turn | Lookup | None, Rest]:
        """Feed a session that does not need the whole body until it knows what is wanted."""
        pieces: AsyncIterator[bytes] = leg.stream(self._max_body_bytes)
        rest = Rest(leg, pieces)
        async for piece in pieces:
            if found := session.receive(piece):
                return found, rest
        return None, rest

    # --- the intents

    async def _relay(self, turn: Turn, route: Route, principal: Principal, leg: Leg, rest: Rest | None) -> None:
        call = Call(self._ledger, leg.head.id, principal.name, turn.intent.wire, turn.intent.model)
        self._budget.calls += 1
        try:
            await self._dispatch.answer(turn, route, call, leg, rest)
        except Fault as fault:
            await self._broken(turn, call, leg, fault)
        except asyncio.CancelledError:
            if leg.gone:
                call.settle("abandoned", LEFT, SlowReader() if leg.late == "write" else None)
                return
            await self._broken(turn, call, leg, Draining())
        finally:
            self._budget.calls -= 1
            # Settled long ago, but for what nobody foresaw.
            call.settle("failed", Internal.status, Internal())

    async def _broken(self, turn: Turn, call: Call, leg: Leg, fault: Fault) -> None:
        """Before the first byte the session refuses; after it the turn says so, and nothing looks like an end."""
        if not leg.opened:
            call.settle("refused" if fault.blame == "caller" else "failed", fault.status, fault)
            raise fault
        call.settle("truncated", 200, fault)
        pieces = turn.fail(fault)
        if pieces:
            await leg.write(pieces)
        leg.cut()

    def _cards(self, intent: ListModels, principal: Principal) -> list:  # type: ignore[type-arg]
        cards = self._atlas.cards(principal)
        if intent.name is None:
            return cards
        named = [card for card in cards if card.name == intent.name]
        if not named:
            raise NotFound(f"The model {intent.name[:100]!r} is not served here.", field="model")
        return named

    async def _count(self, found: Turn | Lookup, intent: Count, principal: Principal, leg: Leg) -> None:
        """Ask a provider that counts; estimate where none does."""
        route = self._atlas.route(intent.model, principal)
        narrowed = self._dispatch.first_of_wire(route, intent.wire)
        if narrowed:
            try:
                await self._relay(cast("Turn", found), narrowed, principal, leg, None)
            except Refused as fault:
                if fault.status not in (404, 405, 501):
                    raise
            else:
                return
        await _send(leg, cast("Lookup", found).answer(estimate_tokens(intent.request())))

    # --- the end

    async def drain(self, grace_s: float) -> None:
        """Refuse what is new, let what runs finish for so long, then end it as broken."""
        self.draining = True
        if not self._live:
            return
        self._empty.clear()
        log.info("draining: %d under way, up to %g s", len(self._live), grace_s)
        try:
            async with asyncio.timeout(grace_s):
                await self._empty.wait()
        except TimeoutError:
            left = list(self._live)
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=2)


async def _send(leg: Leg, reply: Reply) -> None:
    await leg.open(reply.status, reply.headers, len(reply.body))
    await leg.finish([reply.body])


async def _refuse(session: Session, leg: Leg, fault: Fault) -> None:
    """Refuse in the dialect's own shape, or cut an answer that has begun."""
    if leg.gone:
        return
    if leg.opened:
        leg.cut()
        return
    await _send(leg, session.refuse(fault))
