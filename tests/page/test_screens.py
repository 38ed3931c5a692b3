"""A gateway at work, as its pictures in the docs show it: `make test TESTS=tests/page ARGS=--screens` renews them."""

import pytest
from visiting import PHONE, Visit, master_key

from gateway import Gateway, toml
from upstream import stream, unary

ANSWER = """A dragoman was the interpreter at a court who spoke **every side's language**.

```python
from openai import OpenAI

client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="dgk_…")
```

| side | speaks |
|---|---|
| your front end | OpenAI, Anthropic, WebSocket, gRPC |
| the providers | whatever they like |

1. One key for each of your people,
2. one bill that you can trust.
"""
PRICES = {"input": "400", "output": "1600"}


@pytest.fixture(scope="module")
def lanes(upstream):
    return {name: upstream.lane(f"screens-{name}", "openai") for name in ("first", "second")}


@pytest.fixture(scope="module")
def gateway(lanes, tmp_path_factory):
    rows = [
        {
            "name": name,
            "kind": "openai",
            "base_url": lane.base_url,
            "credentials": ["sk-the-first-of-two-a1b2", "sk-the-second-of-two-c3d4"],
        }
        for name, lane in lanes.items()
    ]
    models = [
        {
            "name": "court",
            "targets": [{"provider": "first", "model": "m"}],
            "fallbacks": [{"provider": "second", "model": "m"}],
        }
    ]
    prices = [{"provider": "*", "model": "m", **PRICES}]
    tree = {"providers": [{**row, "models": ["m"]} for row in rows], "models": models, "prices": prices}
    running = Gateway(toml(tree), tmp_path_factory.mktemp("screens"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def at_work(gateway, lanes, browser):
    """A day at court: a conversation with a branch, a provider that is busy, keys with budgets."""
    session = Visit(browser, gateway)
    page = session.login(master_key(gateway))
    speaker = lanes["first"].speaker
    lanes["first"].always(
        lambda request: stream(speaker.events([ANSWER[at : at + 40] for at in range(0, len(ANSWER), 40)]))
    )
    lanes["second"].always(lambda request: stream(speaker.events(["A guide at court."])))
    for words in ("What is a dragoman?", "What does it cost me?"):
        page.get_by_label("Message", exact=True).fill(words)
        page.keyboard.press("Enter")
        page.get_by_role("article", name="Answer").last.get_by_text("tokens").wait_for()
    refused = unary(speaker.refusal("Rate limit reached.", "requests"), 429, {"retry-after": "120"})
    lanes["first"].play(refused, refused)
    page.get_by_role("button", name="Regenerate").last.click()
    page.get_by_text("2 / 2").wait_for()
    for name, amount in (("Ann's app", "0.25"), ("Night jobs", "0.90"), ("Front end", "100.00")):
        page.evaluate(
            """async ([name, amount]) => { const api = await import("/page/api.js");
            const key = await api.call("POST", "/api/admin/keys", { body: { name, team: "", budget: { amount, window: "day" } } });
            const body = { model: "court", stream: true, max_tokens: 20, messages: [{ role: "user", content: "What is a dragoman?" }] };
            const answer = await api.openStream("/v1/chat/completions", { body, key: key.secret });
            await answer.text(); }""",
            [name, amount],
        )
    yield page
    session.close()


@pytest.mark.parametrize(
    ("screen", "there"),
    [
        ("chat", "dragoman-chat article:last-of-type :text('cost')"),
        ("dialects", "dragoman-dialects pre"),
        ("operate/pool", "dragoman-operate .card"),
        ("operate/requests", "dragoman-operate tbody tr:nth-child(4)"),
        ("operate/spend", "dragoman-operate svg rect"),
        ("operate/keys", "dragoman-operate .bar"),
        ("operate/users", "dragoman-operate h2"),
        ("operate/settings", "dragoman-operate tbody tr:nth-child(20)"),
    ],
)
def test_a_screen_at_work(gateway, at_work, keep_screen, screen, there):
    if screen != "chat":
        at_work.goto(f"{gateway.url}/#/{screen}")
    if screen == "dialects":
        at_work.get_by_role("button", name="Try it").first.click()
        at_work.get_by_text("[DONE]").first.wait_for()
    at_work.locator(there).locator("visible=true").first.wait_for()
    keep_screen(at_work, screen.rpartition("/")[2])


def test_on_a_phone(gateway, at_work, visit, keep_screen):
    page = visit(gateway, size=PHONE, dark=True).login(master_key(gateway))
    page.get_by_role("button", name="Conversations").click()
    page.get_by_text("What is a dragoman?").first.click()
    page.get_by_text("interpreter").wait_for()
    keep_screen(page, "phone")
