"""A provider's export beside our sums: both known layouts, any other one that is described, and files that are none."""

import pytest

from dragoman.chat import Usage
from dragoman.faults import Malformed
from dragoman.reconcile import Columns, Sum, compare, read_columns, read_export, span, sum_ours
from dragoman.usage import UsageRow

OPENAI = """\
start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,model,input_tokens,output_tokens,input_cached_tokens
1759622400,1759708800,2025-10-05T00:00:00+00:00,2025-10-06T00:00:00+00:00,p1,3,gpt-5-mini-2025-08-07,100,20,40
1759622400,1759708800,2025-10-05T00:00:00+00:00,2025-10-06T00:00:00+00:00,p2,1,gpt-5-mini-2025-08-07,11,2,0
1759708800,1759795200,2025-10-06T00:00:00+00:00,2025-10-07T00:00:00+00:00,p1,1,gpt-5,7,1,
"""
ANTHROPIC = """\
\ufeffusage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count
2026-03-22,claude-sonnet-4-20250514,"a, b",Default,standard,\u2264 200k,100,10,1,1000,50,0
"""
COSTS = read_columns("day=date,model=name,input=in+cached,output=out,cost=usd")


def lines(text):
    return text.splitlines(keepends=True)


def test_the_export_of_openai() -> None:
    assert read_export(lines(OPENAI)) == {
        ("2025-10-05", "gpt-5-mini-2025-08-07"): Sum(111, 22),
        ("2025-10-06", "gpt-5"): Sum(7, 1),
    }


def test_the_export_of_anthropic() -> None:
    assert read_export(lines(ANTHROPIC)) == {("2026-03-22", "claude-sonnet-4-20250514"): Sum(1111, 50)}


def test_columns_that_are_described_as_csv_and_as_json() -> None:
    as_csv = "date,name,in,cached,out,usd\n2026-01-01,m,1,2,3,0.0000015\n2026-01-01,m,1,0,1,1e-6\n"
    as_json = (
        '{"date": "2026-01-01T05:00:00+02:00", "name": "m", "in": 1, "cached": 2, "out": 3, "usd": 0.0000015}\n\n'
        '{"date": 1767225600, "name": "m", "in": 1, "cached": 0, "out": 1, "usd": "0.000001"}\n'
    )
    expected = {("2026-01-01", "m"): Sum(4, 4, 3)}
    assert read_export(lines(as_csv), COSTS) == expected
    assert read_export(lines(as_json), COSTS) == expected


def test_a_time_counts_by_its_day_in_utc() -> None:
    columns = read_columns("day=d,model=m,input=i,output=o")
    text = "d,m,i,o\n2026-01-01T01:00:00+02:00,m,1,0\n2026-01-01 23:00:00,m,1,0\n"
    assert set(read_export(lines(text), columns)) == {("2025-12-31", "m"), ("2026-01-01", "m")}


@pytest.mark.parametrize(
    ("text", "columns", "told"),
    [
        ("a,b\n1,2\n", None, "Line 2: these are not the columns"),
        ("date,name\n2026-01-01,m\n", COSTS, "Line 2: there is no 'in'"),
        ("date,name,in,cached,out,usd\n2026-13-01,m,1,2,3,4\n", COSTS, "Line 2: '2026-13-01' is no day"),
        ("date,name,in,cached,out,usd\n2026-01-01,m,-1,2,3,4\n", COSTS, "Line 2: '-1' is no number"),
        ("date,name,in,cached,out,usd\n2026-01-01,m,NaN,2,3,4\n", COSTS, "'NaN' is no number"),
        ("date,name,in,cached,out,usd\n2026-01-01,m,1,2,3,Infinity\n", COSTS, "'Infinity' is no number"),
        ("date,name,in,cached,out,usd\n2026-01-01,m,1,2,3,1e999999999\n", COSTS, "is no number"),
        ("date,name,in,cached,out,usd\n2026-01-01,m,1,2,three,4\n", COSTS, "'three' is no number"),
        ("date,name,in,cached,out,usd\n99999999999999999999,m,1,2,3,4\n", COSTS, "is no day"),
        ('date,name\n"2026-01-01', COSTS, "unexpected end of data"),
        ('{"date": \n', COSTS, "Line 1"),
        ("{}\n[]\n", COSTS, "Line 1: there is no 'date'"),
    ],
)
def test_a_file_that_is_none(text, columns, told) -> None:
    with pytest.raises(Malformed) as caught:
        read_export(lines(text), columns)
    assert caught.value.field == "file"
    assert told in caught.value.message


def test_an_empty_file() -> None:
    assert read_export([]) == {}
    with pytest.raises(Malformed):
        span({})


@pytest.mark.parametrize(
    "text",
    ["", "day=a", "day=a,model=b,input=c", "day=,model=b,input=c,output=d", "day=a,model=b,input=c,output=d,x=y"],
)
def test_columns_that_are_none(text) -> None:
    with pytest.raises(Malformed) as caught:
        read_columns(text)
    assert caught.value.field == "columns"


def test_columns() -> None:
    assert read_columns("day=a, model=b,input=c+d,output=e") == Columns("a", "b", "c+d", "e")


def test_the_time_of_an_export() -> None:
    assert span(read_export(lines(OPENAI))) == (1759622400, 1759795200)


def row(day, model, tokens, cost_micro, unpriced=0):
    return UsageRow((day, model), 1, 0, 0, unpriced, tokens, cost_micro)


def test_our_sums_count_every_bucket_and_no_call_without_a_provider() -> None:
    tokens = Usage(1, 2, 3, 4, 5, 6, 7, 8, image_in=9, image_out=10)
    ours = sum_ours([row(1759622400, "m", tokens, 12, 1), row(1759622400, "", Usage(), 0, 0)])
    assert ours == {("2025-10-05", "m"): Sum(24, 31, 12, 1)}


def test_gaps() -> None:
    theirs = {("d1", "a"): Sum(10, 5, 100), ("d1", "only theirs"): Sum(1, 1, 1), ("d2", "a"): Sum(3, 3, 3)}
    ours = {("d1", "a"): Sum(8, 6, 70), ("d1", "only ours"): Sum(4, 0, 9), ("d2", "a"): Sum(3, 3, 3)}
    gaps = [(gap.day, gap.model, gap.input, gap.output, gap.cost_micro, bool(gap)) for gap in compare(theirs, ours)]
    assert gaps == [
        ("d1", "a", 2, -1, 30, True),
        ("d1", "only ours", -4, 0, -9, True),
        ("d1", "only theirs", 1, 1, 1, True),
        ("d2", "a", 0, 0, 0, False),
    ]


@pytest.mark.parametrize(("theirs", "ours"), [(Sum(1, 1), Sum(1, 1, 5)), (Sum(1, 1, 5), Sum(1, 1, 5, unpriced=1))])
def test_money_that_one_side_does_not_know_is_no_gap_of_nothing(theirs, ours) -> None:
    (gap,) = compare({("d", "m"): theirs}, {("d", "m"): ours})
    assert gap.cost_micro is None


def test_snapshots_are_what_was_asked_for() -> None:
    theirs = {
        ("d", "gpt-4o-2024-08-06"): Sum(1, 1),
        ("d", "gpt-4o-2024-05-13"): Sum(2, 2),
        ("d", "claude-20250514"): Sum(3, 3),
    }
    ours = {("d", "gpt-4o"): Sum(3, 3, 0), ("d", "claude-20250514"): Sum(3, 3, 0)}
    assert [(gap.model, gap.input) for gap in compare(theirs, ours)] == [("claude-20250514", 0), ("gpt-4o", 0)]
    both = ours | {("d", "gpt-4o-2024-05-13"): Sum(2, 2, 0), ("d", "gpt-4o"): Sum(1, 1, 0)}
    assert not any(compare(theirs, both))
