"""Visits to the page in a real browser that can reach nobody but the gateway."""

import shutil
from pathlib import Path

import pytest
from visiting import Visit

from gateway import KEY

DOCS = Path(__file__).parents[2] / "docs" / "screens"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
# No name is looked up: whatever the page may ask of another host fails, and `Visit` notes it.
ARGUMENTS += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
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
def gateway(start_gateway):
    """One with the echo provider alone: it answers with what it was asked."""
    return start_gateway({"auth": {"keys": [KEY]}, "providers": [{"name": "echo", "kind": "echo"}]})


@pytest.fixture
def visit(browser):
    """Make visits; they end with the test."""
    begun = []

    def begin(gateway, **how):
        begun.append(Visit(browser, gateway, **how))
        return begun[-1]

    yield begin
    for each in begun:
        each.close()


@pytest.fixture
def keep_screen(request, tmp_path):
    """Take a picture of a page; with `--screens` it is the one in docs/screens."""

    def keep(page, name):
        folder = DOCS if request.config.getoption("--screens") else tmp_path
        folder.mkdir(exist_ok=True)
        page.screenshot(path=folder / f"{name}.png", animations="disabled")
        return folder / f"{name}.png"

    return keep
