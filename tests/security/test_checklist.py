"""Items 1 to 8 and 38 of the security checklist, and bad input that touches money and keys, at a gateway as it runs.

What each item has elsewhere is listed in docs/security.md.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from urllib.parse import quote

import pytest
from operators import House, ask
from ways import MESSAGES, OTHERS, TALKS, events_websocket
from websockets.sync.client import connect

from gateway import OURS, free_port

SIGNING = "a signing key of the tests"
KEYS = "/api/admin/keys"
ALL = [*TALKS, *OTHERS]
PASSWORD = "a password of eve's-7"


class Shop(House):
    """A gateway with every listener on, that serves any name of a model, beside which commands are run."""

    def __init__(self, folder):
        self.folder = folder
        self.grpc_port, self.websocket_port = free_port(), free_port()
        server = {"grpc_port": self.grpc_port, "websocket_port": self.websocket_port, "default_model": "echo/echo"}
        super().__init__(folder, server=server, compat={"secret_key": SIGNING}, log={"requests": "all"})

    def run(self, *args, given=""):
        """Run a command beside it; returns its exit code and all that it printed."""
        options = ["--config", str(self.folder / "gateway.toml"), "--data", str(self.folder / "data")]
        done = subprocess.run(
            [sys.executable, "-m", "dragoman", *args, *options],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not OURS.match(name)},
            input=given,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.returncode, done.stdout + done.stderr

    def admin(self, method, path, body=None):
        return self.ask(method, f"/api/admin/{path}", self.master, body)

    def is_served(self, key):
        return self.ask("GET", "/v1/models", key).status == 200

    def everything(self):
        """What operators see of keys, teams and accounts: what a refused call must leave alone."""
        return [self.admin("GET", path).json for path in ("keys?limit=250", "teams", "users")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    opened = Shop(tmp_path_factory.mktemp("shop"))
    yield opened
    opened.stop()


# --- item 1


def test_item_01_what_is_stored_of_a_key_is_no_key(shop):
    """Whoever reads the database can call with nothing that stands in it."""
    id_, secret = shop.make(name="stolen")
    assert len(secret.removeprefix("dgk_")) * 6 >= 128
    with closing(sqlite3.connect(shop.folder / "data" / "dragoman.db")) as database:
        (row,) = database.execute("SELECT * FROM keys WHERE id = ?", [id_])
    assert secret not in str(row)
    (text,) = [value for value in row if isinstance(value, str) and value.startswith("{")]
    digest = base64.b64decode(json.loads(text)["digest"])
    assert len(digest) == 32
    assert digest != hashlib.sha256(secret.encode()).digest()
    for guess in (
        digest.hex(),
        base64.b64encode(digest).decode(),
        "dgk_" + base64.urlsafe_b64encode(digest).decode(),
        id_,
    ):
        assert not shop.is_served(guess)
    assert shop.is_served(secret)


# --- item 2: nobody learns what is wrong with a key


def signed(claims, alg="HS256", key=SIGNING):
    """A token of system A's, made with the standard library."""

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    text = part({"alg": alg, "typ": "JWT"}) + b"." + part(claims)
    hashes = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
    mac = hmac.digest(key.encode(), text, hashes.get(alg, hashlib.sha256)) if alg.lower() != "none" else b""
    return (text + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


@pytest.fixture(scope="module")
def wrong_keys(shop):
    """A key for every way in which one may be wrong."""
    found = {"unknown": "dgk_" + "x" * 43, "foreign": "sk-" + "y" * 48}
    _, good = shop.make(name="good")
    found["one letter"] = good[:-1] + ("A" if good[-1] != "A" else "B")
    found["cut"] = good[:-1]
    id_, found["disabled"] = shop.make(name="disabled")
    assert shop.admin("PATCH", f"keys/{id_}", {"disabled": True}).status == 200
    id_, found["deleted"] = shop.make(name="deleted")
    assert shop.admin("DELETE", f"keys/{id_}").status == 204
    id_, found["rotated out"] = shop.make(name="rotated")
    assert shop.admin("POST", f"keys/{id_}/rotate", {"overlap_s": 0}).status == 200
    id_, maker = shop.make(name="maker")
    _, found["its maker is disabled"] = shop.make(maker, "/api/keys", name="made")
    shop.admin("PATCH", f"keys/{id_}", {"disabled": True})
    _, found["expired"] = shop.make(name="expired", expires=time.time() + 1)
    found["token of nobody"] = signed({"jti": "1", "exp": time.time() + 60}, key="another")
    found["token that expired"] = signed({"jti": "1", "exp": time.time() - 60})
    found["token that says none"] = signed({"jti": "1", "exp": time.time() + 60}, alg="none")
    shop.until(lambda: not shop.is_served(found["expired"]))
    assert shop.is_served(good)
    return found


def told(way, shop, key):
    """All that a caller sees of a refusal but the time and the number of the request."""
    reply = way.ask(shop.port, key, "echo/echo")
    headers = [(name, value) for name, value in reply.headers.items() if name not in ("date", "x-request-id")]
    number = reply.headers["x-request-id"].encode()
    return reply.status, headers, re.sub(rb'"timestamp":\d+', b"", reply.body.replace(number, b""))


@pytest.mark.parametrize("way", ALL, ids=str)
def test_item_02_over_http_nobody_learns_what_is_wrong_with_a_key(shop, wrong_keys, way):
    found = {name: told(way, shop, key) for name, key in wrong_keys.items()}
    status, _, body = found["unknown"]
    # System D refuses with 200 and a line; system A's chat with an empty 403. What is nowhere is so for everybody.
    assert status in (401, 403) or (status, way.name) == (404, "nowhere") or b'"error":true' in body, found["unknown"]
    assert {name: said for name, said in found.items() if said != found["unknown"]} == {}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_item_02_by_message_nobody_learns_what_is_wrong_with_a_key(shop, wrong_keys, message):
    found = {name: message(shop, key) for name, key in wrong_keys.items()}
    assert {name: said for name, said in found.items() if said != found["unknown"]} == {}
    _, good = shop.make(name="good")
    assert message(shop, good) != found["unknown"]


# --- item 4


@pytest.mark.parametrize("way", [way for way in ALL if way.shows != "opts.key" and way.name != "nowhere"], ids=str)
def test_item_04_two_credentials_that_disagree_are_refused(shop, way):
    """Each of them alone would do. Dialects that know one header only see two values of it."""
    keys = [shop.make(name=name)[1] for name in ("one", "other")]
    shown = "Bearer " if way.shows in ("Bearer", "x-api-key") else ""
    rows = [("Authorization", shown + key) for key in keys]
    before = shop.gateway.calls("echo")
    body = None if way.tree is None else way.tree("echo/echo", "hello")
    reply = ask(shop.port, way.method, way.path, "", body, [*way.headers, *rows])
    # System C and D refuse with 200 and words.
    assert reply.status == 400 or b"disagree" in reply.body, reply
    assert [row for row in shop.gateway.calls("echo")[len(before) :] if row["outcome"] == "completed"] == []


@pytest.mark.parametrize("path", ["/v1/ws", "/"])
def test_item_04_a_key_in_a_header_and_another_in_the_query_are_refused(shop, path):
    keys = [shop.make(name=name)[1] for name in ("one", "other")]
    port = shop.port if path == "/v1/ws" else shop.websocket_port
    message = (
        json.dumps({"type": "ask", "id": "q", "content": "hello"}) if path == "/v1/ws" else "<|ask|>$new$new$hello"
    )
    url = f"ws://127.0.0.1:{port}{path}?key={keys[1]}"
    with connect(url, additional_headers={"Authorization": keys[0]}, compression=None, proxy=None) as socket:
        socket.send(message)
        said = socket.recv(10)
    assert said.startswith("<|err|>") or '"type":"error"' in said, said


# --- item 6: a revocation holds at once


def test_item_06_over_the_interface_a_revocation_holds_for_the_next_request(shop):
    for body in ({"disabled": True}, None):
        id_, secret = shop.make(name="revoked")
        assert shop.is_served(secret)
        reply = shop.admin("PATCH", f"keys/{id_}", body) if body else shop.admin("DELETE", f"keys/{id_}")
        assert reply.status in (200, 204)
        assert not shop.is_served(secret)


def test_item_06_by_command_a_revocation_holds_within_a_second(shop):
    for command in ("disable", "delete"):
        id_, secret = shop.make(name="revoked")
        assert shop.is_served(secret)
        code, said = shop.run("key", command, id_)
        assert code == 0, said
        ended = time.monotonic()
        shop.until(lambda secret=secret: not shop.is_served(secret))
        assert time.monotonic() - ended < 1


def test_item_06_on_an_open_line_a_revocation_holds_for_the_next_message(shop):
    id_, secret = shop.make(name="revoked")
    url = f"ws://127.0.0.1:{shop.port}/v1/ws"
    message = json.dumps({"type": "ask", "id": "q", "content": "hello"})
    with connect(url, additional_headers={"Authorization": secret}, compression=None, proxy=None) as socket:
        socket.send(message)
        while json.loads(socket.recv(10))["type"] != "end":
            pass
        assert shop.admin("PATCH", f"keys/{id_}", {"disabled": True}).status == 200
        socket.send(message)
        assert json.loads(socket.recv(10))["code"] == "unauthenticated"


# --- item 7: passwords


def login(shop, name, password):
    body = {"type": "1", "email": name, "password": password}
    return shop.ask("POST", "/api/v1/token/getInfo", "", body)


def test_item_07_a_stored_hash_is_no_credential(shop):
    assert shop.admin("POST", "users", {"name": "eve", "password": PASSWORD}).status == 201
    with closing(sqlite3.connect(shop.folder / "data" / "dragoman.db")) as database:
        ((digest,),) = database.execute("SELECT digest FROM accounts WHERE name = 'eve'")
    assert digest.startswith("$argon2id$")
    assert PASSWORD not in digest
    for guess in (digest, digest.rpartition("$")[2], hashlib.sha256(PASSWORD.encode()).hexdigest()):
        assert login(shop, "eve", guess).status != 200
        assert not shop.is_served(guess)
    assert not shop.is_served(PASSWORD)
    assert login(shop, "eve", PASSWORD).status == 200


def test_item_07_logins_are_throttled(shop):
    assert shop.admin("POST", "users", {"name": "mallory", "password": PASSWORD}).status == 201
    tries = [login(shop, "mallory", f"a wrong password {number}") for number in range(11)]
    assert len({(reply.status, re.sub(rb'"timestamp":\d+', b"", reply.body)) for reply in tries[:10]}) == 1
    assert tries[10].status == 429, tries[10]
    assert int(tries[10].headers["retry-after"]) >= 1
    # The right password must wait as well, or it could be told from the wrong ones.
    assert login(shop, "mallory", PASSWORD).status == 429


# --- item 8: tokens

NOW = 1_000_000_000 * 2
GOOD = {"jti": "1", "exp": NOW * 2}
BAD_TOKENS = {
    "alg none": signed(GOOD, alg="none"),
    "alg None": signed(GOOD, alg="None"),
    "alg RS256": signed(GOOD, alg="RS256"),
    "alg ES256": signed(GOOD, alg="ES256"),
    "alg in lower case": signed(GOOD, alg="hs256"),
    "no signature": signed(GOOD).rpartition(".")[0] + ".",
    "another key": signed(GOOD, key="another"),
    "an empty key": signed(GOOD, key=""),
    "expired": signed({"jti": "1", "exp": 1}),
    "not yet valid": signed({**GOOD, "nbf": NOW}),
    "from the future": signed({**GOOD, "iat": NOW}),
    "of another issuer": signed({"iss": "https://evil.example", "sub": "eve", "iat": 1, "exp": NOW}, key="evil"),
    "claims of another's": ".".join([*signed({**GOOD, "jti": "2"}).split(".")[:2], signed(GOOD).split(".")[2]]),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_item_08_a_token_that_is_not_ours_in_every_respect_is_none(shop, name):
    reply = shop.ask("GET", "/v1/models", BAD_TOKENS[name])
    assert reply.status == 401, reply


def test_item_08_who_holds_system_as_key_is_no_account(shop):
    """The claims are those of an account's token of ours, but the signature is system A's."""
    claims = {"iss": "dragoman", "sub": "eve", "iat": 1, "exp": NOW, "jti": "1"}
    shop.chat(signed(claims))
    assert "user:eve" not in shop.gateway.output()


def test_item_08_a_good_token_is_let_in(shop):
    assert shop.is_served(signed(GOOD))
    assert shop.is_served(signed(GOOD, alg="HS512"))


# --- item 38: what is searched for, and how much of it

WILD = ["%", "_", "%%", "\\", "\\%", "[a-z]", "*", "?", "' OR '1'='1", "%' --", ".*", "("]


@pytest.fixture(scope="module")
def reader(shop):
    """A user with two conversations and a call, whose titles have no wildcard."""
    _, key = shop.make(name="reader", tags=["blue"])
    for title in ("alpha", "beta"):
        id_ = shop.begin(key)
        assert shop.ask("PATCH", f"/api/conversations/{id_}", key, {"title": title}).status == 200
    shop.chat(key)
    shop.until(lambda: shop.ask("GET", "/api/usage", key).json["rows"])
    return key


@pytest.mark.parametrize("text", WILD)
def test_item_38_a_wildcard_is_a_character(shop, reader, text):
    found = shop.ask("GET", f"/api/conversations?q={quote(text)}", reader)
    assert (found.status, found.json["conversations"]) == (200, []), found
    for name in ("model", "dialect", "tag"):
        assert shop.ask("GET", f"/api/usage?{name}={quote(text)}", reader).json["rows"] == [], name
    for name in ("model", "provider", "dialect", "tag", "team", "principal"):
        assert shop.admin("GET", f"usage?{name}={quote(text)}").json["rows"] == [], name
    for name in ("model", "provider", "team", "key", "principal"):
        assert shop.admin("GET", f"requests?{name}={quote(text)}").json["requests"] == [], name
    assert shop.admin("GET", f"keys?team={quote(text)}").json["keys"] == []


def test_item_38_no_search_is_slow(shop, reader):
    """Patterns that take others seconds: many wildcards, and the same over and over."""
    for text in ("%_" * 4000, "a%" * 4000, "\\" * 8000, "(a+)+" * 1500):
        start = time.monotonic()
        for target in (f"/api/conversations?q={quote(text)}", f"/api/usage?model={quote(text)}"):
            assert shop.ask("GET", target, reader).status in (200, 400, 414, 431)
        assert time.monotonic() - start < 0.5


LISTS = [
    ("/api/conversations", 100),
    ("/backend-api/conversations", 100),
    ("/api/usage", 250),
    ("/api/requests", 250),
    ("/api/keys", 250),
    ("/api/admin/keys", 250),
    ("/api/admin/usage", 250),
    ("/api/admin/requests", 250),
]


@pytest.mark.parametrize(("path", "most"), LISTS)
def test_item_38_a_page_has_bounds(shop, path, most):
    assert shop.ask("GET", f"{path}?limit={most}", shop.master).status == 200
    for limit in (0, -1, most + 1, 10**9, 10**30, "1e2", "NaN", "1;2", "%00"):
        reply = shop.ask("GET", f"{path}?limit={limit}", shop.master)
        assert reply.status == 400, (limit, reply)


def series(shop):
    reply = shop.ask("GET", "/metrics", shop.master)
    assert reply.status == 200
    return [line for line in reply.body.decode().splitlines() if not line.startswith("#")]


def test_item_38_metrics_stay_few_whatever_callers_invent(shop):
    _, key = shop.make(name="inventor")
    shop.chat(key)
    line = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=10)
    counts = []
    for number in range(5000):
        # At first every second one is a name that nobody serves.
        model = f"echo/invented-{number}" if number % 2 or number > 100 else f"invented-{number}"
        body = json.dumps({"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]})
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        headers |= {"X-Dialect": f"d{number}", "User-Agent": f"agent-{number}", "anthropic-version": f"{number}"}
        line.request("POST", "/v1/chat/completions", body, headers)
        answer = line.getresponse()
        answer.read()
        if number in (2499, 4999):
            counts.append(len(series(shop)))
    line.close()
    # What is beyond the bound is counted together: without one there were four series more for each name.
    assert counts[1] - counts[0] < 1100, counts
    assert counts[1] < 15_000
    told = "\n".join(series(shop))
    assert "agent-" not in told


# --- item 38: nobody writes lines of ours

EVIL = "evil\r\nFORGED 12:00:00 error\x1b[31m\x1b]0;title\x07\x9b1m\u2028\u202e\x00end"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]")


def is_plain(text):
    return not RAW.search(text) and not [line for line in text.splitlines() if line.lstrip().startswith("FORGED")]


def test_item_38_nobody_writes_lines_into_the_log_or_a_terminal(shop):
    _, key = shop.make(name="writer")
    number = shop.chat(key)
    for model in (EVIL, f"echo/{EVIL}"):
        for way in TALKS:
            way.ask(shop.port, key, model)
            way.ask(shop.port, "wrong", model)
    for path in (quote(f"/v1/{EVIL}"), quote(f"/api/keys/{EVIL}"), f"/v1/models/{quote(EVIL, safe='')}"):
        shop.ask("GET", path, key)
    # As they stand these end a header or a request line, so that nothing of them may get further.
    for rows in ([("User-Agent", "a\x1b[31mFORGED")], [("X-Request-Id", "a\x1b[31mFORGED"), ("Origin", "\x1b[31m")]):
        shop.ask("GET", "/v1/models", key, headers=rows)
    for fields in ({"name": EVIL}, {"owner": EVIL}, {"team": EVIL}, {"tags": [EVIL]}, {"models": [EVIL]}):
        reply = shop.admin("POST", "keys", {"name": "x", **fields})
        assert reply.status in (201, 400), reply
        assert is_plain(reply.body.decode())
    shop.admin("POST", "users", {"name": EVIL, "password": PASSWORD})
    events_websocket(shop, key, EVIL)
    token = signed({**GOOD, "jti": EVIL})
    assert shop.is_served(token)
    shop.chat(token)
    shop.until(lambda: shop.admin("GET", f"requests/{number}").status == 200)
    assert is_plain(shop.gateway.output()), RAW.search(shop.gateway.output())
    for args in (
        ("log", "--limit", "250"),
        ("usage", "--group", "model"),
        ("usage", "--group", "principal"),
        ("key", "list"),
        ("team", "list"),
        ("user", "list"),
        ("log", "--request", EVIL.replace("\x00", "")),
    ):
        _, said = shop.run(*args)
        assert is_plain(said), (
            args,
            [said[max(0, found.start() - 80) : found.end() + 80] for found in RAW.finditer(said)][:2],
        )


# --- bad input: refused clearly, and nothing is changed

AMOUNTS = [
    "-1", "-0.000001", "NaN", "nan", "Infinity", "-Infinity", "inf", "1e400", "1e3", "0x10", "1_000", "1,5", "", " ",
    "9" * 40, "9223372036854.775808", "0.0000001", "٣", "1.5.5", "+1", "--1", None, [], {}, True, 1.5, -5, 10**30,
]  # fmt: skip


@pytest.mark.parametrize("amount", AMOUNTS, ids=repr)
def test_an_impossible_amount_is_refused_and_nothing_is_made(shop, amount):
    before = shop.everything()
    for budget in ({"amount": amount, "window": "total"}, {"micro": amount, "window": "total"}):
        if budget == {"micro": True, "window": "total"} or (amount is None and "micro" in budget):
            continue
        reply = shop.admin("POST", "keys", {"name": "rich", "budget": budget})
        assert reply.status == 400, (budget, reply)
        assert reply.field.startswith("budget"), reply
        assert shop.admin("PUT", "teams/rich", {"budget": budget}).status == 400
    assert shop.everything() == before


@pytest.mark.parametrize("raw", ["1e999", "-1e999", "NaN", "Infinity", "-1", "1.5", "99999999999999999999", '"5"'])
@pytest.mark.parametrize("field", ["requests_per_minute", "tokens_per_minute", "parallel", "requests_per_day"])
def test_an_impossible_limit_is_refused_and_nothing_is_made(shop, field, raw):
    before = shop.everything()
    body = b'{"name":"many","limits":{"%s":%s}}' % (field.encode(), raw.encode())
    reply = shop.admin("POST", "keys", body)
    assert reply.status == 400, reply
    assert shop.everything() == before


@pytest.mark.parametrize("amount", ["-1", "nan", "inf", "1e400", "9" * 40, ""])
def test_an_impossible_amount_is_refused_by_the_command(shop, amount):
    before = shop.everything()
    code, said = shop.run("key", "create", "--name", "rich", f"--budget={amount}")
    assert code == 2, said
    assert "Traceback" not in said
    assert shop.everything() == before


def test_a_callers_request_id_is_nobodys_record(shop):
    """Two callers say the same id, which is that of a third's request: there are three records all the same."""
    (_, ann), (_, bob) = (shop.make(name=name) for name in ("ann", "bob"))
    first = shop.chat(ann)
    shop.until(lambda: shop.admin("GET", f"requests/{first}").status == 200)
    before = shop.admin("GET", f"requests/{first}").json
    body = TALKS[0].tree("echo/echo", "something else, and longer")
    headers = [("X-Request-Id", first), ("Request-Id", first), ("X-Correlation-Id", first), ("Idempotency-Key", first)]
    replies = [shop.ask("POST", TALKS[0].path, key, body, headers) for key in (ann, bob, ann)]
    ids = [reply.headers["x-request-id"] for reply in replies]
    assert len({first, *ids}) == 4
    assert [reply.headers.get_all("x-request-id") for reply in replies] == [[id_] for id_ in ids]
    for id_ in ids:
        shop.until(lambda id_=id_: shop.admin("GET", f"requests/{id_}").status == 200)
    assert shop.admin("GET", f"requests/{first}").json == before
    owners = [shop.admin("GET", f"requests/{id_}").json["principal"] for id_ in ids]
    assert owners == [owners[0], owners[1], owners[0]]
    assert owners[0] != owners[1]


def test_a_users_key_changes_nothing_of_the_operators(shop):
    id_, key = shop.make(name="user")
    before = shop.everything()
    for method, path, body in (
        ("POST", "keys", {"name": "mine", "role": "admin"}),
        ("PATCH", f"keys/{id_}", {"role": "admin"}),
        ("DELETE", f"keys/{id_}", None),
        ("POST", f"keys/{id_}/rotate", {}),
        ("PUT", "teams/mine", {"budget": {"amount": "1000000", "window": "total"}}),
        ("DELETE", "teams/mine", None),
        ("POST", "users", {"name": "root", "password": PASSWORD}),
        ("DELETE", "users/eve", None),
        ("GET", "settings", None),
        ("GET", "usage", None),
    ):
        reply = shop.ask(method, f"/api/admin/{path}", key, body)
        assert (reply.status, reply.code) == (403, "forbidden"), (method, path, reply)
        assert "administrator" in reply.json["error"]["message"]
    assert shop.everything() == before


def test_a_user_reads_nobody_elses_usage(shop):
    _, mine = shop.make(name="mine")
    other, secret = shop.make(name="other")
    number = shop.chat(secret)
    shop.until(lambda: shop.admin("GET", f"requests/{number}").status == 200)
    for query in (f"principal=key:{other}", "principal=master", "principal=", "principal=%25"):
        reply = shop.ask("GET", f"/api/usage?{query}", mine)
        assert (reply.status, reply.code) == (403, "forbidden"), query
    for query in ("", "group=principal", "group=key", "group=tag", "format=csv", "group=model&model=echo"):
        reply = shop.ask("GET", f"/api/usage?{query}", mine)
        assert other.encode() not in reply.body
    assert shop.ask("GET", f"/api/requests/{number}", mine).status == 404
