"""The architecture as a test: sizes, names, mirrors, and the few places that may catch everything."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src" / "dragoman"
TESTS = ROOT / "tests"
# What protoc writes is not ours to judge.
FILES = sorted(path for path in SOURCE.rglob("*.py") if not path.stem.endswith("_pb2"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
BANNED = {"utils", "helpers", "common", "base", "misc", "manager", "service", "handler", "impl", "processor"}
RELAY_LINES = 2_250
FILE_LINES = 420
# Modules of dialects whose names are also a role and a kind of thing that is counted.
OTHER_WORDS = {"admin", "tokens"}
FUNCTION_LINES = 50
# Files whose own test file is still to come: covered by the tests named here. May only shrink.
COVERED_ELSEWHERE = {
    "__main__.py": "e2e",
    "accounting.py": "money",
    "admission/accounts.py": "test_desk",
    "admission/grants.py": "test_desk",
    "admission/leases.py": "test_desk, proofs",
    "admission/refusals.py": "test_desk",
    "admission/shortages.py": "test_desk",
    "app.py": "e2e",
    "bookkeeping.py": "money",
    "building.py": "e2e",
    "call_lines.py": "e2e",
    "chat.py": "contract",
    "cli.py": "e2e",
    "dialects": "contract, clients",
    "faults.py": "contract",
    "intents.py": "contract",
    "key_commands.py": "e2e",
    "keys.py": "admission",
    "legs.py": "faults",
    "link_commands.py": "e2e",
    "mounting.py": "contract, legacy",
    "net": "faults",
    "ports.py": "contract",
    "providers": "clients, e2e",
    "reference.py": "test_settings",
    "relay/dispatch.py": "faults",
    "relay/engine.py": "faults",
    "relay/keeping.py": "money",
    "relay/drains.py": "money",
    "relay/lanes.py": "e2e",
    "relay/lines.py": "money",
    "records.py": "store",
    "routes.py": "test_people",
    "sections.py": "test_settings",
    "serving.py": "e2e",
    "standing.py": "admission",
    "store/call_tables.py": "store",
    "store/keepers.py": "store",
    "store/key_tables.py": "store",
    "store/migrations/versions/r0002_keys_and_calls.py": "test_migrate",
    "store/migrations/versions/r0003_page.py": "test_migrate",
    "store/share_tables.py": "store",
    "terminal.py": "e2e",
    "threads.py": "store",
    "usage.py": "store",
    "usage_commands.py": "e2e",
    "user_commands.py": "e2e",
    "watch": "e2e",
    "wires/anthropic.py": "contract",
    "wires/anthropic_ask.py": "clients",
    "wires/anthropic_usage.py": "test_usage_adapters",
    "wires/anthropic_voice.py": "contract",
    "wires/chatgpt_ask.py": "test_chatgpt_web",
    "wires/chatgpt_voice.py": "test_chatgpt_web",
    "wires/checks.py": "e2e",
    "wires/cors.py": "legacy",
    "wires/events.py": "conversations",
    "wires/grpc_status.py": "conversations",
    "wires/http_turn.py": "clients",
    "wires/keyed.py": "legacy",
    "wires/openai_ask.py": "clients",
    "wires/openai_chat.py": "contract",
    "wires/openai_client.py": "clients",
    "wires/openai_http.py": "contract",
    "wires/openai_usage.py": "contract, clients",
    "wires/openai_voice.py": "contract",
    "wires/passing.py": "clients",
    "wires/prompts.py": "legacy",
    "wires/talking.py": "legacy",
}


def relative(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_fits_in_one_look(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(TREES[path])}
    assert {name: lines for name, lines in long.items() if lines > FUNCTION_LINES} == {}


def test_the_middle_stays_small() -> None:
    lines = sum(len(p.read_text(encoding="utf-8").splitlines()) for p in FILES if p.parent.name == "relay")
    assert lines <= RELAY_LINES


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_names_say_what_things_are(path: Path) -> None:
    names = [path.stem, *(n.name for n in ast.walk(TREES[path]) if isinstance(n, ast.ClassDef))]
    words = {word.lower() for name in names for word in re.findall(r"[A-Z]?[a-z]+", name)}
    assert not words & BANNED


def test_one_place_catches_everything() -> None:
    broad = [
        relative(path)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException"))
    ]
    assert broad == ["relay/engine.py"]


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_module_state(path: Path) -> None:
    """Module-level names are constants: nothing is declared global, nothing assigned to from elsewhere."""
    assert not [n for n in ast.walk(TREES[path]) if isinstance(n, ast.Global)]


def test_the_environment_is_read_in_one_place() -> None:
    reads = {
        relative(path)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    # A child process inherits the environment whole, and grpcio is told something there; nothing is looked up.
    assert reads == {"settings.py", "net/child.py", "app.py"}


def test_the_middle_names_no_dialect_and_no_provider() -> None:
    named = {p.stem for room in ("dialects", "providers", "wires") for p in (SOURCE / room).glob("[!_]*.py")}
    found = {
        (relative(path), node.value)
        for path, tree in TREES.items()
        if path.parent.name in ("admission", "relay", "net", "store", "watch")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in named - OTHER_WORDS
    }
    assert found == set()


def test_every_source_file_has_its_tests() -> None:
    missing = set()
    for path in FILES:
        name = relative(path)
        mirror = TESTS / path.relative_to(SOURCE).parent / f"test_{path.name}"
        if path.name != "__init__.py" and not mirror.exists():
            missing.add(name if name in COVERED_ELSEWHERE or "/" not in name else name.split("/")[0])
    assert {m for m in missing if m not in COVERED_ELSEWHERE} == set()


def test_no_error_is_told_by_its_text() -> None:
    assert not [relative(p) for p in FILES if re.search(r"in (str|repr)\((error|exc|fault|e)\)", p.read_text())]
