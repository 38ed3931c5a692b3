"""The other files of deploy/: what they name exists, and what must agree with the gateway's defaults does."""

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dragoman.sections import Server, Upstreams
from dragoman.settings import SECTIONS, load
from gateway import free_port

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
GUIDE = ROOT / "docs" / "deployment.md"
PORTS = {Server().port, Server().grpc_port, Server().websocket_port}
SECONDS = {"s": 1, "m": 60, "h": 3600}


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)([smh]?)", text).groups()
    return int(number) * SECONDS[unit or "s"]


# --- the Dockerfile ------------------------------------------------------------------------------------------


def instructions():
    """The Dockerfile as (instruction, arguments), with continued lines joined and comments left out."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line]


def arguments(name):
    return [rest for word, rest in instructions() if word == name]


def copied():
    """What is copied from the repository."""
    rows = [rest.split() for rest in arguments("COPY") if "--from=" not in rest]
    return {source for *sources, _ in rows for source in sources}


def test_the_image_is_made_of_files_that_exist():
    assert copied()
    assert [source for source in copied() if not (ROOT / source).exists()] == []


def test_the_builder_is_sent_what_is_copied_and_nothing_else():
    """Least of all .env, dragoman.toml, a data folder, or deploy/secrets."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {path.relative_to(ROOT).as_posix() for rule in rules if rule[0] == "!" for path in ROOT.glob(rule[1:])}
    assert copied() <= sent
    assert {Path(path).parts[0] for path in sent} == {Path(path).parts[0] for path in copied()}


def test_everything_installed_is_pinned():
    installs = [rest for rest in arguments("RUN") if "pip" in rest and " install " in rest]
    assert len(installs) == 4
    assert [rest for rest in installs if "--require-hashes" not in rest and "--no-index" not in rest] == []


def test_the_image_listens_where_the_gateway_does():
    [exposed] = arguments("EXPOSE")
    assert set(map(int, exposed.split())) == PORTS
    assert "DRAGOMAN_SERVER__HOST=0.0.0.0" in arguments("ENV")[-1]


def test_the_image_is_not_roots():
    [user] = arguments("USER")
    numbers = user.split(":")
    assert all(number.isdigit() and int(number) >= 10_000 for number in numbers)
    [volume] = arguments("VOLUME")
    assert f"DRAGOMAN_SERVER__DATA={volume}" in arguments("ENV")[-1]
    made = f"install -d -m 0700 -o {numbers[0]} -g {numbers[1]} {volume}"
    assert [rest for rest in arguments("RUN") if made in rest]


def test_signals_reach_the_gateway_itself():
    """In the form without a shell, which would keep SIGTERM to itself."""
    [entry], [command] = arguments("ENTRYPOINT"), arguments("CMD")
    assert [*json.loads(entry), *json.loads(command)] == ["dragoman", "serve"]
    assert arguments("STOPSIGNAL") == ["SIGTERM"]


def health_check(port):
    [rest] = arguments("HEALTHCHECK")
    python, *command = json.loads(rest[rest.index("CMD ") + 4 :])
    assert python == "python"
    assert command[1].count(f" {Server().port},") == 1
    command[1] = command[1].replace(f" {Server().port},", f" {port},")
    return subprocess.run([sys.executable, *command], capture_output=True, timeout=10).returncode


def test_the_health_check_sees_a_gateway_that_is_ready(start_gateway):
    config = {"auth": {"keys": ["k"]}, "providers": [{"name": "parrot", "kind": "echo"}]}
    assert health_check(start_gateway(config).port) == 0


def test_the_health_check_sees_that_no_provider_is_up(start_gateway):
    dead = {"name": "dead", "kind": "openai", "base_url": f"http://127.0.0.1:{free_port()}/v1", "models": ["*"]}
    gateway = start_gateway({"providers": [dead]})
    gateway.wait_for(lambda: "- provider dead" in gateway.output())
    assert health_check(gateway.port) == 1


def test_the_health_check_sees_that_nobody_listens():
    assert health_check(free_port()) == 1


# --- compose ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))


@pytest.fixture(params=["dragoman", "database"])
def container(compose, request):
    assert set(compose["services"]) == {"dragoman", "database"}
    return compose["services"][request.param]


def test_compose_builds_from_files_that_exist(compose):
    build = compose["services"]["dragoman"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


def test_a_container_uses_what_compose_declares(compose, container):
    for given in container["secrets"]:
        assert (given["source"] if isinstance(given, dict) else given) in compose["secrets"]
    assert set(container["networks"]) <= set(compose["networks"])
    for volume in container["volumes"]:
        source = volume.partition(":")[0]
        assert source in compose["volumes"] or (DEPLOY / source).exists()


def test_secrets_are_files_that_git_and_the_builder_never_see_and_the_guide_makes(compose):
    assert compose["secrets"]
    assert (DEPLOY / ".gitignore").read_text("utf-8").split() == ["secrets/"]
    for secret in compose["secrets"].values():
        path = Path(secret["file"])
        assert path.parent == Path("secrets")
        assert str(path) in GUIDE.read_text("utf-8")


def test_no_secret_stands_in_compose_itself(container):
    for name, value in container["environment"].items():
        assert not re.search(r"PASSWORD$|KEY$|TOKEN$|SECRET$|STORE__URL$", name), name
        assert "://" not in value


def test_a_container_can_do_little(container):
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in container
    assert "cap_add" not in container


def test_dragoman_waits_until_the_database_is_healthy(compose):
    services = compose["services"]
    assert services["dragoman"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert services["database"]["healthcheck"]["test"][0] == "CMD"


def test_streams_may_finish_before_a_container_is_killed(compose):
    assert seconds(compose["services"]["dragoman"]["stop_grace_period"]) > Server().grace_s


def test_the_database_cannot_be_reached_from_outside_nor_the_gateway_past_nginx(compose):
    services = compose["services"]
    assert "ports" not in services["database"]
    assert compose["networks"]["inside"] == {"internal": True}
    assert services["database"]["networks"] == ["inside"]
    assert sorted(services["dragoman"]["ports"]) == sorted(f"127.0.0.1:{port}:{port}" for port in PORTS)


# --- the unit ----------------------------------------------------------------------------------------------------

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


@pytest.fixture(scope="module")
def unit():
    """The unit's sections; of an option that is given twice, the first."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str
    parser.read(DEPLOY / "dragoman.service", "utf-8")
    return parser


@needs_systemd
def test_systemd_understands_every_line_of_the_unit(tmp_path):
    """Only the command is not there to be found: any other stands for it."""
    text = (DEPLOY / "dragoman.service").read_text("utf-8")
    assert text.count("/opt/dragoman/bin/dragoman") == 1
    file = tmp_path / "dragoman.service"
    file.write_text(text.replace("/opt/dragoman/bin/dragoman", "/bin/true"), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_systemd_finds_little_exposed():
    file = str(DEPLOY / "dragoman.service")
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout


def test_the_unit_lets_streams_finish(unit):
    assert seconds(unit["Service"]["TimeoutStopSec"]) > Server().grace_s
    assert unit["Service"]["KillSignal"] == "SIGTERM"
    assert unit["Service"]["KillMode"] == "mixed"


def test_the_unit_has_room_for_every_connection(unit):
    assert int(unit["Service"]["LimitNOFILE"]) > 2 * Server().max_connections


def test_the_unit_keeps_data_where_it_may_write(unit):
    state = unit["Service"]["StateDirectory"]
    assert unit["Service"]["Environment"] == f"DRAGOMAN_SERVER__DATA=/var/lib/{state}"
    assert unit["Service"]["WorkingDirectory"] == f"/etc/{unit['Service']['ConfigurationDirectory']}"


def test_the_unit_does_not_start_again_what_is_misconfigured(unit, tmp_path):
    (tmp_path / "dragoman.toml").write_text("[nonsense]\n", "utf-8")
    command = [sys.executable, "-m", "dragoman", *unit["Service"]["ExecStart"].split()[1:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=10)
    assert str(done.returncode) == unit["Service"]["RestartPreventExitStatus"]


# --- nginx --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nginx():
    return (DEPLOY / "nginx.conf").read_text("utf-8")


def test_nginx_looks_where_the_gateway_listens(nginx):
    assert set(re.findall(r"^ +server (\S+);", nginx, re.MULTILINE)) == {f"{Server().host}:{port}" for port in PORTS}


def test_nginx_has_more_patience_than_the_gateway(nginx):
    assert seconds(re.search(r"proxy_read_timeout (\w+);", nginx)[1]) > Upstreams().total_s
    assert seconds(re.search(r"grpc_read_timeout (\w+);", nginx)[1]) > Upstreams().total_s
    assert int(re.search(r"client_max_body_size (\d+)m;", nginx)[1]) * 2**20 > Server().max_body_bytes


# --- the environment ------------------------------------------------------------------------------------------------


def written(pattern):
    files = [path for path in DEPLOY.iterdir() if path.is_file()]
    return {found for path in [*files, GUIDE] for found in re.findall(pattern, path.read_text("utf-8"))}


def test_every_variable_that_is_named_exists():
    names = written(r"\bDRAGOMAN_[A-Z_]+__[A-Z_]+")
    assert {"DRAGOMAN_SERVER__HOST", "DRAGOMAN_STORE__URL"} <= names
    for name in names:
        section, _, leaf = name.removeprefix("DRAGOMAN_").lower().partition("__")
        assert leaf in SECTIONS[section].__struct_fields__, name


def test_every_variable_that_is_set_is_accepted(tmp_path):
    set_ = written(r"\b(DRAGOMAN_[A-Z_]+__[A-Z_]+)(?:=|: )(\S+)")
    assert len(set_) >= 4
    for name, value in set_:
        section, _, leaf = name.removeprefix("DRAGOMAN_").lower().partition("__")
        settings = load(environment={name: value}, folder=tmp_path)
        assert str(getattr(getattr(settings, section), leaf)) == value
