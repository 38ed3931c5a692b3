"""What clients of system A send, byte for byte where the specification says so (section 1.7)."""

import json

QUESTION = "Hello!"


def chat_body(question=QUESTION, stream=True, model="gpt-3.5-turbo"):
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": question}]}


def chat(relay, token, question=QUESTION, **body):
    """The `chatGpt` button: no Accept but the browser's own."""
    return relay.begin("POST", "/chat", chat_body(question, **body), authorization=token, Accept="*/*")


def conversations(relay, token, query="offset=0&limit=1"):
    """The `getConvs` button."""
    return relay.ask("GET", f"/conv?{query}", authorization=token, Chat_type="conversations")


def conversation(relay, token, id_):
    """The `getConv` button."""
    return relay.ask("GET", "/conv", authorization=token, Chat_type=f"conversation/{id_}")


def start(relay, token, content, parent="", conversation_id=""):
    """The `startConv` button: keys in this order, text as JavaScript would write it."""
    body = {"content": content, "parent_message_id": parent, "conversation_id": conversation_id}
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"Chat_type": "conversation", "Accept": "text/event-stream"}
    return relay.begin("POST", "/conv", data, authorization=token, **headers)


def converse(relay, token, content, parent="", conversation_id=""):
    return start(relay, token, content, parent, conversation_id).rest()
