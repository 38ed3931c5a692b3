"""What is said in a call is kept nowhere, unless its key says so; and then not for ever."""

import time

import pytest
from paying import admin, begin, chat, complete, data_of, dragoman, loaded, master_of, new_key, post, rows, sql, until

from upstream import stream, unary

QUESTION = "zebra-question-7391"
ANSWER = "walrus-answer-5528"
DAY_S = 86_400
OLD_ROWS = 6_000
LINES = {"requests": "all", "level": "debug"}


def asked(**more):
    return chat("m", **{"messages": [{"role": "user", "content": f"Tell me of {QUESTION}."}], **more})


async def said_every_way(gateway, key):
    """Ask in one piece, as a stream, in other dialects, and in ways that fail. Returns how many calls that were."""
    lane = gateway.lane
    refusal = unary(lane.speaker.refusal(f"no {QUESTION} here, said {ANSWER}"), status=400)
    whole = unary(lane.speaker.whole(f"It is {ANSWER}."))
    lane.play(whole, stream(lane.speaker.events([f"It is {ANSWER}.", " Yes."])), whole, refusal)
    assert ANSWER.encode() in (await post(gateway, "/v1/chat/completions", asked(), key)).body
    reader, writer = await begin(gateway, key, tree=asked(stream=True))
    assert ANSWER.encode() in await reader.readuntil(b"[DONE]")
    writer.close()
    assert ANSWER.encode() in (await post(gateway, "/v1/messages", asked(), key)).body
    assert (await post(gateway, "/v1/chat/completions", asked(), key)).status == 400
    odd = asked(temperature=f"{QUESTION}")
    assert (await post(gateway, "/v1/chat/completions", odd, key)).status in (200, 400)
    return len(lane.requests)


def found_in(folder, words):
    """Return the files below a folder that hold one of these words."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    return [path.name for path in files if any(word.encode() in path.read_bytes() for word in words)]


async def test_nothing_that_was_said_is_on_the_disk_in_the_lines_or_in_the_metrics(opened):
    gateway = opened(log=LINES)
    _, key = await new_key(gateway, name="quiet")
    calls = await said_every_way(gateway, key)
    await loaded(gateway)
    assert len(await rows(gateway, least=calls)) >= calls
    metrics = (await post(gateway, "/metrics", None, master_of(gateway), "GET")).body.decode()
    requests = (await admin(gateway, "GET", "requests")).body.decode()
    assert found_in(data_of(gateway), (QUESTION, ANSWER)) == []
    gateway.stop()
    assert found_in(data_of(gateway), (QUESTION, ANSWER)) == []
    for shown in (metrics, requests, gateway.output()):
        assert QUESTION not in shown
        assert ANSWER not in shown


async def test_with_the_keys_leave_both_are_kept_and_shown(opened_for_all):
    gateway = opened_for_all(log=LINES)
    _, key = await new_key(gateway, name="open", keeps_content=True)
    answer = await post(gateway, "/v1/chat/completions", asked(), key)
    gateway.lane.play(stream(gateway.lane.speaker.events([ANSWER, " in pieces"])))
    reader, writer = await begin(gateway, key, tree=asked(stream=True))
    head, _, _ = (await reader.readuntil(b"[DONE]")).partition(b"\r\n\r\n")
    writer.close()
    ids = [answer.headers["x-request-id"], head.lower().partition(b"x-request-id: ")[2].split(b"\r\n")[0].decode()]
    await loaded(gateway)
    assert any(name.startswith("dragoman.db") for name in found_in(data_of(gateway), (QUESTION,)))
    for id_, text in zip(ids, ("hello", ANSWER), strict=True):
        told = dragoman(gateway, "log", "--request", id_)
        assert QUESTION in told
        assert text in told
        whole = (await admin(gateway, "GET", f"requests/{id_}")).json
        assert QUESTION in whole["question"]
        assert text in whole["answer"]
    shown = (await post(gateway, "/metrics", None, master_of(gateway), "GET")).body.decode()
    listed = (await admin(gateway, "GET", "requests")).body.decode()
    for text in (shown, listed, gateway.output()):
        assert QUESTION not in text


@pytest.mark.parametrize("makers_leave", [True, False])
async def test_a_key_keeps_nothing_that_its_maker_does_not(opened_for_all, makers_leave):
    gateway = opened_for_all(log=LINES)
    _, makers = await new_key(gateway, name="maker", keeps_content=makers_leave)
    made = (await post(gateway, "/api/keys", {"name": "made"}, makers)).json
    await post(gateway, "/v1/chat/completions", asked(), made["secret"])
    await loaded(gateway)
    kept = "SELECT id FROM contents WHERE id IN (SELECT id FROM calls WHERE key = ?)"
    assert sql(gateway, kept, made["id"]) == []
    assert (await admin(gateway, "PATCH", f"keys/{made['id']}", {"keeps_content": True})).status == 200
    await post(gateway, "/v1/chat/completions", asked(), made["secret"])
    await loaded(gateway)
    assert len(sql(gateway, kept, made["id"])) == makers_leave


async def test_an_answer_that_breaks_is_kept_as_far_as_it_came(opened_for_all):
    gateway = opened_for_all(log=LINES)
    id_, key = await new_key(gateway, name="open", keeps_content=True)
    speaker = gateway.lane.speaker
    broken = stream([*speaker.opening(), speaker.text(ANSWER)], framing="close")
    gateway.lane.play(broken)
    reader, writer = await begin(gateway, key, tree=asked(stream=True))
    await reader.readuntil(ANSWER.encode())
    (row,) = await rows(gateway, key=id_, outcome="truncated")
    await loaded(gateway)
    writer.close()
    ((question, answer),) = sql(gateway, "SELECT question, answer FROM contents WHERE id = ?", row["id"])
    assert QUESTION in question
    assert ANSWER in answer


async def test_what_is_old_is_deleted_and_its_sums_stay(opened, tmp_path):
    """Content goes after `content_days`, the row of the call after `retention_days`."""
    gateway = opened()
    _, key = await new_key(gateway, name="open", keeps_content=True)
    ids = [(await post(gateway, "/v1/chat/completions", asked(), key)).headers["x-request-id"] for _ in range(3)]
    await loaded(gateway)
    gateway.stop()
    for id_, days in zip(ids, (1, 20, 70), strict=True):
        for table in ("calls", "contents"):
            sql(gateway, f"UPDATE {table} SET at = ? WHERE id = ?", time.time() - days * DAY_S, id_)
    again = opened(folder=tmp_path, usage={"content_days": 10, "retention_days": 50})

    async def are_gone():
        kept = [sorted(id_ for (id_,) in sql(again, f"SELECT id FROM {table}")) for table in ("calls", "contents")]
        return kept == [sorted(ids[:2]), ids[:1]]

    await until(are_gone)
    assert QUESTION in dragoman(again, "log", "--request", ids[0])
    assert QUESTION not in dragoman(again, "log", "--request", ids[1])
    assert sql(again, "SELECT sum(calls) FROM usage_days") == [(3,)]


async def test_while_much_is_deleted_calls_are_answered_and_written_down(opened, tmp_path):
    gateway = opened()
    assert (await complete(gateway, "m", "test-key")).status == 200
    await loaded(gateway)
    gateway.stop()
    names = ", ".join(row[1] for row in sql(gateway, "PRAGMA table_info(calls)") if row[1] not in ("id", "at"))
    sql(
        gateway,
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {OLD_ROWS}) "
        f"INSERT INTO calls (id, at, {names}) SELECT 'old-' || i, i, {names} FROM n, calls",
    )
    again = opened(folder=tmp_path)
    left, served = OLD_ROWS, 0
    while left:
        assert (await complete(again, "m", "test-key")).status == 200
        served += 1
        await loaded(again)
        ((left,),) = sql(again, "SELECT count(*) FROM calls WHERE id LIKE 'old-%'")
    assert sql(again, "SELECT count(*) FROM calls") == [(1 + served,)]
    assert served > 1
