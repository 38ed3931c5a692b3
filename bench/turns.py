"""CPU per turn in a conversation and per page of the list, by how much is stored: ours against ours.

Three gateways are alike but for what their owner has stored: few short conversations, few long ones, many short ones.
A turn goes over `/v1/ws` and has an answer of one chunk, which leaves most of its cost to the store. It always follows
the same message, so that a conversation grows in branches and what came before keeps its length. What is sent upstream
is trimmed to the same bytes everywhere; the upstream reports them as usage, and that is checked.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import time
from dataclasses import dataclass

from bench import contenders
from bench.contenders import Contender, Running
from bench.dialects import headers
from bench.readings import Usage, read_cpu, read_memory, usage_between
from bench.report import Figure, quiet_rounds
from bench.rig import Ports, Rig
from bench.script import WrongAnswerError
from bench.stored import Stored, fill
from bench.talking import Talk, open_socket
from bench.upstreams import start_mock

FEW = 10
LONG_MESSAGES = 1000
LONG_LIMIT = 2.0
MANY_LIMIT = 1.25
GROWTH_LIMIT_MB = 5.0
# How many conversations are talked in at once, and how many there are on a page of the list.
TALKED_IN = PAGE = 4
# For growth: conversations on one socket, and turns before the first reading. 1,000 records of calls are kept.
LINES = 32
WARM_UP_TURNS = 1200
SETTLE_S = 1.0


@dataclass(frozen=True)
class Shop:
    """A gateway with what is stored in it."""

    id: str
    running: Running
    stored: Stored
    idle_share: float


@dataclass(frozen=True)
class Cost:
    """What one turn or page cost in one round."""

    each_us: float
    used: Usage


# One round: by what was done, and where.
Costs = dict[tuple[str, str], Cost]


def measure(rig: Rig) -> list[Figure]:
    contender = rig.contenders[0]
    if "ws_json" not in contender.dialects:
        return []
    mock, mock_port = start_mock(rig)
    shops = [
        _open(rig, contender, mock_port, id_, conversations, messages)
        for id_, conversations, messages in (
            ("few", FEW, FEW),
            ("long", FEW, LONG_MESSAGES),
            ("many", rig.plan.stored_conversations, FEW),
        )
    ]
    _require_same_bytes(shops)
    steps = [(work, shop) for shop in shops for work in ("turn", "list") if (work, shop.id) != ("list", "long")]
    rounds: list[Costs] = [{} for _ in range(rig.plan.rounds)]
    for number, (work, shop) in rig.progress("turns", rig.interleaved(steps)):
        rounds[number][work, shop.id] = _turns(rig, shop) if work == "turn" else _pages(rig, shop)
    for shop in shops:
        rig.stage.stop(shop.running.child)
    growth = _growth(rig, contender, mock_port)
    rig.stage.stop(mock)

    many = f"{rig.plan.stored_conversations:,} conversations stored"
    ours = contender.name
    return [
        _figure(ours, rounds, "turn", "long", f"CPU per turn after {LONG_MESSAGES:,} messages", LONG_LIMIT),
        _figure(ours, rounds, "turn", "many", f"CPU per turn, {many}", MANY_LIMIT),
        _figure(ours, rounds, "list", "many", f"CPU per page of the list, {many}", MANY_LIMIT),
        growth,
    ]


def _figure(ours: str, rounds: list[Costs], work: str, where: str, title: str, limit: float) -> Figure:
    """Compare one gateway with the one that has little stored, round by round."""
    figure = Figure(f"{work}_{where}", title, "µs", limit, relative=True, yardstick="few")
    pairs = [(costs[work, where], costs[work, "few"]) for costs in rounds]
    values = [{ours: much.each_us, "few": few.each_us} for much, few in pairs]
    figure.rounds = quiet_rounds(values, [[much.used, few.used] for much, few in pairs], figure.notes)
    few_us = statistics.median(figure.series("few"))
    figure.notes.append(f"{FEW} conversations of {FEW} messages each: {few_us:.0f} µs")
    return figure


def _open(rig: Rig, contender: Contender, mock_port: int, id_: str, conversations: int, messages: int) -> Shop:
    ports = Ports.free()
    contenders.prepare(rig, contender, ports)
    stored = fill(contenders.data_folder(rig, ports), conversations, messages, TALKED_IN)
    running = contenders.start(rig, contender, mock_port, ports)
    return Shop(id_, running, stored, contenders.idle_cpu_share(rig, running))


def _require_same_bytes(shops: list[Shop]) -> None:
    """Take the first turns, not counted, and see that what went upstream was equally long everywhere."""
    sizes = {shop.id: sorted(asyncio.run(_some_turns(shop)).request_bytes) for shop in shops}
    if len({size for found in sizes.values() for size in found}) != 1:
        raise WrongAnswerError(f"what was sent upstream has not the same length everywhere: {sizes}")


async def _some_turns(shop: Shop) -> Talk:
    async with open_socket(shop.running) as socket:
        return await socket.talk(shop.stored.talked_in, lambda turns: turns < 10 * TALKED_IN, follow=False)


def _turns(rig: Rig, shop: Shop) -> Cost:
    return asyncio.run(_turns_for(rig, shop, rig.plan.turns_s))


async def _turns_for(rig: Rig, shop: Shop, seconds: float) -> Cost:
    pid = shop.running.child.pid
    async with open_socket(shop.running) as socket:
        before = read_cpu(pid, rig.contender_core)
        until_s = time.monotonic() + seconds
        said = await socket.talk(shop.stored.talked_in, lambda _: time.monotonic() < until_s, follow=False)
        used = usage_between(before, read_cpu(pid, rig.contender_core))
    return _cost(shop, used, said.turns)


def _pages(rig: Rig, shop: Shop) -> Cost:
    """Ask for the first page and one from the middle, in turn, over one connection."""
    pid = shop.running.child.pid
    connection = http.client.HTTPConnection("127.0.0.1", shop.running.port, timeout=10)
    _page(shop, connection, "")
    before = read_cpu(pid, rig.contender_core)
    for number in range(rig.plan.list_pages):
        _page(shop, connection, f"&before={shop.stored.before}" if number % 2 else "")
    used = usage_between(before, read_cpu(pid, rig.contender_core))
    connection.close()
    return _cost(shop, used, rig.plan.list_pages)


def _page(shop: Shop, connection: http.client.HTTPConnection, where: str) -> None:
    connection.request("GET", f"/api/conversations?limit={PAGE}{where}", headers=headers(shop.running.contender.key))
    body = connection.getresponse().read()
    rows = json.loads(body).get("conversations", [])
    if len(rows) != PAGE:
        raise WrongAnswerError(f"a page of {len(rows)} conversations instead of {PAGE}: {body[:200]!r}")


def _cost(shop: Shop, used: Usage, count: int) -> Cost:
    return Cost((used.cpu_s - shop.idle_share * used.elapsed_s) / count * 1e6, used)


def _growth(rig: Rig, contender: Contender, mock_port: int) -> Figure:
    """See what stays in memory of many turns on one connection, in conversations that grow."""
    turns = rig.plan.growth_turns
    title = f"memory added by {turns:,} turns on one connection"
    figure = Figure("turns_growth", title, "MB", GROWTH_LIMIT_MB)
    running = contenders.start(rig, contender, mock_port)
    warm_mb, after_mb = asyncio.run(_resident_around(running, turns))
    rig.stage.stop(running.child)
    figure.rounds = [{contender.name: after_mb - warm_mb}]
    figure.notes.append(f"from {warm_mb:.1f} to {after_mb:.1f} MB, after {WARM_UP_TURNS:,} turns to warm up")
    return figure


async def _resident_around(running: Running, turns: int) -> tuple[float, float]:
    """Read the resident memory before and after so many turns, in MB."""
    readings_mb = []
    async with open_socket(running) as socket:
        for count in (WARM_UP_TURNS, turns):
            await socket.talk([("", "")] * LINES, lambda said, count=count: said < count, follow=True)  # type: ignore[misc]
            await asyncio.sleep(SETTLE_S)
            readings_mb.append(read_memory(running.child.pid).rss_mb)
    return readings_mb[0], readings_mb[1]
