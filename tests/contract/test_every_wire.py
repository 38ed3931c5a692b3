"""The laws that every wire keeps, over the folder's recorded and hand-made cases.

`llama_cpp.*` are recordings of the embedded model; the others are written after the vendors' pages.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.chat import Answer, Begin, Broke, Delta, End, Frame, Tally, Text, Think, ToolUse, fold
from dragoman.faults import Fault
from dragoman.ports import Reader
from dragoman.wires import anthropic, anthropic_voice, openai_chat, openai_voice

CASES = Path(__file__).parent.parent / "cases"
OPEN: dict[str, tuple[Callable[[], Reader], Callable[[], Reader]]] = {
    "openai_chat": (openai_chat.OpenStream, openai_chat.OpenWhole),
    "anthropic": (anthropic.OpenStream, anthropic.OpenWhole),
}
OPAQUE: dict[str, tuple[Callable[[], Reader], Callable[[], Reader]]] = {
    "openai_chat": (openai_chat.OpaqueStream, openai_chat.OpaqueWhole),
    "anthropic": (anthropic.OpaqueStream, anthropic.OpaqueWhole),
}
WRITERS = {
    "openai_chat": lambda: openai_voice.StreamWriter(wants_usage=True, now=7),
    "anthropic": anthropic_voice.StreamWriter,
}
STREAMS = sorted(path.relative_to(CASES).as_posix() for path in CASES.rglob("*.sse"))
WHOLES = sorted(path.relative_to(CASES).as_posix() for path in CASES.rglob("*.json"))
EVERY = [*STREAMS, *WHOLES]


def bytes_of(case: str) -> bytes:
    return (CASES / case).read_bytes()


def maker(table: dict[str, tuple[Callable[[], Reader], Callable[[], Reader]]], case: str) -> Callable[[], Reader]:
    return table[case.split("/", maxsplit=1)[0]][case.endswith(".json")]


def read(reader: Reader, pieces: list[bytes]) -> list[Delta]:
    deltas = [delta for piece in pieces for delta in reader.receive(piece)]
    return deltas + reader.close()


def passed(deltas: list[Delta]) -> tuple[bytes, int, object, bool]:
    """What frames come to, however they were cut: bytes, characters, usage, completion."""
    frames = [d for d in deltas if isinstance(d, Frame)]
    assert not [d for d in deltas if isinstance(d, Broke)], deltas
    usage = [f.usage for f in frames if f.usage]
    return b"".join(f.data for f in frames), sum(f.size for f in frames), usage[-1] if usage else None, frames[-1].ended


def meaning(deltas: list[Delta]) -> Answer:
    assert not [d for d in deltas if isinstance(d, Broke)], deltas
    return fold(deltas)


def cuts(data: bytes, seed: int) -> list[bytes]:
    dice = random.Random(seed)
    places = sorted(dice.sample(range(1, len(data)), min(len(data) - 1, dice.randint(1, 60))))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("case", EVERY)
def test_opaque_is_the_same_bytes_however_it_is_split(case: str) -> None:
    data = bytes_of(case)
    whole = passed(read(maker(OPAQUE, case)(), [data]))
    assert whole[0] == data
    assert whole[3]
    assert passed(read(maker(OPAQUE, case)(), [data[i : i + 1] for i in range(len(data))])) == whole
    for seed in range(40):
        assert passed(read(maker(OPAQUE, case)(), cuts(data, seed))) == whole


@pytest.mark.parametrize("case", STREAMS)
def test_every_single_split_gives_the_same(case: str) -> None:
    data = bytes_of(case)
    opaque = passed(read(maker(OPAQUE, case)(), [data]))
    opened = meaning(read(maker(OPEN, case)(), [data]))
    for at in range(1, len(data)):
        assert passed(read(maker(OPAQUE, case)(), [data[:at], data[at:]])) == opaque, at
        assert meaning(read(maker(OPEN, case)(), [data[:at], data[at:]])) == opened, at


@pytest.mark.parametrize("case", EVERY)
def test_open_is_the_same_meaning_however_it_is_split(case: str) -> None:
    data = bytes_of(case)
    whole = read(maker(OPEN, case)(), [data])
    assert meaning(whole).end is not None
    assert read(maker(OPEN, case)(), [data[i : i + 1] for i in range(len(data))]) == whole
    for seed in range(40):
        assert read(maker(OPEN, case)(), cuts(data, seed)) == whole


@pytest.mark.parametrize("case", EVERY)
def test_begin_is_first_tally_before_end_and_end_is_last(case: str) -> None:
    deltas = read(maker(OPEN, case)(), [bytes_of(case)])
    assert isinstance(deltas[0], Begin)
    assert isinstance(deltas[-1], End)
    assert "without_usage" in case or any(isinstance(d, Tally) for d in deltas)
    assert sum(isinstance(d, Begin | End) for d in deltas) == 2


@pytest.mark.parametrize("case", STREAMS)
def test_no_prefix_of_a_stream_is_complete_before_its_end_is_proved(case: str) -> None:
    """Cut anywhere: complete only if a finish reason (or the terminator) had arrived whole."""
    data = bytes_of(case)
    proof = b'"stop_reason":"' if case.startswith("anthropic") else b'"finish_reason":"'
    proved_at = data.index(b"\n\n", data.index(proof))
    for at in range(len(data)):
        for table in (OPEN, OPAQUE):
            deltas = read(maker(table, case)(), [data[:at]])
            ended = any(isinstance(d, End) or (isinstance(d, Frame) and d.ended) for d in deltas)
            assert ended == (at >= proved_at), (at, proved_at)


@pytest.mark.parametrize("case", [c for c in STREAMS if "reasoning" not in c and "thinking" not in c])
@pytest.mark.parametrize("to", list(WRITERS))
def test_translated_and_back_it_means_the_same(case: str, to: str) -> None:
    deltas = read(maker(OPEN, case)(), [bytes_of(case)])
    written = b"".join(WRITERS[to]().write(deltas))
    again = fold(read(OPEN[to][0](), [written]))
    first = fold(deltas)
    assert [p for p in again.parts if not isinstance(p, Think)] == first.parts
    assert again.id == first.id
    assert again.model == first.model
    assert again.end.reason == first.end.reason or (first.end.reason, again.end.reason) == ("stop_sequence", "stop")
    assert again.usage.prompt_tokens == first.usage.prompt_tokens
    assert again.usage.completion_tokens == first.usage.completion_tokens
    assert again.usage.cache_read == first.usage.cache_read


@pytest.mark.parametrize("case", [c for c in EVERY if c.startswith("anthropic")])
def test_an_anthropic_round_trip_keeps_thinking_and_signatures(case: str) -> None:
    deltas = read(maker(OPEN, case)(), [bytes_of(case)])
    again = read(anthropic.OpenStream(), [b"".join(anthropic_voice.StreamWriter().write(deltas))])
    kept = [p for p in fold(deltas).parts if isinstance(p, Think | Text | ToolUse)]
    assert [p for p in fold(again).parts if isinstance(p, Think | Text | ToolUse)] == kept


@pytest.mark.parametrize("case", EVERY)
@pytest.mark.parametrize("to", list(WRITERS))
def test_whole_and_streamed_answers_mean_the_same(case: str, to: str) -> None:
    deltas = read(maker(OPEN, case)(), [bytes_of(case)])
    whole = openai_voice.write_whole(deltas, 7) if to == "openai_chat" else anthropic_voice.write_whole(deltas)
    streamed = fold(read(OPEN[to][0](), [b"".join(WRITERS[to]().write(deltas))]))
    read_back = fold(read(OPEN[to][1](), [whole]))
    normal = [(type(p), getattr(p, "text", ""), getattr(p, "name", "")) for p in streamed.parts]
    assert [(type(p), getattr(p, "text", ""), getattr(p, "name", "")) for p in read_back.parts] == normal
    assert read_back.usage == streamed.usage
    assert read_back.end == streamed.end


READERS = [
    openai_chat.OpenStream,
    openai_chat.OpenWhole,
    openai_chat.OpaqueStream,
    openai_chat.OpaqueWhole,
    anthropic.OpenStream,
    anthropic.OpenWhole,
    anthropic.OpaqueStream,
    anthropic.OpaqueWhole,
]
fragments = st.sampled_from(
    [
        b"data: ",
        b"\n\n",
        b"\r\n",
        b"event: message_stop\n",
        b"[DONE]",
        b'{"choices":[{"index":0,"delta":{"content":"a"}}]}',
        b'{"choices":null}',
        b'{"choices":[{"finish_reason":"stop"}]}',
        b'{"type":"message_start","message":{"id":"x","usage":null}}',
        b'{"type":"content_block_delta","delta":{"type":"text_delta"}}',
        b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":null}}',
        b'{"error":"boom"}',
        b'{"error":{"message":5}}',
        b":",
        b"\xff\xfe",
        b"{",
    ]
)


@pytest.mark.parametrize("make", READERS, ids=lambda r: f"{r.__module__.split('.')[-1]}.{r.__name__}")
@given(pieces=st.lists(fragments | st.binary(max_size=40), max_size=12))
@settings(max_examples=150, deadline=None)
def test_a_reader_raises_nothing_whatever_it_gets(make: Callable[[], Reader], pieces: list[bytes]) -> None:
    deltas = read(make(), pieces)
    for delta in deltas[:-1]:
        assert not isinstance(delta, End | Broke)
    for delta in deltas:
        if isinstance(delta, Broke):
            assert isinstance(delta.fault, Fault)
