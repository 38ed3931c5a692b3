"""Conversations as the gateway keeps them, and the contract of their keeper.

A thread is a tree of nodes. Its root is an id without a message: the parent of the first question, and the
current node of a thread that is still empty. `current` is the node that the next question follows. All ids
are UUIDv4 text. Times are Unix seconds.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from dragoman.chat import Part, Role, Text, Think, ToolResult, ToolUse

State = Literal["pending", "complete", "cancelled", "broken"]


class Node(msgspec.Struct, frozen=True):
    """One message. `depth` counts from 1 below the root; `state` says how an answer ended (pending: it has not).

    `model` is the public model that answered, `request` the id of the request in which it did.
    """

    id: str
    thread: str
    parent: str
    depth: int
    role: Role
    parts: tuple[Part, ...]
    at: float
    state: State = "complete"
    model: str = ""
    request: str = ""

    @property
    def text(self) -> str:
        return text_of(self.parts)


class Thread(msgspec.Struct, frozen=True):
    """A conversation without its messages."""

    id: str
    owner: str
    title: str
    root: str
    current: str
    created: float
    updated: float


class Opening(msgspec.Struct, frozen=True):
    """What a turn in a conversation wants to begin with.

    `thread` "" means a new one, or with a `parent` the conversation of that message, which must be this owner's.
    `parent` "" means the current node. Without `parts` the question `parent` is answered once more.
    `question` is an id that the caller chose for its message; "" has one made. `tokens` is the room there is for
    the history with the question, counted by `weight`: older turns are left out whole, question and answers.
    `request` is the id of the request, which the answer keeps.
    """

    owner: str
    parts: tuple[Part, ...]
    thread: str = ""
    parent: str = ""
    question: str = ""
    model: str = ""
    tokens: int = 8192
    request: str = ""


class Place(msgspec.Struct, frozen=True):
    """Where a turn stands: its conversation, its two messages, and what came before, oldest first."""

    thread: Thread
    question: str
    answer: str
    parent: str
    history: tuple[Node, ...]
    is_new: bool
    at: float


class Shelf(msgspec.Struct, frozen=True):
    """Some of an owner's conversations, the latest first, and how many there are in all."""

    threads: list[Thread]
    total: int


class Story(msgspec.Struct, frozen=True):
    """A conversation with all its messages, parents before their children."""

    thread: Thread
    nodes: list[Node]


ROOT = -1


class Line(msgspec.Struct, frozen=True):
    """A message from elsewhere. `parent` is the number of the line that it follows, `ROOT` for none; None means the
    line before it.
    """

    role: Role
    text: str
    state: State = "complete"
    model: str = ""
    parent: int | None = None


class Chronicle(msgspec.Struct, frozen=True):
    """A conversation from elsewhere, without ids: parents stand before their children, `current` is the number of
    the current line, None for the last.
    """

    title: str
    lines: list[Line]
    current: int | None = None


class Threads(Protocol):
    """Keeps conversations. Whatever another owner has is not found.

    Every method may raise StoreFailed. `lease` names the process that answers; a thread has one turn at a
    time, whichever process it runs in.
    """

    async def begin(self, opening: Opening) -> Place:
        """Save the question, and that an answer to it has begun, in one step.

        Raises:
            NotFound: there is no such thread or parent.
            Conflict: a turn of this thread is under way.
            TooLarge: the question alone is larger than `opening.tokens`.

        """

    async def end(self, place: Place, state: State, parts: tuple[Part, ...]) -> None:
        """Save an answer as it ended and free the thread.

        An answer that broke or was cancelled before its first word leaves the current node where it was
        before the question; the question stays in the tree.
        """

    async def keep(self, partial: Sequence[tuple[Place, tuple[Part, ...]]]) -> None:
        """Save what the answers under way have come to and renew their hold on their threads."""

    async def shelf(self, owner: str, offset: int, limit: int, query: str = "", before: str = "") -> Shelf:
        """List conversations, the latest first: from `offset`, or those that follow the id `before`."""

    async def first(self, owner: str) -> Thread:
        """Return the latest conversation; an empty one is made if there is none."""

    async def thread(self, owner: str, id_: str) -> Thread:
        """Return a conversation without its messages. Raises NotFound."""

    async def story(self, owner: str, id_: str) -> Story:
        """Return a conversation with all its messages. Raises NotFound."""

    async def rename(self, owner: str, id_: str, title: str) -> Thread:
        """Raises NotFound."""

    async def drop(self, owner: str, id_: str) -> None:
        """Delete a conversation; "" deletes all of this owner. Raises NotFound."""

    async def adopt(self, owner: str, chronicles: Sequence[Chronicle]) -> list[Thread]:
        """Save conversations from elsewhere, all or none."""

    async def hold(self, owner: str, id_: str) -> None:
        """Note that a conversation which a back end keeps is this owner's; the first to be noted is it."""

    async def may_enter(self, owner: str, id_: str) -> bool:
        """Whether a back end's conversation is this owner's, or nobody's."""

    async def held_by_others(self, owner: str) -> frozenset[str]:
        """Return the ids of the back end's conversations that are somebody else's. O(those)."""


class Accounts(Protocol):
    """Keeps local accounts: a name and the digest (argon2, encoded) of a password."""

    async def account(self, name: str) -> str | None:
        """Return the digest of an account's password, None if there is no such account."""

    async def put_account(self, name: str, digest: str) -> bool:
        """Make an account or change its password. Returns whether it is new."""

    async def accounts(self, after: str = "", limit: int | None = None) -> list[str]:
        """List names in order, without regard to case: those behind `after`, and no more than `limit`."""

    async def drop_account(self, name: str) -> bool:
        """Returns whether there was one."""


TITLE_CHARACTERS = 60
NEW_TITLE = "New chat"


def title_of(text: str) -> str:
    """Make a title from the first line that says something."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return (line[: TITLE_CHARACTERS - 1] + "…") if len(line) > TITLE_CHARACTERS else line or NEW_TITLE


def text_of(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


BYTES_PER_TOKEN = 3
TOKENS_PER_NODE = 8
TOKENS_PER_OTHER = 1_200


def weight(parts: Sequence[Part]) -> int:
    """Estimate the tokens that a message takes in a model's context; rather too many than too few.

    Rule (docs/conversations.md): bytes of its text and of calls of tools in UTF-8 over three, plus eight, plus 1,200
    for each image or file. A model's thoughts are not sent. English takes four bytes a token and is counted a third
    too high, Chinese three.
    """
    size, others = 0, 0
    for part in parts:
        match part:
            case Text(text):
                size += len(text.encode())
            case ToolUse(_, name, arguments):
                size += len(name.encode()) + len(arguments.encode())
            case ToolResult(_, inner):
                others += weight(inner)
            case Think():
                pass
            case _:
                others += TOKENS_PER_OTHER
    return -(-size // BYTES_PER_TOKEN) + TOKENS_PER_NODE + others
