"""Turns in conversations: the question is saved before a provider is asked, the answer as it ends, however it ends."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

import msgspec

from dragoman.chat import (
    Begin,
    ChatRequest,
    Delta,
    End,
    Message,
    Part,
    Tally,
    Text,
    TextDelta,
    Think,
    ThinkDelta,
    ToolArgs,
    ToolOpen,
    ToolResult,
    ToolUse,
    Usage,
    estimate_tokens,
    tokens_of,
)
from dragoman.faults import Fault, NotFound
from dragoman.intents import Ask, Say
from dragoman.legs import Headers
from dragoman.people import Principal
from dragoman.ports import Talk
from dragoman.relay.plan import Atlas
from dragoman.routes import Route
from dragoman.threads import Node, Opening, Place, State, Threads, weight

log = logging.getLogger("dragoman.conversations")
# No provider speaks it, so every provider is asked in words.
WIRE = "words"
KEEP_S = 5.0
FOLLOWED = 10_000


class Talks:
    """The turns under way of one process. Only this file begins and ends them."""

    def __init__(self, threads: Threads, atlas: Atlas, answer_tokens: int) -> None:
        self._threads = threads
        self._atlas = atlas
        self._answer_tokens = answer_tokens
        self._live: set[TalkTurn] = set()
        self._followed: dict[tuple[str, str], str] = {}

    async def begin(self, turn: Talk, say: Say, route: Route, principal: Principal, request: str) -> "TalkTurn":
        """Save the question of a `request` (its id) and read what came before it. Raises what `Threads.begin` does."""
        line = (principal.name, say.follow)
        followed = "" if say.thread or say.anew else self._followed.get(line, "")
        system = [part for message in say.template.messages for part in message.parts]
        opening = Opening(
            owner=principal.name,
            parts=say.parts,
            thread=say.thread or followed,
            parent=say.parent,
            question=say.question,
            model=route.name,
            request=request,
            tokens=max(1, self._room(route, say.template) - (weight(system) if system else 0)),
        )
        try:
            place = await self._saved(opening)
        except NotFound:
            if not followed:
                raise
            place = await self._saved(msgspec.structs.replace(opening, thread=""))
        if say.follow:
            self._followed.pop(line, None)
            self._followed[line] = place.thread.id
            if len(self._followed) > FOLLOWED:
                del self._followed[next(iter(self._followed))]
        # A conversation may be long and its answer slow: what came before is held by the request alone.
        slim = msgspec.structs.replace(place, history=())
        talk = TalkTurn(turn, slim, self, _History(say.template, place.history))
        talk.intent.model = route.name
        talk.intent.own_key = principal.own_key
        self._live.add(talk)
        turn.placed(slim)
        return talk

    def _room(self, route: Route, template: ChatRequest) -> int:
        """Tokens for the prompt: the model's context without its tools and what the answer needs, at most half."""
        context = self._atlas.context(route)
        tools = estimate_tokens(ChatRequest([], tools=template.tools)) if template.tools else 0
        return context - min(template.max_tokens or self._answer_tokens, context // 2) - tools

    async def _saved(self, opening: Opening) -> Place:
        """Begin in the store. A caller who leaves meanwhile leaves no turn behind that nobody ends."""
        saving = asyncio.ensure_future(self._threads.begin(opening))
        try:
            return await asyncio.shield(saving)
        except asyncio.CancelledError:
            with contextlib.suppress(Fault):
                await self._threads.end(await saving, "cancelled", ())
            raise

    async def end(self, talk: "TalkTurn", state: State) -> None:
        """Save an answer as it ended; the first time only. Raises StoreFailed; then `run` goes on trying."""
        if talk.ended is None:
            talk.ended = state
            await self._save(talk, state)

    async def _save(self, talk: "TalkTurn", state: State) -> None:
        await self._threads.end(talk.place, state, talk.parts())
        self._live.discard(talk)

    async def run(self) -> None:
        """Save, every few seconds, what the answers under way have come to, and keep their hold on the threads."""
        while True:
            await asyncio.sleep(KEEP_S)
            if not self._live:
                continue
            try:
                for talk in [talk for talk in self._live if talk.ended]:
                    await self._save(talk, talk.ended or "broken")
                await self._threads.keep([(talk.place, talk.parts()) for talk in self._live])
            except Fault as fault:
                log.error("answers cannot be saved now: %s %s", fault.message, fault.detail)  # noqa: TRY400


class TalkTurn:
    """A dialect's turn whose answer is also kept. Keeps `dragoman.ports.Turn` by handing on."""

    def __init__(self, turn: Talk, place: Place, talks: Talks, history: "_History") -> None:
        self._turn = turn
        self._talks = talks
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: dict[int, tuple[ToolOpen, list[str]]] = {}
        self._history = history
        self._prompt_tokens = 0
        self._is_counted = False
        self.ended: State | None = None
        self.place = place
        self.intent = Ask(
            wire=WIRE,
            model="",
            body=b"",
            put=_no_bytes,
            stream=True,
            request=history,
            max_tokens=history.template.max_tokens,
        )
        self.streaming = turn.streaming
        self.in_band = turn.in_band
        self.status = turn.status
        self.early = turn.early
        self.label = turn.label

    def opening(self, headers: Headers) -> Headers:
        return self._turn.opening(headers)

    def write(self, deltas: list[Delta]) -> list[bytes]:
        for delta in deltas:
            kind = type(delta)
            if kind is TextDelta:
                self._texts.append(delta.text)  # type: ignore[union-attr]
            elif kind is ThinkDelta:
                self._thoughts.append(delta.text)  # type: ignore[union-attr]
            elif kind is ToolOpen:
                self._calls[delta.index] = (delta, [])  # type: ignore[union-attr, assignment]
            elif kind is ToolArgs:
                self._calls[delta.index][1].append(delta.json)  # type: ignore[union-attr]
            elif kind is Tally:
                self._is_counted = True
            elif kind is Begin:
                # Conversations speak of public models, whoever answers.
                public = Begin(delta.id, self.intent.model, delta.created)  # type: ignore[union-attr]
                deltas = [public if each is delta else each for each in deltas]
        if type(deltas[-1]) is End and not self._is_counted:
            deltas = [*deltas[:-1], Tally(self._estimate()), deltas[-1]]
        return self._turn.write(deltas)

    def _estimate(self) -> Usage:
        """Count what the provider did not, so that every dialect can say something."""
        called = (len(call.name) + sum(map(len, pieces)) for call, pieces in self._calls.values())
        said = sum(map(len, self._texts)) + sum(map(len, self._thoughts)) + sum(called)
        return Usage(input=self._prompt_tokens, output=tokens_of(said), estimated=True)

    def begun(self) -> None:
        self._prompt_tokens = self._history.tokens
        self.intent.request = self._history = _NOTHING
        self._turn.begun()

    def fail(self, fault: Fault) -> list[bytes]:
        return self._turn.fail(fault)

    def beat(self, place: int = 0) -> list[bytes]:
        return self._turn.beat(place)

    def parts(self) -> tuple[Part, ...]:
        """What has been said so far. O(text); joined pieces are kept joined."""
        self._texts[:] = ["".join(self._texts)]
        self._thoughts[:] = ["".join(self._thoughts)]
        thought, text = self._thoughts[0], self._texts[0]
        calls = [ToolUse(call.id, call.name, "".join(pieces)) for call, pieces in self._calls.values()]
        return (*((Think(thought),) if thought else ()), *((Text(text),) if text else ()), *calls)

    async def end(self, state: State) -> None:
        """Save the answer. Raises StoreFailed."""
        await self._talks.end(self, state)


class _History:
    """The request that a conversation and a question make, in words.

    What a model thought is not told to the next, nor the call of a tool that nobody answered: providers refuse it.
    """

    def __init__(self, template: ChatRequest, nodes: Sequence[Node]) -> None:
        self.template = template
        self.tokens = 0
        self._nodes = nodes
        self._request: ChatRequest | None = None

    def __call__(self) -> ChatRequest:
        if self._request is None:
            self._request = self._made()
        return self._request

    def _made(self) -> ChatRequest:
        said: list[Message] = []
        for node, after in zip(self._nodes, [*self._nodes[1:], None], strict=True):
            answered = {part.id for part in after.parts if isinstance(part, ToolResult)} if after else set()
            parts = tuple(part for part in node.parts if _is_told(part, answered))
            if parts or node.role == "user":
                said.append(Message(node.role, parts))
        request = msgspec.structs.replace(self.template, messages=[*self.template.messages, *said], dropped=[])
        self.tokens = estimate_tokens(request)
        return request


def _is_told(part: Part, answered: set[str]) -> bool:
    return part.id in answered if isinstance(part, ToolUse) else not isinstance(part, Think)


_NOTHING = _History(ChatRequest([]), ())


def _no_bytes(values: dict[str, bytes]) -> bytes:
    raise ValueError(f"a conversation has no bytes of its own: {sorted(values)}")
