"""Public model names and what stands behind them."""

from typing import Literal

import msgspec

from dragoman.people import Secret
from dragoman.standing import NO_LIMITS, Limits

Abort = Literal["cancel", "drain"]

# The provider that `[compat] backend` makes.
BACKEND = "backend"


class Credential(msgspec.Struct, frozen=True):
    """A provider's key and its share of the traffic. The repr is masked."""

    secret: Secret
    weight: int = 1
    limits: Limits = NO_LIMITS


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider (by its configured name) and the model to ask there."""

    provider: str
    model: str
    weight: int = 1


class Route(msgspec.Struct, frozen=True):
    """A public model: one target is chosen by weight, the others and then the fallbacks stand by. `on_abort`:
    what becomes of the answer when its caller leaves.
    """

    name: str
    targets: tuple[Target, ...]
    fallbacks: tuple[Target, ...] = ()
    on_abort: Abort = "cancel"


class ModelCard(msgspec.Struct, frozen=True):
    """What a caller may learn of a model. `created` is Unix seconds."""

    name: str
    owner: str
    created: int
