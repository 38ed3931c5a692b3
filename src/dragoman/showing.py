"""What operators may see of a running gateway: its pool, its settings, its journal. Part of the assembly."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from dragoman.bookkeeping import Bookkeeping
from dragoman.errands import CredentialState, JournalState, ProviderState, TargetState
from dragoman.relay.lanes import Lane
from dragoman.watch.metrics import Metrics, Read


def pool(lanes: Mapping[str, Lane], kinds: Mapping[str, str], metrics: Metrics, now: float) -> list[ProviderState]:
    """Describe every provider; `now` is the loop's clock."""
    measured = metrics.latencies()
    found = []
    for lane in lanes.values():
        times = measured.get(lane.name, {})
        found.append(
            ProviderState(
                name=lane.name,
                kind=kinds.get(lane.name, ""),
                state=lane.state,
                credentials=tuple(
                    CredentialState(
                        member.credential.secret.tail,
                        member.credential.weight,
                        max(0.0, member.rests_until - now),
                        member.why if member.rests_until > now else "",
                        member.credential.limits,
                    )
                    for member in lane.pool.members
                ),
                targets=tuple(
                    TargetState(model, max(0.0, breaker.opens_until - now))
                    for model, breaker in lane.breakers().items()
                ),
                failed_share=metrics.failed_share(lane.name),
                first_byte_ms=_middle_and_end(times.get("first_byte")),
                total_ms=_middle_and_end(times.get("total")),
                waiting=0 if lane.line is None else len(lane.line.queue),
            )
        )
    return found


def _middle_and_end(times: Mapping[str, float] | None) -> tuple[float, float] | None:
    return (times["p50"] * 1000, times["p99"] * 1000) if times else None


def journal(kept: Bookkeeping) -> JournalState:
    """Say how far the store is behind."""
    behind = kept.loader.behind
    trouble = kept.loader.trouble or kept.journal.trouble
    return JournalState(lag_bytes=behind.bytes, lag_s=behind.age_s, skipped=kept.journal.skipped, trouble=trouble)


def gauges(kept: Bookkeeping, lanes: Mapping[str, Lane]) -> None:
    """Have everything measured that is looked at only when somebody asks; on the running loop."""
    metrics, clock = kept.metrics, asyncio.get_running_loop().time

    def resting() -> Iterable[tuple[dict[str, str], float]]:
        for lane in lanes.values():
            for member in lane.pool.members:
                labels = {"provider": lane.name, "credential": member.credential.secret.tail}
                yield labels, float(member.rests_until > clock())

    def shut() -> Iterable[tuple[dict[str, str], float]]:
        for lane in lanes.values():
            for model, breaker in lane.breakers().items():
                yield {"provider": lane.name, "model": model}, float(breaker.is_open)

    def waiting() -> Iterable[tuple[dict[str, str], float]]:
        for lane in lanes.values():
            if lane.line is not None:
                for priority, depth in lane.line.queue.depth.items():
                    yield {"provider": lane.name, "priority": str(priority)}, float(depth)

    def up() -> Iterable[tuple[dict[str, str], float]]:
        for lane in lanes.values():
            yield {"provider": lane.name}, float(lane.state.startswith("up"))

    def one(read: Callable[[], float]) -> Read:
        return lambda: [({}, read())]

    began = time.time()
    metrics.gauge("dragoman_up", "1 while a provider's last probe or call succeeded.", up)
    metrics.gauge("dragoman_credential_resting", "1 while a credential rests.", resting)
    metrics.gauge("dragoman_breaker_open", "1 while a target is not asked.", shut)
    metrics.gauge("dragoman_queue_depth", "Requests that wait for a provider.", waiting)
    metrics.gauge("dragoman_journal_lag_bytes", "What the store lacks.", one(lambda: kept.loader.behind.bytes))
    metrics.gauge("dragoman_journal_lag_seconds", "Age of the oldest of it.", one(lambda: kept.loader.behind.age_s))
    metrics.gauge("dragoman_journal_skipped", "Broken records since the start.", one(lambda: kept.journal.skipped))
    metrics.gauge("dragoman_start_time_seconds", "When this process began.", one(lambda: began))
