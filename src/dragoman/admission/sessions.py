"""Sessions of the page: a login becomes a cookie, a cookie becomes keys that hold for minutes.

The gateway keeps nothing of a session but that a link was used, so that any process of a database can serve it.
Whom a session stands for is looked up anew whenever something is asked of it.
"""

import hmac
from typing import Protocol

from dragoman.admission.bucket import Bucket
from dragoman.admission.gate import WRONG_SECRETS_A_MINUTE, Gate
from dragoman.admission.login import Logins
from dragoman.admission.tokens import Kind, Pass, Passes, Tokens
from dragoman.faults import Forbidden, TooMany, Unauthenticated
from dragoman.intents import OpenSession, PageSession, PageToken, ReadSession, RenewToken
from dragoman.people import MASTER, Principal, Secret


class Links(Protocol):
    async def use_link(self, id_: str, until: float) -> bool:
        """Say whether nobody has used this link before; `until` (Unix seconds) it is remembered that it was.

        Raises StoreFailed.
        """


class Sessions:
    """Opens, reads and renews sessions.

    Args:
        gate: knows keys.
        logins: knows names and passwords.
        tokens: reads what a login is worth.
        passes: signs cookies, links and the page's keys.
        links: knows which links were used.
        is_secure: whether callers come by TLS, so that browsers must not send the cookie without.

    """

    def __init__(
        self, gate: Gate, logins: Logins, tokens: Tokens, passes: Passes, links: Links, *, is_secure: bool = False
    ) -> None:
        self._gate = gate
        self._logins = logins
        self._tokens = tokens
        self._passes = passes
        self._links = links
        self._is_secure = is_secure
        self._wrong = Bucket(WRONG_SECRETS_A_MINUTE, 60.0)

    async def find(self, wish: OpenSession | ReadSession | RenewToken) -> PageSession:
        """Return the session that is meant.

        Raises:
            Unauthenticated: the key, link, password or cookie is not valid, or whom it stood for may not come in now.
            Forbidden: the request does not prove that it came from the page.
            TooMany: there were many wrong keys or links in the last minute, or `Logins.login` says so.
            StoreFailed: it cannot be known whether a link was used.

        """
        match wish:
            case OpenSession():
                return self._open(await self._subject(wish))
            case ReadSession(cookie, csrf):
                given = self._given(cookie, csrf)
                return self._session(given, self._gate.represented(given.sub))
            case RenewToken(cookie, csrf):
                return self._renew(self._given(cookie, csrf))

    async def _subject(self, wish: OpenSession) -> str:
        if wish.password is not None:
            token = await self._logins.login(wish.name, wish.password, refresh=False)
            return self._tokens.read(Secret(token)) or ""
        try:
            if wish.link is not None:
                return await self._used(wish.link)
            return self._gate.subject(wish.key or Secret(""))
        except Unauthenticated:
            # Only who is wrong has to wait: else anybody could keep everybody out.
            if self._wrong.take():
                raise
            wait_s = self._wrong.wait_s()
        raise TooMany("Too many wrong keys were given; try again later.", retry_after_s=wait_s)

    async def _used(self, link: Secret) -> str:
        """Use up a link and return whom it logs in: whoever reads what the gateway prints at its start runs it."""
        given = self._passes.read_link(link)
        if given is None:
            raise Unauthenticated("This link is not valid, or it is too old: `dragoman link` prints a new one.")
        if not await self._links.use_link(given.id, given.expires):
            raise Unauthenticated("This link was used before: `dragoman link` prints a new one.")
        return MASTER.name

    def _open(self, subject: str) -> PageSession:
        principal = self._gate.represented(subject)
        cookie, made = self._passes.make(Kind.SESSION, subject)
        return self._session(made, principal, cookie, self._token(subject))

    def _renew(self, given: Pass) -> PageSession:
        principal = self._gate.represented(given.sub)
        cookie: Secret | None = None
        if self._passes.is_half_over(given):
            # The same session, so that what the page's other tabs were told stays true.
            cookie, given = self._passes.make(Kind.SESSION, given.sub, given.jti)
        return self._session(given, principal, cookie, self._token(given.sub))

    def _given(self, cookie: Secret, csrf: Secret) -> Pass:
        given = self._passes.read(Kind.SESSION, cookie)
        if given is None:
            raise Unauthenticated("Nobody is logged in here, or the session is over.")
        if not hmac.compare_digest(csrf.digest(), self._passes.csrf(given).digest()):
            raise Forbidden("This did not come from the page: send what it was told as `csrf` in `X-CSRF-Token`.")
        return given

    def _token(self, subject: str) -> PageToken:
        secret, made = self._passes.make(Kind.PAGE, subject)
        return PageToken(secret, made.exp)

    def _session(
        self, given: Pass, principal: Principal, cookie: Secret | None = None, token: PageToken | None = None
    ) -> PageSession:
        csrf = self._passes.csrf(given)
        return PageSession(principal.name, principal.role, csrf, given.exp, cookie, token, self._is_secure)
