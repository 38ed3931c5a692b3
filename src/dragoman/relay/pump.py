"""From a provider's bytes to a caller's pieces, until the end is proved. One wake-up a network read."""

import time
from collections.abc import Callable

from dragoman.chat import Begin, Broke, Delta, End, Frame, Tally, TextDelta, ThinkDelta, ToolArgs
from dragoman.faults import Exhausted, Fault, Truncated
from dragoman.legs import Exchange, Leg
from dragoman.ports import Reader, Turn
from dragoman.relay.settle import Call

HOLD_S = 2.0


class Pump:
    """The relay of one answer of one provider.

    What comes before the first content (a role, an empty block) is held back for up to `HOLD_S`, so that
    a provider that fails at once can still be replaced by another. `good` is called at the first content.
    """

    __slots__ = (
        "_call",
        "_exchange",
        "_good",
        "_held",
        "_held_until",
        "_left",
        "_leg",
        "_max",
        "_reader",
        "_size",
        "_turn",
    )

    def __init__(self, exchange: Exchange, turn: Turn, call: Call, leg: Leg, good: Callable[[], None]) -> None:
        self._exchange = exchange
        self._turn = turn
        self._call = call
        self._leg = leg
        self._good = good
        self._held: list[Delta] = []
        self._held_until = 0.0
        self._left: list[Delta] | None = None
        self._size = 0

    async def run(self, reader: Reader, max_answer_bytes: int) -> None:
        """Relay until the answer is complete and settled.

        The first content goes out from here; from then on each read is relayed by `_push` in the very
        callback that brought it, and this coroutine sleeps until there is something to wait for.

        Raises:
            Truncated: the answer stopped before its end was proved.
            Exhausted: it is larger than `max_answer_bytes`.
            Fault: what the provider said in its stream, or what the exchange raised.

        """
        self._reader = reader
        self._max = max_answer_bytes
        while True:
            data = await self._next()
            if data is None:
                if self._left is None:
                    await self._beat()
                    continue
                deltas, self._left = self._left, None
                if self._size > self._max:
                    raise Exhausted
            else:
                deltas = self._read(data)
            if deltas and await self._relay(deltas):
                return
            if data == b"":
                raise Truncated
            if self._turn.streaming and self._call.first_byte_at is not None:
                await self._leg.write([b""])
                self._exchange.divert(self._push)

    def give_up(self) -> None:
        """The caller has left: count what was read for it and could not be said any more."""
        if self._left:
            said, _ = take(self._left, self._call)
            self._call.size += said

    async def _next(self) -> bytes | None:
        """Read on. A connection cut after the wire's own end is as good as ended; the reader knows."""
        try:
            return await self._exchange.read()
        except Truncated:
            if not self._reader.proves_end:
                raise
            return b""

    def _read(self, data: bytes) -> list[Delta]:
        self._size += len(data)
        if self._size > self._max:
            raise Exhausted
        return self._reader.receive(data) if data else self._reader.close()

    def _push(self, data: bytes) -> bool:
        """Relay one read without waiting. What ends the answer, or finds the caller slow, is left to `run`."""
        self._size += len(data)
        deltas = self._reader.receive(data)
        if not deltas:
            return self._size <= self._max
        last = deltas[-1]
        if type(last) is Broke or type(last) is End or (type(last) is Frame and last.ended) or self._size > self._max:
            self._left = deltas
            return False
        said, _ = take(deltas, self._call)
        self._call.size += said
        self._call.gaps += 1
        try:
            pieces = self._turn.write(deltas)
        except Fault as fault:
            self._left = [Broke(fault)]
            return False
        if not pieces or self._leg.push(pieces):
            return True
        self._left = []
        return False

    async def _relay(self, deltas: list[Delta]) -> bool:
        """Pass on what one read brought. Returns whether the answer is complete."""
        broke = _broke(deltas)
        call = self._call
        said, ended = take(deltas, call)
        if said or ended:
            if call.first_byte_at is None:
                self._good()
            call.delivered(said)
        if self._held:
            deltas = self._held + deltas
            self._held = []
        if ended:
            await self._finish(deltas)
            return True
        if call.first_byte_at is None and (broke or self._holds()):
            self._held = deltas
        elif deltas:
            await self._deliver(deltas)
        if broke:
            raise broke
        return False

    def _holds(self) -> bool:
        """Whether what has come may still be taken back. Bodies that nobody understands have no preface."""
        if not self._reader.proves_end:
            return False
        now = time.monotonic()
        self._held_until = self._held_until or now + HOLD_S
        return now < self._held_until

    async def _deliver(self, deltas: list[Delta]) -> None:
        pieces = self._turn.write(deltas)
        if pieces:
            if self._call.first_byte_at is None:
                self._good()
                self._call.delivered(0)
            await self._open(None)
            await self._leg.write(pieces)

    async def _open(self, length: int | None) -> None:
        if not self._leg.opened:
            headers = self._turn.opening(self._exchange.headers) + self._call.headers()
            await self._leg.open(self._turn.status, headers, length)

    async def _finish(self, deltas: list[Delta]) -> None:
        """Keep the answer, write the ledger, then the last bytes."""
        pieces = self._turn.write(deltas)
        if self._call.kept is not None:
            await self._call.kept.end("complete")
        self._call.settle("completed", 200)
        if self._call.is_durable:
            await self._call.durable()
        await self._open(None if self._turn.streaming else sum(map(len, pieces)))
        await self._leg.finish(pieces)

    async def _beat(self) -> None:
        """Say that the stream lives; what was held goes out too, since its time is over."""
        if self._held:
            held, self._held = self._held, []
            await self._deliver(held)
        pieces = self._turn.beat()
        if pieces:
            await self._open(None)
            await self._leg.write(pieces)


def _broke(deltas: list[Delta]) -> Fault | None:
    """Take a Broke off the end: what stands before it is still good. The list is the reader's gift."""
    last = deltas[-1]
    if type(last) is Broke:
        deltas.pop()
        return last.fault
    return None


def take(deltas: list[Delta], call: Call) -> tuple[int, bool]:
    """Note usage; return how much was said (characters, at least one where anything was) and whether it ended."""
    said = 0
    ended = False
    for delta in deltas:
        kind = type(delta)
        if kind is Frame:
            said += delta.size  # type: ignore[union-attr]
            if delta.usage is not None:  # type: ignore[union-attr]
                call.usage = delta.usage  # type: ignore[union-attr]
            ended = ended or delta.ended  # type: ignore[union-attr]
        elif kind is TextDelta or kind is ThinkDelta:
            said += len(delta.text)  # type: ignore[union-attr]
        elif kind is ToolArgs:
            said += len(delta.json)  # type: ignore[union-attr]
        elif kind is Tally:
            call.usage = delta.usage  # type: ignore[union-attr]
        elif kind is End:
            ended = True
        elif kind is not Begin:
            said += 1
    return said, ended
