"""Money in integer micro-units (millionths) of the one currency in which prices are given.

A price is micro-units per million tokens, so that a cost is a sum of integer products with one division at its end.
"""

import re
from collections.abc import Collection
from datetime import UTC, date, datetime

import msgspec

from dragoman.chat import Usage
from dragoman.faults import Malformed
from dragoman.standing import MOST

MICRO = 1_000_000
_DECIMALS = 6
_AMOUNT = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_LONGEST_TEXT = 64
_AS_PLAIN = -1
"""Marks a bucket without a price of its own."""


class Step(msgspec.Struct, frozen=True):
    """What holds for a whole call, every token of it, whose prompt has more tokens than `over_prompt_tokens`."""

    over_prompt_tokens: int
    price: "Price"


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a model costs: micro-units per million tokens for each bucket of `chat.Usage`, and `request_micro` a call.

    A bucket that is left out costs what its plain one does (`input`, `output`). Where only the usual cache write is
    known, one that lives for an hour costs 1.6 of it, as at Anthropic (2 to 1.25 of the input's price; Anthropic
    docs, "Prompt caching", pricing). `steps` are the prices of long contexts, by rising `over_prompt_tokens`;
    `tiers` are those of service tiers, by the name in `Usage.tier`. A tier may have steps, nothing else nests.
    """

    input: int = 0
    cache_read: int = _AS_PLAIN
    cache_write: int = _AS_PLAIN
    cache_write_1h: int = _AS_PLAIN
    audio_in: int = _AS_PLAIN
    image_in: int = _AS_PLAIN
    output: int = 0
    reasoning: int = _AS_PLAIN
    audio_out: int = _AS_PLAIN
    image_out: int = _AS_PLAIN
    request_micro: int = 0
    steps: tuple[Step, ...] = ()
    tiers: tuple[tuple[str, "Price"], ...] = ()
    dearest_in: int = _AS_PLAIN
    """The most that a token of the prompt can cost without steps and tiers; found out, not given."""
    dearest_out: int = _AS_PLAIN
    """The same of the answer."""

    def __post_init__(self) -> None:
        if self.cache_write_1h == _AS_PLAIN and self.cache_write != _AS_PLAIN:
            msgspec.structs.force_setattr(self, "cache_write_1h", -(-self.cache_write * 8 // 5))
        for bucket, plain in _PLAIN.items():
            if getattr(self, bucket) == _AS_PLAIN:
                msgspec.structs.force_setattr(self, bucket, getattr(self, plain))
        msgspec.structs.force_setattr(self, "dearest_in", max(getattr(self, bucket) for bucket in INSIDE))
        msgspec.structs.force_setattr(self, "dearest_out", max(getattr(self, bucket) for bucket in OUTSIDE))


INSIDE = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_in", "image_in")
"""The buckets of the prompt, the plain one first."""
OUTSIDE = ("output", "reasoning", "audio_out", "image_out")
"""The buckets of the answer, the plain one first."""
_PLAIN = {bucket: plain for plain, *others in (INSIDE, OUTSIDE) for bucket in others}

FREE = Price()


def cost(usage: Usage, price: Price) -> int:
    """Return what a call costs, in micro-units, rounded up once; never more than `standing.MOST`."""
    price = _applying(usage, price)
    total = (
        usage.input * price.input
        + usage.cache_read * price.cache_read
        + usage.cache_write * price.cache_write
        + usage.cache_write_1h * price.cache_write_1h
        + usage.audio_in * price.audio_in
        + usage.image_in * price.image_in
        + usage.output * price.output
        + usage.reasoning * price.reasoning
        + usage.audio_out * price.audio_out
        + usage.image_out * price.image_out
    )
    return _whole(total, price)


def worst(prompt_tokens: int, output_tokens: int, price: Price, *, tiers: Collection[str] | None = None) -> int:
    """Return the most, in micro-units, that a call of at most so many tokens can cost, however they are split into
    buckets. `tiers`: the service tiers that may answer besides the usual one; None is any.
    """
    most = _dearest(prompt_tokens, output_tokens, price)
    for name, of_tier in price.tiers:
        if tiers is None or name in tiers:
            most = max(most, _dearest(prompt_tokens, output_tokens, of_tier))
    return most


def plain(prompt_tokens: int, price: Price) -> int:
    """Return what a prompt of so many fresh tokens costs at the usual service tier, in micro-units, rounded up."""
    if price.steps:
        price = _applying(Usage(input=prompt_tokens), price)
    return _whole(prompt_tokens * price.input, price)


def _applying(usage: Usage, price: Price) -> Price:
    """Choose the service tier's prices, then those for this length of prompt."""
    if usage.tier and price.tiers:
        price = next((of_tier for name, of_tier in price.tiers if name == usage.tier), price)
    if price.steps:
        prompt = usage.prompt_tokens
        reached = [step.price for step in price.steps if prompt > step.over_prompt_tokens]
        return reached[-1] if reached else price
    return price


def _dearest(prompt_tokens: int, output_tokens: int, price: Price) -> int:
    most = _whole(prompt_tokens * price.dearest_in + output_tokens * price.dearest_out, price)
    for step in price.steps:
        if prompt_tokens > step.over_prompt_tokens:
            most = max(most, _dearest(prompt_tokens, output_tokens, step.price))
    return most


def _whole(total: int, price: Price) -> int:
    return min(MOST, price.request_micro - (-total // MICRO))


# --- amounts as people write them -------------------------------------------------------------


def read_amount(text: str | int, field: str) -> int:
    """Read "12.50", or a whole number, as micro-units. Raises Malformed that names `field`: only plain decimal
    notation is taken, with at most six decimals, up to `standing.MOST` micro-units.
    """
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise Malformed('An amount is decimal text such as "12.50", or a whole number.', field=field)
    if isinstance(text, int):
        micro = text * MICRO
    else:
        found = _AMOUNT.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
        if found is None:
            raise Malformed('An amount is plain decimal text such as "12.50", not negative.', field=field)
        whole, decimals = found[1], found[2] or ""
        if len(decimals) > _DECIMALS:
            raise Malformed("An amount has at most 6 decimals.", field=field)
        micro = int(whole + decimals.ljust(_DECIMALS, "0"))
    if micro < 0:
        raise Malformed("An amount is not negative.", field=field)
    if micro > MOST:
        raise Malformed(f"An amount is at most {write_amount(MOST)}.", field=field)
    return micro


def write_amount(micro: int) -> str:
    """Write micro-units as decimal text with at least two decimals: "12.50", "0.000001"."""
    whole, rest = divmod(abs(micro), MICRO)
    decimals = f"{rest:06}"
    return f"{'-' if micro < 0 else ''}{whole}.{decimals[:2]}{decimals[2:].rstrip('0')}"


# --- prices as operators write them ------------------------------------------------------------

Amount = str | int
_ROW_BUCKETS = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_in",
    "image_in",
    "output",
    "reasoning",
    "audio_out",
    "image_out",
)


class PriceRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A price of the operator's own. Amounts are decimal text in the currency, per million tokens; `per_request` is
    for each call. What is left out costs what its plain bucket does, as in `money.Price`.

    `model` and `provider` (the configured name) are shell patterns; `since` is the first day, in UTC, on which the
    price holds: "2026-12-31", "" for ever. Raises ValueError that names the key.
    """

    model: str
    input: Amount
    output: Amount
    provider: str = "*"
    since: str = ""
    cache_read: Amount | None = None
    cache_write: Amount | None = None
    cache_write_1h: Amount | None = None
    audio_in: Amount | None = None
    image_in: Amount | None = None
    reasoning: Amount | None = None
    audio_out: Amount | None = None
    image_out: Amount | None = None
    per_request: Amount | None = None

    def __post_init__(self) -> None:
        if not self.model or not self.provider:
            raise ValueError("model and provider are patterns, not empty")
        try:
            _ = self.price, self.begins
        except Malformed as wrong:
            raise ValueError(f"{wrong.field}: {wrong.message}") from wrong

    @property
    def price(self) -> Price:
        """Raises Malformed."""
        amounts = {name: getattr(self, name) for name in _ROW_BUCKETS}
        known = {name: read_amount(amount, name) for name, amount in amounts.items() if amount is not None}
        request_micro = 0 if self.per_request is None else read_amount(self.per_request, "per_request")
        return msgspec.convert({**known, "request_micro": request_micro}, Price)

    @property
    def begins(self) -> float:
        """When the price begins to hold, in Unix seconds; before everything, if it always did. Raises Malformed."""
        if not self.since:
            return float("-inf")
        try:
            day = date.fromisoformat(self.since)
        except ValueError:
            day = None
        if day is None or day.isoformat() != self.since:
            raise Malformed('A day is written as in "2026-12-31".', field="since")
        return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
