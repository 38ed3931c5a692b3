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

from bench.dialects import WrongAnswerError, check_stream, request_body, request_head, token

PACE_S = 0.020
# Connections open one after the other, within a tenth of a second or at most this many in one second.
OPENING_S = 0.1
OPENINGS_PER_S = 2000
_END_OF_BODY = b"0\r\n\r\n"


class Caller(asyncio.Protocol):
    """One connection with one streamed request."""

    def __init__(self, stream_id: int, request: bytes, first_token: bytes) -> None:
        self.stream_id = stream_id
        self.pieces: list[bytes] = []
        self.arrivals_s: list[float] = []
        loop = asyncio.get_running_loop()
        self.first_content: asyncio.Future[None] = loop.create_future()
        self.finished: asyncio.Future[None] = loop.create_future()
        self._request = request
        self._first_token = first_token
        self._end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, for uvloop's transports do not derive from asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self.arrivals_s.append(time.monotonic())
        if not self.first_content.done() and self._first_token in data:
            self.first_content.set_result(None)
        self._end = (self._end + data)[-len(_END_OF_BODY) :]
        if self._end == _END_OF_BODY and not self.finished.done():
            self.finished.set_result(None)
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        # A connection lost before the end is found by the check: its body breaks off.
        for waiting in (self.first_content, self.finished):
            if not waiting.done():
                waiting.set_result(None)


async def open_streams(options: argparse.Namespace) -> list[Caller]:
    loop = asyncio.get_running_loop()
    callers = []
    started_s = loop.time()
    apart_s = max(OPENING_S / options.streams, 1 / OPENINGS_PER_S)
    for stream_id in range(options.streams):
        body = request_body(options.dialect, stream=True, chunks=options.chunks, stream_id=stream_id)
        request = request_head(options.dialect, options.key, len(body)) + body
        caller = Caller(stream_id, request, token(stream_id, 0).encode())
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
    for caller in callers:
        try:
            check_stream(options.dialect, b"".join(caller.pieces), caller.stream_id, options.chunks)
        except (WrongAnswerError, ValueError, LookupError) as error:
            failures.append(f"stream {caller.stream_id}: {error}")
    # Arrival of first to last piece against the time the upstream took to send them.
    durations_s = sorted(caller.arrivals_s[-1] - caller.arrivals_s[0] for caller in callers if caller.arrivals_s)
    return {
        "failures": len(failures),
        "first_failure": failures[0] if failures else "",
        "cpu_s": cpu_s,
        "elapsed_s": elapsed_s,
        "stretch": durations_s[int(len(durations_s) * 0.95)] / nominal_s if durations_s else 0.0,
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
    options.add_argument("--dialect", choices=("openai", "anthropic"), required=True)
    options.add_argument("--streams", type=int, required=True)
    options.add_argument("--chunks", type=int, required=True)
    options.add_argument("--hold", action="store_true", help="keep the streams open until SIGTERM")
    uvloop.run(run(options.parse_args()))


if __name__ == "__main__":
    main()
