"""Secrets, and what was said, stand nowhere but where they must: in no answer, line, metric, traceback or file.

Items 35 and 36 of the security checklist (docs/security.md). A gateway is run at its most talkative; every secret that
it ever sees is a canary, and in the end all that it said and kept is searched for each of them.
"""

import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
from http.client import IncompleteRead
from urllib.parse import quote

import pytest
from operators import ask
from ways import MESSAGES, OTHERS, TALKS, forms

from dragoman.wires.refusals import TEXT_LIMIT
from gateway import OURS, Gateway, free_port
from upstream import Upstream, head, send, stream, unary

CANARIES = {
    # Nothing in these says that they are keys: whoever takes them out must know them.
    "provider": "canary.one/+Zm9v.of.the.first.Q7",
    "other": "canary two of the second X4 with spaces",
    "odd": "canary:three:\N{SNOWMAN}:of:the:odd:K9",
    "master": "canary-master-0123456789-abcdefghij-XYZ",
    "static": "canary-static-key-5566778899-aabbcc",
    "hash": "canary-hash-key-0123456789-abcdefghijklmnop",
    "signing": "canary-signing-key-9988776655-zzyy",
    "password": "canary-password-of-ada-&-13",
    "proxy": "canary-proxy-password-7:7",
    "issuer": "canary-client-secret-of-oidc-31",
    "relay": "canary-authorization-key-of-d-17",
}
WRONG = "canary-wrong-key-of-another-service-42"
PROMPT, ANSWER = "canary-prompt Grüße", "canary-answer Grüße"
ACCOUNT = "ada@example.com"
BUSY_S = 10


class House:
    """A gateway all of whose secrets are canaries, the answers that it gave, and where it may tell which."""

    def __init__(self, upstream, folder):
        self.folder, self.upstream = folder, upstream
        self.secrets = dict(CANARIES)
        self.said = []
        self.grpc_port, self.websocket_port = free_port(), free_port()
        data = folder / "data"
        data.mkdir(mode=0o700)
        (data / "master.key").write_text(CANARIES["master"] + "\n", encoding="ascii")
        (data / "hash.key").write_text(CANARIES["hash"] + "\n", encoding="ascii")
        for file in data.iterdir():
            file.chmod(0o600)
        self.openai = upstream.lane("canary-openai", "openai")
        self.anthropic = upstream.lane("canary-anthropic", "anthropic")
        for lane in (self.openai, self.anthropic):
            lane.always(unary(lane.speaker.whole(ANSWER)))
        self.tellers = []
        for kind in ("openai", "anthropic"):
            for number, script in enumerate(scripts_of(self.openai if kind == "openai" else self.anthropic)):
                self.tellers.append(upstream.lane(f"canary-{kind}-{number}", kind).always(script))
        self.gateway = Gateway(self._config(), folder)
        self.port = self.gateway.port

    def _config(self):
        def row(name, kind, url, credential, **more):
            return {"name": name, "kind": kind, "base_url": url, "credentials": [credential], "models": ["m"], **more}

        account, server = CANARIES, {"grpc_port": self.grpc_port, "websocket_port": self.websocket_port}
        proxy = f"http://gate:{quote(account['proxy'], safe='')}@127.0.0.1:{self.upstream.port}"
        dead = f"http://gate:{quote(account['proxy'], safe='')}@127.0.0.1:{free_port()}"
        return {
            "server": {**server, "default_model": "o/m"},
            "auth": {"keys": [account["static"]]},
            "auth.oidc": {
                "issuer": f"https://127.0.0.1:{free_port()}",
                "client_id": "gate",
                "client_secret": account["issuer"],
            },
            "compat": {"secret_key": account["signing"], "authorization_key": account["relay"]},
            "log": {"level": "debug", "requests": "all"},
            "upstream": {"attempts": 2, "bench_s": 0.001},
            "prices": [{"model": "m", "input": "1", "output": "1"}],
            "providers": [
                row("o", "openai", self.openai.base_url, account["provider"]),
                row("a", "anthropic", self.anthropic.base_url, account["other"]),
                row("odd", "openai", self.openai.base_url, account["odd"]),
                row("proxied", "openai", "http://api.example/v1", account["provider"], proxy=proxy),
                *(
                    row(lane.name, lane.kind, lane.base_url, account["provider" if lane.kind == "openai" else "other"])
                    for lane in self.tellers
                ),
                row("unproxied", "openai", "http://api.example/v1", account["provider"], proxy=dead),
            ],
        }

    def keep(self, said):
        self.said.append(said)
        return said

    def ask(self, method, target, key="", body=None, headers=()):
        reply = ask(self.port, method, target, key, body, headers)
        self.keep(str(reply.headers.items()).encode() + b"\n" + reply.body)
        return reply

    def way(self, way, key, model="o/m", headers=()):
        """Ask; an answer that breaks off is kept as far as it came, and None."""
        try:
            reply = way.ask(self.port, key, model, PROMPT, headers)
        except IncompleteRead as cut:
            self.keep(cut.partial)
            return None
        self.keep(str(reply.headers.items()).encode() + b"\n" + reply.body)
        return reply

    def admin(self, method, path, body=None):
        return self.ask(method, f"/api/admin/{path}", self.secrets["master"], body)

    def untold(self, method, target, key="", body=None):
        """Ask for what is shown once: this answer may have a secret in it."""
        return ask(self.port, method, target, key, body)

    def run(self, *args, given=""):
        """Run a command beside the gateway; returns all that it printed."""
        options = ["--config", str(self.folder / "gateway.toml")]
        options += [] if args[0] == "check" else ["--data", str(self.folder / "data")]
        done = subprocess.run(
            [sys.executable, "-m", "dragoman", *args, *options],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not OURS.match(name)},
            input=given,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return self.keep((done.stdout + done.stderr).encode()).decode()

    def until(self, found):
        deadline = time.monotonic() + BUSY_S
        while not (value := found()):
            assert time.monotonic() < deadline, f"the store did not follow: {self.admin('GET', 'journal').body}"
        return value


def shown_by(request):
    return request.headers.get("authorization") or request.headers.get("x-api-key")


def quoting(lane, status, **headers):
    """A provider that tells the credential in its refusal."""

    def script(request):
        said = {name.replace("_", "-"): request.credential for name in headers}
        return unary(lane.speaker.refusal(f"Incorrect key provided: {shown_by(request)}."), status, said)

    return script


def quoting_as(lane, field):
    """The credential stands where a short word is expected."""

    def script(request):
        error = {"message": "no", "type": "invalid_request_error", field: request.credential}
        return unary(json.dumps({"type": "error", "error": error}).encode(), 400)

    return script


def quoting_at_length(lane, before):
    """The credential stands where a long text is cut."""

    def script(request):
        return unary(lane.speaker.refusal("x" * before + request.credential), 400)

    return script


def quoting_stream(lane):
    def script(request):
        error = lane.speaker.stream_error(f"key {shown_by(request)} is over")
        return stream([*lane.speaker.opening(), lane.speaker.text(ANSWER), error])

    return script


def quoting_nonsense(request):
    shown = request.credential
    return [send(head(200, {"content-type": "application/json", "content-length": len(shown)}) + shown.encode())]


def redirecting(request):
    shown = request.credential
    return unary(b"", 302, {"location": f"http://127.0.0.1:1/?key={shown}", "www-authenticate": f"Bearer {shown}"})


@pytest.fixture(scope="module")
def upstream_of_its_own():
    running = Upstream()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def house(upstream_of_its_own, tmp_path_factory):
    """A gateway to which all of it has happened."""
    house = House(upstream_of_its_own, tmp_path_factory.mktemp("canaries"))
    try:
        keys_and_accounts(house)
        good_calls(house)
        bad_upstreams(house)
        bad_callers(house)
        operators_look(house)
        yield house
    finally:
        house.gateway.stop()


def keys_and_accounts(house):
    made = house.untold("POST", "/api/admin/keys", house.secrets["master"], {"name": "ci", "owner": "ada"}).json
    house.secrets["stored"], house.id = made["secret"], made["id"]
    poor = {"name": "poor", "budget": {"amount": "0.000001", "window": "total"}}
    house.secrets["poor"] = house.untold("POST", "/api/admin/keys", house.secrets["master"], poor).json["secret"]
    rotated = house.untold("POST", "/api/admin/keys", house.secrets["master"], {"name": "old"}).json
    house.secrets["rotated-out"] = rotated["secret"]
    turned = house.untold("POST", f"/api/admin/keys/{rotated['id']}/rotate", house.secrets["master"], {})
    house.secrets["rotated"] = turned.json["secret"]
    house.secrets["token"] = house.untold("GET", f"/token?id=1000&hour=1&key={quote(house.secrets['signing'])}").json[
        "token"
    ]
    assert house.admin("POST", "users", {"name": ACCOUNT, "password": house.secrets["password"]}).status == 201
    login = {"type": "1", "email": ACCOUNT, "password": house.secrets["password"]}
    found = house.untold("POST", "/api/v1/token/getInfo", "", login)
    assert found.json["status"] == 200, found
    house.secrets["login"] = found.json["data"] if isinstance(found.json["data"], str) else found.json["data"]["token"]


def good_calls(house):
    for way in TALKS:
        for key in ("stored", "token", "static"):
            streaming = way.name.endswith("stream")
            lane = house.anthropic if way.name.startswith("anthropic") else house.openai
            if streaming:
                lane.play(stream(lane.speaker.events([ANSWER])))
            reply = house.way(way, house.secrets[key], "a/m" if lane is house.anthropic else "o/m")
            assert reply.status in (200, 201), (way, reply)
    for message in MESSAGES:
        house.keep(str(message(house, house.secrets["stored"], PROMPT)).encode())


def scripts_of(lane):
    """All ways to tell a credential back."""
    told = {"www_authenticate": 1, "x_request_id": 1, "openai_organization": 1}
    yield from (quoting(lane, status, **told) for status in (400, 401, 403, 404, 407, 429, 500, 503))
    yield from (quoting_as(lane, field) for field in ("type", "code", "param"))
    yield from (quoting_at_length(lane, TEXT_LIMIT - left) for left in (20, 5))
    yield from (quoting_stream(lane), quoting_nonsense, redirecting)


def bad_upstreams(house):
    """Each of them has a provider of its own, so that none is spared because another rests."""
    for lane in house.tellers:
        ways = TALKS[:2] if lane.kind == "openai" else TALKS[2:4]
        for way in (*ways, *TALKS[4:7]):
            house.way(way, house.secrets["stored"], f"{lane.name}/m")
            assert lane.requests
    # A credential that fits into no header is a crash of ours: it is told with a traceback.
    for model in ("odd/m", "proxied/m", "unproxied/m"):
        for way in TALKS[:4]:
            reply = house.way(way, house.secrets["stored"], model)
            assert reply.status >= 400 or b"error" in reply.body, reply


def bad_callers(house):
    for way in (*TALKS, *OTHERS):
        house.way(way, WRONG)
        house.way(way, house.secrets["rotated-out"])
        house.way(way, house.secrets["password"])
        house.way(way, house.secrets["stored"], headers=[("x-api-key", WRONG), ("Authorization", f"Bearer {WRONG}x")])
    for way in TALKS:
        house.way(way, house.secrets["poor"])
    for message in MESSAGES:
        house.keep(str(message(house, WRONG, PROMPT)).encode())
    for name in ("stored", "master", "signing"):
        secret = house.secrets[name]
        house.ask("GET", f"/v1/models?key={quote(secret)}&api_key={quote(secret)}")
        house.ask("POST", "/v1/chat/completions", secret, b'{"model": "o/m", "key": "' + secret.encode())
        house.ask("POST", "/v1/chat/completions", secret, {"model": 5, "api_key": secret, "messages": [secret]})
        house.ask("POST", "/api/admin/keys", secret, {"name": 5, "secret": secret})
        house.ask("BREW", "/v1/messages", secret)
    for wrong in (WRONG, house.secrets["password"]):
        login = {"type": "1", "email": "nobody@example.com", "password": wrong}
        house.ask("POST", "/api/v1/token/getInfo", "", login)
        house.ask("GET", f"/api/v1/token/getInfo?type=1&email=nobody@example.com&password={quote(wrong)}")
        house.ask("GET", f"/api/v1/token/getInfo?type=7&password={quote(wrong)}")
        house.ask("POST", "/api/v1/token/getInfo", "", b'{"password": "' + wrong.encode())
        house.ask("GET", f"/token?id=1&hour=1&key={quote(wrong)}")
        house.admin("POST", "users", {"name": "!", "password": wrong})
    for name in ("stored", "password"):
        broken = [("Broken header", house.secrets[name])]
        assert house.ask("GET", "/v1/models", house.secrets[name], headers=broken).status == 400


def operators_look(house):
    def rows():
        reply = house.admin("GET", "requests?limit=250")
        assert reply.status == 200, reply
        return reply.json["requests"]

    calls = house.until(rows)
    house.admin("GET", f"requests/{calls[0]['id']}")
    for path in ("settings", "pool", "keys", "teams", "users", "journal", "usage?group=model", f"keys/{house.id}"):
        assert house.admin("GET", path).status == 200, path
    assert house.ask("GET", "/metrics", house.secrets["master"]).status == 200
    assert house.ask("GET", "/v1/models", house.secrets["stored"]).status == 200
    for args in (
        ("check",),
        ("models",),
        ("key", "list"),
        ("key", "list", "--json"),
        ("key", "show", house.id),
        ("user", "list"),
        ("team", "list"),
        ("log", "--limit", "1000"),
        ("log", "--json", "--limit", "1000"),
        ("log", "--request", calls[0]["id"]),
        ("usage", "--group", "model"),
    ):
        house.run(*args)


# --- item 35


def found_in(data, secrets):
    return sorted(name for name, secret in secrets.items() if any(form and form in data for form in forms(secret)))


def greeting(line, house):
    """The two lines at the start that show the master key to whoever sits there."""
    return ("kept in" in line or line.startswith("curl -N ")) and house.secrets["master"] in line


def test_item_35_the_search_finds_what_it_looks_for(house):
    for name, secret in house.secrets.items():
        for form in forms(secret):
            assert name in found_in(b"some " + form + b" thing", house.secrets)


def test_item_35_no_answer_has_a_secret(house):
    everything = {**house.secrets, "wrong": WRONG}
    assert len(house.said) > 200
    # What the provider said did arrive, with the secret taken out.
    assert sum(b"Incorrect key provided" in said for said in house.said) > 10
    told = [(found, said[:1500]) for said in house.said if (found := found_in(said, everything))]
    assert not told


def test_item_35_no_line_of_the_log_has_a_secret(house):
    lines = house.gateway.output().splitlines()
    greetings = [line for line in lines if greeting(line, house)]
    assert len(greetings) <= 2
    told = [
        (found, line[:1500])
        for line in lines
        if line not in greetings and (found := found_in(line.encode(), {**house.secrets, "wrong": WRONG}))
    ]
    assert not told
    assert sum('"event":"call"' in line for line in lines) > 60
    # The crash of one provider's credential was told with all that Python tells.
    assert "Traceback" in house.gateway.output()


def test_item_35_no_file_has_a_secret_that_is_not_its_own(house):
    house.gateway.stop()
    allowed = {"master.key": ["master"], "hash.key": ["hash"]}
    files = [path for path in (house.folder / "data").rglob("*") if path.is_file()]
    assert {"master.key", "hash.key", "dragoman.db"} <= {path.name for path in files}
    for path in files:
        assert found_in(path.read_bytes(), {**house.secrets, "wrong": WRONG}) == allowed.get(path.name, []), path
        assert path.stat().st_mode & 0o077 == 0, path


def test_item_35_a_database_that_cannot_be_reached_is_told_without_its_password(tmp_path):
    password = "canary-postgres-password-3%2F3"
    for address in (
        f"postgresql://gate:{password}@127.0.0.1:{free_port()}/dragoman",
        f"postgresql://gate:{password}@127.0.0.1:port/dragoman",
        f"postgresql://gate:{password}@nowhere.invalid/dragoman?sslmode=canary",
        f"mysql://gate:{password}@127.0.0.1/dragoman",
        f"postgresql://gate:{password}@at@127.0.0.1/dragoman",
    ):
        (tmp_path / "gateway.toml").write_text(
            f'[store]\nurl = "{address}"\n[log]\nlevel = "debug"\n', encoding="utf-8"
        )
        for args in (["check"], ["serve", "--port", "0"], ["key", "list"])[: 3 if ":port" in address else 2]:
            done = subprocess.run(
                [sys.executable, "-m", "dragoman", *args, "--config", "gateway.toml"],
                cwd=tmp_path,
                env={name: value for name, value in os.environ.items() if not OURS.match(name)},
                capture_output=True,
                text=True,
                timeout=30,
            )
            said = done.stdout + done.stderr
            assert args == ["check"] or done.returncode != 0, (args, said)
            assert "canary-postgres-password" not in said, (args, said)


def test_item_35_the_memory_of_a_crashed_process_is_not_written_to_a_file(start_gateway):
    """Core dumps are off, whatever the shell allows: in one every secret would stand."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if before[1] == 0:
        pytest.skip("this machine lets no process have core dumps")
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        gateway = start_gateway({"providers": [{"name": "echo", "kind": "echo"}]})
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    with open(f"/proc/{gateway.pid}/limits", encoding="ascii") as file:
        (line,) = [line for line in file if line.startswith("Max core file size")]
    assert line.split()[4] == "0", line


# --- item 36: what was said is kept nowhere


def test_item_36_prompts_and_answers_are_in_no_line_and_no_metric(house):
    assert len([row for row in house.gateway.records if row["outcome"] == "completed"]) > 30
    output = house.gateway.output()
    for text in (PROMPT, ANSWER, "canary-prompt", "canary-answer"):
        assert text not in output
        assert json.dumps(text)[1:-1] not in output


def test_item_36_prompts_and_answers_are_not_kept(house):
    """Conversations are kept, as their dialects promise: the text stands in their table and nowhere else."""
    house.gateway.stop()
    for path in (house.folder / "data").rglob("*"):
        if path.is_file() and not path.name.startswith("dragoman.db"):
            data = path.read_bytes()
            assert b"canary-prompt" not in data, path
            assert b"canary-answer" not in data, path
    database = sqlite3.connect(house.folder / "data" / "dragoman.db")
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert {"calls", "contents", "keys", "nodes", "threads"} <= set(names)
    assert database.execute("SELECT count(*) FROM contents").fetchone() == (0,)
    for name in set(names) - {"nodes", "threads"}:
        rows = str(database.execute(f"SELECT * FROM {name}").fetchall())
        assert "canary-prompt" not in rows, name
        assert "canary-answer" not in rows, name
    said = database.execute("SELECT count(*) FROM nodes WHERE parts LIKE '%canary-prompt%'").fetchone()[0]
    assert said > 0
    database.close()
