"""What a process tree used: CPU time in nanoseconds, resident memory, and who else was on its core.

CPU comes from each thread's `schedstat`, which counts in nanoseconds; the usual `stat` counts in
clock ticks of 10 ms, as much as a whole round of a fast contender may cost.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from bench.processes import process_tree, stat_fields

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class CpuReading:
    """The counters of one process tree and of its core at one moment."""

    at_s: float
    threads_ns: dict[tuple[int, int], int]
    ticks_s: float
    core_busy_s: float
    core_steal_s: float


@dataclass(frozen=True)
class Usage:
    """What happened between two readings."""

    elapsed_s: float
    cpu_s: float
    steal_s: float
    foreign_s: float

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.elapsed_s + other.elapsed_s,
            self.cpu_s + other.cpu_s,
            self.steal_s + other.steal_s,
            self.foreign_s + other.foreign_s,
        )

    @property
    def busy_share(self) -> float:
        return self.cpu_s / self.elapsed_s

    @property
    def full_share(self) -> float:
        """How much of the core's time is accounted for, by whomever."""
        return (self.cpu_s + self.foreign_s + self.steal_s) / self.elapsed_s

    @property
    def noisy(self) -> bool:
        """Whether the hypervisor or another process took so much of the core that the round is void."""
        return self.steal_s > 0.02 * self.elapsed_s or self.foreign_s > 0.05 * self.elapsed_s


def read_cpu(root: int, core: int) -> CpuReading:
    threads: dict[tuple[int, int], int] = {}
    ticks_s = 0.0
    for pid in process_tree(root):
        process = Path(f"/proc/{pid}")
        try:
            user, system = stat_fields(process / "stat")[11:13]
            for task in (process / "task").iterdir():
                threads[pid, int(task.name)] = int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks_s += (int(user) + int(system)) * TICK_S
    busy_s, steal_s = _core_times(core)
    return CpuReading(time.monotonic(), threads, ticks_s, busy_s, steal_s)


def usage_between(before: CpuReading, after: CpuReading) -> Usage:
    if before.threads_ns.keys() <= after.threads_ns.keys():
        cpu_s = (sum(after.threads_ns.values()) - sum(before.threads_ns.values())) / 1e9
    else:
        # A thread ended and took its nanoseconds along; the process-wide ticks still include it.
        cpu_s = after.ticks_s - before.ticks_s
    busy_s = after.core_busy_s - before.core_busy_s
    return Usage(
        elapsed_s=after.at_s - before.at_s,
        cpu_s=cpu_s,
        steal_s=after.core_steal_s - before.core_steal_s,
        foreign_s=max(0.0, busy_s - cpu_s),
    )


def _core_times(core: int) -> tuple[float, float]:
    for line in Path("/proc/stat").read_text().splitlines():
        label, *fields = line.split()
        if label == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
            return (user + nice + system + irq + softirq) * TICK_S, steal * TICK_S
    raise LookupError(f"/proc/stat has no cpu{core}")


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process tree; PSS shares out the pages processes share, RSS counts them twice."""

    rss_mb: float
    pss_mb: float


def read_memory(root: int) -> Memory:
    rss_kib = pss_kib = 0
    for pid in process_tree(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
        rss_kib += sizes["Rss"]
        pss_kib += sizes["Pss"]
    return Memory(rss_kib * 1024 / MEGABYTE, pss_kib * 1024 / MEGABYTE)
