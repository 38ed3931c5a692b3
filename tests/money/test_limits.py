"""Limits at a running gateway: honest refusals, headers in each dialect's own names, and waiting in line."""

import asyncio
import re
import time

import pytest
from paying import admin, chat, complete, new_key, post, rows

from upstream import Signal, hold, send, unary


async def test_the_call_over_the_limit_is_refused_with_an_honest_wait(opened):
    gateway = opened()
    _, key = await new_key(gateway, name="app", limits={"requests_per_minute": 2})
    first, second, third = [await complete(gateway, "m", key) for _ in range(3)]
    assert [first.status, second.status, third.status] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in (first, second, third)] == ["1", "0", "0"]
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert third.json["error"]["type"] == "rate_limit_error"
    assert 1 <= int(third.headers["retry-after"]) <= 30
    assert len(gateway.lane.requests) == 2


async def test_who_waits_as_long_as_it_is_told_is_served(opened):
    gateway = opened()
    _, key = await new_key(gateway, name="app", limits={"requests_per_minute": 60})
    burst = await asyncio.gather(*(complete(gateway, "m", key) for _ in range(61)))
    refused = [answer for answer in burst if answer.status == 429]
    assert refused
    began = time.monotonic()
    await asyncio.sleep(int(refused[0].headers["retry-after"]))
    assert (await complete(gateway, "m", key)).status == 200, time.monotonic() - began


async def test_refused_calls_eat_nothing_of_any_limit(opened):
    gateway = opened()
    assert (await admin(gateway, "PUT", "teams/t", {"limits": {"requests_per_minute": 4}})).status == 200
    _, small = await new_key(gateway, name="small", team="t", limits={"requests_per_minute": 1})
    _, large = await new_key(gateway, name="large", team="t")
    assert [(await complete(gateway, "m", small)).status for _ in range(8)] == [200] + [429] * 7
    assert [(await complete(gateway, "m", large)).status for _ in range(4)] == [200, 200, 200, 429]


async def test_headers_have_each_dialects_own_names(opened):
    gateway = opened(kind="anthropic", limits={"requests_per_minute": 100, "tokens_per_minute": 1000})
    said = (await post(gateway, "/v1/messages", chat("m"), "test-key")).headers
    assert said["anthropic-ratelimit-requests-limit"] == "100"
    assert said["anthropic-ratelimit-requests-remaining"] == "99"
    assert said["anthropic-ratelimit-tokens-limit"] == "1000"
    assert said["anthropic-ratelimit-requests-reset"].endswith("z")
    openai = (await complete(gateway, "m", "test-key")).headers
    assert openai["x-ratelimit-limit-tokens"] == "1000"
    ask = (await post(gateway, "/ask/new", {"prompt": "hello"}, "test-key")).headers
    assert re.match(r'"requests";r=9[7-9];t=', ask["ratelimit"])
    assert not any(name.startswith(("x-ratelimit", "anthropic-ratelimit")) for name in ask)


async def test_tokens_are_corrected_by_what_the_provider_reported(opened):
    """A request of some 25 estimated tokens and an answer of 10 at most: 7 of them and 25 were used."""
    gateway = opened()
    _, key = await new_key(gateway, name="app", limits={"tokens_per_minute": 10_000})
    left = []
    for _ in range(3):
        left.append(int((await complete(gateway, "m", key)).headers["x-ratelimit-remaining-tokens"]))
    # Each header was written before its own call was corrected, and refills a little meanwhile.
    assert 25 <= left[0] - left[1] <= 33
    assert 25 <= left[1] - left[2] <= 33


async def test_a_request_that_can_never_fit_is_told_so(opened):
    gateway = opened()
    _, key = await new_key(gateway, name="app", limits={"tokens_per_minute": 5})
    answer = await complete(gateway, "m", key)
    assert answer.status == 429
    assert "5" in answer.json["error"]["message"]


async def test_parallel_requests(opened):
    gateway = opened()
    _, key = await new_key(gateway, name="app", limits={"parallel": 2})
    release = Signal()
    script = [hold(release), *unary(gateway.lane.speaker.whole("late"))]
    gateway.lane.play(script, script)
    under_way = [asyncio.ensure_future(complete(gateway, "m", key)) for _ in range(2)]
    await gateway.lane.request(1)
    assert (await complete(gateway, "m", key)).status == 429
    release.fire()
    assert [answer.status for answer in await asyncio.gather(*under_way)] == [200, 200]
    assert (await complete(gateway, "m", key)).status == 200


async def test_requests_a_day_outlive_a_restart(opened, tmp_path):
    gateway = opened()
    _, key = await new_key(gateway, name="app", limits={"requests_per_day": 2})
    assert (await complete(gateway, "m", key)).status == 200
    gateway.stop()
    again = opened(folder=tmp_path)
    statuses = [(await complete(again, "m", key)).status for _ in range(3)]
    assert statuses == [200, 429, 429]


async def test_a_models_limit_holds_for_all_callers_together(opened):
    route = {"name": "shared", "targets": [{"provider": "paid", "model": "m"}], "limits": {"requests_per_minute": 2}}
    gateway = opened(models=[route])
    keys = [(await new_key(gateway, name=name))[1] for name in ("a", "b", "c")]
    assert [(await complete(gateway, "shared", key)).status for key in keys] == [200, 200, 429]
    assert (await complete(gateway, "paid/m", keys[2])).status == 200


def limited(gateway_lane, **limits):
    credential = {"value": "upstream-key", "limits": limits}
    return [
        {
            "name": "paid",
            "kind": "openai",
            "base_url": gateway_lane.base_url,
            "credentials": [credential],
            "models": ["m"],
        }
    ]


async def test_a_credential_at_its_limit_is_a_429_without_a_queue(opened, upstream):
    lane = upstream.lane("limited-one", "openai")
    lane.always(unary(lane.speaker.whole("hello")))
    gateway = opened(providers=limited(lane, requests_per_minute=1))
    statuses = [(await complete(gateway, "m", "test-key")) for _ in range(2)]
    assert [answer.status for answer in statuses] == [200, 429]
    assert int(statuses[1].headers["retry-after"]) >= 30


async def test_with_a_queue_a_request_waits_for_a_place_and_then_is_served(opened, upstream):
    lane = upstream.lane("limited-two", "openai")
    release = Signal()
    lane.play([hold(release), *unary(lane.speaker.whole("first"))]).always(unary(lane.speaker.whole("hello")))
    gateway = opened(providers=limited(lane, parallel=1), queue={"length": 10, "wait_s": 10})
    first = asyncio.ensure_future(complete(gateway, "m", "test-key"))
    await lane.request(0)
    others = [asyncio.ensure_future(complete(gateway, "m", "test-key")) for _ in range(3)]
    depth = 0
    while depth < 3:
        text = (
            await post(gateway, "/metrics", None, (gateway.folder / "data/master.key").read_text().strip(), "GET")
        ).body
        depth = sum(
            float(line.split()[-1]) for line in text.decode().splitlines() if line.startswith("dragoman_queue_depth")
        )
    assert len(lane.requests) == 1
    release.fire()
    assert [answer.status for answer in await asyncio.gather(first, *others)] == [200] * 4
    assert max(row["queued_ms"] for row in await rows(gateway, least=4)) > 0


async def test_a_streaming_caller_is_told_its_place(opened, upstream):
    lane = upstream.lane("limited-three", "openai")
    release = Signal()
    lane.play([hold(release), *unary(lane.speaker.whole("first"))]).always(unary(lane.speaker.whole("hello")))
    gateway = opened(
        providers=limited(lane, parallel=1),
        queue={"length": 10, "wait_s": 10},
        upstream={"quiet_s": 0.1, "attempts": 1},
    )
    first = asyncio.ensure_future(complete(gateway, "m", "test-key"))
    await lane.request(0)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer test-key\r\n"
    writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    said = await asyncio.wait_for(reader.readuntil(b", place 1\n"), 5)
    assert b"200" in said.split(b"\r\n")[0]
    assert b": waiting, place 1" in said
    writer.close()
    release.fire()
    assert (await first).status == 200


async def test_a_full_queue_refuses_and_a_deadline_ends_the_wait(opened, upstream):
    lane = upstream.lane("limited-four", "openai")
    lane.always([send(b""), hold()])
    gateway = opened(providers=limited(lane, parallel=1), queue={"length": 1, "wait_s": 0.5})
    first = asyncio.ensure_future(complete(gateway, "m", "test-key"))
    await lane.request(0)
    answers = await asyncio.gather(*(complete(gateway, "m", "test-key") for _ in range(2)))
    assert {answer.status for answer in answers} <= {429, 503}
    assert all("retry-after" in answer.headers for answer in answers)
    first.cancel()


@pytest.mark.parametrize(
    "limits", [{"requests_per_minute": 0}, {"parallel": -1}, {"parallel": 1.5}, {"rpm": 3}, {"parallel": 2**60}]
)
async def test_limits_that_are_none_are_refused_by_name(opened_once, limits):
    answer = await admin(opened_once, "POST", "keys", {"name": "x", "limits": limits})
    assert answer.status == 400
    assert "limits" in str(answer.json["error"]["param"])
