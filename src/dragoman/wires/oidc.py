"""An OpenID provider's token end point, asked with names and passwords.

Sources: OpenID Connect Discovery 1.0, section 4; RFC 6749, sections 2.3.1 (who we are), 4.3 (password grant),
5 (answers) and 6 (refresh grant); OpenID Connect Core 1.0, sections 3.1.3.7 and 12.2 (the ID token).
"""

import base64
from ipaddress import ip_address
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec

from dragoman.faults import Broken, CallerFault, Fault, KeyRejected, Misconfigured, Unauthenticated
from dragoman.legs import Headers, Origin, Outbound, Reply, origin_of
from dragoman.people import Secret
from dragoman.sections import Oidc
from dragoman.wires.refusals import fault_of, scrub

WELL_KNOWN = "/.well-known/openid-configuration"
LEEWAY_S = 60.0
SUBJECT_CHARACTERS = 255


class Metadata(msgspec.Struct):
    """What is used of a discovery document; the default is the specification's (Discovery, 3)."""

    issuer: str
    token_endpoint: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class TokenAnswer(msgspec.Struct):
    """A good answer of a token end point (RFC 6749, 5.1; Core, 3.1.3.3)."""

    access_token: str
    id_token: str | None = None
    refresh_token: str | None = None


class IdToken(msgspec.Struct):
    """The claims of an ID token that say whose it is, and for whom (Core, 2)."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: float
    azp: str | None = None


class Refusal(msgspec.Struct):
    """A token end point's error (RFC 6749, 5.2)."""

    error: str = ""
    error_description: str = ""


class Grant(msgspec.Struct, frozen=True):
    """What a login came to: the issuer's name for the user, "" if it did not say, and how to renew it."""

    subject: str
    refresh: Secret | None


class TokenEndpoint(msgspec.Struct, frozen=True):
    """Where tokens are asked for; `in_body`: the client's secret is a field of the form there."""

    origin: Origin
    path: str
    in_body: bool = False


class OpenIdIssuer(msgspec.Struct, frozen=True):
    """An OpenID provider as it was configured; with an `endpoint` once that is known. Pure."""

    url: str
    origin: Origin
    client_id: str
    client_secret: Secret
    scope: str
    endpoint: TokenEndpoint | None = None

    @property
    def name(self) -> str:
        """The issuer's address without its scheme."""
        return self.url.partition("://")[2].rstrip("/")

    def discovery(self) -> Outbound | None:
        """Make the request for the discovery document; None where nothing must be discovered."""
        if self.endpoint is not None:
            return None
        path = urlsplit(self.url).path.rstrip("/") + WELL_KNOWN
        return Outbound(self.origin, "GET", path, [(b"accept", b"application/json")], length=0)

    def discovered(self, reply: Reply) -> "OpenIdIssuer":
        """Read the discovery document. Raises an upstream fault."""
        if reply.status != 200:
            raise _refusal(reply)
        try:
            found = msgspec.json.decode(reply.body, type=Metadata)
            origin, path = _place(found.token_endpoint, self.origin.ca_file)
        except (ValueError, RecursionError) as error:
            raise _nonsense("its discovery document cannot be read", str(error)) from None
        if found.issuer != self.url:
            raise _nonsense("its discovery document is another's", found.issuer)
        # Whoever can write this document must not learn by it what else we can reach, nor have passwords sent there.
        if origin != self.origin:
            raise _nonsense("its token end point is elsewhere; set auth.oidc.token_url to allow that", str(origin))
        methods = found.token_endpoint_auth_methods_supported
        in_body = "client_secret_basic" not in methods and "client_secret_post" in methods
        return msgspec.structs.replace(self, endpoint=TokenEndpoint(origin, path, in_body))

    def by_password(self, name: str, password: Secret) -> Outbound:
        """Make the request of the password grant."""
        form = {"grant_type": "password", "username": name, "password": password.reveal(), "scope": self.scope}
        return self._request({key: value for key, value in form.items() if value})

    def by_refresh(self, token: Secret) -> Outbound:
        """Make the request of the refresh grant, for what was granted before."""
        return self._request({"grant_type": "refresh_token", "refresh_token": token.reveal()})

    def granted(self, reply: Reply, now: float) -> Grant:
        """Read the answer to either grant; `now` in Unix seconds.

        Raises:
            Unauthenticated: the name and password, or the refresh token, are not valid.
            UpstreamFault: anything else, with a detail for the operator.

        """
        if reply.status != 200:
            raise _refusal(reply)
        try:
            answer = msgspec.json.decode(reply.body, type=TokenAnswer)
        except (ValueError, RecursionError) as error:
            raise _nonsense("its answer cannot be read", str(error)) from None
        refresh = Secret(answer.refresh_token) if answer.refresh_token else None
        return Grant(self._subject(answer.id_token, now) if answer.id_token else "", refresh)

    def _request(self, form: dict[str, str]) -> Outbound:
        """Ask as the client that we are: by a header where possible, else in the form, as RFC 6749, 2.3.1 has it."""
        if self.endpoint is None:
            raise AssertionError("the token end point is not known yet")
        headers: Headers = [
            (b"accept", b"application/json"),
            (b"content-type", b"application/x-www-form-urlencoded"),
        ]
        if not self.client_secret:
            form["client_id"] = self.client_id
        elif self.endpoint.in_body:
            form |= {"client_id": self.client_id, "client_secret": self.client_secret.reveal()}
        else:
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret.reveal())}"
            headers.append((b"authorization", b"Basic " + base64.b64encode(pair.encode())))
        body = urlencode(form).encode()
        return Outbound(self.endpoint.origin, "POST", self.endpoint.path, headers, body, len(body))

    def _subject(self, token: str, now: float) -> str:
        """Read whom an ID token names.

        Its signature is not checked. The token came straight from the token end point, over a connection whose
        certificate was verified, and then "the TLS server validation MAY be used to validate the issuer in place
        of checking the token signature" (Core, 3.1.3.7, item 6). The other items still hold: issuer (2), audience
        (3), authorized party (4, 5), expiry (9). No nonce was sent, so none comes back (11).
        """
        try:
            _, payload, _ = token.split(".")
            data = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
            claims = msgspec.json.decode(data, type=IdToken)
        except (ValueError, RecursionError) as error:
            raise _nonsense("its ID token cannot be read", str(error)) from None
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if claims.iss != self.url:
            raise _nonsense("its ID token is another issuer's", claims.iss)
        if self.client_id not in audience or claims.azp not in (None, self.client_id):
            raise _nonsense("its ID token is for another client", ", ".join(audience))
        if claims.exp + LEEWAY_S <= now:
            raise _nonsense("its ID token has expired", f"exp {claims.exp}, now {now}")
        if not 0 < len(claims.sub) <= SUBJECT_CHARACTERS:
            raise _nonsense("its ID token names nobody")
        return claims.sub


def build_issuer(oidc: Oidc, secret: Secret) -> OpenIdIssuer:
    """Make the issuer of `[auth.oidc]`. Raises Misconfigured."""
    try:
        origin, _ = _place(oidc.issuer, oidc.ca_file)
        endpoint = TokenEndpoint(*_place(oidc.token_url, oidc.ca_file)) if oidc.token_url else None
    except ValueError as error:
        raise Misconfigured(f"auth.oidc: {error}") from None
    return OpenIdIssuer(oidc.issuer, origin, oidc.client_id, secret, oidc.scope, endpoint)


def _place(url: str, ca_file: str) -> tuple[Origin, str]:
    """Split an address that passwords may be sent to. Raises ValueError."""
    parts = urlsplit(url)
    origin, _ = origin_of(f"{parts.scheme}://{parts.netloc}", ca_file=ca_file)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    if parts.fragment or not target.isascii() or not target.isprintable() or " " in target:
        raise ValueError(f"{url!r} is not an address")
    if origin.scheme != "https" and not _is_here(origin.host):
        raise ValueError(f"{url!r} is not an https:// address, and passwords are sent there")
    return origin, target


def _is_here(host: str) -> bool:
    """Say whether a host is this very machine, so that nobody can listen on the way to it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(reply: Reply) -> Fault:
    try:
        given = msgspec.json.decode(reply.body, type=Refusal)
    except (ValueError, RecursionError):
        given = Refusal()
    if given.error == "invalid_grant":
        return Unauthenticated()
    detail = scrub(f"HTTP {reply.status} {given.error} {given.error_description}".strip())
    if given.error in ("invalid_client", "unauthorized_client"):
        return KeyRejected("The OpenID provider does not accept this gateway.", detail=detail)
    fault = fault_of(reply.status, reply.headers, reply.body)
    # What the issuer dislikes about our request is no mistake of the caller's.
    return Broken("The OpenID provider refused.", detail=detail) if isinstance(fault, CallerFault) else fault


def _nonsense(what: str, detail: str = "") -> Broken:
    return Broken("The OpenID provider's answer makes no sense.", detail=f"{what}: {detail!r:.300}" if detail else what)
