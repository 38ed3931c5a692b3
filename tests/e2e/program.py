"""The command as a user starts it: a process in a folder of its own, and what it prints."""

import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

COMMAND = [sys.executable, "-m", "dragoman"]
OURS = re.compile(r"DRAGOMAN_|OPENAI_|ANTHROPIC_|[a-z_]*proxy$", re.IGNORECASE)


def environment(**more):
    """The environment of a user who has configured nothing yet."""
    clean = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    return {**clean, "PYTHONUNBUFFERED": "1", **more}


class Program:
    """A running command. Waiting is for what it prints, never for time to pass."""

    def __init__(self, args, folder, env=None):
        self.process = subprocess.Popen(
            [*COMMAND, *args],
            cwd=folder,
            env=environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.printed = {"stdout": "", "stderr": ""}
        self.changed = threading.Condition()
        self.readers = [threading.Thread(target=self._read, args=(name,)) for name in self.printed]
        for reader in self.readers:
            reader.start()

    def _read(self, name):
        for line in getattr(self.process, name):
            with self.changed:
                self.printed[name] += line
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    @property
    def output(self):
        return self.printed["stdout"] + self.printed["stderr"]

    def wait_for(self, pattern, timeout_s=15):
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while not (found := re.search(pattern, self.output)):
                ended = not any(reader.is_alive() for reader in self.readers)
                left = deadline - time.monotonic()
                assert left > 0, f"{pattern!r} was not printed in {timeout_s} s:\n{self.output}"
                assert not ended, f"ended without printing {pattern!r}:\n{self.output}"
                self.changed.wait(min(left, 0.2))
        return found

    def exit_code(self, timeout_s=15):
        code = self.process.wait(timeout_s)
        for reader in self.readers:
            reader.join(timeout_s)
        return code

    @property
    def port(self):
        return int(self.wait_for(r"http://127\.0\.0\.1:(\d+)")[1])

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.exit_code()
        self.process.stdout.close()
        self.process.stderr.close()


@contextmanager
def running(args, folder, env=None):
    program = Program(args, folder, env)
    try:
        yield program
    finally:
        program.stop()


def run(args, folder, env=None):
    """Run to its end. Returns (exit code, standard output, standard error)."""
    with running(args, folder, env) as program:
        code = program.exit_code()
        return code, program.printed["stdout"], program.printed["stderr"]
