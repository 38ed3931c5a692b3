"""System C over gRPC: `/chat.Chat/Ask`, text deltas and `<|end|>$conversation$parent` as messages.

Source: seed protocols, section 5.2. Every failure is one `<|err|>` with status OK; what it was stands in the
trailing metadata. A question without a conversation follows the last one on the same channel, since the shipped
client never learns its ids; `new` begins a new one.
"""

from google.protobuf.message import DecodeError

from dragoman.chat import Delta, End
from dragoman.faults import Fault, Malformed
from dragoman.intents import Say
from dragoman.legs import Reply
from dragoman.ports import Mount, Turn
from dragoman.wires.grpc_status import named
from dragoman.wires.keyed import Keyed
from dragoman.wires.prompts import NEW, new_or, normalised
from dragoman.wires.proto.chat_pb2 import askrequest, askresponse
from dragoman.wires.talking import Speaking, question, said_in

WIRE = "grpc"
ERROR = askresponse(response="<|err|>").SerializeToString()
# Behind a proxy one channel carries many callers.
PROXIED = (b"x-forwarded-for", b"forwarded", b"via", b"x-real-ip")


class Asking(Keyed):
    """One call."""

    def receive(self, data: bytes) -> Turn:
        try:
            asked = askrequest.FromString(data)
        except DecodeError:
            raise Malformed("The message is not an askrequest.") from None
        thread = new_or(asked.conversation_id)
        say = Say(
            WIRE,
            question(normalised(asked.prompt), "prompt"),
            thread=thread,
            parent=new_or(asked.parent_id) if thread else "",
            follow=self._channel(),
            anew=asked.conversation_id == NEW,
        )
        return DeltasTurn(say)

    def _channel(self) -> str:
        is_shared = any(map(self.head.get, PROXIED))
        return "" if is_shared else (self.head.get(b":channel") or b"").decode("latin-1")

    def refuse(self, fault: Fault) -> Reply:
        return Reply(0, named(fault), ERROR)


class DeltasTurn(Speaking):
    def write(self, deltas: list[Delta]) -> list[bytes]:
        said = said_in(deltas)
        pieces = [askresponse(response=said).SerializeToString()] if said else []
        if isinstance(deltas[-1], End):
            end = f"<|end|>${self.place.thread.id}${self.place.answer}"
            pieces.append(askresponse(response=end).SerializeToString())
        return pieces

    def fail(self, fault: Fault) -> list[bytes]:  # noqa: ARG002 - the mark says all that this protocol can
        return [ERROR]


mounts: tuple[Mount, ...] = (Mount("GRPC", "/chat.Chat/Ask", Asking, door="grpc", channel=True),)
