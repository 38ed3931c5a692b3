"""What came before a question: the path to the root, read newest first and only as far as there is room."""

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, Integer, bindparam, func, literal_column, select

from dragoman.store.rows import node_of
from dragoman.store.schema import nodes
from dragoman.threads import BYTES_PER_TOKEN, Node, weight

PAGE_ROWS = 64

_first = (
    select(nodes, func.length(nodes.c.parts).label("size"), literal_column("1", Integer).label("number"))
    .where(nodes.c.id == bindparam("start"), nodes.c.thread == bindparam("of_thread"))
    .cte("path", recursive=True)
)
# The thread and the depth are compared as well: whatever ids a caller invents, a path stays in its tree and ends.
_path = _first.union_all(
    select(nodes, _first.c.size + func.length(nodes.c.parts), _first.c.number + 1).where(
        nodes.c.id == _first.c.parent,
        nodes.c.thread == _first.c.thread,
        nodes.c.depth == _first.c.depth - 1,
        _first.c.size < bindparam("bytes"),
        _first.c.number < literal_column(str(PAGE_ROWS)),
    )
)
_PAGE = select(_path).order_by(_path.c.depth.desc())


def ancestry(connection: Connection, thread: str, start: str, tokens: int) -> Iterator[Node]:
    """Yield the message `start` and those above it, up to the root.

    It is read in pages of PAGE_ROWS messages, and of no more bytes than `tokens` take, so that a caller who stops
    pays for little more than it took, however long the conversation is and however many branches it has.
    """
    while page := connection.execute(
        _PAGE, {"start": start, "of_thread": thread, "bytes": tokens * BYTES_PER_TOKEN}
    ).all():
        yield from map(node_of, page)
        start = page[-1].parent


def fitting(path: Iterable[Node], tokens: int) -> list[Node]:
    """Keep the latest whole turns that fit into `tokens`. `path` is newest first, the result oldest first.

    A turn is a question with the answers that follow it. Answers without text are left out.
    """
    kept: list[Node] = []
    turn: list[Node] = []
    for node in path:
        if node.role == "assistant" and not node.text:
            continue
        turn.append(node)
        tokens -= weight(node.parts)
        if tokens < 0:
            break
        if node.role != "assistant":
            kept += turn
            turn = []
    return kept[::-1]
