"""Reading OpenAPI documents: operations, examples, and whether a value fits a schema; and asking a gateway."""

import http.client
import json

import jsonschema

METHODS = ("get", "post", "put", "patch", "delete")


class Document:
    def __init__(self, tree):
        self.tree = tree

    def resolve(self, node):
        while "$ref" in node:
            found = self.tree
            for key in node["$ref"].removeprefix("#/").split("/"):
                found = found[key.replace("~1", "/").replace("~0", "~")]
            node = found
        return node

    def operations(self):
        """Yield (METHOD, path, operation), with the path's parameters among the operation's."""
        for path, item in self.tree["paths"].items():
            for method in METHODS:
                if method in item:
                    given = [*item.get("parameters", ()), *item[method].get("parameters", ())]
                    parameters = [self.resolve(parameter) for parameter in given]
                    yield method.upper(), path, {**item[method], "parameters": parameters}

    def misfits(self, schema, value):
        """What is wrong with a value, as text; references mean this document's components."""
        whole = {"allOf": [schema], "components": self.tree["components"]}
        validator = jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(value)]

    def examples(self):
        """Yield (where, schema, example) for every example in the document."""
        yield from self._examples(self.tree, "#")

    def _examples(self, node, where):
        if isinstance(node, list):
            for number, inner in enumerate(node):
                yield from self._examples(inner, f"{where}/{number}")
        elif isinstance(node, dict):
            if "schema" in node:
                yield from ((f"{where}/{name}", node["schema"], value) for name, value in examples_of(node))
            for key, inner in node.items():
                if key not in ("example", "examples"):
                    yield from self._examples(inner, f"{where}/{key.replace('/', '~1')}")


def examples_of(node):
    """The examples of a parameter, header or media type, by name."""
    if "example" in node:
        return [("example", node["example"])]
    return [(name, row["value"]) for name, row in node.get("examples", {}).items()]


class Answer:
    """A whole answer; one that is cut raises `http.client.IncompleteRead` instead."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers.items()} {self.body[:2000]!r}>"


def ask(gateway, method, path, headers=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=15)
    try:
        connection.request(method, path, body, headers or {})
        return Answer(connection.getresponse())
    finally:
        connection.close()
