"""A back end as it was in April 2023: the ChatGPT web dialect with the habits of its relays (section 1.5, 2).

No space after `data:`, an echo of what was said, moderation events without a message, pings, a `close` after
`[DONE]`, and sometimes nothing but `data:429`.
"""

import http.server
import json
import threading
import uuid

ACCESS_TOKEN = "eyJ.the-operators.account"
CLOSE = b"event: close\ndata: close\n\n"
DONE = b"data:[DONE]\n\n"


def event(tree):
    return b"data:" + json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


class Seen:
    """One request that arrived."""

    def __init__(self, method, path, headers, body):
        self.method, self.path, self.body = method, path, body
        self.headers = {name.lower(): value for name, value in headers.items()}

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self):
        return "".join(self.json["messages"][-1]["content"]["parts"])


class Reply:
    """What the back end says to one question: its ids, and all the events that were usual."""

    def __init__(self, seen, answer):
        self.conversation_id = seen.json.get("conversation_id") or str(uuid.uuid4())
        self.message_id = str(uuid.uuid4())
        self.question = seen.json["messages"][-1]
        self.answer = answer

    def message(self, role, id_, parts, end=None, **content):
        return event(
            {
                "message": {
                    "id": id_,
                    "author": {"role": role, "name": None, "metadata": {}},
                    "create_time": 1680000000.5,
                    "update_time": None,
                    "content": {"content_type": "text", "parts": parts, **content},
                    "status": "finished_successfully" if end else "in_progress",
                    "end_turn": end,
                    "weight": 1.0,
                    "metadata": {"message_type": "next", "model_slug": "text-davinci-002-render-sha"},
                    "recipient": "all",
                },
                "conversation_id": self.conversation_id,
                "error": None,
            }
        )

    def says(self, text, end=None):
        return self.message("assistant", self.message_id, [text], end)

    def moderation(self):
        about = {"flagged": False, "blocked": False, "moderation_id": "modr-1"}
        tree = {"conversation_id": self.conversation_id, "message_id": self.message_id, "is_completion": True}
        return event({**tree, "moderation_response": about})

    def opening(self):
        return [
            self.message("system", str(uuid.uuid4()), [""], True),
            self.message("user", self.question["id"], self.question["content"]["parts"], True),
            self.moderation(),
            b"event: ping\ndata: 1680000000\n\n",
        ]

    def code(self):
        """A tool call, which has a text and no parts."""
        tree = json.loads(self.says("").removeprefix(b"data:"))
        tree["message"]["content"] = {"content_type": "code", "language": "unknown", "text": "search()"}
        tree["message"]["recipient"] = "browser"
        return event(tree)

    def events(self):
        words = self.answer.split(" ")
        texts = [" ".join(words[: n + 1]) for n in range(len(words))]
        spoken = [self.says(""), *map(self.says, texts), self.says(self.answer, end=True)]
        return [*self.opening(), *spoken, self.moderation(), DONE, CLOSE]


class April:
    """The back end as a server. `answers` are texts or functions from a `Reply` to its events, the next one first."""

    def __init__(self):
        self.reset()
        server = self

        class Serve(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                server._answer(self)

            do_GET = do_PATCH = do_POST

            def log_message(self, *args):
                """The test's output is no place for it."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Serve)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def reset(self):
        """Forget everything but one conversation, which the operator has had."""
        self.seen, self.replies, self.answers, self.status, self.cut = [], [], [], 200, False
        self.kept = {str(uuid.uuid4()): str(uuid.uuid4())}

    @property
    def questions(self):
        return [seen for seen in self.seen if seen.method == "POST" and seen.path.endswith("/conversation")]

    def _answer(self, request):
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        seen = Seen(request.command, request.path, request.headers, body)
        if "authorization" not in seen.headers:
            self._whole(request, 403, {"errorMessage": "Missing accessToken."})
        elif request.command == "POST" and seen.path.endswith("/conversation"):
            self.seen.append(seen)
            self._converse(request, seen)
        else:
            self.seen.append(seen)
            self._whole(request, 200, self._look_up(seen.path.partition("?")[0].rpartition("/")[2]))

    def _look_up(self, id_):
        if id_ in self.kept:
            title = {"title": "kept", "create_time": 1680000000.5, "update_time": 1680000000.5}
            return {**title, "mapping": {}, "moderation_results": [], "current_node": self.kept[id_]}
        made = "2023-04-01T10:00:00.000001+00:00"
        items = [{"id": id_, "title": "kept", "create_time": made} for id_ in reversed(self.kept)]
        return {"items": items, "total": len(items), "limit": 20, "offset": 0, "has_missing_conversations": False}

    def _whole(self, request, status, tree):
        data = json.dumps(tree).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _converse(self, request, seen):
        if self.status != 200:
            self._whole(request, self.status, {"detail": "no"})
            return
        given = self.answers.pop(0) if self.answers else f"answer {len(self.questions)}"
        reply = Reply(seen, given if isinstance(given, str) else "")
        self.replies.append(reply)
        self.kept[reply.conversation_id] = reply.message_id
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for piece in reply.events() if isinstance(given, str) else given(reply):
            request.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            request.wfile.flush()
        if self.cut:
            request.close_connection = True
        else:
            request.wfile.write(b"0\r\n\r\n")
