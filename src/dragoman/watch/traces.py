"""Finished calls as OpenTelemetry spans, sent by OTLP over HTTP. Needs the optional extra `otel`.

Source: OpenTelemetry's semantic conventions for generative AI
(https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-spans.md, status: development).
What a convention has no name for is named `dragoman.*`.

Spans are made from the record, after the fact. They never hold what was said, what a provider said of a failure, or
any part of a key.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dragoman import __version__
from dragoman.faults import Misconfigured
from dragoman.records import Outcome, Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

NAME_MOST = 256
"""Longer names of models, in characters, are cut: a caller may write what it likes."""
QUEUE_MOST = 4096
"""So many spans wait to be sent; more are dropped, so that a slow collector costs no memory."""
DELAY_S = 2.0
TIMEOUT_S = 5.0
CLOSE_WITHIN_S = 5.0
_OPERATIONS = {"completions": "text_completion", "embeddings": "embeddings"}
_NO_ERROR: tuple[Outcome, ...] = ("completed", "abandoned")
Attributes = dict[str, str | int | float | bool]


class Traces:
    """Turns records into spans: one for the call, and under it one for each attempt.

    Args:
        provider: where spans go.
        give_up: ends the sending of what still waits.

    """

    def __init__(self, provider: "TracerProvider", give_up: Callable[[], object]) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        self._provider = provider
        self._give_up = give_up
        self._tracer = provider.get_tracer("dragoman", __version__)
        self._root = Context()
        self._kind = SpanKind.CLIENT
        self._inside = set_span_in_context
        self._failed = Status(StatusCode.ERROR)

    def settled(self, record: Record) -> None:
        """Make a finished call's spans; they are sent later, from another thread."""
        began_ns = int(record.at * 1e9)
        attributes = _call(record)
        name = f"{attributes['gen_ai.operation.name']} {attributes['gen_ai.request.model']}"
        span = self._start(name, began_ns, attributes, self._root)
        self._attempts(record, began_ns, self._inside(span, self._root))
        if record.outcome not in _NO_ERROR:
            span.set_status(self._failed)
        span.end(began_ns + record.total_ms * 1_000_000)

    def close(self, within_s: float = CLOSE_WITHIN_S) -> None:
        """Send what waits, and stop. This blocks for `within_s`, and TIMEOUT_S more at most: call it in a thread."""
        # Left alone, the SDK tries a dead collector for half a minute.
        timer = threading.Timer(within_s, self._give_up)
        timer.start()
        self._provider.shutdown()
        timer.cancel()

    def _attempts(self, record: Record, began_ns: int, inside: Any) -> None:
        from_ms = record.queued_ms
        for attempt in record.attempts:
            attributes: Attributes = {
                "gen_ai.provider.name": attempt.provider,
                "gen_ai.request.model": attempt.model[:NAME_MOST],
                "dragoman.attempt.outcome": attempt.outcome,
            }
            has_failed = attempt.outcome != "ok"
            if has_failed:
                attributes["error.type"] = attempt.outcome
            span = self._start(f"attempt {attempt.provider}", began_ns + from_ms * 1_000_000, attributes, inside)
            if has_failed:
                span.set_status(self._failed)
            from_ms = max(from_ms, attempt.ms)
            span.end(began_ns + from_ms * 1_000_000)

    def _start(self, name: str, at_ns: int, attributes: Attributes, context: Any) -> "Span":
        return self._tracer.start_span(name, context, self._kind, attributes, start_time=at_ns)


def open_traces(endpoint: str) -> Traces | None:
    """Open the way to a collector, `http://HOST:4318/v1/traces`; None for an empty endpoint.

    Raises Misconfigured if the endpoint is no address, or the extra is not installed. The SDK itself reads the usual
    variables for what is not said here, such as OTEL_EXPORTER_OTLP_HEADERS.
    """
    if not endpoint:
        return None
    if not endpoint.startswith(("http://", "https://")):
        raise Misconfigured(f"traces: not an http:// or https:// address: {endpoint!r}")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    except ImportError as error:
        raise Misconfigured(f"traces: OpenTelemetry is missing ({error}); install dragoman[otel]") from None
    provider = TracerProvider(
        sampler=ALWAYS_ON,
        resource=Resource({"service.name": "dragoman", "service.version": __version__}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=QUEUE_MOST, schedule_delay_millis=DELAY_S * 1000)
    )
    return Traces(provider, exporter.shutdown)


def _call(record: Record) -> Attributes:
    attempts = record.attempts
    usage = record.usage
    attributes: Attributes = {
        "gen_ai.operation.name": _OPERATIONS.get(record.dialect, "chat"),
        # Required by the conventions; where nobody was asked, the gateway itself answered.
        "gen_ai.provider.name": record.provider or (attempts[-1].provider if attempts else "dragoman"),
        "gen_ai.request.model": record.model[:NAME_MOST],
        "gen_ai.request.stream": record.streamed,
        "http.response.status_code": record.status,
        "dragoman.call.id": record.id,
        "dragoman.dialect": record.dialect,
        "dragoman.outcome": record.outcome,
        "dragoman.queued_ms": record.queued_ms,
    }
    found: dict[str, str | int | float | None] = {
        "gen_ai.response.model": record.target[:NAME_MOST] or None,
        "gen_ai.usage.input_tokens": usage.prompt_tokens or None,
        "gen_ai.usage.output_tokens": usage.completion_tokens or None,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read or None,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write + usage.cache_write_1h or None,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning or None,
        "dragoman.cost_micro": record.cost_micro,
        "error.type": None if record.outcome in _NO_ERROR else record.code or record.outcome,
    }
    if record.streamed and record.first_byte_ms is not None:
        found["gen_ai.response.time_to_first_chunk"] = record.first_byte_ms / 1000
    attributes.update({name: value for name, value in found.items() if value is not None})
    return attributes
