"""The documents, and the pages that show them: valid, complete, nothing in them that is not mounted, nothing from
elsewhere. Seed protocols, sections 4.5 and 5.1.
"""

import hashlib
import importlib
import inspect
import json
import pkgutil
import re
from importlib.resources import files
from urllib.parse import urljoin

import described
import pytest
import yaml
from described import Document
from openapi_spec_validator import validate

from dragoman import __version__, dialects, faults
from dragoman.dialects.documents import SHELF, gateway, legacy_b
from gateway import KEY

DOCUMENTS = {"gateway": Document(gateway()), "system B": Document(legacy_b())}
VENDORED = files("dragoman") / "documents" / "swagger-ui"
# Messages of other protocols, preflights, and those who answer for paths that nobody serves.
NOT_DESCRIBED = ("WS", "GRPC", "OPTIONS", "*")


def mounted():
    names = [module.name for module in pkgutil.iter_modules(dialects.__path__)]
    mounts = [mount for name in names for mount in importlib.import_module(f"dragoman.dialects.{name}").mounts]
    return {(m.method, m.path) for m in mounts if m.method not in NOT_DESCRIBED}


def documented():
    """What the document of the gateway describes, with each name that a path may take where these are listed."""
    found = set()
    for method, path, operation in DOCUMENTS["gateway"].operations():
        names = [row["schema"].get("enum") for row in operation["parameters"] if row["in"] == "path"]
        [values] = names if len(names) == 1 and names[0] else [None]
        found |= {(method, re.sub(r"{\w+}", value, path)) for value in values} if values else {(method, path)}
    return found


def is_served(mount, method, path):
    """Whether a documented path is below this mount; `…*` takes the rest of a path, which must not be empty."""
    at = mount[1].removesuffix("*")
    return mount[0] == method and (path == at if at == mount[1] else path.startswith(at) and path != at)


# --- the documents -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_document_is_valid(document):
    validate(document.tree)


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_every_example_fits_its_schema(document):
    found = list(document.examples())
    assert len(found) > 15
    assert {where: wrong for where, schema, value in found if (wrong := document.misfits(schema, value))} == {}


def test_every_operation_has_a_name_of_its_own_and_says_what_it_is_for():
    operations = [operation for _, _, operation in DOCUMENTS["gateway"].operations()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert all(operation["summary"] for operation in operations)
    tags = {row["name"] for row in gateway()["tags"]}
    assert {tag for operation in operations for tag in operation["tags"]} == tags


def test_what_two_documents_say_does_not_collide():
    """The gateway's has system B's inside: nothing of either may hide something of the other."""
    ours, theirs = json.loads((VENDORED.parent / "dragoman.json").read_bytes()), legacy_b()
    for kind, named in theirs["components"].items():
        assert not named.keys() & ours["components"][kind].keys()
    assert not theirs["paths"].keys() & ours["paths"].keys()


def test_everything_that_is_mounted_is_described():
    missing = {mount for mount in mounted() if not any(is_served(mount, *row) for row in documented())}
    assert missing == set()


def test_everything_that_is_described_is_mounted():
    mounts = mounted()
    assert len(mounts) > 40
    nowhere = {row for row in documented() if not any(is_served(mount, *row) for mount in mounts)}
    # The assembly answers these two by itself; test_documents_live asks them.
    assert nowhere == {("GET", "/health/live"), ("GET", "/health/ready")}


def test_a_parameter_in_a_path_is_declared():
    for _, path, operation in DOCUMENTS["gateway"].operations():
        declared = {row["name"] for row in operation["parameters"] if row["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path)), path


def test_every_error_that_is_shown_can_happen():
    """An example of an error has the code of a fault, and stands at that fault's status."""
    leaves = [kind for kind in vars(faults).values() if inspect.isclass(kind) and issubclass(kind, faults.Fault)]
    codes = {kind.code for kind in leaves} | {"invalid_api_key"}
    status_of = {kind.code: kind.status for kind in leaves} | {"invalid_api_key": 401}
    document = DOCUMENTS["gateway"]
    shown = [value["error"] for _, _, value in document.examples() if isinstance(value, dict) and "error" in value]
    shown = [error for error in shown if isinstance(error, dict) and "code" in error]
    assert len(shown) >= 10
    assert {error["code"] for error in shown} <= codes
    for _, path, operation in document.operations():
        for status, row in operation["responses"].items():
            example = document.resolve(row).get("content", {}).get("application/json", {}).get("example", {})
            error = example.get("error") if isinstance(example, dict) else None
            if isinstance(error, dict) and "code" in error and status != "default":
                assert status_of[error["code"]] == int(status), (path, status)


def test_the_gateway_names_the_version_that_runs():
    assert gateway()["info"]["version"] == __version__


def test_system_c_finds_its_operation_and_its_schema():
    """Generated clients of the original are named after these."""
    operation = gateway()["paths"]["/ask/{conversation_id}"]["post"]
    assert operation["operationId"] == "chat_ask__conversation_id__post"
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Ask"}
    assert gateway()["components"]["schemas"]["Ask"]["required"] == ["prompt"]


def test_system_b_finds_its_operations_and_schemas():
    tree = legacy_b()
    assert (tree["openapi"], tree["info"]["title"]) == ("3.0.0", "问了就答")
    named = {op["operationId"]: (method, path, op) for method, path, op in DOCUMENTS["system B"].operations()}
    assert named["AppController_getHello"][:2] == ("GET", "/api")
    assert named["GetTokenController_getInfo"][:2] == ("GET", "/api/v1/token/getInfo")
    method, path, chat = named["GptMainController_getGpt"]
    assert (method, path) == ("POST", "/api/v1/gpt/getInfo")
    assert [status for status in chat["responses"] if status.startswith("2")] == ["201"]
    schemas = tree["components"]["schemas"]
    assert set(schemas["GptMain"]["properties"]) - set(schemas["GptMain"]["required"]) == {"parentMessageId", "opts"}
    assert set(schemas["GptRequestDTO"]["required"]) == {"mode", "type", "opts"}
    login = next(op for op in named.values() if op[:2] == ("POST", "/api/v1/token/getInfo"))[2]
    body = login["requestBody"]["content"]["application/json"]["schema"]
    assert set(DOCUMENTS["system B"].resolve(body)["required"]) == {"type", "email", "password"}


# --- how they are served -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ask(start_gateway):
    gateway = start_gateway({"auth": {"keys": [KEY]}, "providers": [{"name": "echo", "kind": "echo"}]})

    def asked(path, method="GET", **headers):
        return described.ask(gateway, method, path, {k.replace("_", "-"): v for k, v in headers.items()})

    return asked


KINDS = {
    "/docs": "text/html",
    "/api": "text/html",
    "/openapi.json": "application/json",
    "/api-json": "application/json",
}
KINDS |= {"/api-yaml": "application/yaml", "/docs/assets/swagger-ui.css": "text/css"}
KINDS |= {f"/docs/assets/{name}.js": "text/javascript" for name in ("start", "swagger-ui-bundle")}


@pytest.mark.parametrize("path", SHELF.paths)
def test_a_sheet_needs_no_key_and_is_what_it_says(ask, path):
    answer = ask(path, Origin="http://elsewhere.example")
    assert answer.status == 200
    assert answer.headers["content-type"].partition(";")[0] == KINDS[path]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["access-control-allow-origin"] == "http://elsewhere.example"
    assert int(answer.headers["content-length"]) == len(answer.body) > 100


@pytest.mark.parametrize("path", SHELF.paths)
def test_a_sheet_that_is_there_already_is_not_sent_again(ask, path):
    tag = ask(path).headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    for shown in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = ask(path, If_None_Match=shown)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert ask(path, If_None_Match='"other"').status == 200


@pytest.mark.parametrize("path", ["/docs", "/api"])
def test_a_page_loads_nothing_from_elsewhere(ask, path):
    answer = ask(path)
    policy = dict(rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {word for words in policy.values() for word in words.split()} <= {"'none'", "'self'", "data:"}
    linked = re.findall(r'(?:src|href|data-document)="([^"]*)"', answer.body.decode())
    asked = {urljoin(path, link) for link in linked if not link.startswith("data:")}
    assert asked <= set(SHELF.paths), "a link that is not one of ours"
    assert len(asked) == 4


def test_the_pages_show_their_documents(ask):
    assert b'data-document="openapi.json"' in ask("/docs").body
    assert b'data-document="api-json"' in ask("/api").body
    assert "<title>问了就答</title>" in ask("/api").body.decode()
    assert json.loads(ask("/openapi.json").body) == gateway()
    assert json.loads(ask("/api-json").body) == legacy_b()


def test_the_yaml_is_the_document(ask):
    body = ask("/api-yaml").body
    assert body.startswith(b"openapi: ")
    assert yaml.safe_load(body) == legacy_b()


def test_the_other_page_of_system_c_leads_to_ours(ask):
    answer = ask("/redoc")
    assert (answer.status, urljoin("/redoc", answer.headers["location"])) == (307, "/docs")


@pytest.mark.parametrize(
    "path",
    [
        "/docs/assets/",
        "/docs/assets/page.html",
        "/docs/assets/..%2fpage.html",
        "/docs/assets/../../__init__.py",
        "/docs/assets//etc/passwd",
        "/docs/assets/LICENSE",
        "/docs/",
        "/api/",
        "/api-json/x",
    ],
)
def test_there_is_nothing_beside_the_list(ask, path):
    assert ask(path).status == 404


@pytest.mark.parametrize("path", [*SHELF.paths, "/redoc"])
def test_they_are_only_read(ask, path):
    answer = ask(path, "POST")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
    assert json.loads(answer.body)["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/conversations", 401), ("/api/v1/token/getInfo", 400), ("/api/conversation/x", 403), ("/api/v1", 404)],
)
def test_the_page_of_system_b_hides_nothing_below_it(ask, path, status):
    assert ask(path).status == status


def test_what_others_made_is_unchanged():
    said = (VENDORED / "README.md").read_text(encoding="utf-8")
    digests = dict(re.findall(r"`(\S+)` \| `([0-9a-f]{64})`", said))
    assert set(digests) == {"swagger-ui.css", "swagger-ui-bundle.js"}
    for name, digest in digests.items():
        assert hashlib.sha256((VENDORED / name).read_bytes()).hexdigest() == digest
    assert "Apache License" in (VENDORED / "LICENSE").read_text(encoding="utf-8")
