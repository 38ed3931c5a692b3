"""What can be seen in the source alone: no SQL is made of what anybody sent, and secrets are told in few places.

Items 3, 33 and 35 of the security checklist (docs/security.md). The statements that a database really gets are looked
at below, since SQLAlchemy writes most of them.
"""

import ast
import re
from pathlib import Path

import pytest
from sqlalchemy import event

import dragoman
from dragoman.keys import Key
from dragoman.store import open_store
from dragoman.usage import CallQuery, UsageQuery

SOURCE = Path(dragoman.__file__).parent
FILES = sorted(path for path in SOURCE.rglob("*.py") if not path.name.endswith("_pb2.py"))
TREES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}

# What takes SQL as text, from SQLAlchemy or from a driver.
TAKES_TEXT = {
    "DDL",
    "TextClause",
    "column",
    "custom_op",
    "exec_driver_sql",
    "executemany",
    "executescript",
    "from_statement",
    "literal_column",
    "op",
    "prefix_with",
    "quoted_name",
    "suffix_with",
    "table",
    "text",
    "with_hint",
    "with_statement_hint",
}
# What takes a statement, and with a bare connection of a driver its text.
EXECUTES = {"execute", "scalar", "scalars", "stream", "stream_scalars"}
SQL = re.compile(
    r"\b(SELECT\b.*\bFROM|INSERT\s+INTO|UPDATE\b.*\bSET|DELETE\s+FROM|CREATE\s+(TABLE|INDEX|SCHEMA)|DROP\s+TABLE"
    r"|ALTER\s+TABLE|PRAGMA|SET\s+LOCAL|WHERE|ORDER\s+BY)\b"
)
# Places that hand over something else than a constant, and why no caller can get at it.
ALLOWED = {
    ("store/database.py", "execute", "f'PRAGMA {pragma}'"): "a loop over three constants that stands above it",
    (
        "store/database.py",
        "exec_driver_sql",
        "connection.get_execution_options().get('begin', 'BEGIN IMMEDIATE')",
    ): "an option that this module sets to a constant",
    ("store/calls.py", "exec_driver_sql", "_INSERT"): "written once, by SQLAlchemy, from the description of the table",
}


def called(node):
    """The last part of what is called."""
    target = node.func
    return target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def constants(tree):
    """Names of a module to which it gives a constant text, once."""
    given = [node for node in tree.body if isinstance(node, ast.Assign) and is_text(node.value)]
    names = [target.id for node in given for target in node.targets if isinstance(target, ast.Name)]
    stored = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return {name for name in names if stored.count(name) == 1}


def is_fixed(node, names):
    """Whether an expression is made of constant texts and of `names` only."""
    if isinstance(node, ast.JoinedStr):
        return all(is_fixed(part, names) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return is_fixed(node.value, names)
    return is_text(node) or (isinstance(node, ast.Name) and node.id in names)


def is_made_text(node):
    """Whether an expression puts a text together."""
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return any(is_text(side) or is_made_text(side) for side in (node.left, node.right))
    is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return is_method and node.func.attr in ("format", "format_map", "join", "replace") and is_text(node.func.value)


def texts(node):
    return " ".join(part.value for part in ast.walk(node) if is_text(part))


def imported(tree, package):
    """The names that a module has from a package, with what they are called there."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
    return found


def faults_of(name, tree):
    """Say where SQL is made of anything but constants."""
    own, names = imported(tree, "sqlalchemy"), constants(tree)
    uses_sql = own or re.search(r"\b(sqlalchemy|alembic|sqlite3|psycopg)\b", ast.dump(tree))
    for node in ast.walk(tree):
        if is_made_text(node) and not is_fixed(node, names) and SQL.search(texts(node)):
            yield name, "made text", ast.unparse(node)
        if not uses_sql or not isinstance(node, ast.Call) or not node.args or is_fixed(node.args[0], names):
            continue
        word, argument = called(node), node.args[0]
        takes_text = word in TAKES_TEXT and (isinstance(node.func, ast.Attribute) or own.get(word) == word)
        if takes_text or (word in EXECUTES and (is_made_text(argument) or is_raw(node, tree))):
            yield name, word, ast.unparse(argument)


def is_raw(node, tree):
    """Whether what executes is a driver's own connection: those are given to a function as Any."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and node in ast.walk(function):
            given = {arg.arg for arg in function.args.args if arg.annotation and ast.unparse(arg.annotation) == "Any"}
            if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in given:
                return True
    return False


def test_item_03_no_sql_is_made_of_anything_but_constants():
    found = {fault for name, tree in TREES.items() for fault in faults_of(name, tree)}
    # A text that is made is told of twice: as such, and where it is handed over.
    of_pragmas = {fault for fault in found if fault[1] == "made text" and fault[2] == "f'PRAGMA {pragma}'"}
    assert found - of_pragmas == set(ALLOWED)


@pytest.mark.parametrize(
    "line",
    [
        "connection.execute(text(query))",
        "connection.execute(text(f'SELECT {query}'))",
        "connection.exec_driver_sql('SELECT a FROM b WHERE c = %s' % query)",
        "connection.exec_driver_sql('SELECT ' + query)",
        "connection.execute('SELECT a FROM b WHERE c = {}'.format(query))",
        "select(literal_column(query))",
        "rows.where(threads.c.title.op(query)('x'))",
        "statement = f'DELETE FROM threads WHERE owner = {query}'",
        "statement = 'UPDATE keys SET ' + query",
        "QUERY = 'SELECT 1'\nQUERY = ask()\nconnection.execute(text(QUERY))",
        "def listens(connection: Any, query):\n    connection.execute(query)",
    ],
)
def test_item_03_the_check_finds_what_it_looks_for(line):
    head = "from sqlalchemy import literal_column, select, text\n"
    assert list(faults_of("here", ast.parse(head + line)))


# What a caller may send where the store is asked: each is looked for in the statements.
CANARY = "x' OR 1=1; DROP TABLE threads; -- %_\\ canary"


async def ask_everything(store, text):
    """Use every question of the store in which a caller's own words stand."""
    await store.keyring.put_key(
        Key(id=text, owner=text, team=text, maker=text, digest=b"d" * 32, created=1.0), is_new=True
    )
    await store.keyring.key(text)
    await store.keyring.keys(after=text, team=text, maker=text)
    await store.put_account(text, "digest")
    await store.account(text)
    await store.shelf(text, 0, 10, text)
    thread = await store.first(text)
    await store.rename(text, thread.id, text)
    await store.story(text, thread.id)
    await store.hold(text, text)
    await store.may_enter(text, text)
    await store.books.call(text, text)
    await store.books.calls(CallQuery(principal=text, model=text, limit=5, key=text, after=(1.0, text)))
    words = ("principal", "model", "tag")
    await store.books.usage(UsageQuery(principal=text, model=text, tag=text, group=words, limit=5))
    await store.put_account(text, "digest")


async def statements(folder, text):
    """The statements that the database gets for this text."""
    store = open_store("", folder, "run", sole=True)
    seen = []
    engine = store._database.writer
    event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: seen.append(statement))
    try:
        await ask_everything(store, text)
    finally:
        store.close()
    return seen


async def test_item_03_the_statements_are_the_same_whatever_is_sent(tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "canary").mkdir()
    plain = await statements(tmp_path / "plain", "plain")
    assert plain == await statements(tmp_path / "canary", CANARY)
    assert len(plain) > 20
    assert not [statement for statement in plain if "canary" in statement or "plain" in statement]


# --- keys are looked up by their digest


def test_item_03_a_key_is_hashed_before_any_look_up():
    """In the gate and the directory what is looked up is a digest, or an id that follows from one."""
    gate = TREES["admission/gate.py"]
    looked_up = set()
    for node in ast.walk(gate):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            if node.func.attr == "by_digest" or ast.unparse(node.func) in ("self._principals.get", "self._kinds.get"):
                looked_up.add(ast.unparse(node.args[0]))
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("self._principals", "self._kinds"):
            looked_up.add(ast.unparse(node.slice))
        # Nothing compares a key: `text == …` would take as long as its beginning is right.
        if isinstance(node, ast.Compare) and "claim" in ast.unparse(node):
            assert ast.unparse(node) == "claim is None", ast.unparse(node)
    assert looked_up == {"digest", "self._directory.digest(key)"}
    digests = [
        node
        for node in ast.walk(gate)
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["digest"]
    ]
    assert {ast.unparse(node.value) for node in digests} == {"self._directory.digest(claim)"}
    assert "reveal" not in {
        node.attr for node in ast.walk(TREES["admission/directory.py"]) if isinstance(node, ast.Attribute)
    }


# --- item 33: nothing runs what was sent


def test_item_33_nothing_is_run_that_was_sent():
    """No module calls what makes code of a text or a shell of a line; modules are imported by names of our own."""
    builtins, shells = {"eval", "exec", "compile", "__import__"}, {"system", "popen", "getoutput"}
    for name, tree in TREES.items():
        # The bundled prices are the code of a dependency, run as an import runs it.
        if name == "admission/price_data.py":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                is_named = isinstance(node.func, ast.Name)
                assert called(node) not in (builtins if is_named else shells), (name, ast.unparse(node))
                assert not [k for k in node.keywords if k.arg == "shell"], (name, ast.unparse(node))
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "marshal", "shelve", "code", "pty"} & set(modules), (name, modules)


# --- item 35: who tells a secret

TELLS = {
    "admission/gate.py": "sees whether it is empty or looks like a token",
    "admission/hashing.py": "hashes it",
    "admission/keysmith.py": "takes its beginning and its last four characters for display, once, when it is made",
    "admission/login.py": "hashes a pair to count failures by",
    "admission/office.py": "checks a new password's length",
    "admission/passwords.py": "hashes it",
    "admission/tokens.py": "signs with it, or reads a token",
    "app.py": "derives the key that signs tokens of accounts",
    "building.py": "prints a link that logs in, once",
    "dialects/session.py": "sets the cookie of the page, and tells the page its key",
    "key_commands.py": "prints a new key, once",
    "providers/anthropic.py": "sends it to the configured origin",
    "providers/chatgpt_web.py": "sends it to the configured origin",
    "relay/dispatch.py": "finds a refusal that quotes it, to take it out",
    "serving.py": "prints the master key at the start, for whoever sits there",
    "settings.py": "the address of the database",
    "terminal.py": "asks as the master, from the same machine",
    "showing.py": "cuts a credential out of what a provider says of it",
    "usage_commands.py": "the address of the database to move to",
    "user_commands.py": "hashes a new password",
    "wires/admin_voice.py": "shows a new key, once",
    "wires/oidc.py": "sends it to the issuer",
    "wires/openai_client.py": "sends it to the configured origin",
}


def test_item_35_a_secret_is_told_in_few_places():
    telling = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "reveal"
    }
    assert telling == set(TELLS)


def test_item_35_a_secret_is_never_told_to_a_log_or_an_error():
    quiet = {"debug", "info", "warning", "error", "exception", "critical", "log", "print", "echo", "_say"}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            is_raised = isinstance(node, ast.Raise)
            is_said = isinstance(node, ast.Call) and called(node) in quiet
            if (is_raised or is_said) and ".reveal()" in ast.unparse(node):
                assert name in ("serving.py", "key_commands.py"), (name, ast.unparse(node))


def test_item_35_nothing_dumps_the_memory_of_the_process():
    """`faulthandler` prints values of no variable; nothing else may write memory, and no traceback shows locals."""
    for name, tree in TREES.items():
        words = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        words |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        words |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
        assert not words & {"capture_locals", "tracemalloc", "cgitb", "print_stack", "walk_stack"}, name


# --- docs/security.md


def test_every_test_that_the_document_names_is_there():
    tests = Path(__file__).parents[1]
    text = (tests.parent / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    assert len(named) > 50
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^(async )?def {name}\(", (tests / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert not missing
