"""sse.js 0.6.1, the version that system A's pages ship, re-created from its rules (seed protocols, section 3).

A `Page` is fed what its XMLHttpRequest would show it: the text of each network read. What its listeners
throw leaves the parser's buffer as it was, which is how one wrong event loses all that follow it.
"""

import codecs
import json
import re

# Two line ends in a row, each of any kind: a lone CRLF counts as two.
BLANK = re.compile(r"(\r\n|\r|\n){2}")
LINE_END = re.compile(r"\n|\r\n|\r")


class OldSse:
    """The client object. `on` registers listeners; `progress` and `load` are what XMLHttpRequest would call."""

    def __init__(self, status):
        self.status = status
        self.closed = False
        self.thrown = []
        self._listeners = {}
        self._chunk = ""
        self._text = codecs.getincrementaldecoder("utf-8")()

    def on(self, name, listener):
        self._listeners.setdefault(name, []).append(listener)

    def progress(self, read):
        """One read arrived."""
        if self.closed:
            return
        if self.status != 200:
            self._fail(read.decode("utf-8", "replace"))
            return
        try:
            for part in BLANK.split(self._text.decode(read)):
                if part.strip():
                    self._chunk += part
                else:
                    self._dispatch(self._chunk.strip())
                    self._chunk = ""
        except Exception as error:
            # An exception in a listener ends this progress event: the rest of the read is never looked at.
            self.thrown.append(error)

    def load(self):
        """The response ended."""
        if self.closed:
            return
        if self.status != 200:
            self._fail("")
            return
        try:
            self._dispatch(self._chunk)
        except Exception as error:
            self.thrown.append(error)
        self._chunk = ""
        self.closed = True

    def fail(self):
        """The connection broke: XMLHttpRequest's error event."""
        if not self.closed:
            self._fail("")

    def _fail(self, data):
        self.closed = True
        self._tell("error", data)

    def _dispatch(self, chunk):
        if not chunk:
            return
        name, data = "message", ""
        for line in LINE_END.split(chunk):
            field, colon, value = line.rstrip().partition(":")
            if not colon or not field:
                continue
            if field == "data":
                data += value.lstrip()
            elif field == "event":
                name = value.lstrip()
        self._tell(name, data)

    def _tell(self, name, data):
        for listener in self._listeners.get(name, []):
            listener(data)


class Page:
    """A page with an old sse.js: every event it saw, in order, and what its listeners threw."""

    names = ("message", "close", "error", "ping")

    def __init__(self, status=200):
        self.source = OldSse(status)
        self.seen = []
        for name in self.names:
            self.source.on(name, lambda data, name=name: self.seen.append((name, data)))
        self.source.on("message", self.message)

    def message(self, data):
        """What the page does with a message."""

    @property
    def thrown(self):
        return self.source.thrown

    @property
    def failed(self):
        return any(name == "error" for name, _ in self.seen)

    @property
    def messages(self):
        return [data for name, data in self.seen if name == "message"]

    def play(self, answer):
        """Be shown an answer read by read, as it was read from its socket."""
        for read in answer.reads:
            self.source.progress(read)
        if answer.ended == "clean":
            self.source.load()
        else:
            self.source.fail()
        return self


class ChatPage(Page):
    """The `/chat` button: joins deltas, reading each without guards."""

    answer = ""
    done = False

    def message(self, data):
        if data == "[DONE]":
            self.done = True
            return
        delta = json.loads(data)["choices"][0]["delta"]
        if "content" in delta and delta["content"] != "":
            # JavaScript adds null to a text as "null".
            self.answer += "null" if delta["content"] is None else delta["content"]


class ConvPage(Page):
    """The `startConv` button: replaces its answer with each cumulative text and keeps the ids for the next turn."""

    answer = ""
    conversation_id = ""
    parent_message_id = ""
    done = False

    def message(self, data):
        if data in ("[DONE]", "[DONE]event: closeclose"):
            self.done = True
            return
        payload = json.loads(data)
        self.conversation_id = payload["conversation_id"]
        self.parent_message_id = payload["message"]["id"]
        self.answer = payload["message"]["content"]["parts"][0]


def shown(answer, kind=Page):
    """Show a whole answer to a new page."""
    return kind(answer.status).play(answer)


def whole_events(read):
    """Whether a read holds whole events only, so that no event is cut between its last two line ends."""
    return read.endswith(b"\n\n") or read == b": ping\n"
