"""The Chat screen as a person uses it: ask, stop, ask otherwise, find again; and what a model or a network may do."""

import base64
import json
import re
from functools import partial

import pytest
from visiting import PHONE, WIDE, Visit, master_key

from gateway import Gateway, House
from upstream import Signal, close, hold, send, stream

PIXEL = base64.b64decode("R0lGODlhAQABAAAAACw=")
CALL = """async ([path, body]) => (await import("/page/api.js")).call("POST", path, { body })"""
PASTE = """(area, bytes) => {
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([new Uint8Array(bytes)], "pasted.gif", { type: "image/gif" }));
  area.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}"""
RESET = """() => {
  sessionStorage.clear();
  location.hash = "#/chat";
  for (const control of document.querySelectorAll("dragoman-chat :is(textarea, input)")) {
    control.value = "";
    control.dispatchEvent(new Event("input"));
  }
}"""


class Stage:
    """A gateway of one public model, `scripted`, that says what the test has written for it."""

    def __init__(self, upstream, name, start):
        self.lane = upstream.lane(name, "openai")
        self.speaker = self.lane.speaker
        target = {"provider": name, "model": "m"}
        self.gateway = start(
            {
                "providers": [House.provider(self.lane), {"name": "echo", "kind": "echo"}],
                "models": [{"name": "scripted", "targets": [target]}],
            }
        )
        self.key = master_key(self.gateway)

    def says(self, *texts):
        self.lane.play(stream(self.speaker.events(texts)))

    def chunks(self, *deltas):
        opening = self.speaker.opening()
        self.lane.play(stream([*opening, *(self.speaker.chunk(delta) for delta in deltas), *self.speaker.closing()]))

    def begins(self, text, *then):
        """Say this and then do what the steps say, without an end."""
        self.lane.play([*stream([*self.speaker.opening(), self.speaker.text(text)], end=False), *then])

    def asked(self):
        """What the provider was asked last: role and content of each message."""
        return [(said["role"], said["content"]) for said in self.lane.requests[-1].json["messages"]]


@pytest.fixture(scope="module")
def stage(upstream, start_gateway):
    return Stage(upstream, "chat-screen", start_gateway)


@pytest.fixture(scope="module")
def desk(stage, browser):
    session = enter(stage, partial(Visit, browser))
    yield session
    session.close()


@pytest.fixture
def page(desk):
    """The page that these tests share, at a new chat without drafts and settings."""
    desk.page.evaluate(RESET)
    desk.page.get_by_text("What would you like to ask?").wait_for()
    return choose(desk.page, "scripted")


def enter(stage, visit, key=None):
    session = visit(stage.gateway)
    # The record of a call is written a moment after its end.
    choose(session.forgive("404").login(key or stage.key), "scripted")
    return session


def choose(page, model):
    page.get_by_label("Model", exact=True).select_option(model)
    return page


def write(page, text):
    page.get_by_label("Message", exact=True).fill(text)


def ask(page, text):
    write(page, text)
    page.keyboard.press("Enter")


def answers(page):
    return page.locator(".answer .markdown").all_inner_texts()


def wait_for_answer(page, text):
    page.locator(".answer:not(.streaming)").filter(has_text=text).wait_for()


def talk(stage, page, question, answer):
    stage.says(answer)
    ask(page, question)
    wait_for_answer(page, answer)


def test_an_answer_comes_and_is_there_after_a_reload(stage, page):
    stage.says("It is ", "**Paris**", ".")
    ask(page, "The capital of France?")
    wait_for_answer(page, "It is Paris.")
    figures = page.locator(".answer .figures", has_text=re.compile(r"25 tokens in, 7 out · price unknown · .*ms"))
    figures.wait_for()
    assert page.get_by_role("heading", level=1).inner_text() == "The capital of France?"
    assert page.get_by_label("Message", exact=True).input_value() == ""
    assert re.search(r"#/chat/[0-9a-f-]{36}$", page.url)
    page.reload()
    wait_for_answer(page, "It is Paris.")
    assert page.locator(".answer strong").inner_text() == "Paris"
    figures.wait_for()


def test_stop_keeps_what_came_and_the_next_question_goes_on(stage, page):
    stage.begins("Half of ", hold())
    ask(page, "A long story")
    page.get_by_text("Half of").wait_for()
    page.get_by_role("button", name="Stop (Escape)").click()
    page.get_by_text("You stopped this answer.").wait_for()
    assert stage.lane.requests[-1].left.wait_here()
    talk(stage, page, "Go on", "The end.")
    assert ("assistant", "Half of ") in stage.asked()
    page.reload()
    page.get_by_text("You stopped this answer.").wait_for()


def test_regenerate_makes_a_sibling_and_any_branch_may_be_continued(stage, page):
    talk(stage, page, "Say something", "First answer")
    stage.says("Second answer")
    page.get_by_role("button", name="Regenerate").click()
    wait_for_answer(page, "Second answer")
    arrows = page.locator(".answer .arrows")
    assert arrows.inner_text() == "2 / 2"
    page.get_by_role("button", name="Earlier version").click()
    wait_for_answer(page, "First answer")
    assert (arrows.inner_text(), answers(page)) == ("1 / 2", ["First answer"])
    page.reload()
    wait_for_answer(page, "First answer")
    talk(stage, page, "And then?", "Third answer")
    assert stage.asked() == [("user", "Say something"), ("assistant", "First answer"), ("user", "And then?")]
    page.get_by_role("button", name="Later version").click()
    wait_for_answer(page, "Second answer")
    assert answers(page) == ["Second answer"]


def test_an_edited_question_is_a_sibling_and_the_old_one_stays(stage, page):
    talk(stage, page, "A colour of the sea?", "Blue")
    page.locator(".question").hover()
    page.get_by_role("button", name="Edit: ask this differently").click()
    stage.says("Green")
    page.get_by_label("Edit the question").fill("A colour of grass?")
    page.keyboard.press("Enter")
    wait_for_answer(page, "Green")
    assert stage.asked() == [("user", "A colour of grass?")]
    assert page.locator(".question .arrows").inner_text() == "2 / 2"
    page.get_by_role("button", name="Earlier version").click()
    wait_for_answer(page, "Blue")
    assert page.locator(".question .plain").inner_text() == "A colour of the sea?"


def test_conversations_are_found_renamed_exported_and_deleted(stage, page):
    talk(stage, page, "About herons", "An answer to keep")
    listed = page.locator(".conversations li")
    listed.filter(has_text="About herons").hover()
    page.get_by_role("button", name="Rename “About herons”").click()
    page.get_by_label("Title").fill("Birds & <b>water</b>")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="Birds & <b>water</b>").wait_for()
    page.get_by_label("Search conversations").fill("birds")
    page.wait_for_function("() => document.querySelectorAll('.conversations li').length === 1")
    for choice, name in (("json", ".json"), ("markdown", ".md")):
        page.get_by_role("button", name="Export “Birds").click()
        page.get_by_label("Format").select_option(choice)
        with page.expect_download() as download:
            page.get_by_role("dialog").get_by_role("button", name="Export").click()
        assert download.value.suggested_filename.endswith(name)
        assert "An answer to keep" in download.value.path().read_text(encoding="utf-8")
    page.get_by_role("button", name="Delete “Birds").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_text("No title has this.").wait_for()
    page.get_by_text("What would you like to ask?").wait_for()


def test_a_picture_goes_to_the_model(stage, page):
    picker = page.get_by_label("Pictures to add")
    picker.set_input_files([{"name": f"{n}.gif", "mimeType": "image/gif", "buffer": PIXEL} for n in range(2)])
    page.get_by_role("button", name="Remove picture 2").click()
    page.get_by_label("Message", exact=True).evaluate(PASTE, list(PIXEL))
    page.get_by_alt_text("Picture 2").wait_for()
    talk(stage, page, "What is it?", "A dot.")
    [(_, content)] = stage.asked()
    picture = "data:image/gif;base64," + base64.b64encode(PIXEL).decode()
    assert [part.get("image_url", {}).get("url") for part in content] == [picture, picture, None]
    assert page.locator(".question img").first.get_attribute("src") == picture
    page.reload()
    page.locator(".question img").first.wait_for()


def test_what_a_model_says_is_never_html(stage, page):
    hostile = (
        "<script>window.hit=1</script><img src=x onerror='window.hit=1'> [go](javascript:window.hit=1) \u202egnp.exe"
    )
    lone = stage.speaker.text("half @ done").replace(b"@", b"\\ud800")
    opening, closing = stage.speaker.opening(), stage.speaker.closing()
    said = [stage.speaker.text(hostile + "\n\n"), stage.speaker.text("*a **" * 20_000 + "\n\n")]
    stage.lane.play(stream([*opening, *said, stage.speaker.text("x" * 1_000_000 + "\n\n"), lone, *closing]))
    ask(page, "Attack")
    shown = page.locator(".answer .markdown")
    shown.get_by_text("half \ufffd done").wait_for()
    page.locator(".answer").get_by_role("button", name="Retry").wait_for(state="detached")
    assert shown.locator("script, img, a").count() == 0
    assert "<script>window.hit=1</script>" in shown.inner_text()
    assert shown.locator(".bidi").inner_text() == "U+202E"
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_thoughts_and_calls_of_tools_are_folded_and_a_result_can_be_given(stage, page):
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":'}}
    rest = {"index": 0, "function": {"arguments": '"Oslo"}'}}
    other = {"index": 1, "id": "call_2", "type": "function", "function": {"name": "tides", "arguments": "{}"}}
    stage.chunks({"reasoning_content": "Let me look."}, *({"tool_calls": [each]} for each in (call, rest, other)))
    page.locator(".settings").evaluate("node => { node.open = true; }")
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    page.get_by_label("Tools").fill(json.dumps([tool]))
    page.get_by_label("System message", exact=True).fill("Be brief.")
    ask(page, "The weather in Oslo?")
    page.get_by_text("Tool call: weather").click()
    page.locator(".tool pre").get_by_text('"city": "Oslo"').wait_for()
    assert not page.get_by_text("Let me look.").is_visible()
    page.get_by_text("Thinking…").click()
    page.get_by_text("Let me look.").wait_for()
    stage.says("It rains.")
    page.get_by_label("The result of weather").fill("rain")
    page.get_by_text("Tool call: tides").click()
    page.get_by_label("The result of tides").fill("high")
    page.get_by_role("button", name="Send the results").click()
    wait_for_answer(page, "It rains.")
    sent = stage.lane.requests[-1].json["messages"]
    results = [(said["tool_call_id"], said["content"]) for said in sent if said["role"] == "tool"]
    assert (sent[0]["role"], results) == ("system", [("call_1", "rain"), ("call_2", "high")])


def test_an_answer_that_reached_the_limit_says_so(stage, page):
    ending = [said.replace(b'"stop"', b'"length"') for said in stage.speaker.closing()]
    stage.lane.play(stream([*stage.speaker.opening(), stage.speaker.text("And so"), *ending]))
    ask(page, "A long story")
    page.get_by_text("This answer ended at the limit of tokens.").wait_for()


def test_wrong_tools_are_said_and_nothing_is_lost(stage, page):
    page.locator(".settings").evaluate("node => { node.open = true; }")
    page.get_by_label("Tools").fill("[{")
    ask(page, "A question")
    page.get_by_text("The tools are not JSON.").wait_for()
    assert page.get_by_label("Message", exact=True).input_value() == "A question"
    page.get_by_label("Tools").fill("")
    talk(stage, page, "A question", "An answer")


def test_a_draft_outlives_a_reload_and_shift_enter_is_a_new_line(page):
    write(page, "one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.reload()
    page.wait_for_function("() => document.querySelector('.composer > textarea')?.value === 'one\\ntwo'")


def test_at_phone_width_the_list_is_a_drawer(stage, page):
    page.set_viewport_size(PHONE)
    stage.says("```\n" + "wide " * 100 + "\n```\n\n|" + " column |" * 30 + "\n|" + "-|" * 30)
    ask(page, "Something wide")
    wait_for_answer(page, "wide")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    side = page.get_by_role("complementary", name="Conversations")
    assert not side.is_visible()
    page.get_by_role("button", name="Conversations").click()
    side.get_by_role("link", name="Something wide").wait_for()
    page.keyboard.press("Escape")
    side.wait_for(state="hidden")
    page.set_viewport_size(WIDE)


def test_an_answer_that_the_provider_cut_says_so_and_is_asked_again(stage, page):
    stage.begins("Half of", close)
    ask(page, "Cut me")
    page.locator(".answer").get_by_role("button", name="Retry").wait_for()
    assert answers(page) == ["Half of"]
    stage.says("All of it")
    page.locator(".answer").get_by_role("button", name="Retry").click()
    wait_for_answer(page, "All of it")
    assert page.locator(".answer .arrows").inner_text() == "2 / 2"


def refused(page):
    """What is said below a question that was not taken, which is still there to be sent."""
    trouble = page.locator(".composer .trouble")
    trouble.wait_for()
    assert page.get_by_label("Message", exact=True).input_value() == "Too soon"
    assert page.locator(".message").count() == 0
    return trouble.inner_text()


def test_a_busy_provider_says_when_to_try_again_and_the_question_is_kept(desk, page):
    desk.forgive("429")
    choose(page, "echo-busy")
    ask(page, "Too soon")
    assert re.search(r"Try again in \d+ s", refused(page))


def test_a_budget_that_is_used_up_says_whom_to_ask_and_the_question_is_kept(stage, visit, page):
    made = page.evaluate(CALL, ["/api/admin/keys", {"name": "poor", "budget": {"amount": "0", "window": "total"}}])
    page = enter(stage, visit, made["secret"]).forgive("402").page
    ask(page, "Too soon")
    assert "Ask an operator for a larger budget" in refused(page)


def test_a_turn_that_is_under_way_elsewhere_is_waited_for(stage, visit):
    page = enter(stage, visit).page
    talk(stage, page, "Begin", "Ready")
    go = Signal()
    rest = [stage.speaker.text(" enough"), *stage.speaker.closing()]
    pieces = [b"%x\r\n%b\r\n" % (len(event), event) for event in rest]
    stage.begins("Slow", hold(go), send(*pieces, b"0\r\n\r\n"))
    other = page.context.new_page()
    other.goto(page.url)
    wait_for_answer(other, "Ready")
    ask(page, "First of two")
    page.locator(".answer").get_by_text("Slow").wait_for()
    stage.says("Second")
    refused = other.expect_response(lambda said: said.url.endswith("/api/chat") and said.status == 409)
    with refused:
        ask(other, "Second of two")
    go.fire()
    wait_for_answer(page, "Slow enough")
    wait_for_answer(other, "Second")


def test_a_long_list_goes_on_as_one_scrolls(page):
    turns = [[{"role": "user", "content": f"talk {n}"}, {"role": "assistant", "content": "so"}] for n in range(70)]
    page.evaluate(CALL, ["/api/conversations/import", {"conversations": [{"turns": each} for each in turns]}])
    with page.expect_response(lambda said: "q=talk" in said.url):
        page.get_by_label("Search conversations").fill("talk")
    listed = page.locator(".conversations li")
    page.locator(".conversations li:first-child").filter(has_text="talk").wait_for()
    assert listed.count() < 70
    while listed.count() < 70:
        before = listed.count()
        page.mouse.move(100, 400)
        page.mouse.wheel(0, 5_000)
        page.wait_for_function("count => document.querySelectorAll('.conversations li').length > count", arg=before)
    assert len(set(listed.all_inner_texts())) == 70


def test_a_gateway_that_dies_in_mid_answer_comes_back_with_what_it_saved(upstream, visit, tmp_path):
    stage = Stage(upstream, "chat-dies", lambda tree: Gateway(tree, tmp_path))
    again = None
    try:
        session = enter(stage, visit).forgive("ERR_", "Failed to fetch")
        page = session.page
        stage.begins("Saved words", hold())
        ask(page, "Will you stay?")
        page.get_by_text("Saved words").wait_for()
        write(page, "typed meanwhile")
        stage.gateway.process.kill()
        page.get_by_text("The connection was cut in mid-answer.").wait_for()
        page.get_by_role("status").get_by_text("does not answer").wait_for()
        stage.gateway.stop()
        again = stage.gateway.again()
        with page.expect_response(lambda said: "/api/conversations/" in said.url and said.ok):
            page.get_by_text("The gateway is back.").wait_for()
        assert page.get_by_label("Message", exact=True).input_value() == "typed meanwhile"
        assert answers(page) == ["Saved words"]
    finally:
        stage.gateway.stop()
        if again:
            again.terminate()
            again.wait(10)
