"""Never overspent, never leaked: whatever callers, processes and clocks do, in whatever order."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent / "admission")]

from banks import LEASE_S, Clock, MemoryBank, Vault  # noqa: E402
from budgeting import EVENTS, Callers, World, play  # noqa: E402

START = 1_774_740_000.0
"""An hour before clocks go forward in Berlin, early on a Sunday."""


def steps(*events: str) -> st.SearchStrategy:
    return st.lists(
        st.tuples(st.sampled_from(events), st.integers(0, 10_000), st.floats(0, 1)), min_size=30, max_size=150
    )


class Events:
    """What happens to clocks and to the database."""

    def __init__(self, world: World, clock: Clock) -> None:
        self.world = world
        self.clock = clock

    async def __call__(self, event: str, pick: int, part: float) -> bool:
        match event:
            case "pass":
                seconds = part * (1, 60, 3600)[pick % 3]
                self.clock.now += seconds
                # Nobody sleeps through its lease: what follows then, docs/budgets.md says.
                self.clock.s += min(seconds, LEASE_S / 2)
                for process in self.world.processes:
                    await process.desk.tidy()
            case "jump":
                self.clock.now += (part - 0.5) * (10, 7200, 86_400)[pick % 3]
            case "down" | "up":
                for process in self.world.processes:
                    process.bank.fails = event == "down"
            case _:
                return False
        return True


def pots(process):
    for holding in process.desk._register._holdings.values():
        for purse in holding.purses.values():
            yield purse.pot
        yield holding.places


async def one_process(happenings) -> None:
    clock = Clock(START)
    vault = Vault(clock)
    world = World(clock, lambda run: MemoryBank(vault, run), vault.load)
    events = Events(world, clock)
    await play(world, happenings, events)
    await events("up", 0, 0)
    await world.finish()
    assert world.wrong == []
    assert +world.settled == +Counter(vault.spent)
    for pot in pots(world.processes[0]):
        if pot and pot.is_known:
            assert pot.reserved == 0
            assert pot.free == pot.account.most - world.settled[pot.account.name, pot.window]


async def three_processes(happenings) -> None:
    clock = Clock(START)
    vault = Vault(clock)
    world = World(clock, lambda run: MemoryBank(vault, run, is_sole=False), vault.load, processes=3)
    await play(world, happenings, Events(world, clock))
    await world.finish()
    assert world.wrong == []
    assert +world.settled == +Counter(vault.spent)
    clock.pass_(LEASE_S + 1)
    for _ in range(2):
        for process in world.processes:
            await process.desk.tidy()
    for process in world.processes:
        assert not any(pot and (pot.reserved or pot.owed or pot.free > 0) for pot in pots(process))
    assert not [(key, held) for key, held in vault.shares.items() if any(held.values())]


@settings(max_examples=150, deadline=None)
@given(steps(*EVENTS, "jump", "down", "up"))
def test_one_process_never_overspends_and_loses_nothing(happenings) -> None:
    asyncio.run(one_process(happenings))


@settings(max_examples=150, deadline=None)
@given(steps(*EVENTS))
def test_three_processes_never_overspend_and_lose_nothing(happenings) -> None:
    asyncio.run(three_processes(happenings))


def test_the_last_cent_among_two_hundred() -> None:
    async def everybody() -> None:
        clock = Clock(START)
        vault = Vault(clock)
        world = World(clock, lambda run: MemoryBank(vault, run), vault.load, callers=Callers(1))
        for _ in range(200):
            world.come(world.processes[0], "ann", 1)
        await world.breathe(10)
        assert (world.admitted, world.refused) == (3, 197)

    asyncio.run(everybody())
