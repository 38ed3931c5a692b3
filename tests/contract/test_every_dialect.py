"""The laws that every dialect keeps: bad bytes, every fault before and after the first byte, no false ends."""

import importlib
import pkgutil

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman import dialects, faults
from dragoman.faults import Fault
from dragoman.legs import Head
from dragoman.ports import Mount
from dragoman.wires import anthropic, openai_chat

CHAT = {
    "openai": ("/v1/chat/completions", openai_chat),
    "anthropic": ("/v1/messages", anthropic),
}
GOOD = b'{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}'


def mounts() -> list[Mount]:
    names = [module.name for module in pkgutil.iter_modules(dialects.__path__)]
    return [m for name in names for m in importlib.import_module(f"dragoman.dialects.{name}").mounts]


def leaves(kind: type[Fault] = Fault) -> list[type[Fault]]:
    below = kind.__subclasses__()
    return [leaf for sub in below for leaf in leaves(sub)] if below else [kind]


def head(path: str, method: str = "POST") -> Head:
    return Head(method, path, b"", [(b"content-type", b"application/json")], id="r-1", at=1_800_000_000)


def session_for(path: str) -> object:
    return next(m for m in mounts() if m.path == path and m.method == "POST").session(head(path))


def is_error_of(dialect: str, body: bytes) -> bool:
    tree = msgspec.json.decode(body)
    if dialect == "anthropic":
        return set(tree) == {"type", "error", "request_id"} and set(tree["error"]) == {"type", "message"}
    return set(tree) == {"error"} and set(tree["error"]) == {"message", "type", "param", "code"}


def test_the_family_has_policy_on_every_leaf() -> None:
    found = leaves()
    assert len(found) >= 20
    codes = [leaf.code for leaf in found]
    assert len(set(codes)) == len(codes)
    for leaf in found:
        assert leaf.blame in ("caller", "upstream", "gateway")
        assert leaf.retry in ("never", "target", "credential")
        assert leaf.bench in ("nothing", "credential", "target")
        assert 400 <= leaf().status < 600
        assert leaf().message


@pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: leaf.__name__)
@pytest.mark.parametrize("dialect", CHAT)
def test_every_fault_before_the_first_byte(dialect: str, leaf: type[Fault]) -> None:
    reply = session_for(CHAT[dialect][0]).refuse(leaf(field="messages", retry_after_s=2.2))
    assert reply.status == leaf().status
    assert is_error_of(dialect, reply.body)
    assert (b"retry-after", b"3") in reply.headers
    assert b"Traceback" not in reply.body


@pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: leaf.__name__)
@pytest.mark.parametrize("dialect", CHAT)
def test_every_fault_after_the_first_byte_is_no_end(dialect: str, leaf: type[Fault]) -> None:
    path, wire = CHAT[dialect]
    turn = session_for(path).receive(GOOD)
    said = b"".join(turn.fail(leaf("went wrong")))
    assert said.endswith(b"\n\n")
    assert is_error_of(dialect, said.split(b"data: ", 1)[1])
    assert b"[DONE]" not in said
    assert b"message_stop" not in said
    reader = wire.OpaqueStream()
    assert not any(getattr(d, "ended", False) for d in [*reader.receive(said), *reader.close()])


@pytest.mark.parametrize("path", sorted({m.path for m in mounts() if m.method == "POST"}))
@given(
    data=st.binary(max_size=200)
    | st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["model", "messages", "role", "content", "stream", "tools", "n", "x"]), inner
            )
        ),
        max_leaves=14,
    ).map(msgspec.json.encode)
)
@settings(max_examples=120, deadline=None)
def test_a_session_raises_only_faults_of_the_caller(path: str, data: bytes) -> None:
    session = session_for(path)
    try:
        turn = session.receive(data)
        if turn is not None and hasattr(turn.intent, "request"):
            turn.intent.request()
    except Fault as fault:
        assert fault.blame == "caller"
        # NDJSON tells everything but nonsense with 200, as its original did.
        assert fault.status in (400, 404, 413, 422) or path in ("/chat", "/ndjson/chat")


def test_two_mounts_never_want_the_same() -> None:
    bare = [(m.method, m.path, m.needs) for m in mounts() if m.when is None and m.crossing is None]
    assert len(set(bare)) == len(bare)


@pytest.mark.parametrize(
    ("shown", "key"),
    [
        ([(b"authorization", b"Bearer abc")], "abc"),
        ([(b"authorization", b"bearer  abc ")], "abc"),
        ([(b"x-api-key", b"abc")], "abc"),
        ([(b"x-api-key", b"abc"), (b"authorization", b"Bearer abc")], "abc"),
        ([(b"authorization", b"Basic abc")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([], None),
    ],
)
@pytest.mark.parametrize("dialect", CHAT)
def test_where_the_key_is_shown(dialect: str, shown: list[tuple[bytes, bytes]], key: str | None) -> None:
    path = CHAT[dialect][0]
    asking = head(path)
    asking.headers = shown
    claim = next(m for m in mounts() if m.path == path).session(asking).claim()
    assert (claim.reveal() if claim else None) == key


@pytest.mark.parametrize("dialect", CHAT)
def test_two_keys_that_disagree_are_refused(dialect: str) -> None:
    path = CHAT[dialect][0]
    asking = head(path)
    asking.headers = [(b"x-api-key", b"abc"), (b"authorization", b"Bearer other")]
    with pytest.raises(faults.Malformed):
        next(m for m in mounts() if m.path == path).session(asking).claim()
