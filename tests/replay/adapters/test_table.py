"""Columns become fields as the mapping says; what can't be converted is left for the core to reject."""
from __future__ import annotations

import datetime
from pathlib import Path

import polars
import pytest

from replay.adapters import table
from replay.log_rows import Columns, LogError, LogRow
from streams.core.join.decode import decode
from streams.core.join.events import Action, Event, Reason, Record, Rejected

INTEGERS = [getattr(polars, f"{sign}Int{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)]
TAOBAO = Columns(
    fields={"user_id": "uid", "item_id": "iid", "ts": "when", "action": "what"}, actions={"pv": "play", "fav": "collect"}, time="s"
)


def events(rows: list[LogRow]) -> list[Record | Rejected]:
    return [record for row in rows for record in decode(row.raw)]


def csv(folder: Path, text: str) -> Path:
    path = folder / "acts.csv"
    path.write_text(text)
    return path


def test_mapped_columns_times_and_actions(tmp_path: Path) -> None:
    rows = list(table.csv_rows(csv(tmp_path, "uid,iid,when,what\n1,a,1511658000,pv\n2,b,1511658001.5,fav\n"), TAOBAO))
    first, second = events(rows)
    assert (first.user_id, first.item_id, first.ts, first.action) == ("1", "a", 1_511_658_000_000, Action.PLAY)
    assert (second.ts, second.action) == (1_511_658_001_500, Action.COLLECT)
    assert [row.line for row in rows] == [2, 3]


def test_own_names_map_themselves_with_context_flags_and_arrival(tmp_path: Path) -> None:
    head = "event_id,ts,arrival,user_id,item_id,action,full,played_ms,duration_ms,position,propensity,context.device,"
    head += "also.collect,also.share,other\n"
    (row,) = table.csv_rows(csv(tmp_path, head + "e1,1000,1500,u,i,play,true,30.0,60,2,0.5,phone,1,0,x\n"), Columns())
    (event,) = events([row])
    assert row.arrival_ms == 1500
    assert event == Event(
        event_id="e1", ts=1000, user_id="u", item_id="i", action=Action.PLAY, also=(Action.COLLECT,), full=True,
        played_ms=30, duration_ms=60, position=2, propensity=0.5, context={"device": "phone"},
    )  # fmt: skip


def test_constants_stand_in_for_columns_and_empty_cells_for_nothing(tmp_path: Path) -> None:
    columns = Columns(constants={"action": "play", "domain": "song"})
    (event,) = events(list(table.csv_rows(csv(tmp_path, "ts,user_id,item_id,played_ms\n5,u,i,\n"), columns)))
    assert isinstance(event, Event)
    assert (event.action, event.domain, event.played_ms) == (Action.PLAY, "song", None)


def test_equal_rows_without_an_id_are_one_event(tmp_path: Path) -> None:
    a, b, c = events(list(table.csv_rows(csv(tmp_path, "ts,user_id,item_id,action\n5,u,i,play\n5,u,i,play\n6,u,i,play\n"), Columns())))
    assert a.event_id == b.event_id != c.event_id


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("soon,u,i,play", Reason.WRONG_TYPE),
        ("5,u,i,pla", Reason.UNKNOWN_ACTION),
        ("-5,u,i,play", Reason.OUT_OF_BOUNDS),
        ("5,u", Reason.WRONG_TYPE),
    ],
)
def test_cell_that_cannot_be_converted_is_rejected_not_guessed(tmp_path: Path, row: str, reason: Reason) -> None:
    (rejected,) = events(list(table.csv_rows(csv(tmp_path, f"ts,user_id,item_id,action\n{row}\n"), Columns())))
    assert isinstance(rejected, Rejected) and rejected.reason is reason
    assert row.split(",")[0].encode() in rejected.raw


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_quotes_and_line_numbers_over_broken_cells(tmp_path: Path, separator: str) -> None:
    text = 'ts,user_id,item_id,action\n5,"a\nb",i,play\n6,"x,y",i,play\n'.replace(",", separator)
    first, second = list(table.csv_rows(csv(tmp_path, text), Columns()))
    assert (first.line, second.line) == (2, 4)
    assert events([first])[0].user_id == "a\nb"
    assert events([second])[0].user_id == f"x{separator}y"


@pytest.mark.parametrize(
    ("cell", "unit"),
    [
        ("2024-01-01T00:00:00Z", "iso"),
        ("2024-01-01 00:00:00+00:00", "iso"),
        ("2024-01-01T08:00:00+08:00", "iso"),
        ("1704067200", "s"),
        ("1704067200000000", "us"),
        ("1704067200000", "ms"),
    ],
)
def test_time_units(tmp_path: Path, cell: str, unit: str) -> None:
    (event,) = events(list(table.csv_rows(csv(tmp_path, f"ts,user_id,item_id,action\n{cell},u,i,play\n"), Columns(time=unit))))
    assert event.ts == 1_704_067_200_000  # date -u -d 2024-01-01 +%s


def test_parquet_keeps_types_and_numbers_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "acts.parquet"
    moment = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    polars.DataFrame(
        {"when": [moment] * 2, "uid": [7, 8], "item_id": ["i", "j"], "liked": [True, False], "context.age": [31, None]}
    ).write_parquet(path)
    columns = Columns(fields={"ts": "when", "user_id": "uid", "also.collect": "liked"}, constants={"action": "impression"})
    rows = list(table.parquet_rows(path, columns))
    first, second = events(rows)
    assert isinstance(first, Event) and isinstance(second, Event)
    assert (first.ts, first.user_id, first.also, first.context) == (1_704_067_200_000, "7", (Action.COLLECT,), {"age": 31})
    assert (second.user_id, second.also, second.context) == ("8", (), {})
    assert [row.line for row in rows] == [1, 2]


def test_what_is_missing_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = csv(tmp_path, "uid,iid\n1,2\n")
    with pytest.raises(LogError, match=r"nothing maps to ts, user_id, item_id, action; pass --map ts=COLUMN \(it has uid, iid\)"):
        list(table.csv_rows(path, Columns()))
    with pytest.raises(LogError, match=r"no column when; it has uid, iid"):
        list(table.csv_rows(path, Columns(fields={"ts": "when"})))
    with pytest.raises(LogError, match=r"no field 'user'"):
        list(table.csv_rows(path, Columns(fields={"user": "uid"})))
    with pytest.raises(ValueError, match="time unit 'h'"):
        Columns(time="h")


def test_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(LogError, match=r"x\.parquet: not a Parquet file"):
        list(table.parquet_rows(path, Columns()))


def test_a_file_without_a_header_quotes_or_usual_delimiters(tmp_path: Path) -> None:
    columns = Columns(
        names=("user_id", "item_id", "rating", "ts"), constants={"action": "play"}, labels={"collect": "rating >= 4"}, time="s"
    )
    first, second = events(list(table.csv_rows(csv(tmp_path, "1::1193::5::978300760\n1::661::3::978302109\n"), columns)))
    assert isinstance(first, Event) and isinstance(second, Event)
    assert (first.user_id, first.item_id, first.ts, first.also) == ("1", "1193", 978_300_760_000, (Action.COLLECT,))
    assert (second.item_id, second.also) == ("661", ())
    unquoted = Columns(quotes=False, delimiter="tab")
    rows = list(table.csv_rows(csv(tmp_path, 'ts\tuser_id\titem_id\taction\n5\tu\t"Heroes\tplay\n6\tu\t7" mix\tplay\n'), unquoted))
    assert [event.item_id for event in events(rows)] == ['"Heroes', '7" mix']


def test_a_row_with_more_cells_than_the_header_is_rejected_not_shifted(tmp_path: Path) -> None:
    text = "ts,user_id,item_id,action\n5,u,Earth, Wind & Fire,play\n6,u,i,play,,\n"
    long, padded = table.csv_rows(csv(tmp_path, text), Columns())
    assert long.problem.startswith("5 cells where the header has 4: 5,u,Earth, Wind & Fire,play") and not padded.problem
    assert isinstance(decode(long.raw)[0], Rejected)


@pytest.mark.parametrize(
    ("text", "columns", "problem"),
    [
        (
            'ts,user_id,item_id,action\n5,u,"Heroes,play\n6,u,i,play\n',
            Columns(),
            r"csv:2: a quote that opens here is not closed; .* --no-quotes",
        ),
        ("1,2,3\n", Columns(names=("a", "b")), r"csv:1: 3 cells, separated by ','; --columns names 2"),
        ("ts,ts,item_id\n", Columns(), r"csv:1: two columns are named ts; .* --columns NAME"),
        ("ts,user_id,item_id,action\n5,9007199254740993.0,i,play\n", Columns(), r"column user_id holds 9007199254740992 as a float"),
    ],
)
def test_a_table_that_would_be_misread_is_refused_with_the_way_out(tmp_path: Path, text: str, columns: Columns, problem: str) -> None:
    with pytest.raises(LogError, match=problem):
        list(table.csv_rows(csv(tmp_path, text), columns))


def test_parquet_of_every_type_is_the_same_event(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    ids = [polars.Series("user_id", [17], dtype) for dtype in INTEGERS]
    ids += [polars.Series("user_id", [17.0], dtype) for dtype in (polars.Float32, polars.Float64, polars.Decimal(10, 2))]
    ids += [polars.Series("user_id", ["17"], dtype) for dtype in (polars.String, polars.Categorical, polars.Enum(["17"]))]
    ids += [polars.Series("user_id", [b"17"], polars.Binary)]
    times = [polars.Series("ts", [moment], polars.Datetime(unit, "UTC")) for unit in ("ms", "us", "ns")]
    times += [
        polars.Series("ts", [moment.replace(tzinfo=None)]),
        polars.Series("ts", [moment.date()]),
        polars.Series("ts", [moment]).cast(polars.Datetime("us", "Asia/Tokyo")),
    ]
    columns, found = Columns(constants={"action": "play"}, zone="UTC", time="iso"), []
    for n, (user, ts) in enumerate([(user, times[0]) for user in ids] + [(ids[0], ts) for ts in times]):
        rest = [
            polars.Series("item_id", ["i"]),
            polars.Series("domain", [None], polars.Null),
            polars.Series("played_ms", [datetime.timedelta(seconds=2)]),
        ]
        path = tmp_path / f"{n}.parquet"
        polars.DataFrame([user, ts, *rest]).write_parquet(path)
        found += events(list(table.parquet_rows(path, columns)))
    assert {(event.user_id, event.ts, event.played_ms, event.domain) for event in found} == {("17", 1_704_067_200_000, 2_000, None)}


def test_ids_in_floats_that_are_too_small_for_them_are_refused_by_the_name_of_their_column(tmp_path: Path) -> None:
    rows = {"ts": [5, 6], "item_id": ["i", "j"], "action": ["play"] * 2}
    path = tmp_path / "log.parquet"
    for values, fits in (([17.0, 2.0**24 - 1], True), ([17.0, 2.0**24], False)):
        polars.DataFrame({**rows, "user_id": polars.Series(values, dtype=polars.Float32)}).write_parquet(path)
        if fits:
            assert [event.user_id for event in events(list(table.parquet_rows(path, Columns())))] == ["17", "16777215"]
        else:
            with pytest.raises(LogError, match=r"column user_id holds ids from 2\^24 on in floats that merge them"):
                list(table.parquet_rows(path, Columns()))
