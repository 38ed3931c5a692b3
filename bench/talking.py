"""The client of the turns: one socket of `/v1/ws` with several conversations, one question at a time in each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from bench.contenders import Running
from bench.script import PUBLIC_MODEL, WrongAnswerError, question, token

# A conversation and the message that the next question follows; ("", "") begins a new one.
Place = tuple[str, str]


@dataclass
class Answer:
    """One answer, as its events come in."""

    done: asyncio.Future[None]
    text: str = ""
    place: Place = ("", "")
    request_bytes: int = 0


@dataclass
class Talk:
    """What was said in a while: the turns, and the sizes of the requests that went upstream."""

    turns: int = 0
    request_bytes: set[int] = field(default_factory=set)


class Socket:
    """One open socket; its answers are told apart by the ids of their questions."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._answers: dict[str, Answer] = {}

    async def talk(self, places: Sequence[Place], goes_on: Callable[[int], bool], *, follow: bool) -> Talk:
        """Ask in all places at once, one question after the other, while `goes_on(turns so far)`.

        `follow` has each question follow the answer before it; otherwise all follow the message they began with.
        """
        said = Talk()
        lines = (self._line(n, place, said, goes_on, follow=follow) for n, place in enumerate(places))
        await asyncio.gather(*lines)
        return said

    async def _line(
        self, number: int, place: Place, said: Talk, goes_on: Callable[[int], bool], *, follow: bool
    ) -> None:
        while goes_on(said.turns):
            answer = await self._ask(str(number), question(number, 1, "And what came then?"), place)
            if answer.text != token(number, 0):
                raise WrongAnswerError(f"a turn was answered {answer.text[:100]!r}")
            said.turns += 1
            said.request_bytes.add(answer.request_bytes)
            if follow:
                place = answer.place

    async def _ask(self, id_: str, content: str, place: Place) -> Answer:
        answer = self._answers[id_] = Answer(asyncio.get_running_loop().create_future())
        ids = {"conversation_id": place[0] or None, "parent_id": place[1] or None}
        await self._connection.send(
            json.dumps({"type": "ask", "id": id_, "content": content, "model": PUBLIC_MODEL, **ids})
        )
        async with asyncio.timeout(20):
            await answer.done
        return answer

    async def read(self) -> None:
        async for message in self._connection:
            event = json.loads(message)
            self._take(self._answers[event["id"]], event)

    @staticmethod
    def _take(answer: Answer, event: dict[str, Any]) -> None:
        match event["type"]:
            case "begin":
                answer.place = event["conversation_id"], event["message_id"]
            case "delta":
                answer.text += event["text"]
            case "end":
                answer.request_bytes = event["usage"]["prompt_tokens"]
                answer.done.set_result(None)
            case "error":
                answer.done.set_exception(WrongAnswerError(f"a turn failed: {event}"))


@asynccontextmanager
async def open_socket(running: Running) -> AsyncIterator[Socket]:
    key = {"Authorization": f"Bearer {running.contender.key}"}
    url = f"ws://127.0.0.1:{running.port}/v1/ws"
    async with connect(url, additional_headers=key, compression=None, proxy=None) as connection:
        socket = Socket(connection)
        reading = asyncio.ensure_future(socket.read())
        try:
            yield socket
        finally:
            reading.cancel()
