"""Which targets could answer, and in which order. Pure; O(targets of the route)."""

import difflib
import random
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import msgspec

from dragoman.faults import UnknownModel
from dragoman.people import Principal
from dragoman.routes import ModelCard, Route, Target

# Providers list these among their models; they do not chat.
NOT_CHATS = ("embed", "whisper", "tts", "dall-e", "image", "moderation", "audio", "realtime", "transcribe", "sora")
# What the clients of the legacy relays ask for.
USUAL = "gpt-3.5-turbo"
ANYBODY = Principal("anybody")


class Defaults(msgspec.Struct, frozen=True):
    """What is assumed where nothing is said: the model ("": the first there is), whether it also stands in for
    an unknown one on legacy routes, and tokens of context, with exceptions by route, and by provider as `name/`.
    """

    model: str = ""
    unknown: bool = True
    context: int = 8192
    contexts: Mapping[str, int] = {}


class Atlas:
    """All public names: routes, then names that a provider is configured with or reports, then `provider/model`,
    then patterns, of which the longest wins.

    `served` maps a provider to the model names or patterns it was configured with; `found` (kept up to
    date by the prober) to the names it reported.
    """

    def __init__(self, routes: Iterable[Route], served: Mapping[str, list[str]], started: int) -> None:
        self._routes = {route.name: route for route in routes}
        self._served = served
        self._started = started
        self.found: dict[str, list[str]] = {}
        self.defaults = Defaults()

    def route(self, model: str, principal: Principal, *, loose: bool = False) -> Route:
        """Find a public model. "" means the default one; `loose`: so does one that nobody serves.

        Raises UnknownModel with the nearest names that this principal may use.
        """
        route = self._routes.get(model) or self._implied(model)
        if route is None and (not model or (loose and self.defaults.unknown)):
            model = self.default()
            route = self._routes.get(model) or self._implied(model)
        if route is None or not principal.may_use(model):
            names = [card.name for card in self.cards(principal)]
            near = difflib.get_close_matches(model, names, n=3, cutoff=0.5) or names[:3]
            hint = f" Nearest: {', '.join(near)}." if near else ""
            raise UnknownModel(f"The model {model[:100]!r} is not served here.{hint}", field="model")
        return route

    def _implied(self, model: str) -> Route | None:
        exact = [name for name, served in self._served.items() if model in served or self._reports(name, model)]
        provider, slash, rest = model.partition("/")
        if exact:
            targets = [Target(name, model) for name in exact]
        elif slash and rest and provider in self._served:
            targets = [Target(provider, rest)]
        else:
            fits = {name: _fit(model, served) for name, served in self._served.items()}
            best = max(fits.values(), default=0)
            targets = [Target(name, model) for name, fit in fits.items() if fit == best and best]
        return Route(model, tuple(targets)) if targets else None

    def _reports(self, provider: str, model: str) -> bool:
        return model in self.found.get(provider, ()) and _fit(model, self._served[provider]) > 0

    def knows(self, model: str) -> bool:
        return model in self._routes or self._implied(model) is not None

    def default(self) -> str:
        """Name the model for a caller that names none: the configured one, else the first that chats."""
        if self.defaults.model:
            return self.defaults.model
        if self._routes:
            return next(iter(self._routes))
        names = [card.name for card in self.cards(ANYBODY)]
        chats = [name for name in names if not any(mark in name for mark in NOT_CHATS)]
        return USUAL if USUAL in chats else (chats or names or [USUAL])[0]

    def context(self, route: Route) -> int:
        """Tokens that every target of a route can take."""
        given = self.defaults.contexts
        sizes = [
            given[key]
            for key in (route.name, *(f"{t.provider}/" for t in (*route.targets, *route.fallbacks)))
            if key in given
        ]
        return min(sizes, default=self.defaults.context)

    def cards(self, principal: Principal) -> list[ModelCard]:
        """List what a principal may use."""
        owners = {route.name: "dragoman" for route in self._routes.values()}
        for provider, served in self._served.items():
            exact = [name for name in served if not _is_pattern(name)]
            listed = [name for name in self.found.get(provider, ()) if _fit(name, served)]
            for name in (*exact, *listed):
                owners.setdefault(name, provider)
        return [ModelCard(name, owner, self._started) for name, owner in owners.items() if principal.may_use(name)]


def _is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def _fit(model: str, served: list[str]) -> int:
    """How well a model's name fits what a provider serves: the length of the longest pattern, 0 if none fits."""
    return max(
        (len(name) for name in served if model == name or (_is_pattern(name) and fnmatchcase(model, name))), default=0
    )


def ordered(route: Route) -> list[Target]:
    """One target by weight first, the others by weight behind it, then the fallbacks in their order."""
    if len(route.targets) == 1:
        return [*route.targets, *route.fallbacks]
    left = list(route.targets)
    drawn: list[Target] = []
    while left:
        chosen = random.choices(left, [max(0, t.weight) or 1e-9 for t in left])[0]  # noqa: S311 - load, not secrets
        left.remove(chosen)
        drawn.append(chosen)
    return [*drawn, *route.fallbacks]
