"""Event streams and bodies: where messages begin and end, and how to change one value in place.

Event streams follow the WHATWG HTML standard, "Server-sent events": lines end in CR LF, LF or CR; a
blank line ends an event; a line that begins with a colon is a comment; `data` lines are joined by LF;
one space after the colon is dropped; a byte order mark may open the stream.
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

from dragoman.faults import Broken, Malformed

EVENT_LIMIT = 8 * 1024 * 1024
_BOUNDARY = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Event(msgspec.Struct, gc=False):
    """One event: its bytes as they came (blank line included), its name and its data (None: none)."""

    raw: bytes
    name: bytes
    data: bytes | None


class EventSplitter:
    """Cuts a byte stream into events. O(bytes), whatever the splits; holds one unfinished event."""

    __slots__ = ("_begun", "_rest", "_scanned")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._scanned = 0
        self._begun = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that are complete now. Raises Broken when one grows beyond the limit."""
        if not self._rest and self._begun and data.endswith(b"\n\n") and b"\r" not in data:
            if data.find(b"\n\n") == len(data) - 2:
                return [plain_event(data)]
            return [plain_event(block + b"\n\n") for block in data[:-2].split(b"\n\n")]
        self._rest += data
        if not self._begun:
            if len(self._rest) < 3 and _BOM.startswith(bytes(self._rest)):
                return []
            self._begun = True
        events = []
        start = 0
        for found in _BOUNDARY.finditer(self._rest, self._scanned):
            if found.end() == len(self._rest) and found[0].endswith(b"\r"):
                # Half of a CR LF, or a CR alone: the next byte will tell, or the end of the stream.
                break
            events.append(parse_event(bytes(self._rest[start : found.end()])))
            start = found.end()
        if start:
            del self._rest[:start]
        self._scanned = max(0, len(self._rest) - 3)
        if len(self._rest) > EVENT_LIMIT:
            raise Broken("The provider sent an event that is too large.")
        return events

    def flush(self) -> Event | None:
        """Return what stands unfinished at the end of the stream as an event, finished: else a strict reader
        would throw it away.
        """
        rest = bytes(self._rest)
        self._rest.clear()
        if not rest.strip():
            return None
        return parse_event(rest if _BOUNDARY.search(rest, len(rest) - 2) else rest.rstrip(b"\r\n") + b"\n\n")


def plain_event(raw: bytes) -> Event:
    """Parse an event whose lines end in LF and which ends with its blank line."""
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2:
        return Event(raw, b"", raw[6:-2])
    return parse_event(raw)


def parse_event(raw: bytes) -> Event:
    name = b""
    data: list[bytes] = []
    for line in _LINE.split(raw.removeprefix(_BOM)):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    # An event without data, or with empty data only, is no event (WHATWG, "dispatch the event").
    return Event(raw, name, b"\n".join(data) or None)


# --- one JSON object, of which little is read and less is changed ------------------------------

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NEXT = re.compile(rb'[\[{"\]},]')
_SPACE = re.compile(rb"[ \t\r\n]*")
# What the usual encoders put after keys and between pairs. A body that rendering its own fields gives
# back byte by byte has no duplicate and can be changed by rendering; any other is scanned.
_JOINTS = ((b":", b","), (b": ", b", "))


class Document:
    """A JSON object whose top-level values can be looked at and spliced; all other bytes stay as they are.

    Raises:
        Malformed: not UTF-8, not JSON, not an object, nested too deeply, or a key given twice (also
            in another case, for keys in `exact`): what is checked must be what is sent.

    """

    __slots__ = ("_joints", "body", "fields")

    def __init__(self, body: bytes, exact: frozenset[str]) -> None:
        self.body = body
        try:
            if not body.isascii():
                body.decode()
            self.fields = _FIELDS.decode(body)
        except RecursionError:
            raise Malformed("The JSON is nested too deeply.") from None
        except UnicodeDecodeError:
            raise Malformed("The body is not UTF-8.") from None
        except msgspec.ValidationError:
            raise Malformed("The body must be a JSON object.") from None
        except msgspec.DecodeError as error:
            raise Malformed(f"The body is not valid JSON: {error}") from None
        for key in self.fields:
            if key not in exact and key.lower() in exact:
                raise Malformed(f"Unknown field {key!r}; did you mean {key.lower()!r}?", field=key)
        self._joints = next((j for j in _JOINTS if self._render(self.fields, j) == body), None)
        if self._joints is None:
            seen: set[str] = set()
            for key, _, _ in self._spans():
                if key in seen:
                    raise Malformed(f"The field {key!r} is given twice.", field=key)
                seen.add(key)

    def _render(self, fields: Mapping[str, msgspec.Raw | bytes], joints: tuple[bytes, bytes]) -> bytes:
        colon, comma = joints
        pairs = [b'"%b"%b%b' % (key.encode(), colon, value) for key, value in fields.items()]
        return b"{%b}" % comma.join(pairs)

    def _spans(self) -> Iterator[tuple[str, int, int]]:
        """Yield (key, start of value, end of value) of each top-level pair, duplicates included."""
        body = self.body
        at = body.index(b"{") + 1
        while True:
            at = _end(_SPACE, body, at)
            if body[at : at + 1] == b"}":
                return
            end = _end(_STRING, body, at)
            key = msgspec.json.decode(body[at:end], type=str)
            start = _end(_SPACE, body, body.index(b":", end) + 1)
            end = _value_end(body, start)
            yield key, start, end
            at = _end(_SPACE, body, end)
            if body[at : at + 1] == b",":
                at += 1

    def put(self, values: dict[str, bytes]) -> bytes:
        """Return the body with these top-level values replaced or, if absent, added at the end."""
        if self._joints:
            return self._render({**self.fields, **values}, self._joints)
        body = self.body
        missing = dict(values)
        pieces: list[bytes] = []
        at = 0
        if any(key in self.fields for key in values):
            for key, start, end in self._spans():
                if key in missing:
                    pieces += (body[at:start], missing.pop(key))
                    at = end
        if missing:
            close = body.rindex(b"}")
            lead = b"," if self.fields else b""
            added = b",".join(msgspec.json.encode(key) + b":" + value for key, value in missing.items())
            pieces += (body[at:close], lead, added)
            at = close
        pieces.append(body[at:])
        return b"".join(pieces)


def _end(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    found = pattern.match(body, at)
    return found.end() if found else at


def _value_end(body: bytes, at: int) -> int:
    """Find the end of the value that begins at `at`. The body is known to be valid JSON."""
    first = body[at : at + 1]
    if first == b'"':
        return _end(_STRING, body, at)
    depth = 0
    while found := _NEXT.search(body, at):
        mark = found[0]
        if mark == b'"':
            at = _end(_STRING, body, found.start())
            continue
        if mark in b"[{":
            depth += 1
        elif depth == 0:
            return found.start() if mark != b"," else _trim(body, found.start())
        elif mark in b"]}":
            depth -= 1
            if depth == 0:
                return found.end()
        at = found.end()
    return len(body)


def _trim(body: bytes, end: int) -> int:
    while body[end - 1 : end].isspace():
        end -= 1
    return end
