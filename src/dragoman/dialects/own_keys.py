"""What the holder of a key may do by itself: `/api/keys` (keys below its own), `/api/usage` and `/api/requests`.

Described in `/openapi.json` and docs/admin.md. Errors have OpenAI's shape.
"""

from functools import partial

from dragoman.ports import Mount
from dragoman.wires.admin_plan import Plans
from dragoman.wires.private import Private

PATH = "/api"
_plans = Plans(PATH, own=True)

mounts: tuple[Mount, ...] = tuple(
    Mount(method, f"{PATH}{path}", partial(Private, plan=plan))
    for method, path, plan in (
        ("GET", "/keys", _plans.list_keys),
        ("POST", "/keys", _plans.make_key),
        *((method, "/keys/*", _plans.one_key) for method in ("GET", "PATCH", "DELETE", "POST")),
        ("GET", "/usage", _plans.usage),
        ("GET", "/requests", _plans.list_calls),
        ("GET", "/requests/*", _plans.one_call),
    )
)
