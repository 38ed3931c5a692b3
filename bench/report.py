"""Figures: collected per round, judged by their median against a limit, shown as a table and as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.contenders import YARDSTICK, Contender
from bench.readings import Usage


@dataclass
class Figure:
    """One line of the table.

    `relative` figures are judged by ours ÷ `yardstick`, taken inside each round; the others by ours alone. The
    yardstick is nginx, or ourselves under other conditions. A figure without a limit is shown for information.
    """

    id: str
    title: str
    unit: str
    limit: float | None = None
    relative: bool = False
    rounds: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: str | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    wrong: str | None = None
    yardstick: str = YARDSTICK

    def series(self, contender: str) -> list[float]:
        if contender in self.left_out:
            return []
        return [values[contender] for values in self.rounds if contender in values]

    def judged(self, ours: str) -> list[float]:
        if self.relative:
            return [
                values[ours] / values[self.yardstick]
                for values in self.rounds
                if ours in values and self.yardstick in values
            ]
        return self.series(ours)

    def verdict(self, ours: str) -> str:
        values = self.judged(ours)
        if self.wrong is not None:
            return "WRONG"
        if self.refused is not None or not values:
            return "REFUSED"
        if self.limit is None:
            return ""
        return "pass" if statistics.median(values) <= self.limit else "OVER"

    def doubt(self, contender: Contender, reason: str) -> None:
        """Take back what cannot be trusted: a peer's column, or the whole figure."""
        if contender.is_peer:
            self.left_out[contender.name] = reason
        else:
            self.refused = f"{contender.name}: {reason}"


def quiet_rounds(
    rounds: Sequence[Mapping[str, float]], usages: Sequence[Sequence[Usage]], notes: list[str]
) -> list[dict[str, float]]:
    """Drop rounds in which something else used the contender's core, as long as half of them remain."""
    kept = [dict(values) for values, used in zip(rounds, usages, strict=True) if not any(usage.noisy for usage in used)]
    dropped = len(rounds) - len(kept)
    if len(kept) * 2 < len(rounds):
        notes.append(f"noisy machine: {dropped} of {len(rounds)} rounds disturbed, all were kept")
        return [dict(values) for values in rounds]
    if dropped:
        notes.append(f"{dropped} of {len(rounds)} rounds dropped: steal > 2 % or foreign load > 5 %")
    return kept


def exit_code(figures: Sequence[Figure], ours: str) -> int:
    # A row for information may be refused without harm, but a part without rounds has measured nothing.
    verdicts = {figure.verdict(ours) for figure in figures if figure.limit is not None or not figure.rounds}
    if "REFUSED" in verdicts:
        return 2
    return 1 if verdicts & {"OVER", "WRONG"} else 0


def table(figures: Sequence[Figure], contenders: Sequence[str]) -> str:
    ours, *others = contenders
    rows = [["figure", "limit", "result", "min..max", ours, *others, "verdict"]]
    rows += [_row(figure, ours, others) for figure in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if 0 < column < len(row) - 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += [f"  {figure.id}: WRONG ANSWERS, {figure.wrong}" for figure in figures if figure.wrong]
    lines += [f"  {figure.id}: REFUSED, {figure.refused}" for figure in figures if figure.refused]
    lines += [
        f"  {figure.id}: no figure for {name}, {reason}"
        for figure in figures
        for name, reason in figure.left_out.items()
    ]
    lines += [f"  {figure.id}: {note}" for figure in figures for note in figure.notes]
    return "\n".join(lines)


def _row(figure: Figure, ours: str, others: Sequence[str]) -> list[str]:
    judged = figure.judged(ours)
    shown = not figure.refused and bool(judged)
    return [
        figure.title,
        _result(figure, figure.limit) if figure.limit is not None else "",
        _result(figure, statistics.median(judged)) if shown else "-",
        f"{_number(min(judged))}..{_number(max(judged))}" if shown else "-",
        *(_value(figure, contender) for contender in (ours, *others)),
        figure.verdict(ours),
    ]


def _result(figure: Figure, value: float) -> str:
    return _number(value) + (" x" if figure.relative else f" {figure.unit}")


def _value(figure: Figure, contender: str) -> str:
    values = figure.series(contender)
    if figure.refused or not values:
        return "-"
    return f"{_number(statistics.median(values))} {figure.unit}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def as_json(figures: Sequence[Figure], ours: str, facts: Mapping[str, Any]) -> str:
    """Everything, down to each round; a refused figure keeps its rounds as evidence but has no result."""
    return json.dumps(
        {**facts, "exit_code": exit_code(figures, ours), "figures": [_document(f, ours) for f in figures]},
        indent=2,
    )


def _document(figure: Figure, ours: str) -> dict[str, Any]:
    judged = [] if figure.refused else figure.judged(ours)
    return {
        "id": figure.id,
        "title": figure.title,
        "unit": f"x {figure.yardstick}" if figure.relative else figure.unit,
        "limit": figure.limit,
        "result": statistics.median(judged) if judged else None,
        "min": min(judged, default=None),
        "max": max(judged, default=None),
        "verdict": figure.verdict(ours) or None,
        "refused": figure.refused,
        "wrong": figure.wrong,
        "left_out": figure.left_out,
        "notes": figure.notes,
        "rounds_unit": figure.unit,
        "rounds": figure.rounds,
    }


def write_json(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
