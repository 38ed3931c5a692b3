"""nginx in its two parts here: the yardstick (`proxy_pass`) and the unary upstream (a canned answer)."""

from __future__ import annotations

import os
from pathlib import Path

# Connections must outlive the run: reconnecting would be charged to whoever is being measured.
_FOREVER = 1_000_000_000


def command(config: Path) -> list[str]:
    return ["nginx", "-p", str(config.parent), "-c", str(config), "-e", "stderr"]


def proxy(folder: Path, port: int, upstream_port: int) -> Path:
    """One worker, upstream keep-alive, no log, and no buffering, so that streams pass at once."""
    return _write(
        folder / f"proxy-{port}.conf",
        f"""
  upstream model {{
    server 127.0.0.1:{upstream_port};
    keepalive 2048;
    keepalive_requests {_FOREVER};
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_read_timeout 600s;
    }}
  }}""",
    )


def canned_answer(folder: Path, port: int, body: bytes, status: int = 200) -> Path:
    text = body.decode()
    if "'" in text or "$" in text:
        raise ValueError("nginx would read a quote or a variable into the canned answer")
    return _write(
        folder / f"canned-{port}.conf",
        f"""
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      default_type application/json;
      return {status} '{text}';
    }}
  }}""",
    )


def _write(path: Path, servers: str) -> Path:
    # Started by root, workers would become "nobody" and could not enter the run's private folder.
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "\n".join(
        f"  {kind}_temp_path {path.parent}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path.write_text(
        f"""daemon off; {user} worker_processes 1;
pid {path.with_suffix(".pid")};
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests {_FOREVER};
{temporary}
{servers}
}}
"""
    )
    return path
