from booked import Kept, call_of

from dragoman.chat import Usage
from dragoman.faults import Truncated


def test_settled_exactly_once() -> None:
    kept = Kept()
    call = call_of(kept, "r")
    call.settle("completed", 200)
    call.settle("failed", 500, Truncated())
    assert [r.outcome for r in kept.records] == ["completed"]


def test_a4_what_the_provider_reported_else_what_was_delivered() -> None:
    kept = Kept()
    reported = call_of(kept, "1")
    reported.usage = Usage(input=9, output=40)
    reported.delivered(100)
    reported.settle("abandoned", 499)
    counted = call_of(kept, "2")
    counted.usage = Usage(input=9, cache_read=3, output=1)
    counted.delivered(101)
    counted.settle("abandoned", 499)
    nothing = call_of(kept, "3")
    nothing.settle("abandoned", 499)
    assert [r.usage for r in kept.records] == [
        Usage(input=9, output=40),
        Usage(input=9, cache_read=3, output=26, estimated=True),
        Usage(),
    ]
