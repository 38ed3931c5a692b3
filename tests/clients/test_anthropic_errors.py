"""What goes wrong behind the gateway reaches users of the `anthropic` package as the exceptions they expect."""

import anthropic
import pytest

ASK = [{"role": "user", "content": "one two three four"}]


@pytest.fixture(params=["sync", "async"])
def caller(request, gateway, callers):
    return callers(anthropic.Anthropic if request.param == "sync" else anthropic.AsyncAnthropic, gateway.url)


@pytest.fixture(params=["anthropic", "openai"])
def model(request, fresh_models):
    return fresh_models(request.param)


def create(caller, name, **more):
    return caller.ask(lambda client: client.messages.create(model=name, max_tokens=100, messages=ASK, **more))


def text_of(events):
    return "".join(event.delta.text for event in events if event.type == "content_block_delta")


def test_wrong_key(caller, model):
    with pytest.raises(anthropic.AuthenticationError) as refused:
        create(caller.like(api_key="wrong"), model.name)
    assert refused.value.type == "authentication_error"


@pytest.mark.parametrize("package", [anthropic.Anthropic, anthropic.AsyncAnthropic])
def test_unknown_model_names_the_nearest(callers, strict_gateway, package):
    with pytest.raises(anthropic.NotFoundError) as refused:
        create(callers(package, strict_gateway.url), "parot")
    assert refused.value.type == "not_found_error"
    assert "parrot" in refused.value.api_message


def test_refusal_by_the_provider_is_passed_on(caller, model):
    model.refuses(400, "The prompt is too long: 9 tokens.")
    for stream in (False, True):
        with pytest.raises(anthropic.BadRequestError) as refused:
            create(caller, model.name, stream=stream)
        assert refused.value.type == "invalid_request_error"
        assert "too long: 9 tokens" in refused.value.api_message


def test_busy_provider(caller, busy_model):
    with pytest.raises(anthropic.RateLimitError) as refused:
        create(caller, busy_model)
    assert refused.value.type == "rate_limit_error"
    assert int(refused.value.response.headers["retry-after"]) >= 1


def test_failing_provider(caller, failing_model):
    with pytest.raises(anthropic.InternalServerError) as refused:
        create(caller, failing_model)
    assert refused.value.status_code in (502, 503)
    assert refused.value.type in ("api_error", "overloaded_error")


@pytest.mark.parametrize("end", ["cut", "short", "error"])
def test_broken_stream_is_no_short_answer(caller, model, end):
    """A connection that is lost, a message without its end, and a provider that says so itself."""
    model.breaks_after(["one ", "two "], end)
    seen = []
    with pytest.raises(anthropic.APIError) as broken:
        caller.iterate(
            lambda client: client.messages.create(model=model.name, max_tokens=100, messages=ASK, stream=True),
            seen,
        )
    assert text_of(seen) == "one two "
    assert not {"message_delta", "message_stop"} & {event.type for event in seen}
    assert broken.value.type in ("api_error", "overloaded_error")


@pytest.mark.parametrize("end", ["cut", "short", "error"])
def test_stream_helper_does_not_end_well_either(caller, model, end):
    model.breaks_after(["one ", "two "], end)
    with pytest.raises(anthropic.APIError):
        caller.within(
            lambda client: client.messages.stream(model=model.name, max_tokens=100, messages=ASK),
            lambda running: running.get_final_message(),
        )


def test_broken_whole_answer(caller, model):
    model.breaks_whole()
    with pytest.raises(anthropic.InternalServerError) as broken:
        create(caller, model.name)
    assert broken.value.status_code == 502


def test_echo_that_truncates(caller, truncating_model):
    seen = []
    with pytest.raises(anthropic.APIError):
        caller.iterate(
            lambda client: client.messages.create(model=truncating_model, max_tokens=100, messages=ASK, stream=True),
            seen,
        )
    assert text_of(seen).split() == ["one", "two"]
    assert "message_stop" not in {event.type for event in seen}


def test_what_openai_cannot_do_is_refused_not_dropped(caller, fresh_models):
    """A server tool runs at the vendor's: no OpenAI-compatible server could answer as if it had run."""
    model = fresh_models("openai")
    model.says(["never"])
    with pytest.raises(anthropic.BadRequestError) as refused:
        create(caller, model.name, tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert "tools" in refused.value.api_message or "web_search" in refused.value.api_message


def test_retries_of_the_package_work(caller, model):
    """A client with its own retries, as everybody has it, gets its answer in the end."""
    model.fails_once_then(["fine"])
    answer = create(caller.like(max_retries=4), model.name)
    assert answer.content[0].text == "fine"
