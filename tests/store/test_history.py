"""What is told to a model: the path from the root to the question, in whole turns, within the room."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keeping import again, ask, said, text, turn

from dragoman.chat import Text, ToolResult, ToolUse
from dragoman.store.history import PAGE, fitting
from dragoman.threads import Chronicle, Line, Node, weight


def line(*messages):
    """Nodes for messages like `user: words`, as a path: newest first."""
    nodes = []
    for number, message in enumerate(messages):
        role, _, words = message.partition(": ")
        nodes.append(Node(str(number), "t", str(number - 1), number + 1, role, text(words), 0.0))
    return nodes[::-1]


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        (["user: a", "assistant: b", "user: c", "assistant: d"], "abcd"),
        (["user: a", "assistant: ", "user: c", "assistant: d"], "acd"),
        (["assistant: a", "user: b", "assistant: c"], "bc"),
        (["user: a", "user: b", "assistant: c", "assistant: d"], "abcd"),
        (["system: a", "user: b", "assistant: c"], "abc"),
        (["assistant: a", "assistant: b"], ""),
        ([], ""),
    ],
)
def test_all_fits(path, kept) -> None:
    assert "".join(said(fitting(line(*path), 1000))) == kept


@pytest.mark.parametrize(("tokens", "kept"), [(0, ""), (17, ""), (18, "cd"), (35, "cd"), (36, "abcd")])
def test_a_turn_is_kept_whole_or_not_at_all(tokens, kept) -> None:
    path = line("user: a", "assistant: b", "user: c", "assistant: d")
    assert "".join(said(fitting(path, tokens))) == kept


def test_results_of_tools_stay_with_the_question_before() -> None:
    """A turn ends at the question of a person, and an answer that only calls a tool says something."""
    call, result = (ToolUse("c1", "f", "{}"),), (ToolResult("c1", text("ok")),)
    roles = ["user", "assistant", "user", "assistant", "user", "assistant"]
    said_in = [text("a"), text("b"), text("c"), call, result, text("d")]
    path = [
        Node(str(number), "t", "", number, role, parts, 0.0)
        for number, (role, parts) in enumerate(zip(roles, said_in, strict=True))
    ][::-1]
    last = sum(weight(parts) for parts in said_in[2:])
    assert fitting(path, last - 1) == []
    assert fitting(path, last) == path[3::-1]
    assert fitting(path, last + 18) == path[::-1]


def test_reading_stops_where_the_room_ends() -> None:
    read = []

    def path():
        for node in line(*["user: word", "assistant: word"] * 50):
            read.append(node)
            yield node

    assert len(fitting(path(), 45)) == 4
    assert len(read) == 5


def long_chronicle(words):
    return Chronicle(
        "long", [Line("user" if number % 2 == 0 else "assistant", word) for number, word in enumerate(words)]
    )


async def test_a_history_longer_than_a_page(store) -> None:
    """JSON takes two bytes for a quote, so that a page of as many bytes as there is room for is not enough."""
    words = ['"' * 30] * 200
    [thread] = await store.adopt("ann", [long_chronicle(words)])
    size = weight(text(words[0]))
    place = await store.begin(ask(words[0], thread=thread.id, tokens=size * 201))
    assert said(place.history) == [*words, words[0]]


async def test_a_page_is_no_longer_than_the_room(store) -> None:
    [thread] = await store.adopt("ann", [long_chronicle(["word"] * 1_000)])
    values = {"start": thread.current, "of_thread": thread.id, "size_bytes": 300}
    rows = await store._database.read(lambda connection: connection.execute(PAGE, values).all())
    assert [row.depth for row in rows] == list(range(1_000, 990, -1))


async def test_many_siblings_do_not_matter(store) -> None:
    first = await turn(store, "one", "ONE")
    for _ in range(20):
        await store.end(await store.begin(again(thread=first.thread.id)), "complete", text("x"))
    place = await store.begin(ask("two", parent=first.answer))
    assert said(place.history) == ["one", "ONE", "two"]


# How a tree grows: each turn stands at an earlier message (a share of those there are), or answers again.
GROWTH = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.booleans(),
        st.text('ab\n"é', max_size=30),
        st.text("xy\\", max_size=60),
        st.sampled_from(["complete", "cancelled", "broken"]),
    ),
    min_size=1,
    max_size=12,
)


@given(growth=GROWTH, tokens=st.integers(9, 400))
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_any_tree(runner, store, growth, tokens) -> None:
    runner.run(_grow(store, growth, tokens))


@pytest.fixture
def runner():
    with asyncio.Runner() as running:
        yield running


async def _grow(store, growth, tokens) -> None:
    thread = (await store.adopt("ann", [Chronicle("tree", [])]))[0]
    nodes = {}
    for share, is_again, question, answer, state in growth:
        ids = [thread.root, *nodes]
        parent = ids[int(share * (len(ids) - 1))]
        parts = () if is_again and parent != thread.root else text(question)
        small = max(tokens, weight(parts))
        place = await store.begin(_opening(thread, parent, parts, max(small, 60)))
        _check(place, nodes, max(small, 60))
        await store.end(place, state, text(answer))
        nodes |= {node.id: node for node in (await store.story("ann", thread.id)).nodes}


def _opening(thread, parent, parts, tokens):
    if parts:
        return ask(parts[0].text, thread=thread.id, parent=parent, tokens=tokens)
    return again(thread=thread.id, parent=parent, tokens=tokens)


def _check(place, nodes, tokens) -> None:
    history = place.history
    assert history[-1].id == place.question
    assert history[0].role == "user"
    assert sum(weight(node.parts) for node in history) <= tokens
    above = []
    id_ = place.parent
    while id_ in nodes:
        above.append(nodes[id_])
        id_ = nodes[id_].parent
    assert id_ == place.thread.root
    sayable = [node for node in above[::-1] if node.role == "user" or node.text]
    told = list(history[:-1])
    assert told == sayable[len(sayable) - len(told) :]
    # What was left out would not have fitted: the turn before the first one that is told.
    left_out = sayable[: len(sayable) - len(told)]
    starts = [number for number, node in enumerate(left_out) if node.role == "user"]
    if starts:
        assert sum(weight(node.parts) for node in (*left_out[starts[-1] :], *history)) > tokens


async def test_parts_that_are_not_text_are_told(store) -> None:
    place = await store.begin(ask("one"))
    await store.end(place, "complete", (Text("ONE"), Text("!")))
    assert said((await store.begin(ask("two", thread=place.thread.id))).history) == ["one", "ONE!", "two"]
