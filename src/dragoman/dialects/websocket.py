"""System C over WebSocket: `<|ask|>$conversation$parent$prompt` in, deltas and `<|end|>$conversation$parent` out.

Source: seed protocols, section 5.3. A prompt may hold dollar signs: only the first three divide. The asks of
one connection are answered in their order.
"""

from urllib.parse import parse_qs

from dragoman.chat import Delta, End
from dragoman.faults import Fault, Malformed
from dragoman.intents import Say
from dragoman.legs import Head, Reply
from dragoman.people import Secret
from dragoman.ports import Mount, Turn
from dragoman.wires.keyed import one_key
from dragoman.wires.prompts import new_or, normalised
from dragoman.wires.talking import Speaking, question, said_in

WIRE = "websocket"
ASK, END, ERROR = "<|ask|>", "<|end|>", b"<|err|>"
FORMAT = "请使用“<|ask|>$会话ID$上条消息ID$消息内容”为格式发送消息"


class Frame:
    """One text frame."""

    whole = True
    late = False

    def __init__(self, head: Head) -> None:
        self.head = head

    def claim(self) -> Secret | None:
        return one_key(self.head, key_in_query(self.head))

    def receive(self, data: bytes) -> Turn:
        parts = _text(self.head, data).split("$", 3)
        if len(parts) < 4 or parts[0] != ASK or not parts[1]:
            raise Malformed(FORMAT)
        text = normalised(parts[3])
        if not text:
            raise Malformed(FORMAT)
        thread = new_or(parts[1])
        parent = new_or(parts[2]) if thread else ""
        return TextTurn(Say(WIRE, question(text, "prompt"), thread=thread, parent=parent))

    def refuse(self, fault: Fault) -> Reply:
        """What the caller can mend is said after the mark; a failure is the mark alone."""
        is_mark = fault.blame != "caller" or fault.code in ("not_found", "conflict", "refused", "cancelled")
        return Reply(200, [], ERROR if is_mark else ERROR + b"$" + fault.message.encode())


def key_in_query(head: Head) -> str:
    """Return `?key=…` of the handshake: pages cannot set headers on a WebSocket."""
    values = parse_qs(head.query.decode("latin-1")).get("key")
    return values[0] if values else ""


def _text(head: Head, data: bytes) -> str:
    if head.get(b"content-type") == b"application/octet-stream":
        raise Malformed(FORMAT)
    return data.decode(errors="replace")


class TextTurn(Speaking):
    def write(self, deltas: list[Delta]) -> list[bytes]:
        said = said_in(deltas)
        pieces = [said.encode()] if said else []
        if isinstance(deltas[-1], End):
            pieces.append(f"{END}${self.place.thread.id}${self.place.answer}".encode())
        return pieces

    def fail(self, fault: Fault) -> list[bytes]:  # noqa: ARG002 - the mark says all that this protocol can
        return [ERROR]


mounts: tuple[Mount, ...] = (Mount("WS", "*", Frame, door="websocket"),)
