"""A6: `/conv`, three steps that make a conversation, as the page does them (section 1.5)."""

import json
import re
import uuid

import a_client
import pytest
import sse_js

from upstream import LAST_CHUNK, Signal, chunk, head, hold, send

EVENTS = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
CONTENTS = {
    "quotes": "say \"hi\" and 'bye'",
    "backslash": "C:\\new\\table \\",
    "newline": "one\ntwo\r\nthree",
    "percent": "100% sure %s %d %!",
    "dollar": "$5 ${HOME} $(id)",
    "wide": "你好 😀 é",
    "json": '{"content": "x"}, ]',
    "control": "a\tb\x00c\x7f",
    "separator": "a\u2028b\u2029c",
    "html": "<b>&amp;</b>",
}


def page_of(answer):
    """A page on which nothing may throw, and that got to the end."""
    page = sse_js.shown(answer, sse_js.ConvPage)
    assert answer.status == 200, answer
    assert page.thrown == [], answer
    assert page.done, answer
    assert not page.failed, answer
    return page


def turn(relay, token, content, page=None):
    """One press of `startConv`; `page` is the one of the turn before."""
    ids = (page.parent_message_id, page.conversation_id) if page else ("", "")
    return page_of(a_client.converse(relay, token, content, *ids))


def said(request):
    """What a model was told, as (role, text)."""
    return [(message["role"], message["content"]) for message in request.json["messages"]]


# --- the three steps -----------------------------------------------------------------------------------


def test_A6_the_list_of_somebody_new_has_one_empty_conversation(relay, token):
    answer = a_client.conversations(relay, token)
    assert answer.status == 200, answer
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    tree = answer.json
    assert list(tree) == ["has_missing_conversations", "index", "items", "limit", "multi", "offset", "total"]
    assert (tree["limit"], tree["offset"], tree["total"], tree["index"]) == (1, 0, 1, 0)
    assert tree["multi"] is False
    assert tree["has_missing_conversations"] is False
    [item] = tree["items"]
    assert list(item) == ["create_time", "id", "title"]
    assert UUID4.fullmatch(item["id"])
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", item["create_time"])
    assert a_client.conversations(relay, token).json["items"] == [item], "asking again makes no other"


def test_A6_the_documented_three_steps(relay, token):
    first = a_client.conversations(relay, token).json["items"][0]["id"]
    detail = a_client.conversation(relay, token, first)
    assert detail.status == 200, detail
    assert list(detail.json) == ["current_node", "title", "update_time"]
    assert isinstance(detail.json["update_time"], float)
    node = detail.json["current_node"]
    assert UUID4.fullmatch(node)
    page = page_of(a_client.converse(relay, token, "Hello there!", node, first))
    assert page.answer == "Hello there!"
    assert page.conversation_id == first
    assert UUID4.fullmatch(page.parent_message_id)
    assert a_client.conversation(relay, token, first).json["current_node"] == page.parent_message_id
    assert a_client.conversations(relay, token).json["total"] == 1


@pytest.mark.parametrize("query", ["", "offset=0", "limit=", "offset=&limit=", "limit=5"])
def test_A6_five_is_the_limit_where_none_is_given(relay, token, query):
    tree = a_client.conversations(relay, token, query).json
    assert (tree["offset"], tree["limit"]) == (0, 5)


@pytest.mark.parametrize("query", ["limit=-1", "offset=-1", "limit=x", "limit=1e9", "limit=999999999999999999999"])
def test_A6_an_odd_window_is_no_failure(relay, token, query):
    answer = a_client.conversations(relay, token, query)
    assert answer.status in (200, 400), answer


def test_A6_the_list_pages_and_the_latest_comes_first(relay, token):
    pages = [turn(relay, token, f"question {n}") for n in range(4)]
    ids = [page.conversation_id for page in reversed(pages)]
    tree = a_client.conversations(relay, token, "offset=1&limit=2").json
    assert [item["id"] for item in tree["items"]] == ids[1:3]
    assert (tree["offset"], tree["limit"], tree["total"]) == (1, 2, 4)
    turn(relay, token, "once more", pages[0])
    assert a_client.conversations(relay, token).json["items"][0]["id"] == pages[0].conversation_id


def test_A6_the_first_list_is_not_a_made_up_empty_one_nor_kept_for_ever(relay, token):
    """The original lied once after each start, and then never looked again."""
    turn(relay, token, "first")
    assert a_client.conversations(relay, token).json["total"] == 1
    turn(relay, token, "second")
    assert a_client.conversations(relay, token).json["total"] == 2


def test_A6_the_detail_is_not_kept_for_ever(relay, token):
    page = turn(relay, token, "first")
    nodes = [a_client.conversation(relay, token, page.conversation_id).json["current_node"]]
    turn(relay, token, "second", page)
    nodes.append(a_client.conversation(relay, token, page.conversation_id).json["current_node"])
    assert nodes[0] == page.parent_message_id != nodes[1]


# --- what is said -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_A6_any_content_comes_back_as_it_was_said(relay, token, content):
    assert turn(relay, token, content).answer == content


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_A6_a_title_is_not_printed_through_a_format(relay, token, content):
    """The second, cached, answer of the original went through printf."""
    turn(relay, token, content)
    lists = [a_client.conversations(relay, token) for _ in range(2)]
    assert lists[0].json == lists[1].json
    assert lists[1].headers["content-type"].partition(";")[0] == "application/json"
    title = lists[0].json["items"][0]["title"]
    assert "MISSING" not in title
    assert title.split()[0] in content.replace("\x00", "").replace("\x7f", "")


def test_A6_parts_are_cumulative_and_every_event_has_all_that_is_read(relay, token):
    answer = a_client.converse(relay, token, "one two three four")
    page = page_of(answer)
    trees = [json.loads(data) for data in page.messages if data != "[DONE]"]
    texts = [tree["message"]["content"]["parts"][0] for tree in trees]
    assert texts[-1] == "one two three four"
    assert all(late.startswith(early) for early, late in zip(texts, texts[1:], strict=False))
    assert len({tree["message"]["id"] for tree in trees}) == 1
    assert {tree["conversation_id"] for tree in trees} == {page.conversation_id}
    assert {tree["error"] for tree in trees} == {None}
    assert trees[-1]["message"]["end_turn"] is True
    assert {tree["message"]["author"]["role"] for tree in trees} == {tree["message"]["role"] for tree in trees}
    assert all(map(sse_js.whole_events, answer.reads))
    assert answer.headers["x-accel-buffering"] == "no"


def test_A6_the_second_turn_carries_the_first(told, model_lane):
    token = told.owner()
    first = turn(told, token, 'first "question"\n')
    second = turn(told, token, "second \\ question", first)
    assert second.answer == "answer 2"
    assert second.conversation_id == first.conversation_id
    assert said(model_lane.requests[1]) == [
        ("user", 'first "question"\n'),
        ("assistant", "answer 1"),
        ("user", "second \\ question"),
    ]


def test_A6_a_second_turn_after_the_detail_was_read_sees_its_first_event(told, model_lane):
    """The original swallowed it."""
    token = told.owner()
    first = turn(told, token, "first")
    parent = a_client.conversation(told, token, first.conversation_id).json["current_node"]
    seen = Signal()
    speaker = model_lane.speaker
    closing = [chunk(speaker.text("second")), *map(chunk, speaker.closing()), LAST_CHUNK]
    model_lane.play([send(head(200, EVENTS), chunk(speaker.text("first, "))), hold(seen), send(*closing)])
    answer = a_client.start(told, token, "second", parent, first.conversation_id).until(b'"first, "')
    seen.fire()
    assert page_of(answer.rest()).answer == "first, second"


def test_A6_a_turn_from_an_earlier_message_makes_a_branch(told, model_lane):
    token = told.owner()
    first = turn(told, token, "first")
    turn(told, token, "second", first)
    turn(told, token, "instead of the second", first)
    assert [text for _, text in said(model_lane.requests[2])] == ["first", "answer 1", "instead of the second"]


def test_A6_a_conversation_without_a_parent_goes_on_where_it_stands(told, model_lane):
    token = told.owner()
    first = turn(told, token, "first")
    page_of(a_client.converse(told, token, "second", "", first.conversation_id))
    assert [text for _, text in said(model_lane.requests[1])] == ["first", "answer 1", "second"]


def test_A6_empty_ids_are_a_new_conversation_each_time(told, model_lane):
    token = told.owner()
    pages = [turn(told, token, "one"), turn(told, token, "two")]
    assert pages[0].conversation_id != pages[1].conversation_id
    assert said(model_lane.requests[1]) == [("user", "two")]


@pytest.mark.parametrize("parent", [str(uuid.uuid4()), "client-made"], ids=["uuid", "any text"])
def test_A6_a_parent_that_the_client_made_up_for_a_new_conversation_is_fine(relay, token, parent):
    """Libraries send a random parent with the first question; the original did so itself."""
    answer = a_client.converse(relay, token, "hi", parent, "")
    assert answer.status in (200, 404), answer
    if parent != "client-made":
        assert page_of(answer).answer == "hi"


def test_A6_ids_are_uuids_of_version_4(relay, token):
    page = turn(relay, token, "x")
    assert UUID4.fullmatch(page.conversation_id)
    assert UUID4.fullmatch(page.parent_message_id)
