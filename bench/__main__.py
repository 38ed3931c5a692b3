"""`python -m bench`: run the figures, print them as a table, keep them as JSON.

Exit code: 0 all within their limits, 1 one is over (or an answer was wrong), 2 the rig could not measure.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench import cold_start, contenders, keys, memory, refusals, rig, streaming, turns, unary, usage
from bench.contenders import YARDSTICK, Contender
from bench.mock import EVEN_SLOTS
from bench.processes import RigError, Stage, pinned_to
from bench.report import Figure, as_json, exit_code, table, write_json
from bench.rig import Plan, Rig
from bench.script import WrongAnswerError

PARTS: dict[str, Callable[[Rig], list[Figure]]] = {
    "unary": unary.measure,
    "keys": keys.measure,
    "refusals": refusals.measure,
    "usage": usage.measure,
    "stream": streaming.measure,
    "conversing": streaming.measure_conversing,
    "turns": turns.measure,
    "memory": memory.measure,
    "start": cold_start.measure,
}
RESULTS = Path(__file__).parent / "results"
SELF_CHECK_NAME = "nginx-again"


def main() -> int:
    options = _options()
    # An ended terminal or a `kill` must unwind like Ctrl-C, or the children would live on.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    tqdm.monitor_interval = 0  # its thread would only disturb the core that carries the load
    try:
        return _run(options)
    except RigError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted, all processes ended", file=sys.stderr)
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help="interleaved rounds per figure (default 7, quick 3)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds; wider spread")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument(
        "--stream-slots",
        type=int,
        default=EVEN_SLOTS,
        metavar="N",
        help=f"moments in 20 ms at which streams send: {EVEN_SLOTS} evenly (default), 20 bursts every 1 ms",
    )
    parser.add_argument("--rows", type=int, help="calls in a year of usage (default 10,000,000, quick 1,000,000)")
    parser.add_argument("--json", type=Path, help="where to write the JSON (default: bench/results/)")
    parser.add_argument(
        "--self-check",
        action="store_true",
        help="put a second nginx in our place: ratios must come out near 1",
    )
    options = parser.parse_args()
    options.only = [part.strip() for part in options.only.split(",")]
    unknown = set(options.only) - set(PARTS)
    if unknown:
        parser.error(f"--only: no such part: {', '.join(sorted(unknown))}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds: at least 1")
    if options.rows is not None and options.rows < 1:
        parser.error("--rows: at least 1")
    return options


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _run(options: argparse.Namespace) -> int:
    rig.require_tools(gateway=not options.self_check)
    rig.allow_many_sockets()
    contender_core, load_core = rig.choose_cores()
    plan = Plan.quick(options.rounds or 3) if options.quick else Plan(rounds=options.rounds or 7)
    plan = dataclasses.replace(plan, stream_slots=options.stream_slots, usage_rows=options.rows or plan.usage_rows)
    field = _field(self_check=options.self_check)
    started_s = time.monotonic()
    figures: list[Figure] = []
    with (
        tempfile.TemporaryDirectory(prefix="dragoman-bench-") as folder,
        Stage(Path(folder)) as stage,
        pinned_to(load_core),
    ):
        run = Rig(stage, plan, contender_core, load_core, field)
        for part in options.only:
            figures += _measure(part, run)
            stage.stop_all()  # a part that broke off may have left its processes

    ours = field[0].name
    facts = {**_facts(field, plan, time.monotonic() - started_s), "left_out": run.left_out}
    print(_headline(facts))
    print(table(figures, [contender.name for contender in field]))
    for reason in dict.fromkeys(run.left_out):
        print(f"  left out, {reason}")
    target = options.json or RESULTS / f"{dt.datetime.now():%Y%m%d-%H%M%S}.json"
    write_json(target, as_json(figures, ours, facts))
    print(f"\nwritten to {target}")
    return exit_code(figures, ours)


def _field(*, self_check: bool) -> tuple[Contender, ...]:
    first = contenders.yardstick(SELF_CHECK_NAME) if self_check else contenders.ours()
    peer = contenders.litellm()
    if peer is None:
        print("bench: no LiteLLM column ($BENCH_LITELLM does not name its executable)", file=sys.stderr)
        return first, contenders.yardstick()
    return first, contenders.yardstick(), peer


def _measure(part: str, run: Rig) -> list[Figure]:
    """One part; if it breaks off, the parts after it still run, and the report says why."""
    try:
        return PARTS[part](run)
    except WrongAnswerError as error:
        return [Figure(part, part, "", wrong=str(error))]
    except RigError as error:
        return [Figure(part, part, "", refused=str(error))]


def _facts(field: tuple[Contender, ...], plan: Plan, took_s: float) -> dict[str, Any]:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "took_s": round(took_s, 1),
        "kernel": platform.release(),
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {contender.name: contender.version for contender in field},
        "yardstick": YARDSTICK,
        "plan": vars(plan),
    }


def _headline(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"{versions}; Python {facts['python']}, Linux {facts['kernel']}, {facts['cores']} x {facts['cpu']}; "
        f"{facts['took_s']:.0f} s\n"
    )


if __name__ == "__main__":
    sys.exit(main())
