"""The bank: how processes that share a database draw on the same accounts. Each function is one transaction's work.

Who changes what is held of an account locks its row in `spent` or `rates` first: those of `spent` before those of
`rates`, each in order, and only then rows of `leases`. So no two transactions wait for each other, and what one reads
of an account stays true until it ends.

A lease ends in two steps. It runs out `lease_s` after its process was last here; whoever finds that grants it as much
time once more, and only who finds it run out again ends it. So no process loses what it holds, and may have used,
because a clock was put forward or because the database was down for everybody. What a lease that has ended held is
deleted by the next who asks for the same account; until then it is nobody else's, and who comes back has it again.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Executable,
    Table,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal,
    select,
    tuple_,
    update,
)

from dragoman.records import Charge
from dragoman.standing import MOST, Account, Got, Want
from dragoman.store.rows import clean
from dragoman.store.schema import upsert, upsert_of
from dragoman.store.share_tables import leases, rates, shares
from dragoman.store.share_tables import spent as sums

Key = tuple[str, int]
"""An account's name, and when the window began (Unix seconds)."""

_LARGEST = 2**63 - 1
_PORTION = 200
_TICK_S = 1e-6
"""Longer than rounding of a time in Unix seconds, so that who waits for a rate has not come too early."""

_CLOCK = select(cast(func.extract("epoch", func.clock_timestamp()), Double))
_OF_SHARE = (
    shares.c.account == bindparam("of_account"),
    shares.c.window == bindparam("of_window"),
    shares.c.run == bindparam("of_run"),
)
_USED = bindparam("used", type_=BigInteger)
_USE = update(shares).where(*_OF_SHARE).values(held=case((shares.c.held > _USED, shares.c.held - _USED), else_=0))
_DROP_SHARE = delete(shares).where(*_OF_SHARE)
_RUN_OUT = (
    select(leases.c.run, leases.c.doubted)
    .where(leases.c.until <= bindparam("moment"))
    .with_for_update(skip_locked=True)
)
_DOUBT = (
    update(leases)
    .where(leases.c.run == bindparam("of_run"))
    .values(until=leases.c.lease_s + bindparam("moment"), doubted=1)
)
_END = delete(leases).where(leases.c.run == bindparam("of_run"))
_FILL = update(rates).where(rates.c.account == bindparam("of_account"))
_OWN = select(shares.c.account, shares.c.window, shares.c.held).where(shares.c.run == bindparam("of_run"))
_OWN_RATES = select(rates.c.account).where(
    rates.c.account.in_(select(shares.c.account).where(shares.c.run == bindparam("of_run")))
)
_DROP_OWN = delete(shares).where(shares.c.run == bindparam("of_run"))


def spent(connection: Connection, accounts: Sequence[Key]) -> list[int]:
    """Return what was spent of each account in a window, 0 for what is not known."""
    keys = [(clean(name), window) for name, window in accounts]
    units: dict[Key, int] = {}
    for portion in _portions(sorted(set(keys))):
        rows = select(sums).where(_among(sums, portion))
        units |= {(row.account, row.window): row.units for row in connection.execute(rows)}
    return [units.get(key, 0) for key in keys]


def lease(
    connection: Connection, wants: Sequence[Want], run: str, lease_s: float, now: float | None = None
) -> list[Got]:
    """Do what `dragoman.standing.Bank.lease` promises.

    What is held of a rate is what this grants: all that `run` held before and does not give back counts as used.
    Several wants for one account are met one after another. Wants that give back should come first where others need
    what they return.

    Args:
        connection: one that may write.
        wants: what to exchange; none only renews.
        run: a name that no other process has.
        lease_s: how long what is held lasts from now on.
        now: Unix seconds instead of the database's own clock.

    Raises:
        ValueError: an amount is negative or beyond `MOST`, or an account makes no sense. Nothing was changed.

    """
    if not 0 < lease_s < math.inf:
        raise ValueError("A lease lasts longer than nothing, and not for ever.")
    keys = [_key_of(want) for want in wants]
    kinds = {key: want.account for key, want in zip(keys, wants, strict=True)}
    stocks: dict[Key, _Stock | _Bucket] = {}
    stocks |= _lock_stocks(connection, [key for key, account in kinds.items() if account.unit != "rate"])
    stocks |= _lock_buckets(connection, {key: account for key, account in kinds.items() if account.unit == "rate"})
    moment = _now(connection) if now is None else now
    _renew(connection, run, moment, lease_s)
    dead = _read_shares(connection, stocks, run)
    got = [stocks[key].exchange(want, moment) for key, want in zip(keys, wants, strict=True)]
    _write(connection, stocks, run)
    _execute(connection, _DROP_SHARE, dead)
    return got


def leave(connection: Connection, run: str) -> None:
    """Give back all that `run` holds. Deletes as well what others left behind of windows that are over."""
    own = sorted(connection.execute(_OWN, {"of_run": run}))
    refilling = set(connection.execute(_OWN_RATES, {"of_run": run}).scalars())
    _add(connection, {(account, window): 0 for account, window, _ in own if account not in refilling})
    # What is held and what is in the bucket stay the same in sum.
    _execute(
        connection,
        _FILL.values(level=rates.c.level + bindparam("more")),
        [{"of_account": account, "more": float(held)} for account, _, held in own if account in refilling],
    )
    connection.execute(_DROP_OWN, {"of_run": run})
    connection.execute(_END, {"of_run": run})
    key = tuple_(shares.c.account, shares.c.window, shares.c.run)
    is_over = (shares.c.window > 0) & shares.c.run.not_in(select(leases.c.run))
    left_behind = select(*key.clauses).where(is_over).with_for_update(skip_locked=True)
    connection.execute(delete(shares).where(key.in_(left_behind)))


def charge(connection: Connection, charges: Iterable[Charge], run: str) -> None:
    """Add to what was spent, and take the same off what `run` holds, which is never less than nothing.

    Raises:
        ValueError: units or a window are negative, or beyond 64 bits. Nothing was changed.

    """
    units: dict[Key, int] = defaultdict(int)
    for item in charges:
        if item.units < 0 or not 0 <= item.window <= _LARGEST:
            raise ValueError("A charge is not negative.")
        units[clean(item.account), item.window] += item.units
    _add(connection, {key: min(used, _LARGEST) for key, used in units.items()})
    _execute(
        connection, _USE, [_share(key, run) | {"used": min(used, _LARGEST)} for key, used in sorted(units.items())]
    )


class _Stock:
    """What there is of an account that does not refill, as one transaction sees and changes it."""

    def __init__(self, units: int) -> None:
        self.spent = units
        self.before: int | None = None
        self.own = 0
        self.others = 0

    def join(self, held: int, *, is_own: bool) -> None:
        """Take note of a share that lives."""
        if is_own:
            self.before = self.own = held
        else:
            self.others += held

    def forget(self, held: int) -> None:
        """Take note of a share whose lease has ended."""

    def exchange(self, want: Want, _: float) -> Got:
        self.own -= min(want.back, self.own)
        left = want.account.most - self.spent - self.others - self.own
        granted = _granted(want, left)
        self.own += granted
        return Got(granted, self.own, max(0, left - granted))


class _Bucket:
    """What there is of a rate. What is in it and what is held are together never more than a full bucket."""

    def __init__(self, level: float, at: float) -> None:
        self.level = level
        self.at = at
        self.before: int | None = None
        self.own = 0
        self.others = 0
        self._old = 0
        self._gone = 0
        self._is_filled = False

    def join(self, held: int, *, is_own: bool) -> None:
        """Take note of a share that lives."""
        if is_own:
            self.before = self._old = held
        else:
            self.others += held

    def forget(self, held: int) -> None:
        """Take note of a share whose lease has ended: until now there was less room for it."""
        self._gone += held

    def exchange(self, want: Want, now: float) -> Got:
        most, period_s = want.account.most, want.account.period_s
        if not self._is_filled:
            self._fill(most, period_s, now)
        self._give_back(want.back)
        self.level = max(0.0, min(self.level, float(most - self.others - self.own)))
        granted = _granted(want, math.floor(self.level))
        missing = (want.need or min(want.like, 1)) - self.level
        retry_s = missing * period_s / max(most, 1) + _TICK_S if not granted and missing > 0 else 0.0
        self.own += granted
        self.level -= granted
        return Got(granted, self.own, math.floor(self.level), retry_s)

    def _fill(self, most: int, period_s: float, now: float) -> None:
        # A clock that was put back fills no bucket twice.
        refill = max(0.0, now - self.at) * most / period_s
        held = self.others + self._old + self._gone
        self.level = max(0.0, min(self.level + refill, float(most - held)))
        self.at = now
        self._is_filled = True

    def _give_back(self, units: int) -> None:
        old = min(units, self._old)
        new = min(units - old, self.own)
        self._old -= old
        self.own -= new
        self.level += old + new


def _granted(want: Want, left: int) -> int:
    return max(0, min(max(want.like, want.need), left)) if left >= want.need else 0


def _key_of(want: Want) -> Key:
    """Return whose row it is. Raises ValueError for what is no want."""
    account = want.account
    if not all(0 <= units <= MOST for units in (account.most, want.need, want.like, want.back, want.window)):
        raise ValueError(f"{account.name}: amounts go from 0 to {MOST}.")
    if account.unit == "rate" and (want.window or not 0 < account.period_s < math.inf):
        raise ValueError(f"{account.name}: a rate has a period, and no window.")
    return clean(account.name), want.window


def _now(connection: Connection) -> float:
    """Return the time of a clock that all processes have in common: SQLite's are on one machine."""
    if connection.dialect.name == "sqlite":
        return time.time()
    now: float = connection.execute(_CLOCK).scalar_one()
    return now


def _add(connection: Connection, units: Mapping[Key, int]) -> dict[Key, int]:
    """Lock accounts and add to what was spent of them. Returns what that is now; it grows no further than 64 bits."""
    if not units:
        return {}
    rows = [{"account": account, "window": window, "units": used} for (account, window), used in sorted(units.items())]
    found = connection.execute(_adding(connection.dialect.name), rows)
    return {(account, window): now for account, window, now in found}


@cache
def _adding(kind: str) -> Any:
    begun = upsert_of(kind, sums)
    room = literal(_LARGEST, BigInteger) - begun.excluded.units
    total = case((sums.c.units > room, _LARGEST), else_=sums.c.units + begun.excluded.units)
    more = begun.on_conflict_do_update(index_elements=sums.primary_key.columns, set_={"units": total})
    return more.returning(*sums.c)


def _lock_stocks(connection: Connection, keys: Sequence[Key]) -> dict[Key, _Stock]:
    return {key: _Stock(units) for key, units in _add(connection, dict.fromkeys(keys, 0)).items()}


def _lock_buckets(connection: Connection, accounts: Mapping[Key, Account]) -> dict[Key, _Bucket]:
    """Lock the rows of rates; one that nobody has used is full."""
    if not accounts:
        return {}
    begun = upsert(connection, rates)
    same = begun.on_conflict_do_update(index_elements=rates.primary_key.columns, set_={"at": rates.c.at})
    rows = [
        {"account": name, "level": float(account.most), "at": 0.0}
        for (name, _), account in sorted(accounts.items(), key=_first)
    ]
    found = connection.execute(same.returning(*rates.c), rows)
    return {(account, 0): _Bucket(level, at) for account, level, at in found}


def _first(item: tuple[Key, Any]) -> Key:
    return item[0]


def _renew(connection: Connection, run: str, now: float, lease_s: float) -> None:
    """Have the lease of `run` last, and let those of others run out that have.

    Its own comes first, and what another transaction has locked is passed over, so that this waits for nobody who
    waits for it.
    """
    begun = upsert(connection, leases)
    row = {"run": run, "until": now + lease_s, "lease_s": lease_s, "doubted": 0}
    again = begun.on_conflict_do_update(
        index_elements=leases.primary_key.columns, set_={name: begun.excluded[name] for name in row}
    )
    connection.execute(again, row)
    for other, doubted in connection.execute(_RUN_OUT, {"moment": now}).all():
        if doubted:
            connection.execute(_END, {"of_run": other})
        else:
            connection.execute(_DOUBT, {"of_run": other, "moment": now})


def _read_shares(connection: Connection, stocks: Mapping[Key, _Stock | _Bucket], run: str) -> list[dict[str, Any]]:
    """Tell accounts what is held of them. Returns which shares are nobody's any more."""
    dead = []
    columns = (shares.c.account, shares.c.window, shares.c.run, shares.c.held, leases.c.run.is_not(None))
    joined = select(*columns).join_from(shares, leases, leases.c.run == shares.c.run, isouter=True)
    for portion in _portions(sorted(stocks)):
        found = joined.where(_among(shares, portion))
        for account, window, other, held, lives in connection.execute(found):
            stock = stocks.get((account, window))
            if stock is None:
                continue
            if lives:
                stock.join(held, is_own=other == run)
            else:
                stock.forget(held)
                dead.append(_share((account, window), other))
    return dead


def _write(connection: Connection, stocks: Mapping[Key, _Stock | _Bucket], run: str) -> None:
    """Save what `run` holds now, and what is in the buckets."""
    begun = upsert(connection, shares)
    save = begun.on_conflict_do_update(index_elements=shares.primary_key.columns, set_={"held": begun.excluded.held})
    more = [(key, stock.own) for key, stock in stocks.items() if stock.own and stock.own != stock.before]
    none = [key for key, stock in stocks.items() if not stock.own and stock.before is not None]
    _execute(connection, save, [{"account": a, "window": w, "run": run, "held": own} for (a, w), own in more])
    _execute(connection, _DROP_SHARE, [_share(key, run) for key in none])
    buckets = [(key, stock) for key, stock in stocks.items() if isinstance(stock, _Bucket)]
    _execute(
        connection,
        _FILL.values(level=bindparam("full"), at=bindparam("moment")),
        [{"of_account": name, "full": bucket.level, "moment": bucket.at} for (name, _), bucket in buckets],
    )


def _among(table: Table, keys: Sequence[Key]) -> ColumnElement[bool]:
    """Find rows of these accounts, and some of their other windows: for pairs SQLite uses no index."""
    names, windows = ({key[part] for key in keys} for part in (0, 1))
    return table.c.account.in_(sorted(names)) & table.c.window.in_(sorted(windows))


def _share(key: Key, run: str) -> dict[str, Any]:
    return {"of_account": key[0], "of_window": key[1], "of_run": run}


def _execute(connection: Connection, statement: Executable, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, rows)


def _portions(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    return (keys[start : start + _PORTION] for start in range(0, len(keys), _PORTION))
