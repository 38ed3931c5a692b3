"""Writes the configuration reference from the structs that are the configuration.

`python -m dragoman.reference FILE` writes it; a test fails when the file in `docs/` is stale.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

from dragoman import money, sections, settings
from dragoman.building import module_of, provider_kinds

HEAD = """# Configuration

Made from the code by `make docs`; do not edit. Later wins: defaults, `dragoman.toml` in the working folder
(or `--config FILE`), `.env`, environment, flags. An unknown key is an error.

- In the environment `[server] port` is `DRAGOMAN_SERVER__PORT`; a whole list is `DRAGOMAN_PROVIDERS` or
  `DRAGOMAN_MODELS` as a TOML array. Variables without `__` are free for secrets of your own.
- A secret may be written `env:NAME` or `file:PATH`; it never appears in a log, a repr or an error.
- With no provider configured, `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `ANTHROPIC_API_KEY`, `ANTHROPIC_BASE_URL`
  and `HTTPS_PROXY` are enough; with none of those either, the embedded model is served.
- `dragoman check` says what is wrong, and where.
"""


def write() -> str:
    pieces = [HEAD]
    for name, kind in settings.SECTIONS.items():
        pieces.append(_section(f"`[{name}]`", kind))
    pieces.append(_section("`[auth.oidc]`", sections.Oidc))
    pieces.append(_section("`[[providers]]`", sections.ProviderSettings, without=("options",)))
    for kind in provider_kinds():
        options: Any = importlib.import_module(module_of(kind)).Options
        pieces.append(_section(f'`[[providers]]` with `kind = "{kind}"`', options))
    pieces.append(_section("`[[models]]`", sections.ModelSettings))
    pieces.append(_section("`[[prices]]`", money.PriceRow))
    return "\n".join(pieces)


def _section(title: str, kind: Any, without: tuple[str, ...] = ()) -> str:
    said = (kind.__doc__ or "").strip().splitlines()[0]
    rows = [row for row in settings.describe(kind) if row[0] not in without]
    if not rows:
        return f"## {title}\n\n{said}\n"
    table = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, type_, default, meaning in rows:
        shown = default.replace("'", '"').replace("None", "none").replace("True", "true").replace("False", "false")
        table.append(f"| `{name}` | {type_} | {f'`{shown}`' if shown != 'required' else 'required'} | {meaning} |")
    return f"## {title}\n\n{said}\n\n" + "\n".join(table) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(write(), encoding="utf-8")
