"""The native interface: list, read, rename, delete, and its errors in OpenAI's shape."""

import uuid
from urllib.parse import quote

import pytest
from c_clients import NOBODYS_ID, SECRET_KEY, call, mint, native, told
from speakers import Ask, listed, native_error, read

STRANGE = [
    NOBODYS_ID,
    "111222333",
    "a.json",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%00",
    "%F0%9F%98%80",
    "x" * 2000,
]
ROW = {"id", "title", "created", "updated", "current"}
MESSAGE = {"id", "parent", "role", "content", "state", "model", "created"}


@pytest.fixture(scope="module")
def relay(relay_on_either):
    return relay_on_either


@pytest.fixture
def key(relay, lane):
    """The token of somebody new."""
    return mint(relay, str(uuid.uuid4()))


def path_of(turn):
    return f"/api/conversations/{turn.conversation_id}"


# --- the list --------------------------------------------------------------------------------------------


def test_the_list_of_somebody_new_is_empty(relay, key):
    tree = listed(relay, key)
    assert (tree["conversations"], tree["total"], tree["next"]) == ([], 0, None)


def test_the_latest_comes_first(relay, key):
    turns = [Ask(relay, key).turn(f"question {number}") for number in range(3)]
    Ask(relay, key).turn("once more", turns[0].conversation_id)
    tree = listed(relay, key)
    assert [row["id"] for row in tree["conversations"]] == [turns[n].conversation_id for n in (0, 2, 1)]
    assert tree["total"] == 3
    assert all(ROW <= set(row) for row in tree["conversations"])
    first = tree["conversations"][0]
    assert first["title"] == "question 0"
    assert first["created"] <= first["updated"]


def test_pages_by_number_and_by_what_came_before(relay, key):
    made = [Ask(relay, key).turn(f"question {number}").conversation_id for number in range(7)][::-1]
    by_number = [
        row["id"] for at in range(0, 9, 3) for row in listed(relay, key, f"?limit=3&offset={at}")["conversations"]
    ]
    assert by_number == made
    seen, query = [], "?limit=3"
    while True:
        tree = listed(relay, key, query)
        seen += [row["id"] for row in tree["conversations"]]
        assert tree["total"] == 7
        if tree["next"] is None:
            break
        assert len(seen) <= 7
        query = f"?limit=3&before={tree['next']}"
    assert seen == made


def test_a_page_by_what_came_before_is_not_moved_by_a_new_conversation(relay, key):
    made = [Ask(relay, key).turn(f"question {number}").conversation_id for number in range(4)][::-1]
    after = listed(relay, key, "?limit=2")["next"]
    Ask(relay, key).turn("newer")
    assert [row["id"] for row in listed(relay, key, f"?limit=2&before={after}")["conversations"]] == made[2:]


@pytest.mark.parametrize(
    ("title", "q", "found"),
    [
        ("Hello World", "world", True),
        ("Hello World", "xyz", False),
        ("100% sure", "%", True),
        ("all sure", "%", False),
        ("snake_case", "_", True),
        ("camelCase", "_", False),
        ("back\\slash", "\\", True),
        ("早上好", "上", True),
        ("ÄRGER", "ärger", True),
        ("it's", "'", True),
    ],
)
def test_search_in_titles_takes_every_character_as_itself(relay, key, title, q, found):
    Ask(relay, key).turn(title)
    tree = listed(relay, key, f"?q={quote(q)}")
    assert len(tree["conversations"]) == tree["total"] == int(found)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=x", "limit=1e3", "offset=-1", "offset=x", f"limit={10**30}"]
)
def test_an_odd_window_is_refused_or_bounded(relay, key, query):
    Ask(relay, key).turn("x")
    reply = native(relay, "GET", f"/api/conversations?{query}", key=key)
    if reply.status != 200:
        assert native_error(reply, 400)["param"] in ("limit", "offset")


@pytest.mark.parametrize("before", STRANGE[:4])
def test_a_page_behind_what_is_not_there(relay, key, before):
    reply = native(relay, "GET", f"/api/conversations?before={before}", key=key)
    native_error(reply, 404)


# --- one conversation ------------------------------------------------------------------------------------


def test_a_conversation_with_its_messages(relay, key):
    first = Ask(relay, key).turn("one")
    second = Ask(relay, key).turn("two", first.conversation_id)
    story = read(relay, first.conversation_id, key)
    assert ROW | {"root", "messages"} <= set(story)
    assert (story["id"], story["title"], story["current"]) == (first.conversation_id, "one", second.message_id)
    assert all(MESSAGE <= set(row) for row in story["messages"])
    assert story["messages"][0]["parent"] == story["root"]
    said = [(row["role"], row["content"], row["state"], row["model"]) for row in story["messages"]]
    assert said == [
        ("user", "one", "complete", None),
        ("assistant", "first answer 1", "complete", relay.model),
        ("user", "two", "complete", None),
        ("assistant", "first answer 2", "complete", relay.model),
    ]
    parents = [row["parent"] for row in story["messages"]]
    assert parents[1:] == [row["id"] for row in story["messages"][:-1]]


@pytest.mark.parametrize("id_", STRANGE)
@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [("GET", "", None), ("PATCH", "", {"title": "x"}), ("DELETE", "", None), ("GET", "/export", None)],
)
def test_what_is_not_there(relay, key, id_, method, rest, body):
    native_error(native(relay, method, f"/api/conversations/{id_}{rest}", body, key), 404)


def test_rename(relay, key):
    turn = Ask(relay, key).turn("one")
    for title in ("100% sure", "早上好 😀", 'a "b" \\ c', "x" * 200, "<script>"):
        reply = native(relay, "PATCH", path_of(turn), {"title": title}, key)
        assert (reply.status, reply.json["title"]) == (200, title)
        assert read(relay, turn.conversation_id, key)["title"] == title
    Ask(relay, key).turn("two", turn.conversation_id)
    assert read(relay, turn.conversation_id, key)["title"] == "<script>", "a turn does not take the name away"


@pytest.mark.parametrize(
    "body", [{}, {"title": ""}, {"title": " "}, {"title": None}, {"title": 7}, [], b"{", {"title": "x" * 100_000}]
)
def test_a_title_that_is_none(relay, key, body):
    turn = Ask(relay, key).turn("one")
    native_error(native(relay, "PATCH", path_of(turn), body, key), 400)
    assert read(relay, turn.conversation_id, key)["title"] == "one"


def test_a_title_with_nul(relay, key):
    turn = Ask(relay, key).turn("one")
    reply = native(relay, "PATCH", path_of(turn), {"title": "a\0b"}, key)
    assert reply.status in (200, 400), reply
    assert listed(relay, key)["total"] == 1


def test_delete(relay, key, lane):
    turns = [Ask(relay, key).turn(text) for text in ("one", "two")]
    reply = native(relay, "DELETE", path_of(turns[0]), key=key)
    assert (reply.status, reply.body) == (204, b"")
    native_error(native(relay, "GET", path_of(turns[0]), key=key), 404)
    native_error(native(relay, "DELETE", path_of(turns[0]), key=key), 404)
    assert [row["id"] for row in listed(relay, key)["conversations"]] == [turns[1].conversation_id]
    assert listed(relay, key)["total"] == 1
    assert Ask(relay, key).refusal("more", turns[0].conversation_id) is None
    Ask(relay, key).turn("more", turns[1].conversation_id)
    assert [text for _, text in told(lane.requests[-1])] == ["two", "first answer 2", "more"]


# --- keys, methods, documentation ------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "", "wrong", "Bearer wrong"])
def test_no_good_key(relay, key):
    some = f"/api/conversations/{NOBODYS_ID}"
    for method, path, body in (
        ("GET", "/api/conversations", None),
        ("GET", some, None),
        ("DELETE", some, None),
        ("PATCH", some, {"title": "x"}),
        ("POST", "/api/conversations/import", []),
    ):
        native_error(native(relay, method, path, body, key), 401)


def test_keys_raw_and_bearer_and_the_master_key(relay, key, lane):
    turn = Ask(relay, key).turn("one")
    assert read(relay, turn.conversation_id, f"Bearer {key}")["title"] == "one"
    assert listed(relay, f"Bearer {SECRET_KEY}")["total"] == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/api/conversations/x"), ("DELETE", "/api/conversations"), ("GET", "/api/conversations/import")],
)
def test_methods_that_are_not_there(relay, key, method, path):
    assert native(relay, method, path, key=key).status in (404, 405)


def test_it_is_documented(relay):
    paths = call(relay.port, "GET", "/openapi.json", key=None).json["paths"]
    assert set(paths["/api/conversations"]) >= {"get"}
    one = next(path for path in paths if path.startswith("/api/conversations/{") and path.endswith("}"))
    assert set(paths[one]) >= {"get", "patch", "delete"}
    assert "get" in paths[f"{one}/export"]
    assert "post" in paths["/api/conversations/import"]
    names = {parameter["name"] for parameter in paths["/api/conversations"]["get"]["parameters"]}
    assert {"limit", "offset", "before", "q"} <= names
