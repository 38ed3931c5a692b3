"""Anthropic's account of tokens, read into disjoint buckets.

Source: Anthropic API reference, "Create a Message" (`usage`), "Streaming messages"; Anthropic docs, "Prompt caching",
"Service tiers", "Fast mode", "Compaction".
"""

from typing import Any

import msgspec

from dragoman.chat import Usage
from dragoman.standing import MOST
from dragoman.wires.openai_usage import count_of, tier_of


class _CacheWrites(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class Reported(msgspec.Struct):
    """`usage` as it stands in a message, in message_start and in message_delta. Counts may be absent or null; those of
    message_delta are totals, not additions.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheWrites | None = None
    output_tokens_details: _OutputDetails | None = None
    service_tier: Any = None
    speed: Any = None
    iterations: Any = None

    def over(self, earlier: "Reported | None") -> "Reported":
        """Return these counts, with the earlier ones where this has none."""
        if earlier is None:
            return self
        fields = {f: getattr(self, f) if getattr(self, f) is not None else getattr(earlier, f) for f in _FIELDS}
        return Reported(**fields)

    def words(self) -> Usage:
        """Cached tokens stand outside `input_tokens` here; thinking stands inside `output_tokens`. Compactions are
        billed besides the totals (Anthropic docs, "Compaction", usage).
        """
        split = self.cache_creation or _CacheWrites()
        usual, long_lived = _count(split.ephemeral_5m_input_tokens), _count(split.ephemeral_1h_input_tokens)
        if self.cache_creation_input_tokens is not None:
            written = _count(self.cache_creation_input_tokens)
            long_lived = min(long_lived, written)
            usual = written - long_lived
        said = _count(self.output_tokens)
        thought = min(said, _count((self.output_tokens_details or _OutputDetails()).thinking_tokens))
        usage = Usage(
            input=_count(self.input_tokens),
            cache_read=_count(self.cache_read_input_tokens),
            cache_write=usual,
            cache_write_1h=long_lived,
            output=said - thought,
            reasoning=thought,
            tier="fast" if self.speed == "fast" else tier_of(self.service_tier),
        )
        return _with_compactions(usage, self.iterations) if self.iterations else usage


def _count(value: int | None) -> int:
    return min(max(value or 0, 0), MOST)


def _with_compactions(usage: Usage, iterations: Any) -> Usage:
    for each in iterations if isinstance(iterations, list) else ():
        if isinstance(each, dict) and each.get("type") == "compaction":
            written = count_of(each, "cache_creation_input_tokens")
            long_lived = min(written, count_of(each.get("cache_creation"), "ephemeral_1h_input_tokens"))
            usage = msgspec.structs.replace(
                usage,
                input=usage.input + count_of(each, "input_tokens"),
                cache_read=usage.cache_read + count_of(each, "cache_read_input_tokens"),
                cache_write=usage.cache_write + written - long_lived,
                cache_write_1h=usage.cache_write_1h + long_lived,
                output=usage.output + count_of(each, "output_tokens"),
            )
    return usage


_FIELDS = Reported.__struct_fields__
