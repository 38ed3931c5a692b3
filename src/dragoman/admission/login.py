"""A name and a password to a token of ours: local accounts first, then the OpenID provider where there is one."""

import asyncio
import contextlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from dragoman.admission.passwords import Passwords, checked_name, folded, is_possible
from dragoman.admission.tokens import Tokens
from dragoman.faults import Broken, Fault, TooMany, Unauthenticated
from dragoman.legs import Outbound, Patience, Reply, Upstream, read_all
from dragoman.people import Secret
from dragoman.threads import Accounts

WRONG = "The name or the password is not right."
FAILURES_OF_ONE_NAME = 10
FAILURES_IN_ALL = 60
FAILURES_S = 60.0
KEPT = 1_000
DISCOVERED_S = 3_600.0
ANSWER_BYTES = 256 * 1024
PATIENCE = Patience(connect_s=5.0, first_byte_s=15.0, idle_s=15.0, total_s=20.0, quiet_s=20.0)


class Grant(Protocol):
    """What an issuer answers to a good login."""

    @property
    def subject(self) -> str:
        """The issuer's own name for the user, which never changes; "" if it did not say."""

    @property
    def refresh(self) -> Secret | None:
        """What renews the login without the password."""


class Issuer(Protocol):
    """An OpenID provider. Pure: it makes requests and reads answers."""

    @property
    def name(self) -> str:
        """What tells its users from another issuer's of the same names."""

    def discovery(self) -> Outbound | None:
        """Make the request that comes first; None where nothing must be discovered."""

    def discovered(self, reply: Reply) -> "Issuer":
        """Return the issuer that knows what it needs. Raises an upstream fault."""

    def by_password(self, name: str, password: Secret) -> Outbound: ...

    def by_refresh(self, token: Secret) -> Outbound: ...

    def granted(self, reply: Reply, now: float) -> Grant:
        """Read the answer to either; `now` in Unix seconds. Raises Unauthenticated, or an upstream fault."""


class Attempt(msgspec.Struct, frozen=True):
    name: str
    at: float


class Failures:
    """The failed logins of the last minute. One that is under way counts as failed until it is forgiven, so that
    many at once win nothing. Never more than `FAILURES_IN_ALL`, whatever names are tried.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last: deque[Attempt] = deque()

    def begin(self, name: str) -> Attempt:
        """Count an attempt. Raises TooMany."""
        now = self._now()
        while self._last and self._last[0].at <= now - FAILURES_S:
            self._last.popleft()
        of_name = [attempt for attempt in self._last if attempt.name == name]
        for attempts, most in ((of_name, FAILURES_OF_ONE_NAME), (self._last, FAILURES_IN_ALL)):
            if len(attempts) >= most:
                wait_s = attempts[0].at + FAILURES_S - now
                raise TooMany("There were too many failed logins; try again later.", retry_after_s=wait_s)
        attempt = Attempt(name, now)
        self._last.append(attempt)
        return attempt

    def forgive(self, attempt: Attempt) -> None:
        with contextlib.suppress(ValueError):
            self._last.remove(attempt)


class Kept(msgspec.Struct, frozen=True):
    """What renews a login at the issuer, and the account it is for."""

    account: str
    refresh: Secret


class Visits:
    """Logins at the issuer. What it gives to renew them stays in memory, by a digest that only we can make."""

    def __init__(self, issuer: Issuer, upstream: Upstream, now: Callable[[], float]) -> None:
        self._issuer = issuer
        self._upstream = upstream
        self._now = now
        self._discovered: tuple[float, Issuer] | None = None
        self._kept: dict[bytes, Kept] = {}
        self._key = secrets.token_bytes(32)

    async def account(self, name: str, password: Secret, *, refresh: bool) -> str:
        """Return the account of a user at the issuer. Raises Unauthenticated, or an upstream fault."""
        issuer = await self._known()
        index = self._index(name, password)
        # Taken out, not looked up: an issuer that rotates them takes a second use for theft.
        kept = self._kept.pop(index, None)
        if refresh and kept is not None:
            with contextlib.suppress(Unauthenticated, Broken):
                grant = await self._grant(issuer, issuer.by_refresh(kept.refresh))
                # A renewed login is for who logged in (OpenID Connect Core, 12.2).
                if _account_of(grant, issuer) in ("", kept.account):
                    return self._keep(index, kept.account, grant.refresh or kept.refresh)
        grant = await self._grant(issuer, issuer.by_password(name, password))
        account = _account_of(grant, issuer) or f"oidc-name:{name}@{issuer.name}"
        return self._keep(index, account, grant.refresh)

    async def _known(self) -> Issuer:
        now = self._now()
        if self._discovered is None or abs(now - self._discovered[0]) > DISCOVERED_S:
            request = self._issuer.discovery()
            known = self._issuer.discovered(await self._ask(request)) if request else self._issuer
            self._discovered = (now, known)
        return self._discovered[1]

    async def _grant(self, issuer: Issuer, request: Outbound) -> Grant:
        return issuer.granted(await self._ask(request), self._now())

    async def _ask(self, request: Outbound) -> Reply:
        exchange = await self._upstream.call(request, PATIENCE)
        try:
            body = await read_all(exchange, ANSWER_BYTES)
        finally:
            exchange.close()
        return Reply(exchange.status, exchange.headers, body)

    def _keep(self, index: bytes, account: str, refresh: Secret | None) -> str:
        if refresh is not None:
            if len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[index] = Kept(account, refresh)
        return account

    def _index(self, name: str, password: Secret) -> bytes:
        """Digest a name and a password, so that only who shows the same two again gets what was kept for them."""
        pair = msgspec.json.encode((name, password.reveal()))
        return hmac.digest(self._key, pair, "sha256")


def _account_of(grant: Grant, issuer: Issuer) -> str:
    """Name the account of a subject, "" if there is none.

    Only subject and issuer together are one user for good (OpenID Connect Core, 5.7); a name or an e-mail
    address may be somebody else's tomorrow.
    """
    return f"oidc:{grant.subject}@{issuer.name}" if grant.subject else ""


class Logins:
    """Checks names and passwords. A name that has a local account is never sent to the issuer.

    Which names are local can be told by the time it takes, where there is an issuer; whether any other account
    exists, never: there is one text for every refusal, and without an issuer one time.

    Args:
        accounts: the local ones.
        tokens: makes what a good login is worth.
        issuer: who else is asked, if anybody.
        upstream: the way there.
        now: Unix seconds.
        monotonic: seconds that never go back.

    """

    def __init__(
        self,
        accounts: Accounts,
        tokens: Tokens,
        issuer: Issuer | None,
        upstream: Upstream,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._visits = Visits(issuer, upstream, now) if issuer is not None else None
        self._failures = Failures(monotonic)
        self._passwords = Passwords()
        # One thread, and a hash that nobody waits for any more does not start: memory and cores are bounded.
        self._worker = ThreadPoolExecutor(1, "passwords")

    async def login(self, name: str, password: Secret, *, refresh: bool) -> str:
        """Return a token for the account. `refresh`: what an earlier login at the issuer left behind may be used.

        Raises:
            Unauthenticated: there is no such account, or the password is another.
            TooMany: more than ten failures of this name in a minute, or sixty in all.
            UpstreamFault: the issuer could not be asked.
            StoreFailed: the accounts could not be read.

        """
        if not is_possible(password) or not _is_possible(name):
            raise Unauthenticated(WRONG)
        attempt = self._failures.begin(folded(name))
        try:
            account = await self._account(name, password, refresh=refresh)
        except Unauthenticated:
            raise Unauthenticated(WRONG) from None
        except Fault:
            self._failures.forgive(attempt)
            raise
        self._failures.forgive(attempt)
        return self._tokens.issue(account)

    async def _account(self, name: str, password: Secret, *, refresh: bool) -> str:
        digest = await self._accounts.account(name)
        if digest is None and self._visits is not None:
            return await self._visits.account(name, password, refresh=refresh)
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._worker, self._passwords.fits, digest, password):
            raise Unauthenticated
        return folded(name)


def _is_possible(name: str) -> bool:
    try:
        checked_name(name)
    except ValueError:
        return False
    return True
