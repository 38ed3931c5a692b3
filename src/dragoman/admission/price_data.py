"""The price data of the package `genai-prices`, read without importing the package.

Importing it costs 110 to 140 ms and 22 MB (it brings pydantic and an HTTP client) for what is a table. Its table is
the module `genai_prices.data`, one literal written in the words of `genai_prices.types`. Here that module's code runs
with words of our own, which keep what a price needs and drop the rest: 10 ms and 4 MB (measured, Python 3.11). What
the words mean is documented in `genai_prices/types.py`: `Provider.find_model`, `ModelInfo.get_prices`,
`TieredPrices`, `PriceVariant`; tests compare the results with the package's own.
"""

import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import partial
from importlib.abc import InspectLoader
from importlib.machinery import PathFinder
from math import ceil
from operator import methodcaller
from types import SimpleNamespace
from typing import Any

import msgspec

from dragoman.faults import Misconfigured
from dragoman.money import MICRO, Price, Step

_PACKAGE = "genai_prices"
_DAY_S = 86_400
_MTOK = {
    "input": "input_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "audio_in": "input_audio_mtok",
    "image_in": "input_image_mtok",
    "output": "output_mtok",
    "reasoning": "output_reasoning_mtok",
    "audio_out": "output_audio_mtok",
    "image_out": "output_image_mtok",
}
"""The buckets of a Price by the names of that package; both are per million tokens."""
_REQUESTS_PER_PRICE = 1000
_TIER_KEYS = ("service_tier", "processing", "speed")
"""What a variant of a price may depend on that an answer reports: each value is a name in `Usage.tier`."""
_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")

Matches = Callable[[str], bool]
Holds = Callable[[float], bool]


# --- the words in which the data is written ---------------------------------------------------


class Tiered(msgspec.Struct, frozen=True):
    """A rate that depends on the length of the prompt: the last step passed holds for every token."""

    base: Decimal
    steps: Sequence[tuple[int, Decimal]]

    def at(self, prompt_tokens: int) -> Decimal:
        reached = [rate for over, rate in self.steps if prompt_tokens > over]
        return reached[-1] if reached else self.base


Rates = Mapping[str, "Decimal | Tiered | None"]


class Period(msgspec.Struct, frozen=True):
    """Rates that hold at some times; for `tier` only, if it has a name."""

    rates: Rates
    holds: Holds | None = None
    tier: str = ""


class Model(msgspec.Struct):
    """A model, with its prices over time."""

    matches: Matches
    periods: Sequence[Period]
    variants: Sequence[Period]
    holds: tuple[Holds, ...] = ()
    made: dict[tuple[bool, ...], Price | None] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.holds = tuple(period.holds for period in (*self.periods, *self.variants) if period.holds)

    def price(self, at: float) -> Price | None:
        """Return what holds `at` (Unix seconds); None if it is not priced by tokens or requests."""
        key = tuple([holds(at) for holds in self.holds])
        if key not in self.made:
            self.made[key] = self._make(at)
        return self.made[key]

    def _make(self, at: float) -> Price | None:
        """The last period that holds counts, or else the first; of variants, the first that names a rate."""
        if not self.periods:
            return None
        holding = [period for period in self.periods if period.holds is None or period.holds(at)]
        rates = (holding or self.periods[:1])[-1].rates
        tiers: dict[str, Rates] = {}
        for variant in self.variants:
            if variant.holds is None or variant.holds(at):
                tiers[variant.tier] = {**variant.rates, **tiers.get(variant.tier, {})}
        return _price(rates, {tier: {**rates, **own} for tier, own in tiers.items()})


class Provider(msgspec.Struct):
    """Who serves models. `fallbacks` are the ids of those whose models it serves too."""

    id: str
    matches_name: Matches | None
    matches_model: Matches | None
    fallbacks: Sequence[str]
    models: Sequence[Model]

    def model(self, name: str) -> Model | None:
        return next((model for model in self.models if model.matches(name)), None)


def _provider(
    *,
    id: str,  # noqa: A002 - the data's word
    provider_match: Matches | None = None,
    model_match: Matches | None = None,
    fallback_model_providers: Sequence[str] | None = None,
    models: Sequence[Model] = (),
    **_: object,
) -> Provider:
    return Provider(id, provider_match, model_match, fallback_model_providers or (), models)


def _model(
    *,
    match: Matches,
    prices: Rates | Sequence[Period] = (),
    price_variants: Sequence[Period] | None = None,
    **_: object,
) -> Model:
    periods = (Period(prices),) if isinstance(prices, Mapping) else prices
    return Model(match, periods, [variant for variant in price_variants or () if variant.tier])


def _variant(*, when: Mapping[str, str], prices: Rates, constraint: Holds | None = None) -> Period:
    found = [when[key] for key in _TIER_KEYS if key in when]
    return Period(prices, constraint, found[0] if len(found) == len(when) == 1 and found[0] != "default" else "")


def _period(constraint: Holds | None = None, *, prices: Rates) -> Period:
    return Period(prices, constraint)


def _since(start_date: date) -> Holds:
    since = datetime(start_date.year, start_date.month, start_date.day, tzinfo=UTC).timestamp()
    return lambda at: at >= since


def _daily(start_time: time, end_time: time) -> Holds:
    start, end = _second_of_day(start_time), _second_of_day(end_time)
    if end < start:
        return lambda at: not end <= at % _DAY_S < start
    return lambda at: start <= at % _DAY_S < end


def _second_of_day(clock: time) -> float:
    """A time without a zone is UTC."""
    offset = clock.utcoffset()
    since_midnight = clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond / 1e6
    return (since_midnight - (offset.total_seconds() if offset else 0)) % _DAY_S


def _tiered(*, base: Decimal, tiers: Sequence[tuple[int, Decimal]]) -> Tiered:
    return Tiered(base, sorted(tiers, key=lambda tier: tier[0]))


def _dropped(**_: object) -> None:
    """How usage is read from answers is the wires' business."""


def _contains(part: str, text: str) -> bool:
    return part in text


_WORDS: dict[str, Callable[..., object]] = {
    "ArrayMatch": _dropped,
    "UsageExtractor": _dropped,
    "UsageExtractorMapping": _dropped,
    "Provider": _provider,
    "ModelInfo": _model,
    "ModelPrice": dict,
    "PriceVariant": _variant,
    "ConditionalPrice": _period,
    "StartDateConstraint": _since,
    "TimeOfDateConstraint": _daily,
    "TieredPrices": _tiered,
    "Tier": lambda start, price: (start, price),
    "ClauseEquals": lambda equals: equals.lower().__eq__,
    "ClauseContains": lambda contains: partial(_contains, contains.lower()),
    "ClauseStartsWith": lambda starts_with: methodcaller("startswith", starts_with.lower()),
    "ClauseEndsWith": lambda ends_with: methodcaller("endswith", ends_with.lower()),
    "ClauseRegex": lambda regex: lambda text: re.search(regex, text) is not None,
    "ClauseOr": lambda or_: lambda text: any(matches(text) for matches in or_),
    "ClauseAnd": lambda and_: lambda text: all(matches(text) for matches in and_),
}


# --- what the words come to -------------------------------------------------------------------


def _price(rates: Rates, tiers: Mapping[str, Rates]) -> Price | None:
    base = _flat(rates, 0)
    if base is None:
        return None
    of_tiers = ((name, _price(own, {})) for name, own in tiers.items())
    return msgspec.structs.replace(
        base, steps=_steps(rates), tiers=tuple((name, price) for name, price in of_tiers if price is not None)
    )


def _steps(rates: Rates) -> tuple[Step, ...]:
    overs = {over for rate in rates.values() if isinstance(rate, Tiered) for over, _ in rate.steps}
    prices = ((over, _flat(rates, over + 1)) for over in sorted(overs))
    return tuple(Step(over, price) for over, price in prices if price is not None)


def _flat(rates: Rates, prompt_tokens: int) -> Price | None:
    """Make the price for one length of prompt; None if nothing that we count has a rate, or a rate is no amount."""
    known = {
        bucket: rate.at(prompt_tokens) if isinstance(rate, Tiered) else rate
        for bucket, name in _MTOK.items()
        if (rate := rates.get(name)) is not None
    }
    a_thousand = rates.get("requests_kcount")
    per_request = a_thousand / _REQUESTS_PER_PRICE if isinstance(a_thousand, Decimal) else None
    amounts = [*known.values(), *([per_request] if per_request is not None else [])]
    if not amounts or not all(amount.is_finite() and amount >= 0 for amount in amounts):
        return None
    micro: dict[str, Any] = {name: ceil(rate * MICRO) for name, rate in known.items()}
    return Price(request_micro=ceil((per_request or 0) * MICRO), **micro)


# --- reading and finding ----------------------------------------------------------------------


class PriceData:
    """What `genai-prices` knows. Making one reads all of it."""

    def __init__(self) -> None:
        self._providers = _read()
        self._by_id = {provider.id: provider for provider in self._providers}

    def provider(self, name: str) -> Provider | None:
        """Find the provider that goes by this name: its id, or else what its own rule takes for it."""
        name = name.strip().lower()
        matching = (p for p in self._providers if p.matches_name and p.matches_name(name))
        return self._by_id.get(name) or next(matching, None)

    def provider_of(self, model: str) -> Provider | None:
        """Find the provider that makes models with such names."""
        model = model.lower()
        return next((p for p in self._providers if p.matches_model and p.matches_model(model)), None)

    def model(self, provider: Provider, name: str) -> Model | None:
        """Find a model by the name under which a provider is asked for it. Dates are known as 2025-12-11 and as
        20251211, whichever is meant.
        """
        name = name.lower()
        for spelled in (name, _COMPACT_DATE.sub(r"-\1-\2-\3", name)):
            sources = (provider, *(self._by_id[id_] for id_ in provider.fallbacks if id_ in self._by_id))
            found = next((model for source in sources if (model := source.model(spelled))), None)
            if found:
                return found
        return None


def version() -> str:
    """Return the version of the price data that is installed."""
    return importlib.metadata.version(_PACKAGE)


def _read() -> Sequence[Provider]:
    """Run the data module's own code (which the interpreter keeps compiled) with our words for its own."""
    package = importlib.util.find_spec(_PACKAGE)
    module = package and PathFinder.find_spec(f"{_PACKAGE}.data", package.submodule_search_locations)
    if not module or not isinstance(module.loader, InspectLoader):
        raise Misconfigured("The prices of models are missing: the package genai-prices is not installed.")
    code = module.loader.get_code(module.name)
    words = SimpleNamespace(**_WORDS)

    def import_words(
        name: str, globals_: Any = None, locals_: Any = None, names: Sequence[str] = (), level: int = 0
    ) -> Any:
        return words if level else __import__(name, globals_, locals_, names)

    said: dict[str, Any] = {"__builtins__": {"__import__": import_words, "list": list}, "__name__": module.name}
    try:
        exec(code or "", said)  # noqa: S102 - a dependency's code, as an import would run it
        providers: Sequence[Provider] = said["providers"]
    except (NameError, TypeError, KeyError) as unknown:
        raise Misconfigured(f"The data of genai-prices {version()} cannot be read by this version: {unknown}") from None
    return providers
