"""The gateway as a process: started with a configuration, watched through what it prints."""

import asyncio
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

KEY = "test-key"
CREDENTIALS = ["upstream-key-one", "upstream-key-two"]
LEGACY = r"CHATGPT_|(CHAT_)?API_KEY$|SECRET_KEY$|AUTHORIZATION_KEY$|ACCESS_TOKEN$|SERVER_PORT$"
OURS = re.compile(rf"DRAGOMAN_|OPENAI_|ANTHROPIC_|{LEGACY}|[a-z_]*proxy$", re.IGNORECASE)
START_S = 20


def toml(tree):
    """Write tables of plain values; JSON strings, numbers and lists are TOML already."""
    lines = []
    for name, value in tree.items():
        rows = value if isinstance(value, list) else [value]
        for row in rows:
            lines.append(f"[[{name}]]" if isinstance(value, list) else f"[{name}]")
            lines += [f"{key} = {_inline(item)}" for key, item in row.items()]
    return "\n".join([*lines, ""])


def _inline(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)


def free_port():
    """A port below those that the system gives to callers, who would sometimes take it first, or call themselves."""
    for port in random.sample(range(11_000, 32_000), 100):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise AssertionError("no free port")


class Gateway:
    """`config` is TOML text or a tree for `toml`. Waiting is for an event, never for time to pass."""

    def __init__(self, config, folder):
        file = folder / "gateway.toml"
        text = config if isinstance(config, str) else toml(config)
        file.write_text(text, encoding="utf-8")
        # Tests run side by side: the ports of other protocols are taken by those only that speak them.
        off = {f"DRAGOMAN_SERVER__{name.upper()}": "0" for name in ("grpc_port", "websocket_port") if name not in text}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.lines = []
        self.records = []
        self.changed = threading.Condition()
        command = [sys.executable, "-m", "dragoman", "serve", "--config", str(file)]
        plain = {k: v for k, v in os.environ.items() if not OURS.match(k)}
        self._where = {"cwd": folder, "env": plain | {"PYTHONUNBUFFERED": "1"} | off}
        self.process = subprocess.Popen(
            [*command, "--data", str(folder / "data"), "--port", str(self.port)],
            **self._where,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="gateway output", daemon=True)
        self._reader.start()
        try:
            self._wait_until_live()
        except BaseException:
            self.process.kill()
            self.stop()
            raise

    def again(self):
        """Begin another process in the place of one that has ended; what it prints is not read."""
        return subprocess.Popen(self.process.args, **self._where, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        with self.changed:
            return "".join(self.lines)

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line)
                if line.startswith("{") and '"call"' in line:
                    self.records.append(json.loads(line))
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def _wait_until_live(self):
        deadline = time.monotonic() + START_S
        while not self._is_live():
            if self.process.poll() is not None:
                self._reader.join()
                raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.output()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the gateway was not live after {START_S} s:\n{self.output()}")
            with self.changed:
                self.changed.wait(0.02)

    def _is_live(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/health/live")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait_for(self, found, timeout_s=5):
        """Return the first true value of `found()`, asked again whenever something was printed."""
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while not (value := found()):
                left = deadline - time.monotonic()
                assert left > 0, f"did not come in {timeout_s} s; printed last:\n{''.join(self.lines[-3:])}"
                self.changed.wait(left)
        return value

    def calls(self, name):
        """Records of the calls that asked for this model or were sent to this provider."""

        def concerns(record):
            asked = str(record.get("model"))
            return name in (asked, asked.partition("/")[0]) or any(a["provider"] == name for a in record["attempts"])

        return [record for record in self.records if record.get("event") == "call" and concerns(record)]

    async def call(self, name, number=0, timeout_s=5):
        """Wait for the record of a call, the first being 0."""

        def found():
            calls = self.calls(name)
            return calls[number] if len(calls) > number else None

        return await asyncio.to_thread(self.wait_for, found, timeout_s)

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self, timeout_s=10):
        """End it by SIGTERM, by force if that does not help; returns the exit code."""
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self._reader.join(timeout_s)
            self.process.stdout.close()


class House:
    """An upstream and a gateway with many providers in front of it: each test takes fresh ones.

    A failed test must not bench another's credential or open another's breaker. Slot N of a kind has the
    provider `KIND-N` and, where `spares` are wanted, a stand-in `KIND-N-spare` and the public model
    `KIND-N-safe` that falls back from one to the other. Any model of a provider is `PROVIDER/MODEL`.
    """

    def __init__(self, upstream, folder, /, *, slots=24, spares=False, providers=(), models=(), **sections):
        self.upstream = upstream
        self._free = {kind: [] for kind in ("openai", "anthropic")}
        self._prefix = f"h{len(upstream.lanes)}"
        rows, routes = list(providers), list(models)
        for kind, free in self._free.items():
            for number in range(slots):
                name = f"{self._prefix}-{kind}-{number}"
                lane = upstream.lane(name, kind)
                lane.model = f"{name}/m"
                rows.append(self.provider(lane))
                free.append(lane)
                if spares:
                    lane.safe, lane.spare = f"{name}-safe", upstream.lane(f"{name}-spare", kind)
                    rows.append(self.provider(lane.spare))
                    routes.append(self.route(lane.safe, lane.name, lane.spare.name))
        base = {"server": {"host": "127.0.0.1", "grpc_port": 0, "websocket_port": 0}, "upstream": {}}
        tree = {**base, "auth": {"keys": [KEY]}, "log": {"requests": "all"}}
        for name, values in sections.items():
            tree[name] = {**tree.get(name, {}), **values}
        self.gateway = Gateway({**tree, "providers": rows, "models": routes}, folder)

    @staticmethod
    def provider(lane):
        return {
            "name": lane.name,
            "kind": lane.kind,
            "base_url": lane.base_url,
            "credentials": CREDENTIALS,
            "models": ["m"],
        }

    @staticmethod
    def route(name, first, second):
        targets = [{"provider": first, "model": "m", "weight": 1}]
        return {"name": name, "targets": targets, "fallbacks": [{"provider": second, "model": "m"}]}

    def lane(self, kind):
        assert self._free[kind], "this house needs more slots"
        return self._free[kind].pop()

    def stop(self):
        return self.gateway.stop()
