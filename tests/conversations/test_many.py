"""Fifty conversations at once, in every dialect, and none hears another's words."""

from concurrent.futures import ThreadPoolExecutor

from c_clients import mint, told
from speakers import SPEAKERS, listed, read, rows

from upstream import stream

TURNS = 3


def echoing(lane):
    """A model that says back what it was asked last, in pieces."""
    speaker = lane.speaker
    return lane.always(lambda request: stream(speaker.events(["you said: ", *told(request)[-1][1]])))


def converse(relay, speaker, number, key):
    """One conversation of several turns; returns its id."""
    name = f"c{number:02}"
    said = speaker(relay, key).turn(f"{name} turn 0")
    assert said.text == f"you said: {name} turn 0"
    for turn in range(1, TURNS):
        again = speaker(relay, key).turn(f"{name} turn {turn}", said.conversation_id, said.message_id)
        assert again.text == f"you said: {name} turn {turn}"
        assert again.conversation_id == said.conversation_id
        said = again
    return said.conversation_id


def test_fifty_conversations_at_once(relay, lane):
    echoing(lane)
    keys = [mint(relay, f"many-{number % 5}") for number in range(50)]
    speakers = [SPEAKERS[number % len(SPEAKERS)] for number in range(50)]
    with ThreadPoolExecutor(50) as pool:
        ids = list(pool.map(converse, [relay] * 50, speakers, range(50), keys, timeout=60))
    assert len(set(ids)) == 50
    for number, id_ in enumerate(ids):
        said = [content for _, content, _ in rows(read(relay, id_, keys[number]))]
        name = f"c{number:02}"
        turns = [f"{name} turn {turn}" for turn in range(TURNS)]
        assert said == [row for turn in turns for row in (turn, f"you said: {turn}")]
    for number in range(5):
        mine = {row["id"] for row in listed(relay, keys[number], "?limit=100")["conversations"]}
        assert mine == set(ids[number::5])
    for request in lane.requests:
        names = {text.removeprefix("you said: ")[:3] for _, text in told(request)}
        assert len(names) == 1, names
