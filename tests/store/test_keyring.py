"""Keys and teams in the store, on SQLite and on PostgreSQL, from several processes at once."""

import msgspec
import pytest

from dragoman.keys import Key, Team
from dragoman.standing import MOST, Budget, Limits
from dragoman.store import keyring

FULL = Key(
    id="a1",
    digest=bytes(range(32)),
    prefix="dgk_abcd",
    tail="wxyz",
    previous=bytes(32),
    previous_until=5.5,
    name="Zoë's 🦊\0key",
    owner="zoë",
    team="red",
    tags=("ci", "nightly"),
    role="admin",
    maker="a0",
    created=1.25,
    expires=2.5,
    disabled=True,
    models=("gpt-*", "claude"),
    dialects=("openai",),
    limits=Limits(parallel=3),
    budget=Budget(MOST, "day"),
    keeps_content=True,
    priority=-7,
)


@pytest.fixture
def act(store):
    """Do one function's work in a transaction."""

    def act_(work, *args, of=store, **kwargs):
        with of._database.writer.begin() as connection:
            return work(connection, *args, **kwargs)

    return act_


def test_a_key_comes_back_as_it_was_saved(act) -> None:
    assert act(keyring.find_key, "a1") is None
    assert act(keyring.put_key, FULL, is_new=True)
    assert act(keyring.find_key, "a1") == FULL
    changed = msgspec.structs.replace(FULL, disabled=False, team="blue")
    assert act(keyring.put_key, changed, is_new=False)
    assert act(keyring.find_key, "a1") == changed
    assert act(keyring.list_keys, "", 9, "blue", "") == [changed]
    assert act(keyring.list_keys, "", 9, "red", "") == []
    assert act(keyring.drop_key, "a1")
    assert not act(keyring.drop_key, "a1")
    assert act(keyring.find_key, "a1") is None


def test_a_key_is_new_once_and_changed_only_while_it_is_there(act) -> None:
    assert not act(keyring.put_key, FULL, is_new=False)
    assert act(keyring.put_key, FULL, is_new=True)
    other = msgspec.structs.replace(FULL, name="other")
    assert not act(keyring.put_key, other, is_new=True)
    assert act(keyring.find_key, "a1") == FULL
    assert act(keyring.put_key, Key(id="b", principal="user:ann"), is_new=True)
    assert not act(keyring.put_key, Key(id="c", principal="user:ann"), is_new=True)
    assert not act(keyring.put_key, Key(id="b", principal="user:eve"), is_new=False)
    assert [key.id for key in act(keyring.list_keys, "", 9, "", "")] == ["a1", "b"]


def test_of_two_changes_of_one_state_the_second_is_refused(act) -> None:
    act(keyring.put_key, FULL, is_new=True)
    off, renamed = (msgspec.structs.replace(FULL, **fields) for fields in ({"disabled": False}, {"name": "new"}))
    before = act(keyring.changes_after, 0).seq
    assert act(keyring.swap_key, FULL, off)
    assert not act(keyring.swap_key, FULL, renamed)
    assert act(keyring.find_key, "a1") == off
    assert act(keyring.changes_after, before).keys == (off,)
    assert not act(keyring.swap_key, off, msgspec.structs.replace(off, principal="user:eve"))
    assert not act(keyring.swap_key, Key(id="none"), Key(id="none", name="new"))


def test_keys_are_listed_by_id_in_pages(act) -> None:
    for number in range(9):
        maker, team = "m" * (number % 2), "t" * (number % 3 == 0)
        act(keyring.put_key, Key(id=f"k{8 - number}", maker=maker, team=team), is_new=True)
    pages, after = [], ""
    while page := act(keyring.list_keys, after, 4, "", ""):
        pages.append([key.id for key in page])
        after = page[-1].id
    assert pages == [["k0", "k1", "k2", "k3"], ["k4", "k5", "k6", "k7"], ["k8"]]
    assert [key.id for key in act(keyring.list_keys, "", 9, "", "m")] == ["k1", "k3", "k5", "k7"]
    assert [key.id for key in act(keyring.list_keys, "", 9, "t", "m")] == ["k5"]


def test_a_team(act) -> None:
    red = Team(name="red", limits=Limits(requests_per_day=5), budget=Budget(1, "month"))
    assert act(keyring.find_team, "red") is None
    act(keyring.put_team, red)
    act(keyring.put_team, Team(name="Über"))
    assert act(keyring.find_team, "red") == red
    act(keyring.put_team, Team(name="red"))
    assert act(keyring.list_teams) == [Team(name="red"), Team(name="Über")]
    assert act(keyring.drop_team, "red")
    assert not act(keyring.drop_team, "red")
    assert act(keyring.list_teams) == [Team(name="Über")]


@pytest.mark.parametrize("name", ["", "%", "a_", "a1\0", "\ud800", "x" * 100_000, "a1'; --", "🦊"])
def test_odd_names_are_nobodys(act, name) -> None:
    act(keyring.put_key, FULL, is_new=True)
    act(keyring.put_team, Team(name="red"))
    assert act(keyring.find_key, name) is None
    assert act(keyring.find_team, name) is None
    assert not act(keyring.drop_key, name)
    assert not act(keyring.drop_team, name)
    assert len(act(keyring.list_keys, "", 9, "", "")) == 1
    act(keyring.list_keys, name, 9, name, name)


def test_what_changed_is_told_once(act) -> None:
    assert act(keyring.changes_after, 0).seq == 0
    act(keyring.put_key, Key(id="a"), is_new=True)
    act(keyring.put_key, Key(id="b"), is_new=True)
    act(keyring.put_team, Team(name="red"))
    first = act(keyring.changes_after, 0)
    assert ({key.id for key in first.keys}, first.teams) == ({"a", "b"}, (Team(name="red"),))
    nothing = act(keyring.changes_after, first.seq)
    assert (nothing.seq, nothing.keys, nothing.teams, nothing.gone_keys) == (first.seq, (), (), ())
    act(keyring.put_key, Key(id="a", disabled=True), is_new=False)
    act(keyring.drop_key, "b")
    act(keyring.drop_team, "red")
    second = act(keyring.changes_after, first.seq)
    assert second.seq > first.seq
    assert second.keys == (Key(id="a", disabled=True),)
    assert (second.gone_keys, second.gone_teams) == (("b",), ("red",))


def test_what_comes_back_is_not_gone(act) -> None:
    for _ in range(2):
        act(keyring.put_key, Key(id="a"), is_new=True)
        act(keyring.put_team, Team(name="red"))
        act(keyring.drop_key, "a")
        act(keyring.drop_team, "red")
    act(keyring.put_key, Key(id="a"), is_new=True)
    act(keyring.put_team, Team(name="red"))
    changes = act(keyring.changes_after, 0)
    assert (changes.gone_keys, changes.gone_teams, len(changes.keys), len(changes.teams)) == ((), (), 1, 1)


def test_many_changes_come_in_pages_and_none_is_left_out(act, store) -> None:
    with store._database.writer.begin() as connection:
        for number in range(keyring.PAGE + 5):
            keyring.put_key(connection, Key(id=f"k{number}"), is_new=True)
        keyring.put_team(connection, Team(name="last"))
    first = act(keyring.changes_after, 0)
    assert (len(first.keys), first.teams) == (keyring.PAGE, ())
    second = act(keyring.changes_after, first.seq)
    assert (len(second.keys), second.teams) == (5, (Team(name="last"),))
    assert len({key.id for key in first.keys + second.keys}) == keyring.PAGE + 5
    assert act(keyring.changes_after, second.seq).seq == second.seq


def test_an_earlier_state_of_the_store_is_seen(act) -> None:
    act(keyring.put_key, Key(id="a"), is_new=True)
    assert act(keyring.changes_after, 1000).seq < 1000


def test_numbers_come_in_the_order_of_commits(database, start) -> None:
    """Whoever changes something waits for those that changed something before and have not committed yet."""
    if database.kind == "sqlite":
        pytest.skip("SQLite has one writer.")
    one, two = start("one"), start("two")
    with two._database.writer.connect() as second:
        second.exec_driver_sql("SET lock_timeout = 200")
        with one._database.writer.begin() as first:
            keyring.put_key(first, Key(id="a"), is_new=True)
            with pytest.raises(Exception, match="lock timeout"):
                keyring.put_key(second, Key(id="b"), is_new=True)
        second.rollback()
        assert keyring.put_key(second, Key(id="b"), is_new=True)
        second.commit()
    with one._database.writer.begin() as connection:
        assert [key.id for key in keyring.changes_after(connection, 0).keys] == ["a", "b"]


def test_another_hash_key_is_refused_once_there_are_keys(act) -> None:
    assert act(keyring.check_hash_key, "one")
    assert act(keyring.check_hash_key, "two")
    act(keyring.put_key, Key(id="a"), is_new=True)
    assert not act(keyring.check_hash_key, "one")
    assert act(keyring.check_hash_key, "two")
    act(keyring.drop_key, "a")
    assert act(keyring.check_hash_key, "one")
