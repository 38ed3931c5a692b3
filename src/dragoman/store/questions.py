"""What a turn asks: a new message at some place of the tree, or one that is there already."""

from collections.abc import Iterator
from itertools import chain

import msgspec
from sqlalchemy import Connection, bindparam, select

from dragoman.chat import ToolUse
from dragoman.faults import Malformed, NotFound
from dragoman.store.history import ancestry, results_in
from dragoman.store.rows import AnyRow, columns_of, encode, id_of, new_id, no_parent, node_of
from dragoman.store.schema import nodes, upsert
from dragoman.threads import Node, Opening, Thread

_NODE = select(nodes).where(nodes.c.id == bindparam("id"))


class Question(msgspec.Struct, frozen=True):
    """A message to answer. `path` leads from the message before it up to the root, newest first."""

    node: Node
    path: Iterator[Node]
    is_saved: bool = False


def find_question(connection: Connection, opening: Opening, thread: Thread, now: float) -> Question:
    """Read where in `thread` the turn stands. Raises NotFound, and Malformed for the result of a tool not called."""
    if opening.parent and not id_of(opening.parent):
        raise no_parent()
    parent = id_of(opening.parent) or thread.current
    path = ancestry(connection, thread.id, parent, opening.tokens)
    if not opening.parts:
        asked = next((node for node in path if node.role == "user"), None)
        if asked is None:
            raise NotFound("There is no question to answer again at this parent_id.", field="parent_id")
        return Question(asked, path, is_saved=True)
    depth, calls = 1, set[str]()
    if parent != thread.root:
        before = next(path, None)
        if before is None:
            raise no_parent()
        calls = _calls_in(before)
        path, depth = chain([before], path), before.depth + 1
    if results_in(opening.parts) - calls:
        raise Malformed("The message before has no tool call of this tool_call_id.", field="content")
    chosen = id_of(opening.question)
    asked = Node(chosen or new_id(), thread.id, parent, depth, "user", opening.parts, now)
    return _with_chosen_id(connection, thread, Question(asked, path)) if chosen else Question(asked, path)


def _calls_in(node: Node) -> set[str]:
    """Return the ids of the tool calls of an answer; one that was not completed has none that can be relied on."""
    return {part.id for part in node.parts if isinstance(part, ToolUse)} if node.state == "complete" else set()


def save_question(connection: Connection, node: Node) -> Node:
    """Insert a question; under another id if somebody else was faster with this one."""
    insert = upsert(connection, nodes).on_conflict_do_nothing()
    if connection.execute(insert, columns_of(node)).rowcount:
        return node
    return save_question(connection, msgspec.structs.replace(node, id=new_id()))


def _with_chosen_id(connection: Connection, thread: Thread, question: Question) -> Question:
    """See to an id that a caller chose: what it said before is answered again, an id that is taken is replaced."""
    asked = question.node
    found = connection.execute(_NODE, {"id": asked.id}).one_or_none()
    if found is not None and _is_same(found, asked):
        return Question(node_of(found), question.path, is_saved=True)
    if found is None and asked.id != thread.root:
        return question
    return Question(msgspec.structs.replace(asked, id=new_id()), question.path)


def _is_same(found: AnyRow, asked: Node) -> bool:
    place = (found.thread, found.role, found.parent)
    return place == (asked.thread, "user", asked.parent) and bool(found.parts == encode(asked.parts))
