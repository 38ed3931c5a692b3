"""What models cost: the operator's own prices first, then those of the package `genai-prices`.

The package's data is read when it is first needed (10 ms and 5 MB; see `price_data`), so a gateway whose models all
have prices of their own, or are free, never reads it.
"""

import hashlib
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal

import msgspec

from dragoman.admission import price_data
from dragoman.admission.price_data import Model, PriceData
from dragoman.money import FREE, Price, PriceRow

_MOST_REMEMBERED = 4096


class _Found(msgspec.Struct, frozen=True):
    """What is known of one model at one provider: own prices, the latest first, and the package's."""

    own: Sequence[tuple[float, Price]]
    model: Model | None
    otherwise: Price | None

    def at(self, at: float) -> Price | None:
        for begins, price in self.own:
            if begins <= at:
                return price
        known = self.model.price(at) if self.model else None
        return self.otherwise if known is None else known


class Prices:
    """Finds prices. `free` names providers whose models cost nothing unless a row says otherwise.

    `unknown` says what becomes of a model without a known price: "zero" makes it free here; "open" and "refuse" are
    for the caller of `find` to carry out.
    """

    def __init__(
        self,
        overrides: Sequence[PriceRow],
        *,
        free: Collection[str] = (),
        unknown: Literal["open", "refuse", "zero"] = "open",
    ) -> None:
        self.unknown = unknown
        self._free = frozenset(free)
        # Sorting is stable: of rows that begin on the same day, the one that stands first is asked first.
        self._rows = sorted(((row.begins, row, row.price) for row in overrides), key=lambda each: -each[0])
        self._found: dict[tuple[str, str, str], _Found] = {}

    def find(self, provider: str, kind: str, model: str, at: float) -> Price | None:
        """Find what a call costs that is made `at` (Unix seconds); None if nobody knows.

        Args:
            provider: the configured name; rows match it, and so does the data where it is a vendor's ("groq").
            kind: the kind of provider, named after the vendor whose format it speaks; it is asked where the name
                says nothing.
            model: the name under which the provider is asked for the model.
            at: when.

        The first question about a model searches (at most a millisecond), later ones look it up.
        """
        key = (provider, kind, model)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _MOST_REMEMBERED:
                # Callers may name models at will; forgetting everything bounds the memory at no cost to the usual.
                self._found.clear()
            found = self._found[key] = self._search(*key)
        return found.at(at)

    def version(self) -> str:
        """Name the prices in use: the version of the package's data, and a digest of the operator's rows."""
        if not self._rows:
            return f"genai-prices/{price_data.version()}"
        rows = msgspec.json.encode([row for _, row, _ in self._rows])
        return f"genai-prices/{price_data.version()}+{hashlib.sha256(rows).hexdigest()[:8]}"

    @cached_property
    def _data(self) -> PriceData:
        return PriceData()

    def _search(self, provider: str, kind: str, model: str) -> _Found:
        own = [
            (begins, price)
            for begins, row, price in self._rows
            if fnmatchcase(model, row.model) and fnmatchcase(provider, row.provider)
        ]
        if provider in self._free:
            return _Found(own, None, FREE)
        always = bool(own) and own[-1][0] == float("-inf")
        known = None if always else self._known(provider, kind, model)
        return _Found(own, known, FREE if self.unknown == "zero" else None)

    def _known(self, provider: str, kind: str, model: str) -> Model | None:
        """Ask the vendor whose name the provider has, and nobody else. Behind any other name may be anybody who speaks
        the format of that kind: ask the vendor of the kind, then the one named before a slash, then the model's maker.
        """
        data = self._data
        model = model.removeprefix("models/")
        vendor, slash, plain = model.rpartition("/")
        if named := data.provider(provider):
            found = data.model(named, model)
            return found or (data.model(named, plain) if slash and data.provider(vendor) is named else None)
        if data.provider(kind) is None:
            return None
        sellers = (
            (data.provider(kind), model),
            (data.provider(vendor) if slash else None, plain),
            (data.provider_of(model), model),
        )
        answers = (data.model(seller, name) for seller, name in sellers if seller)
        return next((found for found in answers if found), None)
