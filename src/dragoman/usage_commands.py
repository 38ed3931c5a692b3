"""`dragoman usage`, `log`, `migrate` and `reconcile`: what was used, on the command line, beside a running gateway."""

import asyncio
import csv
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from dragoman.faults import Malformed, StoreFailed
from dragoman.settings import Settings, load
from dragoman.usage import MOST_ROWS, Books, CallQuery, CallRow, Group, UsageQuery, UsageRow, read_cursor, write_cursor
from dragoman.user_commands import CONFIG, DATA, Mistake

Found = TypeVar("Found")
GROUPS: dict[str, Group] = {
    "day": "day",
    "hour": "hour",
    "key": "principal",
    "team": "team",
    "model": "model",
    "provider": "provider",
    "dialect": "dialect",
    "tag": "tag",
}
_DATE = click.DateTime(["%Y-%m-%d"])
_POLL_S = 1.0
_FOLLOWED_S = 600.0
_MOST_SHOWN = 100_000
# Words that a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@click.command()
@CONFIG
@DATA
@click.option("--by", default="day", show_default=True, help=f"What to sum by, of {', '.join(GROUPS)}.")
@click.option("--since", type=_DATE, help="First day, in the deployment's zone.")
@click.option("--until", type=_DATE, help="Last day.")
@click.option("--key", help="Of this key only: its id, or user:NAME or token:ID.")
@click.option("--team", help="Of this team only.")
@click.option("--model", help="Of this model only.")
@click.option("--provider", help="Of this provider only.")
@click.option("--dialect", help="Of this dialect only.")
@click.option("--tag", help="Of keys with this tag only.")
@click.option("--limit", type=click.IntRange(1, _MOST_SHOWN), default=1000, show_default=True, help="Rows at most.")
@click.option("--after", help="Where the page before ended; it says so itself.")
@click.option("--csv", "form", flag_value="csv", help="As CSV.")
@click.option("--json", "form", flag_value="json", help="As one JSON object a line.")
def usage(**options: Any) -> None:
    """Show what was used and what it cost."""
    settings = load(options["config"], {"server.data": options["data"]})
    zone = _zone(settings)
    group = _group(options["by"])
    query = _told(lambda: _usage_query(options, group, zone))
    limit = options["limit"]
    rows = _with_books(settings, lambda books: _all_usage(books, query, limit + 1))
    _show_usage(rows[:limit], group, options["form"], zone)
    if len(rows) > limit:
        click.echo(f"There is more: --after {write_cursor(rows[limit - 1].by)}", err=True)


def _group(text: str) -> tuple[str, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if wrong := [word for word in words if word not in GROUPS]:
        raise Mistake(f"--by: {wrong[0]!r} is none of {', '.join(GROUPS)}.")
    # A time stands first, wherever it was written.
    return tuple(sorted(words, key=lambda word: word not in ("day", "hour")))


def _usage_query(options: dict[str, Any], group: tuple[str, ...], zone: tzinfo) -> UsageQuery:
    key, after = options["key"], options["after"]
    same = {name: options[name] for name in ("team", "model", "provider", "dialect", "tag")}
    return UsageQuery(
        group=tuple(GROUPS[word] for word in group),
        since=_midnight(options["since"], zone),
        until=_midnight(options["until"], zone, days=1),
        principal=key if key is None or ":" in key else f"key:{key}",
        limit=MOST_ROWS,
        after=read_cursor(after) if after else (),
        **same,
    )


def _midnight(day: datetime | None, zone: tzinfo, days: int = 0) -> int | None:
    if day is None:
        return None
    try:
        return int((day + timedelta(days=days)).replace(tzinfo=zone).timestamp())
    except OverflowError:
        raise Mistake(f"{day:%Y-%m-%d} is too far away.") from None


async def _all_usage(books: Books, query: UsageQuery, most: int) -> list[UsageRow]:
    """Read page after page, up to `most` rows."""
    rows: list[UsageRow] = []
    while len(rows) < most:
        page = await books.usage(msgspec.structs.replace(query, limit=min(MOST_ROWS, most - len(rows))))
        rows += page
        if len(page) < MOST_ROWS or not query.group:
            break
        query = msgspec.structs.replace(query, after=page[-1].by)
    return rows


def _show_usage(rows: Sequence[UsageRow], group: tuple[str, ...], form: str | None, zone: tzinfo) -> None:
    from dragoman.call_lines import align

    named = [[_shown(word, value, zone) for word, value in zip(group, row.by, strict=True)] for row in rows]
    if form is None:
        head = (*group, "calls", "failed", "estimated", "input", "cached", "output", "cost")
        click.echo("\n".join(align(head, ([*by, *_cells(row)] for by, row in zip(named, rows, strict=True)))))
        return
    table = [dict(zip(group, by, strict=True)) | _fields(row) for by, row in zip(named, rows, strict=True)]
    if form == "json":
        _write_json(table)
    elif table:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(table[0])
        writer.writerows([_safe(value) for value in row.values()] for row in table)


def _cells(row: UsageRow) -> tuple[str, ...]:
    from dragoman.call_lines import cost_of

    tokens = row.tokens
    counts = row.calls, row.failed, row.estimated, tokens.prompt_tokens, tokens.cache_read, tokens.completion_tokens
    return *map(str, counts), cost_of(row.cost_micro, row.calls, row.unpriced)


def _fields(row: UsageRow) -> dict[str, Any]:
    """Return every number of a row. The cost is None where nobody knows the price of any call."""
    from dragoman.money import write_amount

    tokens = msgspec.structs.asdict(row.tokens)
    del tokens["estimated"], tokens["tier"]
    counts = {name: getattr(row, name) for name in ("calls", "failed", "estimated", "unpriced")}
    return counts | tokens | {"cost": None if row.unpriced == row.calls else write_amount(row.cost_micro)}


def _shown(word: str, value: int | str, zone: tzinfo) -> str:
    if word == "day":
        return datetime.fromtimestamp(int(value), zone).date().isoformat()
    if word == "hour":
        return datetime.fromtimestamp(int(value), zone).isoformat(" ", "minutes")
    return str(value)


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _write_json(rows: Iterable[Any]) -> None:
    for row in rows:
        click.echo(msgspec.json.encode(row).decode())


@click.command()
@CONFIG
@DATA
@click.option("--request", help="Explain this request in plain words.")
@click.option("--limit", type=click.IntRange(1, _MOST_SHOWN), default=20, show_default=True, help="Calls at most.")
@click.option("--follow", is_flag=True, help="Go on with calls as they end, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object a line.")
def log(**options: Any) -> None:
    """Show the latest calls, the newest last. A call is there some moments after its end."""
    settings = load(options["config"], {"server.data": options["data"]})
    request, as_json = options["request"], options["as_json"]
    show = _shower(_zone(settings), as_json=as_json)
    if request is not None:
        call = _with_books(settings, lambda books: books.call(request, None))
        if call is None:
            raise Mistake(f"There is no request {request!r}.")
        _explain(call, _zone(settings), as_json=as_json)
        return
    _with_books(settings, lambda books: _follow(books, show, options["limit"], is_on=options["follow"]))


def _shower(zone: tzinfo, *, as_json: bool) -> Callable[[CallRow], None]:
    from dragoman.call_lines import line_of

    if as_json:
        return lambda call: _write_json([call])
    return lambda call: click.echo(line_of(call, zone))


def _explain(call: CallRow, zone: tzinfo, *, as_json: bool) -> None:
    from dragoman.call_lines import explain

    if as_json:
        _write_json([call])
    else:
        click.echo("\n".join(explain(call, zone)))


async def _follow(books: Books, show: Callable[[CallRow], None], limit: int, *, is_on: bool) -> None:
    """Show the latest calls, then those that end. Calls are in the order of their beginnings, so that what took long
    turns up among older ones: each look goes back over all that began in the last ten minutes.
    """
    shown: set[str] = set()
    fresh = await _all_calls(books, None, limit)
    while True:
        for call in reversed(fresh):
            show(call)
        if not is_on:
            return
        shown.update(call.id for call in fresh)
        await asyncio.sleep(_POLL_S)
        recent = await _all_calls(books, time.time() - _FOLLOWED_S, _MOST_SHOWN)
        shown &= {call.id for call in recent}
        fresh = [call for call in recent if call.id not in shown]


async def _all_calls(books: Books, since: float | None, most: int) -> list[CallRow]:
    calls: list[CallRow] = []
    after = None
    while len(calls) < most:
        page = await books.calls(CallQuery(since=since, limit=min(MOST_ROWS, most - len(calls)), after=after))
        calls += page
        if len(page) < MOST_ROWS:
            break
        after = (page[-1].at, page[-1].id)
    return calls


@click.command()
@CONFIG
@DATA
@click.option("--to", "target", required=True, help="postgresql://..., env:NAME, file:PATH, or a folder for SQLite.")
def migrate(config: Path | None, data: str | None, target: str) -> None:
    """Move everything that is kept into another, empty database. Stop every gateway on it first."""
    settings = load(config, {"server.data": data})
    folder = _folder(settings)
    is_elsewhere = target.startswith(("env:", "file:"))
    address = settings.secret(target, "--to").reveal() if is_elsewhere else target
    from dragoman.store.moving import move_store

    bars = _Bars()
    try:
        counts = asyncio.run(move_store(settings.store_url(), folder, address, bars))
    except StoreFailed as fault:
        raise click.ClickException(f"{fault.message} {fault.detail}".strip()) from None
    finally:
        bars.close()
    for name, (here, there) in counts.items():
        click.echo(f"{name}: {here} rows, {there} there")
    click.echo("Everything has been moved. Nothing uses it until [store] url says so.")


class _Bars:
    """A bar of progress for each table, on standard error."""

    def __init__(self) -> None:
        self._name = ""
        self._bar: Any = None

    def __call__(self, name: str, done: int, total: int) -> None:
        if name != self._name:
            self.close()
            self._name = name
            self._bar = click.progressbar(length=total, label=name, file=sys.stderr)
        self._bar.update(done - self._bar.pos)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None


@click.command()
@CONFIG
@DATA
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--provider", help="Compare with what went to this provider only.")
@click.option("--columns", help="Of other files: day=A,model=B,input=C+D,output=E,cost=F.")
def reconcile(config: Path | None, data: str | None, file: Path, provider: str | None, columns: str | None) -> None:
    """Compare a provider's usage export with our own sums, by day (UTC) and model.

    The export of OpenAI and of Anthropic is known; any other CSV or JSON lines with --columns.
    """
    from dragoman import reconcile as books_of

    settings = load(config, {"server.data": data})
    layout = _told(lambda: books_of.read_columns(columns)) if columns else None
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            theirs = _told(lambda: books_of.read_export(lines, layout))
    except OSError as error:
        raise Mistake(f"{file}: {error.strerror}") from None
    except UnicodeError:
        raise Mistake(f"{file}: this is not UTF-8 text.") from None
    since, until = _told(lambda: books_of.span(theirs))
    query = UsageQuery(group=("utc_day", "target"), since=since, until=until, provider=provider, limit=MOST_ROWS)
    rows = _with_books(settings, lambda books: _all_usage(books, query, _MOST_SHOWN))
    _show_gaps(books_of.compare(theirs, books_of.sum_ours(rows)))


def _show_gaps(gaps: Sequence[Any]) -> None:
    from dragoman.call_lines import align, cost_of
    from dragoman.money import write_amount

    def money(micro: int | None) -> str:
        return "unknown" if micro is None else write_amount(micro)

    tokens = ("their input", "our input", "gap", "their output", "our output", "gap")
    head = ("day", "model", *tokens, "their cost", "our cost", "gap")
    cells = []
    for gap in gaps:
        theirs, ours = gap.theirs, gap.ours
        our_cost = cost_of(ours.cost_micro or 0, -1, ours.unpriced)
        counts = (theirs.input, ours.input, gap.input, theirs.output, ours.output, gap.output)
        cells.append((gap.day, gap.model, *map(str, counts), money(theirs.cost_micro), our_cost, money(gap.cost_micro)))
    click.echo("\n".join(align(head, cells)))
    differ = sum(map(bool, gaps))
    click.echo(f"{differ} of {len(gaps)} differ." if differ else "There is no gap.")


def _zone(settings: Settings) -> tzinfo:
    from dragoman.accounting import zone_of

    return zone_of(settings)


def _told(make: Callable[[], Found]) -> Found:
    """Make something of what the operator wrote. Raises Mistake."""
    try:
        return make()
    except Malformed as fault:
        raise Mistake(f"{fault.field}: {fault.message}") from None


def _folder(settings: Settings) -> Path:
    folder = Path(settings.server.data)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Mistake(f"{folder}: nothing can be kept here: {error.strerror}") from None
    return folder


def _with_books(settings: Settings, act: Callable[[Books], Awaitable[Found]]) -> Found:
    """Ask what is kept, beside whatever gateway is running. Raises Misconfigured, and ClickException on failure."""
    folder = _folder(settings)
    from dragoman.store import open_store

    async def run() -> Found:
        store = open_store(settings.store_url(), folder, secrets.token_hex(8))
        try:
            return await act(store.books)
        finally:
            store.close()

    try:
        return asyncio.run(run())
    except StoreFailed as fault:
        raise click.ClickException(f"{fault.message} {fault.detail}".strip()) from None


commands = (usage, log, migrate, reconcile)
