"""Amounts as text, and what a call costs: to the last micro-unit, and never more than was reserved for it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dragoman.chat import Usage
from dragoman.faults import Malformed
from dragoman.money import FREE, INSIDE, MICRO, OUTSIDE, Price, Step, cost, read_amount, worst, write_amount
from dragoman.standing import MOST

TIERS = ("priority", "flex")

rates = st.integers(0, 10**9)
tokens = st.integers(0, 2_000_000)
buckets = st.fixed_dictionaries(
    {"input": rates, "output": rates},
    optional=dict.fromkeys({*INSIDE, *OUTSIDE} - {"input", "output"}, rates) | {"request_micro": rates},
)
flat = buckets.map(lambda known: Price(**known))
stepped = st.builds(
    lambda known, steps: Price(**known, steps=tuple(Step(over, steps[over]) for over in sorted(steps))),
    buckets,
    st.dictionaries(tokens, flat, max_size=3),
)
prices = st.builds(
    lambda known, of_steps, tiers: Price(**known, steps=of_steps.steps, tiers=tuple(tiers.items())),
    buckets,
    stepped,
    st.dictionaries(st.sampled_from(TIERS), stepped),
)
usages = st.builds(
    Usage, tier=st.sampled_from(("", *TIERS, "unheard_of")), **dict.fromkeys((*INSIDE, *OUTSIDE), tokens)
)


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("12.50", 12_500_000),
        ("0", 0),
        ("0.000001", 1),
        ("0.1", 100_000),
        (7, 7_000_000),
        ("9007199254.740991", MOST),
        ("10.000000", 10_000_000),
    ],
)
def test_reads_an_amount_exactly(text: str | int, micro: int) -> None:
    assert read_amount(text, "budget") == micro


@pytest.mark.parametrize(
    "text",
    [
        "", " 1", "1 ", "1\n", "-1", "-0", "+1", "1e3", "1E-3", "0x10", "nan", "inf", "Infinity", "1_000", "1,50", "1.",
        ".5", "01", "0.0000001", "1.0000000", "9007199254.740992", "9" * 5_000, "1.2.3", "١", "½", -1, 10**10, 10**4_000,
        True, 1.5, float("nan"), None, b"1",
    ],
)  # fmt: skip
def test_refuses_what_is_not_a_plain_amount_and_names_the_field(text: str | int) -> None:
    with pytest.raises(Malformed) as refused:
        read_amount(text, "budget.amount")
    assert refused.value.field == "budget.amount"


@pytest.mark.parametrize(
    ("micro", "text"),
    [(0, "0.00"), (1, "0.000001"), (12_500_000, "12.50"), (12_345_600, "12.3456"), (-10_000, "-0.01")],
)
def test_writes_an_amount(micro: int, text: str) -> None:
    assert write_amount(micro) == text


@given(st.integers(0, MOST))
def test_an_amount_survives_being_written_and_read(micro: int) -> None:
    assert read_amount(write_amount(micro), "x") == micro


def test_each_bucket_has_its_own_price_and_one_rounding_ends_the_sum() -> None:
    names = (*INSIDE, *OUTSIDE)
    price = Price(**{name: 10**index for index, name in enumerate(names)})
    usage = Usage(**{name: index + 1 for index, name in enumerate(names)})
    # 10,987,654,321 millionths of a micro-unit.
    assert cost(usage, price) == 10_988
    assert cost(Usage(input=1, output=1), Price(input=1, output=1)) == 1
    assert cost(Usage(input=MICRO), Price(input=3)) == 3


def test_a_bucket_without_a_price_costs_what_its_plain_one_does() -> None:
    price = Price(input=3_000_000, output=15_000_000)
    assert {getattr(price, name) for name in INSIDE} == {3_000_000}
    assert {getattr(price, name) for name in OUTSIDE} == {15_000_000}
    assert Price(input=3_000_000, cache_read=0).cache_read == 0


def test_a_cache_write_for_an_hour_costs_eight_fifths_of_the_usual_one() -> None:
    assert Price(input=3_000_000, cache_write=3_750_000).cache_write_1h == 6_000_000
    assert Price(input=1, cache_write=1).cache_write_1h == 2
    assert Price(input=1, cache_write=5, cache_write_1h=7).cache_write_1h == 7


def test_a_long_prompt_moves_every_token_to_the_next_price() -> None:
    longer = Price(input=2 * MICRO, output=20 * MICRO)
    longest = Price(input=3 * MICRO, output=30 * MICRO)
    price = Price(input=MICRO, output=10 * MICRO, steps=(Step(100, longer), Step(200, longest)))
    assert cost(Usage(input=60, cache_read=40, output=1), price) == 110
    assert cost(Usage(input=60, cache_read=41, output=1), price) == 222
    assert cost(Usage(input=201, output=1), price) == 633


def test_a_service_tier_has_its_own_prices_and_an_unpriced_one_costs_as_usual() -> None:
    price = Price(input=MICRO, output=MICRO, tiers=(("priority", Price(input=2 * MICRO, output=2 * MICRO)),))
    assert cost(Usage(input=5, tier="priority"), price) == 10
    assert cost(Usage(input=5, tier="scale"), price) == 5
    assert worst(5, 0, price) == 10
    assert worst(5, 0, price, tiers=()) == 5


def test_a_request_may_cost_something_by_itself() -> None:
    assert cost(Usage(), Price(request_micro=12_000)) == 12_000
    assert worst(0, 0, Price(request_micro=12_000)) == 12_000


def test_what_is_free_costs_nothing() -> None:
    assert cost(Usage(input=10**9, output=10**9, tier="priority"), FREE) == 0
    assert worst(10**9, 10**9, FREE) == 0


def test_no_cost_is_larger_than_the_largest_amount() -> None:
    assert cost(Usage(input=MOST), Price(input=75 * MICRO)) == MOST
    assert worst(MOST, MOST, Price(input=75 * MICRO)) == MOST


@given(usages, prices, tokens, tokens)
@example(Usage(cache_write_1h=3), Price(input=1, cache_write=10**6), 0, 0)
@example(Usage(input=10, tier="flex"), Price(input=9, tiers=(("flex", Price(input=10)),)), 0, 0)
def test_nothing_costs_more_than_the_worst_case(usage: Usage, price: Price, more_in: int, more_out: int) -> None:
    true = cost(usage, price)
    assert 0 <= true <= worst(usage.prompt_tokens, usage.completion_tokens, price)
    assert true <= worst(usage.prompt_tokens + more_in, usage.completion_tokens + more_out, price)


@given(st.integers(0, 10**7), st.integers(0, 10**7), flat)
def test_the_worst_case_is_one_that_can_happen(prompt: int, output: int, price: Price) -> None:
    splits = [Usage(**{inside: prompt}, **{outside: output}) for inside in INSIDE for outside in OUTSIDE]
    assert worst(prompt, output, price) == max(cost(split, price) for split in splits)


@given(usages, flat)
def test_a_cost_is_the_exact_sum_rounded_up(usage: Usage, price: Price) -> None:
    exact = sum(getattr(usage, name) * getattr(price, name) for name in (*INSIDE, *OUTSIDE))
    charged = (cost(usage, price) - price.request_micro) * MICRO
    assert exact <= charged < exact + MICRO
