from dragoman.faults import Broken, Malformed, Truncated
from dragoman.relay.retry import LEAST_RETRIES, LONGEST_PAUSE_S, Budget, pause_s, worth_it


def test_d20_retries_are_a_share_of_the_calls() -> None:
    budget = Budget(0.2)
    budget.calls = 100
    assert sum(budget.take() for _ in range(500)) == 20
    budget.give()
    assert budget.take()
    assert not budget.take()


def test_d20_a_few_are_always_allowed() -> None:
    budget = Budget(0.2)
    budget.calls = 1
    assert sum(budget.take() for _ in range(50)) == LEAST_RETRIES


def test_pauses_are_jittered_and_bounded() -> None:
    drawn = [pause_s(number) for number in range(1, 40) for _ in range(20)]
    assert max(drawn) <= LONGEST_PAUSE_S
    assert len(set(drawn)) > 700


def test_nothing_after_the_first_byte_and_nothing_of_the_callers() -> None:
    assert worth_it(Broken(), delivered=False)
    assert not worth_it(Truncated(), delivered=True)
    assert not worth_it(Malformed(), delivered=False)
