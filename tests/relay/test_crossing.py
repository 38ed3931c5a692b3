"""The table of section 7 of the seed protocols; tests/legacy plays it against a running gateway."""

import pytest

from dragoman.dialects import ndjson, sse_chat
from dragoman.legs import Head
from dragoman.relay.crossing import choose

MOUNTS = [m for module in (ndjson, sse_chat) for m in module.mounts if m.crossing]
KINDS = {"lines": "relay", "secret": "minted"}


def name(headers: dict[str, str], body: bytes) -> str:
    head = Head("POST", "/chat", b"", [(k.encode(), v.encode()) for k, v in headers.items()])
    found = choose(MOUNTS, head, body, lambda key: KINDS.get(key.reveal(), ""))
    assert found.crossing
    return found.crossing.name


@pytest.mark.parametrize(
    ("headers", "body", "meant"),
    [
        ({"accept": "text/event-stream", "authorization": "lines"}, b"{}", "sse"),
        ({"accept": "application/x-ndjson", "authorization": "secret"}, b'{"stream":true}', "ndjson"),
        ({"accept": "*/*", "authorization": "lines"}, b'{"stream":true}', "ndjson"),
        ({"authorization": "Bearer lines"}, b'{"stream":true}', "ndjson"),
        ({"authorization": "secret"}, b"{}", "sse"),
        ({"authorization": "bearer secret"}, b"{}", "sse"),
        ({"authorization": "unknown"}, b'{"stream":false}', "sse"),
        ({}, b'{"stream":null}', "sse"),
        ({}, b'{"messages":[{"stream":true}]}', "ndjson"),
        ({}, b"", "ndjson"),
        ({}, b"nonsense", "ndjson"),
        ({}, b"[1]", "ndjson"),
        ({"authorization": ""}, b"\xff", "ndjson"),
    ],
)
def test_the_order_of_the_rules(headers: dict[str, str], body: bytes, meant: str) -> None:
    assert name(headers, body) == meant
