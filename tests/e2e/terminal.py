"""A person at a terminal: types, reads the screen, presses Ctrl-C and Ctrl-D."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from contextlib import contextmanager

from program import COMMAND, environment

ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_=>])")


class Terminal:
    def __init__(self, args, folder, env=None):
        self.screen, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.process = subprocess.Popen(
            [*COMMAND, *args],
            cwd=folder,
            env=environment(TERM="xterm", **(env or {})),
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(inside)
        self.shown = ""
        self.read_to = 0

    def type(self, text):
        os.write(self.screen, text.encode())

    def enter(self, line):
        self.at_prompt()
        self.type(line + "\r")

    def press(self, letter):
        self.type(chr(ord(letter.upper()) - 64))

    def at_prompt(self):
        self.wait_for(r"(?m)^> ?")

    def _read(self, timeout_s):
        """Take what the program wrote; False when it has ended."""
        if not select.select([self.screen], [], [], timeout_s)[0]:
            return True
        try:
            data = os.read(self.screen, 65536)
        except OSError:
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, pattern, timeout_s=15):
        """Wait until the pattern is on the screen behind everything that was waited for before."""
        deadline = time.monotonic() + timeout_s
        while True:
            plain = ESCAPES.sub("", self.shown).replace("\r", "")
            if found := re.compile(pattern).search(plain, self.read_to):
                self.read_to = found.end()
                return found
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} did not appear in {timeout_s} s:\n{plain}"
            assert self._read(left), f"ended without showing {pattern!r}:\n{plain}"

    def exit_code(self, timeout_s=10):
        deadline = time.monotonic() + timeout_s
        while self._read(max(0, deadline - time.monotonic())):
            assert time.monotonic() < deadline, f"does not end:\n{self.shown}"
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    @property
    def alive(self):
        return self.process.poll() is None


@contextmanager
def sitting_at(args, folder, env=None):
    terminal = Terminal(args, folder, env)
    try:
        yield terminal
    finally:
        if terminal.alive:
            terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.screen)
