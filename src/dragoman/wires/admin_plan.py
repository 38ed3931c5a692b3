"""Requests about keys, usage and calls, read into wishes: the operator's, and those of whoever holds a key (`own`).

The two differ in what may be said (`admin_ask`), in what is shown (`admin_voice`), and in that what is not the
caller's own is not there (`dragoman.admission.office`).
"""

import re
from collections.abc import Callable
from typing import Any

from dragoman.errands import (
    ChangeKey,
    DropKey,
    ListCalls,
    ListKeys,
    MakeKey,
    ReadCall,
    ReadKey,
    ReadUsage,
    RotateKey,
    Sums,
)
from dragoman.faults import Malformed, NotFound
from dragoman.legs import Head, Headers, Reply
from dragoman.wires import admin_ask as ask
from dragoman.wires import admin_voice as voice
from dragoman.wires.private import Answered, nothing

_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_CSV: Headers = [
    (b"content-type", b"text/csv; charset=utf-8"),
    (b"content-disposition", b'attachment; filename="usage.csv"'),
]


class Plans:
    """The plans of one interface. `path` is where it stands: `/api/admin` or `/api`."""

    def __init__(self, path: str, *, own: bool) -> None:
        self._path = path
        self._own = own
        self._write_key: Callable[[Any], voice.Row] = voice.own_key if own else voice.any_key
        self._write_call: Callable[[Any], voice.Row] = voice.own_call if own else voice.any_call
        self._write_whole: Callable[[Any], voice.Row] = voice.own_call_whole if own else voice.any_call_whole

    # --- keys ---

    def list_keys(self, head: Head, data: bytes) -> Answered:  # noqa: ARG002 - a GET has no body to read
        query = ask.read_query(head.query, ("after", "limit") if self._own else ("after", "limit", "team", "maker"))
        limit = ask.limit_of(query)
        wish = ListKeys(
            after=query.get("after", ""),
            limit=limit,
            team=query.get("team", ""),
            maker=query.get("maker", ""),
            own=self._own,
        )
        return Answered(wish, lambda keys: voice.page_of_keys(keys, limit, self._write_key))

    def make_key(self, head: Head, data: bytes) -> Answered:
        ask.read_query(head.query, ())
        return Answered(MakeKey(ask.new_key(data, own=self._own), self._own), self._fresh, 201)

    def one_key(self, head: Head, data: bytes) -> Answered:
        """Plan what is done to one key: GET, PATCH, DELETE, and POST to its `/rotate`."""
        ask.read_query(head.query, ())
        id_, *rest = head.path.removeprefix(f"{self._path}/keys/").split("/")
        if _ID.fullmatch(id_):
            match head.method, rest:
                case "GET", []:
                    return Answered(ReadKey(id_, self._own), self._write_key)
                case "PATCH", []:
                    return Answered(ChangeKey(id_, ask.key_change(data, own=self._own), self._own), self._write_key)
                case "DELETE", []:
                    return Answered(DropKey(id_, self._own), nothing)
                case "POST", ["rotate"]:
                    return Answered(RotateKey(id_, ask.overlap_s(data), self._own), self._fresh)
        raise NotFound(f"There is no {head.method} {head.path[:200]} here.")

    def _fresh(self, found: Any) -> voice.Row:
        return voice.fresh_key(found, self._write_key)

    # --- usage and calls ---

    def usage(self, head: Head, data: bytes) -> Answered:  # noqa: ARG002 - a GET has no body to read
        query = ask.read_query(head.query, ask.USAGE)
        form = query.get("format", "json")
        if form not in ("json", "csv"):
            raise Malformed("format is json or csv.", field="format")
        return Answered(ReadUsage(ask.usage_query(query), self._own), _as_csv if form == "csv" else voice.sums)

    def list_calls(self, head: Head, data: bytes) -> Answered:  # noqa: ARG002 - a GET has no body to read
        query = ask.call_query(ask.read_query(head.query, ask.CALLS))
        write = self._write_call
        return Answered(ListCalls(query, self._own), lambda calls: voice.page_of_calls(calls, query.limit, write))

    def one_call(self, head: Head, data: bytes) -> Answered:  # noqa: ARG002 - a GET has no body to read
        ask.read_query(head.query, ())
        id_ = head.path.removeprefix(f"{self._path}/requests/")
        if not _ID.fullmatch(id_):
            raise NotFound("There is no such request.")
        return Answered(ReadCall(id_, self._own), self._write_whole)


def _as_csv(found: Sums) -> Reply:
    """Write CSV; the cursor of the next page is in `x-next`, as a table has no place for it."""
    after = voice.next_of(found)
    more: Headers = [(b"x-next", after.encode())] if after else []
    return Reply(200, [*_CSV, *more], voice.sums_as_csv(found))
