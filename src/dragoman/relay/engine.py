"""One request from its head to its end: who asks, what for, and what is said when it goes wrong.

This file has the one place that catches everything: what nobody foresaw becomes `Internal`, is logged,
and never shown.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import cast

import msgspec

from dragoman.admission.gate import ANONYMOUS, Gate
from dragoman.chat import estimate_tokens
from dragoman.faults import (
    Cancelled,
    Conflict,
    Draining,
    Fault,
    Internal,
    Malformed,
    Refused,
    SlowReader,
    WrongMethod,
)
from dragoman.intents import Ask, Count, Forward, Recite, Say, Stop, Wish
from dragoman.legs import Head, Leg, Reply, Script
from dragoman.people import Principal
from dragoman.ports import Lookup, Mount, Note, Session, Talk, Turn
from dragoman.records import Outcome
from dragoman.relay.crossing import choose
from dragoman.relay.dispatch import Dispatch, Rest
from dragoman.relay.elsewhere import Holdings
from dragoman.relay.keeping import Keeping
from dragoman.relay.lookups import Lookups
from dragoman.relay.plan import Atlas
from dragoman.relay.settle import Books, Call, Kept
from dragoman.relay.talks import Talks
from dragoman.routes import Route
from dragoman.threads import State

log = logging.getLogger("dragoman.engine")
LEFT = 499


class Knowledge:
    """What the engine looks things up in."""

    def __init__(self, gate: Gate, atlas: Atlas, lookups: Lookups, talks: Talks, holdings: Holdings) -> None:
        self.gate = gate
        self.holdings = holdings
        self.atlas = atlas
        self.lookups = lookups
        self.talks = talks


class Visit(msgspec.Struct):
    """A request as far as it is understood: where it came in, who asks, and the way back."""

    mount: Mount
    session: Session
    leg: Leg
    principal: Principal = ANONYMOUS

    @property
    def head(self) -> Head:
        return self.leg.head


class Engine:
    """Serves turns of any dialect through any provider."""

    def __init__(self, knowledge: Knowledge, dispatch: Dispatch, books: Books, max_body_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._gate = knowledge.gate
        self._atlas = knowledge.atlas
        self._lookups = knowledge.lookups
        self._talks = knowledge.talks
        self._holdings = knowledge.holdings
        self._dispatch = dispatch
        self._books = books
        self._max_body_bytes = max_body_bytes
        self._live: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self.draining = False

    # --- a request's life

    async def serve(self, mounts: Sequence[Mount], leg: Leg) -> None:
        """Serve one request, whatever happens. Of several mounts the request itself says which is meant."""
        mount, body = mounts[-1], None
        visit = Visit(mount, mount.session(leg.head), leg)
        task = cast("asyncio.Task[None]", asyncio.current_task(self._loop))
        self._live.add(task)
        leg.on_gone(task.cancel)
        try:
            if len(mounts) > 1:
                body = await leg.body(self._max_body_bytes)
                mount = choose(mounts, leg.head, body, self._gate.kin)
                visit = Visit(mount, mount.session(leg.head), leg)
            found, rest = await self._understand(visit, body)
            # A stream may be long: nothing that it does not need is held for it.
            body = None
            await self._do(found, visit, rest)
        except Fault as fault:
            self._note(leg, fault.status, fault.code)
            await _refuse(visit, fault)
        except asyncio.CancelledError:
            if not leg.gone:
                await _refuse(visit, Cancelled() if leg.stopped else Draining())
        except Exception:
            log.exception("request %s failed", leg.head.id)
            await _refuse(visit, Internal())
        finally:
            self._live.discard(task)
            if not self._live:
                self._empty.set()

    async def wrong_method(self, mount: Mount, allowed: str, leg: Leg) -> None:
        """Answer a known path that was asked with another method; Allow is required (RFC 9110, 15.5.6)."""
        session = mount.session(leg.head)
        reply = session.refuse(WrongMethod(f"{leg.head.path} takes {allowed}, not {leg.head.method}."))
        reply.headers.append((b"allow", allowed.encode()))
        await self._answer(leg, reply)

    async def _understand(self, visit: Visit, body: bytes | None) -> tuple[Turn | Lookup, Rest | None]:
        """Read what is wanted, and who wants it."""
        if self.draining:
            raise Draining
        session, leg = visit.session, visit.leg
        rest: Rest | None = None
        if session.late or body is not None:
            found = session.receive(await leg.body(self._max_body_bytes) if body is None else body)
            self._admit(visit)
        else:
            self._admit(visit)
            if session.whole:
                found = session.receive(await leg.body(self._max_body_bytes))
            else:
                found, rest = await self._begin(session, leg)
        if found is None:
            raise Malformed("The body ended before the request was complete.")
        return found, rest

    def _admit(self, visit: Visit) -> None:
        if not visit.mount.public:
            visit.principal = self._gate.admit(visit.session.claim(), visit.mount)

    async def _begin(self, session: Session, leg: Leg) -> tuple[Turn | Lookup | None, Rest]:
        """Feed a session that does not need the whole body until it knows what is wanted."""
        pieces: AsyncIterator[bytes] = leg.stream(self._max_body_bytes)
        rest = Rest(leg, pieces)
        async for piece in pieces:
            if found := session.receive(piece):
                return found, rest
        return None, rest

    # --- the intents

    def _do(self, found: Turn | Lookup, visit: Visit, rest: Rest | None) -> Awaitable[None]:
        """Return what is to be awaited: a coroutine less for each of a thousand streams."""
        intent, leg = found.intent, visit.leg
        match intent:
            case Ask() | Forward():
                return self._ask(cast("Turn", found), intent, visit, rest)
            case Say():
                return self._say(cast("Talk", found), intent, visit)
            case Count():
                return self._count(found, intent, visit)
            case Recite(script):
                self._note(leg, script.status)
                return _recite(script, leg)
            case Stop(label):
                return self._answer(leg, cast("Lookup", found).answer(leg.stop(label)))
            case _:
                return self._look_up(cast("Lookup", found), visit)

    async def _look_up(self, found: Lookup, visit: Visit) -> None:
        wish = cast("Wish", found.intent)
        await self._answer(visit.leg, found.answer(await self._lookups.find(wish, visit.principal)))

    async def _answer(self, leg: Leg, reply: Reply) -> None:
        self._note(leg, reply.status)
        await _send(leg, reply)

    def _note(self, leg: Leg, status: int, code: str = "") -> None:
        head = leg.head
        self._books.ledger.note(Note(head.id, head.at, head.method, head.path, status, code))

    async def _ask(self, turn: Turn, intent: Ask | Forward, visit: Visit, rest: Rest | None) -> None:
        principal, leg = visit.principal, visit.leg
        loose = isinstance(intent, Ask) and intent.loose
        route = self._atlas.route(intent.model, principal, loose=loose)
        if loose:
            intent.model = route.name
        call = self._call(visit, intent.wire, intent.model)
        if isinstance(intent, Forward) and intent.elsewhere is not None:
            call.kept = await self._holdings.enter(intent.elsewhere, principal)
        await call.enter(intent, route, leg.length or 0)
        if principal.keeps_content:
            turn = call.said = Keeping(turn, intent)
        await self._relay(turn, route, call, visit, rest)

    async def _say(self, turn: Talk, say: Say, visit: Visit) -> None:
        """A turn in a conversation. Whatever happens from here on, its answer is saved as it ended."""
        principal, leg = visit.principal, visit.leg
        route = self._atlas.route(say.model, principal, loose=say.loose)
        if turn.label and not leg.name(turn.label):
            raise Conflict("An answer of this id is under way.", field="id")
        talk = await self._talks.begin(turn, say, route, principal, visit.head.id)
        call = self._call(visit, say.wire, route.name)
        call.kept = talk
        try:
            await call.enter(talk.intent, route, 0)
            kept: Turn = talk
            if principal.keeps_content:
                kept = call.said = Keeping(talk, talk.intent)
            await self._relay(kept, route, call, visit, None)
        finally:
            # Saved long ago, but for what nobody foresaw.
            await _keep(talk, "broken")

    def _call(self, visit: Visit, wire: str, model: str) -> Call:
        return self._books.call(visit.head.id, visit.principal, visit.mount, wire, model)

    async def _relay(self, turn: Turn, route: Route, call: Call, visit: Visit, rest: Rest | None) -> None:
        budget, leg = self._dispatch.budget, visit.leg
        budget.calls += 1
        try:
            if turn.early:
                await leg.open(turn.status, turn.opening([]) + call.headers(), None)
                await leg.write([b""])
            await self._dispatch.answer(turn, route, call, leg, rest)
        except Fault as fault:
            await self._broken(turn, call, visit, fault)
        except asyncio.CancelledError:
            if leg.gone:
                await _settle(call, "abandoned", LEFT, SlowReader() if leg.late == "write" else None)
                return
            await self._broken(turn, call, visit, Cancelled() if leg.stopped else Draining())
        finally:
            budget.calls -= 1
            # Settled long ago, but for what nobody foresaw.
            call.settle("failed", Internal.status, Internal())

    async def _broken(self, turn: Turn, call: Call, visit: Visit, fault: Fault) -> None:
        """Before the first byte the session refuses; after it the turn says so, and nothing looks like an end."""
        session, leg = visit.session, visit.leg
        if not leg.opened:
            await _settle(call, "refused" if fault.blame == "caller" else "failed", fault.status, fault)
            raise fault
        outcome: Outcome = "truncated" if call.first_byte_at is not None else "failed"
        await _settle(call, "abandoned" if isinstance(fault, Cancelled) else outcome, 200, fault)
        pieces = turn.fail(fault)
        if turn.in_band:
            await leg.finish(pieces, session.refuse(fault))
            return
        if pieces:
            await leg.write(pieces)
        leg.cut(session.refuse(fault))

    async def _count(self, found: Turn | Lookup, intent: Count, visit: Visit) -> None:
        """Ask a provider that counts; estimate where none does."""
        route = self._atlas.route(intent.model, visit.principal)
        narrowed = self._dispatch.first_of_wire(route, intent.wire)
        if narrowed:
            call = self._call(visit, intent.wire, intent.model)
            await call.enter(intent, narrowed, 0)
            try:
                await self._relay(cast("Turn", found), narrowed, call, visit, None)
            except Refused as fault:
                if fault.status not in (404, 405, 501):
                    raise
            else:
                return
        await self._answer(visit.leg, cast("Lookup", found).answer(estimate_tokens(intent.request())))

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


STATES: dict[Outcome, State] = {
    "abandoned": "cancelled",
    "refused": "broken",
    "failed": "broken",
    "truncated": "broken",
}


async def _settle(call: Call, outcome: Outcome, status: int, fault: Fault | None) -> None:
    if call.kept is not None:
        await _keep(call.kept, STATES[outcome])
    call.settle(outcome, status, fault)
    if outcome != "abandoned" and call.is_durable:
        await call.durable()


async def _keep(kept: Kept, state: State) -> None:
    """Save an answer that has failed already: a store that fails as well is the operator's matter."""
    try:
        await kept.end(state)
    except Fault as fault:
        log.error("an answer was not saved: %s %s", fault.message, fault.detail)  # noqa: TRY400


async def _recite(script: Script, leg: Leg) -> None:
    first = script.steps[0]
    if len(script.steps) == 1 and not first.wait_s:
        await _send(leg, Reply(script.status, script.headers, first.data))
        return
    await leg.open(script.status, script.headers, None)
    for step in script.steps:
        await asyncio.sleep(step.wait_s)
        await leg.write([step.data])
    await leg.finish([])


async def _send(leg: Leg, reply: Reply) -> None:
    await leg.open(reply.status, reply.headers, len(reply.body))
    await leg.finish([reply.body])


async def _refuse(visit: Visit, fault: Fault) -> None:
    """Refuse in the dialect's own shape, or cut an answer that has begun."""
    leg, mount = visit.leg, visit.mount
    if leg.gone:
        return
    reply = visit.session.refuse(fault)
    if fault.standing is not None and mount.limiting is not None:
        reply.headers += mount.limiting(fault.standing, time.time())
    if leg.opened:
        leg.cut(reply)
        return
    await _send(leg, reply)
