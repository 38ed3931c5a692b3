"""X2: the libraries behind systems B and C as clients of ours (sections 2, 4.4, 5.4): their calls, re-created."""

import json

import pytest
from b_client import UUID
from backend_client import Revchat, Reverse, bearer

SYSTEM = (
    "You are ChatGPT, a large language model trained by OpenAI. Answer as concisely as possible.\n"
    "Knowledge cutoff: 2021-09-01\nCurrent date: 2023-04-01"
)


def said(request):
    return [message["content"] for message in request.json["messages"]]


class Completions:
    """npm chatgpt 5.0.9 in its first mode: it keeps the history itself and sends it whole, keys in this order."""

    def __init__(self, relay, token, model):
        self.relay, self.token, self.model = relay, token, model
        self.history = []

    def send(self, text, stream=False):
        self.history.append({"role": "user", "content": text})
        body = {
            "max_tokens": 1000,
            "model": self.model,
            "temperature": 0.8,
            "top_p": 1,
            "presence_penalty": 1,
            "messages": [{"role": "system", "content": SYSTEM}, *self.history],
            "stream": stream,
        }
        answer = self.relay.ask("POST", "/v1/chat/completions", body, **bearer(self.token))
        assert answer.status == 200, f"OpenAI error {answer.status}: {answer.text}"
        text, id_ = self._streamed(answer) if stream else self._whole(answer)
        self.history.append({"role": "assistant", "content": text})
        return text, id_

    @staticmethod
    def _whole(answer):
        tree = answer.json
        assert tree["choices"][0]["message"]["role"] == "assistant"
        return tree["choices"][0]["message"]["content"], tree["id"]

    @staticmethod
    def _streamed(answer):
        found, id_ = "", ""
        data = [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data: ")]
        assert data[-1] == "[DONE]"
        for chunk in map(json.loads, data[:-1]):
            id_ = chunk.get("id") or id_
            if chunk.get("choices"):
                found += chunk["choices"][0]["delta"].get("content") or ""
        return found, id_


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_X2_chatgpt_by_its_api_base_url(relay, token, stream):
    library = Completions(relay, token, "echo/echo")
    assert library.send('say "one"', stream)[0] == 'say "one"'
    text, id_ = library.send("two", stream)
    assert text == "two"
    assert id_


@pytest.mark.parametrize("path", ["/api/conversation", "/backend-api/conversation"])
def test_X2_chatgpt_by_its_reverse_proxy_url(told, model_lane, path):
    library = Reverse(told, told.owner(), path)
    first = library.send('my name is "Ada"')
    assert first["text"] == "answer 1"
    assert UUID.fullmatch(first["id"])
    assert UUID.fullmatch(first["conversationId"])
    second = library.send("what is my name?", first["conversationId"], first["id"])
    assert second["conversationId"] == first["conversationId"]
    assert said(model_lane.requests[1]) == ['my name is "Ada"', "answer 1", "what is my name?"]


@pytest.mark.parametrize(
    ("base", "post"),
    [("/", "api/conversation"), ("/api/", "conversation"), ("/backend-api/", "conversation")],
    ids=["to 3.1", "from 3.3", "backend-api"],
)
def test_X2_revchatgpt_by_its_base_url(told, model_lane, base, post):
    library = Revchat(told, told.owner(), base, post)
    first = library.ask("my name is Ada")
    assert first["message"] == "answer 1"
    assert first["end_turn"] is True
    second = library.ask("what is my name?", first["conversation_id"], first["parent_id"])
    assert second["conversation_id"] == first["conversation_id"]
    assert said(model_lane.requests[1]) == ["my name is Ada", "answer 1", "what is my name?"]


def test_X2_revchatgpt_keeps_its_house(relay, token):
    library = Revchat(relay, token)
    first = library.ask("hello there")
    [item] = library.conversations()
    assert item["id"] == first["conversation_id"]
    assert library.history(item["id"])["current_node"] == first["parent_id"]
    library.change(item["id"], title="a new title")
    assert library.conversations()[0]["title"] == "a new title"
    assert library.title(item["id"], first["parent_id"])
    library.change(item["id"], is_visible=False)
    assert library.conversations() == []
    library.ask("another")
    library.clear()
    assert library.conversations() == []


def test_X2_two_of_them_share_nothing(told, model_lane):
    """In the original the second user's `new` went on with the first user's conversation."""
    for _ in range(2):
        Revchat(told, told.owner()).ask("hello")
    assert [said(request) for request in model_lane.requests] == [["hello"], ["hello"]]
