"""Conversations leave as JSON and Markdown, and come in as those, as plain turns, and as system C's files (5.5)."""

import json
import uuid

import pytest
from c_clients import broken, mint, native, told
from speakers import Ask, Grpc, listed, native_error, read

ODD = [
    "100% $5",
    'a "quote" \\ and \'',
    "早上好 😀",
    "line\n\n\nline",
    "<|im_end|>",
    "User: x",
    "# heading\n```py\ncode\n```",
    "a\u2028b",
]


@pytest.fixture
def key(relay, lane):
    """The token of somebody new."""
    return mint(relay, str(uuid.uuid4()))


def turn_of_system_c(question, answer):
    return f"User: {question}\n\n\nChatGPT: {answer}<|im_end|>\n"


def imported(relay, key, body):
    """Import and see that it was taken; returns the conversations, whole."""
    reply = native(relay, "POST", "/api/conversations/import", body, key)
    assert reply.status == 201, reply
    return [read(relay, row["id"], key) for row in reply.json["conversations"]]


def said(story):
    return [(row["role"], row["content"]) for row in story["messages"]]


def exported(relay, key, id_, form="json"):
    reply = native(relay, "GET", f"/api/conversations/{id_}/export?format={form}", key=key)
    assert reply.status == 200, reply
    return reply


# --- system C's files --------------------------------------------------------------------------------------


def test_a_file_of_system_c(relay, key):
    file = [turn_of_system_c("早上好", "你好！"), turn_of_system_c("How are you?", "Fine.")]
    [story] = imported(relay, key, json.dumps(file, ensure_ascii=False).encode())
    assert said(story) == [
        ("user", "早上好"),
        ("assistant", "你好！"),
        ("user", "How are you?"),
        ("assistant", "Fine."),
    ]
    assert story["title"] == "早上好"
    assert story["current"] == story["messages"][-1]["id"]
    assert {row["state"] for row in story["messages"]} == {"complete"}
    assert listed(relay, key)["total"] == 1


def test_an_imported_conversation_goes_on(relay, key, lane):
    [story] = imported(relay, key, [turn_of_system_c("one", "1"), turn_of_system_c("two", "2")])
    Ask(relay, key).turn("three", story["id"])
    assert [text for _, text in told(lane.requests[0])] == ["one", "1", "two", "2", "three"]
    Grpc(relay, key).turn("instead of two", story["id"], story["messages"][1]["id"])
    assert [text for _, text in told(lane.requests[1])] == ["one", "1", "instead of two"]


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_in_a_file_of_system_c(relay, key, text):
    [story] = imported(relay, key, [turn_of_system_c(text, text)])
    assert said(story) == [("user", text), ("assistant", text)]


def test_a_turn_whose_answer_speaks_the_files_own_language(relay, key):
    answer = "It looks so:\n\n\nChatGPT: yes"
    [story] = imported(relay, key, [turn_of_system_c("How does a file look?", answer)])
    assert said(story) == [("user", "How does a file look?"), ("assistant", answer)]


def test_the_last_turn_may_have_no_end_mark_and_an_answer_may_be_empty(relay, key):
    [story] = imported(relay, key, ["User: a\n\n\nChatGPT: b", turn_of_system_c("c", "")])
    assert said(story)[:3] == [("user", "a"), ("assistant", "b"), ("user", "c")]


def test_plain_turns_with_a_title(relay, key):
    [story] = imported(relay, key, {"title": "Mine", "turns": [turn_of_system_c("a", "b")]})
    assert (story["title"], said(story)) == ("Mine", [("user", "a"), ("assistant", "b")])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        {},
        [],
        "x",
        7,
        None,
        [7],
        [None],
        [["x"]],
        ["no turn at all"],
        {"turns": "x"},
        {"turns": []},
        {"title": 7, "turns": ["User: a\n\n\nChatGPT: b"]},
        {"messages": [{"role": "owner", "content": "x"}]},
        {"messages": [{"role": "user"}]},
    ],
)
def test_what_is_no_conversation_is_refused_and_leaves_nothing(relay, key, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    native_error(native(relay, "POST", "/api/conversations/import", data, key), 400)
    assert listed(relay, key)["total"] == 0


def test_one_bad_turn_refuses_the_whole_file_and_says_which(relay, key):
    file = [turn_of_system_c("a", "b"), "broken", turn_of_system_c("c", "d")]
    error = native_error(native(relay, "POST", "/api/conversations/import", file, key), 400)
    assert "1" in error["message"] + str(error["param"])
    assert listed(relay, key)["total"] == 0


def test_a_long_file(relay, key, lane):
    [story] = imported(relay, key, [turn_of_system_c(f"question {n}", f"answer {n}") for n in range(2000)])
    assert len(story["messages"]) == 4000
    Ask(relay, key).turn("and now?", story["id"])
    assert told(lane.requests[0])[-2:] == [("assistant", "answer 1999"), ("user", "and now?")]


# --- there and back ----------------------------------------------------------------------------------------


def test_json_there_and_back(relay, key, lane):
    first = Ask(relay, key).turn(ODD[0])
    for text in ODD[1:]:
        Ask(relay, key).turn(text, first.conversation_id)
    native(relay, "PATCH", f"/api/conversations/{first.conversation_id}", {"title": "the title"}, key)
    file = exported(relay, key, first.conversation_id)
    assert file.headers["content-type"].partition(";")[0] == "application/json"
    other = mint(relay, str(uuid.uuid4()))
    [story] = imported(relay, other, file.body)
    original = read(relay, first.conversation_id, key)
    assert said(story) == said(original)
    assert story["title"] == "the title"
    assert story["id"] != first.conversation_id
    assert not {row["id"] for row in story["messages"]} & {row["id"] for row in original["messages"]}
    Ask(relay, other).turn("go on", story["id"])
    assert len(told(lane.requests[-1])) == 2 * len(ODD) + 1


def test_importing_twice_makes_two(relay, key):
    first = Ask(relay, key).turn("one")
    file = exported(relay, key, first.conversation_id).body
    stories = [*imported(relay, key, file), *imported(relay, key, file)]
    assert len({first.conversation_id, *(story["id"] for story in stories)}) == 3


def test_a_tree_keeps_its_branches(relay, key):
    first = Ask(relay, key).turn("one")
    Ask(relay, key).turn("two", first.conversation_id)
    Ask(relay, key).turn("instead of two", first.conversation_id, first.message_id)
    file = exported(relay, key, first.conversation_id)
    assert {row["content"] for row in file.json["messages"]} >= {"two", "instead of two"}
    [story] = imported(relay, key, file.body)
    current = next(row for row in story["messages"] if row["id"] == story["current"])
    assert current["content"] == "first answer 3"
    assert "two" in [content for _, content in said(story)], "an export is all there is of it"


def test_how_an_answer_ended_is_kept(relay, key, lane):
    first = Ask(relay, key).turn("one")
    lane.play(broken(lane))
    Ask(relay, key).refusal("two", first.conversation_id)
    file = exported(relay, key, first.conversation_id)
    assert [row["state"] for row in file.json["messages"]] == ["complete", "complete", "complete", "broken"]
    [story] = imported(relay, key, file.body)
    assert story["messages"][-1]["state"] == "broken"


def test_markdown(relay, key):
    first = Ask(relay, key).turn("What is *this*?")
    Ask(relay, key).turn("And 早上好?", first.conversation_id)
    file = exported(relay, key, first.conversation_id, "markdown")
    assert file.headers["content-type"].startswith("text/markdown")
    text = file.body.decode()
    assert text.startswith("# ")
    spoken = ["What is *this*?", "first answer 1", "And 早上好?", "first answer 2"]
    places = [text.rindex(each) for each in spoken]
    assert places == sorted(places)


def test_markdown_follows_the_current_branch(relay, key):
    first = Ask(relay, key).turn("one")
    Ask(relay, key).turn("two", first.conversation_id)
    Ask(relay, key).turn("instead", first.conversation_id, first.message_id)
    text = exported(relay, key, first.conversation_id, "markdown").body.decode()
    assert "instead" in text
    assert "first answer 3" in text


def test_json_is_the_form_where_none_is_named_and_another_is_refused(relay, key):
    first = Ask(relay, key).turn("one")
    path = f"/api/conversations/{first.conversation_id}/export"
    assert native(relay, "GET", path, key=key).json["id"] == first.conversation_id
    assert native_error(native(relay, "GET", f"{path}?format=pdf", key=key), 400)["param"] == "format"
