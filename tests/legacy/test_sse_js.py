"""The re-created sse.js 0.6.1 obeys the rules that the specification observed (section 3)."""

import pytest
from sse_js import ChatPage, Page
from sse_rules import CASES, DELTA


def fed(*reads, status=200, kind=Page):
    page = kind(status)
    for read in reads:
        page.source.progress(read.encode())
    page.source.load()
    return page


@pytest.mark.parametrize("name", CASES)
def test_the_rules(name):
    status, reads, events = CASES[name]
    assert fed(*reads, status=status).seen == events


@pytest.mark.parametrize("block", [": ping\n\n", "retry: 10\n\n", "id: 4\n\n"])
def test_rule_4_a_block_without_data_wedges_the_stream(block):
    page = fed(DELTA, block, DELTA, DELTA, kind=ChatPage)
    assert page.answer == "a"
    assert page.thrown


@pytest.mark.parametrize("beat", [": ping\n", "event: ping\ndata: 1\n\n"])
def test_rule_4_beats_that_are_safe(beat):
    page = fed(DELTA, beat, DELTA, "data: [DONE]\n\n", kind=ChatPage)
    assert (page.answer, page.done, page.thrown) == ("aa", True, [])


def test_rule_5_a_cut_between_the_last_two_line_ends_wedges_the_stream():
    page = fed(DELTA[:-1], "\n" + DELTA, kind=ChatPage)
    assert page.answer == ""
    assert page.thrown


def test_a_character_cut_between_reads_is_put_together():
    page = ChatPage()
    event = DELTA.replace('"a"', '"😀"').encode()
    for at in range(len(event)):
        page.source.progress(event[at : at + 1])
    page.source.load()
    # Byte by byte, the last two line ends come apart: the end of the stream delivers the event.
    assert page.answer == "😀"


def test_the_page_shows_a_content_of_null_as_text():
    assert fed(DELTA.replace('"a"', "null"), kind=ChatPage).answer == "null"
