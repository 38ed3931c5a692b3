"""`/api/admin/…` and `/api/keys`, `/api/usage`, `/api/requests`: what is read into which wish, and what is shown."""

import csv
import io
import json

import msgspec
import pytest
from asked import read, session
from described import Document

from dragoman import errands
from dragoman.chat import Usage
from dragoman.dialects import admin, own_keys
from dragoman.dialects.documents import gateway
from dragoman.errands import (
    CredentialCheck,
    CredentialState,
    FreshKey,
    JournalState,
    KeyFound,
    ProviderState,
    Setting,
    Spent,
    Sums,
    TargetState,
    TeamFound,
)
from dragoman.faults import Forbidden, Malformed, NotFound
from dragoman.keys import Key, Team
from dragoman.people import Secret
from dragoman.records import Attempt
from dragoman.standing import MOST, Budget, Limits
from dragoman.usage import MOST_ROWS, CallQuery, CallRow, UsageQuery, UsageRow, write_cursor

DOCUMENT = Document(gateway())
SECRET = "dgk_" + "s" * 39
CHECK = "/api/admin/pool/openai/check"
KEY = Key(
    id="k1",
    digest=b"DIGEST-OF-THE-KEY-IN-THE-STORE--",
    previous=b"DIGEST-OF-THE-KEY-BEFORE-THIS---",
    previous_until=1_800_003_600.0,
    prefix="dgk_ssss",
    tail="ssss",
    name="ci",
    owner="Ada",
    team="research",
    tags=("build",),
    created=1_800_000_000.0,
    limits=Limits(parallel=4),
    budget=Budget(12_500_000, "day"),
)
FOUND = KeyFound(KEY, Spent(7, 1_800_057_600))
CALL = CallRow(
    id="r1",
    at=1_800_000_000.5,
    principal="key:k1",
    key="k1",
    team="research",
    tags=("build",),
    dialect="openai",
    wire="openai-chat",
    model="gpt-4o",
    provider="openai",
    target="gpt-4o-2024",
    credential="u7Kd",
    outcome="completed",
    code="",
    status=200,
    usage=Usage(input=12, output=3),
    streamed=True,
    cost_micro=81,
    reserved_micro=400,
    queued_ms=7,
    first_byte_ms=20,
    total_ms=90,
    attempts=(
        Attempt("spare", "m", "aaaa", "upstream_busy", "429: slow down", 15),
        Attempt("openai", "gpt-4o-2024", "u7Kd", "ok", "", 90),
    ),
    question="What is the capital of France?",
    answer="Paris.",
)
KEYS = "/api/admin/keys"
OWN_KEY = {
    *("id", "name", "prefix", "last_four", "tags", "created", "expires", "disabled", "models", "dialects"),
    *("limits", "budget", "overlap_until"),
}
ANY_KEY = OWN_KEY | {"owner", "team", "role", "maker", "principal", "keeps_content", "priority"}
OWN_CALL = {
    *("id", "at", "key", "dialect", "wire", "model", "outcome", "code", "status", "streamed", "tokens", "estimated"),
    *("cost_micro", "queued_ms", "first_byte_ms", "total_ms"),
}
BEHIND = {
    "principal",
    "team",
    "tags",
    "provider",
    "target",
    "credential",
    "tier",
    "route",
    "reserved_micro",
    "attempts",
}
SUM = {"calls", "failed", "estimated", "unpriced", "cost_micro", "tokens"}


def at(method, target, body=b""):
    mounts = admin.mounts if target.startswith("/api/admin") else own_keys.mounts
    return read(mounts, method, target, body if isinstance(body, bytes) else json.dumps(body).encode())


def said(found, method, target, body=b"", path=""):
    """The answer to a request that found this; it fits the schema of its documented 200 or 201."""
    reply = at(method, target, body).answer(found)
    assert (b"cache-control", b"no-store") in reply.headers
    value = json.loads(reply.body)
    operation = DOCUMENT.tree["paths"][path or target.partition("?")[0]][method.lower()]
    content = operation["responses"][str(reply.status)]["content"]["application/json"]
    assert DOCUMENT.misfits(content["schema"], value) == []
    return value


def fault_of(method, target, body=b""):
    with pytest.raises((Malformed, NotFound, Forbidden)) as caught:
        at(method, target, body)
    return caught.value


# --- who may --------------------------------------------------------------------------------------------------


def test_every_mount_of_the_operators_is_theirs_and_none_is_open():
    assert all(m.path.startswith("/api/admin/") and m.role == "admin" for m in admin.mounts)
    assert all(m.role == "user" for m in own_keys.mounts)
    for mount in (*admin.mounts, *own_keys.mounts):
        assert not (mount.public or mount.door or mount.own_key or mount.stays)


def test_what_the_holder_of_a_key_wishes_is_always_its_own():
    for mount in own_keys.mounts:
        path = mount.path.replace("/keys/*", "/keys/k1/rotate" if mount.method == "POST" else "/keys/k1")
        wish = at(mount.method, path.replace("*", "r1"), {}).intent
        assert wish.own is True, mount.path


def test_refusals_are_not_kept_by_caches_and_have_the_shape_of_openai():
    reply = session(admin.mounts, "GET", "/api/admin/keys").refuse(Forbidden())
    assert (b"cache-control", b"no-store") in reply.headers
    assert json.loads(reply.body)["error"]["code"] == "forbidden"
    assert not any(name.startswith(b"access-control") for name, _ in reply.headers)


# --- what is read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "body", "wish"),
    [
        ("GET", "/api/admin/keys", b"", errands.ListKeys()),
        (
            "GET",
            "/api/admin/keys?after=k1&limit=2&team=research&maker=k0",
            b"",
            errands.ListKeys(after="k1", limit=2, team="research", maker="k0"),
        ),
        ("GET", "/api/admin/keys/k1", b"", errands.ReadKey("k1")),
        ("DELETE", "/api/admin/keys/k1", b"", errands.DropKey("k1")),
        ("POST", "/api/admin/keys/k1/rotate", {"overlap_s": 90.5}, errands.RotateKey("k1", 90.5)),
        ("POST", "/api/admin/keys/k1/rotate", b"", errands.RotateKey("k1", 0.0)),
        ("POST", "/api/admin/keys", {}, errands.MakeKey(errands.KeyFields())),
        (
            "POST",
            "/api/admin/keys",
            {"role": "admin", "owner": "Ada", "priority": -5, "keeps_content": True, "expires": 1_900_000_000.5},
            errands.MakeKey(
                errands.KeyFields(role="admin", owner="Ada", priority=-5, keeps_content=True, expires=1_900_000_000.5)
            ),
        ),
        (
            "POST",
            "/api/admin/keys",
            {"budget": {"amount": "12.50", "window": "day"}, "limits": {"parallel": 4}, "tags": ["a", "b"]},
            errands.MakeKey(
                errands.KeyFields(budget=Budget(12_500_000, "day"), limits=Limits(parallel=4), tags=("a", "b"))
            ),
        ),
        (
            "PATCH",
            "/api/admin/keys/k1",
            {"budget": {"micro": 1}, "disabled": True, "models": ["gpt-*"], "dialects": ["*"]},
            errands.ChangeKey(
                "k1", errands.KeyFields(budget=Budget(1, "total"), disabled=True, models=("gpt-*",), dialects=("*",))
            ),
        ),
        (
            "PATCH",
            "/api/keys/k1",
            {"budget": None, "expires": None},
            errands.ChangeKey("k1", errands.KeyFields(budget=None, expires=None), own=True),
        ),
        (
            "POST",
            KEYS,
            {"principal": "user:bob", "limits": {"parallel": 1}},
            errands.MakeKey(errands.KeyFields(principal="user:bob", limits=Limits(parallel=1))),
        ),
        ("GET", "/api/admin/teams", b"", errands.ListTeams()),
        (
            "PUT",
            "/api/admin/teams/R%C3%A9search%20%26%20more",
            {"limits": {"requests_per_day": 9}, "budget": {"amount": "0.000001", "window": "month"}},
            errands.PutTeam(Team(name="Résearch & more", limits=Limits(requests_per_day=9), budget=Budget(1, "month"))),
        ),
        ("PUT", "/api/admin/teams/research", b"", errands.PutTeam(Team(name="research"))),
        ("DELETE", "/api/admin/teams/research", b"", errands.DropTeam("research")),
        ("GET", "/api/admin/users", b"", errands.ListAccounts()),
        ("GET", "/api/admin/users?after=ada&limit=2", b"", errands.ListAccounts("ada", 2)),
        ("DELETE", "/api/admin/users/ada", b"", errands.DropAccount("ada")),
        ("GET", "/api/admin/usage", b"", errands.ReadUsage(UsageQuery())),
        (
            "GET",
            "/api/admin/usage?group=utc_day,provider,target&since=0&until=86400&team=research&limit=5",
            b"",
            errands.ReadUsage(
                UsageQuery(group=("utc_day", "provider", "target"), since=0, until=86_400, team="research", limit=5)
            ),
        ),
        ("GET", "/api/usage?group=model", b"", errands.ReadUsage(UsageQuery(group=("model",)), own=True)),
        (
            "GET",
            f"/api/admin/requests?outcome=failed&key=k1&after={write_cursor((1.5, 'r1'))}",
            b"",
            errands.ListCalls(CallQuery(outcome="failed", key="k1", after=(1.5, "r1"))),
        ),
        ("GET", "/api/requests/r1", b"", errands.ReadCall("r1", own=True)),
        *(("GET", f"/api/admin/{of}", b"", errands.ReadState(of)) for of in ("pool", "settings", "journal")),
    ],
)
def test_a_request_is_read_into_a_wish(method, target, body, wish):
    assert at(method, target, body).intent == wish


def test_the_document_says_how_long_a_page_may_be():
    shown = {
        parameter["schema"]["maximum"]
        for _, path, operation in DOCUMENT.operations()
        if operation["tags"][0] in ("Administration", "Own keys")
        for parameter in operation["parameters"]
        if parameter["name"] == "limit"
    }
    assert shown == {MOST_ROWS}


def test_a_password_is_a_secret_from_the_first():
    wish = at("POST", "/api/admin/users", {"name": "ada", "password": "correct horse"}).intent
    assert (wish.name, wish.password.reveal()) == ("ada", "correct horse")
    assert "correct horse" not in repr(wish)


# --- what is refused ------------------------------------------------------------------------------------------

HUGE = 10**400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"digest": "x"}, "digest"),
        ({"id": "mine"}, "id"),
        ({"maker": "k0"}, "maker"),
        ({"created": 1}, "created"),
        ({"limits": {"requests": 1}}, "limits.requests"),
        ({"budget": {"micro": 1, "spent": 0}}, "budget.spent"),
        ({"budget": {"micro": -1}}, "budget.micro"),
        ({"budget": {"micro": MOST + 1}}, "budget.micro"),
        ({"budget": {"micro": HUGE}}, "budget.micro"),
        ({"budget": {"micro": 1.5}}, "budget.micro"),
        ({"budget": {"micro": True}}, "budget.micro"),
        ({"budget": {"micro": "1"}}, "budget.micro"),
        ({"budget": {"amount": "-1"}}, "budget.amount"),
        ({"budget": {"amount": "1e9"}}, "budget.amount"),
        ({"budget": {"amount": "NaN"}}, "budget.amount"),
        ({"budget": {"amount": "Infinity"}}, "budget.amount"),
        ({"budget": {"amount": "0.0000001"}}, "budget.amount"),
        ({"budget": {"amount": "9" * 40}}, "budget.amount"),
        ({"budget": {"amount": 12.5}}, "budget.amount"),
        ({"budget": {"amount": "1", "micro": 1}}, "budget"),
        ({"budget": {"window": "day"}}, "budget"),
        ({"budget": {"micro": 1, "window": "fortnight"}}, "budget.window"),
        ({"budget": "12.50"}, "budget"),
        ({"limits": {"parallel": 0}}, "limits.parallel"),
        ({"limits": {"parallel": -1}}, "limits.parallel"),
        ({"limits": {"parallel": MOST + 1}}, "limits.parallel"),
        ({"limits": {"tokens_per_minute": 1.5}}, "limits.tokens_per_minute"),
        ({"limits": None}, "limits"),
        ({"expires": -1}, "expires"),
        ({"expires": 0}, "expires"),
        ({"expires": 1e300}, "expires"),
        ({"expires": "tomorrow"}, "expires"),
        ({"role": "root"}, "role"),
        ({"models": "gpt-*"}, "models"),
        ({"models": [""]}, "models[0]"),
        ({"models": ["m"] * 201}, "models"),
        ({"models": []}, "models"),
        ({"tags": ["t" * 51]}, "tags[0]"),
        ({"tags": ["t"] * 21}, "tags"),
        ({"tags": ["a,b"]}, "tags"),
        ({"tags": ["a\nb"]}, "tags"),
        ({"name": "\x1b[31mred"}, "name"),
        ({"name": " ci"}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"name": None}, "name"),
        ({"team": "re\u202esearch"}, "team"),
        ({"priority": 1001}, "priority"),
        ({"priority": HUGE}, "priority"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", KEYS), ("PATCH", f"{KEYS}/k1")])
def test_what_a_key_cannot_be_is_refused_by_name(method, path, body, field):
    assert fault_of(method, path, body).field == field


@pytest.mark.parametrize("field", ["role", "owner", "team", "keeps_content", "priority", "maker", "principal", "id"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/api/keys"), ("PATCH", "/api/keys/k1")])
def test_what_follows_from_the_callers_own_key_cannot_be_said(method, path, field):
    """Whatever the value, and whatever stands beside it."""
    for value in ("user", True, None, 1):
        fault = fault_of(method, path, {"name": "ci", field: value})
        assert (fault.field, type(fault)) == (field, Malformed)


@pytest.mark.parametrize(
    "text", [b"[]", b"null", b'"x"', b"{", b"\xff", b'{"expires":NaN}', b'{"expires":1e999}', b"1"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", KEYS),
        ("PATCH", f"{KEYS}/k1"),
        ("POST", f"{KEYS}/k1/rotate"),
        ("PUT", "/api/admin/teams/t"),
        ("POST", "/api/admin/users"),
        ("POST", "/api/keys"),
    ],
)
def test_a_body_that_is_no_object_is_malformed(method, path, text):
    assert isinstance(fault_of(method, path, text), Malformed)


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", f"{KEYS}/k1/rotate", {"overlap_s": -1}, "overlap_s"),
        ("POST", f"{KEYS}/k1/rotate", {"overlap_s": 1e9}, "overlap_s"),
        ("POST", f"{KEYS}/k1/rotate", {"overlap": 1}, "overlap"),
        ("PUT", "/api/admin/teams/t", {"name": "u"}, "name"),
        ("PUT", "/api/admin/teams/t", {"budget": {"micro": -1}}, "budget.micro"),
        ("PUT", "/api/admin/teams/a%2Fb", {}, "name"),
        ("PUT", "/api/admin/teams/%2e%2e", {}, "name"),
        ("PUT", "/api/admin/teams/%00", {}, "name"),
        ("PUT", "/api/admin/teams/" + "t" * 201, {}, "name"),
        ("POST", "/api/admin/users", {"name": "ada"}, "password"),
        ("POST", "/api/admin/users", {"name": "ada", "password": "p" * 2000}, "password"),
        ("POST", "/api/admin/users", {"name": "ada", "password": "correct horse", "role": "admin"}, "role"),
        ("PATCH", f"{KEYS}/k1", {"disabled": "no"}, "disabled"),
        ("PATCH", f"{KEYS}/k1", {"disabled": 0}, "disabled"),
        ("PATCH", f"{KEYS}/k1", {"principal": "user:bob"}, "principal"),
        ("POST", KEYS, {"disabled": True}, "disabled"),
        ("GET", f"{KEYS}?limit=0", b"", "limit"),
        ("GET", f"{KEYS}?limit=1001", b"", "limit"),
        ("GET", f"{KEYS}?limit=-1", b"", "limit"),
        ("GET", f"{KEYS}?limit=1e3", b"", "limit"),
        ("GET", f"{KEYS}?limit=%D9%A1", b"", "limit"),
        ("GET", f"{KEYS}?limit=1&limit=2", b"", "limit"),
        ("GET", f"{KEYS}?owner=x", b"", "owner"),
        ("GET", "/api/keys?maker=k0", b"", "maker"),
        ("GET", "/api/keys?team=research", b"", "team"),
        ("GET", "/api/admin/usage?group=day,hour", b"", "group"),
        ("GET", "/api/admin/usage?group=colour", b"", "group"),
        ("GET", "/api/admin/usage?since=-1", b"", "since"),
        ("GET", "/api/admin/usage?since=" + "9" * 13, b"", "since"),
        ("GET", "/api/admin/usage?since=2&until=1", b"", "until"),
        ("GET", "/api/admin/usage?after=%00", b"", "after"),
        ("GET", f"/api/admin/usage?after={write_cursor(('x',))}", b"", "after"),
        ("GET", "/api/admin/usage?format=xml", b"", "format"),
        ("GET", f"/api/admin/requests?after={write_cursor((1, 2))}", b"", "after"),
        ("GET", "/api/admin/requests?outcome=lost", b"", "outcome"),
        ("GET", "/api/admin/requests?q=1", b"", "q"),
        ("GET", "/api/admin/pool?secrets=1", b"", "secrets"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(method, path, body, field):
    assert fault_of(method, path, body).field == field


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{KEYS}/"),
        ("GET", f"{KEYS}/k1/"),
        ("GET", f"{KEYS}/k1/rotate"),
        ("GET", f"{KEYS}/../users"),
        ("GET", f"{KEYS}/%2e%2e"),
        ("GET", f"{KEYS}/k1;x"),
        ("POST", f"{KEYS}/k1"),
        ("POST", f"{KEYS}/k1/rotate/"),
        ("DELETE", f"{KEYS}/" + "k" * 201),
        ("DELETE", "/api/admin/teams/"),
        ("DELETE", "/api/admin/users/a/b"),
        ("GET", "/api/admin/requests/"),
        ("GET", "/api/admin/requests/a/b"),
        ("POST", "/api/admin/pool/openai"),
        ("POST", "/api/admin/pool/openai/check/"),
        ("POST", "/api/admin/pool/a/b/check"),
        ("POST", "/api/admin/pool/openai/reset"),
        ("GET", "/api/requests/..%2f..%2fadmin"),
    ],
)
def test_there_is_nothing_else(method, path):
    assert isinstance(fault_of(method, path), NotFound)


# --- what is shown --------------------------------------------------------------------------------------------


def test_item_15_a_key_is_shown_field_by_field_and_never_its_digest():
    shown = said(FOUND, "GET", f"{KEYS}/k1", path=f"{KEYS}/{{key_id}}")
    own = said(FOUND, "GET", "/api/keys/k1", path="/api/keys/{key_id}")
    assert (set(shown), set(own)) == (ANY_KEY, OWN_KEY)
    budget = {"micro": 12_500_000, "window": "day", "spent_micro": 7, "resets": 1_800_057_600}
    assert (shown["budget"], own["budget"]) == (budget, budget)
    assert shown["limits"] == {
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "requests_per_day": None,
        "parallel": 4,
    }
    assert (shown["prefix"], shown["last_four"], shown["principal"]) == ("dgk_ssss", "ssss", "key:k1")
    for value in (shown, own):
        assert "DIGEST" not in json.dumps(value)


def test_a_secret_is_in_the_answers_that_make_one_and_in_no_other():
    fresh = FreshKey(KEY, Secret(SECRET), Spent(7, 1_800_057_600))
    made = said(fresh, "POST", KEYS, {})
    turned = said(fresh, "POST", f"{KEYS}/k1/rotate", path=f"{KEYS}/{{key_id}}/rotate")
    own = said(fresh, "POST", "/api/keys", {})
    assert {value["secret"] for value in (made, turned, own)} == {SECRET}
    assert (set(made), set(own)) == (ANY_KEY | {"secret"}, OWN_KEY | {"secret"})
    assert {value["budget"]["spent_micro"] for value in (made, turned, own)} == {7}
    assert at("POST", KEYS, {}).answer(fresh).status == 201


def test_what_holds_for_tokens_has_no_secret():
    made = said(FreshKey(Key(id="k2", principal="user:bob"), Secret("")), "POST", KEYS, {})
    assert (made["secret"], made["principal"]) == (None, "user:bob")


def test_a_list_goes_on_where_it_ended():
    assert said([FOUND], "GET", f"{KEYS}?limit=1") == {
        "keys": [said(FOUND, "GET", f"{KEYS}/k1", path=f"{KEYS}/{{key_id}}")],
        "next": "k1",
    }
    assert said([FOUND], "GET", f"{KEYS}?limit=2")["next"] is None
    assert said([], "GET", "/api/keys?limit=1") == {"keys": [], "next": None}


@pytest.mark.parametrize("path", [f"{KEYS}/k1", "/api/admin/teams/t", "/api/admin/users/ada", "/api/keys/k1"])
def test_what_was_deleted_needs_no_words(path):
    reply = at("DELETE", path).answer(None)
    assert (reply.status, reply.body) == (204, b"")


def test_item_15_a_call_is_shown_to_its_caller_without_what_stands_behind_the_gateway():
    any_one = said(CALL, "GET", "/api/admin/requests/r1", path="/api/admin/requests/{request_id}")
    own_one = said(CALL, "GET", "/api/requests/r1", path="/api/requests/{request_id}")
    assert set(own_one) == OWN_CALL | {"question", "answer"}
    assert set(any_one) == OWN_CALL | BEHIND | {"question", "answer", "story"}
    assert "u7Kd" not in json.dumps(own_one)
    assert set(said([CALL], "GET", "/api/requests")["requests"][0]) == OWN_CALL
    assert set(said([CALL], "GET", "/api/admin/requests")["requests"][0]) == OWN_CALL | BEHIND


def test_a_call_is_told_in_plain_words():
    story = said(CALL, "GET", "/api/admin/requests/r1", path="/api/admin/requests/{request_id}")["story"]
    assert story == [
        "key:k1 asked for gpt-4o through openai.",
        "It waited 7 ms for a place.",
        "Attempt 1, spare/m with the credential …aaaa, came to upstream_busy after 15 ms: 429: slow down.",
        "Attempt 2, openai/gpt-4o-2024 with the credential …u7Kd, answered after 90 ms.",
        "The first byte came after 20 ms.",
        "It was completed with status 200 after 90 ms.",
        "It used 12 tokens of prompt and 3 of answer.",
        "It cost 0.000081, of 0.0004 reserved.",
    ]


def test_calls_go_on_where_they_ended():
    after = said([CALL], "GET", "/api/admin/requests?limit=1")["next"]
    assert at("GET", f"/api/admin/requests?after={after}").intent.query.after == (CALL.at, CALL.id)


ROW = UsageRow((1_799_971_200, "=cmd()"), 14, 1, 2, 3, Usage(input=5, output=7, image_out=1), 8_125)
GROUPED = "/api/admin/usage?group=day,model"


def test_sums_have_the_names_of_their_group():
    found = Sums(UsageQuery(group=("day", "model"), limit=1), (ROW,))
    value = said(found, "GET", f"{GROUPED}&limit=1")
    [row] = value["rows"]
    assert set(row) == SUM | {"day", "model"}
    assert (row["day"], row["cost_micro"], row["tokens"]["image_out"]) == (1_799_971_200, 8_125, 1)
    assert at("GET", f"{GROUPED}&after={value['next']}").intent.query.after == ROW.by
    assert said(Sums(UsageQuery(group=("day", "model")), (ROW,)), "GET", GROUPED)["next"] is None


def test_sums_as_a_table_cannot_be_formulas():
    query = UsageQuery(group=("day", "model"), limit=1)
    reply = at("GET", f"{GROUPED}&format=csv&limit=1").answer(Sums(query, (ROW,)))
    headers = dict(reply.headers)
    assert headers[b"content-type"] == b"text/csv; charset=utf-8"
    assert at("GET", f"{GROUPED}&after={headers[b'x-next'].decode()}").intent.query.after == ROW.by
    [names, row] = csv.reader(io.StringIO(reply.body.decode(), newline=""))
    line = dict(zip(names, row, strict=True))
    assert line["day"] == "1799971200"
    assert line["model"] == "'=cmd()"
    assert (line["cost_micro"], line["input"], line["image_out"]) == ("8125", "5", "1")


def test_the_pool_shows_credentials_by_four_characters():
    state = ProviderState(
        name="openai",
        kind="openai",
        state="up",
        credentials=(CredentialState("u7Kd", 2, 4.25, "upstream_busy"), CredentialState("aaaa")),
        targets=(TargetState("gpt-4o", 1.5), TargetState("o3")),
        failed_share=0.25,
        between_chunks_ms=(1.5, 8.0),
        total_ms=(10.0, 90.0),
    )
    [row] = said([state], "GET", "/api/admin/pool")["providers"]
    assert [(c["last_four"], c["state"], c["rests_s"], c["why"]) for c in row["credentials"]] == [
        ("u7Kd", "resting", 4.25, "upstream_busy"),
        ("aaaa", "up", 0, ""),
    ]
    assert [(t["model"], t["state"]) for t in row["targets"]] == [("gpt-4o", "open"), ("o3", "closed")]
    assert (row["first_byte_ms"], row["total_ms"]) == (None, {"median": 10.0, "p99": 90.0})
    assert row["between_chunks_ms"] == {"median": 1.5, "p99": 8.0}


@pytest.mark.parametrize(
    "found",
    [
        CredentialCheck(is_good=True, models=("gpt-4o", "o3"), ms=12),
        CredentialCheck(is_good=False, code="upstream_credential", message="No.", ms=3),
    ],
)
def test_a_checked_credential_is_told_as_it_was_found(found):
    value = said(found, "POST", CHECK, {"credential": SECRET}, path="/api/admin/pool/{provider}/check")
    assert value == {**msgspec.structs.asdict(found), "models": list(found.models)}


def test_a_credential_is_a_secret_from_the_first():
    wish = at("POST", "/api/admin/pool/my%20gpu/check", {"credential": SECRET}).intent
    assert isinstance(wish, errands.CheckCredential)
    assert (wish.provider, wish.credential.reveal()) == ("my gpu", SECRET)
    assert SECRET not in repr(wish)


@pytest.mark.parametrize(
    "text", ["", "a\nb", "a\r\nx-evil: 1", "a\x00", "a\x7fb", "a\x85b", " a", "a ", "schlüssel€", "\u2028", "a" * 8_193]
)
def test_what_no_header_can_carry_is_no_credential(text):
    fault = fault_of("POST", CHECK, {"credential": text})
    assert (fault.status, fault.field) == (400, "credential")
    assert text.strip() in ("", "a") or text not in fault.message


def test_a_credential_may_have_any_letter_of_latin_1():
    assert at("POST", CHECK, {"credential": "pässwörd ÿ"}).intent.credential.reveal() == "pässwörd ÿ"


def test_a_setting_that_is_a_secret_is_not_shown_even_if_it_gets_here():
    found = [Setting("server.port", "8000", "default"), Setting("auth.keys", SECRET, "line 4", is_secret=True)]
    value = said(found, "GET", "/api/admin/settings")
    assert SECRET not in json.dumps(value)
    assert [(row["key"], row["value"]) for row in value["settings"]] == [("server.port", "8000"), ("auth.keys", "set")]


def test_the_journal_says_how_far_the_store_is_behind():
    value = said(JournalState(lag_bytes=10, lag_s=0.1234, skipped=1, trouble="no room"), "GET", "/api/admin/journal")
    assert value == {"lag_bytes": 10, "lag_s": 0.123, "skipped": 1, "trouble": "no room"}


def test_users_are_names_and_nothing_else():
    assert said(["ada"], "GET", "/api/admin/users") == {"users": [{"name": "ada"}], "next": None}
    assert said(["ada"], "GET", "/api/admin/users?limit=1")["next"] == "ada"
    body = {"name": "ada", "password": "correct horse"}
    assert said("ada", "POST", "/api/admin/users", body) == {"name": "ada"}


def test_a_team_is_shown_as_it_was_put():
    body = {"limits": {"parallel": 2}, "budget": {"amount": "250.00", "window": "month"}}
    team = at("PUT", "/api/admin/teams/t", body).intent.team
    found = TeamFound(team, Spent(9))
    shown = said(found, "PUT", "/api/admin/teams/t", body, path="/api/admin/teams/{team}")
    assert shown["budget"] == {"micro": 250_000_000, "window": "month", "spent_micro": 9, "resets": None}
    assert said([found], "GET", "/api/admin/teams") == {"teams": [shown]}
