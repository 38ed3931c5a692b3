from dragoman.chat import Usage
from dragoman.faults import Truncated
from dragoman.ports import Record
from dragoman.relay.settle import Call


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def settle(self, record: Record) -> None:
        self.records.append(record)


def test_settled_exactly_once() -> None:
    kept = Kept()
    call = Call(kept, "r", "me", "w", "m")
    call.settle("completed", 200)
    call.settle("failed", 500, Truncated())
    assert [r.outcome for r in kept.records] == ["completed"]


def test_a4_what_the_provider_reported_else_what_was_delivered() -> None:
    kept = Kept()
    reported = Call(kept, "1", "me", "w", "m")
    reported.usage = Usage(input=9, output=40)
    reported.delivered(100)
    reported.settle("abandoned", 499)
    counted = Call(kept, "2", "me", "w", "m")
    counted.usage = Usage(input=9, cache_read=3, output=1)
    counted.delivered(101)
    counted.settle("abandoned", 499)
    nothing = Call(kept, "3", "me", "w", "m")
    nothing.settle("abandoned", 499)
    assert [r.usage for r in kept.records] == [
        Usage(input=9, output=40),
        Usage(input=9, cache_read=3, output=26, estimated=True),
        Usage(),
    ]
