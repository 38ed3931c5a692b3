"""Public model names and what stands behind them."""

import msgspec

from dragoman.people import Secret

# The provider that `[compat] backend` makes.
BACKEND = "backend"


class Credential(msgspec.Struct, frozen=True):
    """A provider's key and its share of the traffic. The repr is masked."""

    secret: Secret
    weight: int = 1


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider (by its configured name) and the model to ask there."""

    provider: str
    model: str
    weight: int = 1


class Route(msgspec.Struct, frozen=True):
    """A public model: one target is chosen by weight, the others and then the fallbacks stand by."""

    name: str
    targets: tuple[Target, ...]
    fallbacks: tuple[Target, ...] = ()


class ModelCard(msgspec.Struct, frozen=True):
    """What a caller may learn of a model. `created` is Unix seconds."""

    name: str
    owner: str
    created: int
