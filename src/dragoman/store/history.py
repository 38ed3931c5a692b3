"""What came before a question: the path to the root, read newest first and only as far as there is room."""

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, bindparam, func, select

from dragoman.chat import Part, ToolResult, ToolUse
from dragoman.store.rows import node_of
from dragoman.store.schema import nodes
from dragoman.threads import BYTES_PER_TOKEN, Node, weight

_first = (
    select(nodes, func.length(nodes.c.parts).label("size"))
    .where(nodes.c.id == bindparam("start"), nodes.c.thread == bindparam("of_thread"))
    .cte("path", recursive=True)
)
# With the depth compared as well a path stays in its tree and ends, whatever ids callers invent: nothing has depth 0.
_path = _first.union_all(
    select(nodes, _first.c.size + func.length(nodes.c.parts)).where(
        nodes.c.id == _first.c.parent, nodes.c.depth == _first.c.depth - 1, _first.c.size < bindparam("size_bytes")
    )
)
PAGE = select(_path).order_by(_path.c.depth.desc())


def ancestry(connection: Connection, thread: str, start: str, tokens: int) -> Iterator[Node]:
    """Yield the message `start` and those above it, up to the root.

    A page ends with the message that is more than `tokens` together with those before it, so that the cost is that
    of what fits, however long the conversation is and however many branches it has.
    """
    values = {"start": start, "of_thread": thread, "size_bytes": tokens * BYTES_PER_TOKEN}
    while page := connection.execute(PAGE, values).all():
        yield from map(node_of, page)
        values["start"] = page[-1].parent


def results_in(parts: Iterable[Part]) -> set[str]:
    """Return the ids of the tool calls that a message answers."""
    return {part.id for part in parts if isinstance(part, ToolResult)}


def fitting(path: Iterable[Node], tokens: int) -> list[Node]:
    """Keep the latest whole turns that fit into `tokens`. `path` is newest first, the result oldest first.

    A turn is a question with the answers that follow it, and with the results of the tools that they call. Answers
    that say nothing and call nothing are left out.
    """
    kept: list[Node] = []
    turn: list[Node] = []
    for node in path:
        if node.role == "assistant" and not node.text and not any(isinstance(part, ToolUse) for part in node.parts):
            continue
        turn.append(node)
        tokens -= weight(node.parts)
        if tokens < 0:
            break
        if node.role != "assistant" and not results_in(node.parts):
            kept += turn
            turn = []
    return kept[::-1]
