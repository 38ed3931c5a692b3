"""WebSocket over real sockets: the `websockets` client, and raw bytes where a client would not do such a thing."""

import asyncio
import contextlib
import gc
import logging
import os
import socket
import ssl
import struct

import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from dragoman.net.deadlines import Wheel
from dragoman.net.http1 import Timing
from dragoman.net.listen import Listener, Row, Table, Tls, quiet_uvicorn, reply
from dragoman.net.messages import WAITING, Numbers
from dragoman.net.sockets import HELD_BYTES, SocketHost, Terms

ANY = 10_000_000
MEGABYTE = 1 << 20
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


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


async def echo(leg):
    data = await leg.body(ANY)
    await leg.open(200, [], None)
    await leg.finish([data])


async def tell(leg):
    """Say what the head holds."""
    await leg.body(ANY)
    head = leg.head
    kind = (head.get(b"content-type") or b"").decode()
    said = f"{head.method} {head.path} {head.query.decode()} {(head.get(b'x-from') or b'').decode('latin-1')} {kind}"
    await leg.finish([said.encode(), head.id.encode()])


class Held:
    """Begins an answer, and ends it when it is told to or the caller leaves."""

    def __init__(self):
        self.begun = asyncio.Queue()
        self.ended = asyncio.Queue()
        self.go_on = asyncio.Semaphore(0)

    async def __call__(self, leg):
        data = await leg.body(ANY)
        task = asyncio.current_task()
        leg.on_gone(task.cancel)
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


class Flood:
    """Writes as long as the caller lives, and counts."""

    def __init__(self, piece=b"x" * 100_000):
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
            await asyncio.sleep(0)
        self.ended.put_nowait(leg)


# --- a listener, and callers


class Present(set):
    """Connections, with events for when there are some and when there are none."""

    def __init__(self):
        self.some, self.none = asyncio.Event(), asyncio.Event()
        self.none.set()

    def add(self, connection):
        super().add(connection)
        self.none.clear()
        self.some.set()

    def discard(self, connection):
        super().discard(connection)
        if not self:
            self.some.clear()
            self.none.set()


class House:
    """A host on a port of its own; it serves one entry on every path but those below `/none`."""

    def __init__(self, entry, *, parallel=1, urgent=None, tls=None, header_s=10.0, write_s=10.0, **terms):
        terms = {"max_bytes": MEGABYTE, "max_connections": 100, **terms}
        row = Row("WS", "*", None, entry, None, parallel, urgent)
        self.wheel = Wheel(asyncio.get_running_loop())
        self.host = SocketHost(self.finder(row), Terms(header_s, write_s, **terms), self.wheel, Numbers())
        self.host.connections = self.present = Present()
        self.tls = tls

    @staticmethod
    def finder(row):
        def find(head):
            if head.path.startswith("/none"):
                raise LookupError(head.path)
            return row

        return find

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(self.host.protocol, "127.0.0.1", 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for connection in list(self.host.connections):
            connection._transport.abort()

    def open(self, path="/", scheme="ws", **given):
        given = {"compression": None, "ping_interval": None, "max_size": None, **given}
        return connect(f"{scheme}://127.0.0.1:{self.port}{path}", **given)

    @contextlib.asynccontextmanager
    async def raw(self, *, greeted=True, receive_bytes=None):
        plain = socket.socket()
        if receive_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=plain, limit=4 * MEGABYTE)
        raw = Raw(reader, writer)
        if greeted:
            writer.write(HANDSHAKE)
            assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
        try:
            yield raw
        finally:
            writer.transport.abort()


class Raw:
    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    def say(self, *frames):
        self.writer.write(b"".join(frames))

    async def head(self):
        return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self):
        return await self.reader.read()

    async def frame(self):
        """Read one frame of the server: its first byte and its content."""
        first, size = await self.reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first, await self.reader.readexactly(size)

    async def closing(self):
        """Read up to the close frame; return its code and what came before."""
        seen = []
        while True:
            first, data = await self.frame()
            if first == 0x88:
                return struct.unpack("!H", data[:2])[0], seen
            seen.append(data)

    def reset(self):
        plain = self.writer.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def masked(opcode, data=b"", fin=True):
    return Frame(opcode, data, fin).serialize(mask=True)


def text(data, fin=True):
    return masked(Opcode.TEXT, data, fin)


async def closed(ws):
    """Read to the end; return the close code that the server sent."""
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            await ws.recv()
    return caught.value.rcvd.code if caught.value.rcvd else None


# --- messages in and out


async def test_a_message_is_answered_in_text():
    async with House(echo) as house, house.open() as ws:
        await ws.send("你好 $")
        assert await ws.recv() == "你好 $"
        assert ws.subprotocol is None
        assert "Sec-WebSocket-Extensions" not in ws.response.headers


async def test_every_piece_is_a_frame_and_an_empty_one_is_none():
    async def entry(leg):
        await leg.open(200, [], None)
        leg.push([b"a", b"", b"b"])
        await leg.write([b""])
        await leg.write([b"c"])
        await leg.finish([b"d", b"e"])

    async with House(entry) as house, house.raw() as raw:
        raw.say(text(b"go"))
        assert [await raw.frame() for _ in range(5)] == [(0x81, piece) for piece in (b"a", b"b", b"c", b"d", b"e")]


@pytest.mark.parametrize("size", [1, 125, 126, 65_535, 65_536, MEGABYTE])
async def test_frames_of_every_length(size):
    async with House(echo) as house, house.open() as ws:
        await ws.send("x" * size)
        assert await ws.recv() == "x" * size


async def test_a_head_has_what_the_handshake_said_and_an_id_of_its_own():
    async with House(tell) as house, house.open("/a%20b/c?key=%24x", additional_headers={"X-From": "é"}) as ws:
        await ws.send("one")
        assert await ws.recv() == "WS /a%20b/c key=%24x é "
        first = await ws.recv()
        await ws.send("two")
        await ws.recv()
        assert await ws.recv() != first


async def test_a_subprotocol_and_an_origin_are_neither_needed_nor_chosen():
    async with House(echo) as house, house.open(subprotocols=["chat"], origin="https://elsewhere.example") as ws:
        assert ws.subprotocol is None
        await ws.send("x")
        assert await ws.recv() == "x"


async def test_compression_is_not_agreed():
    async with House(echo) as house, house.open(compression="deflate") as ws:
        await ws.send("x" * 1000)
        assert await ws.recv() == "x" * 1000
        assert "Sec-WebSocket-Extensions" not in ws.response.headers


async def test_a_binary_message_is_marked_and_the_connection_lives():
    async with House(tell) as house, house.open() as ws:
        await ws.send(b"\xff\x00")
        assert (await ws.recv()).endswith(" application/octet-stream")
        await ws.recv()
        await ws.send("text")
        assert not (await ws.recv()).endswith(" application/octet-stream")


async def test_fragments_are_joined_and_a_ping_between_them_is_answered():
    euro = "€".encode()
    async with House(echo) as house, house.raw() as raw:
        raw.say(text(euro[:1], fin=False), masked(Opcode.PING, b"there?"))
        assert await raw.frame() == (0x8A, b"there?")
        raw.say(masked(Opcode.CONT, b"", fin=False), masked(Opcode.CONT, euro[1:]))
        assert await raw.frame() == (0x81, euro)


async def test_a_message_byte_by_byte():
    async with House(echo) as house, house.raw() as raw:
        for byte in text(b"slowly"):
            raw.say(bytes([byte]))
            await raw.writer.drain()
        assert await raw.frame() == (0x81, b"slowly")


async def test_pipelined_messages_are_answered_in_order():
    async with House(echo) as house, house.raw() as raw:
        raw.say(*(text(b"%d" % number) for number in range(500)))
        assert [(await raw.frame())[1] for _ in range(500)] == [b"%d" % number for number in range(500)]


async def test_several_are_answered_at_once_where_the_path_says_so():
    entry = Held()
    async with House(entry, parallel=2) as house, house.open() as ws:
        for word in ("one", "two", "three"):
            await ws.send(word)
        assert [await ws.recv() for _ in range(2)] == ["begun one", "begun two"]
        entry.go_on.release()
        assert [await ws.recv() for _ in range(2)] == ["ended one", "begun three"]


async def test_stop_by_label_ends_one_answer_and_the_connection_lives():
    entry = Held()

    async def choose(leg):
        if entry.begun.empty():
            await entry(leg)
            return
        await leg.finish([b"found" if leg.stop("a") else b"nothing"])

    async with House(choose, parallel=2) as house, house.open() as ws:
        await ws.send("one")
        assert await ws.recv() == "begun one"
        (leg,) = next(iter(house.host.connections))._messages.live
        assert leg.name("a")
        await ws.send("stop it")
        assert {await ws.recv(), await ws.recv()} == {"found", "stopped one"}
        await ws.send("stop it")
        assert await ws.recv() == "nothing"


# --- what is wrong


async def test_text_that_is_not_utf8_closes_with_1007_and_what_came_with_it_is_not_answered():
    seen = []

    async def entry(leg):
        seen.append(await leg.body(ANY))

    async with House(entry) as house, house.raw() as raw:
        raw.say(text(b"\xff\xfe"), text(b"good"))
        assert await raw.closing() == (1007, [])
        assert await raw.rest() == b""
    assert seen == []


async def test_a_message_at_the_cap_passes_and_one_beyond_closes_with_1009():
    async with House(echo, max_bytes=1000) as house:
        async with house.open() as ws:
            await ws.send("x" * 1000)
            assert await ws.recv() == "x" * 1000
            await ws.send("x" * 1001)
            assert await closed(ws) == 1009
        async with house.raw() as raw:
            raw.say(text(b"x" * 600, fin=False), masked(Opcode.CONT, b"x" * 401))
            assert (await raw.closing())[0] == 1009


async def test_who_is_still_sending_hears_why_it_was_closed():
    async with House(echo, max_bytes=1000) as house, house.raw() as raw:
        raw.say(text(b"x" * 8 * MEGABYTE))
        assert (await raw.closing())[0] == 1009


@pytest.mark.parametrize(
    "frames",
    [Frame(Opcode.TEXT, b"not masked").serialize(mask=False), masked(Opcode.CONT, b"of nothing"), b"\xf1\x80\0\0\0\0"],
    ids=["not masked", "a continuation of nothing", "a reserved bit"],
)
async def test_what_is_not_websocket_closes_with_1002(frames):
    async with House(echo) as house, house.raw() as raw:
        raw.say(frames)
        assert (await raw.closing())[0] == 1002


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"426"),
        (b"GET / HTTP/1.0\r\n\r\n", b"505"),
        (b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
        (b"POST /chat HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", b"400"),
        (b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n", b"405"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        ("GET /é HTTP/1.1\r\nHost: a\r\n\r\n".encode(), b"400"),
        (HANDSHAKE.replace(b"Version: 13", b"Version: 7"), b"400"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
    ],
    ids=["HTTP", "old HTTP", "nobody's path", "a body", "PUT", "TLS", "not ASCII", "an old draft", "many headers"],
)
async def test_what_is_no_handshake_gets_a_short_http_answer(request_bytes, status):
    async with House(echo) as house, house.raw(greeted=False) as raw:
        raw.say(request_bytes)
        answer = await raw.rest()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %b " % status)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        assert int(length.split(b":")[1]) == len(body) > 10
        assert body.decode().endswith("\n")
        raw.reset()
        await house.present.none.wait()


async def test_a_path_that_nobody_serves_is_404():
    async with House(echo) as house:
        with pytest.raises(InvalidStatus) as caught:
            await house.open("/none/such")
        assert caught.value.response.status_code == 404


async def test_a_handshake_that_does_not_come_is_given_up():
    async with House(echo, header_s=0.1) as house, house.raw(greeted=False) as raw:
        raw.say(HANDSHAKE[:40])
        with contextlib.suppress(ConnectionResetError):
            assert await raw.rest() == b""
        await house.present.none.wait()


async def test_above_the_limit_a_connection_is_closed_and_a_place_that_falls_free_is_taken():
    async with House(echo, max_connections=1) as house:
        async with house.open() as ws:
            async with house.raw(greeted=False) as raw:
                raw.say(HANDSHAKE)
                with contextlib.suppress(ConnectionResetError):
                    assert await raw.rest() == b""
            await ws.send("still here")
            assert await ws.recv() == "still here"
        await house.present.none.wait()
        async with house.open() as ws:
            await ws.send("me")
            assert await ws.recv() == "me"


# --- callers who leave


@pytest.mark.parametrize("how", ["close", "reset", "silent close"])
async def test_who_leaves_in_mid_answer_is_noticed_at_once(how):
    entry = Held()
    async with House(entry, parallel=2) as house, house.raw() as raw:
        raw.say(text(b"one"), text(b"two"))
        legs = [await entry.begun.get() for _ in range(2)]
        if how == "close":
            raw.say(masked(Opcode.CLOSE, struct.pack("!H", 1000)))
        elif how == "reset":
            raw.reset()
        else:
            raw.writer.write_eof()
        assert {await entry.ended.get(), await entry.ended.get()} == set(legs)
        assert all(leg.gone and not leg.stopped and not leg.late for leg in legs)
        if how == "close":
            # Nobody waited for its connection to end.
            assert house.present
            assert (await raw.closing())[0] == 1000
            raw.reset()
        await house.present.none.wait()


async def test_an_ask_right_before_a_goodbye_is_nobodys():
    entry = Held()
    async with House(entry) as house, house.raw() as raw:
        raw.say(text(b"one") + masked(Opcode.CLOSE, struct.pack("!H", 1000)))
        assert await raw.closing() == (1000, [])
        assert entry.begun.empty()


async def test_a_caller_that_says_goodbye_and_stays_is_cut_off():
    async with House(echo) as house, house.raw() as raw:
        raw.say(masked(Opcode.CLOSE, struct.pack("!H", 1000)))
        assert (await raw.closing())[0] == 1000
        assert len(house.host.connections) == 1
        await house.present.none.wait()


# --- callers who do not read, or send more than is answered


async def test_a_slow_reader_makes_the_writer_wait_and_then_gets_all():
    entry = Flood()
    async with House(entry) as house, house.raw(receive_bytes=8192) as raw:
        raw.say(text(b"go"))
        await entry.full.wait()
        written = entry.written
        for _ in range(written + 20):
            assert await raw.frame() == (0x81, entry.piece)
        raw.reset()
        leg = await entry.ended.get()
        assert not leg.late


async def test_who_reads_nothing_is_cut_off():
    entry = Flood()
    async with House(entry, write_s=0.2) as house, house.raw(receive_bytes=8192) as raw:
        raw.say(text(b"go"))
        leg = await entry.ended.get()
        assert leg.gone
        assert leg.late == "write"
        await house.present.none.wait()


async def test_who_asks_without_reading_is_not_answered_without_end():
    begun = []

    async def entry(leg):
        begun.append(await leg.body(ANY))
        await leg.finish([b"x" * MEGABYTE])

    async with House(entry) as house, house.raw(receive_bytes=8192) as raw:
        raw.say(*(text(b"%d" % number) for number in range(100)))
        assert await raw.frame() == (0x81, b"x" * MEGABYTE)
        # The kernel takes some; what it does not take holds up the next.
        assert len(begun) < 20
        for _ in range(99):
            assert await raw.frame() == (0x81, b"x" * MEGABYTE)
        assert begun == [b"%d" % number for number in range(100)]


async def test_while_messages_wait_pings_are_answered_and_a_goodbye_is_seen():
    entry = Held()
    async with House(entry) as house, house.raw() as raw:
        raw.say(*(text(b"x") for _ in range(WAITING + 10)))
        assert await raw.frame() == (0x81, b"begun x")
        raw.say(masked(Opcode.PING, b"there?"))
        assert await raw.frame() == (0x8A, b"there?")
        raw.say(masked(Opcode.CLOSE, struct.pack("!H", 1000)))
        assert (await entry.ended.get()).gone
        assert entry.begun.qsize() == 1


async def test_more_than_a_connection_may_hold_is_not_read_and_nothing_is_lost():
    entry = Held()
    count = 200
    async with House(entry, ping_s=0.1) as house, house.raw() as raw:
        flood = asyncio.ensure_future(saying(raw, count, 100_000))
        assert await raw.frame() == (0x81, b"begun " + b"x" * 100_000)
        # Nothing of the caller is heard now, its pongs included, and still it is not taken for dead.
        for _ in range(4):
            assert await raw.frame() == (0x89, b"")
        assert not flood.done()
        (connection,) = house.host.connections
        assert connection._held_bytes < HELD_BYTES + MEGABYTE
        for _ in range(count):
            entry.go_on.release()
        ended = 0
        while ended < count:
            first, data = await raw.frame()
            ended += data.startswith(b"ended ")
        await flood


async def saying(raw, count, size):
    for _ in range(count):
        raw.say(text(b"x" * size))
        await raw.writer.drain()


async def test_an_urgent_message_is_answered_before_those_that_wait():
    entry = Held()

    async def choose(leg):
        if leg.length == 3:
            await echo(leg)
        else:
            await entry(leg)

    async with House(choose, urgent=lambda data: data == b"now") as house, house.open() as ws:
        for word in ("first", "second", "now"):
            await ws.send(word)
        assert [await ws.recv() for _ in range(2)] == ["begun first", "now"]


# --- silence


async def test_a_silent_caller_is_asked_and_stays_while_it_answers():
    entry = Held()
    async with House(entry, ping_s=0.1) as house, house.raw() as raw:
        for _ in range(3):
            assert await raw.frame() == (0x89, b"")
            raw.say(masked(Opcode.PONG))
        raw.say(text(b"x"))
        assert await raw.frame() == (0x81, b"begun x")


async def test_a_caller_that_is_asked_and_does_not_answer_is_dropped():
    entry = Held()
    async with House(entry, ping_s=0.1) as house, house.raw() as raw:
        raw.say(text(b"x"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            while True:
                await raw.frame()
        assert (await entry.ended.get()).gone


# --- draining


async def test_drain_closes_the_idle_at_once_and_the_others_when_they_are_answered():
    entry = Held()
    async with House(entry) as house, house.open() as idle, house.open() as busy:
        await busy.send("one")
        assert await busy.recv() == "begun one"
        house.host.drain()
        assert await closed(idle) == 1001
        await busy.send("two")
        assert busy.state is State.OPEN
        entry.go_on.release()
        assert await busy.recv() == "ended one"
        assert await closed(busy) == 1001
        assert entry.begun.qsize() == 1
        await house.present.none.wait()


async def test_while_draining_no_handshake_is_accepted():
    async with House(echo) as house:
        house.host.drain()
        with pytest.raises(InvalidStatus) as caught:
            await house.open()
        assert caught.value.response.status_code == 503


async def test_drain_ends_a_handshake_under_way():
    async with House(echo) as house, house.raw(greeted=False) as raw:
        raw.say(HANDSHAKE[:20])
        await house.present.some.wait()
        house.host.drain()
        with contextlib.suppress(ConnectionResetError):
            assert await raw.rest() == b""


async def test_a_caller_that_leaves_while_draining_is_no_trouble():
    entry = Held()
    async with House(entry) as house, house.raw() as raw:
        raw.say(text(b"one"))
        await entry.begun.get()
        house.host.drain()
        raw.reset()
        await entry.ended.get()
        await house.present.none.wait()


# --- other ways in


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_files(authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    return Tls(str(folder / "cert.pem"), str(folder / "key.pem"))


@pytest.fixture(scope="module")
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_over_tls(tls_files, trusting):
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tls_files.cert, tls_files.key)
    async with House(echo, tls=server, max_bytes=2 * MEGABYTE) as house:
        async with house.open(scheme="wss", ssl=trusting) as ws:
            await ws.send("x" * MEGABYTE)
            assert await ws.recv() == "x" * MEGABYTE
            await ws.send("x" * 3 * MEGABYTE)
            with pytest.raises(ConnectionClosed):
                await ws.recv()
        await house.present.none.wait()


@contextlib.asynccontextmanager
async def beside_http(entry, tls=None):
    """A listener for HTTP that hands its upgrades over, as the gateway has it."""
    quiet_uvicorn()
    house = House(entry)
    table = Table()

    async def page(leg):
        await reply(leg, 200, [], b"a page")

    table.add(Row("GET", "*", None, page))
    timing = Timing(header_s=10, body_s=10, write_s=10, keep_alive_s=10, max_connections=100)

    async def drain():
        house.host.drain()

    server = Listener(table, timing).server(house.wheel, drain, house.host.upgraded, tls or Tls())
    server.takes_signals = False
    listening = socket.create_server(("127.0.0.1", 0))
    house.port = listening.getsockname()[1]
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    house.stop = lambda: setattr(server, "should_exit", True)
    try:
        yield house
    finally:
        house.stop()
        await serving
        listening.close()


async def test_beside_http_an_upgrade_is_a_connection_like_any_other():
    async with beside_http(tell) as house:
        async with house.open("/v1/ws?key=a", additional_headers={"X-From": "é"}) as ws:
            await ws.send("x")
            assert await ws.recv() == "WS /v1/ws key=a é "
        with pytest.raises(InvalidStatus) as caught:
            await house.open("/none")
        assert caught.value.response.status_code == 404
        async with house.raw(greeted=False) as raw:
            raw.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await raw.rest()).endswith(b"a page")


async def test_beside_http_a_slow_reader_is_cut_off_and_a_leaver_noticed():
    entry = Held()
    async with beside_http(entry) as house, house.raw() as raw:
        raw.say(text(b"one"))
        await entry.begun.get()
        raw.reset()
        assert (await entry.ended.get()).gone


async def test_beside_http_and_over_tls(tls_files, trusting):
    async with beside_http(echo, tls_files) as house, house.open(scheme="wss", ssl=trusting) as ws:
        await ws.send("x" * MEGABYTE)
        assert await ws.recv() == "x" * MEGABYTE


async def test_beside_http_the_drain_of_the_server_closes_with_1001():
    async with beside_http(echo) as house, house.open() as ws:
        await ws.send("x")
        assert await ws.recv() == "x"
        house.stop()
        assert await closed(ws) == 1001


async def test_a_connection_leaves_nothing_open():
    before = len(os.listdir("/proc/self/fd"))
    async with House(echo) as house:
        for _ in range(5):
            async with house.open() as ws:
                await ws.send("x")
                await ws.recv()
        await house.present.none.wait()
    assert len(os.listdir("/proc/self/fd")) <= before + 2
