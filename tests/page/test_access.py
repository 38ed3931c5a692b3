"""Nothing serious in the way of people who use a keyboard, a screen reader or their own colours (axe-core's rules)."""

import re

import pytest
from visiting import PHONE, master_key

from gateway import KEY

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
SCREENS = {
    "chat": "dragoman-chat textarea",
    "dialects": "dragoman-dialects pre",
    "operate/pool": "dragoman-operate .card",
    "operate/requests": "dragoman-operate table",
    "operate/spend": "dragoman-operate svg",
    "operate/keys": "dragoman-operate table",
    "operate/users": "dragoman-operate table",
    "operate/settings": "dragoman-operate table tbody tr:nth-child(20)",
}


def serious(page):
    """What axe finds that would keep somebody out, each with the elements concerned."""
    found = axe.Axe().run(page).response["violations"]
    return {
        row["id"]: [node["html"][:200] for node in row["nodes"]]
        for row in found
        if row["impact"] in ("serious", "critical")
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_screen(gateway, visit, dark):
    page = visit(gateway, dark=dark).login(master_key(gateway))
    page.get_by_label("Message", exact=True).fill("one")
    page.keyboard.press("Enter")
    page.get_by_text(re.compile(r"\d+ ms|\d s")).first.wait_for()
    found = {}
    for screen, there in SCREENS.items():
        if screen != "chat":
            page.goto(f"{gateway.url}/#/{screen}")
        page.locator(there).locator("visible=true").first.wait_for()
        found[screen] = serious(page)
    assert found == dict.fromkeys(SCREENS, {})


def test_the_login_and_a_dialog(gateway, visit):
    page = visit(gateway).forgive("401").page
    page.goto(gateway.url)
    page.get_by_role("dialog").wait_for()
    assert serious(page) == {}
    page.get_by_label("Key", exact=True).fill(master_key(gateway))
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for(state="detached")
    page.goto(f"{gateway.url}/#/operate/keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_role("dialog").wait_for()
    assert serious(page) == {}


def test_on_a_phone(gateway, visit):
    page = visit(gateway, size=PHONE).login(KEY)
    page.get_by_label("Message", exact=True).wait_for()
    assert serious(page) == {}
