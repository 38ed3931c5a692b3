"""Where a caller stands with its limits, as rate-limit headers in each dialect's own names.

Resets are rounded up to what a format can say: whoever waits as long as it is told never comes too early.

- OpenAI: https://platform.openai.com/docs/guides/rate-limits ("Rate limits in headers"): counts, and durations as Go
  writes them, "1s", "6m0s" or "120ms".
- Anthropic: https://docs.anthropic.com/en/api/rate-limits ("Response headers"): counts, and times in RFC 3339.
- IETF: draft-ietf-httpapi-ratelimit-headers-10, "RateLimit header fields for HTTP", in structured fields (RFC 9651).
"""

import math
from datetime import UTC, datetime, timedelta

from dragoman.legs import Headers
from dragoman.standing import Allowance, Standing

RESET_MOST_S = 10 * 365 * 86_400
"""No reset is said to be later: what no date or counter can hold is as good as never."""
_SF_MOST = 999_999_999_999_999
"""The largest integer of structured fields (RFC 9651, 3.3.1)."""
_REQUESTS, _TOKENS = (
    [b"x-ratelimit-%b-%b" % (word, kind) for word in (b"limit", b"remaining", b"reset")]
    for kind in (b"requests", b"tokens")
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def openai(standing: Standing, now: float) -> Headers:  # noqa: ARG001 - OpenAI's resets are durations
    """Write OpenAI's headers; `now` is Unix seconds."""
    headers: Headers = []
    for names, allowance in ((_REQUESTS, standing.requests), (_TOKENS, standing.tokens)):
        if allowance is not None:
            headers += [
                (names[0], b"%d" % allowance.limit),
                (names[1], b"%d" % _remaining(allowance)),
                (names[2], _go_duration(_reset_s(allowance))),
            ]
    return headers


def anthropic(standing: Standing, now: float) -> Headers:
    """Write Anthropic's headers; `now` is Unix seconds, by the clock that the caller is taken to share."""
    headers: Headers = []
    for kind, allowance in _allowances(standing):
        name = b"anthropic-ratelimit-" + kind
        # Whole seconds, as in Anthropic's own answers; rounded up once, after the sum.
        reset = _EPOCH + timedelta(seconds=math.ceil(now + _reset_s(allowance)))
        headers += [
            (name + b"-limit", b"%d" % allowance.limit),
            (name + b"-remaining", b"%d" % _remaining(allowance)),
            (name + b"-reset", reset.strftime("%Y-%m-%dT%H:%M:%SZ").encode()),
        ]
    return headers


def standard(standing: Standing, now: float) -> Headers:  # noqa: ARG001 - the draft's resets are delta-seconds
    """Write RateLimit-Policy and RateLimit; `now` is Unix seconds.

    Policies are named "requests" and "tokens". The window `w` is left out, as the draft allows: the tightest limit may
    be one that refills smoothly. Nothing is written where no limit holds.
    """
    policies: list[bytes] = []
    limits: list[bytes] = []
    for kind, allowance in _allowances(standing):
        # Without a quota unit the draft takes requests; it has registered none for tokens.
        unit = b"" if kind == b"requests" else b';qu="%s"' % kind
        policies.append(b'"%s";q=%d%s' % (kind, min(allowance.limit, _SF_MOST), unit))
        remaining = min(_remaining(allowance), _SF_MOST)
        limits.append(b'"%s";r=%d;t=%d' % (kind, remaining, math.ceil(_reset_s(allowance))))
    if not policies:
        return []
    return [(b"ratelimit-policy", b", ".join(policies)), (b"ratelimit", b", ".join(limits))]


def _allowances(standing: Standing) -> list[tuple[bytes, Allowance]]:
    named = ((b"requests", standing.requests), (b"tokens", standing.tokens))
    return [(name, allowance) for name, allowance in named if allowance is not None]


def _remaining(allowance: Allowance) -> int:
    # A debt (the true cost came to more than was estimated) is nobody's business but ours.
    return max(0, allowance.remaining)


def _reset_s(allowance: Allowance) -> float:
    reset_s = allowance.reset_s
    return reset_s if 0.0 <= reset_s <= RESET_MOST_S else 0.0 if reset_s < 0.0 else RESET_MOST_S


def _go_duration(seconds: float) -> bytes:
    """Write as Go's `Duration.String`, in whole milliseconds: 1.5 -> "1.5s", 360 -> "6m0s", 0.12 -> "120ms"."""
    whole_ms = math.ceil(seconds * 1000)
    if whole_ms < 60_000:
        return b"%dms" % whole_ms if 0 < whole_ms < 1000 else b"%gs" % (whole_ms / 1000)
    minutes, rest_ms = divmod(whole_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return text.encode()
