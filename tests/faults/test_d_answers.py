"""Catalogue D, what comes: answers that stall, break, end oddly or are not what they say."""

import time

import pytest
from rawcalls import SENTENCE, WORDS

from upstream import (
    EVENTS,
    JSON,
    LAST_CHUNK,
    Signal,
    chunk,
    close,
    dribble,
    head,
    hold,
    pause,
    reset,
    send,
    stream,
    unary,
)

IDLE_S = 0.9
QUIET_S = 0.2
STREAM_HEAD = head(200, {**EVENTS, "transfer-encoding": "chunked"})
CLOSE_HEAD = head(200, {**EVENTS, "connection": "close"})
ACCENTS = ["naïve ", "日本", "語 ", "🌉", "😀 ", "Ω≈ç ", "end."]


@pytest.fixture(scope="module")
def house(start_house):
    patience = {"first_byte_s": 3.0, "idle_s": IDLE_S, "quiet_s": QUIET_S, "attempts": 2}
    return start_house(slots=180, upstream=patience)


def upto(lane, words):
    """The events of a good stream up to and with these words."""
    return [*lane.speaker.opening(), *map(lane.speaker.text, words)]


def chunked(events):
    return send(STREAM_HEAD, *map(chunk, events))


async def check_broken_after(house, caller, lane, words, code=None):
    """The caller got these words and then the plain truth; nobody tried again; the record knows."""
    answer = await caller.ask(house, lane.model)
    caller.check_broken(answer, "".join(words))
    assert len(lane.requests) == 1, "tried again although a byte had been delivered"
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "truncated", record
    assert record["usage"]["output"] >= 1, record
    assert code is None or record["code"] == code, record


async def check_completed(house, caller, lane, text=SENTENCE, **fields):
    answer = await caller.ask(house, lane.model, **fields)
    caller.check_whole(answer, text)
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "completed", record
    return answer, record


async def check_failed_at_once(house, caller, lane, *statuses, stream=True):
    """Nothing could be delivered: an error in the caller's shape, and no completion in the record."""
    answer = await caller.ask(house, lane.model, stream=stream)
    caller.check_refused(answer, *statuses)
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "failed", record
    return answer


# --- D3: silence -----------------------------------------------------------------------------------


async def test_d3_silence_after_the_head_ends_as_an_error(house, caller, lane):
    lane.always([send(STREAM_HEAD), hold()])
    answer = await caller.ask(house, lane.model)
    caller.check_never_complete(answer, 504)
    if answer.status == 200:
        assert caller.beats(answer) >= 2, answer
    await (await lane.request()).left.wait()


async def test_d3_silence_mid_stream_is_bridged_and_then_ends_as_an_error(house, caller, lane):
    lane.play([chunked(upto(lane, WORDS[:3])), hold()])
    async with await caller.begin(house, lane.model) as call:
        await call.until(WORDS[2])
        started = time.monotonic()
        answer = await call.rest()
        assert IDLE_S * 0.5 < time.monotonic() - started < IDLE_S + 1
    caller.check_broken(answer, "".join(WORDS[:3]))
    assert caller.beats(answer) >= 2, answer
    await (await lane.request()).left.wait()
    record = await house.gateway.call(lane.name)
    assert (record["outcome"], record["code"]) == ("truncated", "upstream_timeout"), record


async def test_d3_a_pause_below_the_idle_deadline_is_bridged(house, caller, lane):
    """Each pause is short, all together are longer than the deadline."""
    first, *others = lane.speaker.events(WORDS)
    half = len(others[2]) // 2
    steps = [chunked([first, *others[:2]]), pause(0.5), send(chunk(others[2][:half])), pause(0.5)]
    steps += [send(chunk(others[2][half:]), *map(chunk, others[3:]), LAST_CHUNK)]
    lane.play(steps)
    answer, _ = await check_completed(house, caller, lane)
    assert caller.beats(answer) >= 2, answer


# --- D4, D5: the stream stops ------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3, len(WORDS)])
async def test_d4_reset_after_k_events_is_never_a_clean_end(house, caller, lane, count):
    seen = Signal()
    lane.play([chunked(upto(lane, WORDS[:count])), hold(seen), reset])
    async with await caller.begin(house, lane.model) as call:
        await call.until(WORDS[count - 1])
        seen.fire()
        answer = await call.rest()
    caller.check_broken(answer, "".join(WORDS[:count]))
    assert len(lane.requests) == 1, "tried again although a byte had been delivered"
    record = await house.gateway.call(lane.name)
    assert (record["outcome"], record["code"]) == ("truncated", "upstream_truncated"), record


async def test_d4_reset_before_the_first_word_is_never_a_clean_end(house, caller, lane):
    lane.always([chunked(upto(lane, [])), pause(0.02), reset])
    caller.check_never_complete(await caller.ask(house, lane.model), 502)
    record = await house.gateway.call(lane.name)
    assert record["outcome"] in ("failed", "truncated"), record


async def test_d4_reset_within_a_unary_answer_is_an_error(house, caller, lane):
    body = lane.speaker.whole(SENTENCE)
    part = head(200, {**JSON, "content-length": len(body)}) + body[:-10]
    lane.always([send(part), pause(0.02), reset])
    await check_failed_at_once(house, caller, lane, 502, stream=False)


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
async def test_d5_a_clean_end_without_the_terminal_event_is_truncated(house, caller, lane, framing):
    lane.play(stream(upto(lane, WORDS[:3]), framing))
    await check_broken_after(house, caller, lane, WORDS[:3], "upstream_truncated")


@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize("opening", [True, False], ids=["opening_only", "nothing"])
async def test_d5_a_stream_without_a_word_is_not_an_answer(house, caller, lane, framing, opening):
    lane.always(stream(upto(lane, []) if opening else [], framing))
    caller.check_never_complete(await caller.ask(house, lane.model), 502)
    record = await house.gateway.call(lane.name)
    assert record["outcome"] in ("failed", "truncated"), record


# --- D6, D7: odd ends ----------------------------------------------------------------------------------


def odd_ends(speaker):
    """Legal streams that end in another way than most."""
    if speaker.kind == "openai":
        opening, texts, finish = speaker.opening(), [*map(speaker.text, WORDS)], speaker.finish()
        usage, done = speaker.usage_event(), b"data: [DONE]\n\n"
        merged = speaker.chunk({"content": WORDS[-1]}, finish="stop")
        counted = speaker.chunk(finish="stop", usage=speaker.usage(7))
        return {
            "no_done_marker": [*opening, *texts, finish],
            "usage_last_and_no_done_marker": [*opening, *texts, finish, usage],
            "finish_merged_into_the_last_text": [*opening, *texts[:-1], merged, done],
            "merged_and_no_done_marker": [*opening, *texts[:-1], merged],
            "usage_in_the_finish": [*opening, *texts, counted, done],
        }
    start, block, ping = speaker.opening()
    texts, closing = [*map(speaker.text, WORDS)], speaker.closing()
    full = speaker.block_start(WORDS[0])
    return {
        "no_ping": [start, block, *texts, *closing],
        "pings_everywhere": [start, ping, block, ping, *(e for t in texts for e in (t, ping)), *closing],
        "first_text_in_the_block_start": [start, full, *texts[1:], *closing],
        "no_block_stop": [start, block, *texts, *closing[1:]],
        "no_event_names": [e.partition(b"\n")[2] for e in [start, block, ping, *texts, *closing]],
    }


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_d6_legal_but_odd_endings_are_complete(house, caller, lane, number, framing):
    name, events = [*odd_ends(lane.speaker).items()][number]
    lane.play(stream(events, framing))
    answer = await caller.ask(house, lane.model)
    if name == "no_event_names" and caller.name == "anthropic":
        assert answer.ended == "clean", answer
    elif name == "first_text_in_the_block_start" and caller.name == "anthropic":
        assert caller.is_terminated(answer), answer
        assert b"".join(events) == answer.body
    else:
        caller.check_whole(answer)
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "completed", (name, record)


CUTS = {
    "openai": [("finish", -3, False), ("usage", -2, True), ("done", -1, True), ("done", None, True)],
    "anthropic": [("block_stop", -3, False), ("delta", -2, False), ("stop", -1, None), ("stop", None, True)],
}


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
async def test_d7_a_cut_in_the_last_bytes_counts_by_what_was_already_said(house, caller, lane, number, share):
    """`complete` None: both are allowed, a mixture is not. None as place: only HTTP's own end is missing."""
    name, at, complete = CUTS[lane.kind][number]
    events = lane.speaker.events(WORDS)
    if at is not None:
        cut = events[at]
        events = [*events[:at], cut[: max(1, int(len(cut) * share))]]
    lane.play([chunked(events), close])
    answer = await caller.ask(house, lane.model)
    record = await house.gateway.call(lane.name)
    if complete is None:
        complete = record["outcome"] == "completed"
    if complete:
        caller.check_whole(answer)
        assert record["outcome"] == "completed", record
    else:
        caller.check_broken(answer, SENTENCE)
        assert record["outcome"] == "truncated", record
    assert not answer.body.rstrip(b"\r\n").endswith(b"[DO"), "half an event was passed on"


# --- D8: an error inside ---------------------------------------------------------------------------------


def errors_of(speaker):
    plain = speaker.stream_error("the model fell over")
    if speaker.kind == "anthropic":
        return [plain, plain.partition(b"\n")[2]]
    routed = {"error": {"code": 502, "message": "the model fell over"}}
    return [plain, speaker.chunk({"content": ""}, finish="error", **routed)]


@pytest.mark.parametrize("number", [0, 1], ids=["usual", "unusual"])
async def test_d8_an_error_inside_a_good_stream_becomes_the_callers_error_event(house, caller, lane, number):
    error = errors_of(lane.speaker)[number]
    lane.play(stream([*upto(lane, WORDS[:3]), error, *lane.speaker.closing()]))
    answer = await caller.ask(house, lane.model)
    caller.check_broken(answer, "".join(WORDS[:3]))
    assert len(lane.requests) == 1
    record = await house.gateway.call(lane.name)
    assert record["outcome"] not in ("completed", "abandoned"), record
    assert record["usage"]["output"] == -(-len("".join(WORDS[:3])) // 4), record
    assert record["usage"]["estimated"] is True, record


async def test_d8_an_error_as_the_first_event_is_never_an_answer(house, caller, lane):
    lane.always(stream([lane.speaker.stream_error("the model fell over"), *lane.speaker.closing()]))
    answer = await caller.ask(house, lane.model)
    caller.check_never_complete(answer, 429, 502, 503)
    record = await house.gateway.call(lane.name)
    assert record["usage"]["output"] == 0, record


@pytest.mark.parametrize("together", [True, False], ids=["one_read", "reads"])
@pytest.mark.parametrize("text", [b"Internal Server Error", b"<html></html>", b'{"choices": 7, "delta": 7}', b"{"])
async def test_d8_text_that_is_no_event_of_the_protocol_breaks_the_stream(house, caller, lane, text, together):
    """However it arrives: what follows it may not hide it."""
    events = [lane.speaker.text(WORDS[2]), b"data: %b\n\n" % text, *lane.speaker.closing()]
    later = [chunk(b"".join(events))] if together else [*map(chunk, events)]
    lane.play([chunked(upto(lane, WORDS[:2])), *[step for piece in later for step in (pause(0.02), send(piece))]])
    answer = await caller.ask(house, lane.model)
    caller.check_broken(answer, "".join(WORDS[:3]))
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "truncated", record


async def test_d8_an_error_as_a_good_unary_answer_is_an_error(house, caller, lane):
    lane.always(unary(lane.speaker.refusal("the model fell over")))
    await check_failed_at_once(house, caller, lane, 502, stream=False)


# --- D9: HTTP's own frame broken -------------------------------------------------------------------------


async def test_d9_a_cut_inside_a_chunk_is_truncated(house, caller, lane):
    events = [*map(chunk, upto(lane, WORDS[:4]))]
    lane.play([send(STREAM_HEAD, *events[:-1], events[-1][:-9]), close])
    await check_broken_after(house, caller, lane, WORDS[:3], "upstream_truncated")


@pytest.mark.parametrize("size", [b"zz\r\n", b"-5\r\n", b"fffffffffffffffff\r\n", b"5 5\r\n"])
async def test_d9_a_chunk_size_that_is_none_breaks_the_stream(house, caller, lane, size):
    lane.play([chunked(upto(lane, WORDS[:3])), pause(0.02), send(size + b"data: x\r\n"), hold()])
    await check_broken_after(house, caller, lane, WORDS[:3])


async def test_d9_an_announced_length_that_never_comes_is_truncated(house, caller, lane):
    data = b"".join(upto(lane, WORDS[:3]))
    lane.play([send(head(200, {**EVENTS, "content-length": len(data) + 500}) + data), close])
    await check_broken_after(house, caller, lane, WORDS[:3], "upstream_truncated")


async def test_d9_a_unary_answer_shorter_than_announced_is_an_error(house, caller, lane):
    body = lane.speaker.whole(SENTENCE)
    lane.always([send(head(200, {**JSON, "content-length": len(body) + 1}) + body), close])
    await check_failed_at_once(house, caller, lane, 502, stream=False)


async def test_d9_a_unary_answer_longer_than_announced_is_an_error(house, caller, lane):
    body = lane.speaker.whole(SENTENCE)
    lane.always([send(head(200, {**JSON, "content-length": len(body) - 9}) + body)])
    await check_failed_at_once(house, caller, lane, 502, stream=False)


async def test_d9_a_connection_with_bytes_too_many_is_not_used_again(house, caller, lane):
    """Whether the answer before them is believed or asked for again, they never become the next one."""
    body, poison = (
        head(200, {**JSON, "content-length": len(text)}) + text
        for text in map(lane.speaker.whole, (SENTENCE, "poison"))
    )
    # In one write: what comes later is D17, or cannot be told from an answer.
    lane.play([send(body + poison)]).always([send(body)])
    for _ in range(3):
        caller.check_whole(await caller.ask(house, lane.model, stream=False), stream=False)
    used = [request.connection.number for request in lane.requests]
    assert used.count(used[0]) == 1, used


# --- D10: bytes one by one -------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["chunked", "close", "chunk_a_byte"])
async def test_d10_one_byte_at_a_time_changes_nothing(house, caller, lane, framing):
    data = b"".join(lane.speaker.events(ACCENTS))
    if framing == "chunked":
        steps = [dribble(STREAM_HEAD + chunk(data) + LAST_CHUNK)]
    elif framing == "close":
        steps = [dribble(CLOSE_HEAD + data), close]
    else:
        steps = [send(STREAM_HEAD, *[chunk(data[at : at + 1]) for at in range(len(data))], LAST_CHUNK)]
    lane.play(steps)
    answer, _ = await check_completed(house, caller, lane, "".join(ACCENTS))
    assert caller.name != lane.kind or answer.body == data


async def test_d10_a_split_at_every_byte_changes_nothing(house, caller, lane):
    data = b"".join(lane.speaker.events(ACCENTS))
    first = data.index("日".encode())
    cuts = range(first - 40, first + 40)

    turns = iter(cuts)

    def script(_):
        at = next(turns)
        return [send(STREAM_HEAD + chunk(data[:at])), pause(0.002), send(chunk(data[at:]) + LAST_CHUNK)]

    lane.always(script)
    for at in cuts:
        answer = await caller.ask(house, lane.model)
        caller.check_whole(answer, "".join(ACCENTS))
        assert caller.name != lane.kind or answer.body == data, at
