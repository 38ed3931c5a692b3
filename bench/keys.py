"""CPU per unary request by how much is stored: ours against ours, with few keys and nothing used yet."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from bench import contenders, year
from bench.accounts import open_account
from bench.contenders import Contender, Running
from bench.report import Figure, quiet_rounds
from bench.rig import Rig
from bench.unary import Burst, burst, judge_rig, paced_load
from bench.upstreams import start_canned

FEW = 10
LIMIT = 1.10
# The caller's key, and the one that may ask once a minute.
OWN_KEYS = 2


@dataclass(frozen=True)
class Stocked:
    """A gateway and what was stored in it before it started."""

    id: str
    title: str
    running: Running
    idle_share: float


def measure(rig: Rig) -> list[Figure]:
    contender = rig.contenders[0]
    if contender.prepare is None:
        return []
    upstream, upstream_port = start_canned(rig)
    few, *others = stocked = [_start(rig, contender, upstream_port, id_) for id_ in ("few", "many", "year")]
    load = paced_load(rig)
    rounds: list[dict[str, Burst]] = [{} for _ in range(rig.plan.rounds)]
    for number, each in rig.progress("keys", rig.interleaved(stocked)):
        rounds[number][each.id] = burst(rig, each.running, load, upstream, idle_share=each.idle_share)
    for child in (*(each.running.child for each in stocked), upstream):
        rig.stage.stop(child)

    figures = []
    for each in others:
        figure = Figure(f"unary_{each.id}", each.title, "µs", LIMIT, relative=True, yardstick=few.id)
        for one in (few, each):
            judge_rig(figure, contender, load, [bursts[one.id] for bursts in rounds])
        values = [
            {
                contender.name: bursts[each.id].microseconds_each(each.idle_share),
                few.id: bursts[few.id].microseconds_each(few.idle_share),
            }
            for bursts in rounds
        ]
        used = [[bursts[each.id].used, bursts[few.id].used] for bursts in rounds]
        figure.rounds = quiet_rounds(values, used, figure.notes)
        few_us = statistics.median(figure.series(few.id))
        figure.notes.append(f"with {FEW} keys and an empty log: {few_us:.0f} µs")
        figures.append(figure)
    return figures


def _start(rig: Rig, contender: Contender, upstream_port: int, id_: str) -> Stocked:
    keys = rig.plan.stored_keys if id_ == "many" else FEW
    titles = {
        "few": "",
        "many": f"CPU per unary request, {keys:,} keys stored, against {FEW}",
        "year": f"CPU per unary request, {rig.plan.usage_rows:,} calls stored, against none",
    }
    if id_ == "year":
        data = year.filled(rig).data
    else:
        data = rig.stage.folder / f"keys-{keys}"
        open_account(data, keys - OWN_KEYS)
    running = contenders.start_on(rig, contender, upstream_port, data)
    return Stocked(id_, titles[id_], running, contenders.idle_cpu_share(rig, running))
