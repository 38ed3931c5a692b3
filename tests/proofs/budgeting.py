"""A small world of processes that share budgets: callers come, leave and are cut off, processes are lost, clocks jump.

Nothing here knows how budgets are kept: it adds up what grants say that they reserved and charge.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol
from zoneinfo import ZoneInfo

from dragoman.admission.desk import Bound, Desk, Grant
from dragoman.faults import OverBudget, Overloaded, TooMany
from dragoman.people import Principal
from dragoman.records import Charge
from dragoman.standing import Bank, Budget, Holder, Limits

REFUSED = (OverBudget, Overloaded, TooMany)
Key = tuple[str, int]


class Clock(Protocol):
    def unix(self) -> float: ...

    def monotonic(self) -> float: ...


class Callers:
    """Two keys of one maker in one team, in one deployment; and what each may spend."""

    def __init__(self, unit: int = 100) -> None:
        self.limits = {
            "key:maker": Budget(6 * unit, "total"),
            "key:ann": Budget(3 * unit, "hour"),
            "key:bob": Budget(4 * unit, "day"),
            "team:red": Budget(5 * unit, "hour"),
        }
        self.all = Budget(20 * unit, "month")
        self.quota = Limits(requests_per_day=1000, parallel=50)

    def principal(self, name: str) -> Principal:
        names = (f"key:{name}", "key:maker", "team:red")
        return Principal(f"key:{name}", holders=tuple(Holder(n, self.quota, self.limits[n]) for n in names))

    def most(self, account: str) -> int:
        holder, _, what = account.partition("/")
        if what == "requests.day":
            return self.quota.requests_per_day
        return self.all.micro if holder == "all" else self.limits[holder].micro


class Process:
    """One process: its desk, who waits in it, what is under way, and the charges that are not in the store yet."""

    def __init__(self, desk: Desk, bank: Bank, run: str) -> None:
        self.desk = desk
        self.bank = bank
        self.run = run
        self.waiting: list[asyncio.Task[Grant]] = []
        self.open: list[Grant] = []
        self.journal: list[tuple[Charge, ...]] = []


class World:
    """Processes that share a store.

    Args:
        clock: of all processes.
        open_bank: opens the bank for a process of this name.
        load: adds charges of a process to what was spent.
        processes: how many there are at a time.
        callers: who comes.

    """

    def __init__(
        self,
        clock: Clock,
        open_bank: Callable[[str], Bank],
        load: Callable[[Iterable[Charge], str], None],
        *,
        processes: int = 1,
        callers: Callers | None = None,
    ) -> None:
        self.clock = clock
        self.callers = callers or Callers()
        self.settled: Counter[Key] = Counter()
        self.keys: set[Key] = set()
        self.wrong: list[str] = []
        """What broke a limit: it must stay empty."""
        self.admitted = 0
        self.refused = 0
        self._open_bank = open_bank
        self._load = load
        self._runs = 0
        self.processes = [self.start() for _ in range(processes)]

    def start(self) -> Process:
        self._runs += 1
        run = f"run{self._runs}"
        bank = self._open_bank(run)
        desk = Desk(
            bank,
            deployment=Holder("all", budget=self.callers.all),
            models={},
            zone=ZoneInfo("Europe/Berlin"),
            now=self.clock.unix,
            clock=self.clock.monotonic,
        )
        return Process(desk, bank, run)

    # --- what may happen

    def come(self, process: Process, name: str, micro: int) -> None:
        """A caller comes; whether it is let in at once or must wait, is seen later."""
        principal, bound = self.callers.principal(name), Bound(10, 10, micro)
        try:
            grant = process.desk.enter(principal, "m", bound)
        except REFUSED:
            self.refused += 1
            return
        if grant is not None:
            self._let_in(process, grant, principal)
            return
        process.waiting.append(asyncio.create_task(self._wait(process, principal, bound)))

    def cut(self, process: Process, pick: int) -> None:
        """Somebody who waits leaves."""
        if process.waiting:
            process.waiting[pick % len(process.waiting)].cancel()

    def end(self, process: Process, pick: int, part: float) -> None:
        """A call ends, at a part of what was reserved; it is written down."""
        if process.open:
            grant = process.open.pop(pick % len(process.open))
            self._write(process, grant.settle(int(grant.reserved_micro * part), 5))
            assert grant.settle(1, 1) == ()

    def give_up(self, process: Process, pick: int) -> None:
        """A call ends before anybody was asked."""
        if process.open:
            process.open.pop(pick % len(process.open)).release()

    def load(self, process: Process, most: int = 10**9) -> None:
        """The loader does some of its work."""
        for charges in process.journal[:most]:
            self._load(charges, process.run)
        del process.journal[:most]

    def crash(self, process: Process, part: float) -> None:
        """A process is lost, and another takes its place, which first loads what the journal has.

        What was under way is charged a part of what was reserved.
        """
        for task in process.waiting:
            task.cancel()
        for grant in process.open:
            self._write(process, grant.charges(int(grant.reserved_micro * part)))
        process.open = []
        self.load(process)
        self.processes[self.processes.index(process)] = self.start()

    async def breathe(self, turns: int = 3) -> None:
        """Let everything that can run do so."""
        for _ in range(turns):
            await asyncio.sleep(0)
        for process in self.processes:
            process.waiting = [task for task in process.waiting if not task.done()]

    async def finish(self) -> None:
        """All who wait are answered, all calls end, and everything is loaded."""
        tasks = [task for process in self.processes for task in process.waiting]
        await asyncio.gather(*tasks, return_exceptions=True)
        # What lost processes had already asked of the bank is answered too.
        await self.breathe(50)
        for process in self.processes:
            while process.open:
                self.end(process, 0, 0.5)
            self.load(process)

    # --- what must hold

    def reserved(self) -> Counter[Key]:
        sums: Counter[Key] = Counter()
        for process in self.processes:
            for grant in process.open:
                sums.update({(c.account, c.window): c.units for c in grant.charges(None)})
        return sums

    async def _wait(self, process: Process, principal: Principal, bound: Bound) -> None:
        try:
            grant = await process.desk.admit(principal, "m", bound)
        except REFUSED:
            self.refused += 1
            return
        self._let_in(process, grant, principal)

    def _let_in(self, process: Process, grant: Grant, principal: Principal) -> None:
        """Whoever is let in finds that what was spent and reserved, with its own, is within the limits it came with."""
        most = {f"{h.name}/money.{h.budget.window}": h.budget.micro for h in principal.holders if h.budget}
        self.admitted += 1
        process.open.append(grant)
        reserved = self.reserved()
        for charge in grant.charges(None):
            key = charge.account, charge.window
            self.keys.add(key)
            limit = most.get(charge.account, self.callers.most(charge.account))
            if self.settled[key] + reserved[key] > limit:
                self.wrong.append(f"{key}: {self.settled[key]} + {reserved[key]} > {limit}")

    def _write(self, process: Process, charges: tuple[Charge, ...]) -> None:
        process.journal.append(charges)
        for charge in charges:
            self.settled[charge.account, charge.window] += charge.units


Step = tuple[str, int, float]
OFTEN = ("come",) * 16 + ("end",) * 8 + ("load", "breathe") * 3
EVENTS = (*OFTEN, "cut", "give_up", "crash", "pass", "limit", "tidy")


async def play(world: World, steps: Iterable[Step], step_more: Callable[[str, int, float], Awaitable[bool]]) -> None:
    """Let steps happen: what each is, a number to pick with, and a part of the whole.

    `step_more` does those that only the caller knows of, and says whether it did.
    """
    for event, pick, part in steps:
        process = world.processes[pick % len(world.processes)]
        chance = random.Random(pick)
        match event:
            case "come":
                world.come(process, chance.choice(("ann", "bob")), int(part * chance.choice((30, 100, 400))))
            case "end":
                world.end(process, pick, part)
            case "load":
                world.load(process, 1 + pick % 5)
            case "breathe":
                await world.breathe(1 + pick % 8)
            case "cut":
                world.cut(process, pick)
            case "give_up":
                world.give_up(process, pick)
            case "crash":
                world.crash(process, part)
            case "limit":
                name = chance.choice(sorted(world.callers.limits))
                old = world.callers.limits[name]
                world.callers.limits[name] = Budget(int(part * 600), old.window)
            case "tidy":
                await process.desk.tidy()
            case _:
                assert await step_more(event, pick, part), event
