"""What operators see of the pool, and credentials that are tried on providers of many moods."""

import asyncio
import contextlib
import json
import time

import pytest

from dragoman.chat import Usage
from dragoman.faults import NotFound, TooMany
from dragoman.legs import Patience
from dragoman.net.deadlines import Wheel
from dragoman.net.upstream import Bounds, Upstreams
from dragoman.people import Secret
from dragoman.providers import anthropic, echo, local, openai
from dragoman.records import Attempt, Caller, Record
from dragoman.relay.lanes import Lane, Prober
from dragoman.relay.plan import Atlas
from dragoman.relay.pool import Pool
from dragoman.routes import Credential
from dragoman.showing import MOST_CHECKS, Checker, pool
from dragoman.watch.metrics import Metrics
from gateway import free_port

SHOWN = "sk-shown-by-the-operator-9Q"
CONFIGURED = "sk-of-the-configuration-1A"
LISTED = json.dumps({"object": "list", "data": [{"id": "gpt-4o"}, {"id": "o3"}]}).encode()


class Server:
    """A provider's server: it keeps the heads that come, and answers each with `reply`, or not at all."""

    def __init__(self):
        self.heads = []
        self.came = asyncio.Event()
        self.gone = asyncio.Event()
        self.reply = b""

    async def serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
                self.came.set()
                writer.write(self.reply)
        self.gone.set()
        writer.close()

    def say(self, status, body, *headers):
        lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(body)}", *headers, "", ""]
        self.reply = "\r\n".join(lines).encode() + body


class House:
    def __init__(self, upstreams, port, within_s):
        unreachable = f"http://127.0.0.1:{free_port()}/v1"
        providers = {
            "openai": openai.build(openai.Options(base_url=f"http://127.0.0.1:{port}/v1")),
            "anthropic": anthropic.build(anthropic.Options(base_url=f"http://127.0.0.1:{port}")),
            "away": openai.build(openai.Options(base_url=unreachable)),
            "echo": echo.build(echo.Options()),
        }
        self.lanes = {name: lane(name, provider) for name, provider in providers.items()}
        self.atlas = Atlas((), {}, 0)
        self.checker = Checker(self.lanes, Prober(self.lanes, self.atlas, upstreams), within_s)

    async def check(self, provider="openai", credential=SHOWN):
        return await self.checker.check(provider, Secret(credential))


def lane(name, provider):
    return Lane(name, provider, Pool([Credential(Secret(CONFIGURED))], 60.0), Patience())


@pytest.fixture
async def server():
    made = Server()
    made.listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    yield made
    made.listener.close()


@pytest.fixture
async def open_house(server):
    loop = asyncio.get_running_loop()
    upstreams = Upstreams(loop, Wheel(loop), Bounds(), b"test")
    port = server.listener.sockets[0].getsockname()[1]
    yield lambda within_s=8.0: House(upstreams, port, within_s)
    upstreams.close()


@pytest.fixture
def house(open_house):
    return open_house()


# --- credentials ----------------------------------------------------------------------------------------------


async def test_a_good_credential_lists_models(house, server):
    server.say(200, LISTED)
    found = await house.check()
    assert (found.is_good, found.models, found.code, found.message) == (True, ("gpt-4o", "o3"), "", "")
    [head] = server.heads
    assert head.startswith("GET /v1/models HTTP/1.1\r\n")
    assert f"authorization: Bearer {SHOWN}" in head
    assert CONFIGURED not in head


async def test_each_kind_shows_it_in_its_own_header(house, server):
    server.say(200, json.dumps({"data": [{"id": "claude"}]}).encode())
    assert (await house.check("anthropic")).models == ("claude",)
    assert f"x-api-key: {SHOWN}" in server.heads[0]


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, b'{"error": {"message": "Incorrect API key provided"}}', "upstream_credential"),
        (403, b"", "upstream_credential"),
        (402, b"{}", "upstream_credential"),
        (429, b'{"error": {"code": "insufficient_quota"}}', "upstream_credential"),
        (429, b"{}", "upstream_busy"),
        (400, b'{"error": {"message": "no"}}', "refused"),
        (404, b"{}", "unsupported"),
        (405, b"", "unsupported"),
        (302, b"", "upstream_error"),
        (500, b"oops", "upstream_error"),
        (204, b"", "upstream_error"),
        (200, b"<html>Log in</html>", "upstream_error"),
        (200, b"", "upstream_error"),
        (200, b"[" * 100_000, "upstream_error"),
        (200, b'{"error": {"message": "Invalid key"}}', "upstream_error"),
    ],
)
async def test_what_proves_nothing_is_not_good(house, server, status, body, code):
    server.say(status, body)
    found = await house.check()
    assert (found.is_good, found.models, found.code) == (False, (), code)
    assert found.message


async def test_a_list_without_models_is_a_list(house, server):
    server.say(200, b'{"object": "list", "data": []}')
    found = await house.check()
    assert (found.is_good, found.models) == (True, ())


async def test_the_credential_is_not_repeated(house, server):
    server.say(400, json.dumps({"error": {"message": f"bad key {SHOWN}"}}).encode())
    assert SHOWN not in repr(await house.check())
    server.say(400, json.dumps({"error": {"message": "bad key plain words"}}).encode())
    assert "plain words" not in (await house.check(credential="plain words")).message


async def test_a_server_that_is_not_there(house):
    found = await house.check("away")
    assert (found.is_good, found.code) == (False, "upstream_unreachable")


async def test_silence_ends_at_the_deadline_and_the_connection_with_it(open_house, server):
    began = time.monotonic()
    found = await open_house(0.2).check()
    assert (found.is_good, found.code) == (False, "upstream_timeout")
    assert found.ms >= 150
    assert time.monotonic() - began < 5
    await asyncio.wait_for(server.gone.wait(), 5)


async def test_an_answer_that_never_ends_is_silence_too(open_house, server):
    server.reply = b"HTTP/1.1 200 Said\r\ncontent-length: 1000000\r\n\r\n{"
    assert (await open_house(0.2).check()).code == "upstream_timeout"


async def test_who_needs_no_credential_proves_nothing(house):
    house.lanes["gpu"] = lane("gpu", local.build(local.Options(model_path="model.gguf")))
    for name in ("echo", "gpu"):
        found = await house.check(name)
        assert (found.is_good, found.code) == (False, "unsupported")


async def test_an_unknown_provider_is_named(house):
    with pytest.raises(NotFound) as caught:
        await house.check("nobody")
    assert caught.value.field == "provider"


async def test_neither_pool_nor_state_know_of_it(house, server, caplog):
    server.say(401, b"{}")
    seen = house.lanes["openai"]
    seen.state = "as it was"
    metrics = Metrics()
    before = metrics.write(), pool(house.lanes, {}, metrics, 0.0)
    await house.check()
    server.say(200, LISTED)
    await house.check()
    assert (metrics.write(), pool(house.lanes, {}, metrics, 0.0)) == before
    assert (seen.state, dict(seen.breakers()), house.atlas.found) == ("as it was", {}, {})
    assert SHOWN not in caplog.text


async def test_so_many_are_tried_at_once_and_no_more(house, server):
    tasks = [asyncio.create_task(house.check()) for _ in range(MOST_CHECKS)]
    await server.came.wait()
    with pytest.raises(TooMany) as caught:
        await house.check()
    assert caught.value.retry_after_s == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    server.say(200, LISTED)
    assert (await house.check()).is_good, "who left has made room"


# --- the pool -------------------------------------------------------------------------------------------------


def settled(**fields):
    return Record(
        id="r1",
        at=1.0,
        caller=Caller("ann"),
        dialect="openai",
        wire="openai-chat",
        model="m",
        outcome="completed",
        status=200,
        usage=Usage(),
        attempts=[Attempt("openai", "m", "", "ok")],
        provider="openai",
        **fields,
    )


def test_the_time_between_chunks_is_shown_once_there_were_any():
    lanes = {"openai": lane("openai", echo.build(echo.Options()))}
    metrics = Metrics()
    metrics.settled(settled(total_ms=50))
    [state] = pool(lanes, {"openai": "openai"}, metrics, 0.0)
    assert (state.between_chunks_ms, state.total_ms is None) == (None, False)
    metrics.settled(settled(total_ms=90, gaps=8, gaps_ms=80))
    [state] = pool(lanes, {"openai": "openai"}, metrics, 0.0)
    median, slowest = state.between_chunks_ms
    assert 5 <= median <= slowest <= 25
