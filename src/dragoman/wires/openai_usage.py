"""OpenAI's account of tokens, both directions: read into disjoint buckets, written from them.

Source: OpenAI API reference, "The chat completion object", `usage`.
"""

from typing import Any

from dragoman.chat import Usage


def read_usage(tree: Any) -> Usage | None:
    """OpenAI counts cached and audio tokens inside the prompt, reasoning inside the completion.

    Images and transcriptions report `input_tokens` and `output_tokens` instead.
    """
    if not isinstance(tree, dict):
        return None

    inside, outside = tree.get("prompt_tokens_details") or {}, tree.get("completion_tokens_details") or {}
    cached, written = _count(inside, "cached_tokens"), _count(inside, "cache_write_tokens")
    heard, spoken = _count(inside, "audio_tokens"), _count(outside, "audio_tokens")
    reasoned = _count(outside, "reasoning_tokens")
    prompt = _count(tree, "prompt_tokens") or _count(tree, "input_tokens")
    completion = _count(tree, "completion_tokens") or _count(tree, "output_tokens")
    return Usage(
        input=max(0, prompt - cached - written - heard),
        cache_read=cached,
        cache_write=written,
        audio_in=heard,
        output=max(0, completion - reasoned - spoken),
        reasoning=reasoned,
        audio_out=spoken,
    )


def _count(of: Any, key: str) -> int:
    value = of.get(key) if type(of) is dict else None
    if type(value) is int:
        return max(value, 0)
    return max(0, int(value)) if isinstance(value, float) and value == value else 0  # noqa: PLR0124 - not NaN


def write_usage(usage: Usage) -> dict[str, Any]:
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": usage.audio_in},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.audio_out},
    }
