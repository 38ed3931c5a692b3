"""The pump as a transcript: the provider says, the caller hears. The parts here keep the real contracts."""

import asyncio
from collections.abc import Callable

import pytest
from booked import Kept, call_of

from dragoman.faults import Broken, Exhausted, Fault, Truncated
from dragoman.legs import Head, Headers
from dragoman.ports import Reader
from dragoman.relay.pump import Pump
from dragoman.relay.settle import Call
from dragoman.wires import anthropic_voice, openai_chat
from dragoman.wires.passing import PassingBody

ROLE = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
DONE = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def text(word: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % word.encode()


def tool(index: int, name: str = "", arguments: str = "") -> bytes:
    call = f'{{"index":{index},"id":"i{index}","function":{{"name":"{name}","arguments":"{arguments}"}}}}'
    return b'data: {"choices":[{"index":0,"delta":{"tool_calls":[%b]}}]}\n\n' % call.encode()


class Answer:
    """An exchange that says its pieces one at a time: to the sink while there is one, else to who reads."""

    status = 200

    def __init__(self, *pieces: bytes, end: bytes | Fault = b"") -> None:
        self.headers: Headers = []
        self._pieces: list[bytes | Fault] = [*pieces, end]
        self._sink: Callable[[bytes], bool] | None = None

    async def read(self) -> bytes | None:
        await asyncio.sleep(0)
        while True:
            piece = self._pieces.pop(0)
            if isinstance(piece, Fault):
                raise piece
            if not self._sink or not piece:
                return piece
            if not self._sink(piece):
                self._sink = None
                return None

    def divert(self, sink: Callable[[bytes], bool] | None) -> None:
        self._sink = sink

    def close(self) -> None: ...


class Caller:
    """A leg that remembers; `room` says after how many pushes there is none, until the next write."""

    def __init__(self, room: int = 10_000) -> None:
        self.head = Head("POST", "/", b"", [])
        self.heard: list[bytes] = []
        self.opened = self.finished = self.gone = False
        self._room = room
        self.waits = 0

    async def open(self, status: int, headers: Headers, length: int | None) -> None:
        self.opened = True

    async def write(self, pieces: list[bytes]) -> None:
        self.waits += 1
        self.heard += pieces

    def push(self, pieces: list[bytes]) -> bool:
        self.heard += pieces
        return len(self.heard) % self._room != 0

    async def finish(self, pieces: list[bytes]) -> None:
        self.heard += pieces
        self.finished = True


class Voice:
    streaming = True
    status = 200
    in_band = False
    label = ""

    def __init__(self, translated: bool = False) -> None:
        self._writer = anthropic_voice.StreamWriter() if translated else None

    def opening(self, headers: Headers) -> Headers:
        return []

    def write(self, deltas):
        return self._writer.write(deltas) if self._writer else [d.data for d in deltas]

    def begun(self) -> None: ...

    def beat(self, place: int = 0) -> list[bytes]:
        return []


async def relay(answer, reader, caller, **options):
    kept, goods = Kept(), []
    call = call_of(kept)
    pump = Pump(answer, Voice(options.pop("translated", False)), call, caller, lambda: goods.append(1))
    await pump.run(reader, options.pop("most", 10**9))
    return call, kept, goods


async def test_bytes_pass_and_the_ledger_is_written_before_the_last() -> None:
    caller = Caller()
    _, kept, goods = await relay(Answer(ROLE, text("a"), text("b"), DONE), openai_chat.OpaqueStream(), caller)
    assert b"".join(caller.heard) == ROLE + text("a") + text("b") + DONE
    assert caller.finished
    assert [r.outcome for r in kept.records] == ["completed"]
    assert goods == [1]


async def fails(answer: Answer, reader: Reader, caller: Caller, kind: type[Fault], **options) -> Call:
    call = call_of(Kept())
    pump = Pump(answer, Voice(options.pop("translated", False)), call, caller, lambda: None)
    with pytest.raises(kind):
        await pump.run(reader, options.pop("most", 10**9))
    assert not caller.finished
    return call


async def test_d8_a_failure_before_any_content_can_still_be_taken_back() -> None:
    caller = Caller()
    answer = Answer(ROLE, b'data: {"error":{"message":"fell over"}}\n\n')
    call = await fails(answer, openai_chat.OpaqueStream(), caller, Broken)
    assert call.first_byte_at is None
    assert not caller.opened


async def test_d8_a_failure_after_content_keeps_what_came_before_it() -> None:
    caller = Caller()
    answer = Answer(ROLE, text("a"), text("b") + b'data: {"error":{"message":"fell over"}}\n\n' + DONE)
    call = await fails(answer, openai_chat.OpaqueStream(), caller, Broken)
    assert call.first_byte_at is not None
    assert b"".join(caller.heard) == ROLE + text("a") + text("b")


async def test_d4_a_cut_is_no_end_and_d7_a_cut_after_the_end_is_one() -> None:
    await fails(Answer(ROLE, text("a"), end=Truncated()), openai_chat.OpaqueStream(), Caller(), Truncated)
    finished = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    caller = Caller()
    await relay(Answer(ROLE, text("a"), finished, end=Truncated()), openai_chat.OpaqueStream(), caller)
    assert caller.finished


async def test_a_fault_of_the_voice_in_the_callback_ends_the_stream_as_broken() -> None:
    """Tool calls that are interleaved cannot be said in blocks; the second one's pieces come by the sink."""
    pieces = (ROLE, text("a"), tool(0, "x"), tool(1, "y"), tool(0, "", "{}"), DONE)
    await fails(Answer(*pieces), openai_chat.OpenStream(), Caller(), Broken, translated=True)


async def test_bodies_that_nobody_understands_go_out_at_once_and_count_as_delivered() -> None:
    caller = Caller()
    call = await fails(Answer(b"half", end=Truncated()), PassingBody(), caller, Truncated)
    assert caller.heard[0] == b"half"
    assert call.first_byte_at is not None


@pytest.mark.parametrize("pieces", [2, 40])
async def test_d18_an_answer_has_a_limit_however_it_arrives(pieces: int) -> None:
    words = [text("x" * 1000)] * pieces
    await fails(Answer(ROLE, *words), openai_chat.OpaqueStream(), Caller(), Exhausted, most=1500)


async def test_a6_a_slow_caller_is_waited_for_and_loses_nothing() -> None:
    caller = Caller(room=3)
    words = [text(f"w{n}") for n in range(30)]
    await relay(Answer(ROLE, *words, DONE), openai_chat.OpaqueStream(), caller)
    assert b"".join(caller.heard) == ROLE + b"".join(words) + DONE
    assert caller.waits > 8
