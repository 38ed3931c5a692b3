"""What a call came to: usage, outcome, one record, exactly once."""

import time
from typing import Protocol

from dragoman.chat import Usage, tokens_of
from dragoman.faults import Fault
from dragoman.ports import Attempt, Ledger, Outcome, Record
from dragoman.threads import State


class Kept(Protocol):
    """What is to be saved of an answer as it ends."""

    async def end(self, state: State) -> None:
        """Save it; the first time only. Raises StoreFailed."""


class Call:
    """One call's life: what is known so far, and `settle`, which writes it down the first time only."""

    __slots__ = ("_ledger", "_record", "_settled", "_started", "attempts", "first_byte_at", "kept", "size", "usage")

    def __init__(self, ledger: Ledger, id_: str, principal: str, wire: str, model: str) -> None:
        self._ledger = ledger
        self._record = Record(id_, time.time(), principal, wire, model)
        self._started = time.monotonic()
        self._settled = False
        self.attempts: list[Attempt] = []
        self.usage: Usage | None = None
        self.size = 0
        self.kept: Kept | None = None
        self.first_byte_at: float | None = None

    def delivered(self, size: int) -> None:
        """Count characters of generated text that went to the caller."""
        if self.first_byte_at is None:
            self.first_byte_at = time.monotonic()
        self.size += size

    def settle(self, outcome: Outcome, status: int, fault: Fault | None = None) -> None:
        """Write the record. Rule: what the provider reported; else delivered text, estimated and marked so."""
        if self._settled:
            return
        self._settled = True
        record = self._record
        record.outcome = outcome
        record.status = status
        record.code = fault.code if fault else ""
        record.attempts = self.attempts
        if self.usage is not None and (outcome == "completed" or self.usage.completion_tokens >= tokens_of(self.size)):
            record.usage = self.usage
        elif self.size or self.usage is not None:
            known = self.usage or Usage()
            record.usage = Usage(
                input=known.input,
                cache_read=known.cache_read,
                cache_write=known.cache_write,
                cache_write_1h=known.cache_write_1h,
                output=max(known.completion_tokens, tokens_of(self.size)),
                estimated=True,
            )
        now = time.monotonic()
        record.total_ms = int((now - self._started) * 1000)
        if self.first_byte_at is not None:
            record.first_byte_ms = int((self.first_byte_at - self._started) * 1000)
        self._ledger.settle(record)
