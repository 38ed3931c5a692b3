"""Catalogue D, where a call goes: providers that cannot be reached, are busy, refuse our key or are all down."""

import asyncio
import email.utils
import socket
import ssl
import time

import pytest
import trustme
from rawcalls import DIALECTS, SENTENCE, WORDS

from gateway import CREDENTIALS, House
from upstream import KINDS, Signal, close, head, hold, pause, stream, unary

CONNECT_S = 0.3
FIRST_BYTE_S = 1.5
BENCH_S = 1.0
CANARY = "canary-7c1f org-Zx81k2 account of Example Ltd"
UNREACHABLE = ["refused", "no_such_host", "untrusted", "not_tls", "black_hole"]


def good(lane):
    return stream(lane.speaker.events(WORDS))


def failing(lane, status=500, message="it fell over", **headers):
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return unary(lane.speaker.refusal(message), status, shown)


@pytest.fixture(scope="module")
def unreachable(upstream):
    """Base URLs that fail in every way a connection can."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    # A full queue of a listener that accepts nobody: further connection requests are dropped.
    hole = socket.socket()
    hole.bind(("127.0.0.1", 0))
    hole.listen(0)
    stuffing = [socket.socket() for _ in range(4)]
    for each in stuffing:
        each.setblocking(False)
        each.connect_ex(hole.getsockname())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost", "127.0.0.1").configure_cert(context)
    plain = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"

    async def serve():
        secured = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        talkative = await asyncio.start_server(lambda _, writer: writer.write(plain), "127.0.0.1", 0)
        return secured, talkative

    servers = asyncio.run_coroutine_threadsafe(serve(), upstream.loop).result()
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    yield {
        "refused": f"http://127.0.0.1:{bound.getsockname()[1]}",
        "no_such_host": "http://no-such-host.invalid",
        "untrusted": f"https://localhost:{ports[0]}",
        "not_tls": f"https://127.0.0.1:{ports[1]}",
        "black_hole": f"http://127.0.0.1:{hole.getsockname()[1]}",
    }
    for server in servers:
        upstream.tell(server.close)
    for each in (bound, hole, *stuffing):
        each.close()


@pytest.fixture(scope="module")
def stand_ins(upstream):
    return {kind: upstream.lane(f"stand-in-{kind}", kind) for kind in KINDS}


@pytest.fixture(scope="module")
def house(start_house, unreachable, stand_ins):
    providers, models = [House.provider(lane) for lane in stand_ins.values()], []
    for why, url in unreachable.items():
        for kind in KINDS:
            name = f"{why}-{kind}"
            base_url = url + ("/v1" if kind == "openai" else "")
            providers.append({"name": name, "kind": kind, "base_url": base_url, "credentials": CREDENTIALS})
            models += [House.route(f"{name}-for-{who}", name, stand_ins[kind].name) for who in DIALECTS]
    patience = {"connect_s": CONNECT_S, "first_byte_s": FIRST_BYTE_S, "bench_s": BENCH_S}
    return start_house(slots=130, spares=True, providers=providers, models=models, upstream=patience)


# --- D1, D2: nobody answers --------------------------------------------------------------------------


@pytest.mark.parametrize("why", UNREACHABLE)
async def test_d1_an_unreachable_provider_is_replaced_within_the_connect_budget(house, caller, kind, stand_ins, why):
    lane = stand_ins[kind].always(good(stand_ins[kind]))
    model = f"{why}-{kind}-for-{caller.name}"
    started = time.monotonic()
    answer = await caller.ask(house, model)
    took = time.monotonic() - started
    caller.check_whole(answer)
    assert took < CONNECT_S + 0.7, took
    record = await house.gateway.call(model)
    assert [attempt["provider"] for attempt in record["attempts"]] == [f"{why}-{kind}", lane.name], record


@pytest.mark.parametrize("why", UNREACHABLE)
async def test_d1_an_unreachable_provider_alone_is_one_clean_error(house, caller, kind, why):
    model = f"{why}-{kind}/{caller.name}"
    started = time.monotonic()
    answer = await caller.ask(house, model)
    caller.check_refused(answer, 502, 504)
    assert time.monotonic() - started < 4 * CONNECT_S + 2
    record = await house.gateway.call(model)
    assert record["outcome"] == "failed", record
    assert record["code"] == "upstream_unreachable", record


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
async def test_d2_a_provider_that_accepts_and_never_answers_is_replaced(house, caller, lane, streamed):
    lane.always([hold()])
    lane.spare.play(good(lane.spare) if streamed else unary(lane.speaker.whole(SENTENCE)))
    started = time.monotonic()
    answer = await caller.ask(house, lane.safe, stream=streamed)
    caller.check_whole(answer, stream=streamed)
    assert FIRST_BYTE_S * 0.5 < time.monotonic() - started < FIRST_BYTE_S + 1
    await (await lane.request()).left.wait()


async def test_d2_a_provider_that_never_answers_alone_is_a_504(house, caller, lane):
    lane.always([hold()])
    answer = await caller.ask(house, lane.model)
    caller.check_refused(answer, 504)
    record = await house.gateway.call(lane.name)
    assert (record["outcome"], record["code"]) == ("failed", "upstream_timeout"), record


# --- D12: busy ---------------------------------------------------------------------------------------


def refuse_the_first_credential(lane, refusal):
    """Whatever credential comes first is refused from then on; returns the list that will hold it."""
    refused = []

    def script(request):
        refused.append(request.credential) if not refused else None
        return refusal if request.credential == refused[0] else good(lane)

    lane.always(script)
    return refused


def in_a_minute():
    return email.utils.formatdate(time.time() + 60, usegmt=True)


RESTS = {
    "seconds": lambda: {"retry_after": "60"},
    "date": lambda: {"date": email.utils.formatdate(usegmt=True), "retry_after": in_a_minute()},
    "date_without_a_clock": lambda: {"retry_after": in_a_minute()},
    "absurd": lambda: {"retry_after": "999999999999"},
    "negative": lambda: {"retry_after": "-60"},
    "nonsense": lambda: {"retry_after": "soon"},
    "zero": lambda: {"retry_after": "0"},
}


# Without a time that makes sense a 503 is a plain failure.
BUSY = [(status, rest) for status in (429, 503) for rest in RESTS if (status, rest) != (503, "nonsense")]


@pytest.mark.parametrize(("status", "rest"), BUSY)
async def test_d12_a_busy_credential_rests_and_the_other_is_used(house, caller, lane, status, rest):
    busy = refuse_the_first_credential(lane, failing(lane, status, "slow down", **RESTS[rest]()))
    for _ in range(8):
        caller.check_whole(await caller.ask(house, lane.model))
    used = [request.credential for request in lane.requests]
    assert used.count(busy[0]) == 1, used
    record = await house.gateway.call(lane.name)
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["upstream_busy", "ok"], record


@pytest.mark.parametrize(("rest", "least", "most"), [("seconds", 50, 60), ("absurd", 290, 300), ("negative", 1, 1)])
async def test_d12_when_all_are_busy_the_caller_learns_how_long(house, caller, lane, rest, least, most):
    lane.always(failing(lane, 429, "slow down", **RESTS[rest]()))
    first = await caller.ask(house, lane.model)
    caller.check_refused(first, 429, 503)
    assert {request.credential for request in lane.requests} == set(CREDENTIALS)
    asked = len(lane.requests)
    again = await caller.ask(house, lane.model)
    caller.check_refused(again, 429, 503)
    assert len(lane.requests) == asked, "a resting credential was used"
    assert least <= int(again.headers["retry-after"]) <= most, again


async def test_d12_a_rest_ends(house, caller, lane):
    busy = refuse_the_first_credential(lane, failing(lane, 429, "slow down", retry_after="-60"))
    started = time.monotonic()
    while [request.credential for request in lane.requests].count(busy[0] if busy else "") < 2:
        caller.check_whole(await caller.ask(house, lane.model))
        assert time.monotonic() - started < 5, "a credential never came back"
        await asyncio.sleep(0.02)
    assert 0.8 < time.monotonic() - started


async def test_d12_other_targets_are_used_while_one_is_busy(house, caller, lane):
    lane.always(failing(lane, 429, "slow down", retry_after="60"))
    lane.spare.always(good(lane.spare))
    for _ in range(3):
        caller.check_whole(await caller.ask(house, lane.safe))
    assert len(lane.requests) == 2
    assert len(lane.spare.requests) == 3


# --- D13: our key refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_d13_a_rejected_credential_rests_and_the_other_is_used(house, caller, lane, status):
    bad = refuse_the_first_credential(lane, failing(lane, status, CANARY))
    for _ in range(6):
        caller.check_whole(await caller.ask(house, lane.model))
    assert [request.credential for request in lane.requests].count(bad[0]) == 1
    record = await house.gateway.call(lane.name)
    assert [attempt["outcome"] for attempt in record["attempts"]] == ["upstream_credential", "ok"], record
    assert record["attempts"][0]["credential"] == bad[0][-4:], record


async def test_d13_the_operator_is_told_of_a_rejected_credential(house, caller, lane):
    """Beside the calls' own records, which may be switched off."""
    bad = refuse_the_first_credential(lane, failing(lane, 401, CANARY))
    while not bad:
        caller.check_whole(await caller.ask(house, lane.model))

    def alerts():
        lines = [line for line in house.gateway.lines if '"call"' not in line]
        return [line for line in lines if lane.name in line and bad[0][-4:] in line]

    await asyncio.to_thread(house.gateway.wait_for, alerts, 1)


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_d13_the_providers_text_and_our_keys_are_never_relayed(house, caller, lane, status):

    def script(request):
        text = f"{CANARY}: the key {request.credential} is not known"
        return failing(lane, status, text, www_authenticate=f'Bearer error="{CANARY}"')

    lane.always(script)
    for _ in range(2):
        answer = await caller.ask(house, lane.model)
        caller.check_refused(answer, 502, 503)
        shown = repr(answer)
        assert not any(word in shown for word in (*CREDENTIALS, "canary", "Zx81k2", "Example")), answer
    assert len(lane.requests) == len(CREDENTIALS)
    assert not any(key in house.gateway.output() for key in CREDENTIALS)


# --- D17: pooled connections -----------------------------------------------------------------------------


@pytest.mark.parametrize("poison", ["answer", "garbage", "blank"])
async def test_d17_unsolicited_bytes_end_an_idle_connection(house, caller, lane, poison):
    body = lane.speaker.whole(SENTENCE)
    evil = lane.speaker.whole("evil")
    pushed = {
        "answer": head(200, {"content-type": "application/json", "content-length": len(evil)}) + evil,
        "garbage": b"\x00\xff\x00",
        "blank": b"\r\n",
    }[poison]
    lane.always(unary(body))
    caller.check_whole(await caller.ask(house, lane.model, stream=False), stream=False)
    connection = (await lane.request()).connection
    house.upstream.tell(connection.push, pushed)
    await connection.left.wait()
    caller.check_whole(await caller.ask(house, lane.model, stream=False), stream=False)
    assert (await lane.request(1)).connection is not connection
    assert len(lane.requests) == 2


async def test_d17_a_connection_that_ended_while_idle_is_not_used(house, caller, lane):
    lane.always(unary(lane.speaker.whole(SENTENCE)))
    caller.check_whole(await caller.ask(house, lane.model, stream=False), stream=False)
    connection = (await lane.request()).connection
    house.upstream.tell(connection.close)
    await connection.left.wait()
    caller.check_whole(await caller.ask(house, lane.model, stream=False), stream=False)
    assert len(lane.requests) == 2


async def test_d17_a_stale_connection_costs_nobody_an_answer(house, caller, lane):
    """The provider closes after each answer, unannounced: our next request races with its goodbye."""
    count = 40
    lane.always([*unary(lane.speaker.whole(SENTENCE)), close])
    for _ in range(count):
        caller.check_whole(await caller.ask(house, lane.model, stream=False), stream=False)
    assert len(lane.requests) == count, "a request that had been read was sent again"


async def test_d17_a_request_that_was_read_and_dropped_is_tried_once_more_at_most(house, caller, lane):
    lane.play(unary(lane.speaker.whole(SENTENCE)), [close]).always(unary(lane.speaker.whole(SENTENCE)))
    caller.check_whole(await caller.ask(house, lane.model, stream=False), stream=False)
    answer = await caller.ask(house, lane.model, stream=False)
    if answer.status == 200:
        caller.check_whole(answer, stream=False)
    else:
        caller.check_refused(answer, 502)
    assert len(lane.requests) <= 3


# --- D19, D20: everything is down ------------------------------------------------------------------------


@pytest.mark.parametrize("alone", [True, False], ids=["one_target", "with_fallback"])
async def test_d19_when_all_are_down_the_answer_is_a_fast_503_and_one_probe_at_a_time(house, caller, lane, alone):
    model, lanes = (lane.model, [lane]) if alone else (lane.safe, [lane, lane.spare])
    for each in lanes:
        each.always(failing(each))

    def asked():
        return sum(len(each.requests) for each in lanes)

    for _ in range(12):
        answer = await caller.ask(house, model)
        if answer.status == 503:
            break
        caller.check_refused(answer, 502)
    before, started = asked(), time.monotonic()
    # Few enough to be over before the first rest is, which lasts 0.8 s at least, on a busy machine too.
    for _ in range(6):
        answer = await caller.ask(house, model)
        reason = caller.check_refused(answer, 503)
        assert reason
        assert 1 <= int(answer.headers["retry-after"]) <= 300
    assert (time.monotonic() - started) / 6 < 0.05, "refusing took longer than it should"
    assert asked() == before, "a breaker that is open let a call through"

    # The rest ends: of many calls exactly one may look whether the provider is back.
    released = Signal()
    for each in lanes:
        each.always([hold(released), *good(each)])
    deadline = time.monotonic() + 8
    probes = []
    while asked() == before:
        assert time.monotonic() < deadline, "no probe was ever made"
        probes.append(asyncio.create_task(caller.ask(house, model)))
        await asyncio.wait(probes[-1:], timeout=0.05)
    others = await asyncio.gather(*[caller.ask(house, model) for _ in range(20)]) if alone else []
    for answer in others:
        caller.check_refused(answer, 503)
    assert not alone or asked() == before + 1, "more than one probe"
    # Who was slow to ask is refused before the probe succeeds.
    while len(waiting := [probe for probe in probes if not probe.done()]) > 1:
        done, _ = await asyncio.wait(waiting, timeout=8, return_when=asyncio.FIRST_COMPLETED)
        assert done, "more than one call is let through"
    released.fire()
    looked = [answer for answer in await asyncio.gather(*probes) if answer.status != 503]
    assert len(looked) == 1, looked
    caller.check_whole(looked[0])
    for _ in range(5):
        caller.check_whole(await caller.ask(house, model))


async def test_d20_retries_in_flight_stay_within_a_fifth_of_the_calls(house, caller, lane):
    """Each call has a target of its own, so that no breaker hides what the budget does."""
    calls, share = 100, 20
    ready, seen, in_flight, peaks, first_retry = Signal(), {}, set(), [], {}

    def script(request):
        model = request.json["model"]
        if model not in seen:
            seen[model] = True
            return [hold(ready), *failing(lane)]

        first_retry[model] = True

        async def enter(_):
            in_flight.add(model)
            peaks.append(len(in_flight))

        async def leave(_):
            in_flight.discard(model)

        return [enter, pause(0.15), leave, *failing(lane)]

    lane.always(script)
    tasks = [asyncio.create_task(caller.ask(house, f"{lane.name}/m{n}")) for n in range(calls)]
    await lane.request(calls - 1)
    ready.fire()
    for answer in await asyncio.gather(*tasks):
        caller.check_refused(answer, 502, 503)
    assert 3 <= max(peaks) <= share, max(peaks)
    assert len(lane.requests) <= calls + 3 * share
    # All failed at once, in the order of `seen`: retries that kept it would come in step.
    assert list(first_retry) != [model for model in seen if model in first_retry], "retries came in step"


@pytest.mark.parametrize("spread", [False, True], ids=["one_target", "many_targets"])
async def test_d20_a_storm_of_failures_is_not_multiplied(house, caller, lane, spread):
    """500 calls a second, all of which fail."""
    count = 250
    lane.always(failing(lane))
    tasks = []
    for number in range(count):
        model = f"{lane.name}/m{number}" if spread else lane.model
        tasks.append(asyncio.create_task(caller.ask(house, model, stream=False)))
        if number % 10 == 9:
            await asyncio.sleep(0.02)
    for answer in await asyncio.gather(*tasks):
        caller.check_refused(answer, 502, 503)
    attempts = len(lane.requests)
    assert attempts < (1.6 * count if spread else 0.2 * count), attempts
