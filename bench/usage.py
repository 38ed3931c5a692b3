"""How long the usage of a year takes to be told, over one connection, from the question to the last byte."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from bench import contenders, year
from bench.accounts import KEY, OPERATOR_KEY
from bench.dialects import headers
from bench.report import Figure
from bench.rig import Rig
from bench.script import WrongAnswerError
from bench.upstreams import start_canned
from bench.year import Year

LIMIT_MS = 200.0
# So many rows are on a page at most; a year by the day is read in two.
PAGE = 250


@dataclass(frozen=True)
class Question:
    """What is asked for, by whom."""

    id: str
    title: str
    path: str
    key: str
    group: str

    def target(self, since: int) -> str:
        return f"{self.path}?{urlencode({'group': self.group, 'since': since, 'limit': PAGE})}"


def _by(group: str, title: str) -> Question:
    return Question(f"usage_{group.replace(',', '_') or 'sum'}", title, "/api/admin/usage", OPERATOR_KEY, group)


QUESTIONS = (
    _by("", "in one sum"),
    _by("day", "by day"),
    _by("model", "by model"),
    _by("principal", "by key"),
    _by("team,model", "by team and model"),
    _by("tag", "by tag"),
    _by("day,model", "by day and model"),
    Question("usage_own", "of one key by day", "/api/usage", KEY, "day"),
)


def measure(rig: Rig) -> list[Figure]:
    contender = rig.contenders[0]
    if contender.prepare is None:
        return []
    upstream, upstream_port = start_canned(rig)
    stored = year.filled(rig)
    running = contenders.start_on(rig, contender, upstream_port, stored.data)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    figures = [
        Figure(question.id, f"a year of {stored.rows:,} calls {question.title}", "ms", LIMIT_MS)
        for question in QUESTIONS
    ]
    for question, figure in rig.progress("usage", list(zip(QUESTIONS, figures, strict=True))):
        _ask(connection, question, stored)  # not counted: finds what it needs on the disk
        for _ in range(rig.plan.usage_questions):
            figure.rounds.append({contender.name: _ask(connection, question, stored)})
    connection.close()
    for child in (running.child, upstream):
        rig.stage.stop(child)
    return figures


def _ask(connection: http.client.HTTPConnection, question: Question, stored: Year) -> float:
    """Ask once, and return how many ms it took. A single sum must be of all calls."""
    started_s = time.perf_counter()
    connection.request("GET", question.target(stored.since), headers=headers(question.key))
    response = connection.getresponse()
    body = response.read()
    taken_ms = (time.perf_counter() - started_s) * 1000
    rows = json.loads(body).get("rows", []) if response.status == 200 else []
    if not rows or (not question.group and rows[0]["calls"] < stored.rows):
        raise WrongAnswerError(f"{question.title}: status {response.status}, {body[:200]!r}")
    return taken_ms
