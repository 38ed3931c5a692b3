"""CPU per streamed chunk at a pace of 20 ms, same dialect and translated.

Each round runs the same number of streams twice, once short and once long. What a stream costs
to open and close is the same in both, so the difference divided by the additional chunks is the
cost of a chunk alone.

How chunks arrive matters as much as how many: in bursts of ten, nginx's cost of a chunk halves and
ours falls by a third, so the ratio rises. The judged figure spreads them evenly, because
independent callers do not keep step; `--stream-slots 20` measures the harder case.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass

from bench import contenders
from bench.contenders import YARDSTICK, Running
from bench.dialects import WrongAnswerError
from bench.processes import Child, run_to_end
from bench.readings import Usage, read_cpu, usage_between
from bench.report import Figure, quiet_rounds
from bench.rig import RIG_BUSY_LIMIT, Rig
from bench.upstreams import harness_environment, start_mock

SHORT_CHUNKS = 16
STRETCH_LIMIT = 1.15
DIALECTS = {"same": "openai", "translated": "anthropic"}
TITLES = {"same": "same dialect", "translated": "translated"}
_LIMITS = {"same": 1.7, "translated": 4.0}


@dataclass(frozen=True)
class Entry:
    """A contender asked in one dialect; the upstream always speaks OpenAI's."""

    running: Running
    kind: str


@dataclass(frozen=True)
class Flow:
    """One run of many streams through one contender."""

    used: Usage
    stretch: float
    client_share: float
    mock_share: float


@dataclass(frozen=True)
class Slope:
    """A short and a long flow, and what follows from the pair."""

    streams: int
    chunk_us: float
    used: Usage
    flows: tuple[Flow, Flow]


# One round: by kind of streaming and name of contender.
Slopes = dict[tuple[str, str], Slope]


def measure(rig: Rig) -> list[Figure]:
    mock, mock_port = start_mock(rig)
    field = contenders.start_all(rig, mock_port)
    idle = {running.name: contenders.idle_cpu_share(rig, running) for running in field}
    entries = [
        Entry(running, kind)
        for kind, dialect in DIALECTS.items()
        for running in field
        if dialect in running.contender.dialects
    ]
    slopes: list[Slopes] = [{} for _ in range(rig.plan.rounds)]
    for number, entry in rig.progress("streams", rig.interleaved(entries)):
        name = entry.running.name
        with rig.tolerating_peer(entry.running.contender):
            slopes[number][entry.kind, name] = _slope(rig, entry, mock, idle[name])
    for child in (*(running.child for running in field), mock):
        rig.stage.stop(child)

    return [_figure(entry.kind, entries, slopes) for entry in entries if entry.running is field[0]]


def _figure(kind: str, entries: list[Entry], slopes: list[Slopes]) -> Figure:
    figure = Figure(f"chunk_{kind}", f"CPU per streamed chunk, {TITLES[kind]}", "µs", _LIMITS[kind], relative=True)
    # nginx cannot translate; its plain relaying of the same upstream is the yardstick for both kinds.
    columns = {YARDSTICK: ("same", YARDSTICK)}
    for entry in entries:
        if entry.kind == kind:
            key = (kind, entry.running.name)
            columns[entry.running.name] = key
            _judge_rig(figure, entry, [each[key] for each in slopes if key in each])
    used = [[each[key].used for key in columns.values() if key in each] for each in slopes]
    chunk_us = [{name: each[key].chunk_us for name, key in columns.items() if key in each} for each in slopes]
    figure.rounds = quiet_rounds(chunk_us, used, figure.notes)
    return figure


def _judge_rig(figure: Figure, entry: Entry, slopes: list[Slope]) -> None:
    """Refuse the figure if mock and client were near their limit, or if the pace was missed."""
    if not slopes:
        return
    contender = entry.running.contender
    flows = [slope.flows[1] for slope in slopes]
    rig_share = statistics.median(flow.client_share + flow.mock_share for flow in flows)
    stretch = statistics.median(flow.stretch for flow in flows)
    figure.notes.append(
        f"{contender.name}: {slopes[0].streams} streams took {stretch:.2f} of their nominal time; "
        f"mock and client used {rig_share:.0%} of their core"
    )
    if rig_share > RIG_BUSY_LIMIT:
        figure.doubt(contender, f"rig-bound: mock and client used {rig_share:.0%} of their core")
    if stretch > STRETCH_LIMIT:
        figure.doubt(contender, f"the pace was missed: streams took {stretch:.2f} of their nominal time")


def _slope(rig: Rig, entry: Entry, mock: Child, idle_share: float) -> Slope:
    plan = rig.plan
    streams = _stream_count(entry, plan.streams)
    short = _flow(rig, entry, mock, streams, SHORT_CHUNKS)
    long = _flow(rig, entry, mock, streams, plan.long_stream_chunks)
    short_s, long_s = (flow.used.cpu_s - idle_share * flow.used.elapsed_s for flow in (short, long))
    chunk_s = (long_s - short_s) / (streams * (plan.long_stream_chunks - SHORT_CHUNKS))
    return Slope(streams, chunk_s * 1e6, short.used + long.used, (short, long))


def _stream_count(entry: Entry, streams: int) -> int:
    return max(4, round(streams * entry.running.contender.load_share))


def _flow(rig: Rig, entry: Entry, mock: Child, streams: int, chunks: int) -> Flow:
    running = entry.running
    command = stream_load_command(running, DIALECTS[entry.kind], streams, chunks)
    before = read_cpu(running.child.pid, rig.contender_core)
    mock_before = read_cpu(mock.pid, rig.load_core)
    output = run_to_end(command, rig.load_core, timeout_s=120, environment=harness_environment())
    after = read_cpu(running.child.pid, rig.contender_core)
    mock_after = read_cpu(mock.pid, rig.load_core)

    result = json.loads(output)
    if result["failures"]:
        raise WrongAnswerError(
            f"{running.name}, {TITLES[entry.kind]}: {result['failures']} of {streams} streams; "
            f"{result['first_failure']}"
        )
    elapsed_s = result["elapsed_s"]
    return Flow(
        used=usage_between(before, after),
        stretch=result["stretch"],
        client_share=result["cpu_s"] / elapsed_s,
        mock_share=usage_between(mock_before, mock_after).cpu_s / elapsed_s,
    )


def stream_load_command(running: Running, dialect: str, streams: int, chunks: int) -> list[str]:
    return [
        *(sys.executable, "-m", "bench.stream_load", "--port", str(running.port)),
        *("--key", running.contender.key, "--dialect", dialect),
        *("--streams", str(streams), "--chunks", str(chunks)),
    ]
