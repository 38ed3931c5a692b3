"""Checking the caller's JSON: each wrong value becomes a Malformed that names its field."""

import json
import re
from typing import Annotated, TypeVar

import msgspec

from dragoman.faults import Malformed
from dragoman.legs import Head
from dragoman.wires.framing import Document

T = TypeVar("T")

ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
Messages = Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=100_000)]
Tools = Annotated[list[msgspec.Raw], msgspec.Meta(max_length=1_000)]
HOSTS = ("base_url", "api_base", "api_key", "user_config")


def decode(document: Document, decoder: msgspec.json.Decoder[T]) -> T:
    """Read a body into a struct. Raises Malformed that names the field in the caller's notation."""
    try:
        return decoder.decode(document.body)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at `$")
        field = place.rstrip("`").removeprefix(".") or None
        if missing := re.search(r"required field `([^`]+)`", said):
            field = f"{field}.{missing[1]}" if field else missing[1]
            raise Malformed(f"The field {field!r} is required.", field=field) from None
        raise Malformed(f"{field}: {said}" if field else said, field=field) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Malformed(f"The body is not valid JSON: {error}") from None


def need_json(head: Head) -> None:
    """Refuse a body that is not said to be JSON: a page of somebody else's can send any other kind unasked."""
    kind = (head.get(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise Malformed("The content type must be application/json.", field="content-type")


def refuse_twins(document: Document, key: str) -> None:
    """Refuse an object inside `key` that has a name twice: the first is what one reader sees, the last another.

    What encoders write compactly is decoded and encoded again, which loses a twin and so shortens it; only
    what differs in length is read slowly.
    """
    raw = document.fields.get(key)
    if raw is None or len(msgspec.json.encode(msgspec.json.decode(raw))) == len(bytes(raw)):
        return

    def check(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise Malformed(f"{key}: {name!r} is given twice.", field=key)

    json.loads(bytes(raw), object_pairs_hook=check)


def refuse_hosts(document: Document) -> None:
    """Callers never choose hosts or keys of upstreams."""
    for key in HOSTS:
        if key in document.fields:
            raise Malformed(f"The field {key!r} is not accepted: only the operator chooses upstreams.", field=key)
