"""The operators' additions at a running gateway: credentials that are tried, budgets that say what was spent."""

import json
import time

import pytest
from described import ask

from gateway import CREDENTIALS, Gateway
from upstream import unary

SHOWN = "sk-shown-to-nobody-else-4711"
PRICE = {"model": "m", "input": "1", "output": "1"}
"""A micro-unit a token: the scripted upstream's answer of 25 and 7 tokens costs 32."""
COST = 32
LOADED_S = 8


class Operator:
    """A gateway in front of one lane of the scripted upstream, and who holds its master key."""

    def __init__(self, upstream, folder):
        self.lane = upstream.lane("operated", "openai")
        self.lane.always(unary(self.lane.speaker.whole("Hello")))
        row = {"kind": "openai", "base_url": self.lane.base_url, "credentials": CREDENTIALS[:1], "models": ["m"]}
        providers = [{"name": "paid", **row}, {"name": "echo", "kind": "echo"}]
        self.gateway = Gateway({"log": {"requests": "all"}, "prices": [PRICE], "providers": providers}, folder)
        self.folder = folder
        self.master = (folder / "data" / "master.key").read_text(encoding="ascii").strip()

    def ask(self, method, path, body=None, key="", status=200):
        said = None if body is None else json.dumps(body)
        headers = {"authorization": f"Bearer {key or self.master}", "content-type": "application/json"}
        answer = ask(self.gateway, method, path, headers, said)
        assert answer.status == status, answer
        return answer.json if answer.body else None

    def chat(self, key):
        message = {"role": "user", "content": "hello"}
        body = {"model": "m", "max_tokens": 10, "messages": [message]}
        return self.ask("POST", "/v1/chat/completions", body, key)

    def until(self, found):
        """Return the first true value of `found()`; the store follows the journal in the background."""
        deadline = time.monotonic() + LOADED_S
        while not (value := found()):
            assert time.monotonic() < deadline, "the store did not follow"
        return value


@pytest.fixture(scope="module")
def operator(upstream, tmp_path_factory):
    operator = Operator(upstream, tmp_path_factory.mktemp("operator"))
    yield operator
    operator.gateway.stop()


def test_a_credential_is_tried_and_kept_nowhere(operator):
    # The greeting comes after the first probe.
    operator.gateway.wait_for(lambda: "Paste this" in operator.gateway.output())
    before = operator.ask("GET", "/api/admin/pool")
    probes = operator.lane.probes
    found = operator.ask("POST", "/api/admin/pool/paid/check", {"credential": SHOWN})
    assert (found["is_good"], found["models"], found["code"]) == (True, ["m"], "")
    assert operator.lane.probes == probes + 1
    assert operator.ask("GET", "/api/admin/pool") == before
    kept = b"".join(path.read_bytes() for path in operator.folder.rglob("*") if path.is_file())
    assert SHOWN.encode() not in kept
    assert SHOWN not in operator.gateway.output()


def test_what_cannot_be_tried_says_so(operator):
    found = operator.ask("POST", "/api/admin/pool/echo/check", {"credential": SHOWN})
    assert (found["is_good"], found["code"]) == (False, "unsupported")
    fault = operator.ask("POST", "/api/admin/pool/nobody/check", {"credential": SHOWN}, status=404)["error"]
    assert (fault["param"], fault["code"]) == ("provider", "not_found")
    fault = operator.ask("POST", "/api/admin/pool/paid/check", {"credential": "a\r\nb"}, status=400)["error"]
    assert fault["param"] == "credential"


def test_who_is_no_operator_tries_nothing(operator):
    user = operator.ask("POST", "/api/admin/keys", {"name": "user"}, status=201)["secret"]
    probes = operator.lane.probes
    operator.ask("POST", "/api/admin/pool/paid/check", {"credential": SHOWN}, user, status=403)
    assert operator.lane.probes == probes


def test_a_budget_says_what_was_spent_of_it(operator):
    operator.ask("PUT", "/api/admin/teams/blue", {"budget": {"micro": 90_000, "window": "year"}})
    given = {"name": "ci", "team": "blue", "budget": {"micro": 10_000, "window": "year"}}
    made = operator.ask("POST", "/api/admin/keys", given, status=201)
    assert (made["budget"]["micro"], made["budget"]["spent_micro"]) == (10_000, 0)
    assert 0 < made["budget"]["resets"] - time.time() <= 366 * 86_400
    below = operator.ask("POST", "/api/keys", {"name": "below", "budget": {"micro": 500}}, made["secret"], 201)
    for secret in (made["secret"], below["secret"]):
        operator.chat(secret)
    path = f"/api/admin/keys/{made['id']}"
    operator.until(lambda: operator.ask("GET", path)["budget"]["spent_micro"] == 2 * COST)
    listed = {row["id"]: row["budget"] for row in operator.ask("GET", "/api/admin/keys")["keys"]}
    assert listed[made["id"]]["spent_micro"] == 2 * COST
    assert listed[below["id"]] == {"micro": 500, "window": "total", "spent_micro": COST, "resets": None}
    [own] = operator.ask("GET", "/api/keys", key=made["secret"])["keys"]
    assert own["budget"] == listed[below["id"]]
    mine = operator.ask("GET", f"/api/keys/{made['id']}", key=made["secret"])
    assert mine["budget"]["spent_micro"] == 2 * COST
    [team] = operator.ask("GET", "/api/admin/teams")["teams"]
    assert team["budget"]["spent_micro"] == 2 * COST
    changed = operator.ask("PATCH", path, {"name": "ci 2"})
    turned = operator.ask("POST", f"{path}/rotate", {})
    assert {row["budget"]["spent_micro"] for row in (changed, turned)} == {2 * COST}


def test_requests_are_seen_as_they_happen(operator):
    made = operator.ask("POST", "/api/admin/keys", {"name": "watched"}, status=201)
    path = f"/api/admin/requests?key={made['id']}&limit=2"
    seen = []
    for number in range(1, 4):
        operator.chat(made["secret"])
        rows = operator.until(lambda n=number: _those(operator.ask("GET", path), min(n, 2), seen))
        seen.append(rows[0]["id"])
    assert rows[0]["route"] == f"paid/m (…{CREDENTIALS[0][-4:]})"
    first = operator.ask("GET", path)
    assert [row["id"] for row in first["requests"]] == [seen[2], seen[1]]
    following = operator.ask("GET", f"{path}&after={first['next']}")
    assert [row["id"] for row in following["requests"]] == [seen[0]]
    since = int(time.time()) + 60
    assert operator.ask("GET", f"{path}&since={since}")["requests"] == []


def _those(page, least, seen):
    """The rows, once there are so many and the newest is one that was not seen."""
    rows = page["requests"]
    return rows if len(rows) >= least and rows[0]["id"] not in seen else None


def test_accounts_come_in_pages(operator):
    for name in ("Bob", "ada", "Carl"):
        operator.ask("POST", "/api/admin/users", {"name": name, "password": "correct horse"}, status=201)
    page = operator.ask("GET", "/api/admin/users?limit=2")
    assert page == {"users": [{"name": "ada"}, {"name": "Bob"}], "next": "Bob"}
    page = operator.ask("GET", f"/api/admin/users?limit=2&after={page['next']}")
    assert page == {"users": [{"name": "Carl"}], "next": None}
