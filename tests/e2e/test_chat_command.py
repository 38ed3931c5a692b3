"""`dragoman chat` at a real terminal: the answers come from the scripted upstream, so that they cannot be
taken for the terminal's echo of what was typed."""

import pytest
from program import running
from terminal import sitting_at

from upstream import LAST_CHUNK, Signal, chunk, close, hold, mark, send, stream, unary


def streamed(vendor, *words):
    return stream(vendor.speaker.events(words))


def broken_off(vendor, *words):
    """The first words of an answer whose message stays open."""
    return stream([*vendor.speaker.opening(), *map(vendor.speaker.text, words)], end=False)


@pytest.fixture
def folder(vendor, tmp_path):
    (tmp_path / "dragoman.toml").write_text(
        f"""
        [server]
        port = 0
        grpc_port = 0
        websocket_port = 0
        default_model = "first"
        [[providers]]
        name = "vendor"
        kind = "openai"
        base_url = "{vendor.base_url}"
        credentials = ["sk-canary-0001"]
        models = ["m1", "m2"]
        [[models]]
        name = "first"
        targets = [{{ provider = "vendor", model = "m1" }}]
        [[models]]
        name = "second"
        targets = [{{ provider = "vendor", model = "m2" }}]
        """
    )
    vendor.always(streamed(vendor, "Quack ", "says ", "the ", "drake."))
    return tmp_path


def history(vendor):
    return [(turn["role"], turn["content"]) for turn in vendor.requests[-1].json["messages"]]


def test_answer_is_shown(folder, vendor):
    with sitting_at(["chat"], folder) as terminal:
        terminal.enter("What do you say?")
        terminal.wait_for("Quack says the drake.")
        assert vendor.requests[-1].json["model"] == "m1"
        assert history(vendor)[-1] == ("user", "What do you say?")
        terminal.at_prompt()
        terminal.press("d")
        assert terminal.exit_code() == 0
        assert "Traceback" not in terminal.shown
        assert "sk-canary" not in terminal.shown


def test_model_can_be_chosen(folder, vendor):
    with sitting_at(["chat", "second"], folder) as terminal:
        terminal.enter("Hello?")
        terminal.wait_for("Quack says the drake.")
        assert vendor.requests[-1].json["model"] == "m2"


def test_unknown_model_gets_the_nearest_names(folder):
    with sitting_at(["chat", "secnd"], folder) as terminal:
        terminal.enter("Hello?")
        terminal.wait_for("secnd.*\n?.*second")
        assert "Traceback" not in terminal.shown


def test_answer_is_shown_while_it_comes(folder, vendor):
    rest = Signal()
    later = [*map(vendor.speaker.text, ["second ", "half"]), *vendor.speaker.closing()]
    vendor.always([*broken_off(vendor, "first ", "half, "), hold(rest), send(*map(chunk, later), LAST_CHUNK)])
    with sitting_at(["chat"], folder) as terminal:
        terminal.enter("Take your time.")
        terminal.wait_for("first half, ")
        assert "second half" not in terminal.shown
        rest.fire()
        terminal.wait_for("second half")


def test_history_is_remembered(folder, vendor):
    with sitting_at(["chat"], folder) as terminal:
        terminal.enter("My name is Ada.")
        terminal.wait_for("Quack says the drake.")
        vendor.always(streamed(vendor, "You ", "are ", "she."))
        terminal.enter("Who am I?")
        terminal.wait_for("You are she.")
        assert history(vendor)[-3:] == [
            ("user", "My name is Ada."),
            ("assistant", "Quack says the drake."),
            ("user", "Who am I?"),
        ]


def test_text_of_any_script(folder, vendor):
    vendor.always(streamed(vendor, "Größe ", "🐉 ", "竜"))
    with sitting_at(["chat"], folder) as terminal:
        terminal.enter("Wie groß ist 竜?")
        terminal.wait_for("Größe 🐉 竜")
        assert history(vendor)[-1] == ("user", "Wie groß ist 竜?")


def test_interrupt_cancels_the_answer_and_not_the_program(folder, vendor):
    vendor.always([*broken_off(vendor, "And ", "so ", "on"), hold()])
    with sitting_at(["chat"], folder) as terminal:
        terminal.enter("Tell me everything.")
        terminal.wait_for("And so on")
        terminal.press("c")
        vendor.requests[-1].left.wait_here()
        vendor.always(streamed(vendor, "Back ", "again."))
        terminal.enter("Still there?")
        terminal.wait_for("Back again.")
        assert history(vendor)[-1] == ("user", "Still there?")
        assert '"event"' not in terminal.shown, "the log of the gateway stands in the conversation"
        terminal.at_prompt()
        terminal.press("d")
        assert terminal.exit_code() == 0
        assert "Traceback" not in terminal.shown


def test_interrupt_before_the_first_word(folder, vendor):
    asked = Signal()
    vendor.always([mark(asked), hold()])
    with sitting_at(["chat"], folder) as terminal:
        terminal.enter("Anyone?")
        asked.wait_here()
        terminal.press("c")
        vendor.requests[-1].left.wait_here()
        vendor.always(streamed(vendor, "Here ", "now."))
        terminal.enter("Still there?")
        terminal.wait_for("Here now.")


def test_broken_answer_is_said_to_be_broken(folder, vendor):
    vendor.always([*broken_off(vendor, "It ", "is ", "not"), close])
    with sitting_at(["chat"], folder) as terminal:
        terminal.enter("Is it whole?")
        terminal.wait_for("It is not")
        terminal.wait_for(r"(?i)stopped|broke|truncated|incomplete|error|cut")
        vendor.always(streamed(vendor, "All ", "of ", "it."))
        terminal.enter("Once more.")
        terminal.wait_for("All of it.")
        assert "Traceback" not in terminal.shown


def test_failure_is_said_and_survived(folder, vendor):
    vendor.always(unary(vendor.speaker.refusal("Too many ducks."), 400))
    with sitting_at(["chat"], folder) as terminal:
        terminal.enter("Hello?")
        terminal.wait_for("Too many ducks.")
        vendor.always(streamed(vendor, "Better ", "now."))
        terminal.enter("Again?")
        terminal.wait_for("Better now.")
        assert "Traceback" not in terminal.shown


def test_running_gateway_is_used(folder, vendor, tmp_path_factory):
    """From a folder without any configuration: the answer can only have come through the gateway."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with running(["serve"], folder) as program:
        program.wait_for(r"(?m)^\s*curl\b")
        key = (folder / "dragoman-data" / "master.key").read_text().strip()
        url = f"http://127.0.0.1:{program.port}"
        with sitting_at(["chat", "second", "--url", url], elsewhere, {"DRAGOMAN_KEY": key}) as terminal:
            terminal.enter("Hello?")
            terminal.wait_for("Quack says the drake.")
            assert vendor.requests[-1].json["model"] == "m2"
            terminal.at_prompt()
            terminal.press("d")
            assert terminal.exit_code() == 0
            assert key not in terminal.shown


def test_end_of_input_leaves_at_the_first_prompt(folder):
    with sitting_at(["chat"], folder) as terminal:
        terminal.at_prompt()
        terminal.press("d")
        assert terminal.exit_code() == 0
        assert "Traceback" not in terminal.shown


def test_interrupt_at_the_prompt_is_no_crash(folder):
    with sitting_at(["chat"], folder) as terminal:
        terminal.at_prompt()
        terminal.press("c")
        terminal.enter("Hello?")
        terminal.wait_for("Quack says the drake.")
        assert "Traceback" not in terminal.shown
