"""Fills a gateway's data folder with conversations before it starts, through the store's own code.

All belong to the principal behind the benchmark's key. Every message has the same length, so that a trimmed history
is as long as any other.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from bench.accounts import OWNER

BATCH = 1000
_MESSAGE = ("It was said before, and it is kept word by word, to be sent along with what comes next. " * 2)[:150]


@dataclass(frozen=True)
class Stored:
    """What was stored: the conversations to talk in, each with its last message, and where an older page begins."""

    talked_in: list[tuple[str, str]]
    before: str


def fill(folder: Path, conversations: int, messages: int, talked_in: int) -> Stored:
    """Store so many conversations; the last ones, to talk in, have so many messages, and the older ones a turn each."""
    return asyncio.run(_fill(folder, conversations, messages, talked_in))


async def _fill(folder: Path, conversations: int, messages: int, talked_in: int) -> Stored:
    from dragoman.store import open_store
    from dragoman.threads import Chronicle, Line

    said = [Line("assistant" if place % 2 else "user", _MESSAGE) for place in range(messages)]
    older = conversations - talked_in
    store = open_store("", folder, "bench")
    try:
        for at in range(0, older, BATCH):
            await store.adopt(OWNER, [Chronicle(f"Older {n}", said[:2]) for n in range(at, min(at + BATCH, older))])
        newest = await store.adopt(OWNER, [Chronicle(f"Newest {n}", said) for n in range(talked_in)])
        middle = await store.shelf(OWNER, offset=talked_in + (older - talked_in) // 2, limit=1)
        return Stored([(thread.id, thread.current) for thread in newest], middle.threads[0].id)
    finally:
        store.close()
