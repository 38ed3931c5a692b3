"""The pages in a real browser that can reach nobody but the gateway: they show every operation, and run one."""

import json
import shutil
from urllib.parse import urlsplit

import pytest
from described import Document

from dragoman.dialects.documents import gateway, legacy_b
from gateway import KEY

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if not path:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def url(start_gateway):
    return start_gateway({"auth": {"keys": [KEY]}, "providers": [{"name": "echo", "kind": "echo"}]}).url


class Visit:
    """A page of ours. What it asks of other hosts is refused and noted, as is what the browser complains of."""

    def __init__(self, browser, url, path):
        self._host = urlsplit(url).netloc
        self.elsewhere, self.complaints = [], []
        self.page = browser.new_page()
        self.page.set_default_timeout(15_000)
        self.page.route("**/*", self._route)
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(url + path)
        self.page.locator(".opblock").first.wait_for()

    def _route(self, route):
        if urlsplit(route.request.url).netloc == self._host:
            route.continue_()
        else:
            self.elsewhere.append(route.request.url)
            route.abort()

    def close(self):
        self.page.close()
        assert (self.elsewhere, self.complaints) == ([], [])


@pytest.fixture
def visit(browser, url):
    visits = []

    def visited(path):
        visits.append(Visit(browser, url, path))
        return visits[-1].page

    yield visited
    for each in visits:
        each.close()


def shown(page):
    """The operations that the page shows: method and path."""
    rows = page.locator(".opblock").all()
    return {(row.locator(".opblock-summary-method").text_content(), path_of(row)) for row in rows}


def path_of(row):
    # Swagger UI lets long paths break at their slashes, by characters that take no room.
    return row.locator(".opblock-summary-path,.opblock-summary-path__deprecated").inner_text().replace("\u200b", "")


@pytest.mark.parametrize(("path", "tree"), [("/docs", gateway()), ("/api", legacy_b())], ids=["docs", "api"])
def test_a_page_shows_every_operation(visit, path, tree):
    page = visit(path)
    assert tree["info"]["title"] in page.locator("h1").inner_text()
    assert shown(page) == {(method, path) for method, path, _ in Document(tree).operations()}
    assert page.locator(".errors-wrapper").count() == 0


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("Conversations-import_conversations", "A file of chatgpt-easy-backend"),
        ("Anthropic-create_message", "claude-sonnet-4-5"),
        ("go-gpt-server-relay_chat", "application/x-ndjson"),
    ],
)
def test_an_operation_opens_with_its_examples(visit, operation, said):
    page = visit("/docs")
    row = page.locator(f"#operations-{operation}")
    row.locator(".opblock-summary-control").click()
    row.locator(".responses-inner").wait_for()
    assert said in row.inner_text()
    assert page.locator(".errors-wrapper").count() == 0


def test_B7_a_question_is_asked_from_the_page(visit):
    page = visit("/api")
    row = page.locator("#operations-chatgpt-server-GptMainController_getGpt")
    row.locator(".opblock-summary-control").click()
    row.get_by_role("button", name="Try it out").click()
    row.locator("textarea.body-param__text").fill(
        json.dumps({"mode": "1", "type": "1", "opts": {"key": KEY, "content": "你好, page", "isFollow": False}})
    )
    row.get_by_role("button", name="Execute").click()
    answer = row.locator(".live-responses-table .response").first
    answer.wait_for()
    assert answer.locator(".response-col_status").inner_text().split()[0] == "201"
    tree = json.loads(answer.locator("pre").first.inner_text())
    assert (tree["status"], tree["success"], tree["data"]["text"]) == (200, True, "你好, page")


def test_a_key_that_is_given_to_the_page_is_used(visit):
    page = visit("/docs")
    page.get_by_role("button", name="Authorize", exact=True).first.click()
    dialog = page.locator(".modal-ux")
    dialog.get_by_label("auth-bearer-value").fill(KEY)
    dialog.locator("button.authorize").first.click()
    dialog.get_by_role("button", name="Close").first.click()
    row = page.locator("#operations-Conversations-list_conversations")
    row.locator(".opblock-summary-control").click()
    row.get_by_role("button", name="Try it out").click()
    row.get_by_role("button", name="Execute").click()
    answer = row.locator(".live-responses-table .response").first
    answer.wait_for()
    assert answer.locator(".response-col_status").inner_text().split()[0] == "200"
    assert json.loads(answer.locator("pre").first.inner_text())["conversations"] == []
