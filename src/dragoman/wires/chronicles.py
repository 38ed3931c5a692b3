r"""Conversations in files: what is read in (system C's files, our export, plain turns) and Markdown going out.

Source: seed protocols, section 5.5: a JSON array of strings, one a turn, `User: …\n\n\nChatGPT: …<|im_end|>\n`.
"""

import re
from typing import Any

import msgspec

from dragoman.faults import Malformed
from dragoman.threads import ROOT, Chronicle, Line, Node, State, Story, title_of

_TURN = re.compile(r"User: (.*?)\n\n\nChatGPT: (.*?)(?:<\|im_end\|>)?\n?", re.DOTALL)
_ROLES = ("user", "assistant", "system")
_STATES: tuple[State, ...] = ("complete", "cancelled", "broken")
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
    current = None
    if isinstance(tree, list):
        lines, title = _turns(tree, where), ""
    elif isinstance(tree, dict) and isinstance(tree.get("turns"), list):
        lines, title = _turns(tree["turns"], f"{where}.turns".lstrip(".")), tree.get("title", "")
    elif isinstance(tree, dict) and isinstance(tree.get("messages"), list):
        lines, current = _tree(tree, f"{where}.messages".lstrip("."))
        title = tree.get("title", "")
    else:
        raise Malformed(
            "A conversation is an array of turns, or an object with `turns` or `messages`.", field=where or None
        )
    if not lines:
        raise Malformed("A conversation without messages cannot be imported.", field=where or None)
    if not isinstance(title, str):
        raise Malformed("title must be a string.", field=f"{where}.title".lstrip("."))
    return Chronicle(title or title_of(lines[0].text), lines, current)


def _turns(rows: list[Any], where: str) -> list[Line]:
    """Read turns: system C's strings, or objects with `role` and `content`, or with `user` and `assistant`."""
    lines: list[Line] = []
    for number, row in enumerate(rows):
        field = f"{where}[{number}]"
        if isinstance(row, str):
            found = _TURN.fullmatch(row)
            if not found:
                raise Malformed(f"{field} is not `User: …`, three line ends, `ChatGPT: …`.", field=field)
            lines += [Line("user", found[1]), Line("assistant", found[2])]
        elif isinstance(row, dict) and "role" in row:
            lines.append(_line(row, field, None))
        elif isinstance(row, dict) and isinstance(row.get("user"), str) and isinstance(row.get("assistant"), str):
            lines += [Line("user", row["user"]), Line("assistant", row["assistant"])]
        else:
            raise Malformed(f"{field} is not a turn.", field=field)
    return lines


def _line(row: Any, field: str, parent: int | None) -> Line:
    given = row if isinstance(row, dict) else {}
    role, content, state, model = (given.get(name) for name in ("role", "content", "state", "model"))
    if role not in _ROLES or not isinstance(content, str):
        raise Malformed(f"{field} needs a role (user, assistant, system) and a content that is text.", field=field)
    # What was under way when it was written down did not end there.
    kept: State = state if state in _STATES else "broken" if state == "pending" else "complete"
    return Line(role, content, kept, model if isinstance(model, str) else "", parent)


def _tree(tree: dict[str, Any], where: str) -> tuple[list[Line], int | None]:
    """Read our own export: messages whose parents stand before them, or plain ones in their order."""
    numbers: dict[Any, int] = {}
    lines: list[Line] = []
    for number, row in enumerate(tree["messages"]):
        field = f"{where}[{number}]"
        above = row.get("parent") if isinstance(row, dict) else None
        parent = None
        if isinstance(above, str):
            parent = numbers.get(above, ROOT)
            if parent == ROOT and number and above != tree.get("root"):
                raise Malformed(f"{field} follows a message that does not stand before it.", field=f"{field}.parent")
        lines.append(_line(row, field, parent))
        if isinstance(row.get("id"), str):
            numbers[row["id"]] = number
    current = tree.get("current")
    return lines, numbers.get(current) if isinstance(current, str) else None


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
