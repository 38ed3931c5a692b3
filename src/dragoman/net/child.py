"""Keeps a child process running: starts it, restarts it with back-off, ends it with the gateway."""

import asyncio
import contextlib
import logging
import os
import random
import shutil
from pathlib import Path
from typing import cast

from dragoman.legs import Child

log = logging.getLogger("dragoman.child")
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0
GOOD_RUN_S = 30.0


class Keeper:
    """One child. `run` is a task for the gateway's life; cancelling it ends the child."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._last = b""

    async def run(self) -> None:
        pause_s = FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        folder = Path(self._child.socket).parent
        folder.mkdir(mode=0o700)
        try:
            while True:
                started = loop.time()
                code = await self._live()
                if loop.time() - started > GOOD_RUN_S:
                    pause_s = FIRST_PAUSE_S
                log.warning("the embedded model's process ended with code %s; starting it again%s", code, self._said())
                await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _listen(self, stream: asyncio.StreamReader) -> None:
        """Keep the end of what the child says: where it dies, that is why."""
        self._last = b""
        while data := await stream.read(4096):
            self._last = (self._last + data)[-1000:]

    def _said(self) -> str:
        lines = self._last.decode(errors="replace").strip().splitlines()
        return f"; it said: {lines[-1][:300]}" if lines else ""

    async def _live(self) -> int:
        # Its standard input stays open as long as we live: that is how the child knows. A group of its own
        # keeps a terminal's Ctrl-C from it: answers under way may finish.
        process = await asyncio.create_subprocess_exec(
            *self._child.command,
            self._child.socket,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            await self._listen(cast("asyncio.StreamReader", process.stderr))
            return await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
