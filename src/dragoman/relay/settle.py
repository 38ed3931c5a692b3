"""What a call may use and what it came to: reserved before a provider is asked, one record, exactly once."""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from dragoman.admission.desk import Desk, Grant
from dragoman.admission.till import NOTHING, Till
from dragoman.chat import Usage, tokens_of
from dragoman.faults import Fault, JournalFull
from dragoman.intents import Ask, Count, Forward
from dragoman.legs import Headers
from dragoman.people import Principal
from dragoman.ports import Ledger, Mount
from dragoman.records import Attempt, Caller, Charge, Content, Opened, Outcome, Record
from dragoman.routes import Route, Target
from dragoman.threads import State


class Kept(Protocol):
    """What is to be saved of an answer as it ends."""

    async def end(self, state: State) -> None:
        """Save it; the first time only. Raises StoreFailed."""


class Said(Protocol):
    """What was said in a call, as far as it is known."""

    def content(self, id_: str, at: float) -> Content: ...


class Books:
    """Where calls are reserved, priced and written down."""

    def __init__(self, desk: Desk, till: Till, ledger: Ledger) -> None:
        self.desk = desk
        self.till = till
        self.ledger = ledger

    def call(self, id_: str, principal: Principal, mount: Mount, wire: str, model: str) -> "Call":
        return Call(self, id_, principal, mount, wire, model)


class Call:
    """One call's life: what is known so far, and `settle`, which writes it down the first time only.

    `said` keeps the words of calls whose key allows it. `drained` means that its answer is still being read
    for its usage though the caller left: it is settled when that ends.
    """

    __slots__ = (
        "_at",
        "_books",
        "_caller",
        "_extra",
        "_grant",
        "_id",
        "_model",
        "_mount",
        "_prompt_tokens",
        "_queued_ms",
        "_seat",
        "_seat_charges",
        "_seat_left",
        "_settled",
        "_started",
        "_streamed",
        "_wire",
        "asked",
        "attempts",
        "bound",
        "drained",
        "first_byte_at",
        "gaps",
        "kept",
        "principal",
        "said",
        "size",
        "target",
        "usage",
    )

    def __init__(self, books: Books, id_: str, principal: Principal, mount: Mount, wire: str, model: str) -> None:
        self._books = books
        self._id = id_
        self._at = time.time()
        self._mount = mount
        self._wire = wire
        self._model = model
        self._caller = Caller(principal.name, principal.key, principal.team, principal.tags)
        self._queued_ms = 0
        self._streamed = False
        self._started = time.monotonic()
        self._settled = False
        self._grant: Grant | None = None
        self._prompt_tokens = 0
        self._extra: tuple[tuple[Usage, Target], ...] = ()
        self._seat: Grant | None = None
        self._seat_left: Callable[[], None] | None = None
        self._seat_charges: tuple[Charge, ...] = ()
        self.principal = principal
        self.bound = NOTHING.bound
        self.attempts: list[Attempt] = []
        self.asked = False
        self.drained = False
        self.target: Target | None = None
        self.usage: Usage | None = None
        self.size = 0
        self.gaps = 0
        self.kept: Kept | None = None
        self.said: Said | None = None
        self.first_byte_at: float | None = None

    # --- before

    async def enter(self, intent: Ask | Forward | Count, route: Route, size: int) -> None:
        """Reserve the worst case and write down that a provider is about to be asked; `size` is the body's, in bytes.

        Raises TooMany, OverBudget, Overloaded, JournalFull; then nothing is reserved, and the refusal is settled.
        """
        books, principal = self._books, self.principal
        desk = books.desk
        self._streamed = isinstance(intent, Ask) and intent.stream
        try:
            quote = books.till.quote(intent, route, self._at, size, budgeted=desk.has_budget(principal))
            grant = desk.enter(principal, route.name, quote.bound)
            if grant is None:
                grant = await desk.admit(principal, route.name, quote.bound)
                self._queued_ms = self.elapsed_ms()
            self._grant = grant
            self.bound = quote.bound
            self._prompt_tokens = quote.prompt_tokens
            books.ledger.open(
                Opened(
                    self._id,
                    self._at,
                    self._caller,
                    self._mount.dialect,
                    route.name,
                    quote.prompt_tokens,
                    quote.prompt_micro,
                    grant.charges(quote.prompt_micro),
                )
            )
        except JournalFull:
            # What cannot be written down is told to the log alone.
            self._settled = True
            if self._grant is not None:
                self._grant.release()
            raise
        except Fault as fault:
            self.settle("refused", fault.status, fault)
            raise

    def headers(self) -> Headers:
        """Write where the caller stands with its limits, in its dialect's own names."""
        grant = self._grant
        limiting = self._mount.limiting
        if grant is None or not grant.has_limits or limiting is None:
            return []
        standing = grant.standing
        return limiting(standing, time.time()) if standing else []

    def waited(self, seconds: float) -> None:
        """Count time in a provider's queue."""
        self._queued_ms += int(seconds * 1000)

    # --- meanwhile

    def elapsed_ms(self) -> int:
        return int((time.monotonic() - self._started) * 1000)

    def delivered(self, size: int) -> None:
        """Count characters of generated text that went to the caller."""
        if self.first_byte_at is None:
            self.first_byte_at = time.monotonic()
        else:
            self.gaps += 1
        self.size += size

    def sit(self, seat: Grant, left: Callable[[], None] | None) -> None:
        """An attempt takes a share of its credential's limits; `left` is called as it gives it back."""
        self._seat, self._seat_left = seat, left

    def gave_up(self, target: Target) -> None:
        """An attempt failed: what the provider reported for it is paid for all the same."""
        self._stand(self.usage)
        if self.usage is not None:
            self._extra += ((self.usage, target),)
            self.usage = None

    def unseat(self) -> None:
        """The attempt was not made after all."""
        if self._seat is not None:
            self._seat.release()
            self._seat = None
            if self._seat_left is not None:
                self._seat_left()

    def _stand(self, usage: Usage | None) -> None:
        seat, self._seat = self._seat, None
        if seat is None:
            return
        used = usage or Usage()
        self._seat_charges += seat.settle(0, used.prompt_tokens + used.completion_tokens)
        if self._seat_left is not None:
            self._seat_left()

    # --- the end

    def settle(self, outcome: Outcome, status: int, fault: Fault | None = None) -> None:
        """Write the record. Rule: what the provider reported; else delivered text, estimated and marked so."""
        if self._settled or self.drained:
            return
        self._settled = True
        record = Record(
            self._id,
            self._at,
            self._caller,
            self._mount.dialect,
            self._wire,
            self._model,
            outcome,
            fault.code if fault else "",
            status,
            self._used(outcome),
            self.attempts,
            self._queued_ms,
            streamed=self._streamed,
        )
        record.total_ms = self.elapsed_ms()
        if self.first_byte_at is not None:
            record.first_byte_ms = int((self.first_byte_at - self._started) * 1000)
            record.gaps = self.gaps
            record.gaps_ms = record.total_ms - record.first_byte_ms
        self._charge(record)
        self._books.ledger.settle(record)
        if self.said is not None:
            self._books.ledger.keep(self.said.content(record.id, record.at))

    @property
    def is_durable(self) -> bool:
        """Whether the deployment wants the record on disk before the answer ends: then wait for `durable`."""
        return self._books.ledger.is_durable

    async def durable(self) -> None:
        await self._books.ledger.durable()

    def _used(self, outcome: Outcome) -> Usage:
        usage = self.usage
        if usage is not None and (outcome == "completed" or usage.completion_tokens >= tokens_of(self.size)):
            return usage
        if not self.size and (usage is None and (not self.asked or outcome in ("failed", "refused"))):
            return Usage()
        known = usage or Usage(input=self._prompt_tokens)
        output = max(known.completion_tokens, tokens_of(self.size))
        return msgspec.structs.replace(known, output=output, reasoning=0, audio_out=0, image_out=0, estimated=True)

    def _charge(self, record: Record) -> None:
        """Price what was used, and settle what was reserved."""
        target, usage = self.target, record.usage
        cost: int | None = 0
        if target is not None:
            record.provider, record.target = target.provider, target.model
            if self.attempts:
                record.credential = self.attempts[-1].credential
            for used, whose in ((usage, target), *self._extra):
                price = self._books.till.cost(used, whose, record.at)
                cost = None if price is None or cost is None else cost + price
            if self.principal.own_key:
                # It is the caller's own bill.
                cost = 0
        record.cost_micro = cost
        self._stand(usage)
        grant = self._grant
        if grant is None:
            return
        record.reserved_micro = grant.reserved_micro
        if self.asked:
            charges = grant.settle(cost, usage.prompt_tokens + usage.completion_tokens)
            record.charges = charges + self._seat_charges
        else:
            grant.release()
