"""When budgets begin anew: by the calendar of a time zone, whatever its clocks do meanwhile. Times are Unix seconds."""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from dragoman.standing import Window

_FIRST_YEAR, _LAST_YEAR = 1970, 9999
_LATEST = datetime(_LAST_YEAR, 12, 30, tzinfo=UTC).timestamp()
_HOUR_S = 3600
NEVER = math.inf


def begin(window: Window, at: float, zone: ZoneInfo) -> int:
    """Return when the window began that `at` is in; 0 for `total`, and for one that began before 1970.

    Where a local midnight does not exist, the day begins as the clock goes on; where it comes twice, at the first.
    An hour is one of the clock on the wall, and lasts 3600 s even where that hour comes twice.
    """
    if window == "total":
        return 0
    at = _clamped(at)
    if window == "hour":
        return _hour(at, zone)
    first = _first_day(window, datetime.fromtimestamp(at, zone).date())
    # Where clocks go back over midnight, a moment before the day's second beginning has the date of the day before.
    following = _next_first_day(window, first)
    if following is not None and at >= _midnight(following, zone):
        first = following
    return max(0, _midnight(first, zone))


def end(window: Window, at: float, zone: ZoneInfo) -> float:
    """Return when the window ends that `at` is in: when the next begins. Infinite for `total`, and after 9999."""
    if window == "total":
        return NEVER
    at = _clamped(at)
    if window == "hour":
        return float(_hour(at, zone) + _HOUR_S)
    first = datetime.fromtimestamp(max(begin(window, at, zone), 0), zone).date()
    following = _next_first_day(window, _first_day(window, first))
    return NEVER if following is None else float(_midnight(following, zone))


def day_of(at: float, zone: ZoneInfo) -> int:
    """Return when the day began that `at` is in."""
    return begin("day", at, zone)


class Calendar:
    """Windows of one zone. Asks the zone only as a window ends: else two comparisons."""

    __slots__ = ("_last", "_zone")

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._last: dict[Window, tuple[int, float]] = {}

    def span(self, window: Window, at: float) -> tuple[int, float]:
        """Return when the window began that `at` is in, and when it ends."""
        last = self._last.get(window)
        if last is None or not last[0] <= at < last[1]:
            last = self._last[window] = begin(window, at, self._zone), end(window, at, self._zone)
        return last

    def next_after(self, window: Window, ends: float) -> int:
        """Return when the window begins that follows one which ends at `ends`; leaves what is remembered alone."""
        return begin(window, ends, self._zone)

    def days(self) -> Callable[[float], int]:
        """Return `day_of` for this zone."""
        return lambda at: self.span("day", at)[0]

    def show(self, at: float) -> str:
        """Write a moment as people of this zone do: ISO 8601 to the second."""
        return datetime.fromtimestamp(_clamped(at), self._zone).isoformat(" ", "seconds")


def _clamped(at: float) -> float:
    """Keep away from years of which dates know nothing. What is no number is the beginning of time."""
    return min(max(at, 0.0), _LATEST) if at == at else 0.0  # noqa: PLR0124 - not a number differs from itself


def _hour(at: float, zone: ZoneInfo) -> int:
    local = datetime.fromtimestamp(at, zone)
    offset = local.utcoffset() or timedelta()
    # Offsets are not all whole hours, and before 1972 not all whole minutes.
    shift = int(offset.total_seconds())
    return max(0, (int(at) + shift) // _HOUR_S * _HOUR_S - shift)


def _first_day(window: Window, day: date) -> date:
    match window:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "year":
            return day.replace(month=1, day=1)
        case _:
            return day


def _next_first_day(window: Window, first: date) -> date | None:
    try:
        match window:
            case "week":
                return first + timedelta(days=7)
            case "month":
                return (first + timedelta(days=31)).replace(day=1)
            case "year":
                return first.replace(year=first.year + 1)
            case _:
                return first + timedelta(days=1)
    except (OverflowError, ValueError):
        return None


def _midnight(day: date, zone: ZoneInfo) -> int:
    """Return the first moment of a local day."""
    if day.year < _FIRST_YEAR:
        return 0
    # Within a gap, fold=1 takes the offset after it, and so comes before the change; fold=0 comes after it.
    first = datetime(day.year, day.month, day.day, tzinfo=zone)
    moment = first.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == first.replace(tzinfo=None):
        return int(moment.timestamp())
    return _change(int(first.replace(fold=1).timestamp()), int(moment.timestamp()), zone)


def _change(before: int, after: int, zone: ZoneInfo) -> int:
    """Return the first second of the offset that holds at `after` and not at `before`."""
    new = datetime.fromtimestamp(after, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == new:
            after = middle
        else:
            before = middle
    return after
