"""The screen of all ways in: every card is tried in a real browser, its snippets run as somebody would who pastes them."""

import json
import os
import re
import subprocess
import sys

import pytest
from visiting import PHONE, Visit, master_key

from gateway import KEY, OURS, free_port

SECRET = "a secret of System A"
# What breaks quoting somewhere: shell, JSON, Python, JavaScript, and the fields of System C's frames.
NASTY = "a \"quoted\" 'text' $HOME $(id) `id` \\n \\\\ %s {x} ${y} '''x''' true: null !$\nsecond line 👋🏽 é <b> end!"
SOME_S = 60
ECHO = {"name": "echo", "kind": "echo"}

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
    auth = {"keys": [KEY]}
    return start_gateway({"server": server, "auth": auth, "compat": {"secret_key": SECRET}, "providers": [ECHO]})


@pytest.fixture(scope="module")
def opened(browser, gateway):
    """The screen, for all tests that leave it as it was."""
    visit = Visit(browser, gateway).forgive("Failed to load resource")
    yield Dialects(visit.login(at="#/dialects"))
    visit.close()


@pytest.fixture
def screen(opened):
    opened.begin_anew()
    return opened


class Dialects:
    """The screen, as a person uses it."""

    def __init__(self, page):
        self.page = page
        page.locator("#dialect-backend-api pre.code", has_text="curl").wait_for()

    def begin_anew(self):
        for label in ("Another key", "Conversation id", "Parent message id"):
            self.page.get_by_label(label).fill("")
        self.page.get_by_label("show keys").uncheck()
        self.ask("Hello!")

    def card(self, name):
        return self.page.locator(f"#dialect-{name}")

    def ask(self, text, model="echo"):
        self.page.get_by_label("Question").fill(text)
        self.page.get_by_label("Model").select_option(model)

    def press(self, *names, label="Try it"):
        for name in names:
            self.card(name).get_by_role("button", name=label).click()

    def ending(self, name):
        """How a try ended, in its words."""
        return self.card(name).locator(".ending").inner_text()

    def attempt(self, name):
        self.press(name)
        return self.ending(name)

    def attempt_all(self, names):
        """Try cards side by side; returns how each ended."""
        self.press(*names)
        return {name: self.ending(name) for name in names}

    def said(self, name):
        return self.card(name).get_by_role("group", name="Text of the answer").inner_text().strip()

    def frames(self, name):
        return self.card(name).get_by_label("Frames as they arrive").locator("pre").all_inner_texts()

    def ids(self, name):
        rows = self.card(name).locator(".ids")
        return dict(zip(rows.locator("dt").all_inner_texts(), rows.locator("dd").all_inner_texts(), strict=True))

    def ask_on(self, name):
        self.card(name).get_by_role("button", name="Ask on in this conversation").click()

    def shown(self, name, language):
        """The snippet as it is shown."""
        self.card(name).get_by_label("Language").select_option(language)
        return self.card(name).get_by_label("Request").text_content()

    def snippet(self, name, language):
        self.page.get_by_label("show keys").check()
        return self.shown(name, language)

    def copied(self, name, language):
        """What the copy button puts on the clipboard."""
        self.shown(name, language)
        self.page.evaluate("navigator.clipboard.writeText('')")
        self.card(name).get_by_role("button", name="Copy").click()
        self.card(name).get_by_role("button", name="Copied").wait_for()
        return self.page.evaluate("navigator.clipboard.readText()")


def test_every_card_answers(screen):
    endings = screen.attempt_all(SAYS)
    assert {name for name, ending in endings.items() if not ending.startswith("Complete")} == set()
    assert {name for name, said in SAYS.items() if said not in screen.said(name)} == set()
    assert {name for name in SAYS if not screen.frames(name)} == set()
    assert {name for name in TALKS if "parent" not in screen.ids(name)} == set()


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
    assert re.search(r"\d+ ms · 5\d bytes", head)


def test_a_conversation_is_carried_on_in_every_dialect(screen):
    screen.attempt("conv-ask")
    conversation, parents = screen.ids("conv-ask")["conversation"], {screen.ids("conv-ask")["parent"]}
    screen.ask_on("conv-ask")
    for name in TALKS:
        screen.ask(f"And on by {name}")
        assert screen.attempt(name).startswith("Complete"), name
        assert screen.said(name) == f"And on by {name}"
        ids = screen.ids(name)
        assert ids.get("conversation", conversation) == conversation, name
        parents.add(ids["parent"])
        screen.ask_on(name)
        # System B has no ids but its messages'.
        screen.page.get_by_label("Conversation id").fill(conversation)
    assert len(parents) == 1 + len(TALKS)


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
    assert token in screen.copied("conv-ask", "curl")


def test_B_a_login_that_fails_says_what_to_do(screen):
    card = screen.card("login")
    card.get_by_label("email").fill("nobody")
    card.get_by_label("password").fill("a password")
    assert "dragoman user add" in screen.attempt("login")


def test_a_wrong_key_is_said_in_words(screen):
    screen.page.get_by_label("Another key").fill("wrong")
    words = {
        "openai": "Refused with 401. The key was not accepted",
        "anthropic": "Refused with 401. The key was not accepted",
        "conv-list": "Refused with 403. The key was not accepted",
        "chat-events": "Refused with 403. The key was not accepted",
        "getinfo": "Refused with 401. The key was not accepted",
        "chat-lines": "Error: 权限不足",
        "websocket": "Error: This key is not valid",
        "events-ws": "Error: This key is not valid",
    }
    endings = screen.attempt_all(words)
    assert {name: endings[name][: len(said)] for name, said in words.items()} == words


def test_what_cannot_be_a_key_is_not_used(screen):
    screen.page.get_by_label("Another key").fill("schlüssel ключ")
    screen.page.get_by_text("This is no key").wait_for()
    assert screen.attempt("openai").startswith("Complete")


def test_a_failure_and_a_cut_are_told_apart_from_an_end(screen):
    screen.ask("one two three four", "echo-truncate")
    endings = screen.attempt_all(["openai", "anthropic", "chat-events", "chat-lines", "api-chat", "events-ws"])
    told = ("Error", "Cut", "The connection was cut")
    assert {name: ending for name, ending in endings.items() if not ending.startswith(told)} == {}


def test_an_answer_is_stopped(screen):
    names = ("openai", "chat-lines", "events-ws")
    screen.ask("one two three four", "echo-stall")
    screen.press(*names)
    for name in names:
        screen.card(name).locator(".said", has_text="two").wait_for()
    screen.press(*names, label="Stop")
    for name in names:
        assert screen.ending(name).startswith("Stopped by you")
        screen.card(name).get_by_role("button", name="Try it").wait_for()


def test_a_flood_of_frames_is_read_whole_and_shown_in_part(screen):
    screen.ask("word " * 2500)
    assert screen.attempt("chat-lines").startswith("Complete")
    assert screen.card("chat-lines").get_by_label("Frames as they arrive").locator("pre").count() == 2000
    assert "Read, but left out here: 501 more." in screen.card("chat-lines").inner_text()
    assert screen.said("chat-lines") == ("word " * 2500).strip()


# --- snippets, run as they are ---


def run_all(snippets, folder):
    """Run snippets side by side, {(name, language): text}; returns what each prints."""
    clean = {name: value for name, value in os.environ.items() if not OURS.match(name)} | {"PYTHONUTF8": "1"}
    running = {}
    for (name, language), text in snippets.items():
        command = ["bash", "-c", text] if language == "curl" else [sys.executable, "-c", text]
        (folder / name).mkdir(exist_ok=True)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running[name, language] = subprocess.Popen(command, cwd=folder / name, env=clean, **pipes)
    said = {}
    for each, process in running.items():
        said[each], wrong = process.communicate(timeout=SOME_S)
        assert process.returncode == 0, (each, wrong[-2000:])
    return said


def in_browser(page, text):
    """Run a module's text as the browser's console would; returns what it logs."""
    logged = []

    def log(said):
        if said.type == "log":
            logged.append(said.text)

    page.on("console", log)
    console = page.context.new_cdp_session(page)
    console.send("Runtime.evaluate", {"expression": text, "replMode": True, "awaitPromise": True})
    page.remove_listener("console", log)
    return logged


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


HTTP = ("openai", "anthropic", "api-chat", "chat-events", "conv-ask", "ask", "getinfo", "chat-lines", "backend-api")
KITS = (("openai", "Python"), ("anthropic", "Python"))


def test_snippets_for_curl_and_python_run_as_they_are(screen, tmp_path):
    screen.ask(NASTY)
    snippets = {(name, each): screen.snippet(name, each) for name in HTTP for each in ("curl", "Python")}
    said = {each: out if each in KITS else text_in(each[0], out) for each, out in run_all(snippets, tmp_path).items()}
    assert said == dict.fromkeys(snippets, NASTY)


def test_snippets_for_javascript_run_as_they_are(screen):
    screen.ask(NASTY)
    for name in HTTP:
        status, *logged = in_browser(screen.page, screen.snippet(name, "JavaScript"))
        assert (status, text_in(name, "".join(logged))) == ("201" if name == "getinfo" else "200", NASTY)


def test_snippets_for_sockets_run_as_they_are(screen, tmp_path):
    screen.ask(NASTY)
    names = ("events-ws", "websocket")
    said = run_all({(name, "Python"): screen.snippet(name, "Python") for name in names}, tmp_path)
    typed, text = (in_browser(screen.page, screen.snippet(name, "JavaScript")) for name in names)
    for frames in (said["events-ws", "Python"].splitlines(), typed):
        assert "".join(row["text"] for row in map(json.loads, frames) if row["type"] == "delta") == NASTY
    assert "".join(text[:-1]) == NASTY
    assert re.fullmatch(r"<\|end\|>\$[0-9a-f-]{36}\$[0-9a-f-]{36}", text[-1])
    # Python prints each frame on a line of its own.
    pieces, _, _ = said["websocket", "Python"].partition("<|end|>$")
    assert "".join(pieces.split()) == "".join(NASTY.split())


def test_snippets_for_grpc_run_as_they_are(screen, tmp_path):
    screen.ask("Hello, gRPC")
    ends = {"grpc": "<|end|>", "grpc-own": "prompt_tokens"}
    for name in ends:
        assert "A browser cannot speak gRPC" in screen.card(name).inner_text()
        assert screen.card(name).get_by_role("button", name="Try it").count() == 0
        assert "grpcurl -plaintext" in screen.snippet(name, "grpcurl")
        assert "@grpc/grpc-js" in screen.snippet(name, "JavaScript")
    said = run_all({(name, "Python"): screen.snippet(name, "Python") for name in ends}, tmp_path)
    for name, end in ends.items():
        assert "gRPC" in said[name, "Python"]
        assert end in said[name, "Python"]


def test_a_key_is_made_for_the_examples_and_masked(visit, gateway, tmp_path):
    """An operator makes one; with that as the page's key, its holder makes one below it."""
    key = master_key(gateway)
    snippets = {}
    for name in ("operator", "holder"):
        screen = Dialects(visit(gateway).login(key, at="#/dialects"))
        screen.page.get_by_role("button", name="Make a key").click()
        screen.page.get_by_text("The examples have the key above.").wait_for()
        assert "Bearer ********" in screen.shown("openai", "curl")
        snippets[name, "curl"] = screen.copied("openai", "curl")
        key = re.search(r"Bearer (dgk_[\w-]+)'", snippets[name, "curl"])[1]
        assert key in screen.snippet("openai", "curl")
        assert key not in screen.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    for output in run_all(snippets, tmp_path).values():
        assert text_in("openai", output) == "Hello!"


def test_who_may_not_make_keys_is_told(screen):
    screen.page.get_by_role("button", name="Make a key").click()
    screen.page.get_by_role("alert").get_by_text("This key may not make keys").wait_for()


# --- what is not there, phone ---


def test_what_does_not_listen_says_how_and_what_was_said_stays(visit, start_gateway):
    doomed = start_gateway({"auth": {"keys": [KEY]}, "providers": [ECHO]})
    screen = Dialects(visit(doomed).forgive("403", "ERR_").login(at="#/dialects"))
    assert "Not listening: set server.websocket_port." in screen.card("websocket").inner_text()
    assert "Not listening: set server.grpc_port." in screen.card("grpc").inner_text()
    assert "it has none: set [compat] secret_key" in screen.attempt("token")
    screen.ask("one two three four", "echo-stall")
    screen.press("openai")
    screen.card("openai").locator(".said", has_text="two").wait_for()
    doomed.process.kill()
    screen.card("openai").locator(".ending", has_text="The connection was cut in mid-answer.").wait_for()
    assert screen.said("openai") == "one two"
    assert screen.page.get_by_label("Question").input_value() == "one two three four"
    assert screen.attempt("ask").startswith("The gateway does not answer.")


def test_it_fits_a_phone(visit, gateway):
    screen = Dialects(visit(gateway, size=PHONE).login(at="#/dialects/openai"))
    assert screen.card("openai").evaluate("card => card.getBoundingClientRect().top") < 400
    screen.ask("a" * 300)
    screen.attempt("openai")
    widths = "[...document.querySelectorAll('dragoman-dialect *')].map(node => node.getBoundingClientRect().right)"
    assert max(screen.page.evaluate(widths)) <= PHONE["width"]
    panes = screen.card("openai").locator(".panes > div").all()
    assert panes[0].bounding_box()["x"] == panes[1].bounding_box()["x"]
