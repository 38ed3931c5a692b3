"""From the start of the process to its first right answer, credential checked and upstream asked.

"Cold" means a new process and an empty data folder; the files are in the page cache and the
byte code is compiled, as on every start but the very first.
"""

from __future__ import annotations

import time

from bench import contenders
from bench.contenders import Contender
from bench.report import Figure
from bench.rig import Rig
from bench.upstreams import start_canned

LIMIT_S = 0.7
POLL_S = 0.002


def measure(rig: Rig) -> list[Figure]:
    figure = Figure("start", "start to first answered request", "s", LIMIT_S)
    upstream, upstream_port = start_canned(rig)
    for contender in rig.contenders:
        with rig.tolerating_peer(contender):
            _time_start(rig, contender, upstream_port)  # not counted: may compile byte code
    # A slow starter is timed once; it is shown for comparison, not judged.
    steps = [
        (number, contender)
        for number in range(rig.plan.starts)
        for contender in rig.contenders
        if number == 0 or not contender.is_peer
    ]
    figure.rounds = [{} for _ in range(rig.plan.starts)]
    for number, contender in rig.progress(figure.title, steps):
        with rig.tolerating_peer(contender):
            figure.rounds[number][contender.name] = _time_start(rig, contender, upstream_port)
    rig.stage.stop(upstream)
    return [figure]


def _time_start(rig: Rig, contender: Contender, upstream_port: int) -> float:
    started_s = time.monotonic()
    running = contenders.spawn(rig, contender, upstream_port)
    contenders.wait_for_answer(running, POLL_S)
    taken_s = time.monotonic() - started_s
    rig.stage.stop(running.child)
    return taken_s
