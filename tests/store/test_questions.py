"""Where in the tree a question stands, and the ids that callers choose."""

import asyncio

import pytest
from keeping import again, ask, current, new_id, node, said, talk, text, turn

from dragoman.chat import ToolResult, ToolUse
from dragoman.faults import Malformed, NotFound
from dragoman.threads import Opening


async def test_a_parent_alone_finds_its_conversation(store) -> None:
    first = await talk(store, "one", "two")
    place = await store.begin(ask("three", parent=first.answer))
    assert place.thread.id == first.thread.id
    assert said(place.history) == ["one", "ONE", "two", "TWO", "three"]


async def test_a_question_may_follow_a_question(store) -> None:
    first = await turn(store, "one", "ONE")
    place = await store.begin(ask("two", parent=first.question))
    assert said(place.history) == ["one", "two"]


async def test_a_branch_knows_nothing_of_the_other(store) -> None:
    first = await turn(store, "one", "ONE")
    left = await turn(store, "left", "LEFT", thread=first.thread.id)
    right = await turn(store, "right", "RIGHT", thread=first.thread.id, parent=first.answer)
    assert right.parent == left.parent == first.answer
    place = await turn(store, "on", "ON", parent=left.answer)
    assert said(place.history) == ["one", "ONE", "left", "LEFT", "on"]
    assert await current(store, place) == place.answer


async def test_the_root_means_from_the_start(store) -> None:
    first = await talk(store, "one", "two")
    place = await store.begin(ask("another", thread=first.thread.id, parent=first.thread.root))
    assert place.parent == first.thread.root
    assert said(place.history) == ["another"]
    assert (await node(store, place.question, place.thread.id)).depth == 1


@pytest.mark.parametrize("which", ["question", "answer", ""])
async def test_answering_again_makes_a_sibling(store, clock, which) -> None:
    first = await talk(store, "one", "two")
    clock.now += 1
    parent = getattr(first, which) if which else ""
    place = await store.begin(again(thread=first.thread.id, parent=parent))
    assert (place.question, place.parent) == (first.question, first.parent)
    assert said(place.history) == ["one", "ONE", "two"]
    await store.end(place, "complete", ())
    story = await store.story("ann", place.thread.id)
    assert [n.id for n in story.nodes if n.parent == first.question] == [first.answer, place.answer]
    assert len(story.nodes) == 5


async def test_answering_again_finds_its_conversation(store) -> None:
    first = await turn(store)
    assert (await store.begin(again(parent=first.answer))).thread.id == first.thread.id


@pytest.mark.parametrize("at_root", [True, False])
async def test_there_must_be_a_question_to_answer_again(store, at_root) -> None:
    empty = await store.first("ann")
    with pytest.raises(NotFound) as raised:
        await store.begin(again(thread=empty.id, parent=empty.root if at_root else ""))
    assert raised.value.field == "parent_id"


async def test_a_new_conversation_has_nothing_to_answer_again(store) -> None:
    with pytest.raises(NotFound):
        await store.begin(again())
    assert (await store.shelf("ann", 0, 10)).total == 0


async def test_an_id_that_the_caller_chose(store) -> None:
    chosen = new_id()
    place = await store.begin(ask(question=chosen.upper()))
    assert place.question == place.history[-1].id == chosen


@pytest.mark.parametrize("chosen", ["", "mine", "\0", "x" * 100_000])
async def test_an_id_that_is_none_is_replaced(store, chosen) -> None:
    place = await store.begin(ask(question=chosen))
    assert place.question != chosen
    assert (await node(store, place.question, place.thread.id)).text == "Hello?"


async def test_asking_the_same_again_is_answering_again(store) -> None:
    first = await turn(store, "one", "ONE", question=new_id())
    place = await store.begin(ask("one", thread=first.thread.id, parent=first.thread.root, question=first.question))
    assert place.question == first.question
    assert place.answer != first.answer
    assert len((await store.story("ann", place.thread.id)).nodes) == 3


async def test_a_retry_after_a_failure_needs_no_parent(store) -> None:
    first = await turn(store, "one", "ONE")
    failed = await turn(store, "two", "", state="broken", thread=first.thread.id, question=new_id())
    place = await store.begin(ask("two", thread=first.thread.id, question=failed.question))
    assert place.question == failed.question
    assert said(place.history) == ["one", "ONE", "two"]


@pytest.mark.parametrize("words", ["one", "another"])
async def test_a_taken_id_is_replaced(store, words) -> None:
    """At another place of the tree, or with other words: nothing that was said is lost."""
    first = await turn(store, "one", "ONE", question=new_id())
    parent = first.answer if words == "one" else first.thread.root
    place = await store.begin(ask(words, thread=first.thread.id, parent=parent, question=first.question))
    assert place.question != first.question
    assert place.history[-1].text == words


async def test_an_id_of_another_owner_is_replaced(store) -> None:
    hers = await turn(store, owner="ann", question=new_id())
    his = await store.begin(ask("Mine?", owner="bob", question=hers.question))
    assert his.question != hers.question
    assert said(his.history) == ["Mine?"]
    assert len((await store.story("ann", hers.thread.id)).nodes) == 2


async def test_a_roots_id_is_replaced(store) -> None:
    """It would be its own parent."""
    empty = await store.first("ann")
    place = await turn(store, "one", "ONE", thread=empty.id, question=empty.root)
    assert place.question != empty.root
    assert said((await store.begin(ask("two", thread=empty.id))).history) == ["one", "ONE", "two"]


async def test_another_owners_root_as_an_id_joins_no_trees(store) -> None:
    hers = await turn(store, "hers", "HERS", owner="ann")
    await turn(store, "his", "HIS", owner="bob", question=hers.thread.root)
    place = await store.begin(ask("on", owner="ann", thread=hers.thread.id))
    assert said(place.history) == ["hers", "HERS", "on"]


async def test_one_id_for_many_questions_at_once(start) -> None:
    """Whoever comes second has another id made, and nobody an error."""
    stores = [start(str(number)) for number in range(4)]
    chosen = new_id()
    places = await asyncio.gather(
        *(stores[number % 4].begin(ask(f"{number}", owner=f"owner {number}", question=chosen)) for number in range(16))
    )
    assert len({place.question for place in places}) == 16
    assert [place.question for place in places].count(chosen) == 1
    for number, place in enumerate(places):
        assert place.history[-1].id == place.question
        assert (await node(stores[0], place.question, place.thread.id, f"owner {number}")).text == f"{number}"


async def called(store, *ids, state="complete"):
    """Hold a turn whose answer calls tools."""
    place = await store.begin(ask())
    await store.end(place, state, tuple(ToolUse(id_, "f", "{}") for id_ in ids))
    return place


def results(*ids, **where):
    return Opening("ann", tuple(ToolResult(id_) for id_ in ids), **where)


async def test_results_of_tools_follow_their_calls(store) -> None:
    first = await called(store, "c1", "c2")
    place = await store.begin(results("c2", parent=first.answer))
    assert place.parent == first.answer
    await store.end(place, "complete", text("done"))
    assert (await store.begin(again(parent=place.question))).question == place.question


@pytest.mark.parametrize("where", ["another id", "cancelled", "further up", "nowhere", "at the root"])
async def test_a_result_that_answers_no_call_of_the_message_before(store, where) -> None:
    first = await called(store, "c1", state="cancelled" if where == "cancelled" else "complete")
    if where == "further up":
        await turn(store, parent=first.answer)
    parent = {"further up": "", "nowhere": "", "at the root": first.thread.root}.get(where, first.answer)
    thread = "" if where == "nowhere" else first.thread.id
    before = (await store.shelf("ann", 0, 9)).total, len((await store.story("ann", first.thread.id)).nodes)
    with pytest.raises(Malformed) as caught:
        await store.begin(results("c2" if where == "another id" else "c1", thread=thread, parent=parent))
    assert caught.value.field == "content"
    assert before == ((await store.shelf("ann", 0, 9)).total, len((await store.story("ann", first.thread.id)).nodes))
