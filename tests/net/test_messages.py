"""Messages of one connection: their order, how many at once, how many wait, and what each leg says."""

import asyncio

import pytest

from dragoman.faults import TooLarge
from dragoman.legs import Head, Reply
from dragoman.net.listen import Row
from dragoman.net.messages import WAITING, WAITING_BYTES, Messages, Numbers

ANY = 1_000_000


class Wire:
    """The sending half of a connection that nobody reads slowly, unless `full`."""

    def __init__(self):
        self.late = ""
        self.sent = []
        self.paused = []
        self.failures = 0
        self.idle = asyncio.Event()
        self.space = asyncio.Event()
        self.space.set()

    def send(self, pieces):
        self.sent += [piece for piece in pieces if piece]
        return self.space.is_set()

    async def room(self):
        await self.space.wait()

    def pause(self, paused):
        self.paused.append(paused)

    def failed(self):
        self.failures += 1

    def answered(self, last):
        if last:
            self.idle.set()


def connection(entry, parallel=1, urgent=None):
    wire = Wire()
    head = Head("WS", "/chat", b"a=b", [(b"x-from", b"handshake")])
    return Messages(head, Row("WS", "/chat", None, entry, None, parallel, urgent), wire, Numbers()), wire


async def echo(leg):
    data = await leg.body(ANY)
    await leg.open(200, [], None)
    await leg.finish([data])


class Held:
    """An entry that answers when it is told to."""

    def __init__(self):
        self.begun = asyncio.Queue()
        self.go_on = asyncio.Semaphore(0)

    async def __call__(self, leg):
        self.begun.put_nowait(leg)
        await self.go_on.acquire()
        await echo(leg)


class Named:
    """An entry whose message is its label; it waits until it is stopped or the caller leaves."""

    def __init__(self):
        self.begun = asyncio.Queue()

    async def __call__(self, leg):
        label = (await leg.body(ANY)).decode()
        if label.startswith("stop "):
            found = leg.stop(label.removeprefix("stop "))
            await leg.finish([b"stopped" if found else b"nothing"])
            return
        called = asyncio.Event()
        leg.on_gone(called.set)
        self.begun.put_nowait((leg, leg.name(label)))
        await called.wait()
        await leg.finish([f"{label} {'gone' if leg.gone else 'stopped'}".encode()])


async def test_messages_are_answered_in_their_order():
    messages, wire = connection(echo)
    for number in range(5):
        messages.accept(b"%d" % number, [])
    await wire.idle.wait()
    assert wire.sent == [b"0", b"1", b"2", b"3", b"4"]


async def test_only_so_many_are_answered_at_once():
    entry = Held()
    messages, wire = connection(entry, parallel=2)
    for number in range(5):
        messages.accept(b"%d" % number, [])
    await entry.begun.get()
    await entry.begun.get()
    assert entry.begun.empty()
    assert len(messages.live) == 2
    entry.go_on.release()
    await entry.begun.get()
    assert len(messages.live) == 2
    for _ in range(4):
        entry.go_on.release()
    await wire.idle.wait()
    assert sorted(wire.sent) == [b"0", b"1", b"2", b"3", b"4"]


async def test_an_urgent_message_waits_for_none():
    entry = Held()
    messages, _ = connection(entry, urgent=lambda data: data == b"now")
    messages.accept(b"first", [])
    messages.accept(b"second", [])
    messages.accept(b"now", [])
    begun = [await entry.begun.get(), await entry.begun.get()]
    assert [await leg.body(ANY) for leg in begun] == [b"first", b"now"]


async def test_urgent_messages_without_end_wait_too():
    entry = Held()
    messages, wire = connection(entry, urgent=lambda data: True)
    for _ in range(WAITING * 3):
        messages.accept(b"now", [])
    assert len(messages.live) == WAITING + 1
    assert wire.paused == [True]
    for _ in range(WAITING * 3):
        entry.go_on.release()
    await wire.idle.wait()
    assert len(wire.sent) == WAITING * 3


async def test_while_many_wait_no_more_are_taken():
    entry = Held()
    messages, wire = connection(entry)
    for _ in range(WAITING):
        messages.accept(b"x", [])
    assert wire.paused == []
    messages.accept(b"x", [])
    assert wire.paused == [True]
    entry.go_on.release()
    await entry.begun.get()
    await entry.begun.get()
    assert wire.paused == [True, False]


async def test_while_large_ones_wait_no_more_are_taken():
    entry = Held()
    messages, wire = connection(entry)
    messages.accept(b"x", [])
    messages.accept(b"x" * (WAITING_BYTES - 1), [])
    assert wire.paused == []
    messages.accept(b"x", [])
    assert wire.paused == [True]
    for _ in range(3):
        entry.go_on.release()
    await wire.idle.wait()
    assert wire.paused == [True, False]


async def test_an_answer_that_is_not_read_holds_up_the_next():
    messages, wire = connection(echo)
    wire.space.clear()
    messages.accept(b"one", [])
    (first,) = messages.live
    gone_on = asyncio.ensure_future(wire.idle.wait())
    messages.accept(b"two", [])
    while not wire.sent:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert wire.sent == [b"one"]
    assert messages.live == {first}
    wire.space.set()
    await gone_on
    assert wire.sent == [b"one", b"two"]


async def test_a_head_is_the_connections_with_an_id_of_its_own():
    entry = Held()
    messages, _ = connection(entry, parallel=2)
    messages.accept(b"", [(b"content-type", b"application/octet-stream")])
    messages.accept(b"", [])
    first, second = [(await entry.begun.get()).head for _ in range(2)]
    assert (first.method, first.path, first.query) == ("WS", "/chat", b"a=b")
    assert first.headers == [(b"content-type", b"application/octet-stream"), (b"x-from", b"handshake")]
    assert second.headers == [(b"x-from", b"handshake")]
    assert first.id
    assert first.id != second.id
    assert first.at > 1_700_000_000


async def test_numbers_of_two_processes_differ():
    first, second = Numbers(), Numbers()
    assert len({first(), first(), second(), second()}) == 4


async def test_a_body_within_the_limit_is_given_once():
    entry = Held()
    messages, _ = connection(entry)
    messages.accept(b"12345", [])
    leg = await entry.begun.get()
    assert leg.length == 5
    assert [piece async for piece in leg.stream(5)] == [b"12345"]
    assert leg.length == 5


@pytest.mark.parametrize("how", ["body", "stream"])
async def test_a_body_beyond_the_limit_is_refused(how):
    entry = Held()
    messages, _ = connection(entry)
    messages.accept(b"12345", [])
    leg = await entry.begun.get()
    with pytest.raises(TooLarge, match="4 bytes"):
        if how == "body":
            await leg.body(4)
        else:
            await anext(leg.stream(4))


async def test_write_waits_for_room_and_push_says_whether_there_is():
    entry = Held()
    messages, wire = connection(entry)
    messages.accept(b"", [])
    leg = await entry.begun.get()
    await leg.open(200, [], None)
    assert leg.opened
    assert leg.push([b"a", b"", b"b"])
    assert wire.sent == [b"a", b"b"]
    wire.space.clear()
    assert not leg.push([b"c"])
    waiting = asyncio.ensure_future(leg.write([b""]))
    await asyncio.sleep(0)
    assert not waiting.done()
    wire.space.set()
    await waiting
    assert wire.sent == [b"a", b"b", b"c"]


async def test_stop_reaches_the_answer_of_that_label_alone():
    entry = Named()
    messages, wire = connection(entry, parallel=4)
    for label in (b"one", b"two"):
        messages.accept(label, [])
    (one, _), (two, _) = await entry.begun.get(), await entry.begun.get()
    messages.accept(b"stop two", [])
    while two in messages.live:
        await asyncio.sleep(0)
    assert sorted(wire.sent) == [b"stopped", b"two stopped"]
    assert two.stopped
    assert not two.gone
    assert not one.stopped
    assert one in messages.live


async def test_stop_finds_nothing_that_is_over_or_was_never_named():
    entry = Named()
    messages, wire = connection(entry, parallel=4)
    messages.accept(b"one", [])
    await entry.begun.get()
    for label in (b"stop one", b"stop one", b"stop two", b"stop "):
        wire.idle.clear()
        messages.accept(label, [])
        await wire.idle.wait()
    assert sorted(wire.sent) == [b"nothing", b"nothing", b"nothing", b"one stopped", b"stopped"]


async def test_an_answer_that_is_complete_but_not_read_is_not_stopped():
    entry = Held()
    messages, wire = connection(entry, parallel=2)
    for _ in range(2):
        messages.accept(b"x", [])
    done, other = await entry.begun.get(), await entry.begun.get()
    done.name("a")
    wire.space.clear()
    await done.finish([b"done"])
    assert not other.stop("a")
    assert not done.stopped


async def test_a_label_is_for_one_answer_at_a_time():
    entry = Named()
    messages, wire = connection(entry, parallel=4)
    messages.accept(b"one", [])
    messages.accept(b"one", [])
    (first, is_first), (second, is_second) = await entry.begun.get(), await entry.begun.get()
    assert (is_first, is_second) == (True, False)
    assert second.stop("one")
    assert first.stopped
    assert not second.stopped


async def test_a_lost_connection_calls_back_each_leg_once():
    entry = Held()
    messages, wire = connection(entry, parallel=2)
    for _ in range(3):
        messages.accept(b"x", [])
    called = []
    legs = [await entry.begun.get() for _ in range(2)]
    for leg in legs:
        leg.on_gone(lambda leg=leg: called.append(leg))
    messages.lost()
    messages.lost()
    assert sorted(map(id, called)) == sorted(map(id, legs))
    assert all(leg.gone for leg in legs)
    # What waited is not begun, what is sent goes nowhere, and there is always room for it.
    assert legs[0].push([b"late"])
    for _ in range(2):
        entry.go_on.release()
    await wire.idle.wait()
    assert wire.sent == []
    assert entry.begun.empty()


async def test_a_leg_that_was_gone_before_anyone_asked_calls_back_at_once():
    entry = Held()
    messages, _ = connection(entry)
    messages.accept(b"x", [])
    leg = await entry.begun.get()
    messages.lost()
    called = []
    leg.on_gone(lambda: called.append(1))
    assert called == [1]


async def test_a_finished_answer_is_not_called_back():
    entry = Held()
    messages, wire = connection(entry)
    messages.accept(b"x", [])
    leg = await entry.begun.get()
    called = []
    leg.on_gone(lambda: called.append(1))
    await leg.finish([b"all"])
    messages.lost()
    assert called == []


async def ending(act):
    """Let one message end as `act` says; return what the connection remembers of it."""

    async def entry(leg):
        await leg.body(ANY)
        await act(leg)

    messages, wire = connection(entry)
    messages.accept(b"x", [])
    await wire.idle.wait()
    name, number = messages.last.headers[-1]
    assert (name, number.count(b"-m")) == (b"x-request-id", 1)
    return messages.last.status, messages.last.headers[:-1], wire.failures


async def test_the_connection_remembers_how_the_last_answer_ended():
    async def good(leg):
        await leg.open(200, [(b"x-a", b"1")], None)
        await leg.finish([])

    async def refused(leg):
        await leg.open(16, [(b"grpc-message", b"no")], 0)
        await leg.finish([b""])

    async def broken(leg):
        await leg.open(200, [], None)
        leg.cut(Reply(14, [(b"x-b", b"2")], b""))

    async def in_band(leg):
        await leg.open(200, [], None)
        await leg.finish([b"<|err|>"], Reply(0, [(b"x-c", b"3")], b""))

    assert await ending(good) == (0, [(b"x-a", b"1")], 0)
    assert await ending(refused) == (16, [(b"grpc-message", b"no")], 1)
    assert await ending(broken) == (14, [(b"x-b", b"2")], 1)
    assert await ending(in_band) == (0, [(b"x-c", b"3")], 0)
