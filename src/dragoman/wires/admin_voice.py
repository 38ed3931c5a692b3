"""Keys, teams, usage and calls as JSON or CSV, for whoever may see them.

Every answer is built field by field: what is added to a word of ours is shown to nobody until it is named here.
Digests, hashes and secrets have no way into these functions but `fresh_key`.
"""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from dragoman.chat import Usage
from dragoman.errands import (
    CredentialCheck,
    FreshKey,
    JournalState,
    KeyFound,
    ProviderState,
    Setting,
    Spent,
    Sums,
    TeamFound,
)
from dragoman.money import write_amount
from dragoman.standing import Budget, Limits
from dragoman.usage import CallRow, UsageRow, write_cursor

Row = dict[str, Any]
BUCKETS = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_in",
    "image_in",
    "output",
    "reasoning",
    "audio_out",
    "image_out",
)
# What a spreadsheet takes for a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

# --- keys and teams ---------------------------------------------------------------------------


def own_key(found: KeyFound) -> Row:
    """Write a key for whoever holds the key above it."""
    key = found.key
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "last_four": key.tail,
        "tags": list(key.tags),
        "created": key.created,
        "expires": key.expires,
        "disabled": key.disabled,
        "models": list(key.models),
        "dialects": list(key.dialects),
        "limits": _limits(key.limits),
        "budget": _budget(key.budget, found.spent),
        "overlap_until": key.previous_until if key.previous else None,
    }


def any_key(found: KeyFound) -> Row:
    """Write a key for an operator."""
    key = found.key
    return {
        **own_key(found),
        "owner": key.owner,
        "team": key.team,
        "role": key.role,
        "maker": key.maker,
        "principal": key.holder,
        "keeps_content": key.keeps_content,
        "priority": key.priority,
    }


def fresh_key(fresh: FreshKey, write: Callable[[KeyFound], Row]) -> Row:
    """Write a key with its secret, this once; None where there is none."""
    return {**write(KeyFound(fresh.key, fresh.spent)), "secret": fresh.secret.reveal() or None}


def page_of_keys(found: Sequence[KeyFound], limit: int, write: Callable[[KeyFound], Row]) -> Row:
    return {"keys": [write(row) for row in found], "next": found[-1].key.id if len(found) >= limit else None}


def page_of_users(names: Sequence[str], limit: int) -> Row:
    return {"users": [{"name": name} for name in names], "next": names[-1] if len(names) >= limit else None}


def team(found: TeamFound) -> Row:
    team = found.team
    return {"name": team.name, "limits": _limits(team.limits), "budget": _budget(team.budget, found.spent)}


def _limits(limits: Limits) -> Row:
    return {
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "requests_per_day": limits.requests_per_day,
        "parallel": limits.parallel,
    }


def _budget(budget: Budget | None, spent: Spent) -> Row | None:
    if budget is None:
        return None
    return {"micro": budget.micro, "window": budget.window, "spent_micro": spent.micro, "resets": spent.resets}


# --- usage ------------------------------------------------------------------------------------


def sums(found: Sums) -> Row:
    """Write a page of usage; `next` is None at its end."""
    group = found.query.group
    rows = [{**dict(zip(group, row.by, strict=True)), **_sum(row), "tokens": _tokens(row.tokens)} for row in found.rows]
    return {"group": list(group), "rows": rows, "next": next_of(found)}


def sums_as_csv(found: Sums) -> bytes:
    """Write a page of usage as CSV (RFC 4180) with a line of names."""
    group = found.query.group
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow((*group, "calls", "failed", "estimated", "unpriced", "cost_micro", *BUCKETS))
    for row in found.rows:
        names = [_cell(value) for value in row.by]
        lines.writerow((*names, *_sum(row).values(), *_tokens(row.tokens).values()))
    return out.getvalue().encode()


def next_of(found: Sums) -> str | None:
    return write_cursor(found.rows[-1].by) if found.query.group and len(found.rows) >= found.query.limit else None


def _sum(row: UsageRow) -> Row:
    return {
        "calls": row.calls,
        "failed": row.failed,
        "estimated": row.estimated,
        "unpriced": row.unpriced,
        "cost_micro": row.cost_micro,
    }


def _tokens(usage: Usage) -> Row:
    return {bucket: getattr(usage, bucket) for bucket in BUCKETS}


def _cell(value: int | str) -> int | str:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


# --- calls ------------------------------------------------------------------------------------


def own_call(call: CallRow) -> Row:
    """Write a call for its caller: nothing of what stands behind the gateway."""
    return {
        "id": call.id,
        "at": call.at,
        "key": call.key,
        "dialect": call.dialect,
        "wire": call.wire,
        "model": call.model,
        "outcome": call.outcome,
        "code": call.code,
        "status": call.status,
        "streamed": call.streamed,
        "tokens": _tokens(call.usage),
        "estimated": call.usage.estimated,
        "cost_micro": call.cost_micro,
        "queued_ms": call.queued_ms,
        "first_byte_ms": call.first_byte_ms,
        "total_ms": call.total_ms,
    }


def any_call(call: CallRow) -> Row:
    """Write a call for an operator."""
    return {
        **own_call(call),
        "principal": call.principal,
        "team": call.team,
        "tags": list(call.tags),
        "provider": call.provider,
        "target": call.target,
        "credential": call.credential,
        "tier": call.usage.tier,
        "route": route(call),
        "reserved_micro": call.reserved_micro,
        "attempts": [
            {
                "provider": attempt.provider,
                "model": attempt.model,
                "credential": attempt.credential,
                "outcome": attempt.outcome,
                "detail": attempt.detail,
                "ms": attempt.ms,
            }
            for attempt in call.attempts
        ],
    }


def page_of_calls(calls: Sequence[CallRow], limit: int, write: Callable[[CallRow], Row]) -> Row:
    last = calls[-1] if len(calls) >= limit else None
    return {"requests": [write(call) for call in calls], "next": write_cursor((last.at, last.id)) if last else None}


def own_call_whole(call: CallRow) -> Row:
    return {**own_call(call), "question": call.question, "answer": call.answer}


def any_call_whole(call: CallRow) -> Row:
    """Write a call with what was said, where that is kept, and its story in plain words."""
    return {**any_call(call), "question": call.question, "answer": call.answer, "story": story(call)}


def route(call: CallRow) -> str:
    """Tell in one line who answered a call, and who did not before: `b/m (…abcd) after a/m (upstream_busy)`."""
    failed = [f"{attempt.provider}/{attempt.model} ({attempt.outcome})" for attempt in call.attempts]
    if not failed:
        return f"{call.provider}/{call.target}" if call.provider else ""
    last = call.attempts[-1]
    if last.outcome != "ok":
        return ", ".join(failed)
    credential = f" (…{last.credential})" if last.credential else ""
    before = f" after {', '.join(failed[:-1])}" if failed[:-1] else ""
    return f"{last.provider}/{last.model}{credential}{before}"


def story(call: CallRow) -> list[str]:
    """Tell in plain words which way a call went and why."""
    lines = [f"{call.principal} asked for {call.model or 'the default model'} through {call.dialect}."]
    if call.queued_ms:
        lines.append(f"It waited {call.queued_ms} ms for a place.")
    for number, attempt in enumerate(call.attempts, 1):
        key = f" with the credential …{attempt.credential}" if attempt.credential else ""
        came = "answered" if attempt.outcome == "ok" else f"came to {attempt.outcome}"
        why = f": {attempt.detail}" if attempt.detail else ""
        lines.append(
            f"Attempt {number}, {attempt.provider}/{attempt.model}{key}, {came} after {attempt.ms} ms{why}"
            + ("" if why.endswith(".") else ".")
        )
    if not call.attempts:
        lines.append("No provider was asked.")
    if call.first_byte_ms is not None:
        lines.append(f"The first byte came after {call.first_byte_ms} ms.")
    code = f" ({call.code})" if call.code and call.code != "ok" else ""
    lines.append(f"It was {call.outcome}{code} with status {call.status} after {call.total_ms} ms.")
    counted = " (counted by the gateway)" if call.usage.estimated else ""
    lines.append(
        f"It used {call.usage.prompt_tokens} tokens of prompt and {call.usage.completion_tokens} of answer{counted}."
    )
    if call.cost_micro is None:
        lines.append("Its price is not known.")
    else:
        reserved = f", of {write_amount(call.reserved_micro)} reserved" if call.reserved_micro else ""
        lines.append(f"It cost {write_amount(call.cost_micro)}{reserved}.")
    return lines


# --- the gateway itself -----------------------------------------------------------------------


def providers(states: Sequence[ProviderState]) -> Row:
    return {"providers": [_provider(state) for state in states]}


def _provider(state: ProviderState) -> Row:
    return {
        "name": state.name,
        "kind": state.kind,
        "state": state.state,
        "waiting": state.waiting,
        "failed_share": state.failed_share,
        "first_byte_ms": _spread(state.first_byte_ms),
        "between_chunks_ms": _spread(state.between_chunks_ms),
        "total_ms": _spread(state.total_ms),
        "credentials": [
            {
                "last_four": credential.tail,
                "weight": credential.weight,
                "state": "resting" if credential.rests_s else "up",
                "rests_s": round(credential.rests_s, 3),
                "why": credential.why,
                "limits": _limits(credential.limits),
            }
            for credential in state.credentials
        ],
        "targets": [
            {
                "model": target.model,
                "state": "open" if target.opens_s else "closed",
                "opens_s": round(target.opens_s, 3),
            }
            for target in state.targets
        ],
    }


def credential_check(found: CredentialCheck) -> Row:
    return {
        "is_good": found.is_good,
        "models": list(found.models),
        "code": found.code,
        "message": found.message,
        "ms": found.ms,
    }


def _spread(pair: tuple[float, float] | None) -> Row | None:
    return None if pair is None else {"median": pair[0], "p99": pair[1]}


def settings(found: Sequence[Setting]) -> Row:
    rows = [
        {"key": row.key, "value": row.value, "origin": row.origin, "is_secret": row.is_secret}
        if not row.is_secret
        else {"key": row.key, "value": "set" if row.value else "", "origin": row.origin, "is_secret": True}
        for row in found
    ]
    return {"settings": rows}


def journal(state: JournalState) -> Row:
    return {
        "lag_bytes": state.lag_bytes,
        "lag_s": round(state.lag_s, 3),
        "skipped": state.skipped,
        "trouble": state.trouble,
    }
