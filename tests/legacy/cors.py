"""The one policy for callers in browsers that satisfies every legacy client (seed protocols, section 7)."""

METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
HEADERS = {"authorization", "content-type", "chat-type", "accept", "x-requested-with"}
ORIGINS = [
    "null",
    "http://localhost:5173",
    "http://chaoxing.com",
    "https://[2001:db8::1]:8443",
    "chrome-extension://abcdef",
]


def listed(value):
    return {item.strip().lower() for item in (value or "").split(",") if item.strip()}


def check(answer, origin):
    """An answer of any status lets a page of this origin read it, with credentials; None: there was no Origin."""
    lines = [value for name, value in answer.header_lines if name == "access-control-allow-origin"]
    assert lines == [origin or "*"], answer
    assert answer.headers.get("access-control-allow-credentials") == "true", answer
    assert "origin" in listed(answer.headers.get("vary")), answer
    assert "set-cookie" not in answer.headers, answer
    names = [name for name, _ in answer.header_lines if name.startswith("access-control-")]
    assert len(names) == len(set(names)), f"a header came twice: {answer}"


def preflight(relay, path, origin, method="POST", wanted="authorization,chat-type,content-type"):
    asked = {"Access_Control_Request_Method": method, "Access_Control_Request_Headers": wanted}
    return relay.ask("OPTIONS", path, Origin=origin, **asked)


def check_preflight(answer, origin, wanted="authorization,chat-type,content-type"):
    assert (answer.status, answer.body) == (204, b""), answer
    check(answer, origin)
    assert listed(answer.headers.get("access-control-allow-headers")) == (listed(wanted) or HEADERS), answer
    assert {m.upper() for m in listed(answer.headers.get("access-control-allow-methods"))} == METHODS, answer
    assert answer.headers.get("access-control-max-age") == "600", answer
