"""Usage as providers report it, in our buckets: recorded and documented answers, and what no provider should say.

Each file (JSON) in tests/cases/usage names the source of its answer, and the buckets that it comes to.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.chat import Delta, Frame, Tally, Usage
from dragoman.standing import MOST
from dragoman.wires import anthropic, openai_chat
from dragoman.wires.anthropic_usage import Reported
from dragoman.wires.openai_usage import count_of, read_usage, tier_of, write_usage
from dragoman.wires.passing import PassingBody

CASES = sorted((Path(__file__).parents[1] / "cases" / "usage").glob("*.golden"))
READERS: dict[str, tuple[Any, Any, Any, Any]] = {
    "openai_chat": (
        openai_chat.OpaqueWhole,
        openai_chat.OpenWhole,
        openai_chat.OpaqueStream,
        openai_chat.OpenStream,
    ),
    "anthropic": (anthropic.OpaqueWhole, anthropic.OpenWhole, anthropic.OpaqueStream, anthropic.OpenStream),
    "passing": (PassingBody, PassingBody, None, None),
}


class Case(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    wire: str
    usage: dict[str, int | str]
    answer: dict[str, Any] | None = None
    stream: list[str] | None = None


def reported(deltas: list[Delta]) -> Usage | None:
    """Find the last usage that a reader tells of: in passing, or in words."""
    found = [d.usage for d in deltas if isinstance(d, Frame | Tally) and d.usage is not None]
    return found[-1] if found else None


def read_by(reader: Any, body: bytes) -> list[Delta]:
    return [*reader.receive(body), *reader.close()]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_an_answer_comes_to_its_buckets(path: Path) -> None:
    case = msgspec.json.decode(path.read_bytes(), type=Case)
    opaque_whole, open_whole, opaque_stream, open_stream = READERS[case.wire]
    if case.answer is not None:
        readers, body = (opaque_whole(), open_whole()), msgspec.json.encode(case.answer)
    else:
        readers, body = (opaque_stream(), open_stream()), ("\n\n".join(case.stream or ()) + "\n\n").encode()
    for reader in readers:
        assert reported(read_by(reader, body)) == Usage(**case.usage)


def test_buckets_sum_to_what_the_provider_totals() -> None:
    compared = 0
    for path in CASES:
        case = msgspec.json.decode(path.read_bytes(), type=Case)
        total = ((case.answer or {}).get("usage") or {}).get("total_tokens")
        if total is not None:
            usage = Usage(**case.usage)
            assert usage.prompt_tokens + usage.completion_tokens == total, path.stem
            compared += 1
    assert compared > 10


def test_usage_that_nobody_asked_for_is_hidden_and_still_counted() -> None:
    chunk = b'data: {"choices":[],"service_tier":"flex","usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    content = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
    deltas = read_by(openai_chat.OpaqueStream(hide_usage=True), content + chunk + b"data: [DONE]\n\n")
    assert b"usage" not in b"".join(delta.data for delta in deltas if isinstance(delta, Frame))
    assert reported(deltas) == Usage(input=3, output=2, tier="flex")


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        (None, ""), ("", ""), ("default", ""), ("standard", ""), ("auto", ""), ("on_demand", ""), ("ON_DEMAND", ""),
        ("flex", "flex"), ("Priority", "priority"), ("scale", "scale"), (7, ""), ({}, ""), ("x" * 10_000, "x" * 32),
    ],
)  # fmt: skip
def test_a_tier_is_named_unless_it_is_the_usual_one(name: Any, tier: str) -> None:
    assert tier_of(name) == tier


@pytest.mark.parametrize(
    "tree",
    [None, [], "12", {}, {"type": "duration", "seconds": 9}, {"total_tokens": 40}, {"cost": 0.1}],
)
def test_where_no_tokens_are_counted_there_is_no_usage(tree: Any) -> None:
    assert read_usage(tree) is None


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (-1, 0), (-0.5, 0), (True, 0), ("7", 0), (None, 0), ([7], 0), (float("nan"), 0), (float("-inf"), 0), (7.0, 7),
        (float("inf"), MOST), (1e300, MOST), (10**30, MOST),
    ],
)  # fmt: skip
def test_a_count_is_neither_negative_nor_without_bounds(value: Any, count: int) -> None:
    assert count_of({"n": value}, "n") == count


def test_details_that_claim_more_than_the_total_do_not_raise_it() -> None:
    tree = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "total_tokens": 110,
        "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 50},
        "completion_tokens_details": {"reasoning_tokens": 60},
    }
    assert read_usage(tree) == Usage(cache_read=100, reasoning=10)


def test_reasoning_beyond_the_completion_was_counted_outside_it() -> None:
    tree = {"prompt_tokens": 21, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 60}}
    assert read_usage(tree) == Usage(input=21, output=1, reasoning=60)


numbers = st.one_of(st.integers(-5, 10**6), st.none(), st.floats(), st.text(max_size=3), st.booleans())
details = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from(
            ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "reasoning_tokens", "text_tokens")
        ),
        numbers,
    ),
    st.lists(numbers, max_size=2),
)
totals = st.sampled_from(("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens"))
trees = st.builds(
    lambda counts, inside, outside: {
        **counts, "prompt_tokens_details": inside, "completion_tokens_details": outside, "input_tokens_details": inside
    },
    st.dictionaries(totals, numbers),
    details,
    details,
)  # fmt: skip


@given(trees)
def test_whatever_is_reported_buckets_are_counts_that_sum_to_the_totals(tree: dict[str, Any]) -> None:
    usage = read_usage(tree)
    if usage is None:
        return
    buckets = [value for value in msgspec.structs.astuple(usage) if type(value) is int]
    assert all(bucket >= 0 for bucket in buckets)
    prompt = count_of(tree, "prompt_tokens") or count_of(tree, "input_tokens")
    completion = count_of(tree, "completion_tokens") or count_of(tree, "output_tokens")
    total = count_of(tree, "total_tokens")
    assert usage.prompt_tokens == prompt
    assert usage.completion_tokens >= completion
    if total:
        assert usage.prompt_tokens + usage.completion_tokens == max(total, prompt + completion)


counts = st.one_of(st.none(), st.integers(-5, 2**63 - 1))


@given(counts, counts, counts, counts, counts, counts)
def test_whatever_anthropic_reports_no_bucket_is_negative_and_writes_sum_to_their_total(  # noqa: PLR0913
    fresh: int | None, said: int | None, written: int | None, usual: int | None, hour: int | None, thought: int | None
) -> None:
    tree = {
        "input_tokens": fresh,
        "output_tokens": said,
        "cache_creation_input_tokens": written,
        "cache_creation": {"ephemeral_5m_input_tokens": usual, "ephemeral_1h_input_tokens": hour},
        "output_tokens_details": {"thinking_tokens": thought},
    }
    usage = msgspec.convert(tree, Reported).words()
    assert all(value >= 0 for value in msgspec.structs.astuple(usage) if type(value) is int)
    assert usage.completion_tokens == min(max(said or 0, 0), MOST)
    if written is not None:
        assert usage.cache_write + usage.cache_write_1h == min(max(written, 0), MOST)


@pytest.mark.parametrize(
    "iterations", [7, "x", [None, 7, {"type": "compaction", "input_tokens": -4}], [{"type": "compaction"}]]
)
def test_odd_iterations_change_nothing(iterations: Any) -> None:
    tree = {"input_tokens": 3, "output_tokens": 2, "iterations": iterations, "service_tier": [], "speed": {}}
    assert msgspec.convert(tree, Reported).words() == Usage(input=3, output=2)


def test_what_is_written_is_read_again() -> None:
    usage = Usage(input=3, cache_read=4, audio_in=5, output=6, reasoning=7, audio_out=8)
    assert read_usage(write_usage(usage)) == usage
