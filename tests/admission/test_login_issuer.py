"""Logins at an issuer: the certified OpenID provider of `openid_provider`, over TLS."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from logging_in import DIGEST, TOKENS, Clock, Kept, owner, refusal

from dragoman.admission.login import FAILURES_OF_ONE_NAME, KEPT, Logins
from dragoman.faults import Broken, Busy, ConnectFailed, Fault, KeyRejected, Unauthenticated
from dragoman.net.deadlines import Wheel
from dragoman.net.upstream import Bounds, Upstreams
from dragoman.people import Secret
from dragoman.sections import Oidc
from dragoman.wires.oidc import build_issuer
from gateway import free_port
from openid_provider import CLIENT, USERS, openid_provider


@pytest.fixture
async def upstream() -> AsyncIterator[Upstreams]:
    loop = asyncio.get_running_loop()
    upstreams = Upstreams(loop, Wheel(loop), Bounds(), b"test")
    yield upstreams
    upstreams.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module", params=["client_secret_basic", "client_secret_post"])
def any_provider(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with openid_provider(tmp_path_factory.mktemp("provider"), request.param) as running:
        yield running


@pytest.fixture(scope="module")
def running_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with openid_provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture
def provider(running_provider: Any) -> Any:
    running_provider.forget()
    return running_provider


def at(provider: Any, upstream: Upstreams, **changes: Any) -> Logins:
    """Logins where bob has a local account, and everybody else is asked for at the provider."""
    secret = changes.pop("secret", provider.secret)
    accounts = changes.pop("accounts", Kept(bob=DIGEST))
    clocks = {name: changes.pop(name) for name in ("now", "monotonic") if name in changes}
    fields = {"issuer": provider.issuer, "client_id": CLIENT, "scope": "openid offline_access"}
    oidc = Oidc(**fields | {"ca_file": str(provider.ca_file)} | changes)
    return Logins(accounts, TOKENS, build_issuer(oidc, Secret(secret)), upstream, **clocks)


def secret_of(name: str) -> Secret:
    return Secret(USERS[name])


async def test_who_is_not_local_is_asked_for_at_the_issuer(any_provider: Any, upstream: Upstreams) -> None:
    any_provider.forget()
    logins = at(any_provider, upstream)
    found = await owner(logins, "alice", secret_of("alice"))
    assert found is not None
    site = any_provider.issuer.removeprefix("https://")
    assert found.startswith("user:oidc:")
    assert found.endswith(f"@{site}")
    assert "alice" not in found, "the name is the issuer's to give to somebody else"
    assert found == await owner(logins, "alice", secret_of("alice"))
    assert found != await owner(at(any_provider, upstream, accounts=Kept()), "bob", secret_of("bob"))
    assert any_provider.grants == ["password"] * 3


async def test_without_an_id_token_the_name_is_the_account(provider: Any, upstream: Upstreams) -> None:
    logins = at(provider, upstream, scope="profile")
    site = provider.issuer.removeprefix("https://")
    assert await owner(logins, "alice", secret_of("alice")) == f"user:oidc-name:alice@{site}"


async def test_a_local_accounts_password_is_never_sent_there(provider: Any, upstream: Upstreams) -> None:
    logins = at(provider, upstream)
    assert await owner(logins, "bob") == "user:bob"
    assert isinstance(await refusal(logins, "bob", secret_of("bob")), Unauthenticated)
    assert provider.grants == []


@pytest.mark.parametrize("name", ["alice", "nobody"])
async def test_the_issuers_refusal_reads_as_ours(provider: Any, upstream: Upstreams, name: str) -> None:
    fault = await refusal(at(provider, upstream), name, Secret("wrong password"))
    assert type(fault) is Unauthenticated
    assert (fault.message, fault.detail) == ("The name or the password is not right.", "")
    assert provider.grants == ["password"]


async def test_failures_at_the_issuer_are_counted(provider: Any, upstream: Upstreams, clock: Clock) -> None:
    logins = at(provider, upstream, monotonic=clock)
    wrong = [refusal(logins, "alice", Secret(f"guess {n}")) for n in range(FAILURES_OF_ONE_NAME + 5)]
    faults = await asyncio.gather(*wrong)
    assert [type(fault) for fault in faults].count(Unauthenticated) == FAILURES_OF_ONE_NAME
    assert provider.grants == ["password"] * FAILURES_OF_ONE_NAME


async def test_a_login_is_renewed_without_the_password(provider: Any, upstream: Upstreams) -> None:
    logins = at(provider, upstream)
    first = await owner(logins, "alice", secret_of("alice"), refresh=True)
    for _ in range(3):
        assert await owner(logins, "alice", secret_of("alice"), refresh=True) == first
    assert provider.grants == ["password", "refresh_token", "refresh_token", "refresh_token"]
    assert await owner(logins, "alice", secret_of("alice"), refresh=False) == first
    assert provider.grants[4:] == ["password"]


async def test_only_who_shows_the_password_may_renew(provider: Any, upstream: Upstreams) -> None:
    logins = at(provider, upstream, accounts=Kept())
    await owner(logins, "alice", secret_of("alice"))
    assert isinstance(await refusal(logins, "alice", secret_of("bob"), refresh=True), Unauthenticated)
    assert isinstance(await refusal(logins, "bob", secret_of("alice"), refresh=True), Unauthenticated)
    assert provider.grants == ["password"] * 3


async def test_what_cannot_be_renewed_is_asked_for_by_password(provider: Any, upstream: Upstreams) -> None:
    logins = at(provider, upstream)
    first = await owner(logins, "alice", secret_of("alice"))
    provider.revoke_refresh_tokens()
    assert await owner(logins, "alice", secret_of("alice"), refresh=True) == first
    assert provider.grants == ["password", "refresh_token", "password"]
    assert await owner(logins, "alice", secret_of("alice"), refresh=True) == first
    assert provider.grants[3:] == ["refresh_token"]


async def test_what_renews_a_login_is_used_once(provider: Any, upstream: Upstreams) -> None:
    logins = at(provider, upstream)
    first = await owner(logins, "alice", secret_of("alice"))
    found = await asyncio.gather(*(owner(logins, "alice", secret_of("alice"), refresh=True) for _ in range(2)))
    assert found == [first, first]
    assert sorted(provider.grants) == ["password", "password", "refresh_token"]


async def test_a_renewal_for_another_user_is_not_taken(provider: Any, upstream: Upstreams) -> None:
    logins = at(provider, upstream, accounts=Kept())
    alice = await owner(logins, "alice", secret_of("alice"))
    bob = await owner(logins, "bob", secret_of("bob"))
    provider.replies["refresh_token"] = (200, provider.last)
    assert await owner(logins, "alice", secret_of("alice"), refresh=True) == alice != bob
    assert provider.grants == ["password", "password", "refresh_token", "password"]


async def test_what_is_kept_is_bounded_and_holds_no_password(provider: Any, upstream: Upstreams) -> None:
    logins = at(provider, upstream)
    await owner(logins, "alice", secret_of("alice"))
    visits = logins._visits
    assert visits is not None
    ((index, kept),) = visits._kept.items()
    assert USERS["alice"] not in repr((index, kept))
    for number in range(KEPT + 10):
        visits._keep(b"%d" % number, "account", Secret("refresh"))
    assert len(visits._kept) == KEPT
    assert index not in visits._kept


async def test_discovery_is_asked_once_an_hour(provider: Any, upstream: Upstreams) -> None:
    clock = Clock()
    clock.s = time.time()
    logins = at(provider, upstream, now=clock)
    for _ in range(2):
        await owner(logins, "alice", secret_of("alice"))
    assert provider.discoveries == 1
    clock.s += 3_601
    provider.replies["discovery"] = (503, b"")
    assert isinstance(await refusal(logins, "alice", secret_of("alice")), Broken)
    assert provider.discoveries == 2


async def test_an_issuer_that_cannot_be_asked_is_no_failure_of_the_caller(upstream: Upstreams, provider: Any) -> None:
    logins = at(provider, upstream)
    provider.replies["discovery"] = (500, b"<html>")
    for _ in range(FAILURES_OF_ONE_NAME + 1):
        assert isinstance(await refusal(logins, "alice", secret_of("alice")), Broken)
    provider.replies.clear()
    assert await owner(logins, "alice", secret_of("alice"))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, b"oops", Broken),
        (302, b"", Broken),
        (429, b"", Busy),
        (200, b"<html>", Broken),
        (200, b'{"access_token":"' + b"x" * 300_000 + b'"}', Broken),
    ],
)
async def test_an_issuer_that_answers_nonsense(
    provider: Any, upstream: Upstreams, status: int, body: bytes, kind: type[Fault]
) -> None:
    provider.replies["password"] = (status, body)
    fault = await refusal(at(provider, upstream), "alice", secret_of("alice"))
    assert type(fault) is kind
    assert fault.blame == "upstream"


async def test_an_issuer_that_is_not_there(provider: Any, upstream: Upstreams) -> None:
    dead = at(provider, upstream, issuer=f"https://localhost:{free_port()}")
    assert isinstance(await refusal(dead, "alice", secret_of("alice")), ConnectFailed)
    assert await owner(dead, "bob") == "user:bob", "local accounts need no issuer"


async def test_an_issuer_whose_certificate_nobody_vouches_for(provider: Any, upstream: Upstreams) -> None:
    fault = await refusal(at(provider, upstream, ca_file=""), "alice", secret_of("alice"))
    assert isinstance(fault, ConnectFailed)
    assert provider.discoveries == 0


async def test_a_wrong_client_is_the_operators_mistake(provider: Any, upstream: Upstreams) -> None:
    fault = await refusal(at(provider, upstream, secret="wrong-secret"), "alice", secret_of("alice"))
    assert type(fault) is KeyRejected
    assert "invalid_client" in fault.detail
    for text in (fault.message, fault.detail):
        assert USERS["alice"] not in text
        assert "wrong-secret" not in text


async def test_another_issuers_document_is_refused(provider: Any, upstream: Upstreams) -> None:
    fault = await refusal(at(provider, upstream, issuer=provider.issuer + "/"), "alice", secret_of("alice"))
    assert type(fault) is Broken
    assert provider.issuer in fault.detail
    assert provider.grants == []
