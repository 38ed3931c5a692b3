"""Halves of surrogate pairs in JSON, which a provider writes that cuts text between the two.

RFC 8259, 8.2, leaves open what a reader makes of them; msgspec refuses them. U+FFFD stands for each, as in browsers
(WHATWG, "Encoding"), and the rest of the answer is what it is.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)


def mended(data: bytes) -> bytes:
    """Put U+FFFD in the place of each half that stands alone. O(size)."""
    return _ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], data)


def forgiving(decode: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Make a decoder of JSON that takes halves of pairs. It raises what `decode` raises for anything else."""

    def decode_all(data: bytes) -> T:
        try:
            return decode(data)
        except msgspec.DecodeError:
            if b"\\ud" not in data and b"\\uD" not in data:
                raise
        return decode(mended(data))

    return decode_all
