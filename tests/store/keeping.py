"""What tests of the store say and ask."""

import uuid

import pytest

from dragoman.chat import Text
from dragoman.threads import Opening

NOWHERE = "00000000-0000-4000-8000-000000000000"


def text(words):
    return (Text(words),)


def ask(words="Hello?", owner="ann", **where):
    return Opening(owner=owner, parts=text(words), **where)


def again(owner="ann", **where):
    return Opening(owner=owner, parts=(), **where)


async def turn(store, words="Hello?", answer="Hello.", state="complete", owner="ann", **where):
    """Hold a whole turn."""
    place = await store.begin(ask(words, owner, **where))
    await store.end(place, state, text(answer) if answer else ())
    return place


async def talk(store, *lines, owner="ann"):
    """Hold a conversation of questions, each answered by itself in capitals."""
    thread = ""
    for line in lines:
        place = await turn(store, line, line.upper(), owner=owner, thread=thread)
        thread = place.thread.id
    return place


async def current(store, place, owner="ann"):
    return (await store.thread(owner, place.thread.id)).current


async def node(store, id_, thread, owner="ann"):
    story = await store.story(owner, thread)
    return next(node for node in story.nodes if node.id == id_)


def said(nodes):
    return [node.text for node in nodes]


def new_id():
    return str(uuid.uuid4())


only_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
