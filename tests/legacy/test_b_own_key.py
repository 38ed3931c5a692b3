"""B8: `[compat] bring_your_own_key`: `opts.key` may be the caller's own, for the configured provider only."""

import b_client
import pytest
from b_client import FAILED
from relays import SECRET_KEY

from gateway import House
from upstream import stream, unary

OWN = "sk-of-the-caller-1234567890"


@pytest.fixture(scope="module")
def open_to_keys(upstream, start_relay):
    lane = upstream.lane("own-key", "openai")
    running = start_relay(
        {"SECRET_KEY": SECRET_KEY},
        slots=0,
        providers=[House.provider(lane)],
        server={"default_model": "own-key/m"},
        compat={"bring_your_own_key": True},
    )
    running.model_lane = lane
    return running


@pytest.fixture
def asked(open_to_keys):
    lane = open_to_keys.model_lane
    lane.requests.clear()
    return lane.always(lambda request: stream(lane.speaker.events(["yes"])))


@pytest.mark.parametrize("mode", ["1", "2"])
def test_B8_the_callers_key_goes_to_the_configured_provider_and_nowhere_else(open_to_keys, asked, upstream, mode):
    elsewhere = upstream.lane("own-elsewhere", "openai")
    options = {"apiBaseUrl": elsewhere.root, "apiReverseProxyUrl": elsewhere.root}
    found = b_client.data(b_client.ask(open_to_keys, OWN, "hi", mode, opts=options))
    assert found["text"] == "yes"
    [request] = asked.requests
    assert request.credential == OWN
    assert elsewhere.requests == []


def test_B8_a_key_of_ours_never_leaves_the_house(open_to_keys, asked):
    b_client.data(b_client.ask(open_to_keys, open_to_keys.owner(), "hi"))
    [request] = asked.requests
    assert request.credential.startswith("upstream-key")


def test_B8_a_key_that_the_provider_rejects_rests_nobody_elses(open_to_keys, asked):
    asked.play(unary(b'{"error":{"message":"no"}}', status=401))
    refused = b_client.refusal(b_client.ask(open_to_keys, OWN, "hi"), 500)
    assert refused.startswith(FAILED)
    assert OWN not in refused
    for token in (OWN, open_to_keys.owner()):
        assert b_client.data(b_client.ask(open_to_keys, token, "hi"))["text"] == "yes"


def test_B8_two_callers_with_keys_of_their_own_share_no_conversation(open_to_keys, asked):
    first = b_client.data(b_client.ask(open_to_keys, OWN, "secret"))
    stranger = b_client.ask(open_to_keys, OWN + "9", "what?", parent=first["id"])
    assert stranger.status == 404
    again = b_client.data(b_client.ask(open_to_keys, OWN, "more", parent=first["id"]))
    assert again["text"] == "yes"
    assert [m["content"] for m in asked.requests[-1].json["messages"]] == ["secret", "yes", "more"]


def test_B8_switched_off_such_a_key_is_refused(relay):
    assert b_client.ask(relay, OWN, "hi").status == 401
