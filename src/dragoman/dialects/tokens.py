"""System A's `GET /token`: a signed token for whoever shows the secret. Source: seed protocols, section 1.2.

Unlike the original, a key that is not the secret gets no token.
"""

import re
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from dragoman.faults import Fault, Malformed
from dragoman.intents import Mint
from dragoman.legs import Headers, Reply
from dragoman.people import Secret
from dragoman.ports import Lookup, Mount
from dragoman.wires.cors import cors, preflights
from dragoman.wires.http_turn import refusal_headers
from dragoman.wires.keyed import Keyed

PLAIN: Headers = [(b"content-type", b"text/plain; charset=utf-8")]
_INT64 = 2**63


class Tokens(Keyed):
    """One token."""

    def receive(self, data: bytes) -> Lookup:  # noqa: ARG002 - a GET has no body to read
        query = dict(parse_qsl(self.head.query.decode("latin-1"), keep_blank_values=True))
        if not {"id", "hour", "key"} <= query.keys():
            raise Malformed("Missing required parameters")
        hour = query["hour"]
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", hour) or not -_INT64 <= int(hour) < _INT64:
            raise Malformed("Invalid param time")
        return Minted(Mint(query["id"], int(hour), Secret(query["key"])), cors(self.head))

    def refuse(self, fault: Fault) -> Reply:
        headers = [*PLAIN, (b"x-content-type-options", b"nosniff"), *refusal_headers(fault)[1:], *cors(self.head)]
        return Reply(fault.status, headers, fault.message.encode() + b"\n")


class Minted:
    def __init__(self, intent: Mint, headers: Headers) -> None:
        self.intent = intent
        self._headers = headers

    def answer(self, found: Any) -> Reply:
        return Reply(200, [*PLAIN, *self._headers], msgspec.json.encode({"token": found}) + b"\n")


mounts: tuple[Mount, ...] = (Mount("GET", "/token", Tokens, public=True), *preflights("/token"))
