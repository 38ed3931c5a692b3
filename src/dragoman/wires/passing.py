"""Answers that are passed through without being understood: embeddings, images, audio.

Usage is looked for where these answers carry it, near the end; the proof of completion is HTTP's own.
"""

import re

import msgspec

from dragoman.chat import Delta, Frame
from dragoman.wires.openai_usage import read_usage

_TAIL_BYTES = 4096
_USAGE = re.compile(rb'"usage"\s*:\s*(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})')


class PassingBody:
    """Passes every byte at once and keeps the last few thousand to find the usage in."""

    proves_end = False

    def __init__(self) -> None:
        self._tail = b""

    def receive(self, data: bytes) -> list[Delta]:
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        return [Frame(data)]

    def close(self) -> list[Delta]:
        usage = None
        for found in _USAGE.finditer(self._tail):
            try:
                usage = read_usage(msgspec.json.decode(found[1])) or usage
            except (msgspec.DecodeError, ValueError):
                continue
        return [Frame(b"", usage=usage, ended=True)]
