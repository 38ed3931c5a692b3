"""What the gateway counts, in Prometheus' text format.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format, version 0.0.4).

A finished call is a dozen observations. With prometheus-client 0.26 they take 4.7 us (its labelled children kept by our
own key, so that only increments count); here one look-up finds all that a call adds to, and it takes 0.9 us. The format
itself is forty lines. Sums over labels are made when somebody looks.
"""

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from dragoman.records import Record

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000, 120_000, 300_000, 600_000)
"""Upper bounds of the histograms' buckets."""
TOKEN_KINDS = (
    *("input", "cache_read", "cache_write", "cache_write_1h", "audio_in", "image_in"),
    *("output", "reasoning", "audio_out", "image_out"),
)
OTHER = "other"
LABEL_MOST = 128
"""Longer values of labels, in characters, are cut."""
Read = Callable[[], Iterable[tuple[Mapping[str, str], float]]]
"""Reads a gauge: its values now, each with its labels."""
Key = TypeVar("Key", str, tuple[str, str])
Labels = tuple[tuple[str, str], ...]
_TIMES = ("queue", "first_byte", "between_chunks", "total")
_HELP = {
    "queue": "Time that calls waited for a place.",
    "first_byte": "Time until the first piece of an answer.",
    "between_chunks": "Time between pieces of an answer: each call's mean, as often as it had gaps.",
    "total": "Time that calls took.",
}
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Metrics:
    """Counters and histograms of finished calls, and gauges that are read when asked for.

    A call that came to no provider counts with no model: its model's name is whatever the caller wrote.

    Args:
        most_series: how many combinations of dialect, model, provider and outcome are told apart. Of all that come
            later dialect, model and provider are "other".

    """

    def __init__(self, *, most_series: int = 2000) -> None:
        self._most = most_series
        self._calls: dict[tuple[str, str, str, str], _Calls] = {}
        self._times: dict[str, _Times] = {}
        self._attempts: dict[tuple[str, str], int] = {}
        self._refused: dict[str, int] = {}
        self._gauges: dict[str, tuple[str, Read]] = {}

    def settled(self, record: Record) -> None:
        """Count a finished call."""
        attempts = record.attempts
        key = (record.dialect, record.model if attempts else "", record.provider, record.outcome)
        calls = self._calls.get(key)
        if calls is None:
            calls = self._open(key)
        calls.requests += 1
        for attempt in attempts:
            tried = (attempt.provider, attempt.outcome)
            if tried in self._attempts:
                self._attempts[tried] += 1
            else:
                _count(self._attempts, tried, (OTHER, attempt.outcome), self._most)
        calls.add_usage(record)
        calls.times.add(record)

    def refused(self, code: str) -> None:
        """Count a request that was refused before it was a call, by the fault's code."""
        _count(self._refused, code, OTHER, self._most)

    def gauge(self, name: str, help: str, read: Read) -> None:  # noqa: A002 - the format's own word
        """Have `read` called whenever the metrics are written; it must be quick and must not raise.

        Raises ValueError for a name that is taken or not Prometheus'.
        """
        if not _NAME.fullmatch(name) or name in self._gauges:
            raise ValueError(f"no name for a gauge, or one that is taken: {name!r}")
        self._gauges[name] = (help, read)

    def write(self) -> bytes:
        """Write everything in the text format."""
        lines: list[str] = []
        self._write_calls(lines)
        for times in _TIMES:
            self._write_times(lines, times)
        for name, (said, read) in self._gauges.items():
            rows: dict[Labels, float] = {}
            for labels, value in read():
                shown = tuple((key, _cut(text)) for key, text in labels.items())
                if len(rows) < self._most:
                    rows[shown] = value
            _write(lines, name, "gauge", said, rows)
        return ("\n".join(lines) + "\n").encode("utf-8", "replace")

    def latencies(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return p50, p90 and p99 in seconds, since the start: provider -> queue, first_byte, ... -> percentile."""
        found = {}
        for provider, times in self._times.items():
            histograms = {name: times.histogram(name) for name in _TIMES}
            found[provider] = {
                name: {f"p{percent}": _quantile_s(counts, percent / 100) for percent in (50, 90, 99)}
                for name, (counts, _) in histograms.items()
                if any(counts)
            }
        return found

    def failed_share(self, provider: str) -> float | None:
        """Return which part of the attempts at a provider failed since the start, None before the first."""
        tried = {outcome: count for (name, outcome), count in self._attempts.items() if name == provider}
        total = sum(tried.values())
        return 1 - tried.get("ok", 0) / total if total else None

    def _open(self, key: tuple[str, str, str, str]) -> "_Calls":
        dialect, model, provider, outcome = key
        cut = (_cut(dialect), _cut(model), _cut(provider), outcome)
        if cut not in self._calls and len(self._calls) >= self._most:
            cut = (OTHER, OTHER, OTHER, outcome)
        calls = self._calls.get(cut)
        if calls is None:
            times = self._times.setdefault(cut[2], _Times())
            calls = self._calls[cut] = _Calls(times)
        return calls

    def _write_calls(self, lines: list[str]) -> None:
        requests: dict[Labels, float] = {}
        tokens: dict[Labels, float] = {}
        costs: dict[Labels, float] = {}
        unpriced = 0
        for (dialect, model, provider, outcome), calls in self._calls.items():
            whose = (("model", model), ("provider", provider))
            requests[(("dialect", dialect), *whose, ("outcome", outcome))] = calls.requests
            for kind, count in zip(TOKEN_KINDS, calls.tokens, strict=True):
                if count:
                    labels = (*whose, ("kind", kind))
                    tokens[labels] = tokens.get(labels, 0) + count
            costs[whose] = costs.get(whose, 0) + calls.cost_micro
            unpriced += calls.unpriced
        attempts: dict[Labels, float] = {
            (("provider", provider), ("outcome", outcome)): count
            for (provider, outcome), count in self._attempts.items()
        }
        refused: dict[Labels, float] = {(("code", code),): count for code, count in self._refused.items()}
        _write(lines, "dragoman_requests_total", "counter", "Finished calls.", requests)
        _write(lines, "dragoman_attempts_total", "counter", "Tries at providers, by their outcome.", attempts)
        _write(lines, "dragoman_refused_total", "counter", "Requests that were refused at the door.", refused)
        _write(lines, "dragoman_tokens_total", "counter", "Tokens, in disjoint kinds.", tokens)
        _write(lines, "dragoman_cost_micro_total", "counter", "Cost in millionths of the currency.", costs)
        _write(lines, "dragoman_unpriced_total", "counter", "Calls for which there was no price.", {(): unpriced})

    def _write_times(self, lines: list[str], times: str) -> None:
        name = f"dragoman_{times}_seconds"
        _head(lines, name, "histogram", _HELP[times])
        for provider, kept in self._times.items():
            counts, sum_ms = kept.histogram(times)
            so_far = 0
            for bound_ms, count in zip((*BOUNDS_MS, math.inf), counts, strict=True):
                so_far += count
                labels = (("provider", provider), ("le", _number(bound_ms / 1000)))
                lines.append(f"{name}_bucket{_labels(labels)} {so_far}")
            whose = _labels((("provider", provider),))
            lines += [f"{name}_sum{whose} {_number(sum_ms / 1000)}", f"{name}_count{whose} {so_far}"]


class _Times:
    """The histograms of one provider: how many calls there were in each bucket, and all their milliseconds."""

    __slots__ = ("between_chunks", "first_byte", "queue", "sums_ms", "total")

    def __init__(self) -> None:
        self.queue = [0] * (len(BOUNDS_MS) + 1)
        self.first_byte = self.queue.copy()
        self.between_chunks = self.queue.copy()
        self.total = self.queue.copy()
        self.sums_ms = [0, 0, 0, 0]

    def add(self, record: Record) -> None:
        sums_ms = self.sums_ms
        if record.queued_ms:
            self.queue[bisect_left(BOUNDS_MS, record.queued_ms)] += 1
            sums_ms[0] += record.queued_ms
        else:
            self.queue[0] += 1
        if record.first_byte_ms is not None:
            self.first_byte[bisect_left(BOUNDS_MS, record.first_byte_ms)] += 1
            sums_ms[1] += record.first_byte_ms
        if record.gaps:
            self.between_chunks[bisect_left(BOUNDS_MS, record.gaps_ms / record.gaps)] += record.gaps
            sums_ms[2] += record.gaps_ms
        self.total[bisect_left(BOUNDS_MS, record.total_ms)] += 1
        sums_ms[3] += record.total_ms

    def histogram(self, name: str) -> tuple[list[int], int]:
        counts: list[int] = getattr(self, name)
        return counts, self.sums_ms[_TIMES.index(name)]


class _Calls:
    """What calls of one kind come to."""

    __slots__ = ("cost_micro", "requests", "times", "tokens", "unpriced")

    def __init__(self, times: _Times) -> None:
        self.requests = 0
        self.tokens = [0] * len(TOKEN_KINDS)
        self.cost_micro = 0
        self.unpriced = 0
        self.times = times

    def add_usage(self, record: Record) -> None:
        if record.cost_micro is None:
            self.unpriced += 1
        else:
            self.cost_micro += record.cost_micro
        usage, tokens = record.usage, self.tokens
        tokens[0] += usage.input
        tokens[6] += usage.output
        # Most calls have tokens of few kinds.
        if usage.cache_read:
            tokens[1] += usage.cache_read
        if usage.cache_write:
            tokens[2] += usage.cache_write
        if usage.cache_write_1h:
            tokens[3] += usage.cache_write_1h
        if usage.audio_in:
            tokens[4] += usage.audio_in
        if usage.image_in:
            tokens[5] += usage.image_in
        if usage.reasoning:
            tokens[7] += usage.reasoning
        if usage.audio_out:
            tokens[8] += usage.audio_out
        if usage.image_out:
            tokens[9] += usage.image_out


def _count(counts: dict[Key, int], key: Key, other: Key, most: int) -> None:
    if key not in counts and len(counts) >= most:
        key = other
    counts[key] = counts.get(key, 0) + 1


def _cut(value: str) -> str:
    return value if len(value) <= LABEL_MOST else value[:LABEL_MOST]


def _quantile_s(counts: list[int], share: float) -> float:
    """Find where in its bucket the call at this share stands, as Prometheus' histogram_quantile does."""
    rank = share * sum(counts)
    below = 0
    for index, count in enumerate(counts[:-1]):
        if count and below + count >= rank:
            low_ms = BOUNDS_MS[index - 1] if index else 0
            return (low_ms + (BOUNDS_MS[index] - low_ms) * (rank - below) / count) / 1000
        below += count
    return BOUNDS_MS[-1] / 1000


def _write(lines: list[str], name: str, kind: str, said: str, rows: Mapping[Labels, float]) -> None:
    _head(lines, name, kind, said)
    lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in rows.items()]


def _head(lines: list[str], name: str, kind: str, said: str) -> None:
    told = said.replace("\\", r"\\").replace("\n", r"\n")
    lines += [f"# HELP {name} {told}", f"# TYPE {name} {kind}"]


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels) + "}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
