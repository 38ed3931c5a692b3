"""A turn: begun, kept alive, ended, and what becomes of it when its process dies."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest
from keeping import NOWHERE, again, ask, current, new_id, node, only_sqlite, said, talk, text, turn

from dragoman.chat import Image, Text, Think, ToolResult, ToolUse
from dragoman.faults import Conflict, NotFound, TooLarge
from dragoman.store.turns import LEASE_S
from dragoman.threads import NEW_TITLE, TOKENS_PER_NODE, Opening, weight


async def test_a_new_conversation(store, clock) -> None:
    place = await store.begin(ask("What is it?\nTell me.", model="m"))
    assert place.is_new
    assert place.parent == place.thread.root
    assert said(place.history) == ["What is it?\nTell me."]
    assert place.history[-1].id == place.question
    assert place.thread.title == "What is it?"
    assert place.thread.current == place.answer
    assert place.at == place.thread.created == place.thread.updated == clock.now
    assert await store.thread("ann", place.thread.id) == place.thread


async def test_both_messages_are_saved_before_anything_is_answered(store, clock) -> None:
    place = await store.begin(ask("Hello?", model="m", request="r-1"))
    asked, answer = (await store.story("ann", place.thread.id)).nodes
    assert (asked.id, asked.parent, asked.depth, asked.role) == (place.question, place.thread.root, 1, "user")
    assert (asked.state, asked.text, asked.at, asked.model) == ("complete", "Hello?", clock.now, "")
    assert (answer.id, answer.parent, answer.depth, answer.role) == (place.answer, place.question, 2, "assistant")
    assert (answer.state, answer.parts, answer.model) == ("pending", (), "m")
    assert (asked.request, answer.request) == ("", "r-1")


async def test_the_next_question_follows_the_last_answer(store, clock) -> None:
    first = await turn(store, "One?", "One.")
    clock.now += 1
    second = await store.begin(ask("Two?", thread=first.thread.id))
    assert not second.is_new
    assert second.parent == first.answer
    assert said(second.history) == ["One?", "One.", "Two?"]
    assert second.thread.title == "One?"
    assert second.thread.updated == clock.now
    assert second.thread.created == first.at


async def test_an_id_in_capitals_is_the_same_id(store) -> None:
    first = await turn(store)
    second = await store.begin(ask(thread=first.thread.id.upper(), parent=first.answer.upper()))
    assert second.thread.id == first.thread.id


@pytest.mark.parametrize("state", ["complete", "cancelled", "broken"])
async def test_an_answer_is_saved_as_it_ended(store, state) -> None:
    parts = (Think("Hm.", signature="s"), Text("Well"))
    place = await store.begin(ask())
    await store.end(place, state, parts)
    answer = await node(store, place.answer, place.thread.id)
    assert (answer.state, answer.parts) == (state, parts)
    assert await current(store, place) == place.answer


@pytest.mark.parametrize("state", ["cancelled", "broken"])
@pytest.mark.parametrize("parts", [(), text("")])
async def test_an_answer_without_a_word_leaves_the_current_node(store, state, parts) -> None:
    first = await turn(store, "One?", "One.")
    second = await store.begin(ask("Two?", thread=first.thread.id))
    await store.end(second, state, parts)
    assert await current(store, first) == first.answer
    assert (await node(store, second.answer, first.thread.id)).state == state
    third = await store.begin(ask("Three?", thread=first.thread.id))
    assert said(third.history) == ["One?", "One.", "Three?"]


async def test_a_first_answer_without_a_word_leaves_the_root_current(store) -> None:
    place = await turn(store, answer="", state="broken")
    assert await current(store, place) == place.thread.root == place.parent


async def test_answering_again_without_a_word_keeps_the_earlier_answer_current(store) -> None:
    first = await turn(store)
    second = await store.begin(again(thread=first.thread.id))
    await store.end(second, "broken", ())
    assert await current(store, first) == first.answer


async def test_a_complete_answer_may_be_empty(store) -> None:
    place = await turn(store, answer="", state="complete")
    assert await current(store, place) == place.answer


async def test_ending_twice_is_ending_once(store) -> None:
    place = await turn(store, answer="The first.")
    await store.end(place, "broken", ())
    answer = await node(store, place.answer, place.thread.id)
    assert (answer.state, answer.text) == ("complete", "The first.")
    assert await current(store, place) == place.answer


async def test_ending_twice_does_not_free_the_next_turn(store) -> None:
    first = await turn(store)
    await store.begin(ask(thread=first.thread.id))
    await store.end(first, "complete", text("late"))
    with pytest.raises(Conflict):
        await store.begin(ask(thread=first.thread.id))


async def test_ending_in_a_deleted_conversation(store) -> None:
    place = await store.begin(ask())
    await store.drop("ann", place.thread.id)
    await store.keep([(place, text("He"))])
    await store.end(place, "complete", text("Hello."))
    with pytest.raises(NotFound):
        await store.thread("ann", place.thread.id)


async def test_one_turn_at_a_time(store) -> None:
    place = await store.begin(ask())
    for opening in (ask(thread=place.thread.id), ask(parent=place.question), again(thread=place.thread.id)):
        with pytest.raises(Conflict):
            await store.begin(opening)
    await store.end(place, "complete", text("Hello."))
    await store.begin(ask(thread=place.thread.id))


async def test_of_many_at_once_one_wins(start) -> None:
    stores = [start("one"), start("two")]
    place = await turn(stores[0])
    begun = [stores[number % 2].begin(ask(thread=place.thread.id)) for number in range(24)]
    results = await asyncio.gather(*begun, return_exceptions=True)
    refused = [result for result in results if isinstance(result, Conflict)]
    assert len(refused) == 23
    story = await stores[0].story("ann", place.thread.id)
    assert len(story.nodes) == 4


async def test_a_lease_ends(start, clock) -> None:
    one, two = start("one"), start("two")
    place = await one.begin(ask("One?"))
    clock.now += LEASE_S - 0.001
    with pytest.raises(Conflict):
        await two.begin(ask(thread=place.thread.id))
    clock.now += 0.001
    await two.begin(ask("Two?", thread=place.thread.id))
    assert (await node(one, place.answer, place.thread.id)).state == "broken"


async def test_keeping_renews_the_lease_and_saves_what_there_is(start, clock) -> None:
    one, two = start("one"), start("two")
    places = [await one.begin(ask()) for _ in range(3)]
    for count in range(1, 5):
        clock.now += LEASE_S - 1
        await one.keep([(place, text(f"{'word ' * count}{number}")) for number, place in enumerate(places)])
    for number, place in enumerate(places):
        with pytest.raises(Conflict):
            await two.begin(ask(thread=place.thread.id))
        answer = await node(two, place.answer, place.thread.id)
        assert (answer.state, answer.text) == ("pending", f"word word word word {number}")


async def test_keeping_nothing(store) -> None:
    await store.keep([])


async def test_a_lost_lease_stays_lost(start, clock) -> None:
    one, two = start("one"), start("two")
    place = await one.begin(ask("One?"))
    await one.keep([(place, text("half"))])
    clock.now += LEASE_S
    taken = await two.begin(ask("Two?", thread=place.thread.id))
    await one.keep([(place, text("half an answer"))])
    await one.end(place, "complete", text("the whole answer"))
    lost = await node(two, place.answer, place.thread.id)
    assert (lost.state, lost.text) == ("broken", "half")
    with pytest.raises(Conflict):
        await one.begin(ask(thread=place.thread.id))
    assert await current(two, taken) == taken.answer
    assert said(taken.history) == ["One?", "half", "Two?"]


async def test_a_pause_longer_than_the_lease_loses_nothing_if_nobody_took_it(store, clock) -> None:
    place = await store.begin(ask())
    clock.now += 10 * LEASE_S
    assert (await node(store, place.answer, place.thread.id)).state == "broken"
    await store.keep([(place, text("Hel"))])
    assert (await node(store, place.answer, place.thread.id)).state == "pending"
    clock.now += 10 * LEASE_S
    await store.end(place, "complete", text("Hello."))
    assert (await node(store, place.answer, place.thread.id)).text == "Hello."


async def test_a_turn_that_died_without_a_word_leaves_the_current_node(store, clock) -> None:
    first = await turn(store, "One?", "One.")
    await store.begin(ask("Two?", thread=first.thread.id))
    clock.now += LEASE_S
    third = await store.begin(ask("Three?", thread=first.thread.id))
    assert third.parent == first.answer
    assert said(third.history) == ["One?", "One.", "Three?"]


async def test_a_question_larger_than_the_room(store) -> None:
    size = 100 + TOKENS_PER_NODE
    with pytest.raises(TooLarge, match=f"about {size} tokens.*room for {size - 1}"):
        await store.begin(ask("x" * 300, tokens=size - 1))
    assert (await store.shelf("ann", 0, 10)).total == 0
    place = await store.begin(ask("x" * 300, tokens=size))
    assert len(place.history) == 1


async def test_the_oldest_turns_give_way(store) -> None:
    place = await talk(store, "one", "two", "three")
    one_turn = 2 * (2 + TOKENS_PER_NODE)
    place = await store.begin(ask("four", thread=place.thread.id, tokens=one_turn * 2 + one_turn // 2))
    assert said(place.history) == ["two", "TWO", "three", "THREE", "four"]


async def test_a_title_is_made_once(store) -> None:
    empty = await store.first("ann")
    assert empty.title == NEW_TITLE
    place = await turn(store, "One?", thread=empty.id)
    assert place.thread.title == "One?"
    assert not place.is_new
    other = await store.begin(ask("Two?", thread=empty.id, parent=empty.root))
    assert other.thread.title == "One?"


async def test_a_title_needs_words(store) -> None:
    place = await store.begin(Opening("ann", (Image(url="https://example.com/a.png"),)))
    assert place.thread.title == NEW_TITLE
    await store.end(place, "complete", text("A fox."))
    assert (await turn(store, "What colour?", thread=place.thread.id)).thread.title == "What colour?"


async def test_a_chosen_title_stays(store) -> None:
    empty = await store.first("ann")
    await store.rename("ann", empty.id, "Mine")
    assert (await turn(store, "One?", thread=empty.id)).thread.title == "Mine"


@pytest.mark.parametrize("where", [{"thread": NOWHERE}, {"thread": "new"}, {"thread": "'; --\0"}])
async def test_no_such_conversation(store, where) -> None:
    with pytest.raises(NotFound) as raised:
        await store.begin(ask(**where))
    assert raised.value.field == "conversation_id"


@pytest.mark.parametrize("parent", [NOWHERE, "new", "\ud800\0", "1" * 100_000])
@pytest.mark.parametrize("with_thread", [True, False])
async def test_no_such_parent(store, parent, with_thread) -> None:
    place = await turn(store)
    with pytest.raises(NotFound) as raised:
        await store.begin(ask(thread=place.thread.id if with_thread else "", parent=parent))
    assert raised.value.field == "parent_id"
    await store.begin(ask(thread=place.thread.id))


async def test_a_refused_turn_leaves_nothing(store) -> None:
    place = await turn(store)
    before = await store.story("ann", place.thread.id)
    for opening in (ask(thread=place.thread.id, parent=NOWHERE), ask("x" * 90_000, thread=place.thread.id)):
        with pytest.raises((NotFound, TooLarge)):
            await store.begin(opening)
    assert await store.story("ann", place.thread.id) == before


async def test_a_message_of_another_conversation_is_no_parent(store) -> None:
    one, two = await turn(store), await turn(store)
    for parent in (two.answer, two.thread.root, two.thread.id):
        with pytest.raises(NotFound):
            await store.begin(ask(thread=one.thread.id, parent=parent))


DYING = """
import asyncio, sys, time
from pathlib import Path
from dragoman.chat import Text
from dragoman.store import open_store
from dragoman.threads import Opening, weight

async def main(url, folder, thread):
    store = open_store(url, Path(folder), "dying", now=lambda: 1_700_000_000.0)
    place = await store.begin(Opening("ann", (Text("Two?"),), thread=thread))
    await store.keep([(place, (Text("half an ans"),))])
    print(place.answer, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_kill_9_amid_an_answer(start, database, clock) -> None:
    store = start()
    first = await turn(store, "One?", "One.")
    store.close()
    command = [sys.executable, "-c", DYING, database.url, str(database.folder), first.thread.id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        answer = process.stdout.readline().strip()
        os.kill(process.pid, signal.SIGKILL)
    store = start("next", sole=True)
    if database.kind == "postgresql":
        with pytest.raises(Conflict):
            await store.begin(ask(thread=first.thread.id))
        clock.now += LEASE_S
    lost = await node(store, answer, first.thread.id)
    assert (lost.state, lost.text) == ("broken", "half an ans")
    place = await store.begin(ask("Three?", thread=first.thread.id))
    assert said(place.history) == ["One?", "One.", "Two?", "half an ans", "Three?"]
    assert place.parent == answer


@only_sqlite
async def test_the_sole_process_of_a_file_ends_what_died(start, database) -> None:
    store = start()
    first = await turn(store, "One?", "One.")
    await store.begin(ask("Two?", thread=first.thread.id))
    other = await store.begin(ask("Three?"))
    await store.keep([(other, text("thr"))])
    store.close()
    store = start("next", sole=True)
    assert await current(store, first) == first.answer
    assert await current(store, other) == other.answer
    assert (await node(store, other.answer, other.thread.id)).state == "broken"
    assert said((await store.begin(ask("Four?", thread=first.thread.id))).history) == ["One?", "One.", "Four?"]


async def test_another_opening_of_the_file_leaves_turns_alone(start) -> None:
    place = await start().begin(ask())
    with pytest.raises(Conflict):
        await start("two").begin(ask(thread=place.thread.id, question=new_id()))


async def test_a_result_goes_with_its_call_or_not_at_all(store) -> None:
    call, result = ToolUse("c1", "f", "{}"), ToolResult("c1", text("ok"))
    room = sum(weight(parts) for parts in (text("x" * 300), (call,), (result,)))
    place = await store.begin(ask("x" * 300))
    await store.end(place, "complete", (call,))
    asked = Opening("ann", (result,), parent=place.answer, tokens=room)
    answered = await store.begin(asked)
    assert [node.parts for node in answered.history] == [text("x" * 300), (call,), (result,)]
    await store.end(answered, "complete", text("done"))
    with pytest.raises(TooLarge, match="tool call"):
        await store.begin(Opening("ann", (result,), parent=place.answer, tokens=room - 1))
    assert await current(store, place) == answered.answer
