"""An operator looks at the pool, at requests as they happen and at what they cost, while providers fail and recover."""

import json
import re
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from visiting import Visit

from gateway import CREDENTIALS, KEY, Gateway, House, free_port
from upstream import unary

PRICE = {"model": "m", "input": "1000", "output": "1000"}  # Of a million tokens.
COST = "0.032"  # Of the scripted answer: 25 and 7 tokens.


class Frail:
    """A provider that can be killed and brought back on its port. It knows one credential."""

    def __init__(self):
        self.port = free_port()
        self.begin()

    def begin(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _Answers)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def kill(self):
        self._server.shutdown()
        self._server.server_close()


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802 - the library's name
        is_known = self.headers["authorization"] == f"Bearer {CREDENTIALS[0]}"
        listed = {"object": "list", "data": [{"id": "m", "object": "model"}, {"id": "n", "object": "model"}]}
        refusal = {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}}
        self._say(200 if is_known else 401, listed if is_known else refusal)

    def do_POST(self):  # noqa: N802 - the library's name
        self.rfile.read(int(self.headers["content-length"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": "here"}, "finish_reason": "stop"}
        self._say(200, {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice]})

    def _say(self, status, tree):
        body = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Plant:
    """A gateway with a provider that holds (`steady`), one that falls over (`frail`), and some that refuse.

    The model `safe` is asked of `broken` first and falls back to `steady`.
    """

    def __init__(self, upstream, folder):
        lanes = {name: upstream.lane(f"operate-{name}", "openai") for name in ("steady", "busy", "broken")}
        lanes["steady"].always(unary(lanes["steady"].speaker.whole("hello")))
        lanes["busy"].always(unary(lanes["busy"].speaker.refusal("Slow down"), 429, {"retry-after": "240"}))
        lanes["broken"].always(unary(lanes["broken"].speaker.refusal("It is broken"), 500))
        urls = {name: lane.base_url for name, lane in lanes.items()}
        self.frail = Frail()
        urls["frail"] = f"http://127.0.0.1:{self.frail.port}/v1"
        config = {
            "server": {"host": "127.0.0.1"},
            "auth": {"keys": [KEY]},
            "log": {"requests": "all"},
            "upstream": {"attempts": 2},
            "prices": [PRICE],
            "providers": [_provider(name, url) for name, url in urls.items()],
            "models": [House.route("safe", "broken", "steady")],
        }
        self.gateway = Gateway(config, folder)
        self.master = (folder / "data" / "master.key").read_text(encoding="ascii").strip()

    def ask(self, model):
        """Return the status of a question."""
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        request = urllib.request.Request(f"{self.gateway.url}/v1/chat/completions", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code


def _provider(name, url):
    return {"name": name, "kind": "openai", "base_url": url, "credentials": CREDENTIALS[:1], "models": ["m", "n"]}


@pytest.fixture(scope="module")
def plant(upstream, tmp_path_factory):
    running = Plant(upstream, tmp_path_factory.mktemp("operate"))
    yield running
    running.gateway.stop()
    running.frail.kill()


@pytest.fixture(scope="module")
def operator(plant, browser):
    begun = Visit(browser, plant.gateway)
    yield begun.login(plant.master, at="#/operate/pool")
    begun.close()


@pytest.fixture
def opened(plant, operator):
    """Open a tab as the operator, as if nobody had looked at it before."""

    def begin(tab):
        operator.goto(f"{plant.gateway.url}/#/operate/{tab}")
        operator.reload()
        return operator

    return begin


def card(page, provider):
    return page.locator("article", has=page.get_by_role("heading", name=f"{provider} openai"))


def table(page, name):
    return page.get_by_role("table", name=name)


def is_text(locator, text):
    locator.filter(has_text=text).first.wait_for()


def test_the_pool_shows_providers_and_their_credentials_by_the_last_four(opened, keep_screen):
    page = opened("pool")
    is_text(card(page, "steady").locator(".state"), "Up")
    is_text(card(page, "frail").locator(".state"), "Up")
    assert f"…{CREDENTIALS[0][-4:]}" in card(page, "steady").inner_text()
    assert CREDENTIALS[0] not in page.content()
    is_text(page.locator(".updated"), re.compile(r"Updated \d\d:\d\d:\d\d"))
    keep_screen(page, "operate-pool")


def test_a_provider_that_dies_turns_red_and_recovers(plant, opened):
    page = opened("pool")
    frail = card(page, "frail")
    is_text(frail.locator(".state"), "Up")
    plant.frail.kill()
    try:
        assert plant.ask("frail/m") >= 500
        is_text(frail.locator(".state"), "Down")
        assert frail.get_attribute("data-health") == "bad"
        assert card(page, "steady").get_attribute("data-health") == "good"
    finally:
        plant.frail.begin()
    # A call finds out sooner than the gateway's own look after providers that are down, each 10 s.
    assert plant.ask("frail/m") == 200
    is_text(frail.locator(".state"), "Up")
    assert frail.get_attribute("data-health") == "good"


def test_a_credential_that_rests_says_why_and_for_how_long(plant, opened):
    assert plant.ask("busy/m") == 429
    page = opened("pool")
    credentials = table(page, "Credentials of busy")
    is_text(credentials, "the provider asked to wait")

    def left():
        return int(re.search(r"resting, (\d+) s left", credentials.inner_text())[1])

    before = left()
    assert 200 < before <= 240
    credentials.locator("..").focus()
    is_text(credentials, f"{before - 2} s left")
    assert credentials.locator("..").evaluate("node => node === document.activeElement"), "a poll took the focus"
    is_text(card(page, "busy").locator(".state"), "Every credential rests")


def test_a_credential_is_checked_before_it_is_saved(opened):
    page = opened("pool")
    card(page, "frail").get_by_role("button", name="Check a credential").click()
    dialog = page.get_by_role("dialog")
    pasted = dialog.get_by_label("Credential", exact=True)
    assert pasted.get_attribute("type") == "password"
    pasted.fill("a-wrong-one")
    dialog.get_by_role("button", name="Check").click()
    dialog.get_by_role("alert").filter(has_text=re.compile("reject|refuse|Incorrect")).wait_for()
    assert pasted.input_value() == ""
    pasted.fill(CREDENTIALS[0])
    dialog.get_by_role("button", name="Check").click()
    is_text(page.locator("#notices"), "2 models listed")
    dialog.wait_for(state="detached")
    assert page.evaluate("JSON.stringify([localStorage, sessionStorage])").count("key-one") == 0


def test_without_the_gateway_the_last_picture_stays_and_comes_back_to_life(plant, visit):
    begun = visit(plant.gateway).forgive("ERR_INTERNET_DISCONNECTED", "ERR_FAILED")
    page = begun.login(plant.master, at="#/operate/pool")
    is_text(card(page, "steady"), "Up")
    begun.context.set_offline(True)
    is_text(page.locator(".updated"), "No connection since")
    assert card(page, "steady").is_visible()
    assert page.locator(".stale .providers").count() == 1
    begun.context.set_offline(False)
    is_text(page.locator(".updated"), "Updated")
    assert page.locator(".stale .providers").count() == 0


def test_a_request_appears_and_its_story_explains_the_fallback(plant, opened, keep_screen):
    page = opened("requests")
    table(page, "Requests").wait_for()
    assert plant.ask("safe") == 200
    row = table(page, "Requests").get_by_role("row").filter(has_text="safe").first
    is_text(row, "steady/m")
    assert COST in row.inner_text()
    keep_screen(page, "operate-requests")
    row.get_by_role("link").press("Enter")
    story = page.get_by_role("list", name="What happened").get_by_role("listitem")
    is_text(story, "asked for safe")
    told = " ".join(story.all_inner_texts())
    assert told.index("broken/m") < told.index("steady/m")
    assert "It is broken" in table(page, "Attempts").inner_text()
    page.get_by_role("link", name="All requests").click()
    table(page, "Requests").wait_for()


def test_new_rows_wait_while_somebody_reads(plant, opened):
    plant.ask("steady/m")
    page = opened("requests")
    rows = table(page, "Requests").locator("tbody tr")
    is_text(rows, "steady/m")
    rows.first.hover()
    before = rows.count()
    plant.ask("steady/m")
    news = page.get_by_role("button", name="1 new")
    news.wait_for()
    assert rows.count() == before
    news.press("Enter")
    rows.nth(before).wait_for()
    news.wait_for(state="hidden")
    rows.first.hover()


def test_older_requests_are_a_page_away(plant, opened):
    for _ in range(51):
        plant.ask("steady/m")
    page = opened("requests")
    rows = table(page, "Requests").locator("tbody tr")
    rows.nth(49).wait_for()
    newest = rows.first.get_by_role("link").get_attribute("href")
    page.get_by_role("button", name="Next").press("Enter")
    page.get_by_role("button", name="Back").wait_for()
    assert page.locator(f"a[href='{newest}']").count() == 0
    page.get_by_role("button", name="Back").press("Enter")
    page.locator(f"a[href='{newest}']").wait_for()


def test_filters_leave_what_fits(plant, opened):
    plant.ask("steady/m")
    assert plant.ask("broken/m") >= 500
    page = opened("requests")
    rows = table(page, "Requests").locator("tbody tr")
    is_text(rows, "steady/m")
    page.get_by_label("Provider").fill("broken")
    page.get_by_label("Outcome").select_option("failed")
    rows.filter(has_text="steady/m").first.wait_for(state="detached")
    is_text(rows, "broken/m")
    assert set(rows.locator("td:nth-child(2) .tag").all_inner_texts()) == {"✕ failed"}


def test_spend_shows_what_priced_calls_cost_and_says_which_have_no_price(plant, opened, keep_screen):
    plant.ask("steady/m")
    plant.ask("steady/n")
    page = opened("spend")
    page.get_by_label("By", exact=True).select_option("model")
    sums = table(page, "Sums by model")
    priced = sums.get_by_role("row").filter(has_text="steady/m").locator("td")
    is_text(priced.first, "steady/m")
    assert float(priced.nth(1).inner_text()) == pytest.approx(int(priced.nth(2).inner_text()) * float(COST))
    is_text(page.locator(".warn-text"), "whose price nobody knows")
    chart = page.get_by_role("img", name=re.compile("money by model, each day of the last 7 days"))
    assert chart.locator(".bar-group").count() == 7
    assert "steady/m: " in chart.locator(".bar-group title").last.text_content()
    keep_screen(page, "operate-spend")


def test_every_choice_of_spend_is_drawn(plant, opened):
    plant.ask("steady/m")
    page = opened("spend")
    for name, value, label in (
        ("Last", "year", "each month of the last year"),
        ("Last", "24 hours", "each hour of the last 24 hours"),
        ("Measure", "tokens", "^tokens by key"),
        ("By", "tag", "by tag"),
    ):
        page.get_by_label(name, exact=True).select_option(value)
        page.get_by_role("img", name=re.compile(label)).locator("[class^=series]").first.wait_for()


def test_a_user_sees_no_operate(plant, visit):
    page = visit(plant.gateway).login(KEY, at="#/operate/pool")
    page.get_by_text("This is for operators").wait_for()
    assert page.get_by_role("navigation", name="Screens").get_by_role("link", name="Operate").count() == 0
    assert page.get_by_role("article").count() == 0
