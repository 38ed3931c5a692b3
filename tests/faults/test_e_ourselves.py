"""Catalogue E: what we do when it is us who must stop."""

import asyncio
import resource
import time

import pytest
from rawcalls import DIALECTS, WORDS, Call

from gateway import House
from upstream import EVENTS, KINDS, LAST_CHUNK, Signal, chunk, head, hold, send

GRACE_S = 1.5
STREAMS = 500
STREAM_HEAD = head(200, {**EVENTS, "transfer-encoding": "chunked"})
PAIRS = [(caller, kind) for caller in DIALECTS.values() for kind in KINDS]


@pytest.fixture
def many_files():
    """Each stream is four sockets here; the gateway inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def house(upstream, tmp_path, many_files):
    """Each test ends its own gateway."""
    running = House(upstream, tmp_path, slots=2, server={"grace_s": GRACE_S})
    yield running
    running.stop()


def script(lane, go_on, words=WORDS):
    """Half an answer, and the rest when the test says so."""
    speaker = lane.speaker
    first = [*speaker.opening(), *map(speaker.text, words[:3])]
    rest = [*map(speaker.text, words[3:]), *speaker.closing()]
    return [send(STREAM_HEAD, *map(chunk, first)), hold(go_on), send(*map(chunk, rest), LAST_CHUNK)]


async def ended(gateway):
    """Wait for the end of the process; returns its exit code."""
    return await asyncio.to_thread(gateway.process.wait, GRACE_S + 6)


async def refuses_connections(gateway):
    """Poll until the port is closed; connections already in its queue may still be taken."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            call = await Call.open(gateway.port)
        except (ConnectionRefusedError, ConnectionResetError):
            return True
        call.reset()
        await asyncio.sleep(0.01)
    return False


async def test_e3_sigterm_with_500_streams_finishes_what_can_and_breaks_the_rest(house):
    finishing, never = Signal(), Signal()
    per_pair = STREAMS // len(PAIRS)
    lanes = {kind: (house.lane(kind), house.lane(kind)) for kind in KINDS}
    for good, bad in lanes.values():
        good.always(script(good, finishing))
        bad.always(script(bad, never))
    calls = []
    for caller, kind in PAIRS:
        for number in range(per_pair):
            lane = lanes[kind][number % 2]
            calls.append((caller, number % 2 == 0, await caller.begin(house, lane.model)))
    try:
        for _, _, call in calls:
            await call.until(WORDS[2])
        asked_at = time.monotonic()
        house.gateway.terminate()
        assert await refuses_connections(house.gateway)
        finishing.fire()
        for caller, finishes, call in calls:
            answer = await call.rest()
            if finishes:
                caller.check_whole(answer)
            else:
                caller.check_broken(answer, "".join(WORDS[:3]))
        await ended(house.gateway)
        assert GRACE_S * 0.8 < time.monotonic() - asked_at < GRACE_S + 4
    finally:
        never.fire()
        for _, _, call in calls:
            call.reset()
    await asyncio.to_thread(house.gateway.stop)
    for good, bad in lanes.values():
        outcomes = [[record["outcome"] for record in house.gateway.calls(lane.name)] for lane in (good, bad)]
        assert outcomes[0] == ["completed"] * len(good.requests), "a record of a finished call was lost"
        assert outcomes[1] == ["truncated"] * len(bad.requests), "a record of a broken call was lost"
    assert "Traceback" not in house.gateway.output()


async def test_e3_sigterm_with_nothing_under_way_ends_at_once(house):
    async with await Call.open(house.gateway.port) as idle:
        idle.send(b"GET /health/live HTTP/1.1\r\nhost: gateway\r\n\r\n")
        assert (await idle.rest()).status == 200
        started = time.monotonic()
        house.gateway.terminate()
        code = await ended(house.gateway)
        assert time.monotonic() - started < 1
        await idle.gone()
    assert code == 0, "a wanted end is not a failure"


async def test_e3_a_stream_that_ends_within_the_grace_ends_the_process(house, caller, lane):
    """The grace is a limit, not a wait."""
    go_on = Signal()
    lane.always(script(lane, go_on))
    async with await caller.begin(house, lane.model) as call:
        await call.until(WORDS[2])
        house.gateway.terminate()
        assert await refuses_connections(house.gateway)
        started = time.monotonic()
        go_on.fire()
        caller.check_whole(await call.rest())
        await ended(house.gateway)
        assert time.monotonic() - started < GRACE_S
    assert [record["outcome"] for record in house.gateway.calls(lane.name)] == ["completed"]


async def test_e3_a_kept_connection_gets_no_new_answer_while_draining(house, caller, lane):
    """It is refused in the caller's shape, or closed: never half served."""
    lane.always(script(lane, Signal()))
    async with (
        await Call.open(house.gateway.port) as kept,
        await caller.begin(house, lane.model) as streaming,
    ):
        kept.send(caller.request(b"{}"))
        assert (await kept.rest()).status == 400
        await streaming.until(WORDS[2])
        house.gateway.terminate()
        assert await refuses_connections(house.gateway)
        kept.next()
        kept.send(caller.request(caller.body(lane.model)))
        answer = await kept.head()
        if answer.status:
            caller.check_refused(await kept.rest(), 503)
        assert len(lane.requests) == 1
        caller.check_broken(await streaming.rest(), "".join(WORDS[:3]))


async def test_e3_a_call_still_waiting_for_its_first_byte_is_told(house, caller, lane):
    lane.always([hold()])
    async with await caller.begin(house, lane.model) as call:
        await lane.request()
        house.gateway.terminate()
        caller.check_refused(await call.rest(), 503)
        await ended(house.gateway)
    await (await lane.request()).left.wait()
    assert [record["outcome"] for record in house.gateway.calls(lane.name)] == ["failed"]
