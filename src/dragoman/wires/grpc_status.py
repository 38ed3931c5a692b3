"""Faults as gRPC statuses. Source: gRPC documentation, "Status codes and their use in gRPC"."""

from urllib.parse import quote

from dragoman.faults import Fault
from dragoman.legs import Headers, Reply

INTERNAL, DATA_LOSS = 13, 15
# By HTTP status: what the fault would be there.
CODES = {
    400: 3,
    401: 16,
    402: 8,
    403: 7,
    404: 5,
    405: 12,
    408: 4,
    409: 10,
    413: 8,
    422: 3,
    429: 8,
    499: 1,
    502: 14,
    503: 14,
    504: 4,
}


def status_of(fault: Fault) -> Reply:
    """Make the reply that ends a call with the fault's status; the message is its details."""
    code = (
        DATA_LOSS
        if fault.code == "upstream_truncated"
        else CODES.get(fault.status, 3 if fault.status < 500 else INTERNAL)
    )
    return Reply(code, [(b"grpc-message", fault.message.encode()), *named(fault)], b"")


def named(fault: Fault) -> Headers:
    """Name a fault in trailing metadata, which is ASCII."""
    said = [
        (b"x-dragoman-error", fault.code.encode()),
        (b"x-dragoman-message", quote(fault.message, safe=" ").encode()),
    ]
    if fault.field:
        said.append((b"x-dragoman-field", quote(fault.field).encode()))
    return said
