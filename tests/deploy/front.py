"""deploy/nginx.conf run by the system's own nginx, in front of a gateway.

What the file leaves to its reader is replaced, as the reader would: addresses, certificates, places of files. Each
replacement is of a text that stands in the file exactly once, so that the file cannot drift away from its test.
"""

import http.client
import os
import ssl
import subprocess
import threading
from pathlib import Path

from gateway import free_port

NGINX = "/usr/sbin/nginx"
DEPLOY = Path(__file__).parent.parent.parent / "deploy"
HOST = "127.0.0.1"
PATIENCE_S = 15
FILES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def replaced(text, pairs):
    """Replace each text, which must stand there exactly once."""
    for old, new in pairs:
        assert text.count(old) == 1, f"nginx.conf has {old!r} {text.count(old)} times"
        text = text.replace(old, new)
    return text


class Front:
    """A running nginx. `upstreams` are Dragoman's ports for HTTP, gRPC and WebSocket, `authority` is trustme's."""

    def __init__(self, folder, authority, upstreams):
        self.folder = folder
        self.authority = authority
        self.upstreams = upstreams
        self.port, self.plain_port = free_port(), free_port()
        self.tls = ssl.create_default_context()
        authority.configure_trust(self.tls)
        certificate = authority.issue_cert(HOST, "gateway.example")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        for number, blob in enumerate(certificate.cert_chain_pems):
            blob.write_to_path(folder / "chain.pem", append=number > 0)
        file = folder / "nginx.conf"
        file.write_text(replaced((DEPLOY / "nginx.conf").read_text("utf-8"), self._pairs(*upstreams)), "utf-8")
        self.lines = []
        self.process = subprocess.Popen(
            [
                NGINX,
                "-p",
                str(folder),
                "-c",
                str(file),
                "-g",
                f"daemon off; pid {folder}/pid; error_log stderr notice;",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.serves = False
        self.started_or_ended = threading.Event()
        self._reader = threading.Thread(target=self._read, name="nginx output", daemon=True)
        self._reader.start()
        self.started_or_ended.wait(PATIENCE_S)
        if not self.serves:
            self.stop()
            raise AssertionError("nginx did not start:\n" + "".join(self.lines))

    def _pairs(self, http, grpc, websocket):
        # Started by root, workers become another user, who cannot enter the folder of a test: what nginx opens
        # there, its first process opens. Directories for bodies are made and not used.
        places = "".join(f"  {name}_temp_path {self.folder}/{name};\n" for name in FILES)
        return [
            ("\nhttp {\n", f"\nhttp {{\n{places}"),
            ("listen 80;", f"listen {HOST}:{self.plain_port};"),
            ("listen [::]:80;", ""),
            ("listen 443 ssl http2;", f"listen {HOST}:{self.port} ssl http2;"),
            ("listen [::]:443 ssl http2;", ""),
            ("server 127.0.0.1:8000;", f"server {HOST}:{http};"),
            ("server 127.0.0.1:9000;", f"server {HOST}:{grpc};"),
            ("server 127.0.0.1:9001;", f"server {HOST}:{websocket};"),
            ("/etc/letsencrypt/live/gateway.example/fullchain.pem", str(self.folder / "chain.pem")),
            ("/etc/letsencrypt/live/gateway.example/privkey.pem", str(self.folder / "key.pem")),
            ("/var/log/nginx/error.log", str(self.folder / "error.log")),
            ("/var/log/nginx/access.log", str(self.folder / "access.log")),
        ]

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            # Said once every port is taken and the workers are being made.
            if "start worker process " in line:
                self.serves = True
                self.started_or_ended.set()
        self.started_or_ended.set()

    @property
    def access_log(self):
        return (self.folder / "access.log").read_text("utf-8")

    def connect(self):
        return http.client.HTTPSConnection(HOST, self.port, timeout=PATIENCE_S, context=self.tls)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(PATIENCE_S)
        self.process.stderr.close()


def is_there():
    return os.access(NGINX, os.X_OK)
