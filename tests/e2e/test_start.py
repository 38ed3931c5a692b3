"""The first minutes of a user: start, paste the printed line, stop, start again."""

import http.client
import json
import re
import signal
import socket
import stat
import subprocess
import urllib.error
import urllib.request

import pytest
from program import run, running

ECHO = """
[server]
port = 0
grpc_port = 0
websocket_port = 0
[[providers]]
name = "parrots"
kind = "echo"
[[models]]
name = "parrot"
targets = [{ provider = "parrots", model = "echo" }]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dragoman.toml").write_text(ECHO)
    return tmp_path


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def ready(program):
    """Wait for the last thing that a start prints: the line to paste."""
    program.wait_for(r"(?m)^\s*curl\b")
    return program


def key_of(folder, data="dragoman-data"):
    return (folder / data / "master.key").read_text().strip()


def pasted(output):
    """The printed line as a user marks and pastes it: from `curl` to the line that does not go on."""
    lines = output[re.search(r"(?m)^\s*curl\b", output).start() :].splitlines()
    taken = []
    for line in lines:
        taken.append(line)
        if not line.endswith("\\"):
            return "\n".join(taken)
    raise AssertionError(output)


def post(port, key, body, timeout=5):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(request, timeout=timeout)


def hello(model="parrot", **more):
    return {"model": model, "messages": [{"role": "user", "content": "hello there"}], **more}


# --- first start ----------------------------------------------------------------------------------


def test_first_start_writes_a_private_key(folder):
    with running(["serve"], folder) as program:
        ready(program)
        path = folder / "dragoman-data" / "master.key"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        key = key_of(folder)
        assert len(key) >= 22
        assert key in program.output
        said = json.load(post(program.port, key, hello()))
        assert said["choices"][0]["message"]["content"] == "hello there"


def test_a_key_is_needed_on_loopback_too(folder):
    with running(["serve"], folder) as program, pytest.raises(urllib.error.HTTPError) as refused:
        post(ready(program).port, "guess", hello())
    assert refused.value.code == 401
    refused.value.close()


def test_printed_line_works_as_printed(folder):
    with running(["serve"], folder) as program:
        command = pasted(ready(program).output)
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, (command, done.stderr)
        assert re.search(r'"(content|text)"', done.stdout), done.stdout
        assert '"error"' not in done.stdout


def test_listeners_and_providers_are_printed(folder):
    dead = free_port()
    (folder / "dragoman.toml").write_text(
        ECHO + f'[[providers]]\nname = "gone"\nkind = "openai"\nbase_url = "http://127.0.0.1:{dead}/v1"\n'
        'credentials = ["sk-canary-gone-1"]\nmodels = ["x"]\n'
    )
    with running(["serve"], folder) as program:
        program.wait_for(r"http://127\.0\.0\.1:\d+")
        assert re.search(r"\bup\b", program.wait_for(r"(?m)^.*\bparrots\b.*$")[0])
        assert re.search(r"\bdown\b", program.wait_for(r"(?m)^.*\bgone\b.*$")[0])
        assert "sk-canary-gone-1" not in ready(program).output


def test_second_start_keeps_the_key(folder):
    with running(["serve"], folder) as program:
        ready(program)
        first = key_of(folder)
    with running(["serve"], folder) as program:
        assert first in ready(program).output
        assert json.load(post(program.port, first, hello()))["choices"]
    assert key_of(folder) == first


def test_two_folders_have_two_keys(folder):
    for name in ("one", "two"):
        with running(["serve", "--data", name], folder) as program:
            ready(program)
    assert key_of(folder, "one") != key_of(folder, "two")


def test_static_keys_work_beside_the_master_key(folder):
    (folder / "dragoman.toml").write_text(ECHO + '[auth]\nkeys = ["env:TEAM_KEY"]\n')
    with running(["serve"], folder, {"TEAM_KEY": "team-canary-77"}) as program:
        for key in (key_of(folder) if ready(program) else "", "team-canary-77"):
            assert json.load(post(program.port, key, hello()))["choices"]
        assert "team-canary-77" not in program.output


# --- stop -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signal_lets_streams_finish(folder, name):
    with running(["serve"], folder) as program:
        port = ready(program).port
        body = hello("parrots/echo-slow", stream=True)
        body["messages"][0]["content"] = "one two three four five"
        with post(port, key_of(folder), body) as answer:
            received = answer.readline()
            program.process.send_signal(getattr(signal, name))
            with pytest.raises(OSError):
                while True:
                    post(port, key_of(folder), hello()).close()
            received += answer.read()
        assert b"data: [DONE]" in received
        assert b"five" in received
        number = getattr(signal, name)
        # Shells and service managers take an end by the signal that was sent for a good one.
        assert program.exit_code() in (0, 128 + number, -number)
        assert "Traceback" not in program.output


def test_stream_beyond_the_grace_ends_as_broken(folder):
    (folder / "dragoman.toml").write_text(ECHO.replace("[server]", "[server]\ngrace_s = 0.3"))
    with running(["serve"], folder) as program:
        with post(ready(program).port, key_of(folder), hello("parrots/echo-stall", stream=True)) as answer:
            received = answer.readline()
            program.process.send_signal(signal.SIGTERM)
            try:
                while piece := answer.read1():
                    received += piece
            except (OSError, http.client.HTTPException):
                pass
        assert b"[DONE]" not in received
        assert b'"finish_reason":"stop"' not in received.replace(b" ", b"")
        assert program.exit_code(5) is not None
        assert "Traceback" not in program.output


def test_port_in_use(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = run(["serve", "--port", str(port)], folder)
    assert code != 0
    complaint = [line for line in (out + err).splitlines() if str(port) in line and "use" in line]
    assert len(complaint) == 1, (out, err)
    assert "Traceback" not in out + err


# --- which source wins ----------------------------------------------------------------------------


@pytest.mark.parametrize("sources", range(1, 5), ids=["file", "file<.env", ".env<environment", "environment<flag"])
def test_later_source_wins(folder, sources):
    ports = [free_port() for _ in range(sources)]
    (folder / "dragoman.toml").write_text(ECHO.replace("port = 0", f"port = {ports[0]}", 1))
    env, flags = {}, []
    if sources > 1:
        (folder / ".env").write_text(f"DRAGOMAN_SERVER__PORT={ports[1]}\n")
    if sources > 2:
        env["DRAGOMAN_SERVER__PORT"] = str(ports[2])
    if sources > 3:
        flags = ["--port", str(ports[3])]
    with running(["serve", *flags], folder, env) as program:
        assert ready(program).port == ports[-1]
        assert json.load(post(ports[-1], key_of(folder), hello()))["choices"]


def test_config_flag_reads_that_file_instead(tmp_path):
    (tmp_path / "dragoman.toml").write_text("this is not TOML")
    other = tmp_path / "other.toml"
    other.write_text(ECHO)
    with running(["serve", "--config", str(other), "--data", "keys", "--host", "127.0.0.1"], tmp_path) as program:
        assert json.load(post(ready(program).port, key_of(tmp_path, "keys"), hello()))["choices"]


def test_secret_from_dotenv(folder):
    (folder / "dragoman.toml").write_text(ECHO + '[auth]\nkeys = ["env:TEAM_KEY"]\n')
    (folder / ".env").write_text("TEAM_KEY=from-dotenv-1\n")
    with running(["serve"], folder) as program:
        assert json.load(post(ready(program).port, "from-dotenv-1", hello()))["choices"]


# --- the small commands ---------------------------------------------------------------------------


def test_version(tmp_path):
    import dragoman

    code, out, err = run(["--version"], tmp_path)
    assert (code, err) == (0, "")
    assert dragoman.__version__ in out
    assert list(tmp_path.iterdir()) == []


def test_models(folder):
    code, out, err = run(["models"], folder)
    assert code == 0, err
    assert re.search(r"(?m)^\W*parrot\b", out), out


def test_help_names_the_commands(tmp_path):
    code, out, _ = run(["--help"], tmp_path)
    assert code == 0
    assert {"serve", "check", "chat", "models"} <= set(re.findall(r"\w+", out))
