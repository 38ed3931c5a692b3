"""Catalogue A: callers who leave, dawdle or say nothing."""

import asyncio
import json
import statistics
import time

import pytest
from rawcalls import SENTENCE, WORDS, Call

from upstream import EVENTS, Signal, chunk, flood, head, hold, send, stream, unary

HEADER_S = 0.5
BODY_S = 0.6
WRITE_S = 0.5
AT_ONCE_S = 0.1
STREAM_HEAD = head(200, {**EVENTS, "transfer-encoding": "chunked"})


@pytest.fixture(scope="module")
def house(start_house):
    """Very patient with slow readers, in nothing else."""
    return start_house(slots=60, server={"header_s": HEADER_S, "body_s": BODY_S})


@pytest.fixture(scope="module")
def strict(start_house):
    return start_house(slots=8, server={"write_s": WRITE_S})


def beginning(lane, words, after=()):
    """A good stream up to and with these words, then steps of the test's choice."""
    events = [*lane.speaker.opening(), *map(lane.speaker.text, words)]
    return [send(STREAM_HEAD, *map(chunk, events)), *(after or [hold()])]


def good(lane):
    return stream(lane.speaker.events(WORDS))


async def check_still_serves(house, caller, lane):
    lane.play(good(lane))
    caller.check_whole(await caller.ask(house, lane.model))


async def check_files_return(house, before):
    deadline = time.monotonic() + 3
    while (now := house.gateway.open_files()) > before + 2:
        assert time.monotonic() < deadline, f"{now} open files, {before} before"
        await asyncio.sleep(0.02)


def check_quiet(house):
    assert "Traceback" not in house.gateway.output()


# --- A1 to A5: the caller leaves -----------------------------------------------------------------


@pytest.mark.parametrize("how", ["leave", "reset"])
async def test_a1_disconnect_mid_stream_closes_the_upstream_within_100_ms(house, caller, lane, how):
    took = []
    for number in range(6):
        lane.play(beginning(lane, WORDS[:3]))
        async with await caller.begin(house, lane.model) as call:
            await call.until(WORDS[2])
            left_at = time.monotonic()
            getattr(call, how)()
            took.append(await (await lane.request(number)).left.wait() - left_at)
        record = await house.gateway.call(lane.name, number)
        assert record["outcome"] == "abandoned", record
        assert record["usage"]["output"] > 0, record
    assert statistics.median(took) <= AT_ONCE_S, took
    # Six in a row would have opened a breaker that blames the provider.
    await check_still_serves(house, caller, lane)
    check_quiet(house)


async def test_a1_an_abort_is_one_attempt_in_the_record(house, caller, lane):
    lane.play(beginning(lane, WORDS[:3]))
    async with await caller.begin(house, lane.model) as call:
        await call.until(WORDS[2])
        call.leave()
    record = await house.gateway.call(lane.name)
    assert len(record["attempts"]) == len(lane.requests) == 1, record


@pytest.mark.parametrize("answer_begun", [False, True], ids=["before_head", "after_head"])
async def test_a2_disconnect_before_the_first_token_cancels_too(house, caller, lane, answer_begun):
    took = []
    begun = [send(STREAM_HEAD)] if answer_begun else []
    for number in range(6):
        lane.play([*begun, hold()])
        async with await caller.begin(house, lane.model) as call:
            request = await lane.request(number)
            left_at = time.monotonic()
            call.leave()
            took.append(await request.left.wait() - left_at)
        record = await house.gateway.call(lane.name, number)
        assert record["outcome"] == "abandoned", record
    assert statistics.median(took) <= AT_ONCE_S, took
    assert len(lane.requests) == 6, "a call whose caller had left was tried again"
    await check_still_serves(house, caller, lane)
    check_quiet(house)


async def test_a2_leaving_at_any_moment_leaves_nothing_behind(house, caller, lane):
    """Also between our connecting, our asking and the answer's head: each is a moment of its own."""
    lane.always([send(STREAM_HEAD), hold()])

    async def leave_after(seconds):
        async with await caller.begin(house, lane.model) as call:
            await asyncio.sleep(seconds)
            call.leave()

    await leave_after(0.1)
    await (await lane.request()).left.wait()
    before = house.gateway.open_files()
    for number in range(120):
        await leave_after(number * 0.00002)
    await check_files_return(house, before)
    for request in lane.requests:
        await request.left.wait()
    check_quiet(house)


@pytest.mark.parametrize("part", [0, 40], ids=["before_head", "mid_body"])
async def test_a3_disconnect_during_a_unary_call_cancels_and_is_recorded(house, caller, lane, part):
    body = lane.speaker.whole(SENTENCE)
    begun = [send(head(200, {"content-type": "application/json", "content-length": len(body)}) + body[:part])]
    lane.play([*(begun if part else []), hold()])
    async with await caller.begin(house, lane.model, stream=False) as call:
        request = await lane.request()
        left_at = time.monotonic()
        call.leave()
        assert await request.left.wait() - left_at < 1
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "abandoned", record
    assert len(lane.requests) == 1
    lane.play(unary(body))
    caller.check_whole(await caller.ask(house, lane.model, stream=False), stream=False)
    check_quiet(house)


async def test_a4_what_the_provider_reported_before_the_abort_is_recorded(house, caller, lane):
    """A provider that reports usage in the middle (as many do with every chunk) is believed."""
    told = lane.speaker.usage_event(output=17)
    lane.play(beginning(lane, WORDS[:3], [send(chunk(told), chunk(lane.speaker.text("marker"))), hold()]))
    async with await caller.begin(house, lane.model) as call:
        await call.until("marker")
        call.leave()
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "abandoned", record
    assert record["usage"]["input"] == 25, record
    assert record["usage"]["output"] == 17, record
    assert record["usage"]["estimated"] is False, record


async def test_a4_delivered_text_is_counted_where_nothing_was_reported(house, caller, lane):
    words = ["word " * 20] * 4
    lane.play(beginning(lane, [*words, "last"]))
    async with await caller.begin(house, lane.model) as call:
        await call.until("last")
        call.leave()
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "abandoned", record
    assert record["usage"]["output"] == 101, record
    assert record["usage"]["estimated"] is True, record
    if lane.kind == "anthropic":
        assert record["usage"]["input"] == 25, "message_start told the prompt's tokens"


async def test_a4_an_abort_without_output_is_not_charged_as_a_completion(house, caller, lane):
    lane.play([hold()])
    async with await caller.begin(house, lane.model) as call:
        await lane.request()
        call.leave()
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "abandoned", record
    assert record["usage"]["output"] == 0, record


async def test_a5_a_provider_that_keeps_talking_is_not_drained_without_bound(house, caller, lane):
    piece = chunk(lane.speaker.text("and on ") * 20)
    lane.play(beginning(lane, WORDS[:3], [flood(piece)]))
    async with await caller.begin(house, lane.model) as call:
        await call.until("and on")
        request = await lane.request()
        before, left_at = request.connection.sent, time.monotonic()
        call.leave()
        assert await request.left.wait() - left_at < 1
    # What the kernels of both sides hold is beyond anybody's control.
    assert request.connection.sent - before < 32 << 20
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "abandoned", record


# --- A6, A7: the caller reads slowly or not at all -------------------------------------------------


async def stalled(connection, quiet_s=0.5):
    """Wait until the gateway took nothing for a while."""
    while (left := connection.progress_at + quiet_s - time.monotonic()) > 0:
        await asyncio.sleep(left)


async def test_a6_a_slow_reader_slows_the_upstream_and_nobody_else(house, caller, lane):
    streams, limit = 12, 48 << 20
    piece = chunk(lane.speaker.text("tide " * 200) * 8)
    closing = [send(*map(chunk, lane.speaker.closing()), b"0\r\n\r\n")]
    lane.play(*[beginning(lane, ["first"], [flood(piece, limit), *closing]) for _ in range(streams)])
    before = house.gateway.resident_bytes()
    calls = [await caller.begin(house, lane.model, receive_bytes=4096) for _ in range(streams)]
    try:
        for number, call in enumerate(calls):
            await call.until("first")
            connection = (await lane.request(number)).connection
        for connection in {request.connection for request in lane.requests}:
            await stalled(connection)
            assert connection.sent < limit, "the upstream was read to its end although nobody took it"
        held = house.gateway.resident_bytes() - before
        assert held < streams * (256 << 10) + (6 << 20), f"{held:,} bytes held for {streams} streams"
        started = time.monotonic()
        await check_still_serves(house, caller, lane)
        assert time.monotonic() - started < 1
        # The stream is slow, not broken: reading on continues it.
        request = lane.requests[0]
        sent = request.connection.sent
        # How much the kernel holds on the way differs from machine to machine; it cannot be more than was sent.
        while request.connection.sent == sent:
            assert len(calls[0].answer.body) <= sent, "the upstream was never asked for more"
            await calls[0].more()
    finally:
        for call in calls:
            call.reset()
    for number in range(streams):
        await (await lane.request(number)).left.wait()


async def test_a6_every_byte_arrives_when_a_slow_reader_reads_on(house, caller, lane):
    """Back-pressure may delay; it may not lose or reorder."""
    texts = [f"{number:06} " * 40 for number in range(12_000)]
    lane.play(stream(lane.speaker.events(texts)))
    async with await caller.begin(house, lane.model, receive_bytes=4096) as call:
        await call.until("000001")
        await stalled((await lane.request()).connection, quiet_s=0.3)
        pieces, call.answer.body = [call.answer.body], b""
        while call.answer.ended == "open":
            await call.more()
            pieces.append(call.answer.body)
            call.answer.body = b""
        call.answer.body = b"".join(pieces)
    caller.check_whole(call.answer, "".join(texts))


async def test_a7_a_reader_who_stalls_is_cut_off_at_the_write_deadline(strict, caller, kind):
    lane = strict.lane(kind)
    piece = chunk(lane.speaker.text("tide " * 200) * 8)
    lane.play(beginning(lane, ["first"], [flood(piece)]))
    async with await caller.begin(strict, lane.model, receive_bytes=4096) as call:
        await call.until("first")
        request = await lane.request()
        left_at = await request.left.wait()
        waited = left_at - request.connection.progress_at
        assert waited < WRITE_S + 1.5, waited
        record = await strict.gateway.call(lane.name)
        assert record["outcome"] != "completed", record
        assert record["code"] == "slow_reader", record
        while call.answer.ended == "open":
            call.answer.body = b""
            await call.more()
        assert call.answer.ended == "broken"
    check_quiet(strict)


async def test_a7_a_reader_who_reads_slowly_but_steadily_is_kept(strict, caller, kind):
    lane = strict.lane(kind)
    ended = Signal()
    lane.play(beginning(lane, ["first"], [flood(chunk(lane.speaker.text("tide " * 200) * 8)), hold(ended)]))
    async with await caller.begin(strict, lane.model, receive_bytes=4096) as call:
        await call.until("first")
        request = await lane.request()
        until = time.monotonic() + 3 * WRITE_S
        while time.monotonic() < until:
            call.answer.body = b""
            await call.more()
            await asyncio.sleep(0.01)
            assert call.answer.ended == "open", "a caller who reads was cut off"
        assert not request.left


# --- A8 to A10: the request comes slowly or never --------------------------------------------------


async def trickle(call, data, pause_s=0.05):
    """Send a byte now and then until the gateway closes; returns how long it took."""
    started = time.monotonic()
    gone = asyncio.create_task(call.gone())
    for at in range(len(data)):
        if gone.done():
            break
        call.send(data[at : at + 1])
        await asyncio.wait([gone], timeout=pause_s)
    return await gone - started


def check_slow_request(caller, call):
    """Whoever is told anything is told in the dialect's own shape."""
    raw = call._raw
    if raw:
        assert raw.split()[1] == b"408", raw
        caller.check_error_object(json.loads(raw.partition(b"\r\n\r\n")[2]), raw)


@pytest.mark.parametrize("first", [True, False], ids=["new_connection", "kept_connection"])
async def test_a8_slow_headers_end_at_an_absolute_deadline(house, caller, lane, first):
    async with await Call.open(house.gateway.port) as call:
        if not first:
            lane.play(unary(lane.speaker.whole(SENTENCE)))
            call.send(caller.request(caller.body(lane.model, stream=False)))
            caller.check_whole(await call.rest(), stream=False)
        started = time.monotonic()
        took = await trickle(call, caller.request(caller.body(lane.model), x_filler="slow" * 100))
        assert HEADER_S * 0.5 < took < HEADER_S + 1, (took, started)
    assert len(lane.requests) == (0 if first else 1)


@pytest.mark.parametrize("length", ["known", "chunked"])
async def test_a9_a_slow_body_ends_at_an_absolute_deadline(house, caller, lane, length):
    body = json.dumps(caller.body(lane.model, text="slow " * 100)).encode()
    async with await Call.open(house.gateway.port) as call:
        if length == "known":
            request = caller.request(body)
            call.send(request[: -len(body)])
            took = await trickle(call, body)
        else:
            call.send(caller.request(b"", content_length=None, transfer_encoding="chunked"))
            took = await trickle(call, b"".join(chunk(body[at : at + 1]) for at in range(len(body))))
        assert BODY_S * 0.5 < took < BODY_S + 1, took
        assert call._raw, "a request whose head was good deserves an answer"
        check_slow_request(caller, call)
    assert not lane.requests


async def test_a9_a_body_that_stops_ends_at_the_same_deadline(house, caller, lane):
    request = caller.request(caller.body(lane.model))
    async with await Call.open(house.gateway.port) as call:
        started = time.monotonic()
        call.send(request[:-10])
        took = await call.gone() - started
        assert BODY_S * 0.5 < took < BODY_S + 1, took
        assert call._raw, "a request whose head was good deserves an answer"
        check_slow_request(caller, call)
    assert not lane.requests


async def test_a10_a_connection_that_says_nothing_is_closed(house, caller, lane):
    started = time.monotonic()
    silent = [await Call.open(house.gateway.port) for _ in range(20)]
    try:
        await check_still_serves(house, caller, lane)
        for call in silent:
            assert HEADER_S * 0.5 < await call.gone() - started < HEADER_S + 1
    finally:
        for call in silent:
            call.reset()


# --- A15 -------------------------------------------------------------------------------------------


async def test_a15_resets_while_we_write_leak_nothing(house, caller, lane):
    piece = chunk(lane.speaker.text("tide " * 200))
    lane.always(lambda _: beginning(lane, ["first"], [flood(piece, pause_s=0.002)]))

    async def interrupt():
        async with await caller.begin(house, lane.model) as call:
            await call.until("tide tide")
            call.reset()

    async def interrupt_many():
        for _ in range(4):
            await asyncio.gather(*[interrupt() for _ in range(10)])
        await asyncio.gather(*[request.left.wait() for request in list(lane.requests)])

    await interrupt_many()
    await house.gateway.call(lane.name, 39)
    before = house.gateway.open_files()
    await interrupt_many()
    record = await house.gateway.call(lane.name, 79)
    assert record["outcome"] == "abandoned", record
    await check_files_return(house, before)
    check_quiet(house)
