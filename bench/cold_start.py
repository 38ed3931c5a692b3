"""From the start of the process to its first right answer, credential checked and upstream asked.

"Cold" means a new process; the files are in the page cache and the byte code is compiled, as on every
start but the very first. The first start finds an empty data folder and makes the database in it; the
second finds what the first left.
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
            _time_start(rig, contender, upstream_port, Ports.free())  # not counted: may compile byte code
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
        ports = Ports.free()
        with rig.tolerating_peer(contender):
            for figure in (first, second):
                figure.rounds[number][contender.name] = _time_start(rig, contender, upstream_port, ports)
    rig.stage.stop(upstream)
    return [first, second]


def _time_start(rig: Rig, contender: Contender, upstream_port: int, ports: Ports) -> float:
    started_s = time.monotonic()
    running = contenders.spawn(rig, contender, upstream_port, ports)
    contenders.wait_for_answer(running, POLL_S)
    taken_s = time.monotonic() - started_s
    rig.stage.stop(running.child)
    return taken_s
