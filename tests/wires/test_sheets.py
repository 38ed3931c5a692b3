"""Files that are served as they are."""

import pytest

from dragoman.faults import NotFound
from dragoman.intents import Recite
from dragoman.legs import Head
from dragoman.wires.sheets import CODE, Sheet, Shelf, stored


@pytest.fixture
def made():
    return []


@pytest.fixture
def shelf(made):
    return Shelf({"/a.js": Sheet(CODE, lambda: made.append("a") or b"let a"), "/b.js": Sheet(CODE, lambda: b"let b")})


def read(shelf, path, *headers):
    intent = shelf.session(Head("GET", path, b"", list(headers))).receive(b"").intent
    assert isinstance(intent, Recite)
    return intent.script


def test_a_sheet_is_made_once(shelf, made):
    for _ in range(3):
        assert [step.data for step in read(shelf, "/a.js").steps] == [b"let a"]
    assert made == ["a"]


@pytest.mark.parametrize("shown", [b"%b", b"W/%b", b'"x", %b', b"*"])
def test_whoever_has_it_gets_its_headers_alone(shelf, shown):
    tag = dict(read(shelf, "/a.js").headers)[b"etag"]
    again = read(shelf, "/a.js", (b"if-none-match", shown % tag if b"%b" in shown else shown))
    assert (again.status, [step.data for step in again.steps]) == (304, [b""])
    assert dict(again.headers)[b"etag"] == tag


def test_another_body_has_another_tag(shelf):
    assert dict(read(shelf, "/a.js").headers)[b"etag"] != dict(read(shelf, "/b.js").headers)[b"etag"]
    tag = dict(read(shelf, "/a.js").headers)[b"etag"]
    assert read(shelf, "/b.js", (b"if-none-match", tag)).status == 200


def test_what_is_not_on_it_is_not_found(shelf):
    with pytest.raises(NotFound):
        read(shelf, "/c.js")


def test_a_file_of_the_package():
    assert stored("page", "index.html").startswith(b"<!doctype html>")
