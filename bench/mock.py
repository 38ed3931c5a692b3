"""The upstream that streams: an OpenAI-compatible server that sends one chunk per stream every 20 ms.

It must cost as little as it can, for it shares its core with the client. One timer turns a wheel
once in 20 ms; each stream sits in one of its slots. With 200 slots the streams are spread evenly
over the 20 ms, as streams of independent callers are; with fewer they come in bursts.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import re
import sys
import time
from typing import cast

import uvloop

from bench.script import SILENT_CHUNKS, StreamedAnswer, asked_for, unary_answer

PACE_NS = 20_000_000
EVEN_SLOTS = 200

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Wheel:
    """Gives every seated stream its turn once in 20 ms, always at the same moment of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slots: int) -> None:
        self._slots: list[list[Stream]] = [[] for _ in range(slots)]
        self._seated = 0
        self._turn = 0
        self._timer = periodic_timer(PACE_NS // slots)
        loop.add_reader(self._timer, self._tick)

    def seat(self, stream: Stream) -> None:
        self._slots[self._seated % len(self._slots)].append(stream)
        self._seated += 1

    def _tick(self) -> None:
        # The timer counts the turns that came due, so a late wake-up is made good and the pace does not drift.
        due = int.from_bytes(os.read(self._timer, 8), sys.byteorder)
        for _ in range(due):
            slot = self._slots[self._turn % len(self._slots)]
            if slot:
                slot[:] = [stream for stream in slot if stream.step()]
            self._turn += 1


def periodic_timer(period_ns: int) -> int:
    """A Linux timerfd, called by hand: event loops round to milliseconds, and `os` has it from 3.13 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    # struct itimerspec: interval and first expiry, each as seconds and nanoseconds
    schedule = (ctypes.c_long * 4)(0, period_ns, 0, period_ns)
    if timer < 0 or libc.timerfd_settime(timer, 0, schedule, None) != 0:
        raise OSError(ctypes.get_errno(), "no timerfd")
    return int(timer)


class Stream:
    """One answer under way."""

    def __init__(self, transport: asyncio.WriteTransport, answer: StreamedAnswer) -> None:
        self._transport = transport
        self._answer = answer
        self._place = 0
        transport.write(_STREAM_HEAD + answer.opening())

    def step(self) -> bool:
        """Send what is due; tell whether more is to come."""
        if self._transport.is_closing():
            return False
        if self._place == self._answer.chunks:
            self._transport.write(self._answer.closing())
            return False
        self._transport.write(self._answer.content(self._place))
        self._place += 1
        return self._answer.chunks != SILENT_CHUNKS


class Connection(asyncio.Protocol):
    """Reads requests with a Content-Length, which is all that gateways send, and answers them."""

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._received = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, for uvloop's transports do not derive from asyncio's classes. It sets TCP_NODELAY itself.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = _LENGTH.search(head + b"\r\n")
        if length is None:
            self._transport.write(b"HTTP/1.1 411 Length Required\r\ncontent-length: 0\r\n\r\n")
            self._transport.close()
            return
        size = int(length[1])
        if len(rest) >= size:
            self._received = rest[size:]
            self._answer(rest[:size])

    def _answer(self, body: bytes) -> None:
        request = json.loads(body)
        if request.get("stream") is not True:
            whole = unary_answer()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(whole)
            self._transport.write(head + whole)
            return
        stream_id, chunks = asked_for(body)
        options = request.get("stream_options") or {}
        answer = StreamedAnswer(stream_id, chunks, len(body), with_usage=options.get("include_usage") is True)
        self._wheel.seat(Stream(self._transport, answer))


async def serve(port: int, slots: int) -> None:
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop, slots)
    server = await loop.create_server(lambda: Connection(wheel), "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--slots", type=int, default=EVEN_SLOTS, help="moments in 20 ms at which it sends")
    chosen = options.parse_args()
    uvloop.run(serve(chosen.port, chosen.slots))


if __name__ == "__main__":
    main()
