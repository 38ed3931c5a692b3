"""Plays an answer that needs no network, with the same contract as one that does."""

import asyncio

from dragoman.faults import Truncated
from dragoman.legs import Headers, Script, Sink


class ScriptedExchange:
    """Keeps the contract of `dragoman.legs.Exchange` for a `Script`."""

    def __init__(self, script: Script, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._steps = iter(script.steps)
        self.status = script.status
        self.headers: Headers = list(script.headers)

    async def read(self) -> bytes | None:
        for step in self._steps:
            if step.wait_s:
                await asyncio.sleep(step.wait_s)
            if step.data:
                return step.data
            if step.cut:
                raise Truncated
        return b""

    def divert(self, sink: Sink | None) -> None:
        """There is no network to hear from: `read` gives everything."""

    def close(self) -> None:
        self._steps = iter(())
