"""What tests of logins share: accounts in memory, a clock to set, and what a login came to."""

import pytest

from dragoman.admission.login import Logins
from dragoman.admission.passwords import Passwords, folded
from dragoman.admission.tokens import Tokens
from dragoman.faults import Fault, StoreFailed
from dragoman.people import Secret

PASSWORD = Secret("correct horse battery")
DIGEST = Passwords().digest(PASSWORD)
TOKENS = Tokens(None, b"o" * 32)


class Kept:
    """Accounts in memory, found by name without case as the store finds them. `asked` are the names looked up."""

    def __init__(self, **digests: str) -> None:
        self.digests = digests
        self.asked: list[str] = []
        self.is_broken = False

    async def account(self, name: str) -> str | None:
        self.asked.append(name)
        if self.is_broken:
            raise StoreFailed
        return self.digests.get(folded(name))

    async def put_account(self, name: str, digest: str) -> bool:
        is_new = folded(name) not in self.digests
        self.digests[folded(name)] = digest
        return is_new

    async def accounts(self) -> list[str]:
        return list(self.digests)

    async def drop_account(self, name: str) -> bool:
        return self.digests.pop(folded(name), None) is not None


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


async def owner(logins: Logins, name: str, password: Secret = PASSWORD, *, refresh: bool = False) -> str | None:
    return TOKENS.read(Secret(await logins.login(name, password, refresh=refresh)))


async def refusal(logins: Logins, name: str, password: Secret, *, refresh: bool = False) -> Fault:
    with pytest.raises(Fault) as caught:
        await logins.login(name, password, refresh=refresh)
    return caught.value
