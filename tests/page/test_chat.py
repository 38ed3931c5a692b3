"""The Chat screen as a person uses it: ask, stop, ask otherwise, find again; and what a model or a network may do."""

import base64
import json
import re
import subprocess

import pytest
from visiting import PHONE

from gateway import KEY, Gateway, House
from upstream import Signal, close, hold, send, stream

PIXEL = base64.b64decode("R0lGODlhAQABAAAAACw=")


class Stage:
    """A gateway of one public model, `scripted`, that says what the test has written for it."""

    def __init__(self, upstream, name, start):
        self.lane = upstream.lane(name, "openai")
        self.speaker = self.lane.speaker
        target = {"provider": name, "model": "m"}
        self.gateway = start(
            {
                "auth": {"keys": [KEY]},
                "providers": [House.provider(self.lane), {"name": "echo", "kind": "echo"}],
                "models": [{"name": "scripted", "targets": [target]}],
            }
        )

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


@pytest.fixture
def page(stage, visit):
    return enter(stage, visit).page


def enter(stage, visit, **how):
    session = visit(stage.gateway, **how)
    # The record of a call is written a moment after its end.
    page = session.forgive("404").login()
    page.get_by_label("Model", exact=True).select_option("scripted")
    return session


def write(page, text):
    page.get_by_label("Message", exact=True).fill(text)


def ask(page, text):
    write(page, text)
    page.keyboard.press("Enter")


def answers(page):
    return page.locator(".answer .markdown").all_inner_texts()


def wait_for_answer(page, text):
    page.locator(".answer:not(.streaming)").filter(has_text=text).wait_for()


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
    stage.says("The end.")
    ask(page, "Go on")
    wait_for_answer(page, "The end.")
    assert ("assistant", "Half of ") in stage.asked()
    page.reload()
    page.get_by_text("You stopped this answer.").wait_for()


def test_regenerate_makes_a_sibling_and_any_branch_may_be_continued(stage, page):
    stage.says("First answer")
    ask(page, "Say something")
    wait_for_answer(page, "First answer")
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
    stage.says("Third answer")
    ask(page, "And then?")
    wait_for_answer(page, "Third answer")
    assert stage.asked() == [("user", "Say something"), ("assistant", "First answer"), ("user", "And then?")]
    page.get_by_role("button", name="Later version").click()
    wait_for_answer(page, "Second answer")
    assert answers(page) == ["Second answer"]


def test_an_edited_question_is_a_sibling_and_the_old_one_stays(stage, page):
    stage.says("Blue")
    ask(page, "A colour of the sea?")
    wait_for_answer(page, "Blue")
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
    stage.says("An answer to keep")
    ask(page, "About herons")
    wait_for_answer(page, "An answer to keep")
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


def test_a_long_list_goes_on_as_one_scrolls(gateway, visit):
    session = visit(gateway)
    page = session.login()
    page.evaluate(
        """async () => { const { call } = await import("/page/api.js");
        const turns = (number) => [{ role: "user", content: `talk ${number}` }, { role: "assistant", content: "so" }];
        const conversations = Array.from({ length: 70 }, (_, number) => ({ turns: turns(number) }));
        await call("POST", "/api/conversations/import", { body: { conversations } }); }"""
    )
    page.reload()
    listed = page.locator(".conversations li")
    listed.first.wait_for()
    assert listed.count() < 70
    while listed.count() < 70:
        before = listed.count()
        page.mouse.move(100, 400)
        page.mouse.wheel(0, 5_000)
        page.wait_for_function("count => document.querySelectorAll('.conversations li').length > count", arg=before)
    assert len(set(listed.all_inner_texts())) == 70


def test_a_picture_goes_to_the_model(stage, page):
    picker = page.get_by_label("Pictures to add")
    picker.set_input_files([{"name": f"{n}.gif", "mimeType": "image/gif", "buffer": PIXEL} for n in range(2)])
    page.get_by_role("button", name="Remove picture 2").click()
    stage.says("A dot.")
    ask(page, "What is it?")
    wait_for_answer(page, "A dot.")
    [(_, content)] = stage.asked()
    picture = "data:image/gif;base64," + base64.b64encode(PIXEL).decode()
    assert [part.get("image_url", {}).get("url") for part in content] == [picture, None]
    assert page.locator(".question img").get_attribute("src") == picture
    page.reload()
    page.locator(".question img").wait_for()


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
    assert shown.locator(".bidi").inner_text() == "RLO"
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_thoughts_and_calls_of_tools_are_folded_and_a_result_can_be_given(stage, page):
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":'}}
    rest = {"index": 0, "function": {"arguments": '"Oslo"}'}}
    stage.chunks({"reasoning_content": "Let me look."}, {"tool_calls": [call]}, {"tool_calls": [rest]})
    page.get_by_text("System message and settings").click()
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
    page.get_by_role("button", name="Send the result").click()
    wait_for_answer(page, "It rains.")
    sent = stage.lane.requests[-1].json["messages"]
    assert (sent[0]["role"], sent[-1]["role"], sent[-1]["tool_call_id"]) == ("system", "tool", "call_1")


def test_wrong_tools_are_said_and_nothing_is_lost(page):
    page.get_by_text("System message and settings").click()
    page.get_by_label("Tools").fill("[{")
    ask(page, "A question")
    page.get_by_text("The tools are not JSON.").wait_for()
    assert page.get_by_label("Message", exact=True).input_value() == "A question"


def test_a_draft_outlives_a_reload_and_shift_enter_is_a_new_line(page):
    write(page, "one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.reload()
    page.wait_for_function("() => document.querySelector('.composer > textarea')?.value === 'one\\ntwo'")


def test_at_phone_width_the_list_is_a_drawer(stage, visit):
    page = enter(stage, visit, size=PHONE).page
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


def test_an_answer_that_the_provider_cut_says_so_and_is_asked_again(stage, page):
    stage.begins("Half of", close)
    ask(page, "Cut me")
    page.locator(".answer").get_by_role("button", name="Retry").wait_for()
    assert answers(page) == ["Half of"]
    stage.says("All of it")
    page.locator(".answer").get_by_role("button", name="Retry").click()
    wait_for_answer(page, "All of it")
    assert page.locator(".answer .arrows").inner_text() == "2 / 2"


def test_a_busy_provider_says_when_to_try_again_and_the_question_is_kept(stage, visit):
    page = enter(stage, visit).forgive("429").page
    page.get_by_label("Model", exact=True).select_option("echo-busy")
    ask(page, "Too soon")
    retry = page.get_by_role("button", name=re.compile("Retry|Try again"))
    retry.wait_for()
    page.get_by_text(re.compile(r"Try again in \d+ s")).wait_for()
    kept = page.get_by_label("Message", exact=True).input_value() + page.locator(".thread").inner_text()
    assert "Too soon" in kept


def test_a_turn_that_is_under_way_elsewhere_is_waited_for(stage, visit):
    page = enter(stage, visit).page
    stage.says("Ready")
    ask(page, "Begin")
    wait_for_answer(page, "Ready")
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
        page.get_by_text("The connection was cut; what had arrived is kept.").wait_for()
        page.get_by_role("status").get_by_text("does not answer").wait_for()
        args = stage.gateway.process.args
        stage.gateway.stop()
        again = subprocess.Popen(args, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        with page.expect_response(lambda said: "/api/conversations/" in said.url and said.ok):
            page.get_by_text("The gateway is back.").wait_for()
        assert page.get_by_label("Message", exact=True).input_value() == "typed meanwhile"
        assert answers(page) == ["Saved words"]
    finally:
        stage.gateway.stop()
        if again:
            again.terminate()
            again.wait(10)
