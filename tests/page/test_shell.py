"""The frame of the page: how one gets in, what happens when the session or the gateway is gone, and what it costs."""

import re
import subprocess

import pytest
from visiting import PHONE, master_key

from gateway import KEY, Gateway


@pytest.fixture(scope="module")
def config():
    return {"auth": {"keys": [KEY]}, "providers": [{"name": "echo", "kind": "echo"}]}


def link_of(gateway):
    return gateway.wait_for(lambda: re.search(r"http\S+/#/login/\S+", gateway.output()), timeout_s=20)[0]


def test_the_link_of_the_start_logs_in_once(gateway, visit):
    link = link_of(gateway)
    page = visit(gateway).page
    page.goto(link)
    page.get_by_text("master", exact=True).wait_for()
    assert "login" not in page.url
    page.reload()
    page.get_by_text("master", exact=True).wait_for()
    second = visit(gateway).forgive("401").page
    second.goto(link)
    second.get_by_role("dialog").get_by_text("prints a new one").wait_for()


def test_a_fresh_link_comes_from_the_command(start_gateway, config, visit, tmp_path):
    gateway = start_gateway(config)
    command = [arg if arg != "serve" else "link" for arg in gateway.process.args]
    link = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip().split()[-1]
    page = visit(gateway).page
    page.goto(link)
    page.get_by_text("master", exact=True).wait_for()


def test_a_wrong_key_is_said_and_may_be_mended(gateway, visit):
    page = visit(gateway).forgive("401").page
    page.goto(gateway.url)
    page.get_by_label("Key", exact=True).fill("sk-wrong")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("dialog").get_by_role("alert").filter(has_text=re.compile("not (valid|right)")).wait_for()
    page.get_by_label("Key", exact=True).fill(KEY)
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for(state="detached")
    assert page.get_by_role("navigation", name="Screens").get_by_role("link").all_inner_texts() == ["Chat", "Dialects"]


def test_logging_out_ends_it_for_the_next_visit_too(gateway, visit):
    session = visit(gateway)
    page = session.login()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("dialog", name="Log in").wait_for()
    page.reload()
    page.get_by_role("dialog", name="Log in").wait_for()
    assert [cookie for cookie in session.context.cookies() if cookie["value"]] == []


def test_the_cookie_is_for_the_session_alone_and_no_script_sees_it(gateway, visit):
    session = visit(gateway)
    page = session.login()
    [cookie] = session.context.cookies(f"{gateway.url}/api/session")
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/api/session")
    assert str(gateway.port) in cookie["name"]
    assert session.context.cookies(f"{gateway.url}/v1/models") == []
    assert (
        page.evaluate("document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)").find("eyJ") < 0
    )


def test_when_the_key_is_revoked_the_page_asks_again_and_keeps_what_was_typed(gateway, visit):
    """Then the key is told apart from a gateway that is gone, and the same person goes on where it was."""
    session = visit(gateway)
    page = session.login(master_key(gateway))
    made = page.evaluate(
        """async () => { const api = await import("/page/api.js");
        return api.call("POST", "/api/admin/keys", { body: { name: "short-lived" } }); }"""
    )
    guest = visit(gateway)
    guest.forgive("401")
    other = guest.login(made["secret"])
    other.get_by_label("Message", exact=True).fill("half a thought")
    page.evaluate(
        """async (id) => (await import("/page/api.js")).call("DELETE", `/api/admin/keys/${id}`)""", made["id"]
    )
    # The deletion holds within a second; every request of the page after that is refused.
    other.wait_for_function(
        """async () => { try { await (await import("/page/api.js")).call("GET", "/v1/models"); return false; }
        catch (error) { return error.kind === "revoked"; } }""",
    )
    other.get_by_role("dialog").get_by_text("revoked").wait_for()
    assert other.get_by_label("Message", exact=True).input_value() == "half a thought"


def test_when_the_gateway_is_gone_it_says_so_and_recovers(config, visit, tmp_path):
    first = Gateway(config, tmp_path)
    try:
        session = visit(first).forgive("ERR_CONNECTION", "Failed to fetch")
        page = session.login()
        page.get_by_label("Message", exact=True).fill("half a thought")
        first.stop()
        page.evaluate("""import("/page/api.js").then((api) => api.call("GET", "/v1/models")).catch(() => {})""")
        page.get_by_role("status").get_by_text("does not answer").wait_for()
        again = first.again()
        try:
            page.get_by_text("The gateway is back.").wait_for()
            assert page.get_by_role("status").get_by_text("does not answer").count() == 0
            assert page.get_by_label("Message", exact=True).input_value() == "half a thought"
        finally:
            again.terminate()
            again.wait(10)
    finally:
        first.stop()


def test_two_sessions_on_one_machine_do_not_end_each_other(gateway, start_gateway, config, visit):
    """Cookies do not tell ports apart, so their names must."""
    session = visit(gateway)
    page = session.login()
    other = start_gateway(config)
    second = session.context.new_page()
    second.goto(other.url)
    second.get_by_label("Key", exact=True).fill(KEY)
    second.get_by_role("button", name="Log in").click()
    second.locator("dialog").wait_for(state="detached")
    page.reload()
    page.get_by_role("navigation", name="Screens").get_by_role("link").first.wait_for()
    assert page.get_by_role("dialog").count() == 0


def test_light_and_dark_are_kept(gateway, visit):
    page = visit(gateway, dark=True).login()
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.get_by_role("button", name="Light or dark").click()
    light = page.evaluate(background)
    assert dark != light
    page.reload()
    page.get_by_role("navigation", name="Screens").get_by_role("link").first.wait_for()
    assert page.evaluate(background) == light


@pytest.mark.parametrize("screen", ["chat", "dialects", "operate/pool", "operate/keys", "operate/settings"])
def test_at_phone_width_nothing_stands_out_of_the_page(gateway, visit, screen):
    page = visit(gateway, size=PHONE).login(master_key(gateway), at=f"#/{screen}")
    page.locator("#screen h1, #screen h2, #screen textarea, #screen table").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_nothing_is_asked_of_anybody_else_and_it_is_small(gateway, visit):
    """A `Visit` refuses other hosts and notes them. Sizes are what goes over the wire, uncompressed."""
    session = visit(gateway)
    sizes = []
    session.page.on("response", lambda answer: sizes.append(answer) if "/page/" in answer.url else None)
    page = session.login()
    page.get_by_label("Message", exact=True).wait_for()
    assert sum(len(answer.body()) for answer in sizes) < 150_000
    assert session.elsewhere == []
