"""Calls and sums as lines for a terminal. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo

from dragoman.money import write_amount
from dragoman.records import Attempt
from dragoman.usage import CallRow

_ENDS = {
    "completed": "The answer was complete.",
    "truncated": "The answer broke off before its end.",
    "abandoned": "The caller left before the end.",
    "refused": "The gateway refused it before any provider was asked.",
    "failed": "Nobody answered.",
    "interrupted": "The gateway's process ended before the call did; what it cost is an estimate.",
}
_NUMBERS = {"calls", "failed", "estimated", "input", "cached", "output"}


def plain(text: str) -> str:
    """Show what a terminal would take for a command: callers choose some of these texts."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def align(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Set a table: money and numbers to the right, words to the left."""
    table = [list(map(plain, row)) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    is_right = [name in _NUMBERS or name.startswith(("cost", "their", "our", "gap")) for name in head]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_right, strict=True)
        ).rstrip()
        for row in table
    ]


def cost_of(micro: int, calls: int, unpriced: int) -> str:
    """Write what calls cost. What nobody knows the price of is never shown as nothing."""
    if not unpriced:
        return write_amount(micro)
    told = f"{unpriced} unpriced"
    return told if calls == unpriced else f"{write_amount(micro)} + {told}"


def line_of(call: CallRow, zone: tzinfo) -> str:
    """Tell a call in one line."""
    place = f"{call.provider}/{call.target}" if call.provider else "nobody"
    tokens = f"{call.usage.prompt_tokens}+{call.usage.completion_tokens} tokens"
    parts = (
        datetime.fromtimestamp(call.at, zone).isoformat(" ", "seconds"),
        call.id,
        call.principal,
        call.dialect,
        f"{call.model} -> {place}",
        call.outcome if call.code in ("", "ok") else f"{call.outcome} ({call.code})",
        tokens,
        _money(call),
        f"{call.total_ms} ms",
    )
    return plain("  ".join(parts))


def explain(call: CallRow, zone: tzinfo) -> list[str]:
    """Tell in plain words what happened to a call."""
    lines = [
        f"Request {call.id}, {datetime.fromtimestamp(call.at, zone).isoformat(' ', 'milliseconds')}",
        _asked(call),
        *_route(call),
        _ended(call),
        _times(call),
        _usage(call),
        f"Cost: {_money(call)}. Reserved for it: {write_amount(call.reserved_micro)}.",
    ]
    if call.question is not None:
        lines += ["The question:", *_indented(call.question), "The answer:", *_indented(call.answer or "")]
    return list(map(plain, lines))


def _asked(call: CallRow) -> str:
    known = [f"team {call.team}"] if call.team else []
    known += [f"tags {', '.join(call.tags)}"] if call.tags else []
    who = (call.principal or "Somebody") + (f" ({', '.join(known)})" if known else "")
    how = "as a stream" if call.streamed else "in one piece"
    wire = f" ({call.wire})" if call.wire else ""
    return f"{who} asked for the model {call.model!r} through {call.dialect}{wire}, {how}."


def _route(call: CallRow) -> list[str]:
    """Say where the call went, and what each further attempt was made for."""
    if not call.attempts:
        return ["No provider was asked."]
    lines = [
        "It was tried once:" if len(call.attempts) == 1 else f"It was tried {len(call.attempts)} times, in this order:"
    ]
    for number, attempt in enumerate(call.attempts, 1):
        lines.append(f"  {number}. {_attempt(attempt)}")
    return lines


def _attempt(attempt: Attempt) -> str:
    credential = f" with the credential ...{attempt.credential}" if attempt.credential else ""
    detail = f": {attempt.detail}" if attempt.detail else ""
    what = "it answered" if attempt.outcome == "ok" else f"it failed with {attempt.outcome}{detail}"
    return f"{attempt.provider}, model {attempt.model!r}{credential}: {what}, {attempt.ms} ms after the beginning."


def _ended(call: CallRow) -> str:
    code = "" if call.code in ("", "ok") else f" The reason was {call.code}."
    status = f" The caller got status {call.status}." if call.status else ""
    by = f" It came from {call.provider}." if call.provider and call.outcome == "completed" else ""
    return _ENDS.get(call.outcome, call.outcome) + by + code + status


def _times(call: CallRow) -> str:
    first = (
        "no byte of an answer came" if call.first_byte_ms is None else f"the first byte after {call.first_byte_ms} ms"
    )
    return f"Times: {call.queued_ms} ms in the queue, {first}, {call.total_ms} ms in all."


def _usage(call: CallRow) -> str:
    usage = call.usage
    buckets = {
        "fresh input": usage.input,
        "read from the cache": usage.cache_read,
        "written to the cache": usage.cache_write,
        "written to the cache for an hour": usage.cache_write_1h,
        "audio heard": usage.audio_in,
        "images seen": usage.image_in,
        "output": usage.output,
        "reasoning": usage.reasoning,
        "audio spoken": usage.audio_out,
        "images made": usage.image_out,
    }
    told = ", ".join(f"{number} {name}" for name, number in buckets.items() if number) or "none"
    tier = f" Service tier: {usage.tier}." if usage.tier else ""
    counted = " They were counted by the gateway, since the provider did not report them." if usage.estimated else ""
    return f"Tokens: {told}.{counted}{tier}"


def _money(call: CallRow) -> str:
    if call.cost_micro is not None:
        return write_amount(call.cost_micro)
    has_used = call.usage.prompt_tokens or call.usage.completion_tokens
    return "unpriced" if has_used else "none"


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()] or ["  (nothing)"]
