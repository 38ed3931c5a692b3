"""Calls for tests of the relay, and a ledger that remembers them."""

from dragoman.admission.till import Till
from dragoman.money import Price
from dragoman.people import Principal
from dragoman.ports import Mount
from dragoman.relay.settle import Books

PRICE = Price(input=1_000_000, output=2_000_000)


class Kept:
    """A ledger. `told` is called with each record as it comes."""

    is_durable = False

    def __init__(self, told=None):
        self.opened = []
        self.records = []
        self.contents = []
        self._told = told

    def open(self, opened):
        self.opened.append(opened)

    def settle(self, record):
        self.records.append(record)
        if self._told:
            self._told(record)

    def keep(self, content):
        self.contents.append(content)


def call_of(kept, id_="r", principal=None, desk=None):
    """A call whose every target costs `PRICE`."""
    till = Till(
        lambda provider, model, at: PRICE, refuses=False, output_tokens=100, outputs={}, usual_tokens=10, attempts=1
    )
    mount = Mount("POST", "/", lambda head: None, dialect="d")
    return Books(desk, till, kept).call(id_, principal or Principal("me"), mount, "w", "m")
