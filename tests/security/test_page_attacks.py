"""The page in a real browser among enemies: a provider that says what it likes, and a page on another port.

Another port of the same host is the same site to a browser, so `SameSite` stops nothing here (docs/security.md).
"""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from operators import House

from dragoman.building import MASTER_KEY_FILE
from gateway import Gateway

MARKUP = '"><img src=http://evil.test/x onerror="owned=1"><script>owned=1</script><svg/onload=owned=1>'
ADDRESSES = ["javascript:owned=1", "data:text/html,<script>owned=1</script>", "java\tscript:owned=1", "blob:x"]
LINKS = "".join(f"[a]({address}) ![b]({address}) <{address}>\n" for address in ADDRESSES)
SAID = f"{MARKUP}\n\n{LINKS}\n![p](http://evil.test/p.png) http://evil.test/q \x1b[31m\x00\x7f\u202e\n```{MARKUP}\n"
NAMES = [MARKUP, "__proto__", "constructor", "toString", "javascript:owned=1", "\u202e\u2066x", "end\x7f\x1b[2J"]
SCREENS = {"chat": ".conversations a", "dialects": "pre", "operate/pool": ".provider", "operate/spend": "svg.chart"}
SCREENS |= {f"operate/{tab}": "tbody td" for tab in ("requests", "keys", "users", "settings")}
HASHES = ["javascript:owned=1", "/constructor", "/__proto__", "/chat/..%2f..", f"/operate/{MARKUP}"]
HASHES += [f"/login/{MARKUP}", f"/chat/{MARKUP}", f"/operate/requests/{MARKUP}", f"/dialects/{MARKUP}"]
WATCH = """
  addEventListener("securitypolicyviolation", (event) => console.error("violation", event.violatedDirective));
  Object.defineProperty(globalThis, "owned", { set() { console.error("a script ran"); } });
"""
# What a page elsewhere may do with our address, by the name of what it could read or bring about.
ATTACK = """async ([gateway, key, csrf]) => {
  const read = {}, path = `${gateway}/api/session`, proof = { "x-csrf-token": csrf };
  const ask = async (url, options) => {
    const name = JSON.stringify([url, options]);
    const response = await fetch(url, { credentials: "include", ...options }).catch(() => ({}));
    read[name] = response.ok ? await response.text() : "";
  };
  for (const rest of ["session", "admin/keys", "conversations", "listeners"]) await ask(`${gateway}/api/${rest}`);
  const body = JSON.stringify({ key });
  await ask(path, { method: "POST", headers: { "content-type": "application/json" }, body });
  await ask(path, { method: "POST", mode: "no-cors", body });
  await ask(path, { method: "DELETE", headers: proof });
  await ask(`${path}/token`, { method: "POST", headers: proof });
  await ask(`${path}/token`, { method: "POST", mode: "no-cors" });
  const put = (tag, props) => document.body.appendChild(Object.assign(document.createElement(tag), props));
  const told = (node) => new Promise((done) => { node.onload = () => done("loaded"); node.onerror = () => done(""); });
  read.script = await told(put("script", { src: path }));
  read.image = await told(put("img", { src: path }));
  for (const enctype of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]) {
    const frame = put("iframe", { name: enctype });
    const form = put("form", { action: path, method: "POST", enctype, target: enctype });
    form.append(Object.assign(document.createElement("input"), { name: `{"key":"${key}","name":"`, value: '"}' }));
    form.submit();
    await told(frame);
  }
  const socket = new WebSocket(`${gateway.replace("http", "ws")}/v1/ws`);
  socket.onopen = () => socket.send(JSON.stringify({ type: "ask", id: "q", content: "hello", model: "constructor" }));
  const heard = await new Promise((done) => { socket.onmessage = ({ data }) => done(data); socket.onclose = done; });
  if (JSON.parse(heard).code !== "unauthenticated") read.socket = heard;
  return Object.fromEntries(Object.entries(read).filter(([, text]) => text));
}"""


class Hostile(BaseHTTPRequestHandler):
    """A provider and a web site in one: it answers with attacks, and keeps the cookies that it is sent."""

    def do_GET(self):
        self.server.cookies += self.headers.get_all("cookie", [])
        is_list = self.path == "/v1/models"
        self.say(json.dumps({"data": [{"id": name} for name in NAMES]}) if is_list else "<!doctype html>", "text/html")

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["content-length"]))
        if b"fail" in asked:
            self.say(json.dumps({"error": {"message": SAID, "code": MARKUP}}), "application/json", 400)
            return
        call = {"index": 0, "id": MARKUP, "function": {"name": MARKUP, "arguments": json.dumps({"__proto__": SAID})}}
        deltas = [{"content": SAID}, {"reasoning_content": SAID}, {"tool_calls": [call]}]
        choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
        events = [*(json.dumps({"choices": [choice]}) for choice in choices), "[DONE]"]
        self.say("".join(f"data: {event}\n\n" for event in events), "text/event-stream")

    def say(self, text, kind, status=200):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *said):
        """Say nothing."""


@pytest.fixture(scope="module")
def hostile():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        server.cookies, server.url = [], f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Front(House):
    """A gateway whose one provider is hostile, and whose settings have markup."""

    def __init__(self, folder, url):
        provider = {"name": "p", "kind": "openai", "base_url": f"{url}/v1", "credentials": ["key"], "models": ["*"]}
        self.gateway = Gateway({"server": {"default_model": f"p/{MARKUP}"}, "providers": [provider]}, folder)
        self.port = self.gateway.port
        self.master = (folder / "data" / MASTER_KEY_FILE).read_text(encoding="ascii").strip()


@pytest.fixture(scope="module")
def house(hostile, tmp_path_factory):
    front = Front(tmp_path_factory.mktemp("front"), hostile.url)
    yield front
    front.stop()


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])


class Victim:
    """An operator who is logged in at the page. `harm` is what no attack may bring about."""

    def __init__(self, chromium, house):
        self.url, self.harm = house.gateway.url, []
        self.context = chromium.new_context()
        self.context.set_default_timeout(10_000)
        self.context.add_init_script(WATCH)
        self.page = self.context.new_page()
        self.page.on("console", lambda said: re.search("violat|Policy|ran$", said.text) and self.harm.append(said.text))
        self.page.on("pageerror", lambda error: self.harm.append(str(error)))
        self.page.on("dialog", lambda dialog: self.harm.append(dialog.message))
        self.page.on("request", lambda asked: asked.url.startswith((self.url, "data:")) or self.harm.append(asked.url))
        self.open("chat")
        self.page.get_by_label("Key", exact=True).fill(house.master)
        self.page.get_by_role("button", name="Log in").click()
        self.page.locator("dialog").wait_for(state="detached")

    def cookie(self):
        return next(each["value"] for each in self.context.cookies() if each["path"] == "/api/session")

    def open(self, place):
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/#{place}" if place.startswith("java") else f"{self.url}/#/{place.lstrip('/')}")


@pytest.fixture
def victim(chromium, house):
    victim = Victim(chromium, house)
    yield victim
    victim.context.close()
    assert [said for said in victim.harm if said != "about:blank"] == []


def test_no_text_becomes_a_script_or_a_request(house, victim):
    page, tags = victim.page, ["<svg onload=owned=1>", "__proto__"]
    house.ask("PUT", "/api/admin/teams/%3Cimg%20src=x%20onerror=owned=1%3E", house.master, {})
    house.ask("POST", "/api/admin/users", house.master, {"name": "<script>owned=1<*script>", "password": "pass word 1"})
    key, _ = house.make(name=MARKUP, owner=MARKUP, team="<img src=x onerror=owned=1>", tags=tags)
    parts = [{"type": "image_url", "image_url": {"url": "https://evil.test/x.png"}}, {"type": "text", "text": SAID}]
    reply = house.ask("POST", "/api/chat", house.master, {"content": parts, "model": MARKUP})
    id_ = json.loads(reply.body.split(b"data: ")[1].partition(b"\n")[0])["conversation_id"]
    house.ask("PATCH", f"/api/conversations/{id_}", house.master, {"title": MARKUP})
    victim.open(f"chat/{id_}")
    page.locator(".answer .markdown").get_by_text(MARKUP).first.wait_for()
    assert {link.get_attribute("href").partition(":")[0] for link in page.locator(".thread a").all()} == {"http"}
    page.get_by_label("Message", exact=True).fill("fail")
    page.keyboard.press("Enter")
    page.locator(".trouble, .outcome").get_by_text("<svg/onload=owned=1>").first.wait_for()
    request = reply.headers["x-request-id"]
    for place, there in {**SCREENS, f"operate/keys/{key}": "h2", f"operate/requests/{request}": ".story"}.items():
        victim.open(place)
        page.locator(there).locator("visible=true").first.wait_for()
        assert not page.locator("[onerror], [onload], iframe, script:not([src])").count()


def test_no_address_of_the_page_does_harm(victim):
    for place in HASHES:
        victim.open(place)
        victim.page.locator(".notice, .trouble, #screen > :not([hidden]) > *").first.wait_for(state="attached")
        assert victim.page.url.startswith(victim.url)


def test_another_port_logs_nobody_in_or_out_and_reads_nothing(house, hostile, victim):
    csrf = victim.page.evaluate("localStorage.getItem('dragoman-proof')")
    before, evil = victim.cookie(), victim.context.new_page()
    evil.goto(hostile.url)
    assert evil.evaluate(ATTACK, [victim.url, house.make(name="the enemy's")[1], csrf]) == {}
    assert victim.cookie() == before
    victim.page.reload()
    assert victim.page.locator(".who").inner_text() == "master"


def test_another_port_neither_frames_the_page_nor_holds_its_window(hostile, victim):
    evil = victim.context.new_page()
    evil.goto(hostile.url)
    evil.evaluate(
        "(src) => { document.body.append(Object.assign(document.createElement('iframe'), { src })); }", victim.url
    )
    evil.wait_for_load_state("networkidle")
    assert [frame.url for frame in evil.frames[1:]] == ["chrome-error://chromewebdata/"]
    with victim.context.expect_page() as opened:
        evil.evaluate("(url) => { globalThis.held = open(url); }", victim.url)
    opened.value.locator(".who").wait_for()
    assert evil.evaluate("held.closed")


def test_a_wrong_link_logs_nobody_out(victim):
    before = victim.cookie()
    with victim.page.expect_response(lambda told: told.request.method == "POST" and told.status == 401):
        victim.open("login/wrong")
    victim.page.locator(".who").wait_for()
    assert victim.cookie() == before


def test_what_another_port_is_sent_opens_nothing(house, hostile, victim):
    """Ports of a host share cookies, so another port is sent ours: without the proof it is worth nothing."""
    evil = victim.context.new_page()
    evil.goto(hostile.url)
    evil.evaluate("fetch('/api/session').then((told) => told.text())")
    stolen = [("Cookie", hostile.cookies[-1])]
    assert "dragoman-" in hostile.cookies[-1]
    for method, path in (("GET", "session"), ("POST", "session/token"), ("DELETE", "session")):
        assert house.ask(method, f"/api/{path}", headers=stolen).status == 403


def test_the_dialects_show_no_key_and_nothing_keeps_one(house, victim):
    page, shown = victim.page, set()
    page.on("request", lambda asked: shown.add(asked.headers.get("authorization", "").removeprefix("Bearer ")))
    victim.open("dialects")
    card = page.locator("#dialect-events-ws")
    card.get_by_role("button", name="Try it").click()
    card.locator(".ending").wait_for()
    tokens = shown - {""}
    assert tokens
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, location.href, document.cookie])")
    recorded = house.ask("GET", "/api/admin/requests", house.master).body.decode()
    places = (page.content(), kept, house.gateway.output(), recorded)
    assert [token for token in tokens for where in places if token in where] == []


def test_one_of_many_who_use_a_link_at_once_comes_in(house):
    code = house.gateway.wait_for(lambda: re.search(r"#/login/(\S+)", house.gateway.output()))[1]
    with ThreadPoolExecutor(15) as many:
        replies = list(many.map(lambda _: house.ask("POST", "/api/session", body={"link": code}), range(15)))
    assert sorted(reply.status for reply in replies) == [200] + [401] * 14
