"""Whole answers through nginx, and what nginx itself adds or keeps back."""

import http.client
import io
import json
import shutil
import socket
import subprocess
from contextlib import closing

import grpc
import pytest
from front import HOST, PATIENCE_S
from grpc_health.v1 import health_pb2
from voices import BEARER, KEY, LEGACY, RAW, ask_grpc, channel_of, messages
from wss import Socket

from dragoman.wires.proto import chat_pb2

SECRET = "the secret of system A"


def ask(front, method, path, tree=None, headers=BEARER):
    """Return status, headers and the body, read to its proper end."""
    with closing(front.connect()) as connection:
        connection.request(method, path, None if tree is None else json.dumps(tree), headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def ask_json(front, method, path, tree=None, headers=BEARER, status=200):
    found, _, body = ask(front, method, path, tree, headers)
    assert found == status, body
    return json.loads(body)


# --- whole answers -------------------------------------------------------------------------------------------


def test_openai(front):
    tree = ask_json(front, "POST", "/v1/chat/completions", {"model": "echo", "messages": messages("hello there")})
    assert tree["choices"][0]["message"]["content"] == "hello there"


def test_anthropic(front):
    body = {"model": "echo", "max_tokens": 10, "messages": messages("hello there")}
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "content-type": "application/json"}
    assert ask_json(front, "POST", "/v1/messages", body, headers)["content"][0]["text"] == "hello there"


def test_ask_and_go_on(front):
    first = ask_json(front, "POST", "/ask/new", {"prompt": "hello there"})
    assert first["message"] == "hello there"
    second = ask_json(front, "POST", f"/ask/{first['conversation_id']}", {"prompt": "again"})
    assert (second["message"], second["conversation_id"]) == ("again", first["conversation_id"])


def test_envelope(front):
    body = {"mode": "1", "type": "1", "opts": {"key": KEY, "content": "hello there", "isFollow": False}}
    tree = ask_json(front, "POST", "/api/v1/gpt/getInfo", body, {"content-type": "application/json"}, status=201)
    assert tree["data"]["text"] == "hello there"


def test_token_opens_chat_and_conversations(front):
    """System A: the path has letters of its own case, a query, a raw credential and the header `Chat-Type`."""
    _, _, body = ask(front, "GET", f"/token?id=1000&hour=1&key={SECRET.replace(' ', '%20')}", headers={})
    headers = {**RAW, "authorization": json.loads(body)["token"]}
    tree = ask_json(front, "POST", "/chat", {"stream": False, "messages": messages("hello there")}, headers)
    assert tree["choices"][0]["message"]["content"] == "hello there"
    page = ask_json(front, "GET", "/conv?offset=0&limit=1", headers={**headers, "chat-type": "conversations"})
    assert len(page["items"]) == 1


def test_documents_are_served(front):
    assert ask_json(front, "GET", "/openapi.json")["openapi"].startswith("3.")


def test_health(front):
    assert ask_json(front, "GET", "/health/live", headers={}) == {"live": True}
    assert ask_json(front, "GET", "/health/ready", headers={}) == {"ready": True, "providers": {"parrot": True}}


def test_health_over_grpc(front):
    with channel_of(front) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        assert (
            check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S).status == health_pb2.HealthCheckResponse.SERVING
        )


# --- refusals keep their shape ---------------------------------------------------------------------------------


def test_a_refusal_is_the_dialects_own(front):
    assert ask_json(front, "GET", "/v1/models", headers={}, status=401)["error"]["code"] == "invalid_api_key"


def test_a_deadline_is_grpcs_own(front):
    with channel_of(front) as channel, pytest.raises(grpc.RpcError) as raised:
        method = channel.unary_stream(LEGACY, chat_pb2.askrequest.SerializeToString, chat_pb2.askresponse.FromString)
        list(method(chat_pb2.askrequest(prompt="/stall a b c"), timeout=0.3, metadata=(("authorization", KEY),)))
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("size_bytes", "kind"), [(32 * 2**20 + 1, "application/json"), (33 * 2**20 + 1, "text/html")])
def test_a_large_body_is_refused_by_the_gateway_and_a_larger_one_by_nginx(front, size_bytes, kind):
    """The body is not sent: its announcement is refused."""
    with closing(front.connect()) as connection:
        connection.putrequest("POST", "/v1/chat/completions")
        for name, value in {**BEARER, "content-length": str(size_bytes)}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("content-type")) == (413, kind)


def test_a_cut_stream_is_cut_for_the_caller(front):
    """After the error event there is no last chunk: a client that only counts chunks sees the cut as well."""
    tree = {"model": "echo", "stream": True, "messages": messages("/truncate one two")}
    with closing(front.connect()) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(tree), BEARER)
        with pytest.raises(http.client.IncompleteRead):
            connection.getresponse().read()


# --- HTTP/2 ----------------------------------------------------------------------------------------------------


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl (Debian: apt-get install curl)")


def curl(front, tree):
    """Start curl, which speaks HTTP/2 where TLS offers it; every other client of these tests speaks HTTP/1.1."""
    (front.folder / "ca.pem").write_bytes(front.authority.cert_pem.bytes())
    headers = [part for name, value in BEARER.items() for part in ("-H", f"{name}: {value}")]
    url = f"https://{HOST}:{front.port}/v1/chat/completions"
    command = ["curl", "-sN", "--noproxy", "*", "--cacert", str(front.folder / "ca.pem"), *headers, url]
    shown = ["-w", "version %{http_version}\n", "-d", json.dumps(tree)]
    return subprocess.Popen([*command, *shown], stdout=subprocess.PIPE, text=True)


@needs_curl
def test_a_stream_over_http2(front):
    with curl(front, {"model": "echo", "stream": True, "messages": messages("one two")}) as process:
        said = process.stdout.read()
    assert process.returncode == 0
    assert said.endswith("data: [DONE]\n\nversion 2\n")


@needs_curl
def test_words_arrive_over_http2_though_the_answer_never_ends(front):
    with curl(front, {"model": "echo", "stream": True, "messages": messages("/stall one two three")}) as process:
        found = (line for line in process.stdout if '"content":"two "' in line)
        assert next(found)
        process.terminate()


@needs_curl
def test_a_cut_stream_is_cut_over_http2(front):
    with curl(front, {"model": "echo", "stream": True, "messages": messages("/truncate one two")}) as process:
        said = process.stdout.read()
    assert "[DONE]" not in said
    assert process.returncode == 92, "curl's word for a stream that was reset"


# --- what nginx adds, and keeps back ---------------------------------------------------------------------------


def test_callers_behind_one_connection_do_not_share_a_conversation(front):
    """On a channel of its own an empty conversation id goes on; nginx's connection carries everybody."""
    ended = []
    with channel_of(front) as channel:
        for _ in range(2):
            call = ask_grpc(channel, LEGACY, chat_pb2.askrequest(prompt="hello"), chat_pb2.askresponse)
            ended.append([message.response for message in call][-1])
    first, second = (end.split("$")[1] for end in ended)
    assert first != second


def test_plain_http_is_sent_to_tls(front):
    with closing(http.client.HTTPConnection(HOST, front.plain_port, timeout=PATIENCE_S)) as connection:
        connection.request("POST", "/v1/messages?beta=true", headers={"host": "gateway.example"})
        answer = connection.getresponse()
        assert answer.status == 308
        assert answer.getheader("location") == "https://gateway.example/v1/messages?beta=true"


def test_no_version_is_told(front):
    # nginx makes the first answer itself, the gateway the second.
    with closing(http.client.HTTPConnection(HOST, front.plain_port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.getheader("server") == "nginx"
        assert b"nginx/" not in answer.read()
    _, headers, _ = ask(front, "GET", "/health/live")
    assert headers["server"] == "nginx"


def test_secrets_in_queries_are_not_logged(start_front, front):
    """nginx has written every line when it has ended."""
    ending = start_front(*front.upstreams)
    assert ask(ending, "GET", "/token?id=1&hour=1&key=canary-in-a-query")[0] == 403
    with Socket(ending, "/v1/ws?key=canary-in-a-query", {}):
        pass
    ending.stop()
    assert '"GET /token HTTP/1.1" 403' in ending.access_log
    assert '"GET /v1/ws HTTP/1.1" 101' in ending.access_log
    assert "canary" not in ending.access_log


@pytest.fixture
def stand_in():
    """A socket in the gateway's place, to see what nginx sends, and when."""
    with socket.create_server((HOST, 0)) as listening:
        listening.settimeout(PATIENCE_S)
        yield listening


def accept(stand_in):
    connection, _ = stand_in.accept()
    connection.settimeout(PATIENCE_S)
    return connection


def read_until(connection, mark):
    found = b""
    while mark not in found:
        read = connection.recv(65536)
        assert read, found
        found += read
    return found


def test_the_gateway_is_told_who_calls_and_how(start_front, stand_in):
    """Whatever the caller claims. A wish to speak another protocol than WebSocket does not go on."""
    front = start_front(stand_in.getsockname()[1], 9, 9)
    claims = {"x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "gopher", "upgrade": "h2c", "connection": "upgrade"}
    with closing(front.connect()) as caller:
        caller.request("GET", "/v1/models?a=%20b", headers=claims)
        with accept(stand_in) as gateway:
            line, _, rows = read_until(gateway, b"\r\n\r\n").partition(b"\r\n")
    head = http.client.parse_headers(io.BytesIO(rows))
    assert line == b"GET /v1/models?a=%20b HTTP/1.1"
    assert head.get_all("x-forwarded-for") == [HOST]
    assert head.get_all("x-forwarded-proto") == ["https"]
    assert head.get_all("host") == [f"{HOST}:{front.port}"]
    assert "upgrade" not in head


def test_nothing_is_held_back_in_either_direction(start_front, stand_in):
    """By nginx's own configuration: this answer does not ask for it, as the gateway's do by `x-accel-buffering`."""
    front = start_front(stand_in.getsockname()[1], 9, 9)
    with closing(front.connect()) as caller:
        caller.putrequest("POST", "/v1/messages")
        caller.putheader("content-length", "6")
        caller.endheaders(b"one")
        with accept(stand_in) as gateway:
            assert read_until(gateway, b"one").endswith(b"\r\n\r\none")
            caller.send(b"two")
            assert read_until(gateway, b"two") == b"two"
            gateway.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            answer = caller.getresponse()
            assert answer.read1() == b"first"
            gateway.sendall(b"4\r\nlast\r\n0\r\n\r\n")
            assert answer.read() == b"last"
