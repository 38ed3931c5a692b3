"""The interfaces, described: Swagger UI at `/docs` and `/api`, and the OpenAPI documents that it shows.

Source: seed protocols, sections 4.5 and 5.1. `/api`, `/api-json` and `/api-yaml` are system B's, the others are system
C's and speak of the whole gateway; B's operations are written down once and belong to both. Everything comes from the
package, and the pages fetch nothing from elsewhere.
"""

import re
from collections.abc import Callable
from functools import partial
from string import Template
from typing import Any

import msgspec

from dragoman import __version__
from dragoman.legs import Headers, Step
from dragoman.ports import Lookup, Mount
from dragoman.wires.cors import Recited, cors
from dragoman.wires.sheets import CODE, SAFE, STYLE, Public, Sheet, Shelf, stored

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE: Headers = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", POLICY),
    (b"referrer-policy", b"no-referrer"),
]
JSON: Headers = [(b"content-type", b"application/json")]
YAML: Headers = [(b"content-type", b"application/yaml; charset=utf-8")]
# Plain keys that every reader of YAML takes for a string, 1.1's with its many names for true and false included.
_PLAIN = re.compile(r"(?!(?i:y|n|yes|no|on|off|true|false|null)\Z)[A-Za-z$][A-Za-z0-9_$-]*")
encode = msgspec.json.encode


def legacy_b() -> dict[str, Any]:
    tree: dict[str, Any] = msgspec.json.decode(stored("documents", "legacy_b.json"))
    return tree


def gateway() -> dict[str, Any]:
    """Make the document of the whole gateway: our own, with the operations of system B and the version that runs."""
    tree: dict[str, Any] = msgspec.json.decode(stored("documents", "dragoman.json"))
    theirs = legacy_b()
    tree["info"]["version"] = __version__
    tree["paths"] |= theirs["paths"]
    for kind, named in theirs["components"].items():
        tree["components"][kind] |= named
    return tree


def as_json(tree: Callable[[], dict[str, Any]]) -> bytes:
    return encode(tree())


def as_yaml(tree: Callable[[], dict[str, Any]]) -> bytes:
    return "".join(f"{line}\n" for line in _lines(tree())).encode()


def _lines(value: Any) -> list[str]:
    """Write a value as lines of YAML. Scalars stay JSON, which YAML 1.2 includes."""
    rows: list[str] = []
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            name = key if _PLAIN.fullmatch(key) else encode(key).decode()
            lines = _lines(inner)
            if isinstance(inner, dict | list) and inner:
                rows += [f"{name}:", *(f"  {line}" for line in lines)]
            else:
                rows.append(f"{name}: {lines[0]}")
    elif isinstance(value, list) and value:
        for first, *rest in map(_lines, value):
            rows += [f"- {first}", *(f"  {line}" for line in rest)]
    else:
        rows.append(encode(value).decode())
    return rows


def page(**values: str) -> bytes:
    return Template(stored("documents", "page.html").decode()).substitute(values).encode()


SHELF = Shelf(
    {
        "/docs": Sheet(PAGE, partial(page, title="Dragoman", document="openapi.json", language="en")),
        "/openapi.json": Sheet(JSON, partial(as_json, gateway)),
        "/api": Sheet(PAGE, partial(page, title="问了就答", document="api-json", language="zh")),
        "/api-json": Sheet(JSON, partial(as_json, legacy_b)),
        "/api-yaml": Sheet(YAML, partial(as_yaml, legacy_b)),
        "/docs/assets/start.js": Sheet(CODE, partial(stored, "documents", "start.js")),
        "/docs/assets/swagger-ui.css": Sheet(STYLE, partial(stored, "documents", "swagger-ui", "swagger-ui.css")),
        "/docs/assets/swagger-ui-bundle.js": Sheet(
            CODE, partial(stored, "documents", "swagger-ui", "swagger-ui-bundle.js")
        ),
    }
)


class Moved(Public):
    """System C's other page. One page is enough, and another renderer would be another megabyte to keep up to date."""

    def receive(self, data: bytes) -> Lookup:  # noqa: ARG002 - a GET has no body to read
        # Relative, as the links of the pages are: a proxy may serve all of this below a path of its own.
        return Recited(307, [(b"location", b"docs"), *SAFE, *cors(self.head)], Step())


mounts: tuple[Mount, ...] = (
    *(Mount("GET", path, SHELF.session, public=True) for path in SHELF.paths),
    Mount("GET", "/redoc", Moved, public=True),
)
