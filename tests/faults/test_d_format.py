"""Catalogue D, in which form: answers in an unusual, forbidden or endless form."""

import gzip
import re

import pytest
from rawcalls import SENTENCE, WORDS

from upstream import EVENTS, JSON, LAST_CHUNK, chunk, close, flood, head, hold, pause, send, stream, unary

CAP_BYTES = 2 << 20
TOTAL_S = 1.2
STREAM_HEAD = head(200, {**EVENTS, "transfer-encoding": "chunked"})


@pytest.fixture(scope="module")
def house(start_house):
    """One attempt: what is looked at here does not get better by asking again."""
    return start_house(slots=190, upstream={"attempts": 1})


@pytest.fixture(scope="module")
def capped(start_house):
    return start_house(slots=12, upstream={"total_s": TOTAL_S, "max_answer_bytes": CAP_BYTES})


async def check_completed(house, caller, lane, text=SENTENCE):
    answer = await caller.ask(house, lane.model)
    caller.check_whole(answer, text)
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "completed", record
    return answer


async def check_nonsense(house, caller, lane, stream):
    """An answer that cannot be trusted is a 502 and its bytes go nowhere."""
    answer = await caller.ask(house, lane.model, stream=stream)
    caller.check_refused(answer, 502)
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "failed", record
    assert b"evil" not in answer.body
    assert not any("evil" in name + value for name, value in answer.headers.items()), answer
    return answer


# --- D11: event streams as the WHATWG rules read them ----------------------------------------------


def lines_ended_by(end):
    return lambda events: [event.replace(b"\n", end) for event in events]


def data_in_two_lines(event):
    """JSON may be broken after a comma between values: the lines are joined by LF again."""
    front, comma, rest = event.partition(b",")
    return front + comma + b"\ndata: " + rest if comma else event


def each(change):
    return lambda events: [change(event) if b"[DONE]" not in event else event for event in events]


def before_each(extra):
    return lambda events: [extra + event for event in events]


FORMS = {
    "lf": lambda events: events,
    "crlf": lines_ended_by(b"\r\n"),
    "cr": lines_ended_by(b"\r"),
    "mixed": lambda events: [e.replace(b"\n", (b"\r", b"\n", b"\r\n")[n % 3]) for n, e in enumerate(events)],
    "byte_order_mark": lambda events: [b"\xef\xbb\xbf" + events[0], *events[1:]],
    "comments": before_each(b": keep-alive\n\n:\n"),
    "comment_inside": each(lambda event: event.replace(b"data: ", b": well\ndata: ", 1)),
    "two_data_lines": each(data_in_two_lines),
    "no_space": each(lambda event: event.replace(b": {", b":{", 1)),
    "two_spaces": each(lambda event: event.replace(b"data: ", b"data:  ", 1)),
    "empty_data": before_each(b"data\n\n"),
    "field_without_colon": before_each(b"data_of_ours\nretry\n"),
    "unknown_fields": before_each(b"id: 7\nretry: 10\nof-ours: x\n"),
    "many_blank_lines": before_each(b"\n\n\n"),
    "missing_final_blank_line": lambda events: [*events[:-1], events[-1].rstrip(b"\n") + b"\n"],
    "missing_final_line_end": lambda events: [*events[:-1], events[-1].rstrip(b"\n")],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_d11_every_legal_form_of_an_event_stream_is_read(house, caller, lane, form, framing):
    events = FORMS[form](lane.speaker.events(WORDS))
    lane.play(stream(events, framing))
    if form.startswith("missing") and lane.kind == "anthropic":
        # The rules throw an unfinished event away, and here it is the proof of completion.
        answer = await caller.ask(house, lane.model)
        record = await house.gateway.call(lane.name)
        if record["outcome"] == "completed":
            caller.check_whole(answer)
        else:
            caller.check_broken(answer, SENTENCE)
        return
    answer = await check_completed(house, caller, lane)
    if caller.name == lane.kind and not form.startswith("missing"):
        assert answer.body == b"".join(events), "bytes of the same dialect were changed"


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n"], ids=["crlf", "cr", "lf"])
async def test_d11_line_ends_may_be_split_between_reads(house, caller, lane, end):
    data = b"".join(lines_ended_by(end)(lane.speaker.events(WORDS)))
    pieces = [piece for piece in re.split(rb"(?<=[\r\n])|(?=[\r\n])", data) if piece]
    steps = [send(STREAM_HEAD)]
    for piece in pieces:
        steps += [send(chunk(piece)), pause(0.0005)]
    lane.play([*steps, send(LAST_CHUNK)])
    answer = await check_completed(house, caller, lane)
    assert caller.name != lane.kind or answer.body == data


async def test_d11_a_line_of_a_megabyte_is_read(house, caller, lane):
    words = ["start ", "long " * 200_000, "end."]
    lane.play(stream(lane.speaker.events(words)))
    await check_completed(house, caller, lane, "".join(words))


async def test_d11_a_line_above_the_cap_is_refused(house, caller, lane):
    opening = [*lane.speaker.opening(), lane.speaker.text("start ")]
    endless = b"data: " + b"x" * (64 << 10)
    lane.always([send(STREAM_HEAD, *map(chunk, opening)), flood(chunk(endless))])
    before = house.gateway.resident_bytes()
    answer = await caller.ask(house, lane.model)
    caller.check_broken(answer, "start ")
    request = await lane.request()
    await request.left.wait()
    assert house.gateway.resident_bytes() - before < 48 << 20
    record = await house.gateway.call(lane.name)
    assert record["outcome"] == "truncated", record


# --- D14: sent elsewhere ---------------------------------------------------------------------------


REDIRECTS = [(status, "other") for status in (301, 302, 303, 307, 308)]
REDIRECTS += [(307, "relative"), (307, "internal"), (307, "same")]


@pytest.mark.parametrize(("status", "where"), REDIRECTS)
async def test_d14_a_redirect_is_not_followed(house, caller, lane, status, where):
    trap = house.lane(lane.kind)
    trap.always(stream(trap.speaker.events(WORDS)))
    location = {
        "other": f"{trap.root}/v1/chat/completions",
        "relative": f"/{trap.name}/v1/messages",
        "internal": "http://169.254.169.254/latest/meta-data/",
        "same": "?again=1",
    }[where]
    lane.always([send(head(status, {"location": location, "content-length": 0}))])
    answer = await caller.ask(house, lane.model)
    caller.check_refused(answer, 502)
    assert not trap.requests
    assert all("again" not in request.path for request in lane.requests)
    assert "location" not in answer.headers
    assert location not in repr(answer)


# --- D15: heads that are not heads -----------------------------------------------------------------


def raw_head(*lines):
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", b""])


BAD_HEADS = {
    "nul": raw_head(b"x-evil: a\x00b"),
    "control": raw_head(b"x-evil: a\x01b"),
    "bare_cr": raw_head(b"x-good: a\rset-cookie: evil=1"),
    "nothing_before_the_colon": raw_head(b": evil"),
    "space_before_the_colon": raw_head(b"x-evil : a"),
    "no_colon": raw_head(b"evil"),
    "a_megabyte": raw_head(b"x-evil: " + b"a" * (1 << 20)),
    "just_above_the_cap": raw_head(b"x-evil: " + b"a" * (66 << 10)),
    "ten_thousand": raw_head(*[b"x-evil-%d: a" % n for n in range(10_000)]),
    "no_status": b"HTTP/1.1 evil\r\n\r\n",
    "another_protocol": b"SSH-2.0-evil\r\n\r\n",
    "two_lengths": raw_head(b"content-length: 5", b"content-length: 6"),
    "length_and_chunks": raw_head(b"content-length: 5", b"transfer-encoding: chunked"),
    "a_bad_length": raw_head(b"content-length: 5evil"),
}


@pytest.mark.parametrize("form", BAD_HEADS)
async def test_d15_a_bad_head_is_a_502_and_nothing_of_it_is_passed_on(house, caller, lane, form):
    body = lane.speaker.whole("evil")
    lane.always([send(BAD_HEADS[form] + body), close])
    await check_nonsense(house, caller, lane, stream=False)


async def test_d15_headers_of_a_good_answer_are_passed_by_an_allow_list(house, caller, lane):
    extra = {"set-cookie": "evil=1", "x-evil": "evil", "location": "http://evil/", "www-authenticate": "evil"}
    extra |= {"alt-svc": "evil", "strict-transport-security": "evil", "trailer": "x-evil"}
    lane.play(unary(lane.speaker.whole(SENTENCE), headers=extra), stream(lane.speaker.events(WORDS), headers=extra))
    for streamed in (False, True):
        answer = await caller.ask(house, lane.model, stream=streamed)
        caller.check_whole(answer, stream=streamed)
        assert not any("evil" in name + value for name, value in answer.headers.items()), answer


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
async def test_d15_a_page_instead_of_an_answer_is_a_502(house, caller, lane, streamed):
    page = b"<html><title>evil portal</title></html>"
    lane.always(unary(page, headers={"content-type": "text/html"}))
    await check_nonsense(house, caller, lane, streamed)


# --- D16: compression ------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "gzip, identity"])
@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
async def test_d16_a_compressed_answer_is_refused_never_mislabelled(house, caller, lane, coding, streamed):
    if streamed:
        data = gzip.compress(b"".join(lane.speaker.events(WORDS)))
        lane.always(stream([data], headers={"content-encoding": coding}))
    else:
        lane.always(unary(gzip.compress(lane.speaker.whole(SENTENCE)), headers={"content-encoding": coding}))
    await check_nonsense(house, caller, lane, streamed)
    asked = lane.requests[0].headers.get("accept-encoding", "identity")
    assert asked == "identity", asked


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
async def test_d16_identity_is_no_compression(house, caller, lane, coding):
    lane.play(unary(lane.speaker.whole(SENTENCE), headers={"content-encoding": coding}))
    answer = await caller.ask(house, lane.model, stream=False)
    caller.check_whole(answer, stream=False)
    assert "content-encoding" not in answer.headers or answer.headers["content-encoding"].lower() == "identity"


async def test_d16_the_label_alone_is_enough_to_refuse(house, caller, lane):
    """Nobody waits for a body that cannot be used."""
    labels = {**JSON, "content-encoding": "gzip", "content-length": 1000}
    lane.always([send(head(200, labels)), hold()])
    answer = await check_nonsense(house, caller, lane, stream=False)
    assert answer.at - lane.requests[0].at < 1
    await lane.requests[0].left.wait()


async def test_d16_gzip_without_a_label_is_no_answer(house, caller, lane):
    lane.always(unary(gzip.compress(lane.speaker.whole(SENTENCE))))
    await check_nonsense(house, caller, lane, stream=False)


# --- D18: without end ------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", ["tiny", "large"])
async def test_d18_an_endless_stream_ends_at_the_size_cap(capped, caller, kind, piece):
    lane = capped.lane(kind)
    word = "drip " if piece == "tiny" else "drip " * 2000
    tide = chunk(lane.speaker.text(word)) * (50 if piece == "tiny" else 1)
    lane.always([send(STREAM_HEAD, *map(chunk, lane.speaker.opening())), flood(tide)])
    answer = await caller.ask(capped, lane.model)
    caller.check_broken(answer)
    assert len(answer.body) < 3 * CAP_BYTES
    await (await lane.request()).left.wait()
    assert len(lane.requests) == 1
    record = await capped.gateway.call(lane.name)
    assert record["outcome"] == "truncated", record
    assert record["usage"]["output"] > 10_000, record


async def test_d18_an_endless_stream_ends_at_the_time_cap(capped, caller, kind):
    lane = capped.lane(kind)
    drip = chunk(lane.speaker.text("drip "))
    lane.always([send(STREAM_HEAD, *map(chunk, lane.speaker.opening())), flood(drip, pause_s=0.02)])
    answer = await caller.ask(capped, lane.model)
    request = await lane.request()
    caller.check_broken(answer)
    assert TOTAL_S * 0.5 < answer.at - request.at < TOTAL_S + 1
    await request.left.wait()
    record = await capped.gateway.call(lane.name)
    assert record["outcome"] == "truncated", record


async def test_d18_an_endless_unary_answer_ends_at_the_size_cap(capped, caller, kind):
    lane = capped.lane(kind)
    before = capped.gateway.resident_bytes()
    lane.always([send(head(200, {**JSON, "connection": "close"})), flood(b" " * (64 << 10))])
    caller.check_refused(await caller.ask(capped, lane.model, stream=False), 502)
    assert capped.gateway.resident_bytes() - before < 8 * CAP_BYTES


async def test_d18_many_tiny_deltas_keep_memory_flat(house, caller, lane):
    count = 30_000
    drip = chunk(lane.speaker.text("drip ")) * 50
    opening, closing = lane.speaker.opening(), lane.speaker.closing(count)
    steps = [send(STREAM_HEAD, *map(chunk, opening)), *[send(drip)] * (count // 50)]
    lane.play([*steps, send(*map(chunk, closing), LAST_CHUNK)])
    before = house.gateway.resident_bytes()
    answer = await check_completed(house, caller, lane, "drip " * count)
    grown = house.gateway.resident_bytes() - before
    assert grown < 4 << 20, f"{grown:,} bytes for an answer of {len(answer.body):,}"
    record = await house.gateway.call(lane.name)
    assert record["usage"]["output"] == count, record
