"""Options of a log: which files, which columns, which catalog."""
from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streams.cli.frame import CallError
from streams.cli.log_options import FORMATS, Log

LOG = Log(paths=(), form="csv", fields={}, constants={}, actions={}, time="ms", items_file=None, sort=False)


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
    (tmp_path / "items.jsonl").write_text('{"item_id":"i"}\n')
    assert [item.item_id for item in LOG._replace(form="topic", items_file=tmp_path / "items.jsonl").items()] == ["i"]
