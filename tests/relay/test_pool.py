from collections import Counter

from dragoman.faults import Broken, Busy, KeyRejected
from dragoman.people import Secret
from dragoman.relay.pool import Pool
from dragoman.routes import Credential


def pool(*weights: int) -> Pool:
    return Pool([Credential(Secret(f"key-{i}-secret-value"), w) for i, w in enumerate(weights)], bench_s=100)


def test_chosen_by_weight() -> None:
    made = pool(1, 3)
    drawn = Counter(made.members.index(made.pick(0, set())) for _ in range(4000))
    assert 0.65 < drawn[1] / 4000 < 0.85


def test_d13_a_rejected_credential_rests_and_the_other_is_used() -> None:
    made = pool(1, 1)
    first = made.pick(0, set())
    made.bench(first, KeyRejected(), now=0)
    assert all(made.pick(50, set()) is not first for _ in range(20))
    assert {made.pick(100, set()) for _ in range(50)} == set(made.members)


def test_d12_retry_after_is_clamped() -> None:
    for asked, rest in ((7, 7), (-5, 1), (1e9, 300), (None, 5)):
        made = pool(1)
        made.bench(made.members[0], Busy(retry_after_s=asked), now=10)
        assert made.pick(10 + rest - 0.01, set()) is None
        assert made.pick(10 + rest, set()) is not None
        assert made.soonest(10) == (rest, "upstream_busy")


def test_other_faults_bench_nobody() -> None:
    made = pool(1)
    made.bench(made.members[0], Broken(), now=0)
    assert made.pick(0, set()) is made.members[0]


def test_none_twice_in_one_call() -> None:
    made = pool(1, 1)
    one = made.pick(0, set())
    two = made.pick(0, {id(one)})
    assert {id(one), id(two)} == {id(m) for m in made.members}
    assert made.pick(0, {id(one), id(two)}) is None
