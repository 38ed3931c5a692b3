"""What a crash, a full disk, a broken file and a database that is away cannot take from the bill."""

import asyncio
import contextlib
import multiprocessing
import random
import resource
import shutil
import sqlite3

import psycopg
from paying import (
    COST,
    admin,
    begin,
    chat,
    complete,
    data_of,
    kill,
    loaded,
    metric,
    new_key,
    post,
    rows,
    spent_of,
    sql,
    until,
)

from dragoman.serving import run
from dragoman.settings import load
from gateway import free_port
from upstream import EVENTS, Signal, chunk, head, hold, send, stream

KILLS = 30
SEGMENT_BYTES = 8 << 20
QUESTION_BYTES = 120_000
"""Of a call whose content is kept: 70 of them fill a segment of the journal."""


def broken_off(speaker, texts):
    """The beginning of a streamed answer, and then silence."""
    events = [*speaker.opening(), *map(speaker.text, texts)]
    return [send(head(200, {**EVENTS, "transfer-encoding": "chunked"}), *map(chunk, events)), hold()]


def segments(gateway):
    return sorted((data_of(gateway) / "journals").glob("*/journal/*.log"))


@contextlib.contextmanager
def locked(gateway):
    """Nobody else writes to the database meanwhile."""
    with contextlib.closing(sqlite3.connect(data_of(gateway) / "dragoman.db", isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


class Load:
    """Callers that ask one after the other until the gateway does not answer; `served` are the ids of their 200s."""

    def __init__(self, gateway, key, callers=8):
        self.served = []
        self._gateway = gateway
        self._key = key
        self._callers = [asyncio.ensure_future(self._ask()) for _ in range(callers)]

    async def _ask(self):
        while True:
            try:
                answer = await complete(self._gateway, "m", self._key)
            except (OSError, ValueError, IndexError):
                return
            if len(answer.body) != int(answer.headers["content-length"]):
                return
            if answer.status == 200:
                self.served.append(answer.headers["x-request-id"])

    async def some(self, number):
        async def are_served():
            return len(self.served) >= number

        await until(are_served)

    async def end(self):
        await asyncio.gather(*self._callers)
        return self.served


class Forked:
    """A gateway of a process that has imported everything before: it starts in a fraction of the time."""

    def __init__(self, gateway):
        self.folder, self.port = gateway.folder, free_port()
        flags = {"server.data": str(data_of(self)), "server.port": self.port}
        settings = load(self.folder / "gateway.toml", flags, {}, self.folder)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["dragoman.serving", "pytest"])
        self.process = context.Process(target=run, args=(settings,))
        self.process.wait = self.process.join
        self.process.start()


async def forked(gateway):
    """Start a gateway in the place of one that was killed."""
    found = Forked(gateway)

    async def is_live():
        with contextlib.suppress(OSError, IndexError, ValueError):
            return (await post(found, "/health/live", None, "", "GET")).status == 200

    await until(is_live)
    return found


# --- the process dies -------------------------------------------------------------------------


async def test_a_kill_in_mid_stream_is_one_interrupted_call_charged_its_estimated_prompt(opened, tmp_path):
    first = opened()
    _, key = await new_key(first, name="app", budget={"micro": 10_000})
    first.lane.play(broken_off(first.lane.speaker, ["some", "thing"]))
    reader, writer = await begin(first, key)
    await reader.readuntil(b"thing")
    kill(first)
    writer.close()
    for _ in range(2):
        again = opened(folder=tmp_path)
        (row,) = await rows(again)
        assert row["outcome"] == "interrupted"
        assert row["estimated"] is True
        assert row["tokens"]["output"] == 0
        assert row["cost_micro"] == row["tokens"]["input"] == spent_of(again, "key:") > 0
        again.stop()


async def test_kills_at_any_moment_under_load_lose_no_answer_that_a_caller_got(opened, tmp_path):
    """A process that was killed in mid-answer has one row as well, completed or interrupted."""
    chance = random.Random(4)
    gateway, served = opened(), []
    for _ in range(KILLS):
        load = Load(gateway, "test-key")
        await load.some(chance.randrange(1, 40))
        kill(gateway)
        served += await load.end()
        gateway = await forked(gateway)
    kill(gateway)
    gateway = opened(folder=tmp_path)
    await loaded(gateway)
    found = sql(gateway, "SELECT id, outcome, cost_micro FROM calls")
    ends = {id_: (outcome, cost) for id_, outcome, cost in found}
    assert len(served) == len(set(served)) >= KILLS
    assert {ends.get(id_) for id_ in served} == {("completed", COST)}
    assert {outcome for outcome, _ in ends.values()} <= {"completed", "interrupted"}
    ((calls, cost),) = sql(gateway, "SELECT sum(calls), sum(cost_micro) FROM usage_hours")
    assert (calls, cost) == (len(found), sum(cost for _, _, cost in found))


async def test_a_stop_under_load_lets_all_end_and_loses_nothing(opened, tmp_path):
    gateway = opened()
    load = Load(gateway, "test-key")
    await load.some(20)
    gateway.terminate()
    served = await load.end()
    assert gateway.process.wait(10) == 0
    found = sql(gateway, "SELECT id, outcome FROM calls")
    assert sorted(id_ for id_, outcome in found if outcome == "completed") == sorted(served)
    assert {outcome for _, outcome in found} == {"completed"}


async def test_with_grouped_writes_an_answer_ends_when_its_record_is_on_disk(opened, tmp_path):
    gateway = opened(journal={"sync": "grouped", "group_ms": 300})
    loop = asyncio.get_running_loop()
    began = loop.time()
    answers = await asyncio.gather(*(complete(gateway, "m", "test-key") for _ in range(5)))
    assert loop.time() - began >= 0.3
    kill(gateway)
    assert [answer.status for answer in answers] == [200] * 5
    found = await rows(opened(folder=tmp_path), least=5)
    assert [row["outcome"] for row in found] == ["completed"] * 5


# --- the database is away ---------------------------------------------------------------------


async def test_a_locked_database_keeps_nobody_waiting_and_rows_come_afterwards(opened):
    gateway = opened()
    _, key = await new_key(gateway, name="app", budget={"micro": 10**6})
    assert (await complete(gateway, "m", key)).status == 200
    await loaded(gateway)
    answers = []
    with locked(gateway):

        async def is_in_trouble():
            answers.append(await complete(gateway, "m", key))
            return (await admin(gateway, "GET", "journal")).json["trouble"]

        assert "locked" in await until(is_in_trouble)
        assert len(sql(gateway, "SELECT id FROM calls")) == 1
    assert {answer.status for answer in answers} == {200}
    found = await rows(gateway, least=len(answers) + 1)
    assert len(found) == len(answers) + 1
    await loaded(gateway)
    assert spent_of(gateway, "key:") == COST * len(found)


async def test_while_postgresql_is_down_known_keys_go_on_and_nothing_is_lost(opened, postgres, url):
    gateway = opened(store={"url": url})
    _, free = await new_key(gateway, name="free")
    _, paying = await new_key(gateway, name="paying", budget={"micro": 10**6})
    for key in (free, paying):
        assert (await complete(gateway, "m", key)).status == 200
    await loaded(gateway)
    postgres.stop()
    answers = []
    try:

        async def is_in_trouble():
            answers.extend([await complete(gateway, "m", key) for key in (free, paying)])
            return (await admin(gateway, "GET", "journal")).json["trouble"]

        await until(is_in_trouble)
        assert (await complete(gateway, "m", "dgm_" + "x" * 40)).status == 401
    finally:
        postgres.start()
    assert {answer.status for answer in answers} == {200}
    wanted = [("completed", len(answers) + 2)]

    async def are_there():
        try:
            return postgres.execute("SELECT outcome, count(*) FROM calls GROUP BY outcome", url) == wanted
        except psycopg.OperationalError:
            return False

    await until(are_there, 20)


# --- the disk ---------------------------------------------------------------------------------


async def test_a_full_disk_refuses_new_calls_with_a_reason_and_keeps_those_under_way(opened):
    """No file may grow beyond the journal's first segment: its next one gets no room, as on a full disk."""
    gateway = opened()
    _, key = await new_key(gateway, name="wordy", keeps_content=True)
    release = Signal()
    speaker = gateway.lane.speaker
    gateway.lane.play([hold(release), *stream(speaker.events(["hello"]))])
    under_way = await begin(gateway, key)
    await gateway.lane.request(0)
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (SEGMENT_BYTES - 1, resource.RLIM_INFINITY))
    long = {"messages": [{"role": "user", "content": "x" * QUESTION_BYTES}]}
    for _ in range(SEGMENT_BYTES // QUESTION_BYTES):
        assert (await complete(gateway, "m", key, **long)).status == 200

    async def is_refused():
        await asyncio.gather(*(complete(gateway, "m", key) for _ in range(10)))
        answer = await complete(gateway, "m", key)
        return answer if answer.status != 200 else None

    refused = await until(is_refused, 30)
    assert refused.status == 503
    assert refused.json["error"]["code"] == "journal_full"
    assert "disk" in refused.json["error"]["message"]
    other = await post(gateway, "/v1/messages", chat("m"), key)
    assert (other.status, other.json["type"]) == (503, "error")
    assert "disk" in other.json["error"]["message"]
    assert (await post(gateway, "/health/live", None, "", "GET")).status == 200
    asked = len(gateway.lane.requests)
    release.fire()
    assert b"[DONE]" in await under_way[0].readuntil(b"[DONE]")
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    async def is_served():
        return (await complete(gateway, "m", key)).status == 200

    await until(is_served)
    await loaded(gateway)
    assert sql(gateway, "SELECT outcome, count(*) FROM calls GROUP BY outcome") == [("completed", asked + 1)]


async def test_flipped_bytes_cost_the_record_that_they_hit_and_no_other(opened, tmp_path):
    gateway = opened()
    with locked(gateway):
        answers = [await complete(gateway, "m", "test-key") for _ in range(5)]
        kill(gateway)
    ids = [answer.headers["x-request-id"] for answer in answers]
    (segment,) = segments(gateway)
    data = bytearray(segment.read_bytes())
    record = data.index(ids[2].encode(), data.index(ids[2].encode()) + 1)
    for at in range(record, record + 8):
        data[at] ^= 0xFF
    segment.write_bytes(data)
    again = opened(folder=tmp_path)
    ends = {row["id"]: row["outcome"] for row in await rows(again, least=5)}
    assert ends == {**dict.fromkeys(ids, "completed"), ids[2]: "interrupted"}
    assert await metric(again, "dragoman_journal_skipped") == 1
    assert (await complete(again, "m", "test-key")).status == 200


async def test_a_journal_that_is_read_twice_counts_once(opened, tmp_path):
    gateway = opened()
    _, key = await new_key(gateway, name="app", budget={"micro": 10**6})
    with locked(gateway):
        for _ in range(4):
            assert (await complete(gateway, "m", key)).status == 200
        kill(gateway)
    copy = tmp_path / "copy"
    shutil.copytree(data_of(gateway) / "journals", copy)
    seen = []
    for _ in range(2):
        shutil.copytree(copy, data_of(gateway) / "journals", dirs_exist_ok=True)
        gateway = opened(folder=tmp_path)
        assert len(await rows(gateway, least=4)) == 4
        seen.append((spent_of(gateway, "key:"), sql(gateway, "SELECT sum(calls), sum(cost_micro) FROM usage_days")))
        gateway.stop()
    assert seen == [(4 * COST, [(4, 4 * COST)])] * 2
