"""A ChatGPT-web back end: whatever answers `POST …/conversation` as section 2 of the seed protocols says.

Nothing is sent that the configuration does not say, and no measure against automation is worked around: whether an
account may be used this way is between its owner and the vendor.
"""

from typing import Annotated

import msgspec

from dragoman.chat import estimate_tokens
from dragoman.faults import Fault, Unsupported
from dragoman.intents import Ask, Count, Forward
from dragoman.legs import Child, Headers, Origin, Outbound, origin_of
from dragoman.ports import Provider, Reader
from dragoman.routes import Credential
from dragoman.wires import chatgpt_ask, chatgpt_web
from dragoman.wires.openai_client import is_event_stream
from dragoman.wires.passing import PassingBody
from dragoman.wires.refusals import fault_of


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys of `kind = "chatgpt-web"`."""

    base_url: Annotated[str, msgspec.Meta(description="Address up to `/conversation`, such as `…/backend-api`.")]
    proxy: Annotated[str, msgspec.Meta(description="`http://[user:password@]host:port` to go through.")] = ""
    ca_file: Annotated[str, msgspec.Meta(description="Certificates to trust instead of the system's.")] = ""
    transcript: Annotated[
        bool, msgspec.Meta(description="Send the history as one text, for back ends that read one message only.")
    ] = False


class ChatGptWeb:
    """One back end. Its own wire passes through; other questions begin a conversation there each."""

    wire = chatgpt_web.WIRE
    child: Child | None = None

    def __init__(self, origin: Origin, prefix: str, *, transcript: bool) -> None:
        self._origin = origin
        self._prefix = prefix
        self._transcript = transcript

    def request(self, intent: Ask | Forward | Count, model: str, credential: Credential) -> Outbound:
        match intent:
            case Ask() if intent.wire != self.wire:
                body = chatgpt_ask.compose(intent.request(), model, as_transcript=self._transcript)
                return self._outbound("POST", "/conversation", credential, body)
            case Forward() if intent.wire == self.wire:
                return self._outbound(intent.method, intent.path, credential, intent.rename(model))
        raise Unsupported("This model's provider has no such end point.")

    def _outbound(self, method: str, path: str, credential: Credential, body: bytes = b"") -> Outbound:
        headers: Headers = [(b"accept", b"text/event-stream" if body else b"application/json")]
        if body:
            headers.append((b"content-type", b"application/json"))
        if credential.secret:
            token = credential.secret.reveal().removeprefix("Bearer ").encode("latin-1")
            headers.append((b"authorization", b"Bearer " + token))
        return Outbound(self._origin, method, self._prefix + path, headers, body, len(body))

    def reader(self, intent: Ask | Forward | Count, headers: Headers) -> Reader:
        if isinstance(intent, Forward):
            return chatgpt_web.OpaqueStream() if is_event_stream(headers) else PassingBody()
        return chatgpt_web.OpenStream(estimate_tokens(intent.request()))

    def fault(self, status: int, headers: Headers, body: bytes) -> Fault:
        return fault_of(status, headers, body)

    def probe(self, credential: Credential) -> Outbound | None:
        """Ask for the shortest list of conversations: there is no list of models."""
        return self._outbound("GET", "/conversations?offset=0&limit=1", credential)

    def listing(self, body: bytes) -> list[str]:  # noqa: ARG002 - it names conversations, not models
        return []


def build(options: Options) -> Provider:
    origin, prefix = origin_of(options.base_url, options.proxy, options.ca_file)
    return ChatGptWeb(origin, prefix, transcript=options.transcript)
