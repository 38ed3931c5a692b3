"""Conversations as things to list, read, change, delete and bring along. Each function is one transaction's work."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, insert, select, tuple_, update

from dragoman.chat import Text
from dragoman.faults import NotFound
from dragoman.store.owners import add_threads, count_down, count_threads, lock_owner
from dragoman.store.rows import (
    FOLDED_LIMIT,
    THREAD,
    AnyRow,
    clean,
    columns_of,
    encodable,
    fold,
    id_of,
    key_of,
    new_id,
    no_thread,
    node_of,
    thread_of,
    title_columns,
)
from dragoman.store.schema import nodes, threads
from dragoman.threads import NEW_TITLE, Chronicle, Node, Shelf, Story, Thread, title_of

_MOST = 2**31 - 1
_ORDER = (threads.c.updated.desc(), threads.c.id.desc())
_OF_OWNER = threads.c.owner == bindparam("of_owner")
_THE_ONE = (threads.c.id == bindparam("sought"), _OF_OWNER)
_THREAD = select(*THREAD, threads.c.busy_until).where(*_THE_ONE)
_LATEST = select(*THREAD).where(_OF_OWNER).order_by(*_ORDER).limit(1)
_NODES = select(nodes).where(nodes.c.thread == bindparam("sought")).order_by(nodes.c.depth, nodes.c.at, nodes.c.id)
_RENAME = update(threads).where(*_THE_ONE)
_DROP = delete(threads).where(*_THE_ONE)
# The rows are locked in the order of their ids, as by those who keep several turns alive.
_OWNED = select(threads.c.id).where(_OF_OWNER).order_by(threads.c.id).with_for_update()
_DROP_ALL = delete(threads).where(threads.c.id.in_(_OWNED))


def list_threads(connection: Connection, owner: str, offset: int, limit: int, query: str, before: str) -> Shelf:
    """Do what `dragoman.threads.Threads.shelf` promises. Raises NotFound for a `before` that is not there.

    O(limit) without an offset and a query, wherever `before` stands.
    """
    which = [threads.c.owner == key_of(owner)]
    if query:
        # Nothing longer than the limit is kept, so that a longer query still matches nothing.
        which.append(threads.c.folded_title.contains(fold(clean(query))[: FOLDED_LIMIT + 1], autoescape=True))
        total = connection.execute(select(func.count()).select_from(threads).where(*which)).scalar_one()
    else:
        total = count_threads(connection, owner)
    if before:
        row = _find(connection, owner, before)
        if row is None:
            raise NotFound("There is no conversation of this id to begin after.", field="before")
        which.append(tuple_(threads.c.updated, threads.c.id) < (row.updated, row.id))
    page = select(*THREAD).where(*which).order_by(*_ORDER).offset(_bounded(offset)).limit(_bounded(limit))
    return Shelf([thread_of(row, owner) for row in connection.execute(page)], total)


def latest_thread(connection: Connection, owner: str, now: float) -> Thread:
    """Do what `dragoman.threads.Threads.first` promises."""
    lock_owner(connection, owner)
    row = connection.execute(_LATEST, {"of_owner": key_of(owner)}).one_or_none()
    return thread_of(row, owner) if row else add_threads(connection, owner, [NEW_TITLE], now)[0]


def find_thread(connection: Connection, owner: str, id_: str) -> Thread:
    row = _find(connection, owner, id_)
    if row is None:
        raise no_thread()
    return thread_of(row, owner)


def read_story(connection: Connection, owner: str, id_: str, now: float) -> Story:
    """Do what `dragoman.threads.Threads.story` promises."""
    row = _find(connection, owner, id_)
    if row is None:
        raise no_thread()
    found = connection.execute(_NODES, {"sought": row.id})
    return Story(thread_of(row, owner), [node_of(node, is_alive=row.busy_until > now) for node in found])


def rename_thread(connection: Connection, owner: str, id_: str, title: str) -> Thread:
    connection.execute(_RENAME.values(title_columns(title)), _key(owner, id_))
    return find_thread(connection, owner, id_)


def drop_threads(connection: Connection, owner: str, id_: str) -> None:
    """Do what `dragoman.threads.Threads.drop` promises; messages go with their thread."""
    lock_owner(connection, owner)
    dropped = connection.execute(_DROP if id_ else _DROP_ALL, _key(owner, id_)).rowcount
    if id_ and not dropped:
        raise no_thread()
    count_down(connection, owner, dropped)


def adopt_chronicles(connection: Connection, owner: str, chronicles: Sequence[Chronicle], now: float) -> list[Thread]:
    """Do what `dragoman.threads.Threads.adopt` promises."""
    if not chronicles:
        return []
    empty = add_threads(connection, owner, [_title(chronicle) for chronicle in chronicles], now)
    said = [_nodes(thread, chronicle, now) for thread, chronicle in zip(empty, chronicles, strict=True)]
    if any(said):
        connection.execute(insert(nodes), [columns_of(node) for line in said for node in line])
    adopted = [
        msgspec.structs.replace(thread, current=line[_last(given)].id) if line else thread
        for thread, line, given in zip(empty, said, chronicles, strict=True)
    ]
    at_end = update(threads).where(threads.c.id == bindparam("sought")).values(current=bindparam("last"))
    connection.execute(at_end, [{"sought": thread.id, "last": thread.current} for thread in adopted])
    return adopted


def _find(connection: Connection, owner: str, id_: str) -> AnyRow | None:
    return connection.execute(_THREAD, _key(owner, id_)).one_or_none()


def _key(owner: str, id_: str) -> dict[str, str]:
    return {"of_owner": key_of(owner), "sought": id_of(id_)}


def _bounded(number: int) -> int:
    return min(max(number, 0), _MOST)


def _last(chronicle: Chronicle) -> int:
    return -1 if chronicle.current is None else chronicle.current


def _title(chronicle: Chronicle) -> str:
    asked = next((line.text for line in chronicle.lines if line.role == "user"), "")
    return chronicle.title or title_of(asked)


def _nodes(thread: Thread, chronicle: Chronicle, now: float) -> list[Node]:
    made: list[Node] = []
    for number, line in enumerate(chronicle.lines):
        above = number - 1 if line.parent is None else line.parent
        parent, depth = (made[above].id, made[above].depth + 1) if above >= 0 else (thread.root, 1)
        parts = (Text(encodable(line.text)),)
        state = "broken" if line.state == "pending" else line.state
        made.append(Node(new_id(), thread.id, parent, depth, line.role, parts, now, state, clean(line.model)))
    return made
