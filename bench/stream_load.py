"""The client of the stream figures: many streams at once, every one checked down to its last token.

While streams run it only notes what came and when; answers are parsed and checked after the last
has ended, so that the checking neither disturbs the pace nor counts as load. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from typing import Any, cast

import uvloop

from bench.dialects import DIALECTS, check_stream, exchange
from bench.framing import Framing
from bench.script import WrongAnswerError, token

PACE_S = 0.020
# Connections open one after the other, within a tenth of a second or at most this many in one second.
OPENING_S = 0.1
OPENINGS_PER_S = 2000


class Caller(asyncio.Protocol):
    """One connection with one streamed request."""

    def __init__(self, stream_id: int, framing: Framing) -> None:
        self.stream_id = stream_id
        self.framing = framing
        self.pieces: list[bytes] = []
        self.began_s = self.ended_s = 0.0
        loop = asyncio.get_running_loop()
        self.first_content: asyncio.Future[None] = loop.create_future()
        self.finished: asyncio.Future[None] = loop.create_future()
        self._first_token = token(stream_id, 0).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, for uvloop's transports do not derive from asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self.framing.opening())

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self.ended_s = time.monotonic()
        if not self.began_s and self._first_token in data:
            self.began_s = self.ended_s
            self.first_content.set_result(None)
        if reply := self.framing.receive(data):
            self._transport.write(reply)
        if self.framing.is_over and not self.finished.done():
            self.finished.set_result(None)
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        # A connection lost before the end is found by the check: its answer breaks off.
        for waiting in (self.first_content, self.finished):
            if not waiting.done():
                waiting.set_result(None)


async def open_streams(options: argparse.Namespace) -> list[Caller]:
    loop = asyncio.get_running_loop()
    callers = []
    started_s = loop.time()
    apart_s = max(OPENING_S / options.streams, 1 / OPENINGS_PER_S)
    for stream_id in range(options.streams):
        caller = Caller(stream_id, exchange(options.dialect, options.key, stream_id, options.chunks))
        await asyncio.sleep(started_s + stream_id * apart_s - loop.time())
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", options.port)  # type: ignore[misc]
        callers.append(caller)
    return callers


async def run_through(options: argparse.Namespace) -> dict[str, Any]:
    """Let every stream run to its end, then check them all."""
    cpu_s, started_s = time.process_time(), time.monotonic()
    callers = await open_streams(options)
    nominal_s = options.chunks * PACE_S
    _done, _late = await asyncio.wait([caller.finished for caller in callers], timeout=2 * nominal_s + 15)
    cpu_s, elapsed_s = time.process_time() - cpu_s, time.monotonic() - started_s

    failures = []
    events = 0
    for caller in callers:
        raw = b"".join(caller.pieces)
        try:
            events += check_stream(options.dialect, caller.framing, raw, caller.stream_id, options.chunks)
        except (WrongAnswerError, ValueError, LookupError, TypeError) as error:
            failures.append(f"stream {caller.stream_id}: {error}")
    # Arrival of the first token to the last piece, against the time the upstream took to send them.
    durations_s = sorted(caller.ended_s - caller.began_s for caller in callers if caller.began_s)
    return {
        "failures": len(failures),
        "first_failure": failures[0] if failures else "",
        "cpu_s": cpu_s,
        "elapsed_s": elapsed_s,
        "stretch": durations_s[int(len(durations_s) * 0.95)] / nominal_s if durations_s else 0.0,
        "events": events,
    }


async def hold_open(options: argparse.Namespace) -> None:
    """Open all streams, wait for the first token of each, say so, and keep them until told to end."""
    told_to_end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_end.set)
    callers = await open_streams(options)
    await asyncio.wait([caller.first_content for caller in callers], timeout=50)
    flowing = sum(token(caller.stream_id, 0).encode() in b"".join(caller.pieces) for caller in callers)
    print(json.dumps({"open": flowing}), flush=True)
    await told_to_end.wait()
    print(json.dumps({"cut": sum(caller.finished.done() for caller in callers)}), flush=True)


async def run(options: argparse.Namespace) -> None:
    if options.hold:
        await hold_open(options)
    else:
        print(json.dumps(await run_through(options)))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--key", required=True)
    options.add_argument("--dialect", choices=tuple(DIALECTS), required=True)
    options.add_argument("--streams", type=int, required=True)
    options.add_argument("--chunks", type=int, required=True)
    options.add_argument("--hold", action="store_true", help="keep the streams open until SIGTERM")
    uvloop.run(run(options.parse_args()))


if __name__ == "__main__":
    main()
