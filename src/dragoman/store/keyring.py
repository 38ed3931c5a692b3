"""Keys and teams. Each function is one transaction's work.

Every change takes the next sequence number from one row, whose lock is held until the commit. So the numbers come in
the order of commits, and whoever has read up to one has missed nothing. The number is always taken first: two that
change the same keys then wait for each other in one order.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import BigInteger, BindParameter, Connection, Text, bindparam, cast, delete, exists, select, update

from dragoman.keys import Changes, Key, Team
from dragoman.store.key_tables import facts, gone, keys, teams
from dragoman.store.rows import key_of
from dragoman.store.schema import upsert

PAGE = 2_000
"""Keys in one answer of `changes_after`, so that a large store is mirrored in bounded memory."""
SEQ = "keys.seq"
HASH_CHECK = "keys.hash_check"

_SOUGHT: BindParameter[str] = bindparam("sought")
_SINCE: BindParameter[int] = bindparam("after")
_UPTO: BindParameter[int] = bindparam("upto")
_FACT = select(facts.c.value).where(facts.c.name == _SOUGHT)
_CHANGED_KEYS = select(keys.c.data, keys.c.seq).where(keys.c.seq > _SINCE).order_by(keys.c.seq).limit(PAGE)
_CHANGED_TEAMS = select(teams.c.data).where(teams.c.seq > _SINCE, teams.c.seq <= _UPTO)
_GONE = select(gone.c.kind, gone.c.name).where(gone.c.seq > _SINCE, gone.c.seq <= _UPTO)
_FIND_KEY = select(keys.c.data).where(keys.c.id == _SOUGHT)
_CHANGE_KEY = update(keys).where(keys.c.id == _SOUGHT, keys.c.holder == bindparam("of"))
_DROP_KEY = delete(keys).where(keys.c.id == _SOUGHT)
_FIND_TEAM = select(teams.c.data).where(teams.c.name == _SOUGHT)
_TEAMS = select(teams.c.data).order_by(teams.c.name)
_DROP_TEAM = delete(teams).where(teams.c.name == _SOUGHT)
_COME_BACK = delete(gone).where(gone.c.kind == bindparam("of"), gone.c.name == _SOUGHT)
_ANY_KEY = select(exists().select_from(keys))
_read_key = msgspec.json.Decoder(Key).decode
_read_team = msgspec.json.Decoder(Team).decode


def changes_after(connection: Connection, after: int) -> Changes:
    """Return what changed after a sequence number: all of it, or the first `PAGE` keys of it with a `seq` from which
    to ask again. A `seq` below `after` says that the store is another, or was put back to an earlier state.
    """
    seq = int(connection.execute(_FACT, {"sought": SEQ}).scalar() or 0)
    if seq <= after:
        return Changes(seq)
    changed = connection.execute(_CHANGED_KEYS, {"after": after}).all()
    upto = changed[-1].seq if len(changed) == PAGE else seq
    between = {"after": after, "upto": upto}
    gone_: dict[str, list[str]] = {"key": [], "team": []}
    for kind, name in connection.execute(_GONE, between):
        gone_[kind].append(name)
    return Changes(
        seq=upto,
        keys=tuple(_read_key(row.data) for row in changed),
        teams=tuple(_read_team(data) for data in connection.execute(_CHANGED_TEAMS, between).scalars()),
        gone_keys=tuple(gone_["key"]),
        gone_teams=tuple(gone_["team"]),
    )


def find_key(connection: Connection, id_: str) -> Key | None:
    data = connection.execute(_FIND_KEY, {"sought": key_of(id_)}).scalar()
    return None if data is None else _read_key(data)


def list_keys(connection: Connection, after: str, limit: int, team: str, maker: str) -> Sequence[Key]:
    """List keys by id, those behind `after`; of one team and of one maker, where these are not empty."""
    rows = select(keys.c.data).where(keys.c.id > key_of(after)).order_by(keys.c.id).limit(limit)
    if team:
        rows = rows.where(keys.c.team == key_of(team))
    if maker:
        rows = rows.where(keys.c.maker == key_of(maker))
    return [_read_key(data) for data in connection.execute(rows).scalars()]


def put_key(connection: Connection, key: Key, *, is_new: bool) -> bool:
    """Save a key. Returns False, and changes nothing, if one of this id or holder is there although it is to be new,
    or if there is none of this id and holder although it is not.
    """
    values = {
        "holder": key_of(key.holder),
        "team": key_of(key.team),
        "maker": key_of(key.maker),
        "data": msgspec.json.encode(key).decode(),
        "seq": _next_seq(connection),
    }
    id_ = key_of(key.id)
    if not is_new:
        names = {"sought": id_, "of": values.pop("holder")}
        return connection.execute(_CHANGE_KEY.values(values), names).rowcount > 0
    new = upsert(connection, keys).on_conflict_do_nothing()
    if not connection.execute(new, values | {"id": id_}).rowcount:
        return False
    connection.execute(_COME_BACK, {"of": "key", "sought": id_})
    return True


def swap_key(connection: Connection, old: Key, new: Key) -> bool:
    """Save `new` where `old` still stands, so that of two changes at once none undoes the other. Returns whether."""
    seq = _next_seq(connection)
    if old.holder != new.holder or find_key(connection, old.id) != old:
        return False
    columns = {"team": key_of(new.team), "maker": key_of(new.maker), "data": msgspec.json.encode(new).decode()}
    names = {"sought": key_of(old.id), "of": key_of(old.holder)}
    return connection.execute(_CHANGE_KEY.values(columns | {"seq": seq}), names).rowcount > 0


def drop_key(connection: Connection, id_: str) -> bool:
    """Returns whether there was one."""
    seq = _next_seq(connection)
    if not connection.execute(_DROP_KEY, {"sought": key_of(id_)}).rowcount:
        return False
    connection.execute(gone.insert(), {"kind": "key", "name": key_of(id_), "seq": seq})
    return True


def find_team(connection: Connection, name: str) -> Team | None:
    data = connection.execute(_FIND_TEAM, {"sought": key_of(name)}).scalar()
    return None if data is None else _read_team(data)


def list_teams(connection: Connection) -> Sequence[Team]:
    return [_read_team(data) for data in connection.execute(_TEAMS).scalars()]


def put_team(connection: Connection, team: Team) -> None:
    """Make or change a team."""
    name = key_of(team.name)
    changed = {"data": msgspec.json.encode(team).decode(), "seq": _next_seq(connection)}
    new = upsert(connection, teams).on_conflict_do_update(index_elements=[teams.c.name], set_=changed)
    connection.execute(new, changed | {"name": name})
    connection.execute(_COME_BACK, {"of": "team", "sought": name})


def drop_team(connection: Connection, name: str) -> bool:
    """Returns whether there was one."""
    seq = _next_seq(connection)
    if not connection.execute(_DROP_TEAM, {"sought": key_of(name)}).rowcount:
        return False
    connection.execute(gone.insert(), {"kind": "team", "name": key_of(name), "seq": seq})
    return True


def check_hash_key(connection: Connection, check: str) -> bool:
    """Say whether this is the check value of the hash key with which the stored keys were hashed.

    While there is no key, any is, and is remembered.
    """
    _next_seq(connection)
    known: str | None = connection.execute(_FACT, {"sought": HASH_CHECK}).scalar()
    if known is None or (known != check and not connection.execute(_ANY_KEY).scalar()):
        fact = upsert(connection, facts).on_conflict_do_update(index_elements=[facts.c.name], set_={"value": check})
        connection.execute(fact, {"name": HASH_CHECK, "value": check})
        return True
    return known == check


def _next_seq(connection: Connection) -> int:
    """Take the next number, and the lock that orders changes."""
    following = cast(cast(facts.c.value, BigInteger) + 1, Text)
    take = upsert(connection, facts).values(name=SEQ, value="1")
    taken = take.on_conflict_do_update(index_elements=[facts.c.name], set_={"value": following})
    return int(connection.execute(taken.returning(facts.c.value)).scalar_one())
