"""Catalogue C: bodies that are not what they seem. Nothing of them may reach a provider."""

import gzip
import json

import pytest
from rawcalls import SENTENCE, WORDS, Call

from upstream import chunk, stream, unary

LIMIT = 2 << 20


@pytest.fixture(scope="module")
def house(start_house):
    return start_house(slots=160, server={"max_body_bytes": LIMIT})


async def post(house, request):
    async with await Call.open(house.gateway.port) as call:
        call.send(request)
        return await call.rest()


async def check_refused(house, caller, lane, body, *statuses, **headers):
    """Refused in the caller's shape, unseen by the provider, and the gateway goes on."""
    answer = await post(house, caller.request(body, **headers))
    message = caller.check_refused(answer, *(statuses or (400,)))
    assert not lane.requests, lane.requests[0].body[:500]
    lane.play(stream(lane.speaker.events(WORDS)))
    caller.check_whole(await caller.ask(house, lane.model))
    assert "Traceback" not in house.gateway.output()
    return message


async def check_one_meaning(house, caller, lane, body, meaning):
    """Refused, or what the provider gets means what was sent."""
    lane.play(unary(lane.speaker.whole(SENTENCE)))
    answer = await post(house, caller.request(body))
    if answer.status == 200:
        meaning(lane.requests[0].json)
    else:
        caller.check_refused(answer, 400)
        assert not lane.requests


def encoded(caller, lane, **fields):
    return json.dumps(caller.body(lane.model, stream=False, **fields)).encode()


def with_pair(caller, lane, pair, at_end=True):
    """A good body with one more pair of key and value, as text."""
    good = encoded(caller, lane)
    return good[:-1] + b", " + pair + b"}" if at_end else b"{" + pair + b", " + good[1:]


# --- C1 --------------------------------------------------------------------------------------------

DEEP = 100_000


@pytest.mark.parametrize("where", ["whole", "unknown_field", "content", "tools", "objects"])
async def test_c1_deep_nesting_is_refused(house, caller, lane, where):
    deep = b"[" * DEEP + b"]" * DEEP
    if where == "whole":
        body = deep
    elif where == "unknown_field":
        body = with_pair(caller, lane, b'"metadata_of_ours": ' + deep)
    elif where == "objects":
        body = with_pair(caller, lane, b'"metadata_of_ours": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP)
    elif where == "tools":
        body = with_pair(caller, lane, b'"tools": ' + deep)
    else:
        body = encoded(caller, lane, text="CONTENT").replace(b'"CONTENT"', deep)
    await check_refused(house, caller, lane, body)


# --- C2: one meaning -------------------------------------------------------------------------------


@pytest.mark.parametrize("at_end", [False, True], ids=["first", "last"])
@pytest.mark.parametrize(
    "pair",
    [
        b'"model": "another"',
        rb'"mod\u0065l": "another"',
        b'"stream": true, "stream": false',
        b'"messages": []',
        b'"max_tokens": 5, "max_tokens": 50000',
    ],
    ids=["model", "model_escaped", "stream", "messages", "max_tokens"],
)
async def test_c2_duplicate_policy_fields_are_refused(house, caller, lane, pair, at_end):
    await check_refused(house, caller, lane, with_pair(caller, lane, pair, at_end))


@pytest.mark.parametrize("field", ["model", "messages", "stream", "max_tokens"])
async def test_c2_case_variants_of_policy_fields_are_refused(house, caller, lane, field):
    value = {"model": b'"another"', "messages": b"[]", "stream": b"true", "max_tokens": b"7"}[field]
    await check_refused(house, caller, lane, with_pair(caller, lane, b'"%b": %b' % (field.title().encode(), value)))


@pytest.mark.parametrize("field", ["api_base", "base_url", "api_key", "API_BASE", "Base_Url"])
async def test_c2_a_caller_never_chooses_the_upstream(house, caller, lane, field):
    await check_refused(house, caller, lane, with_pair(caller, lane, b'"%b": "http://127.0.0.1:1/"' % field.encode()))


async def test_c2_a_tool_has_one_name(house, caller, lane):
    inner = b'{"name": "read", "name": "delete", "description": "x", "SCHEMA": {"type": "object"}}'
    if caller.name == "openai":
        tool = b'{"type": "function", "function": ' + inner.replace(b"SCHEMA", b"parameters") + b"}"
    else:
        tool = inner.replace(b"SCHEMA", b"input_schema")
    await check_refused(house, caller, lane, with_pair(caller, lane, b'"tools": [' + tool + b"]"))


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
async def test_c2_numbers_that_json_does_not_have_are_refused(house, caller, lane, number):
    await check_refused(house, caller, lane, with_pair(caller, lane, b'"temperature": ' + number))


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\udc00x", rb"\ud800\ud800"])
async def test_c2_lone_surrogates_have_one_meaning(house, caller, lane, escape):
    body = encoded(caller, lane, text="MARK").replace(b"MARK", escape)

    def meaning(tree):
        content = tree["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[0]["text"]
        assert text == json.loads(b'"' + escape + b'"')

    await check_one_meaning(house, caller, lane, body, meaning)


async def test_c2_a_byte_order_mark_has_one_meaning(house, caller, lane):
    def meaning(tree):
        assert tree["model"] == "m"

    await check_one_meaning(house, caller, lane, b"\xef\xbb\xbf" + encoded(caller, lane), meaning)


# --- C3: size --------------------------------------------------------------------------------------


async def test_c3_an_announced_large_body_is_refused_before_it_is_sent(house, caller, lane):
    async with await Call.open(house.gateway.port) as call:
        call.send(caller.request(b"", content_length=50 << 20) + b'{"model": "')
        answer = await call.rest()
    caller.check_refused(answer, 413)
    assert not lane.requests


@pytest.mark.parametrize("size", [64 << 10, 16 << 10])
async def test_c3_a_chunked_body_is_refused_when_it_passes_the_limit(house, caller, lane, size):
    before = house.gateway.resident_bytes()
    piece = chunk(b" " * size)
    async with await Call.open(house.gateway.port) as call:
        call.send(caller.request(b"", content_length=None, transfer_encoding="chunked"))
        sent = 0
        while sent < 50 << 20 and not call.writer.transport.is_closing() and call.answer.ended == "open":
            call.send(piece)
            sent += size
            if sent > LIMIT:
                # The refusal may be on its way while we still write.
                await call.rest()
            else:
                await call.writer.drain()
        answer = call.answer
    caller.check_refused(answer, 413)
    assert not lane.requests
    assert house.gateway.resident_bytes() - before < 3 * LIMIT


async def test_c3_exactly_the_limit_is_accepted(house, caller, lane):
    room = LIMIT - len(encoded(caller, lane, text=""))
    lane.play(unary(lane.speaker.whole(SENTENCE)))
    answer = await post(house, caller.request(encoded(caller, lane, text="x" * room)))
    caller.check_whole(answer, stream=False)
    answer = await post(house, caller.request(encoded(caller, lane, text="x" * (room + 1))))
    caller.check_refused(answer, 413)


async def test_c3_a_compressed_body_is_refused_unopened(house, caller, lane):
    before = house.gateway.resident_bytes()
    bomb = gzip.compress(encoded(caller, lane, text=" " * (64 << 20)), compresslevel=1)
    await check_refused(house, caller, lane, bomb, 400, 413, 415, content_encoding="gzip")
    assert house.gateway.resident_bytes() - before < 16 << 20


async def test_c3_a_small_compressed_body_is_refused_too(house, caller, lane):
    body = gzip.compress(encoded(caller, lane))
    await check_refused(house, caller, lane, body, 400, 415, content_encoding="gzip")


# --- C4: not a request at all ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"[]", b"null", b"7", b'"text"', b"{", b"{}", b"model=x&messages=y", b'{"model": "x",}'],
    ids=["empty", "space", "array", "null", "number", "string", "cut", "bare", "form", "comma"],
)
async def test_c4_not_an_object_is_refused(house, caller, lane, body):
    await check_refused(house, caller, lane, body)


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"])
async def test_c4_invalid_utf8_is_refused(house, caller, lane, bad):
    await check_refused(house, caller, lane, encoded(caller, lane, text="MARK").replace(b"MARK", bad))


async def test_c4_invalid_utf8_in_an_unknown_field_is_refused(house, caller, lane):
    await check_refused(house, caller, lane, with_pair(caller, lane, b'"of_ours": "\xff"'))


@pytest.mark.parametrize("kind_of_content", ["text/plain", "application/x-www-form-urlencoded", "image/png", None])
async def test_c4_a_wrong_or_missing_content_type_is_refused(house, caller, lane, kind_of_content):
    await check_refused(house, caller, lane, encoded(caller, lane), content_type=kind_of_content)


@pytest.mark.parametrize("kind_of_content", ["application/json; charset=utf-8", "Application/JSON"])
async def test_c4_a_right_content_type_may_be_written_in_any_way(house, caller, lane, kind_of_content):
    lane.play(unary(lane.speaker.whole(SENTENCE)))
    answer = await post(house, caller.request(encoded(caller, lane), content_type=kind_of_content))
    caller.check_whole(answer, stream=False)


# --- C5: absurd wishes -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [-1, -(10**18)])
async def test_c5_negative_max_tokens_is_refused(house, caller, lane, number):
    await check_refused(house, caller, lane, encoded(caller, lane, max_tokens=number))


@pytest.mark.parametrize("number", [10**12, 2**63, 10**30])
async def test_c5_huge_max_tokens_is_refused_or_clamped(house, caller, lane, number):
    def meaning(tree):
        assert tree.get("max_tokens", tree.get("max_completion_tokens", 0)) < 10**9

    await check_one_meaning(house, caller, lane, encoded(caller, lane, max_tokens=number), meaning)


@pytest.mark.parametrize("number", [10**6, -1, 0])
async def test_c5_an_absurd_number_of_answers_is_refused_or_clamped(house, caller, lane, number):
    def meaning(tree):
        # Messages has no such field: there it is nobody's wish, and must not become one.
        assert caller.name == "anthropic" or 1 <= tree.get("n", 1) <= 128
        assert lane.kind == caller.name or "n" not in tree

    await check_one_meaning(house, caller, lane, encoded(caller, lane, n=number), meaning)


async def test_c5_ten_thousand_tools_are_refused(house, caller, lane):
    schema = {"type": "object", "properties": {}}
    if caller.name == "openai":
        tools = [{"type": "function", "function": {"name": f"t{n}", "parameters": schema}} for n in range(10_000)]
    else:
        tools = [{"name": f"t{n}", "input_schema": schema} for n in range(10_000)]
    await check_refused(house, caller, lane, encoded(caller, lane, tools=tools))
