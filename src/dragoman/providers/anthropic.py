"""Anthropic's Messages API, or a server that speaks it.

Source: Anthropic API reference, "Create a Message", "Count Message tokens", "List Models", "Versions".
"""

from typing import Annotated

import msgspec

from dragoman.faults import Fault, Unsupported
from dragoman.intents import Ask, Count, Forward
from dragoman.legs import Child, Headers, Origin, Outbound, origin_of
from dragoman.ports import Provider, Reader
from dragoman.routes import Credential
from dragoman.wires import anthropic, anthropic_ask
from dragoman.wires.openai_client import is_event_stream, listed
from dragoman.wires.passing import PassingBody
from dragoman.wires.refusals import fault_of

VERSION = b"2023-06-01"
encode = msgspec.json.encode


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys of `kind = "anthropic"`."""

    base_url: Annotated[str, msgspec.Meta(description="Address without `/v1`.")] = "https://api.anthropic.com"
    proxy: Annotated[str, msgspec.Meta(description="`http://[user:password@]host:port` to go through.")] = ""
    ca_file: Annotated[str, msgspec.Meta(description="Certificates to trust instead of the system's.")] = ""
    default_max_tokens: Annotated[
        int, msgspec.Meta(ge=1, description="Limit for translated chats that set none; the format requires one.")
    ] = 4096


class AnthropicClient:
    """One server that speaks Anthropic's format."""

    wire = anthropic.WIRE
    child: Child | None = None

    def __init__(self, origin: Origin, prefix: str, default_max_tokens: int) -> None:
        self._origin = origin
        self._prefix = prefix.removesuffix("/v1")
        self._default_max_tokens = default_max_tokens

    def request(self, intent: Ask | Forward | Count, model: str, credential: Credential) -> Outbound:
        match intent:
            case Ask() if intent.wire != self.wire:
                limit = self._default_max_tokens
                body = anthropic_ask.compose(intent.request(), model, stream=intent.stream, default_max_tokens=limit)
                return self._outbound("POST", "/v1/messages", credential, body)
            case Ask() | Count() if intent.wire == self.wire:
                path = intent.path if isinstance(intent, Count) else "/v1/messages"
                body = intent.put({"model": encode(model)}) if model != intent.model else intent.body
                return self._outbound("POST", path, credential, body, intent.headers)
        raise Unsupported("This model's provider has no such end point.")

    def _outbound(
        self, method: str, path: str, credential: Credential, body: bytes = b"", headers: Headers | None = None
    ) -> Outbound:
        made: Headers = [(b"content-type", b"application/json")] if body else []
        if credential.secret:
            made.append((b"x-api-key", credential.secret.reveal().encode("latin-1")))
        made += headers or ()
        if not any(name == b"anthropic-version" for name, _ in made):
            made.append((b"anthropic-version", VERSION))
        return Outbound(self._origin, method, self._prefix + path, made, body, len(body))

    def reader(self, intent: Ask | Forward | Count, headers: Headers) -> Reader:
        streamed = is_event_stream(headers)
        match intent:
            case Ask(wire=self.wire):
                if streamed and intent.stream:
                    return anthropic.OpaqueStream()
                if not streamed and not intent.stream:
                    return anthropic.OpaqueWhole()
            case Count() | Forward():
                return PassingBody()
        return anthropic.OpenStream() if streamed else anthropic.OpenWhole()

    def fault(self, status: int, headers: Headers, body: bytes) -> Fault:
        return fault_of(status, headers, body)

    def probe(self, credential: Credential) -> Outbound:
        return self._outbound("GET", "/v1/models?limit=1000", credential)

    def listing(self, body: bytes) -> list[str]:
        return listed(body)


def build(options: Options) -> Provider:
    origin, prefix = origin_of(options.base_url, options.proxy, options.ca_file)
    return AnthropicClient(origin, prefix, options.default_max_tokens)
