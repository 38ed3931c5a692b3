"""`GET /metrics` for Prometheus, with an admin's key. Source: Prometheus docs, "Exposition formats" (0.0.4)."""

from dragoman.intents import ReadMetrics
from dragoman.legs import Reply
from dragoman.ports import Lookup, Mount
from dragoman.wires.openai_http import Shape


class MetricsSession(Shape):
    """All series, as text."""

    def receive(self, data: bytes) -> Lookup:  # noqa: ARG002 - a GET has no body to read
        return _Found()


class _Found:
    intent = ReadMetrics()

    def answer(self, found: bytes) -> Reply:
        return Reply(200, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")], found)


mounts: tuple[Mount, ...] = (Mount("GET", "/metrics", MetricsSession, role="admin"),)
