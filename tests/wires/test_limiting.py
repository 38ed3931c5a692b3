import math
import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.standing import MOST, Allowance, Standing
from dragoman.wires import limiting

NOW = 1_790_000_000.25
ALLOWANCES = st.builds(Allowance, st.integers(1, MOST), st.integers(-100, MOST), st.floats(0, 400 * 86_400))
STANDINGS = st.builds(Standing, requests=st.none() | ALLOWANCES, tokens=st.none() | ALLOWANCES)
KINDS = ("requests", "tokens")
_UNITS_S = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
_GO = re.compile(r"(?:\d+h)?(?:\d+m(?!s))?(?:\d+(?:\.\d+)?s|\d+ms)?")
_ITEM = re.compile(r'"([a-z]+)"((?:;[a-z]+=(?:\d{1,15}|"[a-z]+"))+)')


def seconds_of_go(text: str) -> float:
    assert text, "empty"
    assert _GO.fullmatch(text), text
    return sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(r"([\d.]+)(h|ms|m|s)", text))


def items_of(field: bytes) -> dict[str, dict[str, int | str]]:
    """Read a structured field: a list of strings, their parameters integers or strings (RFC 9651)."""
    items = {}
    for item in field.decode().split(", "):
        match = _ITEM.fullmatch(item)
        assert match, item
        assert match[1] not in items
        items[match[1]] = {
            key: int(value) if value.isdigit() else value.strip('"')
            for key, value in re.findall(r";([a-z]+)=([^;]+)", match[2])
        }
    return items


def shown(standing: Standing) -> dict[str, Allowance]:
    return {kind: allowance for kind in KINDS if (allowance := getattr(standing, kind)) is not None}


@given(STANDINGS)
def test_openai_reads_back(standing: Standing) -> None:
    headers = dict(limiting.openai(standing, NOW))
    assert len(headers) == 3 * len(shown(standing))
    for kind, allowance in shown(standing).items():
        assert int(headers[f"x-ratelimit-limit-{kind}".encode()]) == allowance.limit
        assert int(headers[f"x-ratelimit-remaining-{kind}".encode()]) == max(0, allowance.remaining)
        reset_s = seconds_of_go(headers[f"x-ratelimit-reset-{kind}".encode()].decode())
        assert allowance.reset_s - 1e-6 <= reset_s <= allowance.reset_s + 0.0011


@given(STANDINGS, st.floats(0, 4e9))
def test_anthropic_reads_back(standing: Standing, now: float) -> None:
    headers = dict(limiting.anthropic(standing, now))
    assert len(headers) == 3 * len(shown(standing))
    for kind, allowance in shown(standing).items():
        name = f"anthropic-ratelimit-{kind}".encode()
        assert int(headers[name + b"-limit"]) == allowance.limit
        assert int(headers[name + b"-remaining"]) == max(0, allowance.remaining)
        at = datetime.fromisoformat(headers[name + b"-reset"].decode())
        assert at.tzinfo is not None
        assert now + allowance.reset_s <= at.timestamp() <= now + allowance.reset_s + 1


@given(STANDINGS)
def test_the_standard_reads_back(standing: Standing) -> None:
    headers = dict(limiting.standard(standing, NOW))
    if not shown(standing):
        assert headers == {}
        return
    policies, limits = items_of(headers[b"ratelimit-policy"]), items_of(headers[b"ratelimit"])
    assert list(policies) == list(limits) == list(shown(standing))
    for kind, allowance in shown(standing).items():
        assert policies[kind].pop("q") == min(allowance.limit, 10**15 - 1)
        assert policies[kind] == ({} if kind == "requests" else {"qu": kind})
        assert limits[kind]["r"] == min(max(0, allowance.remaining), 10**15 - 1)
        assert allowance.reset_s <= limits[kind]["t"] <= allowance.reset_s + 1


@pytest.mark.parametrize(
    ("reset_s", "text"),
    [(0, "0s"), (0.0004, "1ms"), (0.12, "120ms"), (0.9995, "1s"), (1, "1s"), (1.5, "1.5s"), (6.25, "6.25s")]
    + [(60, "1m0s"), (59.9999, "1m0s"), (360, "6m0s"), (86_400, "24h0m0s"), (3661.001, "1h1m1.001s")],
)
def test_durations_as_go_writes_them(reset_s: float, text: str) -> None:
    headers = dict(limiting.openai(Standing(tokens=Allowance(1, 0, reset_s)), NOW))
    assert headers[b"x-ratelimit-reset-tokens"] == text.encode()


@pytest.mark.parametrize("reset_s", [math.inf, 1e300, -5.0])
def test_a_reset_that_no_date_can_hold(reset_s: float) -> None:
    standing = Standing(requests=Allowance(1, 0, reset_s))
    for write in (limiting.openai, limiting.anthropic, limiting.standard):
        headers = write(standing, NOW)
        assert len(headers) == len(write(Standing(requests=Allowance(1, 0, 1.0)), NOW))
    t = items_of(dict(limiting.standard(standing, NOW))[b"ratelimit"])["requests"]["t"]
    assert t == (0 if reset_s < 0 else limiting.RESET_MOST_S)
