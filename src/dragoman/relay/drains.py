"""Answers whose caller has left, read on for their true usage: so many at once, so long, so much."""

import asyncio

from dragoman.faults import Fault
from dragoman.legs import Exchange
from dragoman.ports import Reader
from dragoman.relay.pump import take
from dragoman.relay.settle import Call

LEFT = 499


class Drains:
    """The answers of one process that are read on; `most` at once, each for `limit_s` and `limit_bytes` at most."""

    def __init__(self, most: int, limit_s: float, limit_bytes: int) -> None:
        self._most = most
        self._limit_s = limit_s
        self._limit_bytes = limit_bytes
        self._live: set[asyncio.Task[None]] = set()

    def take(self, exchange: Exchange, reader: Reader, call: Call) -> bool:
        """Read an answer on and settle its call then. Returns False, and does nothing, where there is no room."""
        if len(self._live) >= self._most:
            return False
        call.drained = True
        exchange.divert(None)
        task = asyncio.ensure_future(self._read_on(exchange, reader, call))
        self._live.add(task)
        task.add_done_callback(self._live.discard)
        return True

    async def stop(self) -> None:
        """End them; each is settled with what is known."""
        for task in list(self._live):
            task.cancel()
        await asyncio.gather(*self._live, return_exceptions=True)

    async def _read_on(self, exchange: Exchange, reader: Reader, call: Call) -> None:
        try:
            async with asyncio.timeout(self._limit_s):
                await self._to_the_end(exchange, reader, call)
        except (Fault, TimeoutError):
            # What came until then is what is known.
            pass
        finally:
            exchange.close()
            call.drained = False
            call.settle("abandoned", LEFT)

    async def _to_the_end(self, exchange: Exchange, reader: Reader, call: Call) -> None:
        size = 0
        while size <= self._limit_bytes:
            data = await exchange.read()
            if data is None:
                continue
            deltas = reader.receive(data) if data else reader.close()
            said, ended = take(deltas, call)
            call.size += said
            size += len(data)
            if ended or not data:
                return
