import asyncio
import random
from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.admission.queue import FairQueue, Ticket
from dragoman.faults import Fault, Overloaded, TooMany

AGES_S = 3600.0


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


async def settle() -> None:
    """Let everything that can run do so."""
    for _ in range(6):
        await asyncio.sleep(0)


class Room:
    """A pool of places with its queue, and everybody who came."""

    def __init__(self, places: int, most: int, wait_s: float = AGES_S) -> None:
        self.places = places
        self.clock = Clock()
        self.queue = FairQueue(most, wait_s, self.clock)
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.inside: list[str] = []
        self.served: list[str] = []
        self.faults: dict[str, Fault] = {}

    def take(self) -> bool:
        if self.places <= 0:
            return False
        self.places -= 1
        return True

    def leave(self) -> None:
        self.places += 1
        self.queue.free()

    async def come(self, name: str, principal: str, priority: int) -> None:
        ticket: Ticket | None = None
        try:
            while len(self.queue) and ticket is None or not self.take():
                ticket = await self.queue.wait(principal, priority, again=ticket)
        except Fault as fault:
            self.faults[name] = fault
            return
        self.inside.append(name)
        self.served.append(name)

    def start(self, name: str, principal: str = "", priority: int = 0) -> None:
        self.tasks[name] = asyncio.create_task(self.come(name, principal or name, priority))

    async def arrive(self, *names: str, principal: str = "", priority: int = 0) -> None:
        for name in names:
            self.start(name, principal, priority)
            await settle()

    async def empty(self, n: int = 10_000) -> list[str]:
        """Let those inside leave one after the other; return who was served meanwhile."""
        before = len(self.served)
        while self.inside and n:
            n -= 1
            self.inside.pop(0)
            self.leave()
            await settle()
        return self.served[before:]


async def full_room(most: int = 100) -> Room:
    room = Room(places=1, most=most)
    await room.arrive("first")
    return room


async def test_first_come_first_served_inside_a_principal() -> None:
    room = await full_room()
    await room.arrive("a", "b", "c", principal="p")
    assert await room.empty() == ["a", "b", "c"]
    assert (len(room.queue), room.queue.depth) == (0, {})


async def test_one_that_waits_alone_is_second_at_the_latest() -> None:
    room = await full_room(most=200)
    await room.arrive(*(f"greedy{n}" for n in range(100)), principal="greedy")
    await room.arrive("modest")
    assert "modest" in (await room.empty(2))


async def test_principals_take_turns() -> None:
    room = await full_room()
    await room.arrive("a1", "a2", "a3", principal="a")
    await room.arrive("b1", "b2", principal="b")
    await room.arrive("c1", principal="c")
    assert await room.empty() == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_a_principal_that_gives_up_its_next_keeps_its_turn() -> None:
    room = await full_room()
    await room.arrive("a1", "a2", principal="a")
    await room.arrive("b1", principal="b")
    room.tasks["a1"].cancel()
    await settle()
    assert await room.empty() == ["a2", "b1"]


async def test_higher_classes_go_first() -> None:
    room = await full_room()
    await room.arrive("low1", "low2", priority=-1)
    await room.arrive("high", priority=5)
    await room.arrive("middle")
    assert room.queue.depth == {-1: 2, 0: 1, 5: 1}
    assert await room.empty() == ["high", "middle", "low1", "low2"]


async def test_the_lowest_class_is_shed_first_the_latest_of_whoever_has_most() -> None:
    room = await full_room(most=4)
    await room.arrive("a1", "a2", principal="a", priority=0)
    await room.arrive("b1", principal="b", priority=0)
    await room.arrive("m", priority=1)
    await room.arrive("h1", priority=2)
    assert list(room.faults) == ["a2"]
    assert isinstance(room.faults["a2"], Overloaded)
    assert room.faults["a2"].retry_after_s == AGES_S
    await room.arrive("h2", "h3", "h4", priority=2)
    assert list(room.faults) == ["a2", "b1", "a1", "m"]
    await room.arrive("h5", priority=2)
    assert isinstance(room.faults["h5"], Overloaded)
    assert await room.empty() == ["h1", "h2", "h3", "h4"]


async def test_the_longest_line_is_known_when_it_grows_past_others() -> None:
    room = await full_room(most=4)
    await room.arrive("b1", principal="b")
    await room.arrive("a1", "a2", principal="a")
    await room.arrive("c1", principal="c")
    await room.arrive("high", priority=1)
    assert list(room.faults) == ["a2"]


async def test_whoever_fills_the_queue_keeps_nobody_of_its_class_out() -> None:
    room = await full_room(most=3)
    await room.arrive("a1", "a2", "a3", "a4", principal="a")
    assert list(room.faults) == ["a4"]
    assert isinstance(room.faults["a4"], TooMany)
    await room.arrive("b1", "b2", principal="b")
    assert list(room.faults) == ["a4", "a3", "b2"]
    assert await room.empty() == ["a1", "b1", "a2"]


async def test_a_full_queue_of_higher_classes_is_full() -> None:
    room = await full_room(most=1)
    await room.arrive("high", priority=1)
    await room.arrive("low")
    assert isinstance(room.faults["low"], Overloaded)
    assert list(room.faults) == ["low"]


async def test_a_queue_for_nobody() -> None:
    with pytest.raises(Overloaded):
        await FairQueue(0, AGES_S, Clock()).wait("p", 0)


async def test_the_deadline() -> None:
    clock = Clock()
    queue = FairQueue(5, 0.01, clock)
    with pytest.raises(Overloaded, match=r"0\.01 s") as caught:
        await queue.wait("p", 0)
    assert caught.value.retry_after_s == 0.01
    assert len(queue) == 0


async def test_a_second_try_keeps_the_old_deadline() -> None:
    clock = Clock()
    queue = FairQueue(5, 30.0, clock)
    task = asyncio.create_task(queue.wait("p", 0))
    await settle()
    queue.free()
    ticket = await task
    clock.s += 30.0
    with pytest.raises(Overloaded):
        await queue.wait("p", 0, again=ticket)
    assert len(queue) == 0


async def test_a_turn_that_came_to_nothing_keeps_its_place() -> None:
    room = await full_room()
    await room.arrive("a1", "a2", principal="a")
    await room.arrive("b1", principal="b")
    room.inside.clear()
    # Two places are announced, and gone before either of those who are woken may look.
    room.queue.free(2)
    await settle()
    assert len(room.queue) == 3
    await room.arrive("c1", principal="c")
    room.leave()
    await settle()
    assert room.served == ["first", "a1"]
    assert await room.empty() == ["b1", "a2", "c1"]


async def test_who_had_the_first_turn_stays_first_however_often_it_fails() -> None:
    room = await full_room()
    await room.arrive("a", "b", "c")
    room.inside.clear()
    room.queue.free()
    await settle()
    room.queue.free(2)
    await settle()
    room.queue.free(1)
    await settle()
    room.leave()
    await settle()
    assert await room.empty() == ["b", "c"]
    assert room.served == ["first", "a", "b", "c"]


async def test_a_turn_in_the_hands_of_one_who_is_cancelled_is_passed_on() -> None:
    room = await full_room()
    await room.arrive("a", "b")
    room.inside.clear()
    room.leave()
    room.tasks["a"].cancel()
    await settle()
    assert room.served == ["first", "b"]


async def test_a_turn_is_not_given_to_one_who_is_about_to_go() -> None:
    room = await full_room()
    await room.arrive("a", "b")
    room.inside.clear()
    room.tasks["a"].cancel()
    room.leave()
    await settle()
    assert room.served == ["first", "b"]
    assert room.tasks["a"].cancelled()


async def test_one_who_goes_leaves_no_trace() -> None:
    room = await full_room(most=2)
    await room.arrive("a", "b", priority=3)
    for name in ("a", "b"):
        room.tasks[name].cancel()
    await settle()
    assert (len(room.queue), room.queue.depth) == (0, {})
    await room.arrive("c", "d")
    assert room.faults == {}
    assert await room.empty() == ["c", "d"]


async def test_the_time_to_come_back_follows_the_pace() -> None:
    room = await full_room(most=10)
    await room.arrive(*(f"w{n}" for n in range(10)))
    for _ in range(4):
        room.clock.s += 2.0
        await room.empty(1)
    await room.arrive(*(f"x{n}" for n in range(4)), "late")
    assert room.faults["late"].retry_after_s == pytest.approx(20.0)
    await room.arrive("important", priority=1)
    shed = next(fault for name, fault in room.faults.items() if name != "late")
    assert shed.retry_after_s == pytest.approx(18.0)


async def test_positions_are_told_as_they_change() -> None:
    moves: dict[str, list[int]] = defaultdict(list)
    told = asyncio.Event()
    queue = FairQueue(10, AGES_S, Clock(), moves_every_s=0.0)

    def teller(name: str) -> Callable[[int], None]:
        def tell(position: int) -> None:
            moves[name].append(position)
            told.set()

        return tell

    async def next_move() -> None:
        await told.wait()
        told.clear()
        await settle()

    tasks = [asyncio.create_task(queue.wait(name[0], 0, teller(name))) for name in ("a1", "a2", "b1")]
    await next_move()
    assert moves == {"a1": [1], "a2": [3], "b1": [2]}
    queue.free()
    ticket = await tasks[0]
    await next_move()
    assert moves == {"a1": [1], "a2": [3, 2], "b1": [2, 1]}
    assert queue.position(ticket) == 0
    again = asyncio.create_task(queue.wait("a", 0, again=ticket))
    await next_move()
    assert queue.position(ticket) == 1
    assert moves["a2"] == [3, 2, 3]
    tasks += [again, asyncio.create_task(queue.wait("h", 1, teller("high")))]
    await next_move()
    assert (moves["high"], moves["a2"], queue.position(ticket)) == ([1], [3, 2, 3, 4], 2)
    queue.free(2)
    tasks += [asyncio.create_task(queue.wait("a", 0, teller("a1 again"), again=await again))]
    await next_move()
    assert (moves["a1 again"], moves["a1"]) == ([1], [1, 2])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(queue) == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.integers(0, 3), st.integers(0, 2)),
        st.tuples(st.just("cancel"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("leave"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("snatch"), st.just(0), st.just(0)),
        st.tuples(st.just("settle"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


class Crowd(Room):
    """A room in which anything may happen in any order; `settle` checks what must always hold."""

    most = 5

    def __init__(self, places: int) -> None:
        super().__init__(places, self.most)
        self.comers: dict[str, tuple[str, int]] = {}

    async def step(self, kind: str, one: int, other: int) -> None:
        match kind:
            case "come":
                name = f"{len(self.comers)}"
                self.comers[name] = (f"p{one}", other)
                self.start(name, *self.comers[name])
            case "cancel":
                if task := self.tasks.get(str(one)):
                    task.cancel()
            case "leave":
                if self.inside:
                    self.inside.pop(0)
                    self.leave()
            case "snatch":
                # Somebody takes a place past the queue, between a turn and its use.
                if self.take():
                    self.inside.append("snatcher")
            case _:
                await settle()
                assert not (len(self.queue) and self.places), "a wake-up was lost"
        assert len(self.queue) <= self.most
        assert sum(self.queue.depth.values()) == len(self.queue)


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 3), STEPS)
def test_whatever_happens_no_wake_up_is_lost_and_nobody_starves(places: int, steps: list[tuple[str, int, int]]) -> None:
    async def run() -> None:
        crowd = Crowd(places)
        for step in steps:
            await crowd.step(*step)
        await crowd.step("settle", 0, 0)
        await crowd.empty()
        assert (crowd.places, len(crowd.queue), crowd.queue.depth) == (places, 0, {})
        for name, task in crowd.tasks.items():
            assert task.done(), f"{name} starves"
            assert task.cancelled() or name in crowd.faults or name in crowd.served
        assert len(set(crowd.served)) == len(crowd.served)

    asyncio.run(run())


async def test_among_equals_nobody_gets_more_turns_than_another() -> None:
    """Some principals always have many waiting, some come back one at a time: over a while all are served alike."""
    room = await full_room(most=1000)
    chance = random.Random(4)
    for n in range(50):
        for principal in ("a", "b"):
            room.start(f"{principal}{n}", principal)
    await settle()
    for n in range(20):
        room.start(f"c{n}", "c")
        await settle()
        waiting = [name for name, task in room.tasks.items() if not task.done() and name[0] in "ab"]
        room.tasks[chance.choice(waiting)].cancel()
        await settle()
        await room.empty(3)
    counts = {principal: sum(name[0] == principal for name in room.served) for principal in "abc"}
    assert max(counts.values()) - min(counts.values()) <= 1, counts
    for task in room.tasks.values():
        task.cancel()
    await settle()
