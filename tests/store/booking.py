"""What tests of calls write down."""

import itertools

from dragoman.chat import Usage
from dragoman.records import Attempt, Caller, Charge, Record
from dragoman.store import calls, usage
from dragoman.usage import CallQuery, UsageQuery

AT = 1_700_000_000.0
"""2023-11-14, 22:13:20 UTC."""
DAY = 1_699_920_000
HOUR = 1_699_999_200
ANN = Caller("key:ann", "ann", "red", ("prod", "web"))
BOB = Caller("key:bob", "bob", "blue")
numbers = itertools.count(1)


def day_of(at):
    return int(at) // 86400 * 86400


def record(at=AT, caller=ANN, **more):
    given = {
        "id": f"call-{next(numbers)}",
        "at": at,
        "caller": caller,
        "dialect": "openai",
        "wire": "chat",
        "model": "small",
        "outcome": "completed",
        "code": "ok",
        "status": 200,
        "usage": Usage(input=10, output=20),
        "attempts": [Attempt("vendor", "small-1", "abcd", "ok", "", 250)],
        "first_byte_ms": 100,
        "total_ms": 250,
        "provider": "vendor",
        "target": "small-1",
        "credential": "abcd",
        "cost_micro": 7,
        "charges": (Charge(f"{caller.principal}/money.day", DAY, 7),),
    }
    return Record(**given | more)


class Books:
    """The functions of calls and usage, each in a transaction of a store."""

    def __init__(self, store):
        self.database = store._database

    async def keep(self, *entries, journal="j", segment=1, offset=1, run="one", day_of=day_of):
        return await self.database.write(lambda c: calls.keep(c, entries, journal, segment, offset, run, day_of))

    async def position(self, journal="j"):
        return await self.database.read(lambda c: calls.position(c, journal))

    async def find(self, id_, principal=None):
        return await self.database.read(lambda c: calls.find(c, id_, principal))

    async def latest(self, **query):
        return await self.database.read(lambda c: calls.latest(c, CallQuery(**query)))

    async def ids(self, **query):
        return [row.id for row in await self.latest(**query)]

    async def forget(self, before_at, most):
        return await self.database.write(lambda c: calls.forget(c, before_at, most))

    async def forget_contents(self, before_at, most):
        return await self.database.write(lambda c: calls.forget_contents(c, before_at, most))

    async def usage(self, *group, **query):
        return await self.database.read(lambda c: usage.read(c, UsageQuery(group=group, **query)))

    async def counts(self, *group, **query):
        return {row.by: row.calls for row in await self.usage(*group, **query)}
