import json

import pytest

from dragoman.errands import ListTeams
from dragoman.faults import NotFound, TooMany
from dragoman.legs import Head, Reply
from dragoman.wires.private import Answered, Private, below, nothing

HEAD = Head("GET", "/api/admin/teams", b"", [(b"origin", b"http://elsewhere.example")])


def session():
    return Private(HEAD, plan=lambda head, data: Answered(ListTeams(), lambda found: [head.path, data.decode(), found]))


def kept_private(reply):
    headers = dict(reply.headers)
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-content-type-options"] == b"nosniff"
    return not any(name.startswith(b"access-control") for name in headers)


def test_a_request_is_planned_by_its_head_and_body():
    reply = session().receive(b"body").answer("found")
    assert (reply.status, json.loads(reply.body)) == (200, ["/api/admin/teams", "body", "found"])
    assert kept_private(reply)


def test_nothing_said_is_no_content():
    reply = Answered(ListTeams(), nothing).answer("whatever")
    assert (reply.status, reply.body) == (204, b"")
    assert b"content-type" not in dict(reply.headers)
    assert kept_private(reply)


def test_a_reply_stays_what_it_is():
    reply = Answered(ListTeams(), lambda _: Reply(200, [(b"content-type", b"text/csv")], b"a,b")).answer(None)
    assert (dict(reply.headers)[b"content-type"], reply.body) == (b"text/csv", b"a,b")
    assert kept_private(reply)


def test_a_refusal_is_private_too():
    reply = session().refuse(TooMany(retry_after_s=3))
    assert (reply.status, dict(reply.headers)[b"retry-after"]) == (429, b"3")
    assert kept_private(reply)


@pytest.mark.parametrize("path", ["/api/admin/teams/", "/api/admin/teams/a/b", "/api/admin/teams//"])
def test_a_path_has_one_name_below_it(path):
    with pytest.raises(NotFound):
        below(Head("DELETE", path, b"", []), "/api/admin/teams")


def test_a_name_is_what_the_raw_path_says():
    assert below(Head("DELETE", "/api/admin/teams/a%2Fb", b"", []), "/api/admin/teams") == "a%2Fb"
