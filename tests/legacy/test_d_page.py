"""D1 to D4 in a real browser: the sample of system D, pasted into the console of a page of another origin (6.4)."""

import json

import pytest
from browsing import PAGES, Site, Tab, browser
from ndjson_loop import DONE, QUESTION, REFUSED
from relays import AUTHORIZATION_KEY

from upstream import LAST_CHUNK, chunk, close, head, pause, send

EVENTS = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
WIDE = "😀你好€\n"


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def site():
    running = Site()
    yield running
    running.stop()


@pytest.fixture(params=["site", "file"])
def tab(request, chromium, site):
    opened = Tab(chromium, site.url if request.param == "site" else PAGES, "console.html")
    yield opened
    opened.close()


def chat(tab, relay, key, question=QUESTION):
    """Returns what the page shows; raises when the sample throws."""
    return tab.page.evaluate("([url, key, text]) => chat(url, key, text)", [f"{relay.url}/chat", key, question])


def test_D1_with_the_key(tab, relay):
    assert chat(tab, relay, AUTHORIZATION_KEY) == QUESTION
    assert tab.events[-1] == DONE
    assert tab.page.inner_text("body") == QUESTION


def test_D1_without_a_key_where_the_door_is_open(tab, open_relay):
    assert chat(tab, open_relay, None) == QUESTION


def test_D1_with_cookies_in_the_browser(tab, relay):
    tab.context.add_cookies([{"name": "session", "value": "x", "url": relay.url}])
    assert chat(tab, relay, AUTHORIZATION_KEY) == QUESTION


def test_D1_a_second_question_carries_the_first(tab, told, model_lane):
    for number in (1, 2):
        assert chat(tab, told, AUTHORIZATION_KEY, f"question {number}") == f"answer {number}"
    sent = [message["content"] for message in model_lane.requests[1].json["messages"]]
    assert sent == ["question 1", "answer 1", "question 2"]


@pytest.mark.parametrize("key", [None, "wrong"])
def test_D2_a_wrong_key_is_shown(tab, relay, key):
    assert chat(tab, relay, key) == "权限不足"
    assert tab.events == REFUSED


def test_D3_an_answer_that_breaks_is_shown_as_an_error_and_ends(tab, told, model_lane):
    half = send(head(200, EVENTS), chunk(model_lane.speaker.text("half ")))
    model_lane.play([half, pause(0.05), close])
    shown = chat(tab, told, AUTHORIZATION_KEY)
    assert "half" not in shown, "an error replaces what was shown"
    assert shown
    assert [line["error"] for line in tab.events] == [False, True, False]


def test_D4_wide_characters_and_a_long_delta(tab, told, model_lane):
    """Head and lines in one read would be cut by the browser: see test_d_chat.py."""
    first, *texts = [*(WIDE * 3), WIDE * 2_000, json.dumps(WIDE)]
    speaker = model_lane.speaker
    rest = b"".join(map(chunk, [*map(speaker.text, texts), *speaker.closing()])) + LAST_CHUNK
    model_lane.play([send(head(200, EVENTS), chunk(speaker.text(first))), pause(0.05), send(rest)])
    assert chat(tab, told, AUTHORIZATION_KEY) == "".join([first, *texts])
