"""A2: `GET /event` counts twice, two seconds apart, and closes (section 1.3). The current sse.js: test_a_pages.py."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sse_js

SAMPLE = "/event?appId=1&page=4&pageSize=5"
BODY = b"data: 0145\n\ndata: 1145\n\nevent: close\ndata: close\n\n"
INJECTION = "/event?appId=a%0A%0Adata:%20forged%0D%0A&page=%E4%BD%A0&pageSize=%25d"


@pytest.fixture(scope="module")
def answers(relay):
    """All the waiting at once: the sample with and without a credential, values that try to add lines, HEAD's kin."""
    asked = {
        "sample": lambda: relay.ask("GET", SAMPLE, Accept="text/event-stream"),
        "with a token": lambda: relay.ask("GET", SAMPLE, token="whatever", Content_Type="application/json"),
        "injection": lambda: relay.ask("GET", INJECTION),
    }
    with ThreadPoolExecutor() as pool:
        futures = {name: pool.submit(ask) for name, ask in asked.items()}
        return {name: future.result() for name, future in futures.items()}


@pytest.mark.parametrize("name", ["sample", "with a token"])
def test_A2_the_bytes_and_the_head(answers, name):
    answer = answers[name]
    assert answer.status == 200, answer
    assert answer.body == BODY
    assert answer.ended == "clean"
    assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["access-control-allow-origin"] == "*"


def test_A2_two_seconds_apart_and_then_closed_at_once(answers):
    answer = answers["sample"]
    first, second = answer.read_at[0], answer.read_at[1]
    assert first - answer.began_at >= 1.9
    assert second - first >= 1.9
    assert answer.ended_at - second < 0.5


def test_A2_through_old_sse_js(answers):
    page = sse_js.shown(answers["sample"])
    assert page.seen == [("message", "0145"), ("message", "1145"), ("close", "close")]
    assert all(map(sse_js.whole_events, answers["sample"].reads))


def test_A2_a_value_cannot_add_lines(answers):
    """The original echoed line ends as they came."""
    answer = answers["injection"]
    if answer.status == 400:
        return
    lines = answer.body.split(b"\n")
    assert [line for line in lines if line.startswith(b"data: forged")] == [], answer
    assert [name for name, _ in sse_js.shown(answer).seen] == ["message", "message", "close"]
    assert "你%d" in answer.text


@pytest.mark.parametrize(
    "query", ["", "appId=1&page=4", "appId=1&pageSize=5", "page=4&pageSize=5", "appId=&page=&size="]
)
def test_A2_a_missing_parameter_is_refused_instead_of_dropped(relay, query):
    answer = relay.ask("GET", f"/event?{query}")
    assert (answer.status, answer.ended) == (400, "clean"), answer
    assert answer.took_s < 1
