"""Any OpenAI-compatible server: OpenAI, vLLM, Ollama, llama.cpp, OpenRouter and others."""

from typing import Annotated

import msgspec

from dragoman.legs import origin_of
from dragoman.ports import Provider
from dragoman.wires.openai_client import OpenAIClient


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys of `kind = "openai"`."""

    base_url: Annotated[str, msgspec.Meta(description="Address up to and including `/v1`.")] = (
        "https://api.openai.com/v1"
    )
    proxy: Annotated[str, msgspec.Meta(description="`http://[user:password@]host:port` to go through.")] = ""
    ca_file: Annotated[str, msgspec.Meta(description="Certificates to trust instead of the system's.")] = ""
    default_max_tokens: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None, msgspec.Meta(description="Limit for chats that set none.")
    ] = None
    usage_in_streams: Annotated[
        bool, msgspec.Meta(description="Ask streams for usage; off for servers that refuse `stream_options`.")
    ] = True


def build(options: Options) -> Provider:
    origin, prefix = origin_of(options.base_url, options.proxy, options.ca_file)
    return OpenAIClient(
        origin,
        prefix,
        default_max_tokens=options.default_max_tokens,
        usage_in_streams=options.usage_in_streams,
    )
