"""The ChatGPT web dialect as its clients speak it (section 2), and the libraries that do (sections 2, 4.4, 5.4).

`Reverse` re-creates the calls of npm chatgpt 5.0.9, `Revchat` those of revChatGPT, from the specification.
"""

import json
import uuid

MODEL = "text-davinci-002-render-sha"


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def user_message(text, id_=None, **author):
    content = {"content_type": "text", "parts": [text]}
    return {"id": id_ or str(uuid.uuid4()), **(author or {"author": {"role": "user"}}), "content": content}


def post_body(text, conversation_id=None, parent=None, **more):
    body = {
        "action": "next",
        "messages": [user_message(text)],
        "parent_message_id": parent or str(uuid.uuid4()),
        "model": MODEL,
        **more,
    }
    return {**body, "conversation_id": conversation_id} if conversation_id else body


def events(answer):
    """(name, data) of each event of a whole answer, data as text."""
    found = []
    for block in answer.text.split("\n\n"):
        fields = dict(line.partition(":")[::2] for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            found.append((fields.get("event", "message").strip(), fields["data"].strip()))
    return found


def messages(answer):
    """The decoded message events of an answer that came to its end."""
    assert (answer.status, answer.ended) == (200, "clean"), answer
    found = [data for name, data in events(answer) if name == "message"]
    assert found[-1] == "[DONE]", answer
    return [json.loads(data) for data in found[:-1]]


class Reverse:
    """ChatGPTUnofficialProxyAPI: one POST a question, resolved by `[DONE]`, anything that is no JSON ignored."""

    def __init__(self, relay, token, path="/api/conversation"):
        self.relay, self.token, self.path = relay, token, path

    def send(self, text, conversation_id=None, parent=None):
        message = user_message(text, role="user")
        body = {
            "action": "next",
            "messages": [message],
            "model": MODEL,
            "parent_message_id": parent or str(uuid.uuid4()),
        }
        if conversation_id:
            body["conversation_id"] = conversation_id
        headers = {"Accept": "text/event-stream", **bearer(self.token)}
        answer = self.relay.ask("POST", self.path, body, **headers)
        assert answer.status == 200, f"ChatGPT error {answer.status}: {answer.text}"
        result = {"role": "assistant", "text": "", "parentMessageId": message["id"]}
        done = False
        for name, data in events(answer):
            if name != "message":
                continue
            if data == "[DONE]":
                done = True
                break
            self._take(json.loads(data), result)
        assert done, "the promise would never be kept"
        return result

    @staticmethod
    def _take(event, result):
        if event.get("conversation_id"):
            result["conversationId"] = event["conversation_id"]
        message = event.get("message") or {}
        if message.get("id"):
            result["id"] = message["id"]
        parts = (message.get("content") or {}).get("parts") or [""]
        if parts[0]:
            result["text"] = parts[0]


class Revchat:
    """revChatGPT's Chatbot: reads lines, wants `message.content` and `author.role` in each event of the answer.

    `base` ends in a slash; versions up to 3.1 post to `<base>api/conversation`, later ones to `<base>conversation`.
    """

    def __init__(self, relay, token, base="/api/", post="conversation"):
        self.relay, self.token, self.base, self.post = relay, token, base, post
        self.headers = {
            "Accept": "text/event-stream",
            "Content-Type": "application/json",
            "X-Openai-Assistant-App-Id": "",
            "Accept-Language": "en-US,en;q=0.9",
            "Referer": "https://chat.openai.com/chat",
            **bearer(token),
        }

    def ask(self, prompt, conversation_id=None, parent_id=None):
        body = {
            "action": "next",
            "messages": [user_message(prompt, role="user", author={"role": "user"})],
            "conversation_id": conversation_id,
            "parent_message_id": parent_id or str(uuid.uuid4()),
            "model": MODEL,
            "history_and_training_disabled": False,
        }
        answer = self.relay.ask("POST", f"{self.base}{self.post}", body, **self.headers)
        assert answer.status == 200, answer
        found, done = None, False
        for line in answer.text.split("\n"):
            data = line.removeprefix("data: ")
            if data == "[DONE]":
                done = True
                break
            found = self._read(data) or found
        assert done, answer
        return found

    @staticmethod
    def _read(data):
        try:
            event = json.loads(data)
        except ValueError:
            return None
        if not isinstance(event, dict) or "content" not in (event.get("message") or {}):
            return None
        message = event["message"]
        if message["author"]["role"] != "assistant":
            return None
        return {
            "message": message["content"]["parts"][0],
            "conversation_id": event["conversation_id"],
            "parent_id": message["id"],
            "model": message["metadata"].get("model_slug"),
            "end_turn": message.get("end_turn"),
            "recipient": message.get("recipient"),
        }

    def _call(self, method, path, body=b""):
        answer = self.relay.ask(method, f"{self.base}{path}", body, **self.headers)
        assert answer.status == 200, answer
        return answer.json

    def conversations(self, offset=0, limit=20):
        return self._call("GET", f"conversations?offset={offset}&limit={limit}")["items"]

    def history(self, id_):
        return self._call("GET", f"conversation/{id_}")

    def change(self, id_, **change):
        return self._call("PATCH", f"conversation/{id_}", change)

    def clear(self):
        return self._call("PATCH", "conversations", {"is_visible": False})

    def title(self, id_, message_id):
        body = {"message_id": message_id, "model": "text-davinci-002-render"}
        return self._call("POST", f"conversation/gen_title/{id_}", body)["title"]
