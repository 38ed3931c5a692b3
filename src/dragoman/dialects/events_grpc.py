"""Conversations over gRPC: `dragoman.v1.Chat`, typed events, usage, errors as status codes.

Source: `wires/proto/dragoman.proto`. `Ask` has one question a call and ends with a status; `Converse` carries many
at once, and what goes wrong with one of them is an Error event.
"""

from google.protobuf.message import DecodeError

from dragoman.chat import ChatRequest, ToolArgs, ToolOpen, Usage
from dragoman.faults import Fault, Malformed
from dragoman.legs import Head, Reply
from dragoman.ports import Lookup, Mount, Turn
from dragoman.threads import Place
from dragoman.wires.events import EventsTurn, Stopping, asked
from dragoman.wires.grpc_status import status_of
from dragoman.wires.keyed import Keyed
from dragoman.wires.proto import dragoman_pb2 as pb
from dragoman.wires.talking import question

WIRE = "events_grpc"
PARALLEL = 32
CANCEL_BYTES = 4096


class Protobuf:
    """Events as Protobuf messages."""

    def begin(self, id_: str, request: str, place: Place, model: str) -> bytes:  # noqa: ARG002 - see x-request-id
        ids = {"conversation_id": place.thread.id, "question_id": place.question, "message_id": place.answer}
        return pb.Event(id=id_, begin=pb.Begin(**ids, model=model)).SerializeToString()

    def delta(self, id_: str, text: str) -> bytes:
        return pb.Event(id=id_, delta=pb.Delta(text=text)).SerializeToString()

    def thinking(self, id_: str, text: str) -> bytes:
        return pb.Event(id=id_, thinking=pb.Delta(text=text)).SerializeToString()

    def tool_call(self, id_: str, call: ToolOpen) -> bytes:  # noqa: ARG002 - an AskRequest offers no tools
        return b""

    def tool_arguments(self, id_: str, piece: ToolArgs) -> bytes:  # noqa: ARG002 - as above
        return b""

    def end(self, id_: str, reason: str, usage: Usage) -> bytes:
        counts = pb.Usage(
            prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens, estimated=usage.estimated
        )
        return pb.Event(id=id_, end=pb.End(reason=reason, usage=counts)).SerializeToString()

    def error(self, id_: str, fault: Fault) -> bytes:
        error = pb.Error(code=fault.code, message=fault.message, field=fault.field or "")
        return pb.Event(id=id_, error=error).SerializeToString()


SPELLING = Protobuf()


class Asking(Keyed):
    """One question, which is a call of its own."""

    def receive(self, data: bytes) -> Turn:
        try:
            return _turn(pb.AskRequest.FromString(data), self.head.id, in_band=False)
        except DecodeError:
            raise Malformed("The message is not a dragoman.v1.AskRequest.") from None

    def refuse(self, fault: Fault) -> Reply:
        return status_of(fault)


class Conversing(Asking):
    """One of many messages of a call."""

    late = True

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        self._id = ""

    def receive(self, data: bytes) -> Turn | Lookup:  # type: ignore[override]
        try:
            said = pb.ClientEvent.FromString(data)
        except DecodeError:
            raise Malformed("The message is not a dragoman.v1.ClientEvent.") from None
        match said.WhichOneof("event"):
            case "ask":
                self._id = said.ask.id
                return _turn(said.ask, self.head.id, in_band=True)
            case "cancel":
                return Stopping(said.cancel.id, SPELLING)
        raise Malformed("The message is neither an ask nor a cancel.", field="event")

    def refuse(self, fault: Fault) -> Reply:
        return Reply(0, [], SPELLING.error(self._id, fault))


def _turn(said: pb.AskRequest, request: str, *, in_band: bool) -> EventsTurn:
    template = ChatRequest(
        [],
        max_tokens=said.max_tokens if said.HasField("max_tokens") else None,
        temperature=said.temperature if said.HasField("temperature") else None,
        top_p=said.top_p if said.HasField("top_p") else None,
        stop=tuple(said.stop),
    )
    ids = (said.conversation_id, said.parent_id)
    say = asked(WIRE, question(said.content, "content"), ids, said.model, said.system, template)
    return EventsTurn(say, said.id, request, SPELLING, in_band=in_band)


def is_cancel(data: bytes) -> bool:
    """Whether a message asks for an answer to be stopped: it must not wait for that very answer."""
    try:
        return len(data) <= CANCEL_BYTES and pb.ClientEvent.FromString(data).WhichOneof("event") == "cancel"
    except DecodeError:
        return False


mounts: tuple[Mount, ...] = (
    Mount("GRPC", "/dragoman.v1.Chat/Ask", Asking),
    Mount("GRPC", "/dragoman.v1.Chat/Converse", Conversing, parallel=PARALLEL, urgent=is_cancel),
)
