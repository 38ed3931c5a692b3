"""Conversations in files. Source: seed protocols, section 5.5."""

import msgspec
import pytest

from dragoman.chat import Text
from dragoman.faults import Malformed
from dragoman.threads import ROOT, Chronicle, Node, Story, Thread
from dragoman.wires import chronicles

encode = msgspec.json.encode


def said(found: Chronicle) -> list[tuple[str, str]]:
    return [(line.role, line.text) for line in found.lines]


TURN = "User: 早上好\n\nBye\n\n\nChatGPT: hello\n\n\nChatGPT: no<|im_end|>\n"


def test_files_of_the_original() -> None:
    (found,) = chronicles.read(encode([TURN, "User: b\n\n\nChatGPT: <|im_end|>\n"]))
    assert found.title == "早上好"
    assert said(found) == [
        ("user", "早上好\n\nBye"),
        ("assistant", "hello\n\n\nChatGPT: no"),
        ("user", "b"),
        ("assistant", ""),
    ]


def test_turns_and_titles() -> None:
    tree = {"title": "T", "turns": [{"user": "a", "assistant": "b"}, {"role": "system", "content": "c"}]}
    (found,) = chronicles.read(encode(tree))
    assert (found.title, said(found)) == ("T", [("user", "a"), ("assistant", "b"), ("system", "c")])
    assert len(chronicles.read(encode({"conversations": [tree, tree]}))) == 2


def test_an_export_keeps_its_branches_its_current_message_and_how_answers_ended() -> None:
    rows = [
        {"id": "1", "parent": "r", "role": "user", "content": "q"},
        {"id": "2", "parent": "1", "role": "assistant", "content": "one", "state": "broken", "model": "m"},
        {"id": "3", "parent": "1", "role": "assistant", "content": "two", "state": "pending"},
        {"id": "4", "parent": "r", "role": "user", "content": "another start"},
    ]
    (found,) = chronicles.read(encode({"title": "x", "root": "r", "current": "3", "messages": rows}))
    assert [line.parent for line in found.lines] == [ROOT, 0, 0, ROOT]
    assert [line.state for line in found.lines] == ["complete", "broken", "broken", "complete"]
    assert (found.lines[1].model, found.current) == ("m", 2)
    (plain,) = chronicles.read(
        encode({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]})
    )
    assert [line.parent for line in plain.lines] == [None, None]


def test_a_message_cannot_stand_before_its_parent() -> None:
    rows = [
        {"id": "1", "parent": "r", "role": "user", "content": "q"},
        {"id": "2", "parent": "3", "role": "user", "content": "p"},
    ]
    with pytest.raises(Malformed) as caught:
        chronicles.read(encode({"root": "r", "messages": rows}))
    assert caught.value.field == "messages[1].parent"


@pytest.mark.parametrize(
    ("tree", "field"),
    [
        ([], None),
        (["no turn"], "[0]"),
        ({}, None),
        ({"turns": [{"user": "a"}]}, "turns[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0]"),
        ({"conversations": [{"turns": ["x"]}]}, "conversations[0].turns[0]"),
        ({"title": 5, "turns": [{"user": "a", "assistant": "b"}]}, "title"),
        (5, None),
    ],
)
def test_what_is_wrong_is_named(tree: object, field: str | None) -> None:
    with pytest.raises(Malformed) as caught:
        chronicles.read(encode(tree))
    assert caught.value.field == field


def test_markdown_is_the_current_branch() -> None:
    thread = Thread("t", "o", "A\nB", "r", "c", 0, 0)
    nodes = [
        Node("a", "t", "r", 1, "user", (Text("q"),), 0),
        Node("b", "t", "a", 2, "assistant", (Text("not this"),), 0),
        Node("c", "t", "a", 2, "assistant", (Text("half"),), 0, "broken"),
    ]
    assert (
        chronicles.markdown(Story(thread, nodes)).decode() == "# A B\n\n## User\n\nq\n\n## Assistant (broken)\n\nhalf\n"
    )
