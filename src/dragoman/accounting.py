"""What calls are reserved from, priced by and written into, made from the settings. Part of the assembly."""

import importlib
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dragoman.admission.desk import Desk
from dragoman.admission.prices import Prices
from dragoman.admission.till import Find, Till
from dragoman.building import module_of
from dragoman.faults import Malformed, Misconfigured
from dragoman.money import read_amount
from dragoman.settings import Settings
from dragoman.standing import Bank, Budget, Holder


def zone_of(settings: Settings) -> ZoneInfo:
    """Return the time zone in which days begin. Raises Misconfigured."""
    name = settings.money.zone
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Misconfigured(
            f"{settings.origin_of('money.zone')}: money.zone: there is no time zone {name!r}; "
            "they are called such as Europe/Berlin, and UTC"
        ) from None


def deployment_of(settings: Settings) -> Holder:
    """Return the holder of the deployment's budget. Raises Misconfigured."""
    text = settings.money.budget
    if not text:
        return Holder("all")
    try:
        return Holder("all", budget=Budget(read_amount(text, "money.budget"), settings.money.window))
    except Malformed as fault:
        raise Misconfigured(f"{settings.origin_of('money.budget')}: money.budget: {fault.message}") from None


def desk_of(settings: Settings, bank: Bank) -> Desk:
    limits = {model.name: model.limits for model in settings.models if model.limits}
    return Desk(bank, deployment=deployment_of(settings), models=limits, zone=zone_of(settings))


def prices_of(settings: Settings) -> Find:
    """Return the price list by provider. Raises Misconfigured where an override cannot be read."""
    kinds = {row.name: row.kind for row in settings.providers}
    free = [name for name, kind in kinds.items() if getattr(importlib.import_module(module_of(kind)), "FREE", False)]
    try:
        prices = Prices(settings.prices, free=free, unknown=settings.money.unknown_price)
    except (ValueError, Malformed) as error:
        raise Misconfigured(f"{settings.origin_of('prices')}: prices: {error}") from None
    return lambda provider, model, at: prices.find(provider, kinds.get(provider, ""), model, at)


def till_of(settings: Settings, find: Find) -> Till:
    outputs = {model.name: model.max_output for model in settings.models if model.max_output}
    return Till(
        find,
        refuses=settings.money.unknown_price == "refuse",
        output_tokens=settings.money.output_tokens,
        outputs=outputs,
        usual_tokens=settings.conversations.answer_tokens,
        attempts=settings.upstream.attempts,
    )
