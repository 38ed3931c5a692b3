"""The bundled price data, read without its package: the same costs as the package's own, at a fraction of its weight."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dragoman.admission.price_data import PriceData
from dragoman.admission.prices import Prices
from dragoman.chat import Usage
from dragoman.money import MICRO, cost

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
WRITTEN = """
import datetime
from decimal import Decimal
from .types import *
providers = [Provider(id='vendor', name='Vendor', api_pattern='', models=[ModelInfo(
    id='m', match=ClauseOr(or_=[ClauseRegex(regex='^m-2'), ClauseAnd(and_=[ClauseStartsWith(starts_with='M'),
    ClauseEndsWith(ends_with='z')])]), prices=[
        ConditionalPrice(prices=ModelPrice(
            input_mtok=TieredPrices(base=Decimal('1'), tiers=[Tier(start=200, price=Decimal('4')),
                                                              Tier(start=100, price=Decimal('2'))]),
            output_mtok=Decimal('0.0000005'), requests_kcount=Decimal('12'))),
        ConditionalPrice(constraint=TimeOfDateConstraint(
            start_time=datetime.time(22, 30), end_time=datetime.time(2, tzinfo=datetime.timezone.utc)),
            prices=ModelPrice(input_mtok=Decimal('0.5'))),
        ConditionalPrice(constraint=StartDateConstraint(start_date=datetime.date(2026, 1, 1)),
            prices=ModelPrice(input_mtok=Decimal('-1')))])])]
"""


def find(data: str, tmp_path: Path, *calls: str) -> list[str]:
    """Ask data of our own writing in a fresh interpreter, where it stands before the real package."""
    package = tmp_path / "genai_prices"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "data.py").write_text(data)
    code = (
        "from dragoman.admission.prices import Prices; from dragoman.money import *; from dragoman.chat import Usage\n"
    )
    code += "prices = Prices([])\n" + "".join(f"print({call})\n" for call in calls)
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)}
    )
    return ran.stdout.splitlines() + ran.stderr.splitlines()[-1:]


def test_times_tiers_and_clauses_mean_what_the_package_says(tmp_path: Path) -> None:
    day = datetime(2025, 6, 1, tzinfo=UTC).timestamp()
    asked = "prices.find('vendor', 'x', '{}', {})"
    by_day, by_night = asked.format("m-2", day + 12 * 3600), asked.format("m-2", day + 3600)
    said = find(
        WRITTEN,
        tmp_path,
        f"[cost(Usage(input=n, output=0), {by_day}) - 12_000 for n in (100, 101, 200, 201)]",
        f"{by_day}.output",
        f"cost(Usage(input=1_000_000), {by_night})",
        f"[cost(Usage(input=1_000_000), prices.find('vendor', 'x', 'm-2', {day} + s)) for s in (7199, 80999, 81000)]",
        asked.format("m-2", datetime(2026, 1, 1, tzinfo=UTC).timestamp()),
        f"[bool(prices.find('vendor', 'x', name, {day})) for name in ('MuZ', 'm-1', 'mz', 'zm')]",
    )
    assert said == [
        "[100, 202, 400, 804]",
        "1",
        "500000",
        "[500000, 4012000, 500000]",
        "None",
        "[True, False, True, False]",
    ]


def test_dates_are_found_however_they_are_spelled() -> None:
    data = PriceData()
    vendor = data.provider("openai")
    assert vendor is not None
    assert data.model(vendor, "gpt-4o-20240806") is data.model(vendor, "gpt-4o-2024-08-06") is not None
    assert data.model(vendor, "gpt-4o-20241399") is None


def test_importing_and_reading_bring_neither_pydantic_nor_an_http_client() -> None:
    code = (
        "import sys, time; from dragoman.admission.prices import Prices;"
        f"assert Prices([]).find('openai', 'openai', 'gpt-4o', {NOW});"
        "print([name for name in ('pydantic', 'httpx', 'httpx2', 'genai_prices') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_data_in_words_that_are_not_known_is_refused_by_name(tmp_path: Path) -> None:
    data = "from .types import *\nproviders = [Provider(id='a', models=[Moon(phase=1)])]\n"
    (said,) = find(data, tmp_path, "prices.find('a', 'openai', 'm', 0)")
    assert "Misconfigured" in said
    assert "genai-prices" in said
    assert "Moon" in said


TIMES = [
    datetime(2024, 6, 1, tzinfo=UTC).timestamp(),
    datetime(2025, 2, 9, 18, tzinfo=UTC).timestamp(),
    datetime(2025, 9, 1, tzinfo=UTC).timestamp(),
    NOW,
    NOW + 6 * 3600,
]
CASES: list[tuple[dict[str, int], dict[str, str], Usage]] = [
    ({"input_tokens": 1000, "output_tokens": 1000}, {}, Usage(input=1000, output=1000)),
    (
        {"input_tokens": 250_007, "cache_read_tokens": 3, "cache_write_tokens": 4, "output_tokens": 13},
        {},
        Usage(input=250_000, cache_read=3, cache_write=4, output=13),
    ),
    (
        {"input_tokens": 90, "input_audio_tokens": 40, "input_image_tokens": 30, "output_tokens": 10},
        {},
        Usage(input=20, audio_in=40, image_in=30, output=10),
    ),
    (
        {"input_tokens": 900, "cache_read_tokens": 300, "output_tokens": 100},
        {"service_tier": "priority"},
        Usage(input=600, cache_read=300, output=100, tier="priority"),
    ),
    ({"input_tokens": 900, "output_tokens": 100}, {"speed": "fast"}, Usage(input=900, output=100, tier="fast")),
]


@pytest.mark.parametrize(
    "vendor", ["openai", "anthropic", "google", "deepseek", "groq", "mistral", "x-ai", "openrouter", "azure"]
)
def test_costs_are_those_that_the_package_itself_calculates(vendor: str) -> None:
    """Every model of a vendor, at several times: a cost is the package's own in micro-units, rounded up.

    Prices are rounded up to a millionth of the currency per million tokens first, so a cost may be larger by a hair.
    """
    import genai_prices  # noqa: PLC0415 - slow to import, and only here
    from genai_prices.data import providers  # noqa: PLC0415 - the same

    prices = Prices([])
    compared = 0
    for model in next(p.models for p in providers if p.id == vendor):
        for at in TIMES:
            price = prices.find(vendor, "openai", model.id, at)
            for theirs, context, ours in CASES:
                if ("speed" in context) != (vendor == "anthropic" and bool(context)):
                    continue
                try:
                    known = genai_prices.calc_price(
                        genai_prices.Usage(**theirs),
                        model.id,
                        provider_id=vendor,
                        genai_request_timestamp=datetime.fromtimestamp(at, UTC),
                        price_context=context,
                    )
                except LookupError:
                    assert price is None
                    continue
                except ValueError:
                    continue
                exact = known.total_price * MICRO
                charged = cost(ours, price) if price else 0
                assert exact <= charged < exact + 2, (model.id, at, theirs)
                compared += 1
    assert compared > 30
