"""What goes wrong behind the gateway reaches users of the `openai` package as the exceptions they expect."""

import openai
import pytest

ASK = [{"role": "user", "content": "one two three four"}]


@pytest.fixture(params=["sync", "async"])
def caller(request, gateway, callers):
    return callers(openai.OpenAI if request.param == "sync" else openai.AsyncOpenAI, f"{gateway.url}/v1")


@pytest.fixture(params=["openai", "anthropic"])
def model(request, fresh_models):
    return fresh_models(request.param)


def complete(caller, name, **more):
    return caller.ask(lambda client: client.chat.completions.create(model=name, messages=ASK, **more))


def test_wrong_key(caller, model):
    with pytest.raises(openai.AuthenticationError) as refused:
        complete(caller.like(api_key="wrong"), model.name)
    assert refused.value.status_code == 401
    assert isinstance(refused.value.body, dict)
    assert refused.value.code


@pytest.mark.parametrize("package", [openai.OpenAI, openai.AsyncOpenAI])
def test_unknown_model_names_the_nearest(callers, strict_gateway, package):
    with pytest.raises(openai.NotFoundError) as refused:
        complete(callers(package, f"{strict_gateway.url}/v1"), "parot")
    assert "parrot" in refused.value.message
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"


def test_refusal_by_the_provider_is_passed_on(caller, model):
    model.refuses(400, "The prompt is too long: 9 tokens.")
    with pytest.raises(openai.BadRequestError, match="too long: 9 tokens"):
        complete(caller, model.name)
    with pytest.raises(openai.BadRequestError, match="too long: 9 tokens"):
        complete(caller, model.name, stream=True)


def test_busy_provider(caller, busy_model):
    with pytest.raises(openai.RateLimitError) as refused:
        complete(caller, busy_model)
    assert int(refused.value.response.headers["retry-after"]) >= 1


def test_failing_provider(caller, failing_model):
    with pytest.raises(openai.InternalServerError) as refused:
        complete(caller, failing_model)
    assert refused.value.status_code in (502, 503)
    assert isinstance(refused.value.body, dict)


@pytest.mark.parametrize("end", ["cut", "short", "error"])
def test_broken_stream_is_no_short_answer(caller, model, end):
    """A connection that is lost, a message without its end, and a provider that says so itself."""
    model.breaks_after(["one ", "two "], end)
    seen = []
    with pytest.raises(openai.APIError) as broken:
        caller.iterate(lambda client: client.chat.completions.create(model=model.name, messages=ASK, stream=True), seen)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in seen) == "one two "
    assert not any(chunk.choices[0].finish_reason for chunk in seen)
    assert broken.value.body["message"]
    assert broken.value.body["type"]


@pytest.mark.parametrize("end", ["cut", "short", "error"])
def test_stream_helper_does_not_end_well_either(caller, model, end):
    model.breaks_after(["one ", "two "], end)
    with pytest.raises(openai.APIError):
        caller.within(
            lambda client: client.chat.completions.stream(model=model.name, messages=ASK),
            lambda running: running.get_final_completion(),
        )


def test_broken_whole_answer(caller, model):
    model.breaks_whole()
    with pytest.raises(openai.InternalServerError) as broken:
        complete(caller, model.name)
    assert broken.value.status_code == 502


def test_echo_that_truncates(caller, truncating_model):
    seen = []
    with pytest.raises(openai.APIError):
        caller.iterate(
            lambda client: client.chat.completions.create(model=truncating_model, messages=ASK, stream=True),
            seen,
        )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in seen).split() == ["one", "two"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [("/fail", openai.InternalServerError), ("/busy", openai.RateLimitError), ("/truncate", openai.APIError)],
)
def test_echo_is_told_by_the_prompt(caller, fresh_echo, word, expected):
    messages = [{"role": "user", "content": f"{word} one two three"}]
    with pytest.raises(expected):
        caller.iterate(
            lambda client: client.chat.completions.create(model=f"{fresh_echo}/echo", messages=messages, stream=True)
        )


def test_echo_that_stalls_can_be_left(caller, fresh_echo):
    """Two words come, then nothing: the caller's own patience ends it."""
    seen = []
    with pytest.raises(openai.APITimeoutError):
        caller.like(timeout=0.5).iterate(
            lambda client: client.chat.completions.create(model=f"{fresh_echo}/echo-stall", messages=ASK, stream=True),
            seen,
        )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in seen).split() == ["one", "two"]


def test_retries_of_the_package_work(caller, model):
    """A client with its own retries, as everybody has it, gets its answer in the end."""
    model.fails_once_then(["fine"])
    answer = complete(caller.like(max_retries=4), model.name)
    assert answer.choices[0].message.content == "fine"
