"""Bodies of the legacy relays' clients: JSON, or forms with keys in brackets (`opts[key]=…`)."""

import re
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from dragoman.faults import Malformed

FORM = b"application/x-www-form-urlencoded"
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)$")
_INNER = re.compile(r"\[([^\[\]]*)\]")
_DEPTH = 5
_FIELDS = 1000


def media_type(value: bytes | None) -> bytes:
    return (value or b"").partition(b";")[0].strip().lower()


def read_object(body: bytes) -> dict[str, Any]:
    """Decode a JSON object; nothing at all counts as an empty one. Raises Malformed."""
    if not body.strip():
        return {}
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Malformed(f"The body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise Malformed("The body must be a JSON object.")
    return value


def read_form(body: bytes) -> dict[str, Any]:
    """Decode a form; keys in brackets nest, numbers in brackets make lists. Raises Malformed."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError as error:
        raise Malformed(f"The body is not a form: {error}") from None
    tree: dict[str, Any] = {}
    for name, value in pairs:
        found = _KEY.match(name)
        keys = [found[1], *_INNER.findall(found[2])] if found else [name]
        if len(keys) > _DEPTH:
            raise Malformed("The form nests too deeply.", field=keys[0])
        at = tree
        for key in keys[:-1]:
            inner = at.setdefault(key, {})
            if not isinstance(inner, dict):
                raise Malformed("The form gives a field twice.", field=keys[0])
            at = inner
        at[keys[-1]] = value
    return {key: _with_lists(value) for key, value in tree.items()}


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _with_lists(item) for key, item in value.items()}
    if inner and all(key.isdigit() or not key for key in inner):
        return [inner[key] for key in sorted(inner, key=lambda key: int(key or 0))]
    return inner


def text_of_query(query: bytes) -> dict[str, str]:
    """Read a query string, the first of each name; what is not UTF-8 is replaced."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace"):
        found.setdefault(name, value)
    return found


def whole_number(text: str, default: int, least: int, most: int, field: str) -> int:
    """Read a number in a query; "" means the default. Raises Malformed that names the field."""
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise Malformed(f"{field} must be a number from {least} to {most}.", field=field)
    return int(text)
