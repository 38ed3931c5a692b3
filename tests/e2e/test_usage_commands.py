"""`dragoman usage`, `log`, `migrate` and `reconcile` as an operator runs them, on calls that were kept before."""

import csv
import io
import json
import sqlite3
import subprocess

import pytest
from program import COMMAND, environment, running

from dragoman.chat import Usage
from dragoman.records import Attempt, Caller, Charge, Content, Record
from dragoman.store import calls
from dragoman.store.database import open_database
from dragoman.store.migrate import migrate

MORNING = 1_780_308_000.0
"""2026-06-01, 10:00 UTC."""
ANN = Caller("key:ann", "ann", "red", ("prod", "web"))
BOB = Caller("user:bob")


def record(id_, at=MORNING, caller=ANN, **more):
    given = {
        "dialect": "openai",
        "wire": "chat",
        "model": "small",
        "outcome": "completed",
        "code": "ok",
        "status": 200,
        "usage": Usage(input=100, cache_read=40, output=20),
        "attempts": [Attempt("vendor", "small-1", "abcd", "ok", "", 900)],
        "first_byte_ms": 300,
        "total_ms": 900,
        "provider": "vendor",
        "target": "small-1",
        "credential": "abcd",
        "cost_micro": 1_500_000,
        "charges": (Charge("key:ann/money.day", 0, 1_500_000),),
    }
    return Record(id_, at, caller, **given | more)


CALLS = [
    record("c1"),
    record("c2", MORNING + 86400, BOB, cost_micro=None, model="odd\x1b[2J", target="odd-1", charges=()),
    record(
        "c3",
        MORNING + 86400,
        attempts=[
            Attempt("first", "small-0", "zzzz", "timeout", "no byte", 30_000),
            Attempt("vendor", "small-1", "abcd", "ok", "", 30_900),
        ],
        usage=Usage(input=7, output=3, estimated=True),
        queued_ms=12,
        reserved_micro=2_000_000,
        cost_micro=10,
        streamed=True,
    ),
    record("c4", MORNING + 86401, outcome="refused", code="rate_limited", status=429, usage=Usage(), attempts=[],
           first_byte_ms=None, total_ms=0, provider="", target="", credential="", cost_micro=None, charges=()),
    Content("c3", MORNING + 86400, "Why?\nReally?", "So."),
]  # fmt: skip


def keep(folder, *entries):
    folder.mkdir(exist_ok=True)
    database = open_database("", folder)
    with database.writer.begin() as connection:
        migrate(connection)
        calls.keep(connection, entries, "j", 1, len(entries), "run", lambda at: int(at) // 86400 * 86400)
    database.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with calls in its data, which no test changes."""
    made = tmp_path_factory.mktemp("used")
    keep(made / "dragoman-data", *CALLS)
    return made


def dragoman(folder, *args):
    done = subprocess.run([*COMMAND, *args], cwd=folder, env=environment(), capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def printed(folder, *args):
    code, out, err = dragoman(folder, *args)
    assert code == 0, err
    return out


def is_mistake(result, told):
    code, out, err = result
    return code == 2 and out == "" and told in err and err.count("\n") == 1


# --- usage


def test_days_as_a_table(folder):
    assert printed(folder, "usage").splitlines() == [
        "day         calls  failed  estimated  input  cached  output                  cost",
        "2026-06-01      1       0          0    140      40      20                  1.50",
        "2026-06-02      3       1          1    147      40      23  0.00001 + 1 unpriced",
    ]


def test_what_nobody_knows_the_price_of_is_never_nothing(folder):
    table = printed(folder, "usage", "--by", "key")
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["key:ann", "3", "1", "1", "147", "40", "23", "1.50001"],
        ["user:bob", "1", "0", "0", "140", "40", "20", "1", "unpriced"],
    ]
    (row,) = map(json.loads, printed(folder, "usage", "--by", "key", "--key", "user:bob", "--json").splitlines())
    assert (row["cost"], row["unpriced"], row["input"], row["cache_read"]) == (None, 1, 100, 40)


def test_no_name_reaches_the_terminal_as_a_command(folder):
    for args in (("usage", "--by", "model"), ("log",), ("log", "--request", "c2")):
        assert "\x1b" not in printed(folder, *args)


def test_a_time_stands_first_and_names_in_their_order(folder):
    rows = list(csv.DictReader(io.StringIO(printed(folder, "usage", "--by", "tag,day", "--csv"))))
    assert [(row["day"], row["tag"], row["calls"]) for row in rows] == [
        ("2026-06-01", "prod", "1"),
        ("2026-06-01", "web", "1"),
        ("2026-06-02", "", "1"),
        ("2026-06-02", "prod", "2"),
        ("2026-06-02", "web", "2"),
    ]


def test_what_a_spreadsheet_would_calculate_is_text(tmp_path):
    keep(tmp_path / "dragoman-data", record("c", model='=HYPERLINK("http://x")'))
    (row,) = csv.DictReader(io.StringIO(printed(tmp_path, "usage", "--by", "model", "--csv")))
    assert row["model"] == '\'=HYPERLINK("http://x")'


@pytest.mark.parametrize(
    ("args", "calls"),
    [
        (["--since", "2026-06-02"], 3),
        (["--until", "2026-06-01"], 1),
        (["--until", "2026-06-02"], 4),
        (["--key", "ann"], 3),
        (["--team", "red"], 3),
        (["--tag", "web", "--model", "small"], 3),
        (["--provider", "vendor"], 3),
        (["--dialect", "none"], 0),
    ],
)
def test_filters(folder, args, calls):
    rows = [json.loads(line) for line in printed(folder, "usage", *args, "--json").splitlines()]
    assert sum(row["calls"] for row in rows) == calls


def test_pages(folder):
    code, out, err = dragoman(folder, "usage", "--by", "model,day", "--limit", "2", "--json")
    assert code == 0
    first = out.splitlines()
    cursor = err.split("--after ")[1].strip()
    rest = printed(folder, "usage", "--by", "model,day", "--after", cursor, "--json").splitlines()
    assert first + rest == printed(folder, "usage", "--by", "model,day", "--json").splitlines()
    assert (len(first), len(rest)) == (2, 1)


def test_days_begin_in_the_zone_of_the_configuration(folder, tmp_path):
    (tmp_path / "dragoman.toml").write_text('[money]\nzone = "Pacific/Auckland"\n')
    keep(tmp_path / "dragoman-data", record("c"))
    assert "2026-06-01" in printed(tmp_path, "usage", "--since", "2026-06-01")
    assert "2026-06-01 22:00" in printed(tmp_path, "usage", "--by", "hour")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["usage", "--by", "day,hour"], "one time"),
        (["usage", "--by", "day,day"], "different"),
        (["usage", "--by", "secret"], "'secret' is none of"),
        (["usage", "--after", "x y"], "after"),
        (["usage", "--by", "model", "--after", "WzFd"], "another query"),
        (["log", "--request", "nothing"], "no request 'nothing'"),
        (["reconcile", "missing.csv"], "missing.csv"),
        (["reconcile", "missing.csv", "--columns", "x"], "columns"),
        (["migrate", "--to", "mysql://x"], "--to"),
    ],
)
def test_a_mistake_is_one_line(folder, args, told):
    assert is_mistake(dragoman(folder, *args), told)


# --- log


def test_the_latest_calls_the_newest_last(folder):
    lines = printed(folder, "log", "--limit", "3").splitlines()
    assert [line.split()[2] for line in lines] == ["c2", "c3", "c4"]
    assert "small -> vendor/small-1" in lines[1]
    assert lines[1].endswith("completed  7+3 tokens  0.00001  900 ms")
    assert "refused (rate_limited)" in lines[2]
    ids = [json.loads(line)["id"] for line in printed(folder, "log", "--json").splitlines()]
    assert ids == ["c1", "c2", "c3", "c4"]


def test_one_request_in_plain_words(folder):
    assert printed(folder, "log", "--request", "c3").splitlines() == [
        "Request c3, 2026-06-02 10:00:00.000+00:00",
        "key:ann (team red, tags prod, web) asked for the model 'small' through openai (chat), as a stream.",
        "It was tried 2 times, in this order:",
        "  1. first, model 'small-0' with the credential ...zzzz: it failed with timeout: no byte, 30000 ms after the beginning.",
        "  2. vendor, model 'small-1' with the credential ...abcd: it answered, 30900 ms after the beginning.",
        "The answer was complete. It came from vendor. The caller got status 200.",
        "Times: 12 ms in the queue, the first byte after 300 ms, 900 ms in all.",
        "Tokens: 7 fresh input, 3 output. They were counted by the gateway, since the provider did not report them.",
        "Cost: 0.00001. Reserved for it: 2.00.",
        "The question:",
        "  Why?",
        "  Really?",
        "The answer:",
        "  So.",
    ]


def test_a_refused_request_in_plain_words(folder):
    told = printed(folder, "log", "--request", "c4")
    assert "No provider was asked.\nThe gateway refused it before any provider was asked. " in told
    assert "The reason was rate_limited. The caller got status 429." in told
    assert "Cost: none." in told
    assert "Cost: unpriced." in printed(folder, "log", "--request", "c2")


def test_following_shows_each_call_once_as_it_comes(tmp_path):
    import time

    now = time.time()
    keep(tmp_path / "dragoman-data", record("before", now - 5))
    with running(["log", "--follow"], tmp_path) as program:
        program.wait_for("before")
        keep(tmp_path / "dragoman-data", record("later", now), record("began-earlier", now - 60))
        program.wait_for("later")
        keep(tmp_path / "dragoman-data", record("last", now))
        program.wait_for("last ")
        shown = [line.split()[2] for line in program.printed["stdout"].splitlines()]
        assert shown == ["before", "began-earlier", "later", "last"]


# --- migrate


def test_everything_is_moved_and_counted(tmp_path):
    keep(tmp_path / "dragoman-data", *CALLS)
    out = printed(tmp_path, "migrate", "--to", "new")
    assert "calls: 4 rows, 4 there" in out
    assert printed(tmp_path, "log", "--json") == printed(tmp_path, "log", "--json", "--data", "new")
    with sqlite3.connect(tmp_path / "new" / "dragoman.db") as database:
        assert database.execute("SELECT account, units FROM spent").fetchall() == [("key:ann/money.day", 3_000_000)]
    database.close()
    assert is_mistake(dragoman(tmp_path, "migrate", "--to", "new"), "--to: it is not empty")


# --- reconcile


def test_a_gap_of_each_day_and_model(folder, tmp_path):
    file = tmp_path / "export.csv"
    file.write_text(
        "start_time,start_time_iso,model,input_tokens,output_tokens\n"
        "1780272000,2026-06-01T00:00:00+00:00,small-1-2026-01-01,150,20\n"
        "1780358400,2026-06-02T00:00:00+00:00,small-1,7,3\n"
    )
    out = printed(folder, "reconcile", str(file), "--provider", "vendor")
    rows = [line.split() for line in out.splitlines()]
    assert rows[1] == ["2026-06-01", "small-1", "150", "140", "10", "20", "20", "0", "unknown", "1.50", "unknown"]
    assert rows[2][:8] == ["2026-06-02", "odd-1", "0", "140", "-140", "0", "20", "-20"]
    assert rows[3] == ["2026-06-02", "small-1", "7", "7", "0", "3", "3", "0", "unknown", "0.00001", "unknown"]
    assert out.splitlines()[-1] == "2 of 3 differ."


def test_money_of_a_described_file(folder, tmp_path):
    file = tmp_path / "export.jsonl"
    file.write_text('{"d": "2026-06-01", "m": "small-1", "in": 140, "out": 20, "usd": 1.75}\n')
    out = printed(folder, "reconcile", str(file), "--columns", "day=d,model=m,input=in,output=out,cost=usd")
    assert out.splitlines()[1].split()[-3:] == ["1.75", "1.50", "0.25"]
