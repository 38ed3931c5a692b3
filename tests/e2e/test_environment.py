"""Without any file: the vendors' own variables are enough, and what is secret in them stays so."""

import json

import pytest
from asking import ask, chat
from doors import proxying
from program import running

from upstream import unary

KEY = "sk-canary-environment-0001"


@pytest.fixture
def claude(upstream, vendor):
    return upstream.lane(f"{vendor.name}-claude", "anthropic")


class Running:
    """A gateway in an empty folder, with nothing but an environment."""

    def __init__(self, folder, env):
        ports = {
            "DRAGOMAN_SERVER__PORT": "0",
            "DRAGOMAN_SERVER__GRPC_PORT": "0",
            "DRAGOMAN_SERVER__WEBSOCKET_PORT": "0",
        }
        self.context = running(["serve"], folder, {**ports, **env})
        self.folder = folder

    def __enter__(self):
        self.program = self.context.__enter__()
        self.program.wait_for(r"(?m)^\s*curl\b")
        self.port = self.program.port
        self.key = (self.folder / "dragoman-data" / "master.key").read_text().strip()
        return self

    def __exit__(self, *error):
        return self.context.__exit__(*error)

    def complete(self, model, **more):
        return ask(self, "/v1/chat/completions", chat(model, **more), key=self.key)


def test_openai_variables_are_enough(vendor, tmp_path):
    vendor.always(unary(vendor.speaker.whole("fine")))
    with Running(tmp_path, {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": vendor.base_url}) as gateway:
        answer = gateway.complete("gpt-any")
        assert (answer.status, answer.text) == (200, "fine")
        [request] = vendor.requests
        assert request.credential == KEY
        assert request.json["model"] == "gpt-any"
        assert KEY not in gateway.program.output


def test_anthropic_variables_are_enough(claude, tmp_path):
    claude.always(unary(claude.speaker.whole("fine")))
    with Running(tmp_path, {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": claude.base_url}) as gateway:
        answer = gateway.complete("claude-any")
        assert (answer.status, answer.text) == (200, "fine")
        [request] = claude.requests
        assert request.headers["x-api-key"] == KEY
        assert request.json["model"] == "claude-any"
        assert KEY not in gateway.program.output


def test_both_vendors_at_once(vendor, claude, tmp_path):
    vendor.always(unary(vendor.speaker.whole("by the one")))
    claude.always(unary(claude.speaker.whole("by the other")))
    env = {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": vendor.base_url,
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": claude.base_url,
    }
    with Running(tmp_path, env) as gateway:
        assert gateway.complete("openai/m").text == "by the one"
        assert gateway.complete("anthropic/m").text == "by the other"


def test_variables_may_stand_in_dotenv(vendor, tmp_path):
    vendor.always(unary(vendor.speaker.whole("fine")))
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\nOPENAI_BASE_URL={vendor.base_url}\n")
    with Running(tmp_path, {}) as gateway:
        assert gateway.complete("gpt-any").text == "fine"


def test_providers_in_a_file_come_before_the_variables(vendor, tmp_path):
    """Who writes down providers means these: a key that lies about in the environment adds none."""
    (tmp_path / "dragoman.toml").write_text('[[providers]]\nname = "parrots"\nkind = "echo"\n')
    with Running(tmp_path, {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": vendor.base_url}) as gateway:
        assert gateway.complete("echo").text == "hello there"
        assert gateway.complete("gpt-any").status == 404
    assert vendor.requests == []


def test_providers_in_a_variable(vendor, tmp_path):
    vendor.always(unary(vendor.speaker.whole("fine")))
    row = (
        f'[{{ name = "v", kind = "openai", base_url = "{vendor.base_url}", credentials = ["{KEY}"], models = ["m"] }}]'
    )
    with Running(tmp_path, {"DRAGOMAN_PROVIDERS": row}) as gateway:
        assert gateway.complete("m").text == "fine"
        assert KEY not in gateway.program.output


def test_proxy_of_the_environment_is_used_for_https(upstream, tmp_path):
    with proxying(upstream.port, "user", "canary-pw") as proxy:
        env = {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": "https://vendor.test/v1",
            "HTTPS_PROXY": f"http://user:canary-pw@127.0.0.1:{proxy.port}",
            # The upstream speaks no TLS: how often and how long that is tried is not the question here.
            "DRAGOMAN_UPSTREAM__ATTEMPTS": "1",
            "DRAGOMAN_UPSTREAM__CONNECT_S": "1",
        }
        with Running(tmp_path, env) as gateway:
            answer = gateway.complete("m")
            assert answer.status in (502, 503, 504)
            assert "canary" not in answer.body.decode() + gateway.program.output
        assert set(proxy.asked) == {"CONNECT vendor.test:443 HTTP/1.1"}


def check_secret_kept(folder, vendor, status, error, **more):
    """Vendors quote the key that they reject."""
    vendor.always(unary(json.dumps({"error": error}).encode(), status))
    env = {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": vendor.base_url,
        "DRAGOMAN_LOG__REQUESTS": "all",
        "DRAGOMAN_LOG__LEVEL": "debug",
    }
    with Running(folder, env) as gateway:
        answer = gateway.complete("m", **more)
        assert answer.status >= 400
        assert KEY not in answer.body.decode()
        assert all(KEY not in value for value in answer.headers.values())
        gateway.program.wait_for('"event"')
    assert KEY not in gateway.program.output
    assert gateway.key not in gateway.program.printed["stderr"]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
@pytest.mark.parametrize("streaming", [False, True])
def test_secrets_in_a_providers_words_are_not_passed_on(vendor, tmp_path, status, streaming):
    message = f"Bad request by {KEY} (Bearer {KEY}) at https://internal.vendor.test/v1"
    error = {"message": message, "type": "bad", "param": None, "code": "bad"}
    check_secret_kept(tmp_path, vendor, status, error, stream=streaming)


@pytest.mark.parametrize("place", ["type", "code", "param"])
def test_secrets_beside_a_providers_words_are_not_passed_on(vendor, tmp_path, place):
    error = {"message": "Bad.", "type": "bad", "param": None, "code": "bad", place: KEY}
    check_secret_kept(tmp_path, vendor, 400, error)
