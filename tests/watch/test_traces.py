import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from dragoman.chat import Usage
from dragoman.faults import Misconfigured
from dragoman.records import Attempt, Caller, Charge, Record
from dragoman.watch.traces import Traces, open_traces

SECRETS = ("wxyz", "the provider repeats the prompt", "key:made-by-ann", "key1", "ann's team", "tag!")
RECORD = Record(
    "call-1",
    1_790_000_000.5,
    Caller("key:made-by-ann", "key1", "ann's team", ("tag!",)),
    "anthropic",
    "anthropic",
    "fast",
    "completed",
    status=200,
    usage=Usage(input=10, cache_read=20, cache_write=3, cache_write_1h=4, output=5, reasoning=6),
    attempts=[
        Attempt("first", "small", "wxyz", "upstream_busy", "the provider repeats the prompt", 250),
        Attempt("second", "large", "wxyz", "ok", "", 900),
    ],
    queued_ms=100,
    first_byte_ms=400,
    total_ms=1000,
    provider="second",
    target="large",
    credential="wxyz",
    cost_micro=1234,
    charges=(Charge("key:made-by-ann/money.day", 0, 5),),
    streamed=True,
)


def spans_of(record: Record) -> list[ReadableSpan]:
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    traces = Traces(provider, kept.shutdown)
    traces.settled(record)
    traces.close()
    return sorted(kept.get_finished_spans(), key=lambda span: (span.start_time or 0, -(span.end_time or 0)))


def test_a_call_and_its_attempts() -> None:
    call, first, second = spans_of(RECORD)
    assert call.name == "chat fast"
    assert call.kind is SpanKind.CLIENT
    assert call.parent is None
    assert call.status.status_code is StatusCode.UNSET
    assert dict(call.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "second",
        "gen_ai.request.model": "fast",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "large",
        "gen_ai.response.time_to_first_chunk": 0.4,
        "gen_ai.usage.input_tokens": 37,
        "gen_ai.usage.output_tokens": 11,
        "gen_ai.usage.cache_read.input_tokens": 20,
        "gen_ai.usage.cache_creation.input_tokens": 7,
        "gen_ai.usage.reasoning.output_tokens": 6,
        "http.response.status_code": 200,
        "dragoman.call.id": "call-1",
        "dragoman.dialect": "anthropic",
        "dragoman.outcome": "completed",
        "dragoman.queued_ms": 100,
        "dragoman.cost_micro": 1234,
    }
    began_ns = 1_790_000_000_500_000_000
    times = [((span.start_time or 0) - began_ns, (span.end_time or 0) - began_ns) for span in (call, first, second)]
    assert times == [(0, 10**9), (10**8, 25 * 10**7), (25 * 10**7, 9 * 10**8)]
    for span in (first, second):
        assert call.context is not None
        assert span.parent is not None
        assert (span.parent.span_id, span.parent.trace_id) == (call.context.span_id, call.context.trace_id)
        assert not any("usage" in name for name in span.attributes or {}), "tokens would count twice"
    assert dict(first.attributes or {}) == {
        "gen_ai.provider.name": "first",
        "gen_ai.request.model": "small",
        "dragoman.attempt.outcome": "upstream_busy",
        "error.type": "upstream_busy",
    }
    assert [span.status.status_code for span in (first, second)] == [StatusCode.ERROR, StatusCode.UNSET]


def test_no_content_and_no_key() -> None:
    said = "".join(span.to_json() for span in spans_of(RECORD))
    assert "call-1" in said
    for secret in SECRETS:
        assert secret not in said


def test_a_call_that_nobody_answered() -> None:
    record = Record("2", 1.0, Caller("p"), "openai", "openai", "m", "refused", "rate_limited", 429)
    (span,) = spans_of(record)
    assert span.status.status_code is StatusCode.ERROR
    attributes = dict(span.attributes or {})
    assert attributes["error.type"] == "rate_limited"
    assert attributes["gen_ai.provider.name"] == "dragoman"
    assert not [name for name in attributes if "usage" in name or "cost" in name or "response.model" in name]


def test_one_who_left_is_no_error() -> None:
    (span,) = spans_of(Record("3", 1.0, Caller("p"), "openai", "openai", "m", "abandoned"))
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in (span.attributes or {})


@pytest.fixture
def collector() -> Iterator[tuple[str, Queue[tuple[str, bytes]]]]:
    """A real receiver of OTLP over HTTP."""
    received: Queue[tuple[str, bytes]] = Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
        server.shutdown()
        thread.join()


def test_a_real_collector_gets_them(collector: tuple[str, Queue[tuple[str, bytes]]]) -> None:
    endpoint, received = collector
    traces = open_traces(endpoint)
    assert traces is not None
    traces.settled(RECORD)
    traces.close()
    path, body = received.get(timeout=10)
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"] == "dragoman"
    (scope,) = resource.scope_spans
    assert [span.name for span in scope.spans] == ["attempt first", "attempt second", "chat fast"]
    for secret in SECRETS:
        assert secret.encode() not in body


def test_long_names_are_cut(collector: tuple[str, Queue[tuple[str, bytes]]]) -> None:
    endpoint, received = collector
    traces = open_traces(endpoint)
    assert traces is not None
    traces.settled(Record("4", 1.0, Caller("p"), "openai", "openai", "m" * 100_000, target="t" * 100_000))
    traces.close()
    _, body = received.get(timeout=10)
    assert b"m" * 256 in body
    assert len(body) < 2000


def test_a_dead_collector_does_not_hold_up_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    traces = open_traces(f"http://127.0.0.1:{port}/v1/traces")
    assert traces is not None
    for _ in range(2000):
        traces.settled(RECORD)
    began_s = time.monotonic()
    traces.close(within_s=0.2)
    assert time.monotonic() - began_s < 5


def test_none_where_none_are_wanted() -> None:
    assert open_traces("") is None


def test_an_endpoint_that_is_none() -> None:
    with pytest.raises(Misconfigured, match="address"):
        open_traces("localhost:4318")


def test_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(Misconfigured, match=r"dragoman\[otel\]"):
        open_traces("http://127.0.0.1:4318/v1/traces")


def test_nothing_is_imported_before_it_is_wanted() -> None:
    code = "import sys, dragoman.watch.traces; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
