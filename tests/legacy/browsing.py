"""A browser, and a site on another origin that serves the re-created sample pages."""

import functools
import http.server
import json
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

PAGES = Path(__file__).parent / "pages"
VENDOR = Path(__file__).parent / "vendor"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Files(http.server.SimpleHTTPRequestHandler):
    def translate_path(self, path):
        name = path.partition("?")[0].lstrip("/")
        return str((VENDOR if (VENDOR / name).is_file() else PAGES) / name)

    def log_message(self, *args):
        """The test's output is no place for it."""


class Site:
    """Serves the pages at `url`; the same files stand on disk for `file:`."""

    def __init__(self):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=str(PAGES)))
        self._server.daemon_threads = True
        self.url = f"http://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def browser():
    """A headless Chromium; the test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if not path:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield running
        finally:
            running.close()


class Tab:
    """One of the pages, open in the browser. `base` is the site's URL, or PAGES for `file:`."""

    def __init__(self, running, base, name, **query):
        self.context = running.new_context()
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        root = base.as_uri() if isinstance(base, Path) else base
        self.page.goto(f"{root}/{name}?{urlencode(query)}")
        self.page.evaluate("seen.ready")

    @property
    def events(self):
        return [tuple(event) if isinstance(event, list) else event for event in self.page.evaluate("seen.events")]

    @property
    def thrown(self):
        return self.page.evaluate("seen.thrown")

    def text(self, id_):
        return self.page.locator(f"#{id_}").text_content()

    def fill(self, id_, text):
        self.page.fill(f"#{id_}", text)

    def press(self, id_, until):
        """Press a button and wait until this JavaScript is true."""
        self.page.evaluate("seen.events.length = 0")
        self.page.click(f"#{id_}")
        self.wait(until)

    def wait(self, until):
        try:
            self.page.wait_for_function(until)
        except Exception as error:
            raise AssertionError(f"{until} never came true; {self.events} {self.thrown}") from error

    def saw(self, data):
        return f"seen.events.some(([name, data]) => data === {json.dumps(data)})"

    def close(self):
        self.context.close()
