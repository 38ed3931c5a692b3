"""Lines for operators on standard error: plain ones, and one JSON line a call where that is wanted."""

import json
import logging
import sys
from typing import Any

import msgspec
from msgspec.structs import asdict

from dragoman.ports import Note
from dragoman.records import Record

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


class Line(logging.Formatter):
    """One line a message: control characters are escaped, so that nobody can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {record.getMessage()}"
        text = text.translate(_CONTROL)
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def set_up(level: str) -> None:
    """Send the gateway's own lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Line())
    logger = logging.getLogger("dragoman")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


class CallLog:
    """Lines about calls and other requests."""

    def __init__(self, lines: str) -> None:
        self._last = ""
        self._all = lines == "all"
        self._failed = lines != "none"

    def settle(self, record: Record) -> None:
        self._last = record.id
        if self._all or (self._failed and record.outcome != "completed"):
            _write({"event": "call", **line_of(record)})

    def note(self, note: Note) -> None:
        # A call that was refused has its line already.
        if self._all and self._last != note.id:
            _write({"event": "request", **msgspec.to_builtins(note)})


def line_of(record: Record) -> dict[str, Any]:
    """Name the fields of a record, the caller's among them; what a budget is charged is the store's matter."""
    line = {"id": record.id, "at": record.at, **asdict(record.caller), **asdict(record)}
    del line["caller"], line["charges"]
    line["usage"] = asdict(record.usage)
    line["attempts"] = [asdict(attempt) for attempt in record.attempts]
    return line


def _write(line: dict[str, Any]) -> None:
    sys.stderr.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stderr.flush()
