r"""Conversations in files: what is read in (system C's files, our export, plain turns) and Markdown going out.

Source: seed protocols, section 5.5: a JSON array of strings, one a turn, `User: …\n\n\nChatGPT: …<|im_end|>\n`.
"""

import re
from typing import Any

import msgspec

from dragoman.chat import Role
from dragoman.faults import Malformed
from dragoman.threads import Chronicle, Node, Story, title_of

_TURN = re.compile(r"User: (.*?)\n\n\nChatGPT: (.*?)(?:<\|im_end\|>)?\n?", re.DOTALL)
_ROLES = ("user", "assistant", "system")
NAMES = {"user": "User", "assistant": "Assistant", "system": "System"}


def read(data: bytes) -> list[Chronicle]:
    """Read one conversation, or several under the key `conversations`. Raises Malformed that names the field."""
    try:
        tree = msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Malformed(f"The body is not valid JSON: {error}") from None
    if isinstance(tree, dict) and isinstance(tree.get("conversations"), list):
        return [_one(item, f"conversations[{number}]") for number, item in enumerate(tree["conversations"])]
    return [_one(tree, "")]


def _one(tree: Any, where: str) -> Chronicle:
    if isinstance(tree, list):
        messages = _turns(tree, where)
        title = ""
    elif isinstance(tree, dict) and isinstance(tree.get("turns"), list):
        messages = _turns(tree["turns"], f"{where}.turns".lstrip("."))
        title = tree.get("title", "")
    elif isinstance(tree, dict) and isinstance(tree.get("messages"), list):
        messages = _messages(tree, f"{where}.messages".lstrip("."))
        title = tree.get("title", "")
    else:
        raise Malformed(
            "A conversation is an array of turns, or an object with `turns` or `messages`.", field=where or None
        )
    if not messages:
        raise Malformed("A conversation without messages cannot be imported.", field=where or None)
    if not isinstance(title, str):
        raise Malformed("title must be a string.", field=f"{where}.title".lstrip("."))
    return Chronicle(title or title_of(messages[0][1]), messages)


def _turns(rows: list[Any], where: str) -> list[tuple[Role, str]]:
    """Read turns: system C's strings, or objects with `role` and `content`, or with `user` and `assistant`."""
    messages: list[tuple[Role, str]] = []
    for number, row in enumerate(rows):
        field = f"{where}[{number}]"
        if isinstance(row, str):
            found = _TURN.fullmatch(row)
            if not found:
                raise Malformed(f"{field} is not `User: …`, three line ends, `ChatGPT: …`.", field=field)
            messages += [("user", found[1]), ("assistant", found[2])]
        elif isinstance(row, dict) and "role" in row:
            messages.append(_message(row, field))
        elif isinstance(row, dict) and isinstance(row.get("user"), str) and isinstance(row.get("assistant"), str):
            messages += [("user", row["user"]), ("assistant", row["assistant"])]
        else:
            raise Malformed(f"{field} is not a turn.", field=field)
    return messages


def _message(row: Any, field: str) -> tuple[Role, str]:
    role = row.get("role") if isinstance(row, dict) else None
    content = row.get("content") if isinstance(row, dict) else None
    if role not in _ROLES or not isinstance(content, str):
        raise Malformed(f"{field} needs a role (user, assistant, system) and a content that is text.", field=field)
    return role, content


def _messages(tree: dict[str, Any], where: str) -> list[tuple[Role, str]]:
    """Read our own export: of a tree of messages, the branch that leads to `current`."""
    rows = tree["messages"]
    said = [_message(row, f"{where}[{number}]") for number, row in enumerate(rows)]
    by_id = {row.get("id"): number for number, row in enumerate(rows)}
    at = tree.get("current")
    if not isinstance(at, str) or at not in by_id:
        return said
    path: list[int] = []
    while at in by_id and by_id[at] not in path:
        path.append(by_id[at])
        at = rows[by_id[at]].get("parent")
        if not isinstance(at, str):
            break
    return [said[number] for number in reversed(path)]


def markdown(story: Story) -> bytes:
    """Write the branch that leads to the current message as Markdown."""
    nodes = {node.id: node for node in story.nodes}
    path: list[Node] = []
    at = story.thread.current
    while at in nodes:
        path.append(nodes[at])
        at = nodes[at].parent
    title = " ".join(story.thread.title.split())
    lines = [f"# {title}", ""]
    for node in reversed(path):
        mark = "" if node.state == "complete" else f" ({node.state})"
        lines += [f"## {NAMES[node.role]}{mark}", "", node.text, ""]
    return "\n".join(lines).encode()
