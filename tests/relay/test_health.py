from dragoman.relay.health import FAILURES, FIRST_REST_S, LONGEST_REST_S, Breaker


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        assert breaker.admit(at)
        breaker.bad(at)
    assert breaker.is_open
    return breaker


def test_opens_after_five_in_a_row_only() -> None:
    breaker = Breaker()
    for _ in range(3):
        for _ in range(FAILURES - 1):
            breaker.bad(0)
        breaker.good()
    assert not breaker.is_open
    assert not opened().admit(FIRST_REST_S * 0.7)


def test_d19_one_half_open_probe() -> None:
    breaker = opened()
    later = FIRST_REST_S * 1.3
    assert breaker.admit(later)
    assert not breaker.admit(later)
    breaker.good()
    assert breaker.admit(later)
    assert breaker.admit(later)


def test_a_failed_probe_rests_twice_as_long_within_a_bound() -> None:
    breaker = opened()
    now = 0.0
    for _ in range(12):
        now = breaker.opens_until
        assert breaker.admit(now)
        breaker.bad(now)
        assert 0 < breaker.opens_until - now <= LONGEST_REST_S * 1.2
    assert breaker.opens_until - now >= LONGEST_REST_S * 0.8


def test_an_undecided_probe_leaves_room_for_the_next() -> None:
    breaker = opened()
    later = FIRST_REST_S * 1.3
    assert breaker.admit(later)
    breaker.undecided()
    assert breaker.admit(later)
