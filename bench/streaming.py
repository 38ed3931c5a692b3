"""CPU per streamed chunk at a pace of 20 ms, in every dialect that streams.

Each round runs the same number of streams twice, once short and once long. What a stream costs
to open and close is the same in both, so the difference divided by the additional chunks is the
cost of a chunk alone.

How chunks arrive matters as much as how many: in bursts of ten, nginx's cost of a chunk halves and
ours falls by a third, so the ratio rises. The judged figure spreads them evenly, because
independent callers do not keep step; `--stream-slots 20` measures the harder case. Chunks that the
contender joined would come out too cheap, so a figure is refused where many were.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass

from bench import contenders
from bench.contenders import YARDSTICK, Running
from bench.dialects import DIALECTS
from bench.processes import Child, run_to_end
from bench.readings import Usage, read_cpu, usage_between
from bench.report import Figure, quiet_rounds
from bench.rig import RIG_BUSY_LIMIT, Rig
from bench.script import SILENT_CHUNKS, WrongAnswerError
from bench.upstreams import harness_environment, start_mock

SHORT_CHUNKS = 16
STRETCH_LIMIT = 1.15
APART_LIMIT = 0.98


@dataclass(frozen=True)
class Kind:
    """One way to stream: the dialect of the callers, and the most it may cost. The upstream always speaks OpenAI's."""

    id: str
    dialect: str
    title: str
    limit: float
    most_chunks: int = SILENT_CHUNKS - 1


SAME = Kind("same", "openai", "same dialect", 2.0)
MODERN = (SAME, Kind("translated", "anthropic", "translated", 4.0))
CONVERSING = (
    Kind("ndjson", "ndjson", "NDJSON", 4.0),
    # Every event holds the text so far: its bytes grow with the square of the answer, here one of 2.6 kB.
    Kind("conv", "conv", "/conv", 4.0, most_chunks=100),
    Kind("websocket", "websocket", "WebSocket text", 4.0),
    Kind("ws_json", "ws_json", "/v1/ws", 4.0),
    Kind("grpc", "grpc", "gRPC", 7.0),
)


@dataclass(frozen=True)
class Entry:
    """A contender asked in one dialect."""

    running: Running
    kind: Kind

    @property
    def key(self) -> tuple[str, str]:
        return self.kind.id, self.running.name


@dataclass(frozen=True)
class Flow:
    """One run of many streams through one contender."""

    used: Usage
    stretch: float
    events: int
    client_share: float
    mock_share: float


@dataclass(frozen=True)
class Slope:
    """A short and a long flow, and what follows from the pair."""

    streams: int
    chunk_us: float
    # Of the additional chunks, the share that did not come together with another.
    apart: float
    used: Usage
    flows: tuple[Flow, Flow]


# One round: by kind of streaming and name of contender.
Slopes = dict[tuple[str, str], Slope]


def measure(rig: Rig) -> list[Figure]:
    """Measure what the same dialect and a translated one cost."""
    return _measure(rig, MODERN)


def measure_conversing(rig: Rig) -> list[Figure]:
    """Measure the legacy dialects and those of conversations, each stream a conversation of its own."""
    return _measure(rig, CONVERSING)


def _measure(rig: Rig, kinds: tuple[Kind, ...]) -> list[Figure]:
    spoken = {kind.dialect for kind in kinds}
    if not spoken & set(rig.contenders[0].dialects):
        return []
    mock, mock_port = start_mock(rig)
    field = contenders.start_all(rig, mock_port, spoken)
    idle = {running.name: contenders.idle_cpu_share(rig, running) for running in field}
    entries = [
        Entry(running, kind)
        for kind in (*kinds, *(() if SAME in kinds else (SAME,)))
        for running in field
        if kind.dialect in running.contender.dialects and (kind in kinds or running.name == YARDSTICK)
    ]
    slopes: list[Slopes] = [{} for _ in range(rig.plan.rounds)]
    for number, entry in rig.progress("streams", rig.interleaved(entries)):
        with rig.tolerating_peer(entry.running.contender):
            slopes[number][entry.key] = _slope(rig, entry, mock, idle[entry.running.name])
    for child in (*(running.child for running in field), mock):
        rig.stage.stop(child)

    return [_figure(entry.kind, entries, slopes) for entry in entries if entry.running is field[0]]


def _figure(kind: Kind, entries: list[Entry], slopes: list[Slopes]) -> Figure:
    figure = Figure(f"chunk_{kind.id}", f"CPU per streamed chunk, {kind.title}", "µs", kind.limit, relative=True)
    # nginx cannot translate; its plain relaying of the same upstream is the yardstick for every kind.
    columns = {YARDSTICK: (SAME.id, YARDSTICK)}
    for entry in entries:
        if entry.kind is kind:
            columns[entry.running.name] = entry.key
            _judge_rig(figure, entry, [each[entry.key] for each in slopes if entry.key in each])
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
    apart = statistics.median(slope.apart for slope in slopes)
    figure.notes.append(
        f"{contender.name}: {slopes[0].streams} streams took {stretch:.2f} of their nominal time, "
        f"{apart:.1%} of the chunks came singly; mock and client used {rig_share:.0%} of their core"
    )
    if rig_share > RIG_BUSY_LIMIT:
        figure.doubt(contender, f"rig-bound: mock and client used {rig_share:.0%} of their core")
    if stretch > STRETCH_LIMIT:
        figure.doubt(contender, f"the pace was missed: streams took {stretch:.2f} of their nominal time")
    if apart < APART_LIMIT:
        figure.doubt(contender, f"only {apart:.1%} of the chunks came singly: a chunk would look too cheap")


def _slope(rig: Rig, entry: Entry, mock: Child, idle_share: float) -> Slope:
    plan = rig.plan
    streams = _stream_count(entry, plan.streams)
    longest = min(plan.long_stream_chunks, entry.kind.most_chunks)
    short = _flow(rig, entry, mock, streams, SHORT_CHUNKS)
    long = _flow(rig, entry, mock, streams, longest)
    short_s, long_s = (flow.used.cpu_s - idle_share * flow.used.elapsed_s for flow in (short, long))
    chunks = streams * (longest - SHORT_CHUNKS)
    apart = (long.events - short.events) / chunks
    return Slope(streams, (long_s - short_s) / chunks * 1e6, apart, short.used + long.used, (short, long))


def _stream_count(entry: Entry, streams: int) -> int:
    return max(4, round(streams * entry.running.contender.load_share))


def _flow(rig: Rig, entry: Entry, mock: Child, streams: int, chunks: int) -> Flow:
    running = entry.running
    command = stream_load_command(running, entry.kind.dialect, streams, chunks)
    before = read_cpu(running.child.pid, rig.contender_core)
    mock_before = read_cpu(mock.pid, rig.load_core)
    output = run_to_end(command, rig.load_core, timeout_s=120, environment=harness_environment())
    after = read_cpu(running.child.pid, rig.contender_core)
    mock_after = read_cpu(mock.pid, rig.load_core)

    result = json.loads(output)
    if result["failures"]:
        raise WrongAnswerError(
            f"{running.name}, {entry.kind.title}: {result['failures']} of {streams} streams; {result['first_failure']}"
        )
    elapsed_s = result["elapsed_s"]
    return Flow(
        used=usage_between(before, after),
        stretch=result["stretch"],
        events=result["events"],
        client_share=result["cpu_s"] / elapsed_s,
        mock_share=usage_between(mock_before, mock_after).cpu_s / elapsed_s,
    )


def stream_load_command(running: Running, dialect: str, streams: int, chunks: int) -> list[str]:
    port = running.port_of(DIALECTS[dialect].listener)
    return [
        *(sys.executable, "-m", "bench.stream_load", "--port", str(port)),
        *("--key", running.contender.key, "--dialect", dialect),
        *("--streams", str(streams), "--chunks", str(chunks)),
    ]
