import pytest

from dragoman.faults import Broken, Busy, KeyRejected, Refused, Silent
from dragoman.wires.refusals import ErrorObject, fault_in_stream, fault_of, retry_after, scrub


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind"),
    [
        (400, [], b'{"error":{"message":"bad","param":"x"}}', Refused),
        (422, [], b"{}", Refused),
        (401, [], b'{"error":{"message":"Incorrect API key provided: sk-abcdef123456"}}', KeyRejected),
        (402, [], b"", KeyRejected),
        (403, [], b"<html>", KeyRejected),
        (429, [], b'{"error":{"code":"insufficient_quota","message":"x"}}', KeyRejected),
        (429, [(b"retry-after", b"7")], b"", Busy),
        (503, [(b"retry-after", b"7")], b"", Busy),
        (529, [], b"", Busy),
        (503, [], b"", Broken),
        (500, [], b"not json", Broken),
        (504, [], b"", Silent),
        (302, [(b"location", b"http://169.254.169.254/")], b"", Broken),
    ],
)
def test_what_a_refusal_means(status: int, headers: list[tuple[bytes, bytes]], body: bytes, kind: type) -> None:
    fault = fault_of(status, headers, body)
    assert type(fault) is kind
    assert "sk-abcdef123456" not in fault.message + fault.detail
    assert "169.254" not in fault.message + fault.detail


def test_a_refused_request_keeps_the_providers_words() -> None:
    fault = fault_of(404, [], b'{"error":{"message":"no such model","param":"model","code":"model_not_found"}}')
    assert (fault.status, fault.message, fault.field, fault.kind) == (404, "no such model", "model", "model_not_found")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"5", 5),
        (b"-5", -5),
        (b"0.5", 0.5),
        (b"99999999999", 99999999999),
        (b"Sat, 21 Nov 2026 10:00:30 GMT", 30),
        (b"Sat, 21 Nov 2026 09:59:00 GMT", -60),
        (b"soon", None),
        (b"", None),
    ],
)
def test_d12_retry_after(value: bytes, seconds: float | None) -> None:
    assert retry_after([(b"date", b"Sat, 21 Nov 2026 10:00:00 GMT"), (b"retry-after", value)]) == seconds


def test_scrub() -> None:
    said = scrub("key sk-proj-abcdef123 of org-Xyz123456 at http://10.1.2.3/x from 192.168.7.9\x1b[31m\r\n")
    for secret in ("abcdef", "Xyz123456", "10.1.2.3", "192.168", "\x1b", "\n"):
        assert secret not in said


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ErrorObject("x", "overloaded_error"), Busy),
        (ErrorObject("x", "invalid_request_error"), Refused),
        (ErrorObject("x", "authentication_error"), KeyRejected),
        (ErrorObject("x", "server_error"), Broken),
        (ErrorObject(), Broken),
    ],
)
def test_d8_an_error_inside_a_stream(error: ErrorObject, kind: type) -> None:
    assert type(fault_in_stream(error)) is kind
