"""What models cost: the operator's rows, and the bundled data by names as vendors write them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from dragoman.admission.prices import PriceRow, Prices
from dragoman.chat import Usage
from dragoman.money import FREE, MICRO, Price, cost

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


def day(year: int, month: int, of_month: int) -> float:
    return datetime(year, month, of_month, tzinfo=UTC).timestamp()


# --- rows -------------------------------------------------------------------------------------


def test_a_row_becomes_a_price() -> None:
    rows = [PriceRow(model="gpt-*", input="2.50", output=10, cache_read="0.125", per_request="0.01")]
    price = Prices(rows).find("openai", "openai", "gpt-4o", NOW)
    assert price == Price(input=2_500_000, output=10 * MICRO, cache_read=125_000, request_micro=10_000)


def test_rows_win_over_the_data_and_over_free_providers() -> None:
    prices = Prices([PriceRow(model="gpt-4o", input=1, output=1)], free=["echo"])
    assert prices.find("openai", "openai", "gpt-4o", NOW) == Price(input=MICRO, output=MICRO)
    assert prices.find("echo", "echo", "gpt-4o", NOW) == Price(input=MICRO, output=MICRO)


def test_a_row_may_hold_for_one_provider_only() -> None:
    prices = Prices([PriceRow(model="*", provider="azure-*", input=1, output=1)])
    assert prices.find("azure-eu", "openai", "anything", NOW) == Price(input=MICRO, output=MICRO)
    assert prices.find("my-box", "openai", "anything", NOW) is None


def test_the_latest_row_that_has_begun_wins() -> None:
    rows = [
        PriceRow(model="m", input=1, output=1),
        PriceRow(model="m", input=3, output=3, since="2026-03-01"),
        PriceRow(model="m", input=2, output=2, since="2026-02-01"),
        PriceRow(model="m", input=9, output=9, since="2026-03-01"),
    ]
    prices = Prices(rows)

    def charged(at: float) -> int:
        price = prices.find("p", "openai", "m", at)
        assert price is not None
        return price.input // MICRO

    assert charged(day(2026, 1, 31)) == 1
    assert charged(day(2026, 2, 1) - 1) == 1
    assert charged(day(2026, 2, 1)) == 2
    assert charged(day(2026, 3, 1)) == 3
    assert charged(day(2026, 1, 1)) == 1


def test_before_the_first_day_of_its_rows_a_model_has_the_price_of_the_data() -> None:
    prices = Prices([PriceRow(model="gpt-4o", input=1, output=1, since="2026-11-20")])
    before = prices.find("openai", "openai", "gpt-4o", day(2026, 11, 19))
    assert before is not None
    assert before.input == 2_500_000
    assert prices.find("openai", "openai", "gpt-4o", NOW) == Price(input=MICRO, output=MICRO)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"model": "m", "input": "-1", "output": "1"}, "input"),
        ({"model": "m", "input": "1", "output": "1e3"}, "output"),
        ({"model": "m", "input": "1", "output": "1", "cache_read": "nan"}, "cache_read"),
        ({"model": "m", "input": "1", "output": "1", "per_request": "0.0000001"}, "per_request"),
        ({"model": "m", "input": "1", "output": "1", "since": "2026-13-01"}, "since"),
        ({"model": "m", "input": "1", "output": "1", "since": "20261231"}, "since"),
        ({"model": "m", "input": "1", "output": "1", "since": "2026-W01-1"}, "since"),
        ({"model": "", "input": "1", "output": "1"}, "model"),
        ({"model": "m", "output": "1"}, "input"),
        ({"model": "m", "input": 1.5, "output": "1"}, "input"),
        ({"model": "m", "input": "1", "output": "1", "inptu": "1"}, "inptu"),
    ],
)
def test_a_wrong_row_is_refused_by_name(row: dict[str, Any], named: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=named):
        msgspec.convert(row, PriceRow)


# --- the data ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "kind", "model", "dollars_in", "dollars_out"),
    [
        ("openai", "openai", "gpt-4o", "2.5", "10"),
        ("openai", "openai", "gpt-4o-2024-08-06", "2.5", "10"),
        ("openai", "openai", "gpt-4o-mini-2024-07-18", "0.15", "0.6"),
        ("openai", "openai", "GPT-4o-20240806", "2.5", "10"),
        ("openai", "openai", "openai/gpt-4o", "2.5", "10"),
        ("main", "openai", "gpt-4o", "2.5", "10"),
        ("claude", "anthropic", "claude-sonnet-4-5-20250929", "3", "15"),
        ("anthropic", "anthropic", "claude-3-5-haiku-latest", "0.8", "4"),
        ("openrouter", "openai", "openai/gpt-4o-mini", "0.15", "0.6"),
        ("proxy", "openai", "anthropic/claude-sonnet-4-5", "3", "15"),
        ("proxy", "openai", "claude-sonnet-4-5", "3", "15"),
        ("bridge", "anthropic", "gpt-4o", "2.5", "10"),
        ("gemini", "openai", "models/gemini-2.5-flash", "0.3", "2.5"),
        ("groq", "openai", "llama-3.1-8b-instant", "0.05", "0.08"),
    ],
)
def test_finds_models_by_the_names_under_which_they_are_asked(
    provider: str, kind: str, model: str, dollars_in: str, dollars_out: str
) -> None:
    price = Prices([]).find(provider, kind, model, NOW)
    assert price is not None
    assert (price.input, price.output) == (Decimal(dollars_in) * MICRO, Decimal(dollars_out) * MICRO)


@pytest.mark.parametrize(
    ("provider", "kind", "model"),
    [
        ("openai", "openai", "no-such-model"),
        ("groq", "openai", "gpt-4o"),
        ("openai", "openai", "anthropic/claude-sonnet-4-5"),
        ("anthropic", "anthropic", "gpt-4o"),
        ("embedded", "local", "gpt-4o"),
        ("chatgpt", "chatgpt_web", "gpt-4o"),
        ("openai", "openai", "whisper-1"),
        ("main", "openai", ""),
        ("main", "openai", "///"),
    ],
)
def test_nobody_elses_price_stands_in_for_an_unknown_one(provider: str, kind: str, model: str) -> None:
    assert Prices([]).find(provider, kind, model, NOW) is None


def test_unknown_is_free_only_where_that_is_asked_for() -> None:
    assert Prices([], unknown="zero").find("openai", "openai", "no-such-model", NOW) == FREE
    assert Prices([], unknown="refuse").find("openai", "openai", "no-such-model", NOW) is None
    known = Prices([], unknown="zero").find("openai", "openai", "gpt-4o", NOW)
    assert known is not None
    assert known.input > 0


def test_cache_writes_of_both_lifetimes_have_their_prices() -> None:
    price = Prices([]).find("anthropic", "anthropic", "claude-sonnet-4-5", NOW)
    assert price is not None
    assert (price.cache_read, price.cache_write, price.cache_write_1h) == (300_000, 3_750_000, 6_000_000)


def test_a_service_tier_costs_what_its_variant_does() -> None:
    price = Prices([]).find("openai", "openai", "gpt-4.1", NOW)
    assert price is not None
    usual, priority = (cost(Usage(input=MICRO, cache_read=MICRO, tier=tier), price) for tier in ("", "priority"))
    assert (usual, priority) == (2_500_000, 4_375_000)
    earlier = Prices([]).find("openai", "openai", "gpt-4.1", day(2026, 1, 1))
    assert earlier is not None
    assert cost(Usage(input=MICRO, tier="priority"), earlier) == 2_000_000


def test_many_models_are_forgotten_again() -> None:
    prices = Prices([PriceRow(model="*", input=1, output=1)])
    for number in range(10_000):
        prices.find("p", "openai", f"model-{number}", NOW)
    assert len(prices._found) <= 4096  # noqa: SLF001 - memory has no other witness


def test_the_version_tells_the_data_and_the_rows() -> None:
    row = PriceRow(model="m", input=1, output=1)
    plain, own, other = (Prices(rows).version() for rows in ([], [row], [msgspec.structs.replace(row, input=2)]))
    assert plain.startswith("genai-prices/0.")
    assert own.startswith(f"{plain}+")
    assert len({plain, own, other}) == 3
    assert Prices([row]).version() == own
