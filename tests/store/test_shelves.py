"""Conversations as things to list, read, change, delete and bring along."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keeping import NOWHERE, ask, said, talk, turn

from dragoman.chat import Text
from dragoman.faults import NotFound, StoreFailed
from dragoman.store.rows import TITLE_LIMIT
from dragoman.store.turns import LEASE_S
from dragoman.threads import NEW_TITLE, ROOT, Chronicle, Line


async def shelve(store, clock, *titles, owner="ann"):
    """Make conversations, the last named the latest."""
    for title in titles:
        clock.now += 1
        await turn(store, title, owner=owner)


async def titles(store, *page, owner="ann", **more):
    return [thread.title for thread in (await store.shelf(owner, *page, **more)).threads]


async def test_the_latest_comes_first(store, clock) -> None:
    await shelve(store, clock, "a", "b", "c")
    oldest = (await store.shelf("ann", 2, 1)).threads[0]
    assert await titles(store, 0, 10) == ["c", "b", "a"]
    clock.now += 1
    await turn(store, thread=oldest.id)
    assert await titles(store, 0, 10) == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("offset", "limit", "page"),
    [(0, 2, "ed"), (2, 2, "cb"), (4, 2, "a"), (5, 2, ""), (0, 0, ""), (-1, 1, "e"), (0, -1, ""), (10**30, 10**30, "")],
)
async def test_a_page(store, clock, offset, limit, page) -> None:
    await shelve(store, clock, *"abcde")
    shelf = await store.shelf("ann", offset, limit)
    assert "".join(thread.title for thread in shelf.threads) == page
    assert shelf.total == 5


async def test_an_empty_shelf(store) -> None:
    shelf = await store.shelf("ann", 0, 10)
    assert (shelf.threads, shelf.total) == ([], 0)


async def test_pages_after_an_id_show_each_conversation_once(store) -> None:
    """Also those of one moment, as after an import."""
    threads = await store.adopt("ann", [Chronicle(f"{number}", []) for number in range(10)])
    seen = []
    before = ""
    while page := (await store.shelf("ann", 0, 3, before=before)).threads:
        seen += page
        before = page[-1].id
    assert sorted(thread.id for thread in seen) == sorted(thread.id for thread in threads)


async def test_a_page_after_an_id_and_an_offset(store, clock) -> None:
    await shelve(store, clock, *"abcde")
    second = (await store.shelf("ann", 1, 1)).threads[0]
    assert await titles(store, 1, 2, before=second.id) == ["b", "a"]
    assert (await store.shelf("ann", 0, 1, before=second.id.upper())).total == 5


@pytest.mark.parametrize("before", [NOWHERE, "new", "\0"])
async def test_a_page_after_nothing(store, before) -> None:
    with pytest.raises(NotFound) as raised:
        await store.shelf("ann", 0, 10, before=before)
    assert raised.value.field == "before"


ODD_TITLES = ["50% off", "50 off", "a_b", "aXb", 'say "hi"', "it's", "back\\slash", "ÄRGER", "🦊 fox", "a/b"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("%", ["50% off"]),
        ("_", ["a_b"]),
        ("\\", ["back\\slash"]),
        ("/", ["a/b"]),
        ("ärger", ["ÄRGER"]),
        ("OFF", ["50 off", "50% off"]),
        ("'", ["it's"]),
        ('"HI"', ['say "hi"']),
        ("🦊", ["🦊 fox"]),
        ("nothing", []),
        ("o\0ff", ["50 off", "50% off"]),
        ("x" * 100_000, []),
        ("", ODD_TITLES[::-1]),
    ],
)
async def test_a_query_is_taken_literally(store, clock, query, found) -> None:
    await shelve(store, clock, *ODD_TITLES)
    shelf = await store.shelf("ann", 0, 20, query)
    assert [thread.title for thread in shelf.threads] == found
    assert shelf.total == len(found)


async def test_a_query_in_pages(store, clock) -> None:
    await shelve(store, clock, "a1", "b", "a2", "a3")
    first = await store.shelf("ann", 0, 1, "A")
    assert ([thread.title for thread in first.threads], first.total) == (["a3"], 3)
    assert await titles(store, 0, 5, "A", before=first.threads[0].id) == ["a2", "a1"]


async def test_first_is_the_latest(store, clock) -> None:
    await shelve(store, clock, "a", "b")
    assert (await store.first("ann")).title == "b"
    assert (await store.shelf("ann", 0, 10)).total == 2


async def test_first_makes_one_empty_conversation(start) -> None:
    stores = [start("one"), start("two")]
    found = await asyncio.gather(*(stores[number % 2].first("ann") for number in range(12)))
    assert len({thread.id for thread in found}) == 1
    thread = found[0]
    assert (thread.title, thread.current, thread.owner) == (NEW_TITLE, thread.root, "ann")
    story = await stores[0].story("ann", thread.id)
    assert (story.thread, story.nodes) == (thread, [])


async def test_a_story_has_parents_before_children(store, clock) -> None:
    first = await talk(store, "one", "two")
    clock.now += 1
    branch = await turn(store, "left", "LEFT", thread=first.thread.id, parent=first.thread.root)
    story = await store.story("ann", first.thread.id)
    assert story.thread == await store.thread("ann", first.thread.id)
    assert story.thread.current == branch.answer
    assert said(story.nodes) == ["one", "left", "ONE", "LEFT", "two", "TWO"]
    seen = {story.thread.root}
    for node in story.nodes:
        assert node.parent in seen
        seen.add(node.id)


async def test_a_story_shows_what_nobody_answers_any_more(store, clock) -> None:
    place = await store.begin(ask())
    assert [n.state for n in (await store.story("ann", place.thread.id)).nodes] == ["complete", "pending"]
    clock.now += LEASE_S
    assert [n.state for n in (await store.story("ann", place.thread.id)).nodes] == ["complete", "broken"]


async def test_what_was_said_comes_back_as_it_was(store) -> None:
    odd = "$ % ' \" \\ \n \r\n \t \0 🦊 \u2028 e\u0301 <|im_end|> {}"
    place = await turn(store, odd, odd)
    assert said((await store.story("ann", place.thread.id)).nodes) == [odd, odd]


async def test_a_rename(store, clock) -> None:
    place = await turn(store, "a")
    clock.now += 1
    renamed = await store.rename("ann", place.thread.id.upper(), "B")
    assert (renamed.id, renamed.title, renamed.updated) == (place.thread.id, "B", place.at)
    assert await store.thread("ann", place.thread.id) == renamed
    assert await titles(store, 0, 10, "b") == ["B"]
    assert await titles(store, 0, 10, "a") == []


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("a\0b", "ab"),
        ("\0", NEW_TITLE),
        ("\ud800x", "x"),
        ("x" * (TITLE_LIMIT + 1), "x" * TITLE_LIMIT),
        ("ﷺ" * TITLE_LIMIT, "ﷺ" * TITLE_LIMIT),
        ("100% 'quoted' \"🦊\" _\\", "100% 'quoted' \"🦊\" _\\"),
    ],
)
async def test_odd_titles(store, title, kept) -> None:
    place = await turn(store)
    assert (await store.rename("ann", place.thread.id, title)).title == kept
    [adopted] = await store.adopt("ann", [Chronicle(title, [])])
    assert adopted == await store.thread("ann", adopted.id)
    assert adopted.title == kept


@given(words=st.text(st.characters(), min_size=1, max_size=80))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_title_is_found_by_itself(runner, store, words) -> None:
    async def check():
        thread = await store.first("ann")
        title = (await store.rename("ann", thread.id, words)).title
        assert await titles(store, 0, 1, title) == [title]
        assert await titles(store, 0, 1, title.swapcase().swapcase()) in ([title], [])

    runner.run(check())


@pytest.fixture
def runner():
    with asyncio.Runner() as running:
        yield running


async def test_dropping_one(store) -> None:
    one, two = await turn(store, "one"), await turn(store, "two")
    await store.drop("ann", one.thread.id.upper())
    assert await titles(store, 0, 10) == ["two"]
    with pytest.raises(NotFound):
        await store.drop("ann", one.thread.id)
    with pytest.raises(NotFound):
        await store.begin(ask(parent=one.answer))
    await store.drop("ann", two.thread.id)
    assert (await store.shelf("ann", 0, 10)).total == 0


async def test_dropping_leaves_no_messages(store, database) -> None:
    one = await turn(store, owner="ann")
    await turn(store, owner="ann")
    his = await turn(store, owner="bob")
    await store.drop("ann", one.thread.id)
    await store.drop("ann", "")
    assert database.execute("SELECT DISTINCT thread FROM nodes") == [(his.thread.id,)]
    assert database.execute("SELECT name, threads FROM owners") == [("bob", 1)]


async def test_dropping_all_of_nobody(store) -> None:
    await store.drop("ann", "")
    assert (await store.shelf("ann", 0, 10)).total == 0


async def test_dropping_amid_an_answer(store) -> None:
    place = await store.begin(ask())
    await store.drop("ann", "")
    await store.end(place, "complete", (Text("Hello."),))
    assert (await store.shelf("ann", 0, 10)).total == 0


async def test_adopting(store, clock) -> None:
    chronicles = [
        Chronicle("Weather", [Line("user", "rain?"), Line("assistant", "yes\0"), Line("user", "sun?")]),
        Chronicle("", [Line("user", "\n  first line\nsecond")]),
        Chronicle("", []),
    ]
    threads = await store.adopt("ann", chronicles)
    assert [thread.title for thread in threads] == ["Weather", "first line", NEW_TITLE]
    assert (await store.shelf("ann", 0, 10)).total == 3
    story = await store.story("ann", threads[0].id)
    assert story.thread == threads[0]
    assert said(story.nodes) == ["rain?", "yes\0", "sun?"]
    assert [(n.role, n.state, n.depth, n.at) for n in story.nodes] == [
        ("user", "complete", 1, clock.now),
        ("assistant", "complete", 2, clock.now),
        ("user", "complete", 3, clock.now),
    ]
    assert story.thread.current == story.nodes[-1].id
    assert threads[2].current == threads[2].root
    place = await store.begin(ask("and now?", thread=threads[0].id))
    assert said(place.history) == ["rain?", "yes\0", "sun?", "and now?"]


async def test_adopting_a_tree(store) -> None:
    lines = [
        Line("user", "one"),
        Line("assistant", "ONE", "cancelled", "m\0"),
        Line("user", "left"),
        Line("user", "right", parent=1),
        Line("user", "another", parent=ROOT),
        Line("assistant", "ANOTHER"),
    ]
    [thread] = await store.adopt("ann", [Chronicle("tree", lines, current=3)])
    story = await store.story("ann", thread.id)
    ids = {node.text: node.id for node in story.nodes}
    above = {id_: words for words, id_ in ids.items()} | {thread.root: "root"}
    assert {node.text: (above[node.parent], node.depth) for node in story.nodes} == {
        "one": ("root", 1),
        "ONE": ("one", 2),
        "left": ("ONE", 3),
        "right": ("ONE", 3),
        "another": ("root", 1),
        "ANOTHER": ("another", 2),
    }
    assert [(node.state, node.model) for node in story.nodes if node.text == "ONE"] == [("cancelled", "m")]
    assert story.thread.current == thread.current == ids["right"]
    place = await store.begin(ask("on", thread=thread.id))
    assert said(place.history) == ["one", "ONE", "right", "on"]


async def test_adopting_what_was_under_way_elsewhere(store) -> None:
    """Nobody here goes on with it, also while another answer is under way."""
    [thread] = await store.adopt("ann", [Chronicle("", [Line("user", "one"), Line("assistant", "O", "pending")])])
    await store.begin(ask("two", thread=thread.id))
    states = [node.state for node in (await store.story("ann", thread.id)).nodes]
    assert states == ["complete", "broken", "complete", "pending"]


async def test_adopting_nothing(store) -> None:
    assert await store.adopt("ann", []) == []


async def test_adopting_what_no_database_takes(store) -> None:
    [thread] = await store.adopt("ann", [Chronicle("", [Line("user", "a\ud800b")])])
    assert said((await store.story("ann", thread.id)).nodes) == ["ab"]


async def test_adopting_is_all_or_nothing(store, database) -> None:
    database.refuse("bad")
    with pytest.raises(StoreFailed):
        await store.adopt("ann", [Chronicle("", [Line("user", "good")]), Chronicle("", [Line("user", "bad")])])
    assert (await store.shelf("ann", 0, 10)).total == 0
    assert database.execute("SELECT * FROM threads") == []
