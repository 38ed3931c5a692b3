"""From the start of the process to its first right answer, credential checked and upstream asked.

"Cold" means a new process; the files are in the page cache and the byte code is compiled, as on every
start but the very first. The first start finds an empty data folder, makes the database in it, and answers the
operator; the second finds the caller's key there, with all its limits and budgets.
"""

from __future__ import annotations

import time

from bench import contenders
from bench.contenders import Contender
from bench.report import Figure
from bench.rig import Ports, Rig
from bench.upstreams import start_canned

LIMIT_S = 0.7
POLL_S = 0.002


def measure(rig: Rig) -> list[Figure]:
    first = Figure("start", "start to first answered request", "s", LIMIT_S)
    second = Figure("start_again", "the same, second start", "s", LIMIT_S)
    upstream, upstream_port = start_canned(rig)
    for contender in rig.contenders:
        with rig.tolerating_peer(contender):
            _time_starts(rig, contender, upstream_port)  # not counted: may compile byte code
    # A slow starter is timed once; it is shown for comparison, not judged.
    steps = [
        (number, contender)
        for number in range(rig.plan.starts)
        for contender in rig.contenders
        if number == 0 or not contender.is_peer
    ]
    for figure in (first, second):
        figure.rounds = [{} for _ in range(rig.plan.starts)]
    for number, contender in rig.progress(first.title, steps):
        with rig.tolerating_peer(contender):
            taken_s = _time_starts(rig, contender, upstream_port)
            for figure, each_s in zip((first, second), taken_s, strict=True):
                figure.rounds[number][contender.name] = each_s
    rig.stage.stop(upstream)
    return [first, second]


def _time_starts(rig: Rig, contender: Contender, upstream_port: int) -> tuple[float, float]:
    ports = Ports.free()
    first_s = _time_start(rig, contender, upstream_port, ports, contender.first_key)
    if contender.prepare is not None:
        contender.prepare(contenders.data_folder(rig, ports))
    return first_s, _time_start(rig, contender, upstream_port, ports, contender.key)


def _time_start(rig: Rig, contender: Contender, upstream_port: int, ports: Ports, key: str) -> float:
    started_s = time.monotonic()
    running = contenders.spawn(rig, contender, upstream_port, ports)
    contenders.wait_for_answer(running, POLL_S, key)
    taken_s = time.monotonic() - started_s
    rig.stage.stop(running.child)
    return taken_s
