"""The page's own login: `/api/session`, described in `/openapi.json` and docs/security.md.

Source: RFC 6265bis (cookies), Fetch Metadata (`Sec-Fetch-Site`), RFC 6454 (`Origin`). The cookie is read here and
nowhere else; everywhere else the page shows a key, as any client does. Errors have OpenAI's shape.
"""

import re
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from dragoman.faults import Fault, Forbidden, Malformed, TooLarge
from dragoman.intents import OpenSession, PageSession, ReadSession, RenewToken
from dragoman.legs import Head, Reply
from dragoman.people import Secret
from dragoman.ports import Mount
from dragoman.wires.fields import media_type
from dragoman.wires.http_turn import JSON
from dragoman.wires.private import PRIVATE, Private

PATH = "/api/session"
LARGEST_BYTES = 16 * 1024
OVER = b"; Path=%b; HttpOnly; SameSite=Strict" % PATH.encode()
Given = Annotated[str, msgspec.Meta(min_length=1, max_length=8 * 1024)]
_PORT = re.compile(r":([0-9]{1,5})$")


class _Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a login."""

    link: Given | None = None
    key: Given | None = None
    name: Given | None = None
    password: Given | None = None


class Told:
    """A wish about a session, and what is said of it; `closes`: the browser is to forget the cookie."""

    def __init__(
        self, head: Head, intent: OpenSession | ReadSession | RenewToken, status: int = 200, *, closes: bool = False
    ) -> None:
        self.intent = intent
        self._head = head
        self._status = status
        self._closes = closes

    def answer(self, found: PageSession) -> Reply:
        if self._closes:
            return Reply(204, [*PRIVATE, forgotten(self._head)], b"")
        headers = [*JSON, *PRIVATE]
        if found.cookie is not None:
            headers.append(kept(self._head, found.cookie, found))
        return Reply(self._status, headers, msgspec.json.encode(_said(found)))


class AtSession(Private):
    """One request. A cookie that is not valid any more is taken away with the refusal."""

    def claim(self) -> None:
        """No key is asked for: who is not logged in must be able to log in."""

    def refuse(self, fault: Fault) -> Reply:
        reply = super().refuse(fault)
        # A wrong link says nothing of the cookie: any site could log people out by sending them to one.
        if fault.code == "unauthenticated" and self._plan is not log_in and shown(self.head):
            reply.headers.append(forgotten(self.head))
        return reply


def log_in(head: Head, data: bytes) -> Told:
    """Raises Malformed, TooLarge, and Forbidden where another site asks."""
    check_site(head)
    if media_type(head.get(b"content-type")) != b"application/json":
        # A form, which any site can send here, is never JSON.
        raise Malformed("A login is JSON: send `Content-Type: application/json`.", field="content-type")
    if len(data) > LARGEST_BYTES:
        raise TooLarge("A login is shorter than that.")
    try:
        login = msgspec.json.decode(data, type=_Login)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"The body is no login: {error}") from None
    return Told(head, _asked(login))


def _asked(login: _Login) -> OpenSession:
    match login:
        case _Login(link=str(link), key=None, name=None, password=None):
            return OpenSession(link=Secret(link))
        case _Login(link=None, key=str(key), name=None, password=None):
            return OpenSession(key=Secret(key))
        case _Login(link=None, key=None, name=str(name), password=str(password)):
            return OpenSession(name=name, password=Secret(password))
    raise Malformed("Give exactly one of: link, key, or name and password.")


def read(head: Head, data: bytes) -> Told:  # noqa: ARG001 - a GET has no body to read
    return Told(head, ReadSession(*_proof(head)))


def renew(head: Head, data: bytes) -> Told:  # noqa: ARG001 - it has no body to read
    check_site(head)
    return Told(head, _proven(head))


def log_out(head: Head, data: bytes) -> Told:  # noqa: ARG001 - it has no body to read
    check_site(head)
    return Told(head, _proven(head), closes=True)


def _proven(head: Head) -> RenewToken:
    return RenewToken(*_proof(head))


def _proof(head: Head) -> tuple[Secret, Secret]:
    """The cookie is sent to all ports of a host, so it is worth nothing without what this origin alone was told."""
    return shown(head), Secret((head.get(b"x-csrf-token") or b"").decode("latin-1"))


def check_site(head: Head) -> None:
    """Refuse what the browser says another site has sent. Raises Forbidden."""
    site = head.get(b"sec-fetch-site")
    origin = head.get(b"origin")
    is_foreign = site is not None and site.lower() not in (b"same-origin", b"none")
    if origin is not None:
        is_foreign = is_foreign or _host_of(origin) != (head.get(b"host") or b"").decode("latin-1").lower()
    if is_foreign:
        raise Forbidden("Only the page itself may do this, not a page of another origin.")


def _host_of(origin: bytes) -> str | None:
    try:
        return urlsplit(origin.decode("latin-1")).netloc.lower() or None
    except ValueError:
        return None


def names(head: Head) -> list[bytes]:
    """Name the cookie, that of TLS first where no port says it: cookies do not tell the ports of a host apart."""
    found = _PORT.search((head.get(b"host") or b"").decode("latin-1"))
    return [f"dragoman-{port}".encode() for port in ([found[1]] if found else ["443", "80"])]


def shown(head: Head) -> Secret:
    """Return the value of the cookie, an empty one if there is none."""
    pairs = [pair for name, value in head.headers if name == b"cookie" for pair in value.split(b";")]
    given: dict[bytes, bytes] = {}
    for pair in pairs:
        name, _, value = pair.strip().partition(b"=")
        given.setdefault(name, value)
    return Secret(next((given[name] for name in names(head) if name in given), b"").decode("latin-1"))


def kept(head: Head, cookie: Secret, session: PageSession) -> tuple[bytes, bytes]:
    """Write the header that sets the cookie."""
    is_secure = session.is_secure or head.get(b"x-forwarded-proto") == b"https"
    name = names(head)[0 if is_secure else -1]
    left_s = max(0, int(session.expires) - head.at)
    secure = b"; Secure" if is_secure else b""
    return b"set-cookie", b"%b=%b; Max-Age=%d%b%b" % (name, cookie.reveal().encode(), left_s, OVER, secure)


def forgotten(head: Head) -> tuple[bytes, bytes]:
    """Write the header that removes the cookie."""
    return b"set-cookie", b"%b=; Max-Age=0%b" % (names(head)[-1], OVER)


def _said(session: PageSession) -> dict[str, Any]:
    said: dict[str, Any] = {
        "principal": session.principal,
        "role": session.role,
        "csrf": session.csrf.reveal(),
        "expires": int(session.expires),
    }
    if session.token is not None:
        said["token"] = {"secret": session.token.secret.reveal(), "expires": int(session.token.expires)}
    return said


mounts: tuple[Mount, ...] = tuple(
    Mount(method, path, partial(AtSession, plan=plan), public=True, everywhere=True)
    for method, path, plan in (
        ("POST", PATH, log_in),
        ("GET", PATH, read),
        ("DELETE", PATH, log_out),
        ("POST", f"{PATH}/token", renew),
    )
)
