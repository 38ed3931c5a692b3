"""Compares a provider's usage export with our sums, by day of UTC and model. Pure.

OpenAI's export (platform.openai.com/usage) counts cached tokens inside `input_tokens`; Anthropic's
(console.anthropic.com, Usage) has a column for each kind of input. Neither holds money, but other exports may.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain
from typing import Any

import msgspec

from dragoman.faults import Malformed
from dragoman.standing import MOST
from dragoman.usage import UsageRow

Spot = tuple[str, str]
"""A day as in 2026-01-31, and the provider's name of a model."""
_MICRO = 1_000_000
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|20\d{6})$")
_PARTS = ("day", "model", "input", "output", "cost")


class Columns(msgspec.Struct, frozen=True):
    """Which columns hold what; several that are added up are joined by "+". `cost` is "" where there is none."""

    day: str
    model: str
    input: str
    output: str
    cost: str = ""


KNOWN = (
    Columns("start_time_iso", "model", "input_tokens", "output_tokens"),
    Columns("start_time", "model", "input_tokens", "output_tokens"),
    Columns(
        "usage_date_utc",
        "model_version",
        "usage_input_tokens_no_cache+usage_input_tokens_cache_write_5m+usage_input_tokens_cache_write_1h"
        "+usage_input_tokens_cache_read",
        "usage_output_tokens",
    ),
)
"""OpenAI's, with times as text or as Unix seconds, and Anthropic's."""


class Sum(msgspec.Struct):
    """Tokens, and money in micro-units: None if it is not told. `unpriced` calls are not in the money."""

    input: int = 0
    output: int = 0
    cost_micro: int | None = None
    unpriced: int = 0


class Gap(msgspec.Struct, frozen=True):
    """What a provider counted on a day for a model, and what we did."""

    day: str
    model: str
    theirs: Sum
    ours: Sum

    @property
    def input(self) -> int:
        """How many more input tokens they counted."""
        return self.theirs.input - self.ours.input

    @property
    def output(self) -> int:
        return self.theirs.output - self.ours.output

    @property
    def cost_micro(self) -> int | None:
        """How much more they want; None where one side does not know the price."""
        if self.theirs.cost_micro is None or self.ours.cost_micro is None or self.ours.unpriced:
            return None
        return self.theirs.cost_micro - self.ours.cost_micro

    def __bool__(self) -> bool:
        return bool(self.input or self.output or self.cost_micro)


def read_columns(text: str) -> Columns:
    """Read `day=DATE,model=NAME,input=A+B,output=C,cost=D`. Raises Malformed."""
    given = dict(part.strip().split("=", 1) for part in text.split(",") if "=" in part)
    if not set(given) <= set(_PARTS) or not set(_PARTS[:4]) <= set(given) or not all(given.values()):
        raise Malformed(
            "Columns are written day=NAME,model=NAME,input=NAME,output=NAME and, where there is one, cost=NAME.",
            field="columns",
        )
    return Columns(**given)


def read_export(lines: Iterable[str], columns: Columns | None = None) -> dict[Spot, Sum]:
    """Sum up a file of CSV with a header, or of one JSON object a line. Without `columns` it is one of `KNOWN`.

    Raises Malformed: it is neither, a column is missing, or a value cannot be read; the line is told.
    """
    sums: dict[Spot, Sum] = {}
    for number, row in _rows(lines):
        try:
            columns = columns or _known(row)
            day = _day(_value(row, columns.day))
            spot = (day, str(_value(row, columns.model)))
            added = sums.setdefault(spot, Sum())
            added.input += _tokens(row, columns.input)
            added.output += _tokens(row, columns.output)
            if columns.cost:
                added.cost_micro = (added.cost_micro or 0) + _micro(row, columns.cost)
        except ValueError as error:
            raise Malformed(f"Line {number}: {error}", field="file") from None
    return sums


def sum_ours(rows: Iterable[UsageRow]) -> dict[Spot, Sum]:
    """Arrange rows by (`utc_day`, `target`). Calls that no provider saw are left out."""
    sums: dict[Spot, Sum] = {}
    for row in rows:
        began, model = row.by
        if model:
            day = datetime.fromtimestamp(int(began), UTC).date().isoformat()
            tokens = row.tokens
            sums[day, str(model)] = Sum(tokens.prompt_tokens, tokens.completion_tokens, row.cost_micro, row.unpriced)
    return sums


def compare(theirs: Mapping[Spot, Sum], ours: Mapping[Spot, Sum]) -> list[Gap]:
    """Put both sides next to each other, by day and model, those without a gap as well.

    A provider bills snapshots, as in gpt-4o-2024-08-06, of what was asked for as gpt-4o: such names are taken for
    ours where we know only the short one.
    """
    names = {model for _, model in ours}
    renamed: dict[Spot, Sum] = {}
    for (day, model), added in theirs.items():
        short = _SNAPSHOT.sub("", model)
        spot = (day, short if model not in names and short in names else model)
        renamed[spot] = _plus(renamed[spot], added) if spot in renamed else added
    spots = sorted({*renamed, *ours})
    return [Gap(*spot, renamed.get(spot, Sum(cost_micro=0)), ours.get(spot, Sum(cost_micro=0))) for spot in spots]


def span(theirs: Mapping[Spot, Sum]) -> tuple[int, int]:
    """Return when the first day of an export begins and the last one ends, in Unix seconds. Raises Malformed."""
    if not theirs:
        raise Malformed("There are no rows in it.", field="file")
    days = [day for day, _ in theirs]
    first, last = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (min(days), max(days)))
    return int(first.timestamp()), int(last.timestamp()) + 86400


def _plus(one: Sum, other: Sum) -> Sum:
    is_told = one.cost_micro is not None and other.cost_micro is not None
    cost = (one.cost_micro or 0) + (other.cost_micro or 0) if is_told else None
    return Sum(one.input + other.input, one.output + other.output, cost)


def _rows(lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Read rows, each with the number of its line."""
    iterator = iter(lines)
    first = next(iterator, "").removeprefix("\ufeff")
    if first.lstrip().startswith("{"):
        yield from _objects(chain([first], iterator))
        return
    table = csv.DictReader(chain([first], iterator), strict=True)
    try:
        for row in table:
            yield table.line_num, row
    except csv.Error as error:
        raise Malformed(f"Line {table.line_num}: {error}.", field="file") from None


def _objects(lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.MsgspecError as error:
                raise Malformed(f"Line {number}: {error}.", field="file") from None


def _known(row: Mapping[str, Any]) -> Columns:
    for columns in KNOWN:
        names = (columns.day, columns.model, *columns.input.split("+"), columns.output)
        if all(name in row for name in names):
            return columns
    raise ValueError("these are not the columns of OpenAI's or Anthropic's export; name them with --columns.")


def _value(row: Mapping[str, Any], column: str) -> Any:
    value = row.get(column)
    if value is None:
        raise ValueError(f"there is no {column!r}.")
    return value


def _day(value: Any) -> str:
    """Read a date, the date of a time in UTC, or Unix seconds."""
    text = str(value).strip()
    try:
        if text.isascii() and text.isdigit():
            return datetime.fromtimestamp(int(text), UTC).date().isoformat()
        if len(text) == len("2026-01-31"):
            return date.fromisoformat(text).isoformat()
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo is None else at.astimezone(UTC)).date().isoformat()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text[:40]!r} is no day.") from None


def _tokens(row: Mapping[str, Any], columns: str) -> int:
    return sum(_number(_value(row, column), 1) for column in columns.split("+"))


def _micro(row: Mapping[str, Any], columns: str) -> int:
    return sum(_number(_value(row, column), _MICRO) for column in columns.split("+"))


def _number(value: Any, unit: int) -> int:
    """Read a decimal number as whole units of which one has `unit`; what is empty is 0."""
    text = str(value).strip()
    try:
        number = Decimal(text or 0) * unit
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 <= number <= MOST:
        raise ValueError(f"{text[:40]!r} is no number that can be.")
    return round(number)
