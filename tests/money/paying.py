"""Callers of a gateway that counts, and what it says they used."""

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys

from gateway import OURS

MASTER = "master.key"
PRICE = {"model": "m", "input": "1", "output": "1"}
"""A micro-unit a token: the scripted upstream's answer of 25 and 7 tokens costs 32."""
COST = 32
ATTEMPTS = {"attempts": 1}
HASH_KEY = "k" * 43


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:500]!r}>"


async def post(gateway, path, tree, key, method="POST"):
    """Ask once, on a connection of its own; returns when the whole answer is there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    body = b"" if tree is None else json.dumps(tree).encode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {key}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    raw = await asyncio.wait_for(reader.read(), 15)
    writer.close()
    head, _, rest = raw.partition(b"\r\n\r\n")
    first, *named = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in named)
    if headers.get("transfer-encoding") == "chunked":
        rest = joined(rest)
    return Answer(int(first.split()[1]), headers, rest)


def joined(data):
    said = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        said, data = said + data[:length], data[length + 2 :]
    return said


def chat(model, **more):
    return {"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}], **more}


async def complete(gateway, model, key, **more):
    return await post(gateway, "/v1/chat/completions", chat(model, **more), key)


def data_of(gateway):
    return gateway.folder / "data"


def master_of(gateway):
    return (data_of(gateway) / MASTER).read_text().strip()


def dragoman(gateway, *args):
    """Run a command beside the gateway, on its configuration. Returns what it printed; it must succeed."""
    options = ["--config", str(gateway.folder / "gateway.toml"), "--data", str(data_of(gateway))]
    done = subprocess.run(
        [sys.executable, "-m", "dragoman", *args, *options],
        cwd=gateway.folder,
        env={name: value for name, value in os.environ.items() if not OURS.match(name)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout


async def admin(gateway, method, path, tree=None, key=None):
    return await post(gateway, f"/api/admin/{path}", tree, key or master_of(gateway), method)


async def new_key(gateway, **fields):
    """Make a key over the admin interface. Returns (its id, its secret)."""
    answer = await admin(gateway, "POST", "keys", fields)
    assert answer.status == 201, answer
    return answer.json["id"], answer.json["secret"]


async def rows(gateway, least=1, **query):
    """The request log, the newest first, once it has so many rows."""
    asked = "&".join(f"{name}={value}" for name, value in {"limit": 250, **query}.items())
    for _ in range(200):
        answer = await admin(gateway, "GET", f"requests?{asked}")
        assert answer.status == 200, answer
        found = answer.json["requests"]
        if len(found) >= least:
            return found
        # The store follows the journal; its next step is at most a tenth of a second away.
        await asyncio.sleep(0.05)
    raise AssertionError(f"{len(found)} rows, not {least}")


STREAM = {"stream": True}


async def begin(gateway, key, path="/v1/chat/completions", tree=None):
    """Ask for a stream, and return the connection (reader, writer) without waiting for an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    body = json.dumps(chat("m", **STREAM) if tree is None else tree).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    return reader, writer


async def until(found, timeout_s=10.0):
    """Ask again until the answer is true, and return it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not (value := await found()):
        assert loop.time() < deadline, f"it did not come in {timeout_s} s: {value!r}"
        await asyncio.sleep(0.02)
    return value


async def metric(gateway, name):
    """Return the sum of a metric over all labels."""
    answer = await post(gateway, "/metrics", None, master_of(gateway), "GET")
    assert answer.status == 200, answer
    lines = answer.body.decode().splitlines()
    found = [line for line in lines if line.partition(" ")[0].partition("{")[0] == name]
    assert found, f"there is no {name}"
    return sum(float(line.split()[-1]) for line in found)


async def loaded(gateway):
    """Wait until the store has all that is in the journal."""

    async def is_loaded():
        return await metric(gateway, "dragoman_journal_lag_bytes") == 0

    await until(is_loaded)


def kill(gateway):
    """End it as `kill -9` does."""
    gateway.process.kill()
    gateway.process.wait()


def sql(gateway, statement, *values):
    """Ask the gateway's SQLite."""
    with contextlib.closing(sqlite3.connect(data_of(gateway) / "dragoman.db", isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def spent_of(gateway, account):
    """Return the units that the store says were spent of an account whose name begins so."""
    ((units,),) = sql(gateway, "SELECT coalesce(sum(units), 0) FROM spent WHERE account LIKE ?", f"{account}%")
    return units
