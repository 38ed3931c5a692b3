"""A visit to the page: a browser of its own at one gateway, and what a person does first.

A visit ends with a look at what the browser complained of: an unforeseen line on its console fails the test.
"""

import re
from urllib.parse import urlsplit

from gateway import KEY

WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


class Visit:
    """A browser of its own (cookies, storage) at the page of one gateway; `page` is Playwright's.

    `forgive` takes parts of complaints that the test has provoked, such as "401".
    """

    def __init__(self, browser, gateway, *, size=None, dark=False):
        self.url = gateway.url
        self._hosts = {urlsplit(gateway.url).hostname}
        self.elsewhere, self.complaints, self.forgiven = [], [], []
        scheme = "dark" if dark else "light"
        self.context = browser.new_context(viewport=size or WIDE, color_scheme=scheme, accept_downloads=True)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.context.set_default_timeout(15_000)
        self.context.on("request", self._note)
        self.page = self.context.new_page()
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, request):
        if urlsplit(request.url).hostname not in self._hosts and not request.url.startswith(("data:", "blob:")):
            self.elsewhere.append(request.url)

    def forgive(self, *parts):
        self.forgiven += parts
        return self

    def login(self, key=KEY, at="#/chat"):
        """Log in as a person with a key would, by the dialog; returns Playwright's page."""
        self.page.goto(f"{self.url}/{at}")
        self.forgive("401")
        self.page.get_by_label("Key", exact=True).fill(key)
        self.page.get_by_role("button", name="Log in").click()
        self.page.locator("dialog").wait_for(state="detached")
        return self.page

    def close(self):
        self.context.close()
        unforeseen = [said for said in self.complaints if not any(part in said for part in self.forgiven)]
        assert not self.elsewhere, self.elsewhere
        assert not unforeseen, unforeseen


def master_key(gateway):
    """The key in the line to paste."""
    return gateway.wait_for(lambda: re.search(r"Bearer ([^'\"\s]+)", gateway.output()), timeout_s=60)[1]
