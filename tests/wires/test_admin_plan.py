"""The two interfaces plan the same, but for whose it is and what is shown."""

import msgspec
import pytest

from dragoman.errands import KeyFound
from dragoman.faults import NotFound
from dragoman.keys import Key
from dragoman.legs import Head
from dragoman.wires.admin_plan import Plans

ANY, OWN = Plans("/api/admin", own=False), Plans("/api", own=True)
REQUESTS = [
    ("list_keys", "GET", "/keys", b"limit=2", b""),
    ("make_key", "POST", "/keys", b"", b'{"name":"ci"}'),
    ("one_key", "GET", "/keys/k1", b"", b""),
    ("one_key", "PATCH", "/keys/k1", b"", b'{"disabled":true}'),
    ("one_key", "DELETE", "/keys/k1", b"", b""),
    ("one_key", "POST", "/keys/k1/rotate", b"", b'{"overlap_s":5}'),
    ("usage", "GET", "/usage", b"group=model", b""),
    ("list_calls", "GET", "/requests", b"limit=2", b""),
    ("one_call", "GET", "/requests/r1", b"", b""),
]


@pytest.mark.parametrize(("plan", "method", "path", "query", "body"), REQUESTS)
def test_the_two_differ_in_whose_it_is(plan, method, path, query, body):
    theirs = getattr(ANY, plan)(Head(method, f"/api/admin{path}", query, []), body).intent
    own = getattr(OWN, plan)(Head(method, f"/api{path}", query, []), body).intent
    assert (theirs.own, own.own) == (False, True)
    assert msgspec.structs.replace(own, own=False) == theirs


def test_and_in_what_is_shown():
    shown = [
        msgspec.json.decode(
            plans.one_key(Head("GET", f"{at}/keys/k1", b"", []), b"").answer(KeyFound(Key(id="k1"))).body
        )
        for plans, at in ((ANY, "/api/admin"), (OWN, "/api"))
    ]
    assert ["maker" in row for row in shown] == [True, False]


@pytest.mark.parametrize("id_", ["", "k 1", "k%31", "..", "k1/../k2", "k" * 201, "k\u00e9", "k1\n"])
def test_what_is_no_id_is_not_there(id_):
    with pytest.raises(NotFound):
        ANY.one_key(Head("GET", f"/api/admin/keys/{id_}", b"", []), b"")
