"""One request from its head to its end: who asks, what for, and what is said when it goes wrong.

This file has the one place that catches everything: what nobody foresaw becomes `Internal`, is logged,
and never shown.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import cast

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
from dragoman.intents import Ask, Count, Forward, Recite, Say, Stop
from dragoman.legs import Leg, Reply, Script
from dragoman.people import Principal
from dragoman.ports import Ledger, Lookup, Mount, Note, Outcome, Session, Talk, Turn
from dragoman.relay.crossing import choose
from dragoman.relay.dispatch import Dispatch, Rest
from dragoman.relay.elsewhere import Holdings
from dragoman.relay.lookups import Lookups
from dragoman.relay.plan import Atlas
from dragoman.relay.settle import Call, Kept
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


class Engine:
    """Serves turns of any dialect through any provider."""

    def __init__(self, knowledge: Knowledge, dispatch: Dispatch, ledger: Ledger, max_body_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._gate = knowledge.gate
        self._atlas = knowledge.atlas
        self._lookups = knowledge.lookups
        self._talks = knowledge.talks
        self._holdings = knowledge.holdings
        self._dispatch = dispatch
        self._ledger = ledger
        self._max_body_bytes = max_body_bytes
        self._live: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self.draining = False

    # --- a request's life

    async def serve(self, mounts: Sequence[Mount], leg: Leg) -> None:
        """Serve one request, whatever happens. Of several mounts the request itself says which is meant."""
        mount, body = mounts[-1], None
        session = mount.session(leg.head)
        task = cast("asyncio.Task[None]", asyncio.current_task(self._loop))
        self._live.add(task)
        leg.on_gone(task.cancel)
        try:
            if len(mounts) > 1:
                body = await leg.body(self._max_body_bytes)
                mount = choose(mounts, leg.head, body, self._gate.kin)
                session = mount.session(leg.head)
            found, principal, rest = await self._understand(mount, session, leg, body)
            # A stream may be long: nothing that it does not need is held for it.
            body = None
            await self._do(found, principal, session, leg, rest)
        except Fault as fault:
            self._note(leg, fault.status, fault.code)
            await _refuse(session, leg, fault)
        except asyncio.CancelledError:
            if not leg.gone:
                await _refuse(session, leg, Cancelled() if leg.stopped else Draining())
        except Exception:
            log.exception("request %s failed", leg.head.id)
            await _refuse(session, leg, Internal())
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

    async def _understand(
        self, mount: Mount, session: Session, leg: Leg, body: bytes | None
    ) -> tuple[Turn | Lookup, Principal, Rest | None]:
        """Read what is wanted, and who wants it."""
        if self.draining:
            raise Draining
        rest: Rest | None = None
        if session.late or body is not None:
            found = session.receive(await leg.body(self._max_body_bytes) if body is None else body)
            principal = self._admit(mount, session)
        else:
            principal = self._admit(mount, session)
            if session.whole:
                found = session.receive(await leg.body(self._max_body_bytes))
            else:
                found, rest = await self._begin(session, leg)
        if found is None:
            raise Malformed("The body ended before the request was complete.")
        return found, principal, rest

    def _admit(self, mount: Mount, session: Session) -> Principal:
        return ANONYMOUS if mount.public else self._gate.admit(session.claim(), mount)

    async def _begin(self, session: Session, leg: Leg) -> tuple[Turn | Lookup | None, Rest]:
        """Feed a session that does not need the whole body until it knows what is wanted."""
        pieces: AsyncIterator[bytes] = leg.stream(self._max_body_bytes)
        rest = Rest(leg, pieces)
        async for piece in pieces:
            if found := session.receive(piece):
                return found, rest
        return None, rest

    # --- the intents

    async def _do(
        self, found: Turn | Lookup, principal: Principal, session: Session, leg: Leg, rest: Rest | None
    ) -> None:
        intent = found.intent
        match intent:
            case Ask() | Forward():
                turn = cast("Turn", found)
                loose = isinstance(intent, Ask) and intent.loose
                route = self._atlas.route(intent.model, principal, loose=loose)
                if loose:
                    intent.model = route.name
                call = _call(self._ledger, leg, principal, intent)
                if isinstance(intent, Forward) and intent.elsewhere is not None:
                    call.kept = await self._holdings.enter(intent.elsewhere, principal)
                await self._relay(turn, route, call, session, leg, rest)
            case Say():
                await self._say(cast("Talk", found), intent, principal, session, leg)
            case Count():
                await self._count(found, intent, principal, session, leg)
            case Recite(script):
                self._note(leg, script.status)
                await _recite(script, leg)
            case Stop(label):
                await self._answer(leg, cast("Lookup", found).answer(leg.stop(label)))
            case _:
                await self._answer(leg, cast("Lookup", found).answer(await self._lookups.find(intent, principal)))

    async def _answer(self, leg: Leg, reply: Reply) -> None:
        self._note(leg, reply.status)
        await _send(leg, reply)

    def _note(self, leg: Leg, status: int, code: str = "") -> None:
        head = leg.head
        self._ledger.note(Note(head.id, head.at, head.method, head.path, status, code))

    async def _say(self, turn: Talk, say: Say, principal: Principal, session: Session, leg: Leg) -> None:
        """A turn in a conversation. Whatever happens from here on, its answer is saved as it ended."""
        route = self._atlas.route(say.model, principal, loose=say.loose)
        if turn.label and not leg.name(turn.label):
            raise Conflict("An answer of this id is under way.", field="id")
        talk = await self._talks.begin(turn, say, route, principal)
        call = Call(self._ledger, leg.head.id, principal.name, say.wire, route.name)
        call.kept = talk
        try:
            await self._relay(talk, route, call, session, leg, None)
        finally:
            # Saved long ago, but for what nobody foresaw.
            await _keep(talk, "broken")

    async def _relay(self, turn: Turn, route: Route, call: Call, session: Session, leg: Leg, rest: Rest | None) -> None:
        budget = self._dispatch.budget
        budget.calls += 1
        try:
            if turn.early:
                await leg.open(turn.status, turn.opening([]), None)
                await leg.write([b""])
            await self._dispatch.answer(turn, route, call, leg, rest)
        except Fault as fault:
            await self._broken(turn, call, session, leg, fault)
        except asyncio.CancelledError:
            if leg.gone:
                await _settle(call, "abandoned", LEFT, SlowReader() if leg.late == "write" else None)
                return
            await self._broken(turn, call, session, leg, Cancelled() if leg.stopped else Draining())
        finally:
            budget.calls -= 1
            # Settled long ago, but for what nobody foresaw.
            call.settle("failed", Internal.status, Internal())

    async def _broken(self, turn: Turn, call: Call, session: Session, leg: Leg, fault: Fault) -> None:
        """Before the first byte the session refuses; after it the turn says so, and nothing looks like an end."""
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

    async def _count(
        self, found: Turn | Lookup, intent: Count, principal: Principal, session: Session, leg: Leg
    ) -> None:
        """Ask a provider that counts; estimate where none does."""
        route = self._atlas.route(intent.model, principal)
        narrowed = self._dispatch.first_of_wire(route, intent.wire)
        if narrowed:
            call = _call(self._ledger, leg, principal, intent)
            try:
                await self._relay(cast("Turn", found), narrowed, call, session, leg, None)
            except Refused as fault:
                if fault.status not in (404, 405, 501):
                    raise
            else:
                return
        await self._answer(leg, cast("Lookup", found).answer(estimate_tokens(intent.request())))

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


def _call(ledger: Ledger, leg: Leg, principal: Principal, intent: Ask | Forward | Count) -> Call:
    return Call(ledger, leg.head.id, principal.name, intent.wire, intent.model)


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


async def _refuse(session: Session, leg: Leg, fault: Fault) -> None:
    """Refuse in the dialect's own shape, or cut an answer that has begun."""
    if leg.gone:
        return
    reply = session.refuse(fault)
    if leg.opened:
        leg.cut(reply)
        return
    await _send(leg, reply)
