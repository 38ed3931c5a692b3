"""Credentials of a provider: chosen by weight, benched by what went wrong, revived by time."""

import random

from dragoman.faults import Busy, Fault, KeyRejected
from dragoman.routes import Credential
from dragoman.standing import Holder

RETRY_AFTER_LEAST_S = 1.0
RETRY_AFTER_MOST_S = 300.0
RETRY_AFTER_DEFAULT_S = 5.0


class Member:
    """A credential, who holds its limits if it has any, and until when it rests (the loop's clock; 0 = it does not)."""

    __slots__ = ("credential", "holder", "rests_until", "why")

    def __init__(self, credential: Credential, holder: Holder | None = None) -> None:
        self.credential = credential
        self.holder = holder
        self.rests_until = 0.0
        self.why = ""


class Pool:
    """The credentials of one provider. Only this file writes to its members. O(credentials)."""

    def __init__(self, credentials: list[Credential], bench_s: float, provider: str = "") -> None:
        self.members = [Member(credential, _holder(credential, provider)) for credential in credentials]
        self._bench_s = bench_s

    def pick(self, now: float, tried: set[int]) -> Member | None:
        """Return a credential that is up and was not tried, by weight; None if there is none."""
        if len(self.members) == 1:
            only = self.members[0]
            return only if only.rests_until <= now and id(only) not in tried else None
        fit = [m for m in self.members if m.rests_until <= now and id(m) not in tried]
        if not fit:
            return None
        return random.choices(fit, [m.credential.weight for m in fit])[0]  # noqa: S311 - load, not secrets

    def bench(self, member: Member, fault: Fault, now: float) -> None:
        """Rest a credential for as long as the fault asks: Retry-After within bounds, a rejection longer."""
        if isinstance(fault, Busy):
            asked_s = fault.retry_after_s if fault.retry_after_s is not None else RETRY_AFTER_DEFAULT_S
            rest_s = min(max(asked_s, RETRY_AFTER_LEAST_S), RETRY_AFTER_MOST_S)
        elif isinstance(fault, KeyRejected):
            rest_s = self._bench_s
        else:
            return
        member.rests_until = max(member.rests_until, now + rest_s)
        member.why = fault.code

    def soonest(self, now: float) -> tuple[float, str]:
        """Return in how many seconds a credential is up again, and why the soonest rests."""
        resting = min(self.members, key=lambda m: m.rests_until)
        return max(0.0, resting.rests_until - now), resting.why


def _holder(credential: Credential, provider: str) -> Holder | None:
    """Name the holder of a credential's limits by its digest: the same in every process, and nobody's secret."""
    if not credential.limits:
        return None
    return Holder(f"credential:{provider}/{credential.secret.digest().hex()[:16]}", credential.limits)
