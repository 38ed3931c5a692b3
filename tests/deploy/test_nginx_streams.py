"""Streams through nginx: each word at once, who leaves is noticed, and a broken answer is seen as broken."""

import time

import pytest
from voices import VOICES, Broken

WORDS = "one two three four five"


@pytest.fixture(params=VOICES, ids=lambda voice: voice.__name__)
def voice(request):
    return request.param


@pytest.fixture
def record(front):
    """Wait for the record of the call that the test made."""
    before = len(front.gateway.calls("parrot"))

    def wait():
        return front.gateway.wait_for(lambda: front.gateway.calls("parrot")[before:])[0]

    return wait


def test_the_first_word_arrives_before_the_last_was_sent(front, voice, record):
    """The provider says a word every 200 ms, and the gateway says when it had sent the last one."""
    said, at = [], []
    for word in voice(front, f"/slow {WORDS}"):
        said.append(word)
        at.append(time.time())
    assert "".join(said) == WORDS
    assert len(said) == len(WORDS.split())
    call = record()
    assert call["outcome"] == "completed"
    assert at[0] < call["at"] + call["total_ms"] / 1000 - 0.2


def test_words_arrive_though_the_answer_never_ends(front, voice, record):
    """Two words, and then the provider is silent. The caller leaves: nginx tells the gateway at once."""
    answer = voice(front, "/stall one two three")
    assert next(answer) == "one "
    assert next(answer) == "two "
    answer.close()
    assert record()["outcome"] == "abandoned"


def test_a_broken_answer_is_broken_behind_nginx_too(front, voice, record):
    said = []
    with pytest.raises(Broken):
        said.extend(voice(front, "/truncate one two three"))
    assert record()["outcome"] == "truncated"
