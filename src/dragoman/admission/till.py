"""What a call may cost at most, and what it did cost. Pure but for the price list that it asks."""

from collections.abc import Callable, Mapping

import msgspec

from dragoman.admission.desk import Bound
from dragoman.chat import ChatRequest, File, Text, Think, ToolResult, ToolUse, Usage, tokens_of
from dragoman.faults import Fault, OverBudget
from dragoman.intents import Ask, Count, Forward
from dragoman.money import Price, cost, plain, worst
from dragoman.routes import Route, Target

TOKENS_PER_BLOB = 8_192
"""At most this many for an image or document page set, whatever its size: more than any vendor's documented maximum."""
_BLOBS = (b"base64", b"image", b"audio", b"file", b"document")
Find = Callable[[str, str, float], Price | None]
"""Provider's name, model asked there, Unix seconds -> its price."""


class Quote(msgspec.Struct, frozen=True):
    """Before a call: `bound` is what is reserved; `prompt_tokens` are estimated, and cost `prompt_micro` if the call
    ends without a record.
    """

    bound: Bound
    prompt_tokens: int
    prompt_micro: int | None


NOTHING = Quote(Bound(0, 0, 0), 0, 0)


class Till:
    """Knows prices and how long answers may be.

    Args:
        find: the price list.
        refuses: whether a model without a known price is never served.
        output_tokens: of an answer whose request names no maximum, with exceptions by public model.
        usual_tokens: how long such an answer is taken to be for limits on tokens.
        attempts: how many targets may be asked at most.

    """

    def __init__(
        self,
        find: Find,
        *,
        refuses: bool,
        output_tokens: int,
        outputs: Mapping[str, int],
        usual_tokens: int,
        attempts: int,
    ) -> None:
        self._find = find
        self._refuses = refuses
        self._output_tokens = output_tokens
        self._outputs = outputs
        self._usual_tokens = usual_tokens
        self._attempts = attempts

    def quote(self, intent: Ask | Forward | Count, route: Route, at: float, size: int, *, budgeted: bool) -> Quote:
        """Say what a call with a body of `size` bytes may come to; `budgeted`: whether a budget applies.

        Raises OverBudget where a model without a known price is never served.
        """
        if isinstance(intent, Count):
            return NOTHING
        estimate, most_prompt = _prompt(intent, size)
        asked, choices, usual = None, 1, 0
        if isinstance(intent, Ask):
            asked, choices = intent.max_tokens, intent.choices
            usual = (asked or self._usual_tokens) * choices
        micro = prompt_micro = 0
        for target in route.targets + route.fallbacks:
            price = self._find(target.provider, target.model, at)
            if price is None:
                if self._refuses:
                    said = f"The model {route.name[:100]!r} has no known price, so it is not served."
                    raise OverBudget(said, kind="no_price")
                return Quote(Bound(estimate, usual, None), estimate, None)
            prompt_micro = max(prompt_micro, plain(estimate, price))
            if budgeted:
                output = (asked or self._outputs.get(route.name, self._output_tokens)) * choices
                tiers = None if isinstance(intent, Ask) and b"service_tier" in intent.body else ()
                most = worst(most_prompt, output, price, tiers=tiers)
                if self._attempts > 1:
                    # An attempt that failed before its answer began may have cost its prompt.
                    most += (self._attempts - 1) * worst(most_prompt, 0, price, tiers=tiers)
                micro = max(micro, most)
        return Quote(Bound(estimate, usual, micro), estimate, prompt_micro)

    def cost(self, usage: Usage, target: Target, at: float) -> int | None:
        """Return what this came to in micro-units; None where there is no known price."""
        price = self._find(target.provider, target.model, at)
        return None if price is None else cost(usage, price)


def _prompt(intent: Ask | Forward, size: int) -> tuple[int, int]:
    """Estimate a prompt's tokens, and say how many it cannot exceed: every token stands for a byte at least.

    O(1) for text; a body with images or files is read into words, since most of its bytes are not tokens.
    """
    if isinstance(intent, Forward):
        return tokens_of(size), size
    body = intent.body
    # Parts that are not text say their type, in every wire; most requests have none.
    if not body or (b'"type"' in body and any(mark in body for mark in _BLOBS)):
        try:
            request = intent.request()
        except Fault:
            pass
        else:
            size, blobs = _weigh(request)
            return tokens_of(size) + blobs * TOKENS_PER_BLOB // 4, size + blobs * TOKENS_PER_BLOB
    return tokens_of(len(body)), len(body)


def _weigh(request: ChatRequest) -> tuple[int, int]:
    """Bytes of text with a little for each message's frame, and how many images and files."""
    size = blobs = 0
    stack = [part for message in request.messages for part in message.parts]
    while stack:
        match stack.pop():
            case Text(text) | Think(text):
                size += len(text.encode(errors="replace"))
            case ToolUse(_, name, arguments):
                size += len(name) + len(arguments.encode(errors="replace")) + 32
            case ToolResult(_, parts):
                stack.extend(parts)
            case File(_, text) if text:
                size += len(text.encode(errors="replace"))
            case _:
                blobs += 1
    for tool in request.tools:
        size += len(msgspec.json.encode(tool)) + 32
    return size + 32 * (len(request.messages) + 1), blobs
