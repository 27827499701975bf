"""Columns, paths, constants and labels become fields of an event."""
from __future__ import annotations

import msgspec
import pytest

from replay.columns.mapping import Mapping
from replay.log_rows import Columns, LogError, LogRow

BASE = {"user_id": "u", "item_id": "i", "ts": "5"}


def event(columns: Columns, row: dict[str, object]) -> dict[str, object]:
    (read,) = Mapping(columns, list(row)).rows([(1, row)])
    return {name: value for name, value in msgspec.json.decode(read.raw).items() if name not in ("event_id", *BASE)}


def test_constants_are_of_their_fields_types() -> None:
    constants = {
        "action": "play",
        "full": "true",
        "played_ms": "100",
        "propensity": "0.5",
        "domain": "7",
        "context.age": "7",
        "also.share": "1",
    }
    assert event(Columns(constants=constants), {**BASE}) == {
        "action": "play", "full": True, "played_ms": 100, "propensity": 0.5, "domain": "7", "context": {"age": "7"}, "also": ["share"],
    }  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [("full", "maybe"), ("played_ms", "long"), ("action", "click"), ("ts", "soon")])
def test_a_constant_of_the_wrong_type_is_refused(field: str, value: str) -> None:
    with pytest.raises(LogError, match=f"--const {field}={value}: expected"):
        Mapping(Columns(constants={field: value}))


def test_labels_stand_among_also_where_they_hold() -> None:
    columns = Columns(constants={"action": "play"}, labels={"collect": "rating >= 8", "dislike": "rating <= 3", "skip": "is_click == 0"})
    rated = [event(columns, {**BASE, "rating": rating, "is_click": click}) for rating, click in (("9", "1"), ("2.5", "0"), ("", ""))]
    assert rated == [{"action": "play", "also": ["collect"]}, {"action": "play", "also": ["dislike", "skip"]}, {"action": "play"}]


def test_a_product_of_columns_is_rounded_to_whole_milliseconds() -> None:
    columns = Columns(fields={"played_ms": "ratio*length", "duration_ms": "length"}, constants={"action": "play"})
    found = event(columns, {**BASE, "ratio": "0.3333", "length": "200000"})
    assert (found["played_ms"], found["duration_ms"]) == (66_660, 200_000)


def test_paths_lead_into_nested_objects_and_lists() -> None:
    row: dict[str, object] = {"user": {"id": 17}, "tracks": [{"uri": "s:1"}], "at": 5, "meta": {"device": "tv"}}
    fields = {"user_id": "user.id", "item_id": "tracks.0.uri", "ts": "at", "context.device": "meta.device"}
    (read,) = Mapping(Columns(fields=fields, constants={"action": "play"}), paths=list(row)).rows([(1, row)])
    found = msgspec.json.decode(read.raw)
    assert (found["user_id"], found["item_id"], found["ts"], found["context"]) == ("17", "s:1", 5, {"device": "tv"})


def test_an_action_without_a_meaning_is_left_out_and_says_so() -> None:
    columns = Columns(fields={"action": "what"}, actions={"search": "", "listen": "play"})
    rows = [{**BASE, "what": what} for what in ("listen", "search")]
    played, searched = Mapping(columns, list(rows[0])).rows(enumerate(rows))  # type: ignore[arg-type]
    assert msgspec.json.decode(played.raw)["action"] == "play"
    assert searched == LogRow(1, b"", None, omitted="left out: --action gives it no meaning")
