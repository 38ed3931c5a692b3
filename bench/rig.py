"""What every measurement stands on: the plan of a run, its two cores, its folder and its contenders."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import shutil
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

from bench.mock import EVEN_SLOTS
from bench.processes import RigError, Stage
from bench.script import WrongAnswerError

if TYPE_CHECKING:
    from bench.contenders import Contender

T = TypeVar("T")

# Above this the shared core of upstream and load generator no longer keeps up reliably.
RIG_BUSY_LIMIT = 0.85


@dataclass(frozen=True)
class Plan:
    """How long and how often to measure."""

    rounds: int = 7
    unary_s: float = 4.0
    saturation_s: float = 2.0
    streams: int = 200
    stream_slots: int = EVEN_SLOTS
    long_stream_chunks: int = 256
    idle_streams: int = 1000
    memory_rounds: int = 3
    starts: int = 9
    turns_s: float = 2.5
    list_pages: int = 400
    growth_turns: int = 5000
    stored_conversations: int = 100_000
    stored_keys: int = 100_000
    usage_rows: int = 10_000_000
    usage_questions: int = 41

    @classmethod
    def quick(cls, rounds: int) -> Plan:
        """A look within two minutes; long streams are halved, which doubles the error of the slope."""
        return cls(
            rounds=rounds,
            unary_s=2.0,
            saturation_s=1.0,
            long_stream_chunks=128,
            memory_rounds=1,
            starts=3,
            turns_s=1.0,
            list_pages=100,
            growth_turns=1000,
            stored_conversations=20_000,
            usage_rows=1_000_000,
            usage_questions=11,
        )


@dataclass(frozen=True)
class Rig:
    """One run: where processes start, on which cores, and who competes."""

    stage: Stage
    plan: Plan
    contender_core: int
    load_core: int
    contenders: tuple[Contender, ...]
    left_out: list[str] = field(default_factory=list)

    def interleaved(self, entrants: Sequence[T]) -> list[tuple[int, T]]:
        """Everyone's turn in every round, in alternating order, so that slow drift favours nobody."""
        return [
            (number, entrant)
            for number in range(self.plan.rounds)
            for entrant in (entrants if number % 2 == 0 else reversed(entrants))
        ]

    @contextlib.contextmanager
    def tolerating_peer(self, contender: Contender) -> Iterator[None]:
        """A peer that fails loses its cell and the report says why; the run is about us and the yardstick."""
        try:
            yield
        except (RigError, WrongAnswerError) as error:
            if not contender.is_peer:
                raise
            self.left_out.append(f"{contender.name}: {error}")

    def progress(self, title: str, steps: Sequence[T]) -> Iterable[T]:
        return tqdm(steps, desc=title, unit="step", leave=False, disable=None)  # silent in a log file


def choose_cores() -> tuple[int, int]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RigError("two cores are needed: one for the gateway, one for upstream and load")
    return cores[0], cores[1]


def require_tools(*, gateway: bool) -> None:
    missing = [tool for tool in ("nginx", "wrk") if shutil.which(tool) is None]
    if missing:
        raise RigError(f"missing: {', '.join(missing)}. Get them with: apt-get install nginx wrk")
    if gateway and importlib.util.find_spec("dragoman") is None:
        raise RigError("this Python cannot import dragoman; use the one in .venv (`make bench` does)")


def allow_many_sockets() -> None:
    """The gateway holds two sockets per open stream; children inherit this limit."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port() -> int:
    return Ports.free().http


@dataclass(frozen=True)
class Ports:
    """Where a contender listens; one that speaks HTTP only leaves the others alone."""

    http: int
    websocket: int
    grpc: int

    @classmethod
    def free(cls) -> Ports:
        # All are held until the last is found, or one might be given twice.
        with contextlib.ExitStack() as held:
            probes = [held.enter_context(socket.socket()) for _ in range(3)]
            for probe in probes:
                probe.bind(("127.0.0.1", 0))
            return cls(*(probe.getsockname()[1] for probe in probes))
