"""Keys, teams, accounts and settings as an operator works with them, in a browser before a real gateway."""

import re
import time

import pytest
from visiting import PHONE, WIDE, Visit

from gateway import KEY

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
CREDENTIAL = "sk-a-secret-of-the-provider"
ELSEWHERE = {"name": "openai", "kind": "openai", "base_url": "http://127.0.0.1:9/v1", "credentials": [CREDENTIAL]}
# One attempt: what a call may cost is then what it does cost, and a budget can be used up to its last unit.
CONFIG = {
    "auth": {"keys": [KEY]},
    "upstream": {"attempts": 1},
    "providers": [{"name": "echo", "kind": "echo"}, ELSEWHERE],
    "models": [{"name": "parrot", "targets": [{"provider": "echo", "model": "echo"}]}],
    "prices": [{"provider": "echo", "model": "*", "input": "0", "output": "0", "per_request": "0.01"}],
}
MOST = 2**53 - 1
WRONG = {"Tags": "x" * 51, "Requests a minute": "0", "Amount": "9007199254.740992", "Name": "a" * 201}


class Caller:
    """Somebody who uses the gateway over HTTP."""

    def __init__(self, gateway, requests):
        self.master = gateway.wait_for(lambda: re.search(r"master\.key: (\S+)", gateway.output()), timeout_s=10)[1]
        self._requests = requests

    def ask(self, method, path, body=None, secret=None):
        headers = {"Authorization": f"Bearer {secret or self.master}"}
        return self._requests.fetch(path, method=method, data=body, headers=headers)

    def chat(self, secret):
        body = {"model": "parrot", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
        return self.ask("POST", "/v1/chat/completions", body, secret).status

    def key(self, **fields):
        return self.ask("POST", "/api/admin/keys", fields).json()

    def comes_to(self, status, secret):
        """Whether calls end with this status within a second."""
        deadline = time.monotonic() + 1
        return any(self.chat(secret) == status for _ in iter(lambda: time.monotonic() < deadline, False))


@pytest.fixture(scope="module")
def gateway(start_gateway):
    return start_gateway(CONFIG)


@pytest.fixture(scope="module")
def caller(gateway, browser):
    context = browser.new_context(base_url=gateway.url)
    yield Caller(gateway, context.request)
    context.close()


@pytest.fixture(scope="module")
def operator(gateway, caller, browser):
    begun = Visit(browser, gateway).forgive("400", "404", "409")
    yield begun.login(caller.master, at="#/operate/keys")
    begun.close()


@pytest.fixture
def operate(gateway, operator):
    """Open a tab as the operator, as if nobody had looked at it before; returns Playwright's page."""

    def begin(tab, size=WIDE):
        operator.set_viewport_size(size)
        operator.goto(f"{gateway.url}/#/operate/{tab}")
        operator.reload()
        return operator

    return begin


def row_of(page, name):
    return page.get_by_role("row").filter(has_text=name)


def fill_in(page, opener, values, submitter):
    """Open a dialog, fill in its fields by their labels, and submit it."""
    page.get_by_role("button", name=opener).first.click()
    for label, text in values.items():
        page.get_by_label(label, exact=True).fill(text)
    submit(page, submitter)


def submit(page, name):
    page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()


def fresh_secret(page):
    """Read the secret in the dialog that shows it, copy it, and leave the dialog."""
    dialog = page.get_by_role("dialog").filter(has_text="cannot be shown again")
    secret = dialog.locator("pre").inner_text()
    dialog.get_by_role("button", name="Copy").click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    submit(page, "Done")
    page.locator("dialog").wait_for(state="detached")
    assert secret not in page.content()
    return secret


def test_a_small_budget_is_given_used_up_and_seen_full(operate, caller):
    page = operate("keys")
    page.get_by_role("button", name="New key").press("Enter")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("pocket money")
    page.get_by_label("Tags").fill("toy,  small ")
    page.get_by_label("Window").select_option("day")
    page.get_by_label("Amount").fill("0.03")
    page.keyboard.press("Enter")
    secret = fresh_secret(page)
    row = row_of(page, "pocket money")
    expect(row).to_contain_text("0.00 of 0.03 a day")
    assert [tag.inner_text() for tag in row.locator("td").nth(-2).locator(".tag").all()] == ["toy", "small"]
    assert [caller.chat(secret) for _ in range(4)] == [200, 200, 200, 402]
    expect(row).to_contain_text(re.compile(r"0\.03 of 0\.03 a day used up\s*anew"))
    expect(row.get_by_role("meter")).to_have_attribute("aria-valuenow", "100")
    bar, filled = row.locator(".bar").bounding_box(), row.locator(".bar > i").bounding_box()
    assert filled["width"] == pytest.approx(bar["width"], abs=3)


def test_a_limit_and_a_pattern_hold(operate, caller):
    page = operate("keys")
    fill_in(page, "New key", {"Name": "once a day", "Models": "parrot, other-*", "Requests a day": "1"}, "Create")
    secret = fresh_secret(page)
    expect(row_of(page, "once a day")).to_contain_text("1 req/day")
    assert [caller.chat(secret), caller.chat(secret)] == [200, 429]
    keys = caller.ask("GET", "/api/admin/keys").json()["keys"]
    assert [key["models"] for key in keys if key["name"] == "once a day"] == [["parrot", "other-*"]]


def test_an_edit_sends_only_what_changed_and_money_stays_exact(operate, caller):
    key = caller.key(name="exact", budget={"micro": MOST, "window": "year"}, expires=4_000_000_000.25)
    page = operate("keys")
    page.get_by_role("button", name="Change the key exact").click()
    expect(page.get_by_label("Amount")).to_have_value("9007199254.740991")
    page.get_by_label("Owner").fill("zoe")
    page.get_by_label("At the same time").fill("3")
    with page.expect_request(lambda request: request.method == "PATCH") as sent:
        submit(page, "Save")
    assert sent.value.post_data_json == {"owner": "zoe", "limits": {**key["limits"], "parallel": 3}}
    page.locator("dialog").wait_for(state="detached")
    expect(row_of(page, "exact")).to_contain_text("3 at once")
    fill_in(page, "Change the key exact", {"Amount": "9007199254.740989"}, "Save")
    page.locator("dialog").wait_for(state="detached")
    saved = caller.ask("GET", f"/api/admin/keys/{key['id']}").json()
    assert (saved["budget"]["micro"], saved["expires"]) == (MOST - 2, 4_000_000_000.25)


def test_two_secrets_work_while_they_overlap(operate, caller):
    key = caller.key(name="turning")
    page = operate("keys")
    page.get_by_role("button", name="Rotate the key turning").click()
    page.get_by_label("The old secret").select_option("works for a day")
    submit(page, "Rotate")
    secrets = {fresh_secret(page), key["secret"]}
    assert [caller.comes_to(200, secret) for secret in secrets] == [True, True]
    expect(row_of(page, "turning")).to_contain_text("overlap until")
    left_s = caller.ask("GET", f"/api/admin/keys/{key['id']}").json()["overlap_until"] - time.time()
    assert 86_400 - 60 < left_s <= 86_400


def test_a_key_is_disabled_enabled_and_deleted(operate, caller):
    key = caller.key(name="parent")
    assert caller.comes_to(200, key["secret"])
    assert caller.ask("POST", "/api/keys", {"name": "child of it"}, key["secret"]).status == 201
    page = operate("keys")
    row = row_of(page, "parent")
    with page.expect_response(lambda response: response.request.method == "PATCH"):
        page.get_by_role("button", name="Disable the key parent").press("Enter")
    assert caller.comes_to(401, key["secret"])
    expect(row.get_by_text("disabled", exact=True)).to_be_visible()
    page.get_by_role("button", name="Enable the key parent").click()
    expect(row.get_by_text("active", exact=True)).to_be_visible()
    assert caller.comes_to(200, key["secret"])
    page.get_by_role("button", name="Delete the key parent").click()
    expect(page.get_by_role("dialog")).to_contain_text(re.compile("made with it.*cannot be undone"))
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    assert caller.chat(key["secret"]) == 200
    fill_in(page, "Delete the key parent", {}, "Delete")
    expect(row).to_have_count(0)
    assert caller.comes_to(401, key["secret"])


@pytest.mark.parametrize("label", WRONG)
def test_what_the_server_refuses_is_said_at_the_field(operate, label):
    page = operate("keys")
    fill_in(page, "New key", {label: WRONG[label]}, "Create")
    control = page.get_by_label(label)
    expect(control).to_have_attribute("aria-invalid", "")
    expect(control).to_be_focused()
    expect(page.locator(f"#{control.get_attribute('aria-describedby')}")).not_to_be_empty()
    expect(page.get_by_role("dialog")).to_contain_text(f"Nothing was changed: see “{label}”.")
    assert page.locator("[aria-invalid]").input_value() == WRONG[label]


@pytest.mark.parametrize(("label", "text"), [("Amount", "1,5"), ("Amount", "1.0000001"), ("Tokens a minute", "1e3")])
def test_what_is_no_number_is_not_sent(operate, label, text):
    page = operate("keys")
    sent = []
    page.on("request", lambda request: sent.append((request.method, request.url.rpartition("/")[2])))
    fill_in(page, "New key", {label: text}, "Create")
    expect(page.locator("dialog input:invalid")).to_have_count(1)
    assert ("POST", "keys") not in sent


def test_a_team_is_made_changed_and_deleted(operate, caller):
    page = operate("users")
    fill_in(page, "New team", {"Name": "night shift", "Amount": "2.5"}, "Create")
    row = row_of(page, "night shift")
    expect(row).to_contain_text("0.00 of 2.50 a month")
    fill_in(page, "New team", {"Name": "night shift"}, "Create")
    expect(page.get_by_role("dialog")).to_contain_text("There is a team of this name already.")
    page.keyboard.press("Escape")
    fill_in(page, "Change the team night shift", {"Tokens a minute": "90000"}, "Save")
    expect(row).to_contain_text("90,000 tokens/min")
    key = caller.key(name="of a team", team="night shift")
    assert caller.comes_to(200, key["secret"])
    expect(row).to_contain_text("0.01 of 2.50 a month")
    fill_in(page, "Delete the team night shift", {}, "Delete")
    expect(page.get_by_role("dialog").locator(".trouble")).to_be_visible()
    caller.ask("DELETE", f"/api/admin/keys/{key['id']}")
    submit(page, "Delete")
    expect(row).to_have_count(0)


def test_an_account_is_made_logs_in_and_is_deleted(operate, visit, gateway):
    page = operate("users")
    fill_in(page, "New account", {"Name": "ada", "Password": " correct horse "}, "Create")
    expect(row_of(page, "ada")).to_have_count(1)
    other = visit(gateway).forgive("401", "404").page
    other.goto(f"{gateway.url}/#/operate/keys")
    other.get_by_text("With a name and a password").click()
    other.get_by_label("Name").fill("ada")
    other.get_by_label("Password", exact=True).fill(" correct horse ")
    submit(other, "Log in")
    expect(other.get_by_text("for operators")).to_be_visible()
    expect(other.get_by_role("link", name="Operate")).to_have_count(0)
    fill_in(page, "Delete the account ada", {}, "Delete")
    expect(row_of(page, "ada")).to_have_count(0)


def test_settings_say_where_they_come_from_and_no_secret(operate):
    page = operate("settings")
    expect(row_of(page, "auth.keys")).to_contain_text(re.compile(r"set.*gateway\.toml, line [0-9]+"))
    expect(row_of(page, "auth.hash_key")).to_contain_text("not set")
    assert (KEY in page.content(), CREDENTIAL in page.content()) == (False, False)
    expect(row_of(page, "upstream.attempts").locator("td").nth(1)).to_have_text("1")
    page.get_by_label("Only what differs").check()
    expect(page.get_by_role("cell", name="default", exact=True)).to_have_count(0)
    expect(row_of(page, "upstream.attempts")).to_have_count(1)


@pytest.mark.parametrize("tab", ["keys", "users", "settings"])
def test_nothing_is_wider_than_a_phone(operate, caller, tab):
    caller.key(name="a-name-without-a-space-" * 8, owner="o" * 200, tags=["t" * 50] * 3, budget={"micro": MOST})
    fits = "node => node.scrollWidth <= node.clientWidth && node.clientWidth <= innerWidth"
    page = operate(tab, size=PHONE)
    page.locator("tbody tr").first.wait_for()
    assert [page.locator(each).evaluate(fits) for each in ("html", "dragoman-operate")] == [True, True]
    if tab == "keys":
        page.get_by_role("button", name="Rotate the key a-name-without").click()
        submit(page, "Rotate")
        fresh_secret(page)
        page.get_by_role("button", name="Change the key a-name-without").click()
        page.get_by_label("Amount").wait_for()
        assert page.locator("dialog, dialog form").evaluate_all(f"nodes => nodes.map({fits})") == [True, True]


# The last one: its crowd pushes other keys off the first page.
def test_keys_are_found_by_team_and_turned_by_pages(operate, caller):
    assert caller.ask("PUT", "/api/admin/teams/crowd", {}).ok
    for number in range(101):
        caller.key(name=f"<b>{number:03}</b>", team="crowd")
    page = operate("keys")
    page.get_by_label("Team").select_option("crowd")
    rows = page.locator("tbody tr")
    for turn, count in (("Next", 100), ("Back", 1)):
        expect(rows).to_have_count(count)
        page.get_by_role("button", name=turn).click()
    expect(rows).to_have_count(100)
    expect(rows.first).to_contain_text(re.compile("<b>[0-9]{3}</b>"))
