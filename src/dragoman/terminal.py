"""`dragoman chat`: a conversation in the terminal, through the gateway's own OpenAI interface.

Without `--url` it starts a gateway of its own in this process, on a free port of loopback, from the same
configuration. Ctrl-C cancels an answer and not the program; Ctrl-D leaves.
"""

import asyncio
import contextlib
import signal
import sys
import threading
from typing import Any

import msgspec

from dragoman.app import App, Ports
from dragoman.faults import Fault, Misconfigured
from dragoman.legs import Exchange, Outbound, Patience, origin_of, read_all
from dragoman.net.deadlines import Wheel
from dragoman.net.upstream import Bounds, Upstreams
from dragoman.sections import Log
from dragoman.serving import bind, on_loop
from dragoman.settings import Settings
from dragoman.watch.log import set_up
from dragoman.wires.framing import EventSplitter
from dragoman.wires.refusals import error_object

LONG = Patience(idle_s=600.0, quiet_s=600.0)


def run(settings: Settings, model: str | None, url: str | None, key: str | None) -> int:
    """Chat until the end of the input. Returns the exit code."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - importing it is what gives `input` its history and editing
    set_up("error")
    return on_loop(_own(settings, model) if url is None else _other(url, key or "", model or ""))


async def _own(settings: Settings, model: str | None) -> int:
    # A person is reading: lines about calls would stand in the conversation.
    app = App(msgspec.structs.replace(settings, log=Log(requests="none")))
    listening = bind("127.0.0.1", 0)
    server = await app.start(Ports())
    server.takes_signals = False
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    try:
        await app.prober.once()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        return await Chat(url, app.master.reveal(), model or app.atlas.default()).run()
    finally:
        server.should_exit = True
        await serving
        await app.stop()


async def _other(url: str, key: str, model: str) -> int:
    chat = Chat(url, key, model)
    if not model:
        chat.model = await chat.first_model()
    return await chat.run()


class Chat:
    """A conversation: everything said so far goes out with each question."""

    def __init__(self, url: str, key: str, model: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._origin, self._prefix = origin_of(url)
        except ValueError as error:
            raise Misconfigured(f"--url: {error}") from None
        self._prefix = self._prefix.removesuffix("/v1")
        self._upstream = Upstreams(loop, Wheel(loop), Bounds(), b"dragoman-chat")
        self._headers = [(b"authorization", f"Bearer {key}".encode("latin-1", "replace"))]
        self.model = model
        self.said: list[dict[str, str]] = []

    async def run(self) -> int:
        sys.stdout.write(f"Chatting with {self.model}. Ctrl-C cancels an answer, Ctrl-D leaves.\n")
        while True:
            question = await _ask("> ")
            if question is None:
                sys.stdout.write("\n")
                return 0
            if not question.strip():
                continue
            self.said.append({"role": "user", "content": question})
            answer, is_whole = await self._answer()
            sys.stdout.write("\n" if is_whole else "\n[cancelled]\n")
            sys.stdout.flush()
            if answer:
                self.said.append({"role": "assistant", "content": answer})
            elif not is_whole:
                self.said.pop()

    async def _answer(self) -> tuple[str, bool]:
        """Stream one answer to the terminal. Returns its text and whether it was not cancelled."""
        pieces: list[str] = []
        task = asyncio.ensure_future(self._stream(pieces))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            return "".join(pieces), False
        except Fault as fault:
            sys.stdout.write(f"[{fault.message}]")
            if not pieces:
                self.said.pop()
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return "".join(pieces), True

    async def _stream(self, pieces: list[str]) -> None:
        body = msgspec.json.encode({"model": self.model, "stream": True, "messages": self.said})
        exchange = await self._call("POST", "/v1/chat/completions", body)
        try:
            if exchange.status != 200:
                raise Fault(error_object(await read_all(exchange)).message or f"HTTP {exchange.status}")
            split = EventSplitter()
            while data := await exchange.read():
                for event in split.feed(data):
                    if event.data and event.data != b"[DONE]":
                        _show(msgspec.json.decode(event.data), pieces)
        finally:
            exchange.close()

    async def first_model(self) -> str:
        exchange = await self._call("GET", "/v1/models", b"")
        try:
            listing = msgspec.json.decode(await read_all(exchange))
            return str(listing["data"][0]["id"])
        except (msgspec.DecodeError, KeyError, IndexError, TypeError):
            raise Misconfigured("this gateway lists no models for this key; name one") from None
        finally:
            exchange.close()

    async def _call(self, method: str, path: str, body: bytes) -> Exchange:
        headers = [*self._headers, (b"content-type", b"application/json")]
        return await self._upstream.call(
            Outbound(self._origin, method, self._prefix + path, headers, body, len(body)), LONG
        )


def _show(chunk: dict[str, Any], pieces: list[str]) -> None:
    if error := chunk.get("error"):
        raise Fault(str(error.get("message") or "The answer broke off."))
    for choice in chunk.get("choices") or ():
        text = (choice.get("delta") or {}).get("content") or ""
        # A model's control characters must not drive the terminal.
        sys.stdout.write("".join(c if c.isprintable() or c in "\n\t" else "�" for c in text))
        sys.stdout.flush()
        pieces.append(text)


def _remind(prompt: str) -> None:
    sys.stdout.write(f"\n(Ctrl-D leaves)\n{prompt}")
    sys.stdout.flush()


def _settle(answer: asyncio.Future[str | None], line: str | None) -> None:
    if not answer.done():
        answer.set_result(line)


async def _ask(prompt: str) -> str | None:
    """Read a line in a thread, so that the gateway beside us goes on. None at the end of the input.

    The thread is a daemon: nobody waits for it when the program ends.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str | None] = loop.create_future()

    def read() -> None:
        try:
            line: str | None = input(prompt)
        except (EOFError, ValueError):
            line = None
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, answer, line)

    loop.add_signal_handler(signal.SIGINT, _remind, prompt)
    threading.Thread(target=read, daemon=True).start()
    try:
        return await answer
    finally:
        loop.remove_signal_handler(signal.SIGINT)
