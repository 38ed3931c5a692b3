"""CPU per unary request of 1 KB, ours and nginx's, at the same offered rate and at saturation.

The judged figure is taken at a fixed rate well below saturation, the way a gateway lives: there
nobody is rig-bound. At saturation events come in batches, which halves what nginx spends and saves
Python less, so that row is shown beside it, for information.

What a gateway puts off counts too: a burst is over when nothing is left to be loaded into the store.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from bench import contenders
from bench.contenders import Contender, Running
from bench.dialects import CHAT, chat_body
from bench.processes import Child, RigError, run_to_end
from bench.readings import CpuReading, Usage, read_cpu, usage_between
from bench.report import Figure, quiet_rounds
from bench.rig import RIG_BUSY_LIMIT, Ports, Rig
from bench.script import ANSWER, WrongAnswerError, question
from bench.upstreams import start_canned

RATE_PER_S = 2000
PACED_CONNECTIONS = 100
SATURATING_CONNECTIONS = 64
LIMIT = 7.0
_SCRIPT = Path(__file__).with_name("unary.lua")
# A closed loop says something about the gateway only if the gateway's core was the one that was full.
_SATURATED_SHARE = 0.9
_ATTAINED_SHARE = 0.8
# A contender has caught up once it uses no more than this above what it burns when idle.
_CALM_SHARE = 0.02
_CALM_WATCH_S = 0.4
_CALM_WITHIN_S = 15.0


@dataclass(frozen=True)
class Load:
    """One way of asking: how many connections, and how many requests a second (None: all that go)."""

    connections: int
    rate_per_s: float | None
    seconds: float

    @property
    def pause_ms(self) -> int:
        return 0 if self.rate_per_s is None else round(1000 * self.connections / self.rate_per_s)


@dataclass(frozen=True)
class Burst:
    """What one burst of load came to, for the contender and for the rig.

    `used` is all of it, with the work put off; `busy` ends with the load.
    """

    requests: int
    seconds: float
    used: Usage
    busy: Usage
    rig_busy_share: float

    @property
    def rate_per_s(self) -> float:
        return self.requests / self.seconds

    def microseconds_each(self, idle_share: float) -> float:
        return (self.used.cpu_s - idle_share * self.used.elapsed_s) / self.requests * 1e6


def measure(rig: Rig) -> list[Figure]:
    paced = Figure("unary", f"CPU per unary request, {RATE_PER_S}/s", "µs", LIMIT, relative=True)
    full = Figure("unary_saturated", "CPU per unary request, saturated", "µs", relative=True)
    upstream, upstream_port = start_canned(rig)
    field = contenders.start_all(rig, upstream_port)
    idle = {running.name: contenders.idle_cpu_share(rig, running) for running in field}
    direct = Running(contenders.yardstick("direct"), upstream, Ports(upstream_port, 0, 0))
    closed = Load(SATURATING_CONNECTIONS, None, rig.plan.saturation_s)
    ceiling_per_s = burst(rig, direct, closed, upstream).rate_per_s
    full.notes.append(f"load generator straight to the upstream: {ceiling_per_s:.0f} requests/s")

    for figure, load in ((paced, paced_load(rig)), (full, closed)):
        steps = rig.interleaved(field)
        bursts: list[dict[str, Burst]] = [{} for _ in range(rig.plan.rounds)]
        for number, running in rig.progress(figure.title, steps):
            with rig.tolerating_peer(running.contender):
                bursts[number][running.name] = burst(
                    rig, running, _scaled(load, running), upstream, idle_share=idle[running.name]
                )
        for running in field:
            served = [found[running.name] for found in bursts if running.name in found]
            judge_rig(figure, running.contender, load, served)
        values = [{name: b.microseconds_each(idle[name]) for name, b in found.items()} for found in bursts]
        figure.rounds = quiet_rounds(values, [[b.used for b in found.values()] for found in bursts], figure.notes)

    for child in (*(running.child for running in field), upstream):
        rig.stage.stop(child)
    return [paced, full]


def paced_load(rig: Rig) -> Load:
    return Load(PACED_CONNECTIONS, RATE_PER_S, rig.plan.unary_s)


def _scaled(load: Load, running: Running) -> Load:
    share = running.contender.load_share
    # Not too few connections, or a slow answer would hold back the next request and lower the rate.
    connections = max(20, round(load.connections * share))
    return Load(connections, load.rate_per_s and load.rate_per_s * share, load.seconds)


def judge_rig(figure: Figure, contender: Contender, load: Load, bursts: list[Burst]) -> None:
    """Refuse the figure if it says more about the load generator than about the contender."""
    if not bursts:
        return
    rate_per_s = statistics.median(burst.rate_per_s for burst in bursts)
    full = statistics.median(burst.busy.full_share for burst in bursts)
    rig_busy = statistics.median(burst.rig_busy_share for burst in bursts)
    if load.rate_per_s is None:
        figure.notes.append(f"{contender.name}: {rate_per_s:.0f} requests/s")
        if full < _SATURATED_SHARE:
            figure.doubt(contender, f"rig-bound: the core was full to {full:.0%} only")
        return
    offered_per_s = load.rate_per_s * contender.load_share
    figure.notes.append(
        f"{contender.name}: {rate_per_s:.0f} of {offered_per_s:.0f} requests/s; "
        f"the load core was busy to {rig_busy:.0%}"
    )
    if rig_busy > RIG_BUSY_LIMIT:
        figure.doubt(contender, f"rig-bound: the load core was busy to {rig_busy:.0%}")
    if rate_per_s < _ATTAINED_SHARE * offered_per_s and full < _SATURATED_SHARE:
        figure.doubt(contender, "it was offered less than planned, though it had time to spare")


@dataclass(frozen=True)
class Expected:
    """The answer that is right: its status, its length (0: any), and what stands in it."""

    status: int
    length: int
    mark: str


def burst(
    rig: Rig,
    running: Running,
    load: Load,
    upstream: Child,
    *,
    idle_share: float = 0.0,
    expected: Expected | None = None,
) -> Burst:
    """Load one contender with wrk, every answer checked, by default for the right length and text."""
    expected = expected or Expected(200, contenders.answer_length(running), ANSWER)
    before = read_cpu(running.child.pid, rig.contender_core)
    rig_before = read_cpu(upstream.pid, rig.load_core)
    output = run_to_end(_wrk(rig, running, load, expected), rig.load_core, load.seconds + 30)
    after = read_cpu(running.child.pid, rig.contender_core)
    rig_after = read_cpu(upstream.pid, rig.load_core)

    result = next((line for line in output.splitlines() if line.startswith("RESULT\t")), "")
    if not result:
        raise RigError(f"wrk printed no result:\n{output}")
    right, wrong, failed, duration_us, first_wrong = result.split("\t")[1:]
    if int(wrong) or int(float(failed)) or not int(right):
        raise WrongAnswerError(
            f"{running.name}: {right} right answers, {wrong} wrong ({first_wrong}), {failed} socket errors"
        )
    # All that kept the load core busy counts, ours or not: it is time the rig did not have.
    rig_busy_s = rig_after.core_busy_s - rig_before.core_busy_s
    return Burst(
        requests=int(right),
        seconds=int(duration_us) / 1e6,
        used=usage_between(before, _caught_up(rig, running, after, idle_share)),
        busy=usage_between(before, after),
        rig_busy_share=rig_busy_s / (rig_after.at_s - rig_before.at_s),
    )


def _wrk(rig: Rig, running: Running, load: Load, expected: Expected) -> list[str]:
    body = rig.stage.folder / "unary-request.json"
    body.write_bytes(chat_body(question(0, 16), stream=False))
    return [
        *("wrk", "--threads", "1", "--connections", str(load.connections)),
        *("--duration", f"{load.seconds:.0f}s", "--timeout", "10s", "--script", str(_SCRIPT)),
        *(f"http://127.0.0.1:{running.port}{CHAT}", "--", running.contender.key, str(body)),
        *(str(expected.length), expected.mark, str(load.pause_ms), str(expected.status)),
    ]


def _caught_up(rig: Rig, running: Running, after: CpuReading, idle_share: float) -> CpuReading:
    """Read the CPU again once the contender has done what it put off."""
    give_up = time.monotonic() + _CALM_WITHIN_S
    while time.monotonic() < give_up:
        time.sleep(_CALM_WATCH_S)
        before, after = after, read_cpu(running.child.pid, rig.contender_core)
        if usage_between(before, after).busy_share <= idle_share + _CALM_SHARE:
            return after
    raise RigError(f"{running.name} is still busy {_CALM_WITHIN_S:.0f} s after the load ended")
