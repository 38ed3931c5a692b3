"""What clients of system B send: Swagger's page and curl (section 4)."""

import json
import re

INFO = "/api/v1/gpt/getInfo"
LOGIN = "/api/v1/token/getInfo"
FAILED = "获取chatGPT消息异常，请重试："
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def body(key, content, mode="1", parent=None, **opts):
    """`parent` is the id of the answer to follow."""
    shown = {"key": key, "content": content, "isFollow": parent is not None, **opts}
    if parent is not None:
        shown["parentMessageId"] = parent
    return {"mode": mode, "type": "1", "opts": shown}


def ask(relay, key, content, mode="1", parent=None, **opts):
    return relay.ask("POST", INFO, body(key, content, mode, parent, **opts))


def data(answer):
    """The payload of a success: HTTP says 201, the envelope 200."""
    assert answer.status == 201, answer
    assert answer.headers["content-type"] == "application/json; charset=utf-8", answer
    assert list(answer.json) == ["status", "success", "message", "data", "timestamp"], answer
    assert (answer.json["status"], answer.json["success"], answer.json["message"]) == (200, True, "ok")
    return answer.json["data"]


def refusal(answer, status, path=INFO):
    """The message of an error envelope."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json; charset=utf-8", answer
    tree = json.loads(answer.body)
    assert list(tree) == ["status", "success", "message", "data", "timestamp", "path"], answer
    assert (tree["status"], tree["success"], tree["data"]) == (status, False, {}), answer
    assert isinstance(tree["timestamp"], int)
    assert tree["path"].startswith(path)
    return tree["message"]
