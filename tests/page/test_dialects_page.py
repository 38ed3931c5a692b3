"""The screen of all ways in: every card is tried in a real browser, its snippets run as somebody would who pastes them."""

import json
import os
import re
import subprocess
import sys

import pytest
from visiting import PHONE, master_key

from gateway import KEY, OURS, free_port

SECRET = "a secret of System A"
# What breaks quoting somewhere: shell, JSON, Python, JavaScript, and the fields of System C's frames.
NASTY = "a \"quoted\" 'text' $HOME $(id) `id` \\n \\\\ %s {x} ${y} '''x''' !$\nsecond line 👋🏽 é <b> end!"
SOME_S = 60
ENDED = ".ending"

# Each card that a browser can try, and what it says of "Hello!".
SAYS = {
    "openai": "Hello!",
    "anthropic": "Hello!",
    "api-chat": "Hello!",
    "events-ws": "Hello!",
    "event": "0145\n1145",
    "chat-events": "Hello!",
    "conv-list": "in all. The first is “Hello!”",
    "conv-ask": "Hello!",
    "getinfo": "Hello!",
    "ask": "Hello!",
    "websocket": "Hello!",
    "chat-lines": "Hello!",
    "backend-api": "Hello!",
}
TALKS = ("api-chat", "events-ws", "conv-ask", "getinfo", "ask", "websocket", "backend-api")


@pytest.fixture(scope="module")
def gateway(start_gateway):
    """One that listens everywhere."""
    server = {"websocket_port": free_port(), "grpc_port": free_port()}
    echo = {"name": "echo", "kind": "echo"}
    return start_gateway(
        {"server": server, "auth": {"keys": [KEY]}, "compat": {"secret_key": SECRET}, "providers": [echo]}
    )


@pytest.fixture
def screen(visit, gateway):
    return Dialects(visit(gateway).forgive("Failed to load resource").login(at="#/dialects"))


class Dialects:
    """The screen, as a person uses it."""

    def __init__(self, page):
        self.page = page
        page.locator("#dialect-backend-api pre.code").wait_for()

    def card(self, name):
        return self.page.locator(f"#dialect-{name}")

    def ask(self, text, model="echo"):
        self.page.get_by_label("Question").fill(text)
        self.page.get_by_label("Model").select_option(model)

    def attempt(self, name):
        """Try a card; returns how it ended, in its words."""
        card = self.card(name)
        card.get_by_role("button", name="Try it").click()
        card.locator(ENDED).wait_for()
        return card.locator(ENDED).inner_text()

    def said(self, name):
        return self.card(name).get_by_role("group", name="Text of the answer").inner_text().strip()

    def frames(self, name):
        return self.card(name).get_by_label("Frames as they arrive").locator("pre").all_inner_texts()

    def ids(self, name):
        rows = self.card(name).locator(".ids")
        return dict(zip(rows.locator("dt").all_inner_texts(), rows.locator("dd").all_inner_texts(), strict=True))

    def ask_on(self, name):
        self.card(name).get_by_role("button", name="Ask on in this conversation").click()

    def snippet(self, name, language):
        """What the copy button puts on the clipboard."""
        card = self.card(name)
        card.get_by_role("tab").nth(("curl", "python", "javascript").index(language)).click()
        copy = card.locator("button", has_text=re.compile("Copy|Copied")).first
        copy.click()
        card.get_by_role("button", name="Copied").wait_for()
        return self.page.evaluate("navigator.clipboard.readText()")


def test_every_card_answers(screen):
    for name, said in SAYS.items():
        assert screen.attempt(name).startswith("Complete"), name
        assert said in screen.said(name), name
        assert screen.frames(name), name
        if name in TALKS:
            assert "parent" in screen.ids(name), name


def test_a_card_shows_raw_frames_and_the_head_of_the_answer(screen):
    screen.ask("one\u202etwo")
    screen.attempt("chat-lines")
    # A mark that turns the direction of writing is shown, not obeyed.
    assert screen.frames("chat-lines") == [
        '{"done":false,"error":false,"content":"one\\u{202e}two"}↵\n',
        '{"done":true,"error":false,"content":"[DONE]"}',
    ]
    head = screen.card("chat-lines").locator(".results").inner_text()
    assert "200 OK" in head
    assert "content-type: application/x-ndjson" in head
    assert re.search(r"\d+ ms · 55 bytes|\d+ ms · 5\d bytes", head)


@pytest.mark.parametrize("name", TALKS)
def test_a_conversation_is_carried_on(screen, name):
    screen.attempt(name)
    first = screen.ids(name)
    screen.ask_on(name)
    screen.ask("And on")
    assert screen.attempt(name).startswith("Complete")
    assert screen.said(name) == "And on"
    second = screen.ids(name)
    assert second["parent"] != first["parent"]
    assert second.get("conversation") == first.get("conversation")


def test_A_the_three_steps_of_the_sample_page(screen):
    screen.attempt("conv-ask")
    screen.attempt("conv-list")
    screen.ask_on("conv-list")
    assert screen.attempt("conv-read").startswith("Complete")
    assert screen.said("conv-read").startswith("“Hello!”")
    screen.ask_on("conv-read")
    screen.ask("Third step")
    screen.attempt("conv-ask")
    assert screen.said("conv-ask") == "Third step"
    assert screen.ids("conv-ask")["conversation"] == screen.ids("conv-list")["conversation"]


def test_A_a_token_is_made_and_used_as_the_key(screen):
    card = screen.card("token")
    card.get_by_label("SECRET_KEY").fill("wrong")
    assert "this is not the gateway’s SECRET_KEY" in screen.attempt("token")
    card.get_by_label("SECRET_KEY").fill(SECRET)
    assert "wrong" not in card.locator("pre.code").inner_text()
    assert SECRET not in card.locator("pre.code").inner_text()
    assert screen.attempt("token").startswith("Complete")
    card.get_by_role("button", name="Use it as the key").click()
    assert screen.attempt("conv-ask").startswith("Complete")
    token = json.loads(screen.frames("token")[0].replace("↵", ""))["token"]
    assert token in screen.snippet("conv-ask", "curl")


def test_B_a_login_that_fails_says_what_to_do(screen):
    card = screen.card("login")
    card.get_by_label("Name or e-mail").fill("nobody")
    card.get_by_label("Password").fill("a password")
    assert "dragoman user add" in screen.attempt("login")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("openai", "Refused with 401. The key was not accepted"),
        ("anthropic", "Refused with 401. The key was not accepted"),
        ("conv-list", "Refused with 403. The key was not accepted"),
        ("chat-events", "Refused with 403. The key was not accepted"),
        ("getinfo", "Refused with 401. The key was not accepted"),
        ("chat-lines", "Error: 权限不足"),
        ("websocket", "Error: This key is not valid"),
        ("events-ws", "Error: This key is not valid"),
    ],
)
def test_a_wrong_key_is_said_in_words(screen, name, words):
    screen.page.get_by_label("Another key").fill("wrong")
    assert words in screen.attempt(name)


def test_what_cannot_be_a_key_is_not_used(screen):
    screen.page.get_by_label("Another key").fill("schlüssel ключ")
    screen.page.get_by_text("This is no key").wait_for()
    assert screen.attempt("openai").startswith("Complete")


@pytest.mark.parametrize("name", ["openai", "anthropic", "chat-events", "chat-lines", "api-chat", "events-ws"])
def test_a_failure_and_a_cut_are_told_apart_from_an_end(screen, name):
    screen.ask("one two three four", "echo-truncate")
    ending = screen.attempt(name)
    assert ending.startswith(("Error", "Cut", "The connection was cut"))


def test_a_gateway_that_goes_away_leaves_what_was_said(visit, start_gateway):
    doomed = start_gateway({"auth": {"keys": [KEY]}, "providers": [{"name": "echo", "kind": "echo"}]})
    screen = Dialects(visit(doomed).forgive("Failed to load resource", "ERR_").login(at="#/dialects"))
    screen.ask("one two three four", "echo-stall")
    card = screen.card("openai")
    card.get_by_role("button", name="Try it").click()
    card.locator(".said", has_text="two").wait_for()
    doomed.process.kill()
    card.locator(ENDED, has_text="The connection was cut in mid-answer.").wait_for()
    assert screen.said("openai") == "one two"
    assert screen.page.get_by_label("Question").input_value() == "one two three four"


@pytest.mark.parametrize("name", ["openai", "chat-lines", "events-ws"])
def test_an_answer_is_stopped(screen, name):
    screen.ask("one two three four", "echo-stall")
    card = screen.card(name)
    card.get_by_role("button", name="Try it").click()
    card.locator(".said", has_text="two").wait_for()
    card.get_by_role("button", name="Stop").click()
    card.locator(ENDED).wait_for()
    assert card.locator(ENDED).inner_text().startswith("Stopped by you")
    assert not card.get_by_role("button", name="Stop").is_visible()


def test_a_flood_of_frames_is_read_whole_and_shown_in_part(screen):
    screen.ask("word " * 2500)
    assert screen.attempt("chat-lines").startswith("Complete")
    assert len(screen.frames("chat-lines")) == 2000
    assert "Read, but left out here: 501 more." in screen.card("chat-lines").inner_text()
    assert screen.said("chat-lines") == ("word " * 2500).strip()


# --- snippets, run as they are ---


def run(text, language, folder):
    command = ["bash", "-c", text] if language == "curl" else [sys.executable, "-c", text]
    clean = {name: value for name, value in os.environ.items() if not OURS.match(name)} | {"PYTHONUTF8": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SOME_S, cwd=folder, env=clean, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def text_in(name, output):
    """Read an answer as its client would."""
    if name == "ask":
        return json.loads(output)["message"]
    if name == "getinfo":
        return json.loads(output)["data"]["text"]
    if name == "chat-lines":
        return "".join(row["content"] for row in map(json.loads, output.splitlines()) if not row["done"])
    trees = [json.loads(data) for data in re.findall(r"^data: (\{.*)$", output, re.MULTILINE)]
    if name in ("conv-ask", "backend-api"):
        return trees[-1]["message"]["content"]["parts"][0]
    if name in ("openai", "chat-events"):
        return "".join(tree["choices"][0]["delta"].get("content") or "" for tree in trees if tree["choices"])
    if name == "anthropic":
        return "".join(tree["delta"]["text"] for tree in trees if tree["type"] == "content_block_delta")
    return "".join(tree["text"] for tree in trees if tree["type"] == "delta")


HTTP = ["openai", "anthropic", "api-chat", "chat-events", "conv-ask", "ask", "getinfo", "chat-lines", "backend-api"]


@pytest.mark.parametrize("name", HTTP)
def test_snippets_run_as_they_are(screen, name, tmp_path):
    screen.ask(NASTY)
    assert text_in(name, run(screen.snippet(name, "curl"), "curl", tmp_path)) == NASTY
    output = run(screen.snippet(name, "python"), "python", tmp_path)
    assert (output if name in ("openai", "anthropic") else text_in(name, output)) == NASTY
    status, *logged = in_browser(screen.page, screen.snippet(name, "javascript"))
    assert status in ("200", "201")
    assert text_in(name, "".join(logged)) == NASTY


def in_browser(page, text):
    """Run a module's text as the browser's console would; returns what it logs."""
    logged = []
    page.on("console", lambda said: logged.append(said.text) if said.type == "log" else None)
    console = page.context.new_cdp_session(page)
    console.send("Runtime.evaluate", {"expression": text, "replMode": True, "awaitPromise": True})
    return logged


def test_snippets_for_json_over_a_socket_run_as_they_are(screen, tmp_path):
    screen.ask(NASTY)
    output = run(screen.snippet("events-ws", "python"), "python", tmp_path).splitlines()
    for frames in (output, in_browser(screen.page, screen.snippet("events-ws", "javascript"))):
        assert "".join(row["text"] for row in map(json.loads, frames) if row["type"] == "delta") == NASTY


def test_snippets_for_text_over_a_socket_run_as_they_are(screen, tmp_path):
    screen.ask(NASTY)
    *frames, end = in_browser(screen.page, screen.snippet("websocket", "javascript"))
    assert "".join(frames) == NASTY
    assert re.fullmatch(r"<\|end\|>\$[0-9a-f-]{36}\$[0-9a-f-]{36}", end)
    # Here each frame is printed on a line of its own.
    said, _, _ = run(screen.snippet("websocket", "python"), "python", tmp_path).partition("<|end|>$")
    assert "".join(said.split()) == "".join(NASTY.split())


@pytest.mark.parametrize("name", ["grpc", "grpc-own"])
def test_snippets_for_grpc_run_as_they_are(screen, name, tmp_path):
    screen.ask("Hello, gRPC")
    card = screen.card(name)
    assert "A browser cannot speak gRPC" in card.inner_text()
    assert card.get_by_role("button", name="Try it").count() == 0
    assert "grpcurl" in screen.snippet(name, "curl")
    output = run(screen.snippet(name, "python"), "python", tmp_path)
    assert "gRPC" in output
    assert ("<|end|>" if name == "grpc" else "prompt_tokens") in output


def test_a_key_is_made_for_the_examples_and_masked(visit, gateway, tmp_path):
    """An operator makes one; with that as the page's key, its holder makes one below it."""
    key = master_key(gateway)
    for _ in range(2):
        screen = Dialects(visit(gateway).login(key, at="#/dialects"))
        screen.page.get_by_role("button", name="Make a key for these examples").click()
        screen.page.get_by_text("Made for these examples").wait_for()
        code = screen.card("openai").locator("pre.code")
        assert "Bearer ********" in code.inner_text()
        text = screen.snippet("openai", "curl")
        key = re.search(r"Bearer (dgk_[\w-]+)'", text)[1]
        screen.page.get_by_label("show keys").check()
        assert key in code.inner_text()
        assert text_in("openai", run(text, "curl", tmp_path)) == "Hello!"
        assert key not in screen.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")


def test_who_may_not_make_keys_is_told(screen):
    screen.page.get_by_role("button", name="Make a key for these examples").click()
    screen.page.get_by_role("alert").get_by_text("This key may not make keys").wait_for()


# --- what is not there, keyboard, phone ---


def test_what_does_not_listen_says_how_to_have_it(visit, start_gateway):
    other = start_gateway({"auth": {"keys": [KEY]}, "providers": [{"name": "echo", "kind": "echo"}]})
    screen = Dialects(visit(other).forgive("403").login(at="#/dialects"))
    assert "Not listening: set server.websocket_port." in screen.card("websocket").inner_text()
    assert "Not listening: set server.grpc_port." in screen.card("grpc").inner_text()
    assert "it has none: set [compat] secret_key" in screen.attempt("token")


def test_tabs_are_moved_by_the_keyboard(screen):
    card = screen.card("openai")
    tabs = card.get_by_role("tab")
    tabs.first.focus()
    for key, chosen, said in (
        ("ArrowRight", 1, "import OpenAI"),
        ("End", 2, "await fetch"),
        ("ArrowRight", 0, "curl -N"),
    ):
        screen.page.keyboard.press(key)
        assert [tab.get_attribute("aria-selected") for tab in tabs.all()].index("true") == chosen
        assert tabs.nth(chosen).evaluate("tab => tab === document.activeElement && tab.tabIndex === 0")
        assert said in card.locator("pre.code").inner_text()


def test_it_fits_a_phone(visit, gateway):
    screen = Dialects(visit(gateway, size=PHONE).login(at="#/dialects/openai"))
    assert screen.card("openai").evaluate("card => card.getBoundingClientRect().top") < 400
    screen.ask("a" * 300)
    screen.attempt("openai")
    widths = "[...document.querySelectorAll('dragoman-dialect *')].map(node => node.getBoundingClientRect().right)"
    assert max(screen.page.evaluate(widths)) <= PHONE["width"]
    panes = screen.card("openai").locator(".panes > div").all()
    assert panes[0].bounding_box()["x"] == panes[1].bounding_box()["x"]
