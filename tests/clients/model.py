"""A model as one of the vendors serves it, and what the gateway asked of it."""

import email.parser
import email.policy
import json

from answers import completion, completion_stream, message, message_stream

from upstream import LAST_CHUNK, chunk, close, head, send, stream, unary


class Model:
    """Lives in a lane of the scripted upstream; `sent` is the last body that it answered."""

    def __init__(self, lane):
        self.lane = lane
        self.kind = lane.kind
        self.name = lane.model
        self.first = len(lane.requests)
        self.sent = b""

    # --- what it says ---

    def says(self, words=(), calls=(), thinking=(), reason=None):
        text = "".join(words) if words else None
        thought = "".join(thinking)

        def answer(request):
            wanted = request.json
            if self.kind == "openai":
                if not wanted.get("stream"):
                    return self.whole(completion(text, calls, reason, reasoning=thought))
                events = completion_stream(words, calls, reason, reasoning=thinking)
                if not (wanted.get("stream_options") or {}).get("include_usage"):
                    # The vendor sends usage only to those who ask: the event before the last.
                    del events[-2]
                return self.streamed(events)
            if not wanted.get("stream"):
                return self.whole(message(text, calls, reason, thinking=thought))
            return self.streamed(message_stream(words, calls, reason, thinking=thinking))

        self.lane.always(answer)

    def whole(self, document):
        self.sent = json.dumps(document).encode()
        return unary(self.sent)

    def streamed(self, events):
        self.sent = b"".join(events)
        return stream(events)

    def answers(self, document):
        self.lane.always(lambda request: self.whole(document))

    def streams_bytes(self, pieces, content_type, whole=True):
        opening = head(200, {"content-type": content_type, "transfer-encoding": "chunked"})
        pieces = [chunk(piece) for piece in pieces]
        self.lane.always([send(opening, *pieces, LAST_CHUNK)] if whole else [send(opening, *pieces), close])

    # --- how it fails ---

    def refuses(self, status, text):
        body = self.lane.speaker.refusal(text, "invalid_request_error")
        self.lane.always(unary(body, status))

    def breaks_after(self, words, end):
        """`cut`: the connection is lost; `short`: the message lacks its last events; `error`: it says so itself."""
        events = (completion_stream if self.kind == "openai" else message_stream)(words)[:-3]
        if end == "error":
            events.append(self.lane.speaker.stream_error("Overloaded"))
        self.lane.always([*stream(events, end=end != "cut"), *([close] if end == "cut" else [])])

    def breaks_whole(self):
        body = json.dumps(completion("one two three") if self.kind == "openai" else message("one two three")).encode()
        opening = head(200, {"content-type": "application/json", "content-length": len(body)})
        self.lane.always([send(opening, body[: len(body) // 2]), close])

    def fails_once_then(self, words):
        self.says(words)
        self.lane.play(unary(self.lane.speaker.refusal("Once."), 500))

    # --- what it was asked ---

    def last(self):
        assert self.count(), "the gateway asked nothing"
        return self.lane.requests[-1]

    def count(self):
        return len(self.lane.requests) - self.first

    def asked(self):
        return self.last().json

    def path(self):
        return self.last().path.removeprefix(f"/{self.lane.name}")

    def form(self):
        """The fields of a multipart body in their order, each with its values."""
        request = self.last()
        opening = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
        parsed = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(opening + request.body)
        fields = {}
        for part in parsed.iter_parts():
            name = part.get_param("name", header="content-disposition")
            fields.setdefault(name, []).append(part.get_payload(decode=True))
        return fields
