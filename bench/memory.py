"""Resident memory: idle, and what 1,000 streams add that were answered once and then fell silent.

Each sample is taken from a fresh process, because memory freed by one sample would be reused by
the next and hide what that one needs.
"""

from __future__ import annotations

import json
import time

from bench import contenders
from bench.contenders import Contender, Running
from bench.processes import Child, RigError, run_to_end
from bench.readings import Memory, read_memory
from bench.report import Figure
from bench.rig import Rig
from bench.script import SILENT_CHUNKS, WrongAnswerError
from bench.streaming import MODERN, Kind, stream_load_command
from bench.upstreams import harness_environment, start_mock

IDLE_LIMIT_MB = 75.0
STREAMS_LIMIT_MB = 20.0
SETTLE_S = 1.0
PATIENCE_S = 60.0
# Enough to have loaded every module and filled every pool that a stream needs.
WARM_UP_STREAMS = 20


def measure(rig: Rig) -> list[Figure]:
    count = f"{rig.plan.idle_streams:,}"
    idle_rss = Figure("idle_rss", "resident memory, idle (RSS)", "MB", IDLE_LIMIT_MB)
    idle_pss = Figure("idle_pss", "resident memory, idle (PSS)", "MB")
    kinds = [kind for kind in MODERN if kind.dialect in rig.contenders[0].dialects]
    mock, mock_port = start_mock(rig)
    # A peer that is slow to start is sampled once; it is shown for comparison, not judged.
    steps = [
        (kind, number, contender)
        for number in range(rig.plan.memory_rounds)
        for kind in kinds
        for contender in rig.contenders
        if kind.dialect in contender.dialects and (number == 0 or not contender.is_peer)
    ]
    idle: dict[tuple[Kind, int], dict[str, Memory]] = {}
    extra: dict[tuple[Kind, int], dict[str, float]] = {}
    for kind, number, contender in rig.progress("memory", steps):
        with rig.tolerating_peer(contender):
            at_rest, loaded_mb = _sample(rig, contender, mock_port, kind.dialect)
            idle.setdefault((kind, number), {})[contender.name] = at_rest
            extra.setdefault((kind, number), {})[contender.name] = loaded_mb
    rig.stage.stop(mock)

    for samples in idle.values():
        idle_rss.rounds.append({name: memory.rss_mb for name, memory in samples.items()})
        idle_pss.rounds.append({name: memory.pss_mb for name, memory in samples.items()})
    added = [
        Figure(
            f"idle_streams_{kind.id}",
            f"memory added by {count} idle streams, {kind.title}",
            "MB",
            STREAMS_LIMIT_MB,
            rounds=[values for (of_kind, _), values in extra.items() if of_kind is kind],
        )
        for kind in kinds
    ]
    return [idle_rss, idle_pss, *added]


def _sample(rig: Rig, contender: Contender, mock_port: int, dialect: str) -> tuple[Memory, float]:
    """Idle memory after the first answer, and the RSS that open streams add to a warmed-up process."""
    running = contenders.start(rig, contender, mock_port)
    time.sleep(SETTLE_S)
    idle = read_memory(running.child.pid)
    warm_up = stream_load_command(running, dialect, WARM_UP_STREAMS, chunks=16)
    failures = json.loads(run_to_end(warm_up, rig.load_core, PATIENCE_S, harness_environment()))["failures"]
    if failures:
        raise WrongAnswerError(f"{running.name}: {failures} of {WARM_UP_STREAMS} warm-up streams")
    time.sleep(SETTLE_S)
    warm = read_memory(running.child.pid)
    holder = _hold_streams(rig, running, dialect)
    time.sleep(SETTLE_S)
    loaded = read_memory(running.child.pid)
    running.child.require_alive()

    rig.stage.stop(holder)
    cut = json.loads(holder.log.read_text().splitlines()[-1])["cut"]
    if cut:
        raise WrongAnswerError(f"{running.name}: {cut} of {rig.plan.idle_streams} idle streams were ended")
    rig.stage.stop(running.child)
    return idle, loaded.rss_mb - warm.rss_mb


def _hold_streams(rig: Rig, running: Running, dialect: str) -> Child:
    """Open the streams and return once each has had its first token."""
    command = stream_load_command(running, dialect, rig.plan.idle_streams, SILENT_CHUNKS)
    holder = rig.stage.start("streams", [*command, "--hold"], rig.load_core, harness_environment())
    deadline = time.monotonic() + PATIENCE_S
    while not holder.log.read_text().endswith("\n"):
        holder.require_alive()
        if time.monotonic() > deadline:
            raise RigError(f"{running.name} did not open {rig.plan.idle_streams} streams in {PATIENCE_S:.0f} s")
        time.sleep(0.05)
    flowing = json.loads(holder.log.read_text())["open"]
    if flowing != rig.plan.idle_streams:
        raise WrongAnswerError(f"{running.name}: {flowing} of {rig.plan.idle_streams} idle streams had a first token")
    return holder
