"""Three gateways on one PostgreSQL: one set of keys, limits and budgets, whichever of them is asked."""

import asyncio
import http.client
import itertools
import json
import re
import time

import psycopg
import pytest
from paying import COST, HASH_KEY, admin, begin, chat, complete, data_of, kill, loaded, new_key, post, until

from upstream import Signal, hold, unary

WITHIN_S = 1.0
MOST = len(json.dumps(chat("m"))) + 10
"""What a call may cost at most: its bytes, and 10 tokens."""


@pytest.fixture
def three(fleet):
    """The gateways; every call is answered with 25 and 7 tokens."""
    lane = fleet[0].lane
    lane.always(unary(lane.speaker.whole("hello")))
    return fleet


def query(gateway, statement, *values):
    with psycopg.connect(gateway.store_url, autocommit=True) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


async def at(gateway, method, path, tree=None, headers=None):
    """Ask as a browser behind a balancer does. Returns what was answered (the status, if it was a refusal), and the
    cookie that was set.
    """

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=15)
        body = None if tree is None else json.dumps(tree)
        named = {"host": "chat.example", "content-type": "application/json", **(headers or {})}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        connection.close()
        return said if answer.status == 200 else answer.status, answer.getheader("set-cookie") or ""

    return await asyncio.to_thread(ask)


async def everywhere(gateways, key, status):
    """Wait until all of them answer a key so. Returns how long that took (seconds)."""
    began = time.monotonic()

    async def answers_so(gateway):
        async def is_so():
            return (await complete(gateway, "m", key)).status == status

        await until(is_so, 5)

    await asyncio.gather(*map(answers_so, gateways))
    return time.monotonic() - began


async def known(gateways, key):
    """Wait until all of them know a key, and ask nothing that counts."""

    async def is_known(gateway):
        async def is_so():
            return (await post(gateway, "/api/keys", None, key, "GET")).status == 200

        await until(is_so, 5)

    await asyncio.gather(*map(is_known, gateways))


async def spread(gateways, number, key):
    """Ask them in turn, all at once."""
    turns = itertools.islice(itertools.cycle(gateways), number)
    return [answer.status for answer in await asyncio.gather(*(complete(gateway, "m", key) for gateway in turns))]


async def used_up(gateways, key, refused):
    """Ask each in turn until all refuse, one after the other. Returns how many calls were answered before."""
    served = 0
    while True:
        statuses = [(await complete(gateway, "m", key)).status for gateway in gateways]
        assert set(statuses) <= {200, refused}
        if set(statuses) == {refused}:
            return served
        served += statuses.count(200)


# --- keys -------------------------------------------------------------------------------------


async def test_a_key_made_on_one_works_on_all_within_a_second(three):
    _, key = await new_key(three[1], name="new")
    assert (await complete(three[1], "m", key)).status == 200
    assert await everywhere(three, key, 200) < WITHIN_S


@pytest.mark.parametrize("how", ["disabled", "deleted", "rotated"])
async def test_a_key_that_ends_on_one_is_refused_on_all_within_a_second(three, how):
    id_, key = await new_key(three[0], name="old")
    await everywhere(three, key, 200)
    if how == "disabled":
        answer = await admin(three[2], "PATCH", f"keys/{id_}", {"disabled": True})
    elif how == "deleted":
        answer = await admin(three[2], "DELETE", f"keys/{id_}")
    else:
        answer = await admin(three[2], "POST", f"keys/{id_}/rotate", {"overlap_s": 0})
    assert 200 <= answer.status < 300, answer
    assert (await complete(three[2], "m", key)).status == 401
    assert await everywhere(three, key, 401) < WITHIN_S
    if how == "rotated":
        assert await everywhere(three, answer.json["secret"], 200) < WITHIN_S


async def test_a_page_is_served_by_whichever_is_asked(three):
    """Its session, its key and its conversation, in turn over all of them; its link logs in once on all together."""
    code = three[0].wait_for(lambda: re.search(r"#/login/(\S+)", three[0].output()))[1]
    opened, cookie = await at(three[1], "POST", "/api/session", {"link": code})
    assert (await at(three[2], "POST", "/api/session", {"link": code}))[0] == 401
    proof = {"cookie": cookie.partition(";")[0], "x-csrf-token": opened["csrf"]}
    read, _ = await at(three[2], "GET", "/api/session", None, proof)
    assert (read["principal"], read["role"]) == ("master", "admin")
    renewed, _ = await at(three[0], "POST", "/api/session/token", None, proof)
    thread = None
    for gateway, session in zip(three, itertools.cycle((opened, renewed)), strict=False):
        question = {"prompt": "hello", **({"parent_id": thread[1]} if thread else {})}
        answer = await post(gateway, f"/ask/{thread[0] if thread else 'new'}", question, session["token"]["secret"])
        assert answer.json["message"] == "hello"
        thread = answer.json["conversation_id"], answer.json["parent_id"]
    story = await post(three[1], f"/api/conversations/{thread[0]}", None, renewed["token"]["secret"], "GET")
    assert len(story.json["messages"]) == 6


async def test_keys_made_by_a_key_end_with_it(three):
    id_, makers = await new_key(three[0], name="maker")
    made = await post(three[0], "/api/keys", {"name": "made"}, makers)
    key = made.json["secret"]
    await everywhere(three, key, 200)
    assert (await admin(three[1], "PATCH", f"keys/{id_}", {"disabled": True})).status == 200
    assert await everywhere(three, key, 401) < WITHIN_S


async def test_a_change_of_a_limit_holds_everywhere(three):
    id_, key = await new_key(three[0], name="app")
    await everywhere(three, key, 200)
    assert (await admin(three[0], "PATCH", f"keys/{id_}", {"models": ["other"]})).status == 200
    assert await everywhere(three, key, 404) < WITHIN_S


# --- limits and budgets -----------------------------------------------------------------------


async def test_a_budget_is_never_exceeded_and_is_used_up_over_all_three(three):
    id_, key = await new_key(three[0], name="app", budget={"micro": 60 * COST})
    await everywhere(three, key, 200)
    statuses = await spread(three, 150, key)
    assert set(statuses) <= {200, 402}
    await used_up(three, key, 402)
    for gateway in three:
        await loaded(gateway)
    ((calls, cost),) = query(
        three[0], "SELECT count(*), sum(cost_micro) FROM calls WHERE key = %s AND status = 200", id_
    )
    ((spent,),) = query(three[0], "SELECT sum(units) FROM spent WHERE account LIKE %s", f"key:{id_}%")
    assert cost == spent == calls * COST
    # Each of them may be left with less than one call's worst case, and so may the bank.
    assert 60 * COST - 4 * MOST < cost <= 60 * COST


async def test_a_teams_budget_holds_for_keys_on_different_processes(three):
    assert (await admin(three[0], "PUT", "teams/blue", {"budget": {"micro": 20 * COST}})).status == 200
    made = [await new_key(gateway, name="app", team="blue") for gateway in three]
    for _, key in made:
        await everywhere(three, key, 200)
    calls = [complete(gateway, "m", key) for _ in range(20) for gateway, (_, key) in zip(three, made, strict=True)]
    assert {answer.status for answer in await asyncio.gather(*calls)} <= {200, 402}
    for gateway in three:
        await loaded(gateway)
    ((cost,),) = query(three[0], "SELECT sum(cost_micro) FROM calls WHERE team = 'blue'")
    assert 0 < cost <= 20 * COST


async def test_requests_a_minute_hold_over_all_three(three):
    limit = 60
    _, key = await new_key(three[0], name="app", limits={"requests_per_minute": limit})
    await known(three, key)
    began = time.monotonic()
    served = (await spread(three, 150, key)).count(200)
    served += await used_up(three, key, 429)
    passed_s = time.monotonic() - began
    most = limit + limit / 60 * passed_s + max(1, 0.02 * limit)
    assert limit <= served <= most, (served, most, passed_s)


async def test_requests_a_day_hold_over_all_three(three):
    _, key = await new_key(three[0], name="app", limits={"requests_per_day": 20})
    await known(three, key)
    statuses = await spread(three, 60, key)
    assert set(statuses) == {200, 429}
    assert statuses.count(200) + await used_up(three, key, 429) == 20


async def test_calls_at_the_same_time_hold_over_all_three(three):
    lane = three[0].lane
    _, key = await new_key(three[0], name="app", limits={"parallel": 4})
    await known(three, key)
    release = Signal()
    lane.always([hold(release), *unary(lane.speaker.whole("late"))])
    before = len(lane.requests)
    calls = [asyncio.ensure_future(complete(gateway, "m", key)) for _ in range(8) for gateway in three]

    async def are_sorted():
        return sum(call.done() for call in calls) + len(lane.requests) - before == len(calls)

    await until(are_sorted)
    under_way = len(lane.requests) - before
    release.fire()
    answers = [answer.status for answer in await asyncio.gather(*calls)]
    assert 1 <= under_way <= 4
    assert answers.count(200) == under_way


# --- processes that die -----------------------------------------------------------------------


async def test_what_a_killed_process_had_reserved_comes_back_when_its_lease_has_ended(three, opened, tmp_path):
    """A lease ends when it was found to have run out twice; the test puts its time back instead of waiting."""
    sections = {"store": {"url": three[0].store_url}, "auth": {"keys": ["test-key"], "hash_key": HASH_KEY}}
    dying = opened(folder=tmp_path, **sections)
    dying.lane.play([hold()])
    id_, key = await new_key(dying, name="app", budget={"micro": MOST + COST})
    _, connection = await begin(dying, key, tree=chat("m"))
    await dying.lane.request()
    await everywhere(three, key, 402)
    ((run,),) = query(three[0], "SELECT run FROM shares WHERE account LIKE %s", f"key:{id_}%")
    kill(dying)
    connection.close()
    for doubted in (0, 1):
        put_back = "UPDATE leases SET until = 0 WHERE run = %s AND doubted = %s RETURNING run"

        async def has_run_out(doubted=doubted):
            return query(three[0], put_back, run, doubted)

        assert (await complete(three[1], "m", key)).status == 402
        await until(has_run_out)
    await everywhere(three[:1], key, 200)
    again = opened(folder=tmp_path, **sections)
    await loaded(again)
    ((prompt,),) = query(three[0], "SELECT cost_micro FROM calls WHERE key = %s AND outcome = 'interrupted'", id_)
    ((spent,),) = query(three[0], "SELECT sum(units) FROM spent WHERE account LIKE %s", f"key:{id_}%")
    assert 0 < prompt == spent - COST


async def test_two_processes_on_one_folder_keep_two_journals_and_the_next_loads_what_they_left(opened, url, tmp_path):
    one, two = [opened(folder=tmp_path, store={"url": url}) for _ in range(2)]
    one.store_url = two.store_url = url
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE calls IN ACCESS EXCLUSIVE MODE")
        for gateway in (one, two):
            for _ in range(3):
                assert (await complete(gateway, "m", "test-key")).status == 200
        assert len(list((data_of(one) / "journals").iterdir())) == 2
        kill(one)
        kill(two)
        connection.rollback()
    three = opened(folder=tmp_path, store={"url": url})
    await loaded(three)
    assert query(one, "SELECT outcome, count(*) FROM calls GROUP BY outcome") == [("completed", 6)]
