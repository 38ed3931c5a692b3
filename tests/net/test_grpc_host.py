"""gRPC over real sockets, with a grpc.aio client that sends and receives bytes."""

import asyncio
import contextlib
import gc
import logging
import socket

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from dragoman.faults import Misconfigured
from dragoman.legs import Reply
from dragoman.net.deadlines import Wheel
from dragoman.net.grpc_host import ROOM_BYTES, Address, GrpcHost
from dragoman.net.listen import Row
from dragoman.net.messages import WAITING, Numbers

ANY = 10_000_000
MEGABYTE = 1 << 20
EOF = grpc.aio.EOF
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module", autouse=True)
def only_what_is_new():
    """Garbage is looked for after each test: among what this module makes, not in the heap of all before it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_went_wrong(caplog):
    """No callback and no task may fail unseen."""
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


# --- entries that play a dialect


async def deltas(leg):
    """Answer with the words of the message, each a message."""
    words = (await leg.body(ANY)).split()
    await leg.open(200, [], None)
    await leg.write(words[:1])
    for word in words[1:-1]:
        assert leg.push([b"", word])
    await leg.finish(words[1:][-1:])


async def tell(leg):
    data = await leg.body(ANY)
    head = leg.head
    said = [head.method, head.path, head.query.decode(), (head.get(b"authorization") or b"").decode()]
    await leg.open(0, [], None)
    await leg.finish([" ".join(said).encode(), head.get(b":channel") or b"none", head.id.encode(), data])


class Held:
    """Begins an answer, and ends it when it is told to or the caller leaves."""

    def __init__(self):
        self.begun = asyncio.Queue()
        self.ended = asyncio.Queue()
        self.go_on = asyncio.Semaphore(0)
        self.calls = 0

    async def __call__(self, leg):
        data = await leg.body(ANY)
        task = asyncio.current_task()
        leg.on_gone(lambda: (task.cancel(), self.count()))
        await leg.open(200, [], None)
        await leg.write([b"begun " + data])
        self.begun.put_nowait(leg)
        try:
            await self.go_on.acquire()
            await leg.finish([b"ended " + data])
        except asyncio.CancelledError:
            if not leg.gone:
                await leg.finish([b"stopped " + data])
        self.ended.put_nowait(leg)

    def count(self):
        self.calls += 1


class Flood:
    """Writes as long as the caller lives, and counts."""

    def __init__(self, piece=b"x" * 1000):
        self.piece = piece
        self.written = 0
        self.full = asyncio.Event()
        self.ended = asyncio.Queue()

    async def __call__(self, leg):
        gone = asyncio.Event()
        leg.on_gone(gone.set)
        await leg.open(200, [], None)
        while not gone.is_set():
            if not leg.push([self.piece]):
                self.full.set()
                await leg.write([b""])
            self.written += 1
        self.ended.put_nowait(leg)


# --- a host, and callers


class House:
    """A host on a port of its own; it serves one entry on every method but those of `none.None`."""

    def __init__(self, entry, *, max_bytes=MEGABYTE, write_s=10.0, port=0, cert="", key="", **row):
        row = Row("GRPC", "*", None, entry, **row)
        self.begun = asyncio.Event()

        def find(head):
            if not head.path.startswith("/chat.Chat/"):
                raise LookupError(head.path)
            self.begun.set()
            return row

        address = Address("127.0.0.1", port, ("chat.Chat",), cert, key)
        wheel = Wheel(asyncio.get_running_loop())
        self.host = GrpcHost(find, address, max_bytes, Numbers(), wheel=wheel, write_s=write_s)
        self.grace_s = 0
        self.channels = []

    async def __aenter__(self):
        await self.host.start()
        return self

    async def __aexit__(self, *_):
        for channel in self.channels:
            await channel.close()
        await self.host.stop(0)

    def channel(self, credentials=None, **options):
        place = f"127.0.0.1:{self.host.port}"
        options = [(f"grpc.{name}", value) for name, value in options.items()]
        if credentials:
            channel = grpc.aio.secure_channel(place, credentials, options)
        else:
            channel = grpc.aio.insecure_channel(place, options)
        self.channels.append(channel)
        return channel

    def ask(self, message=b"hi", method="/chat.Chat/Ask", **given):
        """Call as a stub for one request and a stream of answers does."""
        return self.channel().unary_stream(method)(message, **given)

    def converse(self, method="/chat.Chat/Converse", **given):
        return self.channel().stream_stream(method)(**given)


async def refused(call):
    """Read to the end; return what came before, the status, its words and the metadata at the end."""
    seen = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for message in call:
            seen.append(message)
    error = caught.value
    return seen, error.code(), error.details(), dict(error.trailing_metadata())


async def ended(call):
    """Read to the end by `read`, which cannot be mixed with iteration; return the status and its words."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await call.read() is not EOF:
            pass
    return await call.code(), await call.details()


@pytest.fixture
def logged(caplog):
    """What grpcio has to say: nothing, in a test where all is as it should be."""
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith(("grpc", "asyncio"))]


# --- messages in and out


async def test_one_question_and_a_stream_of_deltas(logged):
    async with House(deltas) as house:
        call = house.ask(b"one two three four")
        assert [message async for message in call] == [b"one", b"two", b"three", b"four"]
        assert await call.code() is grpc.StatusCode.OK
        assert dict(await call.trailing_metadata())["x-request-id"]
    assert logged() == []


async def test_a_stub_for_one_answer_is_served_too():
    async with House(deltas) as house:
        assert await house.channel().unary_unary("/chat.Chat/Ask")(b"one") == b"one"


async def test_a_head_has_method_metadata_channel_and_an_id_of_its_own():
    async with House(tell, channel=True) as house:
        call = house.converse(metadata=(("authorization", "Bearer a"), ("x-bin", b"\xff")))
        await call.write(b"1")
        first = [await call.read() for _ in range(4)]
        assert first[0] == b"GRPC /chat.Chat/Converse  Bearer a"
        assert first[1].startswith(b"ipv4:127.0.0.1:")
        assert first[3] == b"1"
        await call.write(b"2")
        second = [await call.read() for _ in range(4)]
        assert second[1] == first[1] != b"none"
        assert second[2] != first[2]


async def test_a_conversation_of_several_messages_ends_when_the_caller_has_said_all():
    async with House(deltas) as house:
        call = house.converse()
        for word in (b"a", b"b", b"c"):
            await call.write(word)
            assert await call.read() == word
        await call.done_writing()
        assert await call.read() is EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_what_was_asked_before_the_half_close_is_answered_after_it_and_in_order():
    async with House(deltas) as house:
        call = house.converse()
        for number in range(WAITING * 2):
            await call.write(b"%d" % number)
        await call.done_writing()
        assert [message async for message in call] == [b"%d" % number for number in range(WAITING * 2)]


async def test_several_are_answered_at_once_where_the_path_says_so():
    entry = Held()
    async with House(entry, parallel=2) as house:
        call = house.converse()
        for word in (b"one", b"two", b"three"):
            await call.write(word)
        assert [await call.read(), await call.read()] == [b"begun one", b"begun two"]
        entry.go_on.release()
        assert [await call.read(), await call.read()] == [b"ended one", b"begun three"]


async def test_stop_by_label_ends_one_answer_and_the_call_goes_on():
    entry = Held()

    async def choose(leg):
        if leg.length == 4:
            await leg.finish([b"found" if leg.stop("a") else b"nothing"])
        else:
            await entry(leg)

    async with House(choose, parallel=2) as house:
        call = house.converse()
        await call.write(b"one")
        assert await call.read() == b"begun one"
        leg = await entry.begun.get()
        assert leg.name("a")
        await call.write(b"stop")
        assert {await call.read(), await call.read()} == {b"found", b"stopped one"}
        await call.write(b"stop")
        assert await call.read() == b"nothing"


async def test_an_urgent_message_is_answered_before_those_that_wait():
    entry = Held()

    async def choose(leg):
        await (deltas if leg.length == 3 else entry)(leg)

    async with House(choose, urgent=lambda data: data == b"now") as house:
        call = house.converse()
        for word in (b"first", b"second", b"now"):
            await call.write(word)
        assert [await call.read(), await call.read()] == [b"begun first", b"now"]


async def test_a_large_message_both_ways():
    async with House(deltas, max_bytes=8 * MEGABYTE) as house:
        channel = house.channel(max_receive_message_length=-1)
        assert await channel.unary_unary("/chat.Chat/Ask")(b"x" * 7 * MEGABYTE) == b"x" * 7 * MEGABYTE


# --- how a call ends


async def test_a_refusal_is_a_status_with_its_words_and_metadata():
    async def entry(leg):
        await leg.open(16, [(b"grpc-message", "没有密钥 100%".encode()), (b"x-dragoman-error", b"unauthenticated")], 0)
        await leg.finish([b""])

    async with House(entry) as house:
        seen, code, details, metadata = await refused(house.ask())
    assert (seen, code, details) == ([], grpc.StatusCode.UNAUTHENTICATED, "没有密钥 100%")
    assert metadata["x-dragoman-error"] == "unauthenticated"
    assert metadata["x-request-id"]


async def test_an_answer_that_is_cut_says_so_after_what_was_written():
    async def entry(leg):
        await leg.open(200, [], None)
        await leg.write([b"so", b"far"])
        leg.cut(Reply(15, [(b"grpc-message", b"it broke")], b""))

    async with House(entry) as house:
        assert (await refused(house.ask()))[:3] == ([b"so", b"far"], grpc.StatusCode.DATA_LOSS, "it broke")


async def test_a_failure_in_band_is_ok_with_metadata():
    async def entry(leg):
        await leg.open(200, [], None)
        await leg.finish([b"<|err|>"], Reply(0, [(b"x-dragoman-error", b"upstream_error")], b""))

    async with House(entry) as house:
        call = house.ask()
        assert [message async for message in call] == [b"<|err|>"]
        assert dict(await call.trailing_metadata())["x-dragoman-error"] == "upstream_error"


async def test_an_error_ends_the_call_for_a_caller_who_has_not_said_all(logged):
    """The other answers of the call go with it."""
    entry = Held()

    async def choose(leg):
        if leg.length == 4:
            await leg.open(3, [(b"grpc-message", b"bad")], 0)
            await leg.finish([])
        else:
            await entry(leg)

    async with House(choose, parallel=2) as house:
        call = house.converse()
        await call.write(b"one")
        assert await call.read() == b"begun one"
        await call.write(b"evil")
        assert await ended(call) == (grpc.StatusCode.INVALID_ARGUMENT, "bad")
        assert (await entry.ended.get()).gone
        # The read that was under way as the call ended has done no harm.
        for _ in range(20):
            assert (await refused(house.ask(b"evil")))[1] is grpc.StatusCode.INVALID_ARGUMENT
    assert logged() == []


async def test_metadata_that_grpc_does_not_carry_is_left_out():
    bad = [(b"X-Upper", b"1"), (b"x-line", b"a\nb"), (b"x-wide", "é".encode()), (b"grpc-status", b"0"), (b"", b"")]
    good = [(b"x-a", b"1"), (b"retry-after", b"3"), (b"x-b-bin", b"\x00\xff")]

    async def entry(leg):
        await leg.open(8, [(b"content-type", b"text/html"), *bad, *good], None)
        await leg.finish([])

    async with House(entry) as house:
        _, code, _, metadata = await refused(house.ask())
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    del metadata["x-request-id"]
    assert metadata == {"x-a": "1", "retry-after": "3", "x-b-bin": b"\x00\xff"}


async def test_a_status_that_grpc_does_not_know_is_unknown():
    async def entry(leg):
        await leg.open(404, [], None)
        await leg.finish([])

    async with House(entry) as house:
        assert (await refused(house.ask()))[1] is grpc.StatusCode.UNKNOWN


async def test_a_call_without_a_message_is_refused():
    async with House(deltas) as house:
        call = house.converse()
        await call.done_writing()
        assert await ended(call) == (grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")


async def test_a_method_that_nobody_serves_is_unimplemented():
    async with House(deltas) as house:
        assert (await refused(house.ask(method="/none.None/Ask")))[1] is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_that_is_too_large_is_refused_and_the_next_is_served():
    async with House(deltas, max_bytes=1000) as house:
        assert (await refused(house.ask(b"x" * 1001)))[1] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert [message async for message in house.ask(b"x" * 1000)] == [b"x" * 1000]


async def test_a_message_that_is_too_large_takes_the_answers_under_way_with_it():
    entry = Held()
    async with House(entry, max_bytes=1000, parallel=2) as house:
        call = house.converse()
        await call.write(b"one")
        assert await call.read() == b"begun one"
        await call.write(b"x" * 1001)
        assert (await entry.ended.get()).gone
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


# --- callers who leave


@pytest.mark.parametrize("how", ["cancel", "deadline", "disconnect"])
async def test_who_leaves_in_mid_answer_is_noticed_and_told_once(how, logged):
    entry = Held()
    async with House(entry, parallel=2) as house:
        call = house.converse(timeout=0.3 if how == "deadline" else None)
        await call.write(b"one")
        await call.write(b"two")
        legs = {await entry.begun.get(), await entry.begun.get()}
        if how == "cancel":
            call.cancel()
        elif how == "disconnect":
            await house.channels[0].close()
        assert {await entry.ended.get(), await entry.ended.get()} == legs
        assert all(leg.gone and not leg.stopped and not leg.late for leg in legs)
        assert entry.calls == 2
        if how == "deadline":
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert logged() == []
    assert not house.host.calls


@pytest.mark.parametrize("timeout_ms", [None, 1, 3, 10])
async def test_callers_who_leave_at_any_moment_leave_nothing_behind(timeout_ms, logged):
    entry = Flood()

    async def leave(channel, after):
        call = channel.unary_stream("/chat.Chat/Ask")(b"hi", timeout=timeout_ms and timeout_ms / 1000)
        with contextlib.suppress(grpc.aio.AioRpcError):
            for _ in range(after):
                await call.read()
        call.cancel()

    async with House(entry) as house:
        channel = house.channel()
        for after in (1, 0, 2, 40):
            await asyncio.gather(*(leave(channel, after) for _ in range(25)))
        assert (await refused(house.ask(method="/none.None/Ask")))[1] is grpc.StatusCode.UNIMPLEMENTED
    assert logged() == []
    assert not house.host.calls
    while not entry.ended.empty():
        assert entry.ended.get_nowait().gone


async def test_of_callers_who_left_grpcio_says_nothing_but_other_failures_are_told(logged, caplog):
    log = logging.getLogger("grpc._cython.cygrpc")
    async with House(deltas):
        log.warning("the status was not sent", exc_info=grpc.aio.InternalError("Failed"))
        log.warning("something broke", exc_info=ValueError("of ours"))
        log.warning("a word")
    assert logged() == ["something broke", "a word"]


# --- callers who do not read, or send more than is answered


async def test_a_slow_reader_makes_the_writer_wait_and_then_gets_all():
    entry = Flood()
    async with House(entry) as house:
        call = house.ask()
        await entry.full.wait()
        (running,) = house.host.calls
        for _ in range(entry.written + 500):
            assert await call.read() == entry.piece
            assert running._size < ROOM_BYTES + len(entry.piece)
        call.cancel()
        assert not (await entry.ended.get()).late


async def test_who_reads_nothing_is_given_up():
    entry = Flood()
    async with House(entry, write_s=0.2) as house:
        call = house.ask()
        leg = await entry.ended.get()
        assert leg.gone
        assert leg.late == "write"
        assert not house.host.calls
        # What had left before is there, and then the truth.
        seen, code, details, _ = await refused(call)
        assert 0 < len(seen) <= entry.written
        assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "the answer was not read")


async def test_more_than_a_call_may_hold_is_not_read_and_nothing_is_lost():
    entry = Held()
    count = 400
    async with House(entry) as house:
        call = house.converse()
        flood = asyncio.ensure_future(saying(call, count))
        assert (await call.read()).startswith(b"begun ")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.shield(flood)
        (running,) = house.host.calls
        assert running._messages._waiting_bytes < 2 * MEGABYTE
        for _ in range(count):
            entry.go_on.release()
        said = 0
        while (message := await call.read()) is not EOF:
            said += message.startswith(b"ended ")
        assert said == count
        await flood


async def saying(call, count):
    for _ in range(count):
        await call.write(b"x" * 100_000)
    await call.done_writing()


# --- health, drain and the end


async def test_health_says_serving_then_not():
    async with House(deltas) as house:
        stub = health_pb2_grpc.HealthStub(house.channel())
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        for name in ("", "chat.Chat"):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="none.None"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        await house.host.drain()
        assert (await watch.read()).status == NOT_SERVING
        for name in ("", "chat.Chat"):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == NOT_SERVING


async def test_drain_ends_idle_calls_at_once_and_the_others_when_they_are_answered():
    entry = Held()
    async with House(entry) as house:
        idle, busy = house.converse(), house.converse()
        await idle.write(b"before")
        assert await idle.read() == b"begun before"
        entry.go_on.release()
        assert await idle.read() == b"ended before"
        await busy.write(b"one")
        assert await busy.read() == b"begun one"
        await house.host.drain()
        assert await ended(idle) == (grpc.StatusCode.UNAVAILABLE, "the gateway is shutting down")
        entry.go_on.release()
        assert await busy.read() == b"ended one"
        assert await ended(busy) == (grpc.StatusCode.UNAVAILABLE, "the gateway is shutting down")


async def test_drain_ends_a_call_that_has_said_nothing_yet():
    async with House(deltas) as house:
        call = house.converse(wait_for_ready=True)
        await house.begun.wait()
        await house.host.drain()
        assert (await ended(call))[0] is grpc.StatusCode.UNAVAILABLE


async def test_while_draining_a_question_is_refused_by_its_entry_in_its_own_way():
    async def entry(leg):
        await leg.open(0, [(b"x-dragoman-error", b"draining")], None)
        await leg.finish([b"<|err|>"])

    async with House(entry) as house:
        await house.host.drain()
        for _ in range(10):
            call = house.ask()
            assert [message async for message in call] == [b"<|err|>"]
            assert await call.code() is grpc.StatusCode.OK


async def test_stop_waits_for_the_end_of_what_is_answered():
    entry = Held()
    async with House(entry) as house:
        call = house.ask(b"one")
        assert await call.read() == b"begun one"
        stopping = asyncio.ensure_future(house.host.stop(10))
        entry.go_on.release()
        assert await call.read() == b"ended one"
        assert await call.code() is grpc.StatusCode.OK
        await stopping


async def test_stop_cuts_off_what_does_not_end():
    entry = Held()
    async with House(entry) as house:
        call = house.ask(b"one")
        assert await call.read() == b"begun one"
        await house.host.stop(0)
        assert (await entry.ended.get()).gone
        assert await call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


# --- where it listens


async def test_a_port_in_use_is_one_clear_line(capfd):
    async with House(deltas) as house:
        other = House(deltas, port=house.host.port)
        with pytest.raises(Misconfigured) as caught:
            await other.host.start()
        assert f"port {house.host.port}: Address already in use; choose another" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert capfd.readouterr().err == ""
        await other.host.stop(0)


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as trial:
        trial.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_a_host_on_ipv6():
    house = House(deltas)
    row = Row("GRPC", "*", None, deltas, None)
    wheel = Wheel(asyncio.get_running_loop())
    house.host = GrpcHost(lambda head: row, Address("::1", 0, ()), MEGABYTE, Numbers(), wheel=wheel, write_s=10)
    async with house:
        channel = grpc.aio.insecure_channel(f"[::1]:{house.host.port}")
        house.channels.append(channel)
        assert await channel.unary_unary("/a.A/B")(b"one") == b"one"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_files(authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    return {"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}


async def test_over_tls(authority, tls_files):
    async with House(deltas, **tls_files) as house:
        channel = house.channel(grpc.ssl_channel_credentials(authority.cert_pem.bytes()))
        assert await channel.unary_unary("/chat.Chat/Ask")(b"one") == b"one"
        assert (await refused(house.ask()))[1] is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_is_not_there_is_one_clear_line(tls_files):
    house = House(deltas, **{**tls_files, "cert": "/none/cert.pem"})
    with pytest.raises(Misconfigured, match=r"/none/cert\.pem"):
        await house.host.start()


async def test_a_certificate_that_is_none_is_one_clear_line(tls_files, tmp_path):
    nonsense = tmp_path / "cert.pem"
    nonsense.write_text("nonsense")
    house = House(deltas, **{**tls_files, "cert": str(nonsense)})
    with pytest.raises(Misconfigured):
        await house.host.start()
