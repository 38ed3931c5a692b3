"""What is served of the page: its policy, its files, and who gets the greeting of system A at the same path."""

import http.client
import json
import re
from importlib.resources import files

import pytest

from dragoman.dialects.page import sockets
from dragoman.intents import Listeners
from dragoman.legs import Head
from gateway import KEY, free_port

FOLDER = files("dragoman").joinpath("page")
FILES = sorted(file.name for file in FOLDER.iterdir())


@pytest.fixture(scope="module")
def socket_port():
    return free_port()


@pytest.fixture(scope="module")
def admin_port():
    return free_port()


@pytest.fixture(scope="module")
def gateway(start_gateway, socket_port, admin_port):
    return start_gateway(
        {
            "server": {"websocket_port": socket_port, "grpc_port": 0},
            "admin": {"port": admin_port},
            "auth": {"keys": [KEY]},
            "providers": [{"name": "echo", "kind": "echo"}],
        }
    )


def get(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def test_a_browser_gets_the_page_and_everybody_else_the_greeting(gateway):
    status, headers, body = get(gateway.port, "/", accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (status, headers["vary"]) == (200, "Accept")
    assert body.startswith("<!doctype html>")
    assert get(gateway.port, "/")[2] == "hello world!"
    assert get(gateway.port, "/", accept="*/*")[2] == "hello world!"


def test_the_policy_allows_no_code_and_no_host_but_ours(gateway, socket_port):
    _, headers, _ = get(gateway.port, "/", accept="text/html")
    policy = dict(line.strip().partition(" ")[::2] for line in headers["content-security-policy"].split(";"))
    here = f"ws://127.0.0.1:{gateway.port} ws://127.0.0.1:{socket_port}"
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": f"'self' {here}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.parametrize("host", [b"", b"a b", b"x; script-src *", b"x\r\ny", b"h:80:90", b"h/'unsafe-inline'"])
def test_a_host_that_is_none_adds_nothing_to_the_policy(host):
    assert sockets(Head("GET", "/", b"", [(b"host", host)]), Listeners(websocket=1)) == ""


def test_with_tls_the_sockets_are_secure():
    head = Head("GET", "/", b"", [(b"host", b"[::1]:8443")])
    assert sockets(head, Listeners(websocket=9, is_secure=True)) == " wss://[::1]:8443 wss://[::1]:9"


@pytest.mark.parametrize("name", [name for name in FILES if name != "index.html"])
def test_a_file_has_its_type_and_is_loaded_once(gateway, name):
    status, headers, body = get(gateway.port, f"/page/{name}")
    assert status == 200
    assert body == FOLDER.joinpath(name).read_text(encoding="utf-8")
    kind = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
    assert headers["content-type"] == kind[name.rpartition(".")[2]]
    assert get(gateway.port, f"/page/{name}", if_none_match=headers["etag"])[0] == 304


@pytest.mark.parametrize(
    "path", ["/page/", "/page/index.html", "/page/nothing.js", "/page/../app.py", "/page/%2e%2e/app.py"]
)
def test_what_is_no_file_of_the_page_is_not_found(gateway, path):
    status, _, body = get(gateway.port, path)
    assert status == 404
    assert json.loads(body)["error"]["message"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_comprehensible_in_one_look(name):
    lines = FOLDER.joinpath(name).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 400
    assert name.endswith((".css", ".svg")) or not [line for line in lines if len(line) > 120]


def test_nothing_of_the_page_could_run_what_it_is_told():
    """The policy would stop it; here it is not even tried."""
    text = "\n".join(FOLDER.joinpath(name).read_text(encoding="utf-8") for name in FILES)
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|[\"'`]javascript:|\son\w+=|<style"
    )
    assert re.findall(forbidden, re.sub(r"^\s*(//|/?\*).*$", "", text, flags=re.MULTILINE)) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)[\w.]+", FOLDER.joinpath("index.html").read_text()) == []


def test_it_tells_whoever_has_a_key_where_else_it_listens(gateway, socket_port, admin_port):
    assert get(gateway.port, "/api/listeners")[0] == 401
    status, headers, body = get(gateway.port, "/api/listeners", authorization=f"Bearer {KEY}")
    assert (status, headers["cache-control"]) == (200, "no-store")
    assert json.loads(body) == {
        "websocket": socket_port,
        "grpc": None,
        "lines": None,
        "admin": admin_port,
        "is_secure": False,
    }


def test_it_is_on_the_operators_own_port_too(gateway, admin_port):
    assert get(admin_port, "/", accept="text/html")[2].startswith("<!doctype html>")
    assert get(admin_port, "/page/shell.js")[0] == 200
    assert get(admin_port, "/api/session")[0] == 401
    assert get(admin_port, "/v1/models", authorization=f"Bearer {KEY}")[0] == 404
