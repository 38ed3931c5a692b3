"""Turns: how one begins, is kept alive and ends. Each function is the work of one transaction.

The row of a thread is locked before its nodes are touched, everywhere, so that no two transactions wait for each
other.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, case, exists, insert, select, update

from dragoman.chat import Part
from dragoman.faults import Conflict, TooLarge
from dragoman.store.history import fitting, results_in
from dragoman.store.owners import add_threads
from dragoman.store.questions import find_question, save_question
from dragoman.store.rows import (
    NO_PARTS,
    THREAD,
    columns_of,
    encode,
    id_of,
    key_of,
    new_id,
    no_parent,
    no_thread,
    thread_of,
    title_columns,
)
from dragoman.store.schema import nodes, threads
from dragoman.threads import NEW_TITLE, Node, Opening, Place, State, Thread, text_of, title_of, weight

LEASE_S = 15.0
"""How long a process that says nothing holds a thread."""

_FREE = {"run": "", "answering": "", "previous": "", "busy_until": 0.0}
_THREAD = select(*THREAD, threads.c.run, threads.c.busy_until).where(threads.c.owner == bindparam("owner"))
_BY_ID = _THREAD.where(threads.c.id == bindparam("sought")).with_for_update()
_OF_NODE = select(nodes.c.thread).where(nodes.c.id == bindparam("sought")).scalar_subquery()
_BY_NODE = _THREAD.where(threads.c.id == _OF_NODE).with_for_update()
_TAKE = update(threads).where(threads.c.id == bindparam("of_thread"))
_RENEW = _TAKE.where(threads.c.answering == bindparam("of_answer"))
_BACK = case((threads.c.current == bindparam("wordless"), threads.c.previous), else_=threads.c.current)
_GIVE_BACK = _RENEW.values(_FREE | {"current": _BACK})
_SAVE_ANSWER = update(nodes).where(nodes.c.id == bindparam("of_answer"), nodes.c.state == "pending")


def begin(connection: Connection, opening: Opening, run: str, now: float) -> Place:
    """Do what `dragoman.threads.Threads.begin` promises. Until `now` + LEASE_S seconds the thread is `run`'s."""
    thread, is_new = _free_thread(connection, opening, now)
    question = find_question(connection, opening, thread, now)
    asked = question.node
    size = weight(asked.parts)
    if size > opening.tokens:
        raise TooLarge(f"The message has about {size} tokens, and there is room for {opening.tokens}.")
    before = fitting(question.path, opening.tokens - size)
    if not before and results_in(asked.parts):
        raise TooLarge("There is no room for the question and the tool call to which this message has the result.")
    if not question.is_saved:
        asked = save_question(connection, asked)
    asks = (opening.model, opening.request)
    answer = Node(new_id(), thread.id, asked.id, asked.depth + 1, "assistant", (), now, "pending", *asks)
    connection.execute(insert(nodes), columns_of(answer))
    thread = _take(connection, thread, asked, answer, run)
    return Place(thread, asked.id, answer.id, asked.parent, (*before, asked), is_new, now)


def end(connection: Connection, place: Place, state: State, parts: tuple[Part, ...]) -> None:
    """Do what `dragoman.threads.Threads.end` promises; nothing if this answer holds its thread no longer."""
    saved = encode(parts)
    is_wordless = saved == NO_PARTS and state != "complete"
    held = {"of_thread": place.thread.id, "of_answer": place.answer}
    if connection.execute(_GIVE_BACK, held | {"wordless": place.answer if is_wordless else ""}).rowcount:
        connection.execute(_SAVE_ANSWER, {"of_answer": place.answer, "state": state, "parts": saved})


def keep(connection: Connection, partial: Sequence[tuple[Place, tuple[Part, ...]]], now: float) -> None:
    """Do what `dragoman.threads.Threads.keep` promises: leases last until `now` + LEASE_S seconds."""
    # In one order, so that two processes never wait for each other's rows.
    ordered = sorted(partial, key=lambda item: item[0].thread.id)
    leases = [{"of_thread": p.thread.id, "of_answer": p.answer, "busy_until": now + LEASE_S} for p, _ in ordered]
    connection.execute(_RENEW, leases)
    connection.execute(_SAVE_ANSWER, [{"of_answer": p.answer, "parts": encode(parts)} for p, parts in ordered])


def release(connection: Connection, which: ColumnElement[bool]) -> None:
    """End the turns of threads whose process is gone, as broken. `which` is a condition on `threads`."""
    is_pending = nodes.c.state == "pending"
    is_wordless = exists().where(nodes.c.id == threads.c.answering, is_pending, nodes.c.parts == NO_PARTS)
    connection.execute(update(threads).where(which, is_wordless).values(current=threads.c.previous))
    stuck = select(threads.c.answering).where(which)
    connection.execute(update(nodes).where(nodes.c.id.in_(stuck), is_pending).values(state="broken"))
    connection.execute(update(threads).where(which).values(_FREE))


def _free_thread(connection: Connection, opening: Opening, now: float) -> tuple[Thread, bool]:
    """Find the thread, lock its row and see that it is free; or make one. Raises NotFound, Conflict."""
    if not opening.thread and not opening.parent:
        return add_threads(connection, opening.owner, [NEW_TITLE], now)[0], True
    query = _BY_ID if opening.thread else _BY_NODE
    sought = {"sought": id_of(opening.thread or opening.parent), "owner": key_of(opening.owner)}
    row = connection.execute(query, sought).one_or_none()
    if row is None:
        raise no_thread() if opening.thread else no_parent()
    if row.run and row.busy_until > now:
        raise Conflict
    if row.run:
        release(connection, threads.c.id == row.id)
        row = connection.execute(query, sought).one()
    return thread_of(row, opening.owner), False


def _take(connection: Connection, thread: Thread, asked: Node, answer: Node, run: str) -> Thread:
    """Lease the thread for the answer, and make that the current node."""
    lease = {"run": run, "answering": answer.id, "previous": thread.current, "busy_until": answer.at + LEASE_S}
    changes: dict[str, Any] = {"current": answer.id, "updated": answer.at}
    if thread.title == NEW_TITLE:
        changes |= title_columns(title_of(text_of(asked.parts)))
    connection.execute(_TAKE, {"of_thread": thread.id} | lease | changes)
    changes.pop("folded_title", None)
    return msgspec.structs.replace(thread, **changes)
