"""Typed events of an answer in a conversation: begin, delta, thinking, end, error. JSON and Protobuf spell them.

One question has one `id`, the caller's own; every event of its answer carries it.
"""

from typing import Protocol

from dragoman.chat import Begin, ChatRequest, Delta, End, Message, Tally, Text, TextDelta, ThinkDelta, Usage
from dragoman.faults import Fault, Malformed
from dragoman.intents import Say, Stop
from dragoman.legs import Reply
from dragoman.threads import Place
from dragoman.wires.talking import Speaking, question

TOKENS_MOST = 10_000_000


class Spelling(Protocol):
    """How events become bytes."""

    def begin(self, id_: str, place: Place, model: str) -> bytes: ...

    def delta(self, id_: str, text: str) -> bytes: ...

    def thinking(self, id_: str, text: str) -> bytes: ...

    def end(self, id_: str, reason: str, usage: Usage) -> bytes: ...

    def error(self, id_: str, fault: Fault) -> bytes: ...


class EventsTurn(Speaking):
    """An answer as events. `in_band`: what goes wrong is an event too, else it is the connection's matter."""

    def __init__(self, intent: Say, id_: str, spelling: Spelling, *, in_band: bool) -> None:
        super().__init__(intent)
        self.label = id_
        self.in_band = in_band
        self._spelling = spelling
        self._usage = Usage(estimated=True)

    def write(self, deltas: list[Delta]) -> list[bytes]:
        pieces: list[bytes] = []
        spelling, id_ = self._spelling, self.label
        for delta in deltas:
            match delta:
                case TextDelta(text):
                    pieces.append(spelling.delta(id_, text))
                case ThinkDelta(text) if text:
                    pieces.append(spelling.thinking(id_, text))
                case Begin(_, model):
                    pieces.append(spelling.begin(id_, self.place, model))
                case Tally(usage):
                    self._usage = usage
                case End(reason):
                    pieces.append(spelling.end(id_, reason, self._usage))
        return pieces

    def fail(self, fault: Fault) -> list[bytes]:
        return [self._spelling.error(self.label, fault)] if self.in_band else []


class Stopping:
    """A wish to stop an answer: silent where there is one, since that answer will say it."""

    def __init__(self, id_: str, spelling: Spelling) -> None:
        self.intent = Stop(id_)
        self._spelling = spelling

    def answer(self, found: object) -> Reply:
        missing = Malformed("No answer of this id is under way.", field="id")
        return Reply(200, [], b"" if found else self._spelling.error(self.intent.label, missing))


def asked(wire: str, content: object, ids: tuple[str, str], model: str, system: str, template: ChatRequest) -> Say:
    """Make the intent of a question; `ids` are the conversation's and the parent's. Raises Malformed."""
    if system:
        template.messages.insert(0, Message("system", (Text(system),)))
    check(template)
    return Say(wire, question(content, "content"), model, ids[0], ids[1], template=template, loose=False)


def check(template: ChatRequest) -> None:
    """Check the settings that go with a question. Raises Malformed that names the field."""
    for field, value, least, most in (
        ("max_tokens", template.max_tokens, 1, TOKENS_MOST),
        ("temperature", template.temperature, 0, 2),
        ("top_p", template.top_p, 0, 1),
        ("presence_penalty", template.presence_penalty, -2, 2),
        ("frequency_penalty", template.frequency_penalty, -2, 2),
    ):
        if value is not None and not least <= value <= most:
            raise Malformed(f"{field} must be a number from {least} to {most}.", field=field)
