"""From a route to an answer: which target next, with which credential, and when to stop trying.

Rounds over the targets: each is tried with one credential after another while its faults ask for that,
then the next target; a further round, after a pause, only for targets that failed in a way that may pass.
Nothing is tried again once a delta has been delivered.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

import msgspec

from dragoman.admission.desk import Desk
from dragoman.admission.queue import Ticket
from dragoman.faults import (
    Broken,
    Busy,
    CallerFault,
    ConnectFailed,
    Fault,
    KeyRejected,
    NoTarget,
    Truncated,
    Unsupported,
)
from dragoman.intents import Ask, Forward, Say
from dragoman.legs import Leg, Outbound, Upstream, read_all
from dragoman.ports import Turn
from dragoman.records import Attempt
from dragoman.relay import plan, retry
from dragoman.relay.drains import Drains
from dragoman.relay.health import Breaker
from dragoman.relay.lanes import Lane
from dragoman.relay.lines import Line
from dragoman.relay.pool import Member
from dragoman.relay.pump import Pump
from dragoman.relay.settle import Call
from dragoman.routes import Credential, Route, Target

log = logging.getLogger("dragoman.providers")
# A shorter one would be found inside ordinary words.
SHORTEST_SECRET = 8
# A place may become free at any moment, or a queue moves by itself.
UNKNOWN_S = 1e9
NOT_CROWDED_S = float("inf")
PASSING = (Broken, ConnectFailed, Truncated)


class Limits(msgspec.Struct, frozen=True):
    """How many attempts a call may have, and how large an answer may be."""

    attempts: int
    answer_bytes: int


class Dispatch:
    """Makes the attempts of all calls of one process."""

    def __init__(
        self,
        lanes: dict[str, Lane],
        upstream: Upstream,
        desk: Desk,
        budget: retry.Budget,
        limits: Limits,
        drains: Drains,
    ) -> None:
        # Asking for the running loop costs a system call each time (CPython 3.11).
        self._now = asyncio.get_running_loop().time
        self._lanes = lanes
        self._upstream = upstream
        self.budget = budget
        self._attempts = limits.attempts
        self._max_answer_bytes = limits.answer_bytes
        self.drains = drains
        self._desk = desk

    async def answer(self, turn: Turn, route: Route, call: Call, leg: Leg, rest: "Rest | None") -> None:
        """Answer a turn by the first target that can. Raises the fault that ended the last attempt."""
        trial = _Trial(turn, call, leg, rest, drains=route.on_abort == "drain")
        while True:
            trial.line, trial.crowded_s = None, NOT_CROWDED_S
            targets = plan.ordered(route)
            try:
                for number in range(self._attempts):
                    if number:
                        if not targets or trial.count >= self._attempts or not self._may_retry(trial):
                            break
                        await asyncio.sleep(retry.pause_s(number))
                    before = trial.count
                    left = []
                    for target in targets:
                        if await self._try(target, trial):
                            return
                        if isinstance(trial.fault, PASSING):
                            left.append(target)
                    targets = left
                    if trial.count == before:
                        break
            finally:
                self._give_back(trial)
            if trial.fault is not None:
                raise trial.fault
            await self._wait_in_line(trial, route)

    def _give_back(self, trial: "_Trial") -> None:
        """Return what was taken so that targets could be tried."""
        if trial.retrying:
            self.budget.give()
            trial.retrying = False
        if trial.turn_at is not None:
            # The turn was not used here: it is the next one's.
            trial.turn_at.queue.free()
            trial.turn_at = None

    async def _wait_in_line(self, trial: "_Trial", route: Route) -> None:
        """Nobody could be asked: wait for a turn where there is a line. Raises Busy, NoTarget, or as the queue does."""
        line = trial.line
        if line is None or UNKNOWN_S > trial.crowded_s > line.wait_s:
            raise self._no_target(route, trial.crowded_s)
        if trial.crowded_s < UNKNOWN_S:
            line.call_in(trial.crowded_s)
        trial.ticket = await line.wait(trial.turn, trial.call, trial.leg, trial.ticket)
        trial.turn_at = line

    def _may_retry(self, trial: "_Trial") -> bool:
        if not trial.retrying:
            trial.retrying = self.budget.take()
        return trial.retrying

    async def _try(self, target: Target, trial: "_Trial") -> bool:
        """Try one target with its credentials. Returns whether it answered; raises what ends all trying."""
        lane = self._lanes[target.provider]
        breaker = lane.breaker(target.model)
        tried: set[int] = set()
        while trial.count < self._attempts:
            now = self._now()
            member = trial.own or lane.pool.pick(now, tried)
            if member is not None and id(member) in tried:
                return False
            if member is None:
                if not tried:
                    trial.crowded(lane, *lane.pool.soonest(now))
                return False
            tried.add(id(member))
            if not self._seated(member, lane, trial):
                continue
            if not breaker.admit(now):
                trial.call.unseat()
                return False
            if trial.count and not self._may_retry(trial):
                trial.call.unseat()
                breaker.undecided()
                return False
            trial.count += 1
            trial.took_turn(lane)
            try:
                await self._attempt(target, lane, member, breaker, trial)
            except Fault as fault:
                self._judge(fault, target, lane, member, breaker, trial)
                if not retry.worth_it(fault, delivered=trial.is_over(fault)):
                    raise
                if fault.retry != "credential":
                    return False
            except asyncio.CancelledError:
                breaker.undecided()
                trial.note(target, member, "abandoned")
                raise
            else:
                return True
        return False

    def _seated(self, member: Member, lane: Lane, trial: "_Trial") -> bool:
        """Take a share of a credential's limits, behind those who wait for one."""
        line = lane.line
        if line is not None and len(line.queue) and trial.turn_at is not line and member is not trial.own:
            trial.crowded(lane, UNKNOWN_S, Busy.code)
            return False
        if member.holder is not None:
            seat = self._desk.seat(member.holder, trial.call.bound)
            if isinstance(seat, float):
                trial.crowded(lane, seat, Busy.code)
                return False
            trial.call.sit(seat, None if line is None else line.queue.free)
        return True

    def _judge(
        self, fault: Fault, target: Target, lane: Lane, member: Member, breaker: Breaker, trial: "_Trial"
    ) -> None:
        """Let the fault's policy rest what it asks to rest, and keep what the attempt came to."""
        now = self._now()
        fault.message = _without_secret(fault.message, member)
        fault.detail = _without_secret(fault.detail, member)
        fault.kind = fault.kind and _without_secret(fault.kind, member)
        fault.field = fault.field and _without_secret(fault.field, member)
        trial.fault = fault
        trial.call.gave_up(target)
        trial.note(target, member, fault.code, fault.detail)
        if fault.bench == "target":
            breaker.bad(now)
            if isinstance(fault, ConnectFailed):
                lane.state = f"down: {fault.message}"
        elif fault.bench == "credential":
            breaker.undecided()
            if member is trial.own:
                return
            lane.pool.bench(member, fault, now)
            tail = member.credential.secret.tail
            if isinstance(fault, KeyRejected):
                log.warning(
                    "provider %s rejects the credential …%s, which now rests: %s", lane.name, tail, fault.detail
                )
        elif isinstance(fault, CallerFault) and not isinstance(fault, Unsupported):
            breaker.good()
        else:
            breaker.undecided()

    async def _attempt(self, target: Target, lane: Lane, member: Member, breaker: Breaker, trial: "_Trial") -> None:
        intent = trial.turn.intent
        if isinstance(intent, Say):
            raise TypeError("a turn in a conversation is relayed as the question that it came to")
        outbound = lane.provider.request(intent, target.model, member.credential)
        if trial.rest is not None and isinstance(intent, Forward):
            trial.rest.attach(outbound, intent)
        trial.call.asked = True
        trial.call.target = target
        exchange = await self._upstream.call(outbound, lane.patience)
        # A prompt may be large and its answer long.
        del outbound
        pump: Pump | None = None
        is_ours = True
        try:
            if not 200 <= exchange.status < 300:
                raise lane.provider.fault(exchange.status, exchange.headers, await read_all(exchange))
            reader = lane.provider.reader(intent, exchange.headers)

            def good() -> None:
                breaker.good()
                lane.state = "up"
                trial.note(target, member, "ok")
                trial.turn.begun()

            pump = Pump(exchange, trial.turn, trial.call, trial.leg, good)
            await pump.run(reader, self._max_answer_bytes)
        except asyncio.CancelledError:
            if pump is not None and trial.drains and trial.leg.gone and self.drains.take(exchange, reader, trial.call):
                pump.give_up()
                is_ours = False
            raise
        finally:
            if is_ours:
                exchange.close()

    def _no_target(self, route: Route, crowded_s: float) -> Fault:
        """Nothing could be tried: say why, and when it may work again."""
        now = self._now()
        if crowded_s < NOT_CROWDED_S:
            wait_s = 1.0 if crowded_s == UNKNOWN_S else crowded_s
            return Busy("Every credential for this model is at its limit; try again later.", retry_after_s=wait_s)
        waits: list[float] = []
        reasons: list[str] = []
        for target in (*route.targets, *route.fallbacks):
            lane = self._lanes[target.provider]
            breaker = lane.breaker(target.model)
            if breaker.is_open:
                waits.append(max(0.0, breaker.opens_until - now))
                reasons.append("failing")
            else:
                wait_s, why = lane.pool.soonest(now)
                waits.append(wait_s)
                reasons.append("busy" if why == Busy.code else "rejecting the gateway's credential")
        soonest_s = max(1.0, min(waits))
        if set(reasons) == {"busy"}:
            return Busy("Every provider of this model is busy; try again later.", retry_after_s=soonest_s)
        said = ", ".join(sorted(set(reasons)))
        return NoTarget(f"No provider of this model can be asked now: {said}.", retry_after_s=soonest_s)

    def first_of_wire(self, route: Route, wire: str) -> Route | None:
        """Narrow a route to the targets whose provider speaks a wire; None if there is none."""
        fit = tuple(t for t in (*route.targets, *route.fallbacks) if self._lanes[t.provider].provider.wire == wire)
        return Route(route.name, fit[:1], fit[1:]) if fit else None


class Rest:
    """The part of a caller's body that has not been read: it can go to one attempt only."""

    def __init__(self, leg: Leg, pieces: AsyncIterator[bytes]) -> None:
        self._leg = leg
        self._pieces = pieces
        self.spent = False

    def attach(self, outbound: Outbound, intent: Forward) -> None:
        held = outbound.body if isinstance(outbound.body, bytes) else b""
        length = self._leg.length
        outbound.length = None if length is None else length - intent.held + len(held)
        outbound.body = self._all(held)

    async def _all(self, held: bytes) -> AsyncIterator[bytes]:
        yield held
        async for piece in self._pieces:
            self.spent = True
            yield piece


class _Trial:
    """The attempts of one call."""

    __slots__ = (
        "call",
        "count",
        "crowded_s",
        "drains",
        "fault",
        "leg",
        "line",
        "own",
        "rest",
        "retrying",
        "ticket",
        "turn",
        "turn_at",
    )

    def __init__(self, turn: Turn, call: Call, leg: Leg, rest: Rest | None, *, drains: bool) -> None:
        self.drains = drains
        self.turn = turn
        self.call = call
        self.leg = leg
        self.rest = rest
        self.count = 0
        self.fault: Fault | None = None
        self.retrying = False
        self.crowded_s = NOT_CROWDED_S
        self.line: Line | None = None
        self.ticket: Ticket | None = None
        self.turn_at: Line | None = None
        own_key = turn.intent.own_key if isinstance(turn.intent, Ask) else None
        self.own = Member(Credential(own_key)) if own_key else None

    def crowded(self, lane: Lane, wait_s: float, why: str) -> None:
        """A provider has no credential free: it may have one in `wait_s`, and may have a line to wait in."""
        if why != Busy.code:
            return
        self.crowded_s = min(self.crowded_s, wait_s)
        self.line = self.line or lane.line

    def took_turn(self, lane: Lane) -> None:
        """A turn in the line was used; whether there is room for more, the next one finds out."""
        if self.turn_at is not None and self.turn_at is lane.line:
            self.turn_at.queue.free()
            self.turn_at = None

    def is_over(self, fault: Fault) -> bool:
        """Whether something went to the caller, or the caller's body was spent."""
        delivered = self.call.first_byte_at is not None
        return delivered or (self.rest is not None and self.rest.spent and not isinstance(fault, Unsupported))

    def note(self, target: Target, member: Member, outcome: str, detail: str = "") -> None:
        """Say how the attempt under way went; what was said of it before, it has outlived."""
        tail = member.credential.secret.tail
        del self.call.attempts[self.count - 1 :]
        self.call.attempts.append(Attempt(target.provider, target.model, tail, outcome, detail, self.call.elapsed_ms()))


def _without_secret(text: str, member: Member) -> str:
    secret = member.credential.secret.reveal()
    if len(secret) < SHORTEST_SECRET:
        return text
    text = text.replace(secret, "***")
    # A provider's text is capped: it may end amid the secret.
    sizes = range(min(len(secret), len(text)), SHORTEST_SECRET // 2 - 1, -1)
    cut = next((size for size in sizes if text.endswith(secret[:size])), 0)
    return f"{text[:-cut]}***" if cut else text
