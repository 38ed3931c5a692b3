"""Keeps what was said in a call whose key allows it: the bytes of the question and of the answer, up to a bound."""

import msgspec

from dragoman.chat import Delta
from dragoman.faults import Fault
from dragoman.intents import Ask, Forward
from dragoman.legs import Headers
from dragoman.ports import Turn
from dragoman.records import CONTENT_BYTES, Content


class Keeping:
    """A dialect's turn whose question and answer are also kept. Keeps `dragoman.ports.Turn` by handing on."""

    def __init__(self, turn: Turn, intent: Ask | Forward) -> None:
        self._turn = turn
        self._question = _question(intent)[:CONTENT_BYTES]
        self._answer = bytearray()
        self.intent = intent
        self.streaming = turn.streaming
        self.in_band = turn.in_band
        self.status = turn.status
        self.early = turn.early
        self.label = turn.label

    def opening(self, headers: Headers) -> Headers:
        return self._turn.opening(headers)

    def write(self, deltas: list[Delta]) -> list[bytes]:
        return self._noted(self._turn.write(deltas))

    def begun(self) -> None:
        self._turn.begun()

    def fail(self, fault: Fault) -> list[bytes]:
        return self._noted(self._turn.fail(fault))

    def beat(self, place: int = 0) -> list[bytes]:
        return self._turn.beat(place)

    def content(self, id_: str, at: float) -> Content:
        """Return what was said so far, as text."""
        return Content(id_, at, _text(self._question), _text(bytes(self._answer)))

    def _noted(self, pieces: list[bytes]) -> list[bytes]:
        for piece in pieces:
            if len(self._answer) >= CONTENT_BYTES:
                break
            self._answer += piece[: CONTENT_BYTES - len(self._answer)]
        return pieces


def _question(intent: Ask | Forward) -> bytes:
    if isinstance(intent, Forward):
        return intent.rename(intent.model)
    return intent.body or msgspec.json.encode(intent.request())


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
