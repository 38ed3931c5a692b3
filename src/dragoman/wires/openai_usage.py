"""OpenAI's account of tokens, both directions: read into disjoint buckets, written from them.

Source: OpenAI API reference, "The chat completion object" (`usage`, `service_tier`), "The image generation response",
"Create transcription". Others that speak this format, by their own references and recorded answers: Gemini's
OpenAI-compatible end point, DeepSeek, Groq, Moonshot, OpenRouter, vLLM, xAI.
"""

from typing import Any

from dragoman.chat import Usage
from dragoman.standing import MOST

_USUAL_TIERS = frozenset({"", "auto", "default", "standard", "on_demand"})
_LONGEST_TIER = 32


def read_usage(tree: Any, tier: Any = None) -> Usage | None:
    """Read `usage`, and the `service_tier` that stands beside it. None where no tokens are counted.

    Cached, written, heard and seen tokens are counted inside the prompt, all others inside the completion, except that
    Gemini and xAI count reasoning in `total_tokens` only: what nothing else accounts for is reasoning. Images and
    transcriptions report `input_tokens` and `output_tokens`; the output of an image model is image, if it says no more.
    The buckets sum to what the provider totals, whatever its details claim.
    """
    if not isinstance(tree, dict):
        return None
    if len(tree) == len(_TOTALS) and tree.keys() == _TOTALS:
        # Many servers say no more.
        prompt, completion = tree["prompt_tokens"], tree["completion_tokens"]
        if (
            type(prompt) is type(completion) is int
            and tree["total_tokens"] == prompt + completion
            and prompt >= 0 <= completion
        ):
            return Usage(input=prompt, output=completion, tier=tier_of(tier))
    prompt = count_of(tree, "prompt_tokens") or count_of(tree, "input_tokens")
    completion = count_of(tree, "completion_tokens") or count_of(tree, "output_tokens")
    if not prompt and not completion and not any(name in tree for name in _COUNTS):
        return None

    inside = _details(tree, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    outside = _details(tree, "completion_tokens_details", "output_tokens_details", "output_token_details")
    reasoned, drawn = count_of(outside, "reasoning_tokens"), count_of(outside, "image_tokens")
    total = count_of(tree, "total_tokens")
    uncounted = max(0, total - prompt - completion) if total else (reasoned if reasoned > completion else 0)
    if not outside and "output_tokens" in tree and "image_tokens" in inside:
        drawn = completion
    cached = count_of(inside, "cached_tokens") or count_of(tree, "prompt_cache_hit_tokens")
    cached = cached or count_of(tree, "cached_tokens")
    in_prompt = (cached, count_of(inside, "cache_write_tokens"), *(count_of(inside, key) for key in _KINDS))
    said = (max(reasoned, uncounted), count_of(outside, "audio_tokens"), drawn)
    fresh, (read, written, heard, seen) = _split(prompt, in_prompt)
    plain, (thought, spoken, drawn) = _split(completion + uncounted, said)
    return Usage(
        input=fresh,
        cache_read=read,
        cache_write=written,
        audio_in=heard,
        image_in=seen,
        output=plain,
        reasoning=thought,
        audio_out=spoken,
        image_out=drawn,
        tier=tier_of(tier),
    )


_TOTALS = {"prompt_tokens", "completion_tokens", "total_tokens"}
_COUNTS = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
_KINDS = ("audio_tokens", "image_tokens")


def count_of(tree: Any, key: str) -> int:
    """Read a count of tokens; what is no count is 0. None is negative, none more than `standing.MOST`."""
    value = tree.get(key) if type(tree) is dict else None
    if type(value) is float and value == value:  # noqa: PLR0124 - not NaN
        value = int(min(max(value, 0.0), float(MOST)))
    return min(max(value, 0), MOST) if type(value) is int else 0


def tier_of(name: Any) -> str:
    """Read a service tier; "" for the usual one, whatever a provider calls it."""
    tier = name.lower()[:_LONGEST_TIER] if isinstance(name, str) else ""
    return "" if tier in _USUAL_TIERS else tier


def _details(tree: dict[str, Any], *names: str) -> dict[str, Any]:
    return next((found for name in names if isinstance(found := tree.get(name), dict)), {})


def _split(whole: int, parts: tuple[int, ...]) -> tuple[int, list[int]]:
    """Take parts out of a whole, in order and no more than there is. Returns what is left, and the parts."""
    taken = []
    for part in parts:
        taken.append(min(part, whole))
        whole -= taken[-1]
    return whole, taken


def write_usage(usage: Usage) -> dict[str, Any]:
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": usage.audio_in},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.audio_out},
    }
