"""What a provider's refusal means, whatever its wire: status and error object to a Fault.

What is shown to the caller is capped and scrubbed; nothing of a rejected credential is shown at all.
"""

import re
from email.utils import parsedate_to_datetime

import msgspec

from dragoman.faults import Broken, Busy, ConnectFailed, Fault, KeyRejected, Refused, Silent
from dragoman.legs import Headers

TEXT_LIMIT = 1_000
_SECRETS = re.compile(
    r"\b(?:sk|pk|rk|key|org|proj|sess|user|req|acct)[-_][\w*.-]{4,}|Bearer\s+\S+|\b\w+://\S+|\b\d{1,3}(?:\.\d{1,3}){3}\b"
)
_QUOTA = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached", "credit_balance_too_low"})
_BUSY = frozenset({"overloaded_error", "rate_limit_error", "rate_limit_exceeded", "overloaded", "server_overloaded"})
_CALLER = frozenset({"invalid_request_error", "not_found_error", "request_too_large"})
_CREDENTIAL = frozenset({"authentication_error", "permission_error", "invalid_api_key"})


class ErrorObject(msgspec.Struct):
    """The `error` of OpenAI's and Anthropic's error bodies, as far as it is usable."""

    message: str = ""
    type: str = ""
    code: str = ""
    param: str | None = None


def error_object(body: bytes) -> ErrorObject:
    """Read the error in a body, whatever its shape; an empty one if there is none."""
    try:
        tree = msgspec.json.decode(body[: 64 * 1024])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ErrorObject()
    return error_in(tree)


def error_in(tree: object) -> ErrorObject:
    if isinstance(tree, list) and tree:
        tree = tree[0]
    if isinstance(tree, dict):
        inner = tree.get("error", tree)
        if isinstance(inner, str):
            return ErrorObject(message=inner)
        if isinstance(inner, dict):
            param = inner.get("param")
            message = inner.get("message") or inner.get("detail") or ""
            return ErrorObject(
                message=message if isinstance(message, str) else "",
                type=str(inner.get("type") or ""),
                code=str(inner.get("code") or ""),
                param=param if isinstance(param, str) else None,
            )
    return ErrorObject()


def scrub(text: str) -> str:
    """Cap a provider's text and take out keys, organisation ids and addresses."""
    return _SECRETS.sub("***", "".join(c if c.isprintable() else " " for c in text[:TEXT_LIMIT]))


def fault_of(status: int, headers: Headers, body: bytes) -> Fault:
    """Say what a non-2xx answer means."""
    error = error_object(body)
    detail = f"HTTP {status} {scrub(error.message)}".strip()
    named = {error.type, error.code}
    if 300 <= status < 400:
        return Broken("The provider answered with a redirect, which is never followed.", detail=detail)
    if status in (401, 402, 403) or named & _QUOTA:
        return KeyRejected("The provider rejected the gateway's credential.", detail=detail)
    wait_s = retry_after(headers)
    if status in (429, 529) or (status == 503 and any(name == b"retry-after" for name, _ in headers)):
        told = 429 if status == 429 else 503
        return Busy("The provider is busy; try again later.", detail=detail, retry_after_s=wait_s, status=told)
    if status == 407:
        return ConnectFailed("The outbound proxy wants other credentials.", detail=detail)
    if status in (408, 504):
        return Silent("The provider timed out.", detail=detail)
    if 400 <= status < 500:
        shown = scrub(error.message) or f"The provider refused the request with status {status}."
        field = scrub(error.param) if error.param else None
        return Refused(shown, status=status, field=field, kind=scrub(error.code or error.type) or None)
    return Broken(f"The provider failed with status {status}.", detail=detail)


def fault_in_stream(error: ErrorObject) -> Fault:
    """Say what an error object inside a good answer means."""
    named = {error.type, error.code}
    detail = scrub(error.message)
    if named & (_CREDENTIAL | _QUOTA):
        return KeyRejected("The provider rejected the gateway's credential.", detail=detail)
    if named & _BUSY or error.code in ("429", "529"):
        told = 429 if "rate_limit" in error.type + error.code or error.code == "429" else 503
        text = f"The provider is busy: {detail}" if detail else "The provider is busy."
        return Busy(text, detail=detail, status=told)
    if named & _CALLER:
        return Refused(detail or "The provider refused the request.", field=scrub(error.param) if error.param else None)
    return Broken(f"The provider failed: {detail}" if detail else "The provider failed.", detail=detail)


def retry_after(headers: Headers) -> float | None:
    """Read Retry-After in seconds (RFC 9110, 10.2.3); a date counts from the answer's own Date.

    None where it is absent or makes no sense. May be negative or absurd: who obeys it clamps it.
    """
    found = dict(headers)
    value = found.get(b"retry-after", b"").decode("latin-1").strip()
    if re.fullmatch(r"-?\d{1,40}(\.\d+)?", value):
        return float(value)
    try:
        then = parsedate_to_datetime(value)
        now = parsedate_to_datetime(found.get(b"date", b"").decode("latin-1"))
        return (then - now).total_seconds()
    except (ValueError, TypeError):
        return None
