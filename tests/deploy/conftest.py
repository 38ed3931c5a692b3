import pytest
import trustme
from front import NGINX, Front, is_there
from voices import KEY

from gateway import Gateway, free_port


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture(scope="session")
def start_front(authority, tmp_path_factory):
    """Start nginx before the given ports of HTTP, gRPC and WebSocket; it ends with the session."""
    if not is_there():
        pytest.skip(f"there is no nginx at {NGINX} (Debian: apt-get install nginx-light)")
    started = []

    def start(*upstreams):
        started.append(Front(tmp_path_factory.mktemp("nginx"), authority, upstreams))
        return started[-1]

    yield start
    for front in started:
        front.stop()


@pytest.fixture(scope="session")
def front(start_front, tmp_path_factory):
    """nginx before a gateway, `front.gateway`, with every listener on and the echo provider behind it."""
    grpc_port, websocket_port = free_port(), free_port()
    tree = {
        "server": {"grpc_port": grpc_port, "websocket_port": websocket_port, "default_model": "parrot/echo"},
        "auth": {"keys": [KEY]},
        "compat": {"secret_key": "the secret of system A", "authorization_key": "the key of system D"},
        "log": {"requests": "all"},
        "providers": [{"name": "parrot", "kind": "echo"}],
    }
    gateway = Gateway(tree, tmp_path_factory.mktemp("gateway"))
    try:
        running = start_front(gateway.port, grpc_port, websocket_port)
        running.gateway = gateway
        yield running
    finally:
        gateway.stop()
