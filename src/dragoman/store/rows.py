"""Between rows and words. Pure."""

import hashlib
import re
import unicodedata
import uuid
from typing import Any

import msgspec
from sqlalchemy import Row

from dragoman.chat import Part, Text
from dragoman.faults import NotFound
from dragoman.store.schema import threads
from dragoman.threads import NEW_TITLE, Node, State, Thread

TITLE_LIMIT = 500
"""Characters of a title that are kept."""
FOLDED_LIMIT = 2 * TITLE_LIMIT
NO_PARTS = "[]"
THREAD = (
    threads.c.id,
    threads.c.owner,
    threads.c.title,
    threads.c.root,
    threads.c.current,
    threads.c.created,
    threads.c.updated,
)
AnyRow = Row[*tuple[Any, ...]]
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLAIN_LENGTH = 200
_HASHED = "sha256:"
_encode_parts = msgspec.json.Encoder().encode
_decode_parts = msgspec.json.Decoder(tuple[Part, ...]).decode


def new_id() -> str:
    return str(uuid.uuid4())


def id_of(text: str) -> str:
    """Return a UUID as it is stored, "" for what is none."""
    lower = text.lower()
    return lower if _ID.fullmatch(lower) else ""


def no_thread() -> NotFound:
    """Make the fault for a thread that is missing or another's: the two must not be told apart."""
    return NotFound("There is no conversation of this conversation_id.", field="conversation_id")


def no_parent() -> NotFound:
    """Make the fault for a message that is missing or another's."""
    return NotFound("There is no message of this parent_id.", field="parent_id")


def encode(parts: tuple[Part, ...]) -> str:
    """Parts as JSON text; empty text is no part, so that an answer without a word is always `NO_PARTS`."""
    return _encode_parts([part for part in parts if not (isinstance(part, Text) and not part.text)]).decode()


def thread_of(row: AnyRow, owner: str) -> Thread:
    """Read a row that begins with `THREAD`."""
    id_, _, title, root, current, created, updated = row[:7]
    return Thread(id_, owner, title, root, current, created, updated)


def node_of(row: AnyRow, *, is_alive: bool = True) -> Node:
    """Read a row of `nodes`. An answer that nobody writes any more is broken, whatever its row still says.

    Raises msgspec.DecodeError.
    """
    state: State = "broken" if row.state == "pending" and not is_alive else row.state
    parts = _decode_parts(row.parts)
    return Node(row.id, row.thread, row.parent, row.depth, row.role, parts, row.at, state, row.model, row.request)


def columns_of(node: Node) -> dict[str, Any]:
    return msgspec.structs.asdict(node) | {"parts": encode(node.parts)}


def encodable(text: str) -> str:
    """Leave out halves of surrogate pairs, which no encoding has."""
    return text.encode("utf-8", "ignore").decode()


def clean(text: str) -> str:
    """Leave out what a database takes in no text: NUL as well."""
    return encodable(text).replace("\0", "")


def title_columns(title: str) -> dict[str, str]:
    """Return a title as it is kept, and as it is searched."""
    kept = clean(title)[:TITLE_LIMIT] or NEW_TITLE
    return {"title": kept, "folded_title": fold(kept)[:FOLDED_LIMIT]}


def fold(text: str) -> str:
    """Make text comparable without case; databases do that for ASCII only, or by their locale."""
    return unicodedata.normalize("NFKC", text).casefold()


def key_of(name: str) -> str:
    """Return the key that stands for a name: itself, or its hash when it is long or a database may refuse it.

    No two names have one key.
    """
    if len(name) <= _PLAIN_LENGTH and name.isprintable() and not name.startswith(_HASHED):
        return name
    return _HASHED + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
