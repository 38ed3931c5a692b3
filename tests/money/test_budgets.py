"""Budgets at a running gateway: nothing is spent beyond them, whatever happens at once."""

import asyncio
import json

import pytest
from paying import COST, admin, chat, complete, dragoman, master_of, new_key, post, rows

from upstream import unary


def amount(micro):
    return f"{micro / 1_000_000:.6f}"


def most_of(tree):
    """What one call may cost at most: a token for each of its bytes, and the longest answer."""
    return len(json.dumps(tree)) + tree["max_tokens"]


async def test_two_hundred_parallel_calls_on_the_last_cent_spend_what_there_is_and_no_more(opened):
    gateway = opened()
    _, key = await new_key(gateway, name="ci", budget={"amount": amount(20 * COST), "window": "total"})
    answers = await asyncio.gather(*(complete(gateway, "m", key) for _ in range(200)))
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {200, 402}
    served = statuses.count(200)
    while (last := await complete(gateway, "m", key)).status == 200:
        served += 1
    assert last.status == 402
    assert served * COST <= 20 * COST
    found = await rows(gateway, least=served, outcome="completed")
    assert len(found) == served
    assert sum(row["cost_micro"] for row in found) == served * COST
    assert len(gateway.lane.requests) == served


async def test_a_budget_is_used_up_to_its_last_reservation(opened):
    gateway = opened()
    _, key = await new_key(gateway, name="ci", budget={"micro": 1000})
    served = 0
    while (await complete(gateway, "m", key)).status == 200:
        served += 1
    assert served == (1000 - most_of(chat("m"))) // COST + 1


@pytest.mark.parametrize("holder", ["key", "team", "maker", "all"])
async def test_every_holder_is_asked(opened, holder):
    budget = {"micro": 200}
    gateway = opened(**({"money": {"budget": amount(200), "window": "day"}} if holder == "all" else {}))
    fields = {"name": "app"}
    if holder == "team":
        assert (await admin(gateway, "PUT", "teams/blue", {"budget": budget})).status == 200
        fields["team"] = "blue"
    if holder in ("key", "maker"):
        fields["budget"] = budget
    _, key = await new_key(gateway, **fields)
    if holder == "maker":
        made = await post(gateway, "/api/keys", {"name": "below"}, key)
        assert made.status == 201, made
        key = made.json["secret"]
    statuses = [(await complete(gateway, "m", key)).status for _ in range(6)]
    served = (200 - most_of(chat("m"))) // COST + 1
    assert statuses == [200] * served + [402] * (6 - served)


async def test_what_is_over_is_said_in_words_and_when_it_is_back(opened):
    gateway = opened()
    _, key = await new_key(gateway, name="ci", budget={"micro": 150, "window": "day"})
    while (answer := await complete(gateway, "m", key)).status == 200:
        pass
    assert answer.status == 402
    assert answer.json["error"]["type"] == "insufficient_quota"
    assert "budget" in answer.json["error"]["message"].lower()
    assert 0 < int(answer.headers["retry-after"]) <= 86_400


async def test_spending_outlives_a_restart(opened, tmp_path):
    first = opened()
    _, key = await new_key(first, name="ci", budget={"micro": 250})
    assert [(await complete(first, "m", key)).status for _ in range(3)] == [200, 200, 200]
    first.stop()
    again = opened(folder=tmp_path)
    statuses = [(await complete(again, "m", key)).status for _ in range(4)]
    assert statuses.count(200) * COST + 3 * COST <= 250
    assert statuses[-1] == 402


async def test_a_killed_process_forgets_nothing_it_spent(opened, tmp_path):
    first = opened()
    _, key = await new_key(first, name="ci", budget={"micro": 250})
    for _ in range(3):
        assert (await complete(first, "m", key)).status == 200
    first.process.kill()
    first.process.wait()
    again = opened(folder=tmp_path)
    found = await rows(again, least=3)
    assert [row["outcome"] for row in found] == ["completed"] * 3
    statuses = [(await complete(again, "m", key)).status for _ in range(4)]
    assert (3 + statuses.count(200)) * COST <= 250
    assert statuses[-1] == 402


async def test_item_39_without_a_known_price_nothing_is_charged_to_a_budget(opened):
    gateway = opened(prices=[])
    _, key = await new_key(gateway, name="ci", budget={"micro": 10**9})
    refused = await complete(gateway, "m", key)
    assert refused.status == 402
    assert "price" in refused.json["error"]["message"]
    assert (await complete(gateway, "m", "test-key")).status == 200
    found = await rows(gateway, outcome="completed")
    assert [row["cost_micro"] for row in found] == [None]
    assert "unpriced" in dragoman(gateway, "usage", "--by", "model").lower()


@pytest.mark.parametrize(("setting", "status"), [("refuse", 402), ("zero", 200)])
async def test_item_39_an_unknown_price_is_refused_or_zero_by_setting(opened, setting, status):
    gateway = opened(prices=[], money={"unknown_price": setting})
    assert (await complete(gateway, "m", "test-key")).status == status
    if status == 200:
        assert [row["cost_micro"] for row in await rows(gateway)] == [0]


async def test_a_budget_raised_is_in_force_at_once(opened):
    gateway = opened()
    id_, key = await new_key(gateway, name="ci", budget={"micro": 1})
    assert (await complete(gateway, "m", key)).status == 402
    changed = await admin(gateway, "PATCH", f"keys/{id_}", {"budget": {"micro": 10**6, "window": "total"}})
    assert changed.status == 200, changed
    assert (await complete(gateway, "m", key)).status == 200


@pytest.mark.parametrize(
    "budget",
    [
        {"micro": -1},
        {"amount": "-1.00"},
        {"amount": "1e9"},
        {"amount": "NaN"},
        {"amount": "Infinity"},
        {"amount": "0.0000001"},
        {"amount": "9" * 30},
        {"micro": 2**63},
        {"micro": 1.5},
        {"micro": 1, "window": "fortnight"},
        {"micro": 1, "amount": "1.00"},
        {"owner": "x"},
    ],
)
async def test_amounts_that_are_none_are_refused_by_name_and_change_nothing(opened_once, budget):
    answer = await admin(opened_once, "POST", "keys", {"name": "x", "budget": budget})
    assert answer.status == 400, answer
    assert "budget" in str(answer.json["error"]["param"])
    assert (await admin(opened_once, "GET", "keys")).json["keys"] == []


async def test_an_estimate_is_charged_and_marked_when_the_provider_reports_nothing(opened):
    gateway = opened()
    body = json.loads(gateway.lane.speaker.whole("x" * 400))
    del body["usage"]
    gateway.lane.always(unary(json.dumps(body).encode()))
    assert (await complete(gateway, "m", master_of(gateway))).status == 200
    (row,) = await rows(gateway)
    assert row["estimated"] is True
    assert row["tokens"]["output"] == 100
    assert row["cost_micro"] == row["tokens"]["input"] + 100
