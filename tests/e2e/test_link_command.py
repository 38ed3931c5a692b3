"""The link to the page, as `dragoman serve` prints it at its start and `dragoman link` whenever one is wanted."""

import http.client
import json
import re
from urllib.parse import urlsplit

import pytest
from program import run, running

ECHO = '[[providers]]\nname = "echo"\nkind = "echo"\n'
QUIET = "grpc_port = 0\nwebsocket_port = 0\n"
LINK = re.compile(r"http://127\.0\.0\.1:\d+/#/login/[\w.-]+")


def configure(folder, server=""):
    (folder / "dragoman.toml").write_text(f"[server]\n{QUIET}{server}\n{ECHO}", encoding="utf-8")


def log_in(link):
    """Use a link as the page does: the code is sent in a body. Returns the status and what was said."""
    found = urlsplit(link)
    connection = http.client.HTTPConnection(found.hostname, found.port, timeout=15)
    code = found.fragment.rpartition("/")[2]
    connection.request("POST", "/api/session", json.dumps({"link": code}), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said


@pytest.fixture
def served(tmp_path):
    """A gateway that has said all that it says at its start."""
    configure(tmp_path)
    with running(["serve", "--port", "0"], tmp_path) as program:
        program.wait_for("Paste this:")
        yield program


def test_the_start_prints_a_link_that_logs_in_once(served):
    link = served.wait_for(r"Open the page \(this link logs in once\): (http://\S+)")[1]
    assert LINK.fullmatch(link)
    assert urlsplit(link).port == served.port
    status, said = log_in(link)
    assert (status, said["principal"], said["role"]) == (200, "master", "admin")
    status, said = log_in(link)
    assert status == 401
    assert "`dragoman link` prints a new one" in said["error"]["message"]


def test_the_command_prints_another_for_a_gateway_that_runs(served, tmp_path):
    links = []
    for _ in range(2):
        code, out, err = run(["link", "--port", str(served.port)], tmp_path)
        assert (code, err) == (0, "")
        links.append(out.strip())
    assert links[0] != links[1]
    assert [log_in(link)[0] for link in (*links, links[0])] == [200, 200, 401]


def test_the_code_of_a_link_is_in_no_line_of_the_gateway(tmp_path):
    configure(tmp_path, '[log]\nrequests = "all"\n')
    with running(["serve", "--port", "0"], tmp_path) as program:
        link = program.wait_for(r"logs in once\): (http://\S+)")[1]
        program.wait_for("Paste this:")
        assert log_in(link)[0] == 200
        program.wait_for('"path":"/api/session"')
        assert program.output.count(link.rpartition("/")[2]) == 1


@pytest.mark.parametrize(
    ("server", "args", "begin"),
    [
        ("port = 8123", [], "http://127.0.0.1:8123/#/login/"),
        ("port = 8123", ["--port", "8124"], "http://127.0.0.1:8124/#/login/"),
        ('host = "0.0.0.0"', [], "http://127.0.0.1:8000/#/login/"),
        ('host = "::1"', [], "http://[::1]:8000/#/login/"),
        ('tls_cert = "c.pem"\ntls_key = "k.pem"\nhost = "gate.example"', [], "https://gate.example:8000/#/login/"),
    ],
)
def test_the_link_leads_to_the_gateway_of_the_configuration(tmp_path, server, args, begin):
    configure(tmp_path, f'{server}\n[auth]\nhash_key = "{"h" * 40}"')
    code, out, err = run(["link", *args], tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith(begin)
    assert out.count("\n") == 1


def test_where_no_gateway_ever_ran_nothing_is_made(tmp_path):
    configure(tmp_path)
    code, out, err = run(["link"], tmp_path)
    assert (code, out) == (2, "")
    assert "no gateway has served from here yet" in err
    assert [path.name for path in tmp_path.iterdir()] == ["dragoman.toml"]


def test_a_port_that_is_not_known_is_asked_for(tmp_path):
    configure(tmp_path, f'port = 0\n[auth]\nhash_key = "{"h" * 40}"')
    code, out, err = run(["link"], tmp_path)
    assert (code, out) == (2, "")
    assert "--port" in err
