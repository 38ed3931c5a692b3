"""The two upstreams: nginx with a canned answer for unary load, our own mock for streams.

Both are far cheaper than any gateway, so that the gateway is what gets measured.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

from bench import nginx
from bench.processes import Child, RigError
from bench.rig import Rig, free_port
from bench.script import unary_answer


def start_canned(rig: Rig) -> tuple[Child, int]:
    port = free_port()
    config = nginx.canned_answer(rig.stage.folder, port, unary_answer())
    child = rig.stage.start("upstream", nginx.command(config), rig.load_core)
    wait_for_port(child, port)
    return child, port


def start_mock(rig: Rig) -> tuple[Child, int]:
    port = free_port()
    command = [sys.executable, "-m", "bench.mock", "--port", str(port), "--slots", str(rig.plan.stream_slots)]
    child = rig.stage.start("mock", command, rig.load_core, harness_environment())
    wait_for_port(child, port)
    return child, port


def harness_environment() -> dict[str, str]:
    """Lets a child that runs in another folder import this package."""
    return {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def wait_for_port(child: Child, port: int, patience_s: float = 10.0) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        child.require_alive()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RigError(f"{child.name} does not listen after {patience_s:.0f} s:\n{child.last_words()}")
