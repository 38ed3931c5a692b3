"""The `openai` package's other end points pass through to the provider, in both directions unchanged."""

import base64
import json
import struct

import httpx2
import openai
import pytest

SOUND = bytes(range(256)) * 300
VECTOR = [0.5, -1.25, 3.0]


@pytest.fixture(params=["sync", "async"])
def caller(request, gateway, callers):
    return callers(openai.OpenAI if request.param == "sync" else openai.AsyncOpenAI, f"{gateway.url}/v1")


@pytest.fixture
def model(models):
    return models("openai")


def test_embeddings(caller, model):
    packed = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
    model.answers(
        {
            "object": "list",
            "model": "m",
            "data": [{"object": "embedding", "index": 0, "embedding": packed}],
            "usage": {"prompt_tokens": 4, "total_tokens": 4},
        }
    )
    made = caller.ask(lambda client: client.embeddings.create(model=model.name, input=["one", "två"], dimensions=3))
    assert made.data[0].embedding == VECTOR
    assert made.usage.prompt_tokens == 4
    assert model.path() == "/v1/embeddings"
    asked = model.asked()
    assert (asked["model"], asked["input"], asked["dimensions"]) == ("m", ["one", "två"], 3)


def test_moderations(caller, model):
    model.answers({"id": "modr-1", "model": "m", "results": [{"flagged": True, "categories": {"hate": True}}]})
    judged = caller.ask(lambda client: client.moderations.create(model=model.name, input="grr"))
    assert judged.results[0].flagged
    assert model.path() == "/v1/moderations"
    assert model.asked() == {"model": "m", "input": "grr"}


def test_legacy_completions(caller, model):
    choice = {"index": 0, "text": " world", "finish_reason": "stop", "logprobs": None}
    model.answers(
        {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    )
    made = caller.ask(lambda client: client.completions.create(model=model.name, prompt="Hello"))
    assert made.choices[0].text == " world"
    assert model.path() == "/v1/completions"
    assert model.asked()["model"] == "m"


def test_images(caller, model):
    model.answers({"created": 1, "data": [{"b64_json": base64.b64encode(SOUND).decode()}]})
    made = caller.ask(lambda client: client.images.generate(model=model.name, prompt="A dragon", size="256x256"))
    assert base64.b64decode(made.data[0].b64_json) == SOUND
    assert model.path() == "/v1/images/generations"
    assert model.asked() == {"model": "m", "prompt": "A dragon", "size": "256x256"}


def test_image_edit_sends_files(caller, model):
    model.answers({"created": 1, "data": [{"b64_json": "AAAA"}]})
    pictures = [("one.png", SOUND, "image/png"), ("two.png", SOUND[::-1], "image/png")]
    caller.ask(lambda client: client.images.edit(model=model.name, prompt="Bigger", image=pictures))
    assert model.path() == "/v1/images/edits"
    form = model.form()
    assert form["model"] == [b"m"]
    assert form["prompt"] == [b"Bigger"]
    assert form["image[]"] == [SOUND, SOUND[::-1]]


def test_transcription(caller, model):
    model.answers({"text": "hello there"})
    heard = caller.ask(
        lambda client: client.audio.transcriptions.create(
            model=model.name, file=("speech.wav", SOUND, "audio/wav"), language="en"
        )
    )
    assert heard.text == "hello there"
    assert model.path() == "/v1/audio/transcriptions"
    assert model.form() == {"model": [b"m"], "language": [b"en"], "file": [SOUND]}


@pytest.mark.parametrize("order", ["model first", "file first"])
def test_transcription_in_either_order(gateway, model, order):
    """The model's name may stand behind megabytes of sound; the provider still gets its own name for it."""
    model.answers({"text": "hello there"})
    sound = SOUND * 20
    parts = [
        ("model", (None, model.name)),
        ("file", ("speech.wav", sound, "audio/wav")),
        ("language", (None, "en")),
    ]
    if order == "file first":
        parts = [parts[1], parts[2], parts[0]]
    answer = httpx2.post(
        f"{gateway.url}/v1/audio/transcriptions",
        headers={"authorization": "Bearer test-key"},
        files=parts,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"text": "hello there"}
    form = model.form()
    assert form == {"model": [b"m"], "language": [b"en"], "file": [sound]}
    assert list(form) == [name for name, _ in parts]


def test_transcription_without_a_model_names_the_field(gateway):
    answer = httpx2.post(
        f"{gateway.url}/v1/audio/transcriptions",
        headers={"authorization": "Bearer test-key"},
        files=[("file", ("speech.wav", SOUND, "audio/wav"))],
        trust_env=False,
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "model"


def test_speech_is_a_binary_stream(caller, model):
    model.streams_bytes([SOUND[start : start + 7000] for start in range(0, len(SOUND), 7000)], "audio/mpeg")
    spoken = caller.bytes_of(
        lambda client: client.audio.speech.with_streaming_response.create(model=model.name, voice="alloy", input="Roar")
    )
    assert spoken == SOUND
    assert model.path() == "/v1/audio/speech"
    assert model.asked()["model"] == "m"


def test_speech_that_breaks_is_no_short_sound(caller, fresh_models):
    model = fresh_models("openai")
    model.streams_bytes([SOUND[:7000]], "audio/mpeg", whole=False)
    with pytest.raises((openai.APIError, httpx2.TransportError)):
        caller.bytes_of(
            lambda client: client.audio.speech.with_streaming_response.create(
                model=model.name, voice="alloy", input="Roar"
            )
        )


def test_errors_of_the_provider_come_through(caller, model):
    model.refuses(400, "Unknown voice.")
    with pytest.raises(openai.BadRequestError, match="Unknown voice"):
        caller.ask(lambda client: client.audio.speech.create(model=model.name, voice="nobody", input="Roar"))


def test_unknown_model(callers, strict_gateway):
    caller = callers(openai.OpenAI, f"{strict_gateway.url}/v1")
    with pytest.raises(openai.NotFoundError) as refused:
        caller.ask(lambda client: client.embeddings.create(model="parot", input="x"))
    assert "parrot" in refused.value.message


def test_wrong_key_before_a_large_upload(gateway, model):
    before = model.count()
    answer = httpx2.post(
        f"{gateway.url}/v1/audio/transcriptions",
        headers={"authorization": "Bearer wrong"},
        files=[("model", (None, model.name)), ("file", ("speech.wav", SOUND * 20, "audio/wav"))],
        trust_env=False,
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"]
    assert model.count() == before


def test_provider_of_another_kind_says_what_it_cannot(caller, models):
    other = models("anthropic")
    with pytest.raises(openai.BadRequestError) as refused:
        caller.ask(lambda client: client.embeddings.create(model=other.name, input="x"))
    assert json.dumps(refused.value.body)
    assert refused.value.message
