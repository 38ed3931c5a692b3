"""Callers who leave: what becomes of the answer, and what they pay for it."""

import json
import time

import pytest
from paying import begin, chat, joined, new_key, post, rows

from upstream import EVENTS, Signal, chunk, head, hold, send, stream

PROMPT, OUTPUT = 25, 7
"""What the scripted upstream reports."""
SOON_S = 0.1


ROUTES = [
    {"name": on_abort, "targets": [{"provider": "paid", "model": "m"}], "on_abort": on_abort}
    for on_abort in ("cancel", "drain")
]
"""Public models, named for what becomes of their answers."""


def slow(speaker, texts, go_on):
    """An answer that stops after some texts until the test lets it go on."""
    start = [*speaker.opening(), *map(speaker.text, texts)]
    rest = [speaker.text(" and the rest"), *speaker.closing(OUTPUT)]
    opening = send(head(200, {**EVENTS, "transfer-encoding": "chunked"}), *map(chunk, start))
    return [opening, hold(go_on), send(*map(chunk, rest), b"0\r\n\r\n")]


async def left_after(gateway, text, model, key="test-key"):
    """Ask for a stream, and leave as soon as a text came. Returns the request that the provider got, once the gateway
    knows that its caller is gone: it hears of it before it answers what came later.
    """
    number = len(gateway.lane.requests)
    reader, writer = await begin(gateway, key, tree=chat(model, stream=True))
    request = await gateway.lane.request(number)
    if text:
        await reader.readuntil(text)
    writer.close()
    assert (await post(gateway, "/health/live", None, "", "GET")).status == 200
    return request


@pytest.fixture(params=["openai", "anthropic"])
def kind(request):
    return request.param


async def test_cancelled_at_once_and_charged_what_was_delivered(opened_for_all, kind):
    gateway = opened_for_all(kind, models=ROUTES)
    id_, key = await new_key(gateway, name="app")
    number = len(gateway.lane.requests)
    gateway.lane.play(slow(gateway.lane.speaker, ["x" * 40, "y" * 40], Signal()))
    reader, writer = await begin(gateway, key, tree=chat("cancel", stream=True))
    request = await gateway.lane.request(number)
    await reader.readuntil(b"y" * 40)
    left_at = time.monotonic()
    writer.close()
    assert await request.left.wait() - left_at < SOON_S
    (row,) = await rows(gateway, key=id_)
    assert row["outcome"] == "abandoned"
    assert row["estimated"] is True
    assert row["tokens"]["output"] == 80 // 4
    assert row["cost_micro"] == row["tokens"]["input"] + 80 // 4


async def test_drained_and_charged_what_the_provider_reports_in_the_end(opened_for_all, kind):
    gateway = opened_for_all(kind, models=ROUTES)
    id_, key = await new_key(gateway, name="app")
    go_on = Signal()
    gateway.lane.play(slow(gateway.lane.speaker, ["some"], go_on))
    request = await left_after(gateway, b"some", "drain", key)
    go_on.fire()
    await request.played.wait()
    (row,) = await rows(gateway, key=id_)
    assert row["outcome"] == "abandoned"
    assert row["estimated"] is False
    assert (row["tokens"]["input"], row["tokens"]["output"]) == (PROMPT, OUTPUT)
    assert row["cost_micro"] == PROMPT + OUTPUT


async def test_only_so_many_are_read_on_at_the_same_time(opened):
    gateway = opened(models=ROUTES, usage={"drains": 1})
    signals = [Signal() for _ in range(3)]
    gateway.lane.play(*(slow(gateway.lane.speaker, ["some"], signal) for signal in signals))
    first = await left_after(gateway, b"some", "drain")
    second = await left_after(gateway, b"some", "drain")
    await second.left.wait()
    assert not first.left
    signals[0].fire()
    await first.played.wait()
    assert sorted(row["estimated"] for row in await rows(gateway, least=2)) == [False, True]
    third = await left_after(gateway, b"some", "drain")
    signals[2].fire()
    await third.played.wait()
    assert sorted(row["estimated"] for row in await rows(gateway, least=3)) == [False, False, True]


async def test_only_so_long_is_it_read_on(opened):
    gateway = opened(models=ROUTES, usage={"drain_s": 0.3})
    gateway.lane.play(slow(gateway.lane.speaker, ["x" * 40], None))
    began = time.monotonic()
    request = await left_after(gateway, b"x" * 40, "drain")
    assert not request.left
    assert await request.left.wait() - began >= 0.3
    (row,) = await rows(gateway)
    assert (row["outcome"], row["estimated"], row["tokens"]["output"]) == ("abandoned", True, 10)


@pytest.mark.parametrize("on_abort", ["cancel", "drain"])
async def test_who_leaves_before_the_first_byte_pays_the_prompt_and_no_output(opened_for_all, on_abort):
    gateway = opened_for_all(models=ROUTES)
    id_, key = await new_key(gateway, name="app", budget={"micro": 10**6})
    gateway.lane.play([hold()])
    request = await left_after(gateway, b"", on_abort, key)
    await request.left.wait()
    (row,) = await rows(gateway, key=id_)
    assert row["outcome"] == "abandoned"
    assert row["tokens"]["output"] == 0
    assert row["cost_micro"] == row["tokens"]["input"] > 0
    assert row["estimated"] is True


async def test_what_a_drained_call_had_reserved_is_free_again(opened_for_all):
    gateway = opened_for_all(models=ROUTES)
    id_, key = await new_key(gateway, name="app", limits={"parallel": 1})
    go_on = Signal()
    gateway.lane.play(slow(gateway.lane.speaker, ["some"], go_on), stream(gateway.lane.speaker.events(["more"])))
    request = await left_after(gateway, b"some", "drain", key)
    reader, writer = await begin(gateway, key, tree=chat("drain", stream=True))
    assert b" 429 " in await reader.readline()
    writer.close()
    go_on.fire()
    await request.played.wait()
    await rows(gateway, key=id_, outcome="abandoned")
    reader, writer = await begin(gateway, key, tree=chat("drain", stream=True))
    assert b" 200 " in await reader.readline()
    writer.close()


# --- usage that the caller did not ask for ----------------------------------------------------


async def streamed(gateway, key, **more):
    """Return the events of a whole streamed answer."""
    reader, writer = await begin(gateway, key, tree=chat("cancel", stream=True, **more))
    await reader.readuntil(b"\r\n\r\n")
    raw = await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    events = joined(raw).split(b"\n\n")
    return [json.loads(event[6:]) for event in events if event.startswith(b"data: {")]


@pytest.mark.parametrize("is_wanted", [False, True])
async def test_a_stream_has_its_usage_in_the_record_and_shows_it_to_who_asked(opened_for_all, is_wanted):
    gateway = opened_for_all(models=ROUTES)
    id_, key = await new_key(gateway, name="app")
    gateway.lane.play(stream(gateway.lane.speaker.events(["hello"])))
    more = {"stream_options": {"include_usage": True}} if is_wanted else {}
    events = await streamed(gateway, key, **more)
    assert gateway.lane.requests[-1].json["stream_options"]["include_usage"] is True
    assert any(event.get("usage") for event in events) is is_wanted
    assert any(event["choices"] == [] for event in events) is is_wanted
    (row,) = await rows(gateway, key=id_)
    assert (row["outcome"], row["estimated"]) == ("completed", False)
    assert (row["tokens"]["input"], row["tokens"]["output"]) == (PROMPT, OUTPUT)
    assert row["cost_micro"] == PROMPT + OUTPUT
