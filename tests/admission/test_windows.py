"""Windows of budgets follow the calendar of a zone, whatever its clocks do at midnight."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.admission.windows import Calendar, begin, day_of, end

ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "America/Havana", "Pacific/Apia", "Australia/Lord_Howe")
ODD = ("America/Goose_Bay", "Asia/Beirut", "Atlantic/Azores", "Africa/Monrovia", "Asia/Kathmandu", "America/Asuncion")
WINDOWS = ("total", "hour", "day", "week", "month", "year")
HOUR_S = 3600


def moment(zone: str, *parts: int, fold: int = 0) -> float:
    return datetime(*parts, fold=fold, tzinfo=ZoneInfo(zone)).timestamp()


def utc(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("window", "begins", "ends"),
    [
        ("hour", (2026, 5, 14, 9), (2026, 5, 14, 10)),
        ("day", (2026, 5, 14), (2026, 5, 15)),
        ("week", (2026, 5, 11), (2026, 5, 18)),
        ("month", (2026, 5, 1), (2026, 6, 1)),
        ("year", (2026, 1, 1), (2027, 1, 1)),
    ],
)
def test_windows_are_those_of_the_calendar(window, begins, ends) -> None:
    zone = ZoneInfo("Europe/Berlin")
    at = moment("Europe/Berlin", 2026, 5, 14, 9, 30)
    assert begin(window, at, zone) == datetime(*begins, tzinfo=zone).timestamp()
    assert end(window, at, zone) == datetime(*ends, tzinfo=zone).timestamp()


def test_total_has_no_end() -> None:
    assert begin("total", 1e9, ZoneInfo("UTC")) == 0
    assert end("total", 1e9, ZoneInfo("UTC")) == float("inf")


@pytest.mark.parametrize(
    ("zone", "local", "begins", "hours"),
    [
        # No midnight: 00:00 is 01:00 at once.
        ("America/Sao_Paulo", (2018, 11, 4, 5), (2018, 11, 4, 3), 23),
        ("Asia/Beirut", (2022, 3, 27, 5), (2022, 3, 26, 22), 23),
        # Midnight comes twice: at 01:00 it is 00:00 again; the first counts.
        ("America/Havana", (2022, 11, 6, 5), (2022, 11, 6, 4), 25),
        ("Atlantic/Azores", (2022, 10, 30, 5), (2022, 10, 30, 0), 25),
        # At 00:01 it is 23:01 of the day before.
        ("America/Goose_Bay", (2010, 11, 7, 5), (2010, 11, 7, 3), 25),
        ("Europe/Berlin", (2026, 3, 29, 12), (2026, 3, 28, 23), 23),
        ("Europe/Berlin", (2026, 10, 25, 12), (2026, 10, 24, 22), 25),
        # The day before was left out.
        ("Pacific/Apia", (2011, 12, 31, 5), (2011, 12, 30, 10), 24),
        ("Pacific/Apia", (2011, 12, 29, 5), (2011, 12, 29, 10), 24),
    ],
)
def test_days_on_which_clocks_change(zone, local, begins, hours) -> None:
    at = moment(zone, *local)
    assert day_of(at, ZoneInfo(zone)) == utc(*begins)
    assert end("day", at, ZoneInfo(zone)) - utc(*begins) == hours * HOUR_S


@pytest.mark.parametrize(("zone", "day"), [("America/Havana", (2022, 11, 6)), ("Atlantic/Azores", (2022, 10, 30))])
def test_both_passes_of_an_hour_after_midnight_are_one_day(zone, day) -> None:
    first, second = (moment(zone, *day, 0, 30, fold=fold) for fold in (0, 1))
    assert second - first == HOUR_S
    assert day_of(first, ZoneInfo(zone)) == day_of(second, ZoneInfo(zone))
    assert begin("hour", second, ZoneInfo(zone)) - begin("hour", first, ZoneInfo(zone)) == HOUR_S


def test_the_day_before_that_comes_back_is_still_the_new_day() -> None:
    zone = ZoneInfo("America/Goose_Bay")
    midnight = utc(2010, 11, 7, 3)
    assert day_of(midnight - 1, zone) < midnight
    again = moment("America/Goose_Bay", 2010, 11, 6, 23, 30, fold=1)
    assert again > midnight
    assert day_of(again, zone) == midnight


@pytest.mark.parametrize("at", [-1e300, -1.0, 0.0, 1e12, 1e300, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Niue"])
@pytest.mark.parametrize("window", WINDOWS)
def test_no_moment_is_too_far_away(window, zone, at) -> None:
    begins, ends = Calendar(ZoneInfo(zone)).span(window, at)
    assert 0 <= begins < ends
    assert begins == begin(window, at, ZoneInfo(zone))


@given(
    zone=st.sampled_from(ZONES + ODD).map(ZoneInfo),
    window=st.sampled_from(WINDOWS),
    at=st.one_of(st.floats(0, 253_000_000_000), st.integers(946_684_800, 2_000_000_000)),
    step=st.floats(0, 40 * 86400),
)
def test_windows_follow_one_another(zone, window, at, step) -> None:
    begins, ends = begin(window, at, zone), end(window, at, zone)
    assert begins <= at < ends
    # Where clocks change by less than an hour, an hour begins in the midst of another.
    assert begin(window, begins, zone) == begins or window == "hour"
    assert begin(window, at + step, zone) >= begins
    if ends < 253_370_000_000:
        assert begin(window, ends, zone) == ends or window == "hour"
        assert begin(window, ends, zone) > begins
        assert begin(window, ends - 1, zone) <= ends - 1


@given(st.sampled_from(ZONES).map(ZoneInfo), st.lists(st.integers(0, 3_000_000_000), max_size=20))
def test_a_calendar_says_the_same_each_time(zone, moments) -> None:
    calendar = Calendar(zone)
    for at in moments:
        for window in WINDOWS:
            assert calendar.span(window, at) == (begin(window, at, zone), end(window, at, zone))
