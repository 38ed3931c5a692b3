"""Our side of OpenAI's HTTP interface: requests to any compatible server, readers for its answers.

Source: OpenAI API reference, "Authentication", "Create chat completion", "List models". Used by the
`openai` and `local` providers; a compatible upstream is a row of configuration.
"""

import msgspec

from dragoman.faults import Fault, Unsupported
from dragoman.intents import Ask, Count, Forward
from dragoman.legs import Child, Headers, Origin, Outbound
from dragoman.ports import Reader
from dragoman.routes import Credential
from dragoman.wires import openai_ask, openai_chat
from dragoman.wires.passing import PassingBody
from dragoman.wires.refusals import fault_of

encode = msgspec.json.encode


class OpenAIClient:
    """One OpenAI-compatible server.

    `default_max_tokens` is spliced into chats that set no limit; `usage_in_streams` off keeps
    `stream_options` away from servers that refuse it.
    """

    wire = openai_chat.WIRE

    def __init__(
        self,
        origin: Origin,
        prefix: str,
        *,
        default_max_tokens: int | None = None,
        usage_in_streams: bool = True,
        child: Child | None = None,
    ) -> None:
        self._origin = origin
        self._prefix = prefix
        self._default_max_tokens = default_max_tokens
        self._usage_in_streams = usage_in_streams
        self.child = child

    def request(self, intent: Ask | Forward | Count, model: str, credential: Credential) -> Outbound:
        match intent:
            case Ask():
                body = self._spliced(intent, model) if intent.wire == self.wire else self._composed(intent, model)
                return self._outbound("POST", "/chat/completions", credential, body, headers=intent.headers)
            case Forward() if intent.wire == self.wire:
                body = intent.rename(model)
                kind = intent.content_type
                return self._outbound(intent.method, intent.path, credential, body, kind, intent.headers)
        raise Unsupported("This model's provider has no such end point.")

    def _spliced(self, ask: Ask, model: str) -> bytes:
        values: dict[str, bytes] = {}
        if model != ask.model:
            values["model"] = encode(model)
        if ask.metered and self._usage_in_streams:
            values |= ask.metered
        if ask.max_tokens is None and self._default_max_tokens:
            values["max_tokens"] = encode(self._default_max_tokens)
        return ask.put(values) if values else ask.body

    def _composed(self, ask: Ask, model: str) -> bytes:
        request = ask.request()
        if request.max_tokens is None:
            request.max_tokens = self._default_max_tokens
        return openai_ask.compose(request, model, stream=ask.stream)

    def _outbound(
        self,
        method: str,
        path: str,
        credential: Credential,
        body: bytes = b"",
        content_type: bytes = b"application/json",
        headers: Headers | None = None,
    ) -> Outbound:
        made: Headers = [(b"content-type", content_type)] if body else []
        if credential.secret:
            made.append((b"authorization", b"Bearer " + credential.secret.reveal().encode("latin-1")))
        if headers:
            made += headers
        return Outbound(self._origin, method, self._prefix + path, made, body, len(body))

    def reader(self, intent: Ask | Forward | Count, headers: Headers) -> Reader:
        streamed = is_event_stream(headers)
        match intent:
            case Ask(wire=self.wire):
                if streamed and intent.stream:
                    return openai_chat.OpaqueStream(hide_usage=bool(intent.metered))
                if not streamed and not intent.stream:
                    return openai_chat.OpaqueWhole()
            case Forward(path="/completions") if streamed:
                return openai_chat.OpaqueStream(hide_usage=intent.hide_usage)
            case Forward():
                return PassingBody()
        return openai_chat.OpenStream() if streamed else openai_chat.OpenWhole()

    def fault(self, status: int, headers: Headers, body: bytes) -> Fault:
        return fault_of(status, headers, body)

    def probe(self, credential: Credential) -> Outbound:
        return self._outbound("GET", "/models", credential)

    def listing(self, body: bytes) -> list[str]:
        return listed(body)


def is_event_stream(headers: Headers) -> bool:
    for name, value in headers:
        if name == b"content-type":
            return value.lower().startswith(b"text/event-stream")
    return False


class _Listed(msgspec.Struct):
    id: str


class _Listing(msgspec.Struct):
    data: list[_Listed]


def listed(body: bytes) -> list[str]:
    """Read the names in a list of models, OpenAI's or Anthropic's; none if it is something else.

    A name with characters that cannot be seen is left out: it may end up in somebody's terminal.
    """
    try:
        return [row.id for row in msgspec.json.decode(body, type=_Listing).data if row.id.isprintable()]
    except (msgspec.DecodeError, ValueError, RecursionError):
        return []
