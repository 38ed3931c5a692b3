"""What operators may see of a running gateway: its pool, its settings, its journal, and whether a provider takes a
credential. Part of the assembly.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from dragoman.bookkeeping import Bookkeeping
from dragoman.errands import CredentialCheck, CredentialState, JournalState, ProviderState, TargetState
from dragoman.faults import Broken, Fault, NotFound, Silent, TooMany, Unsupported
from dragoman.people import Secret
from dragoman.relay.lanes import Lane, Probed, Prober
from dragoman.routes import Credential
from dragoman.watch.metrics import Metrics, Read

CHECK_S = 10.0
MOST_CHECKS = 4
"""Credentials that are checked at the same time."""
_NO_LIST = (404, 405, 501)
_read_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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
                between_chunks_ms=_middle_and_end(times.get("between_chunks")),
                total_ms=_middle_and_end(times.get("total")),
                waiting=0 if lane.line is None else len(lane.line.queue),
            )
        )
    return found


def _middle_and_end(times: Mapping[str, float] | None) -> tuple[float, float] | None:
    return (times["p50"] * 1000, times["p99"] * 1000) if times else None


class Checker:
    """Tries credentials on the providers of the configuration. What comes of it is told to who asked, and nothing of
    it stays: neither the pool nor the lane's state nor what is measured knows of it.
    """

    def __init__(self, lanes: Mapping[str, Lane], prober: Prober, within_s: float = CHECK_S) -> None:
        self._lanes = lanes
        self._prober = prober
        self._within_s = within_s
        self._under_way = 0

    async def check(self, provider: str, credential: Secret) -> CredentialCheck:
        """Ask a provider once. Raises NotFound, TooMany, Overloaded."""
        lane = self._lanes.get(provider)
        if lane is None:
            raise NotFound("There is no provider of this name.", field="provider")
        if self._under_way >= MOST_CHECKS:
            raise TooMany("Other credentials are being checked now.", retry_after_s=1)
        clock = asyncio.get_running_loop().time
        began = clock()
        self._under_way += 1
        try:
            models, fault = await self._try(lane, credential), None
        except Fault as raised:
            if raised.blame == "gateway":
                raise
            models, fault = (), raised
        finally:
            self._under_way -= 1
        ms = round((clock() - began) * 1000)
        if fault is None:
            return CredentialCheck(is_good=True, models=models, ms=ms)
        # A provider's own words may repeat what it was shown.
        message = fault.message.replace(credential.reveal(), "…")
        return CredentialCheck(is_good=False, code=fault.code, message=message, ms=ms)

    async def _try(self, lane: Lane, credential: Secret) -> tuple[str, ...]:
        """Return the models that are listed for a good credential. Raises the fault of another."""
        try:
            async with asyncio.timeout(self._within_s):
                # A process of ours asks nobody for a credential, so its answer would prove nothing.
                probed = (
                    None
                    if lane.provider.child
                    else await self._prober.ask(lane, Credential(credential), self._within_s)
                )
        except TimeoutError:
            raise Silent from None
        if probed is None:
            raise Unsupported("This provider asks for no credential, so none can be checked.")
        return _models(lane, probed)


def _models(lane: Lane, probed: Probed) -> tuple[str, ...]:
    status, headers, body = probed
    if status in _NO_LIST:
        raise Unsupported(f"This provider has nothing to ask that shows whether a credential is good (HTTP {status}).")
    if not 200 <= status < 300:
        raise lane.provider.fault(status, headers, body)
    models = tuple(lane.provider.listing(body))
    if not models and not _is_answer(body):
        raise Broken("The provider answered, but not as a provider of this kind does.")
    return models


def _is_answer(body: bytes) -> bool:
    """Whether this may be an answer that lists no models: no page of HTML, and no error."""
    try:
        return "error" not in _read_object(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False


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
