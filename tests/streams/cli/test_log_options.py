"""Options of a log: which files, which columns, which catalog."""
from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streams.cli.frame import CallError
from streams.cli.log_options import FORMATS, Log

LOG = Log(paths=(), form="csv", fields={}, constants={}, actions={}, time="ms", items_file=None, items_columns={}, sort=False)


def test_formats_in_the_help_are_those_that_are_read() -> None:
    from replay.logs import Format

    assert set(FORMATS) == {form.value for form in Format}


def test_columns_constants_actions_and_unit_come_from_the_options(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("who,when,what\nada,2,click\n")
    fields = {"user_id": "who", "ts": "when", "action": "what"}
    log = LOG._replace(paths=(table,), fields=fields, constants={"item_id": "i"}, actions={"click": "play"}, time="s")
    (row,) = log.rows(0)
    record = msgspec.json.decode(row.raw)
    assert {name: record[name] for name in ("user_id", "ts", "action", "item_id")} == {
        "user_id": "ada", "ts": 2_000, "action": "play", "item_id": "i",
    }  # fmt: skip
    assert log.name == "a.csv"


def test_no_file_is_a_wrong_call_and_has_no_catalog() -> None:
    with pytest.raises(CallError, match="LOGS: name at least one file"):
        LOG.rows(0)
    assert list(LOG.items()) == [] == list(LOG._replace(form="topic").items())


def test_the_named_catalog_is_taken_before_that_of_the_data_set(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("track\ni\n")
    mapped = LOG._replace(form="topic", items_file=tmp_path / "items.csv", items_columns={"item_id": "track"})
    assert [item.item_id for item in mapped.items()] == ["i"]
    with pytest.raises(CallError, match="--items-map: it needs --items"):
        LOG._replace(items_columns={"item_id": "track"}).items()
    (tmp_path / "items.jsonl").write_text('{"item_id":"i"}\n')
    assert [item.item_id for item in LOG._replace(form="topic", items_file=tmp_path / "items.jsonl").items()] == ["i"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"time": "h"}, "--time, --zone: time unit 'h': expected ms, s, us, ns, iso or a pattern"),
        ({"time": "iso", "zone": "Mars"}, "--time, --zone: zone 'Mars': expected a name such as Europe/Berlin"),
        ({"time": None, "epoch": "2020-01-01T00:00Z"}, "--epoch: name the unit of the times as well, as in --time s"),
        ({"time": "s", "epoch": "2020-01-01"}, "--epoch 2020-01-01: expected a time with its zone"),
    ],
)
def test_a_form_of_times_that_is_none_is_a_wrong_call(tmp_path: Path, options: dict[str, str], problem: str) -> None:
    with pytest.raises(CallError, match=problem):
        LOG._replace(paths=(tmp_path,), **options).rows(0)


def test_the_form_of_times_is_found_unless_it_is_said_and_an_epoch_shifts_them(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("user_id,item_id,action,ts\nu,i,play,1700000000\n")
    log = LOG._replace(paths=(table,), time=None)
    assert [msgspec.json.decode(row.raw)["ts"] for row in log.rows(0)] == [1_700_000_000_000]
    table.write_text("user_id,item_id,action,ts\nu,i,play,90\n")
    with pytest.raises(ValueError, match="column ts holds '90': by no unit .* --epoch"):
        list(log.rows(0))
    shifted = log._replace(time="s", epoch="2020-01-01T00:00Z")
    assert [msgspec.json.decode(row.raw)["ts"] for row in shifted.rows(0)] == [1_577_836_890_000]  # 2020-01-01T00:01:30Z
