"""A WebSocket client with TLS that waits where it is told to, on the `websockets` library's sans-IO layer.

The library's own blocking client reads in a thread of its own; a TLS connection used by two threads at once fails
now and then in Python before 3.13.
"""

import socket
from collections import deque

from front import HOST, PATIENCE_S
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.uri import parse_uri


class Socket:
    """An open connection through nginx. Leaving the context drops it, as a caller does who goes away."""

    def __init__(self, front, path, headers):
        raw = socket.create_connection((HOST, front.port), PATIENCE_S)
        self._tls = front.tls.wrap_socket(raw, server_hostname=HOST)
        self._protocol = ClientProtocol(parse_uri(f"wss://{HOST}:{front.port}{path}"))
        self._events = deque()
        request = self._protocol.connect()
        request.headers.update(headers)
        self._protocol.send_request(request)
        self.response = self._next_event()
        assert self.response.status_code == 101, self.response

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._tls.close()

    def send(self, text):
        self._protocol.send_text(text.encode())

    def receive(self):
        """Return the next text. Pings are answered on the way."""
        while (frame := self._next_event()).opcode is not Opcode.TEXT:
            assert frame.opcode is Opcode.PING, frame
        return frame.data.decode()

    def _next_event(self):
        while not self._events:
            for data in self._protocol.data_to_send():
                self._tls.sendall(data)
            read = self._tls.recv(65536)
            assert read, "the connection was closed"
            self._protocol.receive_data(read)
            self._events.extend(self._protocol.events_received())
        return self._events.popleft()
