"""The processes of a run: each pinned to one core, all of them ended whatever happens.

The gateway under test has a core to itself and everything that feeds it (upstream, load
generator, this harness) shares another, so that neither can slow the other down unnoticed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class RigError(Exception):
    """The rig, not the gateway, is at fault: no figure may be printed."""


class Child:
    """One started process, with the file that holds everything it printed."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def require_alive(self) -> None:
        if self.process.poll() is not None:
            raise RigError(f"{self.name} ended with code {self.process.returncode}:\n{self.last_words()}")

    def last_words(self, lines: int = 5) -> str:
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join(text[-lines:]) or "(it printed nothing)"

    def stop(self, grace_s: float = 5.0) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_s)
        # Each child leads its own session, so this also reaches workers it may have left behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


class Stage:
    """Starts processes and, on leaving the `with` block, ends all that still run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An impatient second Ctrl-C must not cut the cleaning up short.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.stop_all()
        signal.signal(signal.SIGINT, before)

    def stop_all(self) -> None:
        for child in reversed(self._children):
            child.stop()
        self._children.clear()

    def start(
        self, name: str, command: Sequence[str], core: int, environment: Mapping[str, str] | None = None
    ) -> Child:
        log = self.folder / f"{name}-{len(self._children)}-{time.monotonic_ns()}.log"
        # A session of its own keeps the terminal's Ctrl-C away: the stage decides who ends when.
        with log.open("wb") as output, pinned_to(core):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def stop(self, child: Child) -> None:
        child.stop()
        self._children.remove(child)


@contextlib.contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """Let children started inside inherit one core; cheaper and safer than code between fork and exec."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_to_end(
    command: Sequence[str], core: int, timeout_s: float, environment: Mapping[str, str] | None = None
) -> str:
    """Run a load generator and hand back what it printed."""
    with pinned_to(core):
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise RigError(f"{command[0]} did not finish within {timeout_s:.0f} s") from error
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise RigError(f"{command[0]} ended with code {process.returncode}:\n{output}{errors}")
    return output


def process_tree(root: int) -> list[int]:
    """The process and all its descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # Processes come and go while we look; one that is gone has nothing to add.
            with contextlib.suppress(OSError):
                parent = int(stat_fields(entry / "stat")[1])
                children.setdefault(parent, []).append(int(entry.name))
    tree = [root]
    for pid in tree:
        tree.extend(children.get(pid, ()))
    return tree


def stat_fields(path: Path) -> list[str]:
    """The fields of a `stat` file after the command name, which may itself hold spaces and brackets."""
    return path.read_text().rpartition(")")[2].split()
