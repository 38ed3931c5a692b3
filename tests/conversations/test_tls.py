"""`[server] tls_cert` and `tls_key` put TLS on every listener: HTTP, gRPC, WebSocket."""

import http.client
import json
import socket as sockets
import ssl

import grpc
import pytest
import trustme
from c_clients import END, KEY, Channel, frame, heard, open_socket, started_relay, told
from grpc_health.v1 import health_pb2, health_pb2_grpc
from speakers import event_types
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage

from gateway import Gateway


class SecureGateway(Gateway):
    """A gateway whose HTTP listener speaks TLS only."""

    def _is_live(self):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=2, context=ssl._create_unverified_context()
        )
        try:
            connection.request("GET", "/health/live")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def relay(upstream, tmp_path_factory, authority):
    folder = tmp_path_factory.mktemp("certificates")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for number, pem in enumerate(issued.cert_chain_pems):
        pem.write_to_path(folder / "cert.pem", append=number > 0)
    server = {"tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}
    yield from started_relay(upstream, tmp_path_factory, kind=SecureGateway, server=server)


@pytest.fixture
def context(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def credentials(authority):
    return grpc.ssl_channel_credentials(authority.cert_pem.bytes())


def test_https(relay, lane, context):
    connection = http.client.HTTPSConnection("127.0.0.1", relay.port, timeout=15, context=context)
    headers = {"Authorization": KEY, "Content-Type": "application/json"}
    connection.request("POST", "/ask/new", '{"prompt":"hi"}', headers)
    assert json.loads(connection.getresponse().read())["message"] == "first answer 1"
    connection.close()


async def listened(relay, context, port, path, question, is_last):
    """Ask on a WebSocket; returns all up to the message that is the last. The blocking client of `websockets` reads
    and writes in two threads at once, which TLS in Python 3.11 does not bear.
    """
    url, headers = f"wss://127.0.0.1:{port}{path}", {"Authorization": KEY}
    async with connect(url, ssl=context, additional_headers=headers, proxy=None) as socket:
        await socket.send(question)
        texts = [await socket.recv()]
        while not is_last(texts[-1]):
            texts.append(await socket.recv())
    return texts


async def test_websocket(relay, lane, context):
    texts = await listened(relay, context, relay.websocket_port, "/", frame("hi"), END.fullmatch)
    assert heard(texts).text == "first answer 1"


@pytest.mark.parametrize("port", ["port", "websocket_port"])
async def test_events_over_websocket(relay, lane, context, port):
    question = '{"type":"ask","content":"hi"}'
    await listened(relay, context, getattr(relay, port), "/v1/ws", question, lambda text: '"end"' in text)
    assert told(lane.requests[0]) == [("user", "hi")]


def test_grpc(relay, lane, credentials):
    with Channel(relay.grpc_port, credentials) as channel:
        assert channel.ask("hi").text == "first answer 1"
        health = health_pb2_grpc.HealthStub(channel.channel).Check(health_pb2.HealthCheckRequest(), timeout=15)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        request, _, event = event_types()
        method = channel.channel.unary_stream("/dragoman.v1.Chat/Ask", request.SerializeToString, event.FromString)
        events = list(method(request(content="hi"), metadata=[("authorization", KEY)], timeout=15))
        assert events[-1].WhichOneof("event") == "end"


def test_who_speaks_without_tls_gets_nothing(relay, lane):
    with Channel(relay.grpc_port) as channel, pytest.raises(grpc.RpcError):
        list(channel._ask(channel.request(prompt="hi"), metadata=[("authorization", KEY)], timeout=5))
    with pytest.raises((InvalidMessage, OSError)):
        open_socket(relay.websocket_port)
    with sockets.create_connection(("127.0.0.1", relay.port), 5) as plain:
        plain.sendall(b"POST /ask/new HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert b"detail" not in plain.recv(1000)
    assert lane.requests == []


def test_who_does_not_know_the_authority_refuses(relay):
    with pytest.raises(ssl.SSLCertVerificationError):
        open_socket(relay.websocket_port, scheme="wss", ssl=ssl.create_default_context())
