"""A2 to A4, A6 to A8 in a real browser: the sample pages of system A, with old and current sse.js (section 1.7)."""

import json

import pytest
from browsing import PAGES, Site, Tab, browser
from sse_rules import CASES

from upstream import chunk, head, pause, reset, send

EVENTS = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
GENERATIONS = ["old", "new"]
QUESTION = 'say "hi" \\ 100% $5 你好 😀'
# An answer came to its end, or to an error, or something threw.
ENDED = "seen.events.some(([name, data]) => data === '[DONE]' || name === 'error')"


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def site():
    running = Site()
    yield running
    running.stop()


@pytest.fixture
def open_tab(chromium, site):
    tabs = []

    def open_(name, base=None, **query):
        tabs.append(Tab(chromium, base or site.url, name, **query))
        return tabs[-1]

    yield open_
    for tab in tabs:
        tab.close()


@pytest.fixture
def sample(open_tab, relay, token):
    """Open system A's page with a good token in its box."""

    def open_(sse="old", base=None):
        tab = open_tab("a.html", base, gateway=relay.url, sse=sse)
        tab.fill("token", token)
        return tab

    return open_


def start_conv(tab, question):
    tab.fill("question", question)
    tab.press("startConv", ENDED)
    return tab.text("answer")


FEED = """([status, reads]) => {
  const events = [];
  const source = new OldSSE("", {});
  for (const name of ["message", "close", "ping", "error"]) {
    source.addEventListener(name, (e) => events.push([name, e.data]));
  }
  source.request = { status, responseText: "", abort() {} };
  for (const read of reads) {
    if (!source.request) break;
    source.request.response = source.request.responseText += read;
    source.progress();
  }
  source.load();
  return events;
}"""


def test_the_old_sse_js_of_the_pages_obeys_its_rules(open_tab):
    tab = open_tab("a.html", gateway="")
    for name, (status, reads, events) in CASES.items():
        assert [tuple(event) for event in tab.page.evaluate(FEED, [status, reads])] == events, name


def test_A2_event_with_both_generations(sample):
    tabs = [sample(sse) for sse in GENERATIONS]
    for tab in tabs:
        tab.page.click("#sse")
    for tab in tabs:
        tab.wait(tab.saw("close"))
        assert tab.events == [("message", "0145"), ("message", "1145"), ("close", "close")]
        assert tab.text("answer") == "\r\n0145\r\n1145\r\nclose"
        assert tab.thrown == []


@pytest.mark.parametrize("sse", GENERATIONS)
def test_A3_A4_the_chat_button(sample, sse):
    tab = sample(sse)
    tab.fill("question", QUESTION)
    tab.press("chatGpt", ENDED)
    assert tab.text("answer") == QUESTION
    assert tab.thrown == []


@pytest.mark.parametrize("sse", GENERATIONS)
def test_A3_a_bad_token_is_an_error_event(sample, sse):
    tab = sample(sse)
    for bad in ("", "nonsense"):
        tab.fill("token", bad)
        tab.press("chatGpt", ENDED)
        assert {name for name, _ in tab.events} == {"error"}
        assert tab.text("answer") == ""


@pytest.mark.parametrize("sse", GENERATIONS)
def test_A6_A7_the_conversation_buttons(sample, sse):
    tab = sample(sse)
    tab.press("getConvs", "page.conversationId !== ''")
    first = tab.page.evaluate("page.conversationId")
    tab.press("getConv", "page.parentMessageID !== ''")
    assert start_conv(tab, QUESTION) == QUESTION
    assert tab.page.evaluate("page.conversationId") == first
    parent = tab.page.evaluate("page.parentMessageID")
    assert start_conv(tab, "and again") == "and again"
    assert tab.page.evaluate("page.conversationId") == first
    assert tab.page.evaluate("page.parentMessageID") != parent
    assert tab.thrown == []


def test_A6_A7_the_page_opened_from_a_file(sample):
    """Its origin is `null`."""
    tab = sample(base=PAGES)
    tab.press("chatGpt", ENDED)
    assert tab.text("answer") == "Hello!"
    tab.press("getConvs", "page.conversationId !== ''")
    tab.press("getConv", "page.parentMessageID !== ''")
    assert start_conv(tab, "from a file") == "from a file"
    assert tab.thrown == []


@pytest.mark.parametrize("sse", GENERATIONS)
def test_A4_a_stream_that_breaks(open_tab, told, model_lane, sse):
    tab = open_tab("a.html", gateway=told.url, sse=sse)
    tab.fill("token", told.owner())
    half = send(head(200, EVENTS), chunk(model_lane.speaker.text("half ")))
    for button in ("chatGpt", "startConv"):
        model_lane.play([half, pause(0.3), reset])
        tab.press(button, ENDED)
        assert tab.text("answer") == "half "
        assert "error" in [name for name, _ in tab.events]
        assert ("message", "[DONE]") not in tab.events
        assert tab.thrown == []


@pytest.mark.parametrize("spelling", ["VITE_CHAT_CODE", "VITE_CHAT_TOKEN", "both"])
def test_A8_the_quick_start_with_three_spellings(open_tab, relay, token, spelling):
    """Its README names a variable that its code does not read: then it sends `undefined`, and waits for ever."""
    names = ["VITE_CHAT_CODE", "VITE_CHAT_TOKEN"] if spelling == "both" else [spelling]
    tab = open_tab("vue.html", env=json.dumps({"VITE_CHAT_URL": relay.url, **dict.fromkeys(names, token)}))
    tab.fill("content", "Hello dear world")
    if "VITE_CHAT_CODE" not in names:
        with tab.page.expect_response(f"{relay.url}/chat") as answered:
            tab.page.click("#ask")
        assert answered.value.status == 403
        assert answered.value.request.headers["authorization"] == "undefined"
        assert tab.text("ask") == "Thinking...🤔"
        return
    tab.page.click("#ask")
    tab.wait(tab.saw("[DONE]"))
    assert tab.text("ask") == "Submit 🚀"
    # The first delta is lost by the page, not by us.
    deltas = [json.loads(data)["choices"][0]["delta"] for _, data in tab.events if data != "[DONE]"]
    assert "".join(delta.get("content", "") for delta in deltas) == "Hello dear world"
    assert tab.text("res") == "dear world"
    assert tab.thrown == []
