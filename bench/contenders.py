"""Who is measured: Dragoman, nginx as the yardstick, and LiteLLM when it is there.

Each contender is a way to write a configuration and a command line; after that all are
treated alike: pinned to the same core, probed with the same request, given the same load.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from bench import accounts, nginx
from bench.dialects import CHAT, DIALECTS, Listener, chat_body, headers
from bench.processes import Child, RigError
from bench.readings import read_cpu, usage_between
from bench.rig import Ports, Rig
from bench.script import UPSTREAM_MODEL, WrongAnswerError, check_unary, question

YARDSTICK = "nginx"
CONTEXT_TOKENS = 1024


@dataclass(frozen=True)
class Contender:
    """One gateway: how to start it and what it can bear."""

    name: str
    version: str
    command: Callable[[Path, Ports, int], list[str]]
    key: str = accounts.KEY
    # Fills a data folder before the first start there; without this, `first_key` is what opens the gateway.
    prepare: Callable[[Path], None] | None = None
    first_key: str = ""
    dialects: tuple[str, ...] = ("openai", "anthropic")
    # A slow gateway gets this share of the load: saturated, it would only show its queue.
    load_share: float = 1.0
    patience_s: float = 20.0

    @property
    def is_peer(self) -> bool:
        """Shown for comparison only; ours is judged and nginx is the yardstick."""
        return self.load_share < 1


@dataclass(frozen=True)
class Running:
    """A started contender."""

    contender: Contender
    child: Child
    ports: Ports

    @property
    def name(self) -> str:
        return self.contender.name

    @property
    def port(self) -> int:
        return self.ports.http

    def port_of(self, listener: Listener) -> int:
        return {"http": self.ports.http, "websocket": self.ports.websocket, "grpc": self.ports.grpc}[listener]


def ours() -> Contender:
    return Contender(
        "dragoman",
        importlib.metadata.version("dragoman"),
        _dragoman_command,
        prepare=accounts.open_account,
        first_key=accounts.OPERATOR_KEY,
        dialects=tuple(DIALECTS),
    )


def yardstick(name: str = YARDSTICK) -> Contender:
    shown = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    return Contender(name, shown.rpartition("/")[2].strip(), _nginx_command, dialects=("openai",))


def litellm() -> Contender | None:
    """LiteLLM, if $BENCH_LITELLM names its executable."""
    executable = shutil.which(os.environ.get("BENCH_LITELLM", ""))
    if executable is None:
        return None
    shown = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+\.\d+\.\S+", shown)

    def command(folder: Path, ports: Ports, upstream_port: int) -> list[str]:
        return _litellm_command(executable, folder, ports.http, upstream_port)

    return Contender(
        "litellm", found[0] if found else "?", command, key="sk-bench-key", load_share=0.05, patience_s=120.0
    )


def start_all(rig: Rig, upstream_port: int, dialects: Collection[str] = ("openai",)) -> list[Running]:
    """Start the yardstick, and every contender that speaks one of `dialects`."""
    field: list[Running] = []
    for contender in rig.contenders:
        if contender.name != YARDSTICK and not set(dialects) & set(contender.dialects):
            continue
        with rig.tolerating_peer(contender):
            field.append(start(rig, contender, upstream_port))
    return field


def start(rig: Rig, contender: Contender, upstream_port: int, ports: Ports | None = None) -> Running:
    """Start a contender and wait until it has given one right answer.

    Its data folder is prepared, unless it is there already: one that was given the same ports before finds it again.
    """
    ports = ports or Ports.free()
    prepare(rig, contender, ports)
    running = spawn(rig, contender, upstream_port, ports)
    wait_for_answer(running, poll_s=0.02)
    return running


def prepare(rig: Rig, contender: Contender, ports: Ports) -> None:
    data = data_folder(rig, ports)
    if contender.prepare is not None and not data.exists():
        contender.prepare(data)


def spawn(rig: Rig, contender: Contender, upstream_port: int, ports: Ports) -> Running:
    """Start a contender on whatever its data folder holds."""
    command = contender.command(rig.stage.folder, ports, upstream_port)
    child = rig.stage.start(contender.name, command, rig.contender_core, _clean_environment())
    return Running(contender, child, ports)


def start_on(rig: Rig, contender: Contender, upstream_port: int, data: Path) -> Running:
    """Start a contender on a data folder that was filled before."""
    ports = Ports.free()
    data_folder(rig, ports).symlink_to(data)
    return start(rig, contender, upstream_port, ports)


def data_folder(rig: Rig, ports: Ports) -> Path:
    return _data(rig.stage.folder, ports)


def wait_for_answer(running: Running, poll_s: float, key: str = "") -> None:
    deadline = time.monotonic() + running.contender.patience_s
    while True:
        running.child.require_alive()
        try:
            check_unary(_ask(running, key))
        except (OSError, http.client.HTTPException, WrongAnswerError) as error:
            if time.monotonic() > deadline:
                raise RigError(f"{running.name}: {error}\n{running.child.last_words()}") from error
            time.sleep(poll_s)
        else:
            return


def answer_length(running: Running) -> int:
    """The length of this contender's unary answer, after a check that its meaning is right."""
    body = _ask(running)
    check_unary(body)
    return len(body)


def _ask(running: Running, key: str = "") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    try:
        body = chat_body(question(0, 16), stream=False)
        connection.request("POST", CHAT, body, headers(key or running.contender.key))
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise WrongAnswerError(f"status {response.status}: {answer[:300]!r}")
        return answer
    finally:
        connection.close()


def idle_cpu_share(rig: Rig, running: Running, watch_s: float = 1.5) -> float:
    """What the contender burns while nothing is asked of it; subtracted from what it uses under load."""
    before = read_cpu(running.child.pid, rig.contender_core)
    time.sleep(watch_s)
    return usage_between(before, read_cpu(running.child.pid, rig.contender_core)).busy_share


def _clean_environment() -> dict[str, str]:
    """The caller's environment without what would configure a gateway or send it through a proxy.

    Byte code may be written, or every start would compile what changed, in time and in memory.
    """
    legacy = r"CHATGPT_|(CHAT_)?API_KEY$|SECRET_KEY$|AUTHORIZATION_KEY$|ACCESS_TOKEN$|SERVER_PORT$"
    foreign = re.compile(
        rf"DRAGOMAN_|OPENAI_|ANTHROPIC_|LITELLM_|PYTHONDONTWRITE|{legacy}|[a-z_]*proxy$", re.IGNORECASE
    )
    return {name: value for name, value in os.environ.items() if not foreign.match(name)}


def _nginx_command(folder: Path, ports: Ports, upstream_port: int) -> list[str]:
    return nginx.command(nginx.proxy(folder, ports.http, upstream_port))


def _data(folder: Path, ports: Ports) -> Path:
    return folder / f"data-{ports.http}"


def _dragoman_command(folder: Path, ports: Ports, upstream_port: int) -> list[str]:
    """Configure it as it comes, all listeners and budgets on; the context is small, so that long conversations are
    trimmed.
    """
    config = folder / f"dragoman-{ports.http}.toml"
    config.write_text(
        f"""[server]
host = "127.0.0.1"
port = {ports.http}
grpc_port = {ports.grpc}
websocket_port = {ports.websocket}
{accounts.CONFIGURATION}
[conversations]
context_tokens = {CONTEXT_TOKENS}

[[providers]]
name = "mock"
kind = "openai"
base_url = "http://127.0.0.1:{upstream_port}/v1"
credentials = ["upstream-key"]
models = ["{UPSTREAM_MODEL}"]

[[models]]
name = "public"
targets = [{{ provider = "mock", model = "{UPSTREAM_MODEL}" }}]
"""
    )
    data = _data(folder, ports)
    data.mkdir(exist_ok=True)
    return [sys.executable, "-m", "dragoman", "serve", "--config", str(config), "--data", str(data)]


def _litellm_command(executable: str, folder: Path, port: int, upstream_port: int) -> list[str]:
    config = folder / f"litellm-{port}.yaml"
    # The settings its documentation recommends for production, with one worker and no database.
    config.write_text(
        f"""model_list:
  - model_name: public
    litellm_params:
      model: openai/{UPSTREAM_MODEL}
      api_base: http://127.0.0.1:{upstream_port}/v1
      api_key: upstream-key
litellm_settings:
  set_verbose: false
  use_chat_completions_url_for_anthropic_messages: true
  request_timeout: 600
general_settings:
  master_key: sk-bench-key
"""
    )
    return [
        *("env", "LITELLM_LOG=ERROR", "LITELLM_LOCAL_MODEL_COST_MAP=True"),
        *("AIOHTTP_CONNECTOR_LIMIT=100000", "AIOHTTP_CONNECTOR_LIMIT_PER_HOST=100000", executable),
        *("--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"),
    ]
