"""Several credentials, several targets: who is asked, who rests, who steps in."""

import time

import pytest
from asking import OFF, ask, complete

from upstream import close, hold, stream, unary


def pool(vendor, credentials, models="", upstream=""):
    """A gateway's configuration: one provider at the scripted upstream, and public models on it."""
    return f"""
        {OFF}
        [auth]
        keys = ["test-key"]
        [upstream]
        connect_s = 2
        {upstream}
        [[providers]]
        name = "vendor"
        kind = "openai"
        base_url = "{vendor.base_url}"
        credentials = {credentials}
        models = ["*"]
        {models}
    """


def route(name, targets, fallbacks=()):
    def listed(models):
        return "[" + ", ".join(f'{{ provider = "vendor", model = "{m}", weight = {w} }}' for m, w in models) + "]"

    lines = f'[[models]]\nname = "{name}"\ntargets = {listed(targets)}\n'
    return lines + (f"fallbacks = {listed([(m, 1) for m in fallbacks])}\n" if fallbacks else "")


def says(vendor, text="fine"):
    return unary(vendor.speaker.whole(text))


def fails(vendor, status=500, kind="server_error", message="No.", headers=None):
    return unary(vendor.speaker.refusal(message, kind), status, headers)


def keys_asked(vendor):
    return [request.credential for request in vendor.requests]


def models_asked(vendor):
    return [request.json["model"] for request in vendor.requests]


# --- weights --------------------------------------------------------------------------------------


def test_credentials_are_chosen_by_weight(vendor, start_gateway):
    gateway = start_gateway(pool(vendor, '[{ value = "heavy", weight = 3 }, "light"]'))
    vendor.always(says(vendor))
    for _ in range(200):
        assert complete(gateway, "vendor/m").status == 200
    keys = keys_asked(vendor)
    assert set(keys) == {"heavy", "light"}
    # Five standard deviations of a fair draw.
    assert 120 <= keys.count("heavy") <= 180


def test_targets_are_chosen_by_weight(vendor, start_gateway):
    gateway = start_gateway(pool(vendor, '["k"]', route("mixed", [("rare", 1), ("often", 3)])))
    vendor.always(says(vendor))
    for _ in range(200):
        assert complete(gateway, "mixed").status == 200
    models = models_asked(vendor)
    assert set(models) == {"rare", "often"}
    assert 120 <= models.count("often") <= 180


# --- who steps in ---------------------------------------------------------------------------------


def only(vendor, model):
    """All models fail but one."""
    return lambda request: says(vendor, f"by {model}") if request.json["model"] == model else fails(vendor)


def test_fallbacks_are_tried_in_order(vendor, start_gateway):
    fast = route("fast", [("first", 1)], ["second", "third", "fourth"])
    gateway = start_gateway(pool(vendor, '["k"]', fast, "attempts = 8"))
    vendor.always(only(vendor, "third"))
    answer = complete(gateway, "fast")
    assert (answer.status, answer.text) == (200, "by third")
    assert list(dict.fromkeys(models_asked(vendor))) == ["first", "second", "third"]


def test_other_targets_come_before_fallbacks(vendor, start_gateway):
    fast = route("fast", [("one", 1), ("two", 1)], ["last"])
    gateway = start_gateway(pool(vendor, '["k"]', fast, "attempts = 8"))
    vendor.always(only(vendor, "last"))
    assert complete(gateway, "fast").text == "by last"
    order = list(dict.fromkeys(models_asked(vendor)))
    assert set(order[:2]) == {"one", "two"}
    assert order[2:] == ["last"]


def test_fallback_of_another_kind(start_gateway, dead_port):
    gateway = start_gateway(f"""
        {OFF}
        [auth]
        keys = ["test-key"]
        [[providers]]
        name = "gone"
        kind = "anthropic"
        base_url = "http://127.0.0.1:{dead_port}"
        credentials = ["k"]
        models = ["*"]
        [[providers]]
        name = "parrots"
        kind = "echo"
        [[models]]
        name = "safe"
        targets = [{{ provider = "gone", model = "m" }}]
        fallbacks = [{{ provider = "parrots", model = "echo" }}]
    """)
    answer = complete(gateway, "safe")
    assert (answer.status, answer.text) == (200, "hello there")
    streamed = complete(gateway, "safe", stream=True)
    assert b"[DONE]" in streamed.body


def test_silence_is_given_up_in_time(vendor, start_gateway):
    fast = route("fast", [("mute", 1)], ["quick"])
    gateway = start_gateway(pool(vendor, '["k"]', fast, "first_byte_s = 0.3\nattempts = 2"))
    vendor.always(lambda request: [hold()] if request.json["model"] == "mute" else says(vendor, "quick"))
    started = time.monotonic()
    assert complete(gateway, "fast").text == "quick"
    assert time.monotonic() - started < 3


def test_silence_alone_is_a_timeout(vendor, start_gateway):
    gateway = start_gateway(pool(vendor, '["k"]', "", "first_byte_s = 0.3\nattempts = 1"))
    vendor.always([hold()])
    answer = complete(gateway, "vendor/mute")
    assert answer.status == 504
    assert answer.json["error"]["message"]


def test_refused_requests_are_not_tried_elsewhere(vendor, start_gateway):
    gateway = start_gateway(pool(vendor, '["k"]', route("fast", [("first", 1)], ["second"])))
    vendor.always(fails(vendor, 400, "invalid_request_error", "Too many pictures."))
    answer = complete(gateway, "fast")
    assert answer.status == 400
    assert "Too many pictures." in answer.json["error"]["message"]
    assert models_asked(vendor) == ["first"]


def test_nothing_is_tried_again_after_the_first_byte(vendor, start_gateway):
    gateway = start_gateway(pool(vendor, '["k1", "k2"]', route("fast", [("first", 1)], ["second"])))
    pieces = [*vendor.speaker.opening(), vendor.speaker.text("one "), vendor.speaker.text("two ")]
    vendor.always([*stream(pieces, end=False), close])
    answer = complete(gateway, "fast", stream=True)
    assert b"two " in answer.body
    assert b"[DONE]" not in answer.body
    assert b'"error"' in answer.body
    assert models_asked(vendor) == ["first"]


def test_requests_are_not_tried_forever(vendor, start_gateway):
    gateway = start_gateway(pool(vendor, '["k"]', route("fast", [("a", 1)], list("bcdefgh")), "attempts = 3"))
    vendor.always(fails(vendor))
    assert complete(gateway, "fast").status == 502
    assert len(vendor.requests) == 3


def test_named_provider_alone_is_asked(upstream, vendor, start_gateway):
    """`provider/model` means that provider, however many others would take any name."""
    other = upstream.lane(f"{vendor.name}-other", "openai")
    second = f"""
        [[providers]]
        name = "other"
        kind = "openai"
        base_url = "{other.base_url}"
        credentials = ["k"]
        models = ["*"]
    """
    gateway = start_gateway(pool(vendor, '["k"]', second))
    vendor.always(says(vendor))
    other.always(says(other))
    for _ in range(10):
        assert complete(gateway, "vendor/m").status == 200
    assert models_asked(vendor) == ["m"] * 10
    assert other.requests == []


# --- who rests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 402, 403])
def test_rejected_credential_rests_and_the_other_serves(vendor, start_gateway, status):
    gateway = start_gateway(pool(vendor, '["bad", "good"]'))
    vendor.always(lambda request: says(vendor) if request.credential == "good" else fails(vendor, status, "no_access"))
    for _ in range(30):
        assert complete(gateway, "vendor/m").status == 200
    assert keys_asked(vendor).count("bad") == 1


def test_rejected_credential_is_not_the_callers_fault(vendor, start_gateway):
    gateway = start_gateway(pool(vendor, '["sk-canary-bad-0001"]'))
    message = "Incorrect API key provided: sk-canary-bad-0001."
    vendor.always(fails(vendor, 401, "invalid_api_key", message))
    answers = [complete(gateway, "vendor/m") for _ in range(3)]
    assert answers[0].status == 502
    assert {answer.status for answer in answers[1:]} <= {502, 503}
    assert all(b"canary" not in answer.body for answer in answers)
    assert len(vendor.requests) == 1
    assert "canary" not in gateway.output()


def test_busy_credential_rests_for_as_long_as_it_asks(vendor, start_gateway):
    gateway = start_gateway(pool(vendor, '["a", "b"]'))
    used_at = []

    def answer(request):
        if request.credential == "a":
            used_at.append(request.at)
            if len(used_at) == 1:
                return fails(vendor, 429, "rate_limit_exceeded", headers={"retry-after": "2"})
        return says(vendor)

    vendor.always(answer)
    deadline = time.monotonic() + 10
    while len(used_at) < 2 and time.monotonic() < deadline:
        assert complete(gateway, "vendor/m").status == 200
    assert len(used_at) == 2, "the credential was never used again"
    assert used_at[1] - used_at[0] >= 1.9


def test_sole_busy_credential_tells_when_to_come_back(vendor, start_gateway):
    gateway = start_gateway(pool(vendor, '["a"]'))
    vendor.always(fails(vendor, 429, "rate_limit_exceeded", headers={"retry-after": "7"}))
    for _ in range(2):
        answer = complete(gateway, "vendor/m")
        assert answer.status == 429
        assert 5 <= int(answer.headers["retry-after"]) <= 8
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("value", ["-5", "soon", "99999999999", "", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_odd_rests_are_kept_within_bounds(vendor, start_gateway, value):
    gateway = start_gateway(pool(vendor, '["a"]'))
    vendor.always(fails(vendor, 429, "rate_limit_exceeded", headers={"retry-after": value}))
    answer = complete(gateway, "vendor/m")
    assert answer.status == 429
    assert 1 <= int(answer.headers.get("retry-after", 1)) <= 24 * 3600


def test_failing_provider_recovers(vendor, start_gateway):
    """Failures open the breaker; when the provider is well again, a probe finds out by itself."""
    gateway = start_gateway(pool(vendor, '["a"]', "", "attempts = 1"))
    vendor.always(fails(vendor))
    for _ in range(20):
        assert complete(gateway, "vendor/m").status in (502, 503)
    assert len(vendor.requests) < 20, "the breaker never opened"
    vendor.always(says(vendor, "well again"))
    deadline = time.monotonic() + 30
    while (answer := complete(gateway, "vendor/m")).status != 200 and time.monotonic() < deadline:
        assert answer.status in (502, 503)
    assert answer.text == "well again"


# --- what is told about them ----------------------------------------------------------------------


def test_models_in_both_shapes(vendor, start_gateway):
    gateway = start_gateway(pool(vendor, '["k"]', route("fast", [("m", 1)]) + route("slow", [("n", 1)])))
    openai = ask(gateway, "/v1/models").json
    assert openai["object"] == "list"
    assert {"fast", "slow"} <= {card["id"] for card in openai["data"]}
    assert all(card["object"] == "model" and isinstance(card["created"], int) for card in openai["data"])
    anthropic = ask(gateway, "/v1/models", headers={"anthropic-version": "2023-06-01"}).json
    assert {"fast", "slow"} <= {card["id"] for card in anthropic["data"]}
    assert all(card["type"] == "model" and card["display_name"] for card in anthropic["data"])
    assert anthropic["has_more"] is False


def test_models_need_a_key(vendor, start_gateway):
    gateway = start_gateway(pool(vendor, '["k"]'))
    assert ask(gateway, "/v1/models", key=None).status == 401
    refused = ask(gateway, "/v1/models", key=None, headers={"anthropic-version": "2023-06-01"})
    assert (refused.status, refused.json["type"]) == (401, "error")


def probed(gateway):
    """The line to paste is printed after every provider was asked whether it is up."""
    gateway.wait_for(lambda: "curl" in gateway.output(), timeout_s=15)
    return gateway


def test_health_needs_no_key(vendor, start_gateway):
    gateway = probed(start_gateway(pool(vendor, '["k"]')))
    for path in ("/health/live", "/health/ready"):
        answer = ask(gateway, path, key=None)
        assert answer.status == 200
        assert vendor.base_url.encode() not in answer.body


def test_liveness_never_touches_a_provider(vendor, start_gateway):
    gateway = probed(start_gateway(pool(vendor, '["k"]')))
    before = (len(vendor.requests), vendor.probes)
    for _ in range(50):
        assert ask(gateway, "/health/live", key=None).status == 200
    assert (len(vendor.requests), vendor.probes) == before


def test_not_ready_without_any_provider(start_gateway, dead_port):
    gateway = start_gateway(f"""
        {OFF}
        [[providers]]
        name = "gone"
        kind = "openai"
        base_url = "http://127.0.0.1:{dead_port}/v1"
        credentials = ["k"]
    """)
    assert ask(probed(gateway), "/health/ready", key=None).status == 503
    assert ask(gateway, "/health/live", key=None).status == 200
