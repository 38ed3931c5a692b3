"""CPU per refused request, against nginx that says `return 401`: a wrong key, and a limit that is reached.

Every request brings its body of 1 KB, which is taken from the socket and thrown away.
"""

from __future__ import annotations

import dataclasses
import http.client
from dataclasses import dataclass

from bench import contenders, nginx
from bench.accounts import SLOW_KEY, WRONG_KEY
from bench.contenders import YARDSTICK, Contender, Running
from bench.dialects import CHAT, chat_body, headers
from bench.report import Figure, quiet_rounds
from bench.rig import Ports, Rig, free_port
from bench.script import WrongAnswerError, question
from bench.unary import RATE_PER_S, Burst, Expected, burst, judge_rig, paced_load
from bench.upstreams import start_canned, wait_for_port


@dataclass(frozen=True)
class Refusal:
    """What a caller is refused with, and how the answer is known."""

    id: str
    title: str
    key: str
    expected: Expected


REFUSALS = (
    Refusal("wrong_key", "a wrong key", WRONG_KEY, Expected(401, 0, "not valid")),
    # Its wait is told in words, so the answer's length may change.
    Refusal("over_limit", "a limit reached", SLOW_KEY, Expected(429, 0, "rate_limit")),
)


def measure(rig: Rig) -> list[Figure]:
    contender = rig.contenders[0]
    if contender.prepare is None:
        return []
    upstream, upstream_port = start_canned(rig)
    running = contenders.start(rig, contender, upstream_port)
    idle = {contender.name: contenders.idle_cpu_share(rig, running), YARDSTICK: 0.0}
    load = paced_load(rig)
    figures = []
    for refusal in REFUSALS:
        refused = dataclasses.replace(running, contender=dataclasses.replace(contender, key=refusal.key))
        body = _first_answers(refused, refusal.expected)
        yardstick = _yardstick(rig, body)
        figure = Figure(refusal.id, f"CPU per refused request, {refusal.title}, {RATE_PER_S}/s", "µs", relative=True)
        bursts: list[dict[str, Burst]] = [{} for _ in range(rig.plan.rounds)]
        steps = [(refused, refusal.expected), (yardstick, Expected(401, len(body), ""))]
        for number, (entrant, expected) in rig.progress(figure.title, rig.interleaved(steps)):
            bursts[number][entrant.name] = burst(
                rig, entrant, load, upstream, idle_share=idle[entrant.name], expected=expected
            )
        for entrant, _ in steps:
            judge_rig(figure, entrant.contender, load, [found[entrant.name] for found in bursts])
        values = [{name: one.microseconds_each(idle[name]) for name, one in found.items()} for found in bursts]
        figure.rounds = quiet_rounds(values, [[one.used for one in found.values()] for found in bursts], figure.notes)
        rig.stage.stop(yardstick.child)
        figures.append(figure)
    for child in (running.child, upstream):
        rig.stage.stop(child)
    return figures


def _first_answers(running: Running, expected: Expected) -> bytes:
    """Ask until it is refused, and return the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    for _ in range(3):
        connection.request("POST", CHAT, chat_body(question(0, 16), stream=False), headers(running.contender.key))
        response = connection.getresponse()
        body = response.read()
        if response.status == expected.status:
            connection.close()
            return body
    raise WrongAnswerError(f"status {response.status} instead of {expected.status}: {body[:300]!r}")


def _yardstick(rig: Rig, body: bytes) -> Running:
    port = free_port()
    config = nginx.canned_answer(rig.stage.folder, port, b"x" * len(body), status=401)
    child = rig.stage.start(YARDSTICK, nginx.command(config), rig.contender_core)
    wait_for_port(child, port)
    return Running(Contender(YARDSTICK, "", lambda *_: []), child, Ports(port, 0, 0))
