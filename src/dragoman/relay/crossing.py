"""One path, several dialects: which of them a request means. The rule is section 7 of the seed protocols."""

from collections.abc import Callable, Sequence

from dragoman.legs import Head
from dragoman.people import Secret, shown_key
from dragoman.ports import Mount


def choose(mounts: Sequence[Mount], head: Head, body: bytes, kin: Callable[[Secret], str]) -> Mount:
    """Return the mount that is meant: by Accept, else by the kind of key, else by the body, else the last resort.

    `kin` says what kind of key a secret is, "" for none of the kinds that a mount may name.
    """
    rules = [(mount, mount.crossing) for mount in mounts if mount.crossing]
    rules.sort(key=lambda rule: rule[1].fits is None)
    accept = (head.get(b"accept") or b"").lower()
    for mount, crossing in rules:
        if crossing.accept in accept:
            return mount
    key = shown_key(head.get(b"authorization"))
    kind = kin(key) if key else ""
    for mount, crossing in rules:
        if kind and crossing.kin == kind:
            return mount
    for mount, crossing in rules:
        if crossing.fits is not None and crossing.fits(body):
            return mount
    return next(mount for mount, crossing in rules if crossing.fits is None)
