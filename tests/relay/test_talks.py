"""Turns in conversations, on a real store: what is saved when, and what a provider is told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dragoman.chat import (
    Begin,
    ChatRequest,
    Delta,
    End,
    Message,
    Tally,
    Text,
    TextDelta,
    Think,
    ThinkDelta,
    Tool,
    ToolArgs,
    ToolOpen,
    ToolResult,
    ToolUse,
)
from dragoman.faults import Conflict, Malformed, StoreFailed, TooLarge
from dragoman.intents import Say
from dragoman.people import Principal
from dragoman.relay import talks as module
from dragoman.relay.plan import Atlas, Defaults
from dragoman.relay.talks import Talks, TalkTurn
from dragoman.routes import Route, Target
from dragoman.store import open_store
from dragoman.threads import Place
from dragoman.wires.talking import Speaking, said_in

ME = Principal("me")
ROUTE = Route("m", (Target("p", "m"),))


class Turn(Speaking):
    def write(self, deltas: list[Delta]) -> list[bytes]:
        return [said_in(deltas).encode()]

    def fail(self, fault: object) -> list[bytes]:
        return []


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Any]:
    opened = open_store("", tmp_path, "run")
    yield opened
    opened.close()


def talks_of(store: Any, context: int = 8192, answer: int = 1000) -> Talks:
    atlas = Atlas([ROUTE], {"p": ["m"]}, 0)
    atlas.defaults = Defaults(context=context)
    return Talks(store, atlas, answer)


def say(text: str, **more: Any) -> Say:
    return Say("test", (Text(text),), **more)


async def begin(talks: Talks, asked: Say) -> TalkTurn:
    return await talks.begin(Turn(asked), asked, ROUTE, ME, "request-1")


async def told(talks: Talks, asked: Say, *deltas: Delta, state: Any = "complete") -> Place:
    talk = await begin(talks, asked)
    talk.write([Begin("x", "m", 0), *deltas])
    await talk.end(state)
    return talk.place


def texts(talk: TalkTurn) -> list[tuple[str, str]]:
    return [(m.role, "".join(p.text for p in m.parts)) for m in talk.intent.request().messages]  # type: ignore[union-attr]


async def test_the_question_is_saved_before_anybody_is_asked(store: Any) -> None:
    talk = await begin(talks_of(store), say("why?"))
    story = await store.story("me", talk.place.thread.id)
    assert [(n.role, n.text, n.state) for n in story.nodes] == [
        ("user", "why?", "complete"),
        ("assistant", "", "pending"),
    ]
    assert [n.request for n in story.nodes] == ["", "request-1"]


async def test_what_came_before_is_told_and_thoughts_are_not(store: Any) -> None:
    talks = talks_of(store)
    place = await told(talks, say("one"), ThinkDelta("hm"), TextDelta("1"), TextDelta("!"), End())
    system = ChatRequest([Message("system", (Text("be kind"),))], temperature=0.5)
    talk = await begin(talks, say("two", thread=place.thread.id, template=system))
    assert texts(talk) == [("system", "be kind"), ("user", "one"), ("assistant", "1!"), ("user", "two")]
    assert talk.intent.request().temperature == 0.5
    story = await store.story("me", place.thread.id)
    assert story.nodes[1].parts == (Think("hm"), Text("1!"))


@pytest.mark.parametrize("state", ["cancelled", "broken"])
async def test_a_partial_answer_is_kept_and_marked(store: Any, state: str) -> None:
    talks = talks_of(store)
    place = await told(talks, say("one"), TextDelta("half"), state=state)
    story = await store.story("me", place.thread.id)
    assert (story.nodes[1].text, story.nodes[1].state) == ("half", state)
    assert story.thread.current == place.answer


async def test_an_answer_ends_once(store: Any) -> None:
    talks = talks_of(store)
    talk = await begin(talks, say("one"))
    talk.write([TextDelta("a")])
    await talk.end("complete")
    await talk.end("broken")
    story = await store.story("me", talk.place.thread.id)
    assert story.nodes[1].state == "complete"


async def test_one_turn_at_a_time(store: Any) -> None:
    talks = talks_of(store)
    talk = await begin(talks, say("one"))
    with pytest.raises(Conflict):
        await begin(talks, say("two", thread=talk.place.thread.id))
    await talk.end("complete")
    await begin(talks, say("two", thread=talk.place.thread.id))


async def test_old_turns_are_left_out_whole_and_the_newest_must_fit(store: Any) -> None:
    talks = talks_of(store, context=600, answer=100)
    thread = ""
    for number in range(12):
        place = await told(talks, say(f"q{number} " + "x" * 150, thread=thread), TextDelta("y" * 150), End())
        thread = place.thread.id
    talk = await begin(talks, say("last", thread=thread))
    said = texts(talk)
    assert said[-1] == ("user", "last")
    assert [role for role, _ in said] == ["user", "assistant"] * (len(said) // 2) + ["user"]
    assert 1 < len(said) < 12
    await talk.end("complete")
    with pytest.raises((TooLarge, Malformed)) as caught:
        await begin(talks, say("z" * 9000, thread=thread))
    assert "3" in caught.value.message


async def test_an_answer_needs_at_most_half_of_the_context(store: Any) -> None:
    talk = await begin(talks_of(store, context=400, answer=100_000), say("x" * 500))
    assert texts(talk) == [("user", "x" * 500)]


async def test_a_follower_goes_on_where_its_line_was(store: Any) -> None:
    talks = talks_of(store)
    first = await told(talks, say("a", follow="peer-1"), TextDelta("b"), End())
    second = await told(talks, say("c", follow="peer-1"), TextDelta("d"), End())
    other = await told(talks, say("e", follow="peer-2"), TextDelta("f"), End())
    assert first.thread.id == second.thread.id != other.thread.id


async def test_a_caller_who_leaves_while_the_question_is_saved_leaves_no_turn_behind(store: Any) -> None:
    talks = talks_of(store)
    place = await told(talks, say("a"), TextDelta("b"), End())
    asking = asyncio.ensure_future(begin(talks, say("c", thread=place.thread.id)))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    talk = await begin(talks, say("d", thread=place.thread.id))
    assert talk.place.parent == place.answer


async def test_answers_under_way_are_saved_now_and_then(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_S", 0.01)
    talks = talks_of(store)
    talk = await begin(talks, say("a"))
    talk.write([TextDelta("so far")])
    keeping = asyncio.ensure_future(talks.run())
    async with asyncio.timeout(5):
        while (await store.story("me", talk.place.thread.id)).nodes[1].text != "so far":
            await asyncio.sleep(0.005)
    keeping.cancel()
    assert (await store.story("me", talk.place.thread.id)).nodes[1].state == "pending"


async def test_an_answer_that_could_not_be_saved_is_saved_later(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_S", 0.01)
    talks = talks_of(store)
    talk = await begin(talks, say("a"))
    talk.write([TextDelta("all of it")])
    real = store.end

    async def failing(*_: Any) -> None:
        monkeypatch.setattr(store, "end", real)
        raise StoreFailed

    monkeypatch.setattr(store, "end", failing)
    with pytest.raises(StoreFailed):
        await talk.end("complete")
    keeping = asyncio.ensure_future(talks.run())
    async with asyncio.timeout(5):
        while (await store.story("me", talk.place.thread.id)).nodes[1].state != "complete":
            await asyncio.sleep(0.005)
    keeping.cancel()
    assert (await store.story("me", talk.place.thread.id)).nodes[1].text == "all of it"


def calling(*names: str) -> list[Delta]:
    opened: list[Delta] = [ToolOpen(number, f"id-{name}", name) for number, name in enumerate(names)]
    # Providers may mix the pieces of several calls.
    pieces = [ToolArgs(number, piece) for piece in ('{"a":', "1}") for number in range(len(names))]
    return [*opened, *pieces, End("tool")]


def results(*names: str, **more: Any) -> Say:
    return Say("test", tuple(ToolResult(f"id-{name}", (Text("ok"),)) for name in names), **more)


def use(name: str) -> ToolUse:
    return ToolUse(f"id-{name}", name, '{"a":1}')


def parts(talk: TalkTurn) -> list[tuple[Any, ...]]:
    return [message.parts for message in talk.intent.request().messages]  # type: ignore[union-attr]


async def test_the_calls_of_tools_are_kept_with_the_answer(store: Any) -> None:
    place = await told(talks_of(store), say("a"), ThinkDelta("hm"), TextDelta("see"), *calling("x", "y"))
    answer = (await store.story("me", place.thread.id)).nodes[1]
    assert answer.parts == (Think("hm"), Text("see"), use("x"), use("y"))


async def test_tools_go_along(store: Any) -> None:
    talk = await begin(talks_of(store), say("a", template=ChatRequest([], tools=(Tool("x"),))))
    assert talk.intent.request().tools == (Tool("x"),)  # type: ignore[union-attr]


async def test_tools_take_room(store: Any) -> None:
    tool = Tool("x", "d" * 3000)
    with pytest.raises(TooLarge):
        await begin(talks_of(store, context=1000, answer=100), say("x" * 900, template=ChatRequest([], tools=(tool,))))


async def test_only_calls_that_were_answered_are_told(store: Any) -> None:
    talks = talks_of(store, context=64_000)
    place = await told(talks, say("a"), *calling("x", "y"))
    parent = place.answer
    talk = await begin(talks, results("y", parent=parent))
    assert parts(talk) == [(Text("a"),), (use("y"),), (ToolResult("id-y", (Text("ok"),)),)]
    await talk.end("complete")
    talk = await begin(talks, say("never mind", parent=parent))
    assert parts(talk) == [(Text("a"),), (Text("never mind"),)]


async def test_what_a_tool_is_called_with_counts_where_nobody_reports(store: Any) -> None:
    talk = await begin(talks_of(store), say("a"))
    asked = talk._turn
    heard: list[Delta] = []
    asked.write = lambda deltas: heard.extend(deltas) or []  # type: ignore[method-assign, func-returns-value]
    talk.write([Begin("x", "m", 0), ToolOpen(0, "i", "x"), ToolArgs(0, "y" * 399), End("tool")])
    [counted] = [delta for delta in heard if isinstance(delta, Tally)]
    assert (counted.usage.output, counted.usage.estimated) == (100, True)
