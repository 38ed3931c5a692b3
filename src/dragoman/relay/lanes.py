"""What the engine knows of each provider: its contract, its credentials, its patience, its health."""

import asyncio
import logging
from collections.abc import Mapping
from typing import NamedTuple

from dragoman.faults import Fault
from dragoman.legs import Headers, Patience, Upstream, read_all
from dragoman.ports import Provider
from dragoman.relay.health import Breaker
from dragoman.relay.lines import Line
from dragoman.relay.plan import Atlas
from dragoman.relay.pool import Pool
from dragoman.routes import Credential

log = logging.getLogger("dragoman.providers")
PROBE_S = 3.0
AGAIN_WHEN_DOWN_S = 10.0
AGAIN_WHEN_UP_S = 300.0
MOST_BREAKERS = 1000


class Lane:
    """One provider as the engine sees it. `state` is what its last probe or call showed."""

    def __init__(self, name: str, provider: Provider, pool: Pool, patience: Patience, line: Line | None = None) -> None:
        self.line = line
        self.name = name
        self.provider = provider
        self.pool = pool
        self.patience = patience
        self.state = "unknown"
        self._breakers: dict[str, Breaker] = {}

    def breakers(self) -> Mapping[str, Breaker]:
        """Return what is known of the health of each model here."""
        return self._breakers

    def breaker(self, model: str) -> Breaker:
        """Return the breaker of a model here; one for all models that a caller may have made up."""
        if model not in self._breakers:
            if len(self._breakers) >= MOST_BREAKERS:
                # Callers may make up names; what is known to fail is not forgotten for that.
                self._breakers = {name: breaker for name, breaker in self._breakers.items() if breaker.is_open}
            self._breakers[model] = Breaker()
        return self._breakers[model]


class Probed(NamedTuple):
    """What a provider answered to its probe."""

    status: int
    headers: Headers
    body: bytes


class Prober:
    """Asks each provider now and then whether it is up and which models it has."""

    def __init__(self, lanes: Mapping[str, Lane], atlas: Atlas, upstream: Upstream) -> None:
        self._lanes = lanes
        self._atlas = atlas
        self._upstream = upstream

    async def once(self) -> None:
        await asyncio.gather(*(self.probe(lane) for lane in self._lanes.values()))

    async def run(self) -> None:
        while True:
            down = any(not lane.state.startswith("up") for lane in self._lanes.values())
            await asyncio.sleep(AGAIN_WHEN_DOWN_S if down else AGAIN_WHEN_UP_S)
            await self.once()

    async def probe(self, lane: Lane) -> None:
        try:
            probed = await self.ask(lane, lane.pool.members[0].credential, PROBE_S)
        except Fault as fault:
            lane.state = f"down: {fault.message}" + (f" ({fault.detail})" if fault.detail else "")
            return
        status, _, body = probed or Probed(200, [], b"")
        if status in (401, 402, 403):
            lane.state = f"up, but it rejects the credential (HTTP {status})"
        elif status >= 500:
            lane.state = f"down: HTTP {status}"
        else:
            lane.state = "up"
            self._atlas.found[lane.name] = lane.provider.listing(body) if status == 200 else []

    async def ask(self, lane: Lane, credential: Credential, within_s: float) -> Probed | None:
        """Probe a provider with any credential, and note nothing. None where nothing is asked. Raises Fault."""
        outbound = lane.provider.probe(credential)
        if outbound is None:
            return None
        patience = Patience(within_s, within_s, within_s, within_s, within_s)
        exchange = await self._upstream.call(outbound, patience)
        try:
            return Probed(exchange.status, exchange.headers, await read_all(exchange, 4 * 1024 * 1024))
        finally:
            exchange.close()
